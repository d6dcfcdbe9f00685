//! The metrics as text, made once for all who ask at about the same time.
//!
//! However many read slowly, the memory is that of [`MAX_KEPT`] texts: who reads one that is no
//! longer kept is cut off.

use std::{
    collections::VecDeque,
    fmt, io,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::sync::Mutex;

use crate::serve::{Requests, snapshot::Snapshot};

/// How long a text is given to those who ask; so often the session is asked at most, for each
/// format.
const FRESH: Duration = Duration::from_secs(1);

/// Most texts that are kept, of both formats. Three are the one that is asked for now, and two for
/// those who still read.
const MAX_KEPT: usize = 3;

/// Bytes of a text that a connection has at once.
const PART: usize = 64 * 1024;

/// What Prometheus reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// OpenMetrics 1.0.0.
    OpenMetrics,
    /// Prometheus' text format 0.0.4.
    Text,
}

impl Format {
    fn write(self, snapshot: &Arc<Snapshot>) -> Result<String, fmt::Error> {
        match self {
            Self::OpenMetrics => snapshot.open_metrics(),
            Self::Text => snapshot.prometheus_text(),
        }
    }
}

struct Rendering {
    format: Format,
    made: Instant,
    text: Arc<String>,
}

/// The texts that are kept, newest first.
pub(super) struct Renderings {
    requests: Requests,
    kept: Mutex<VecDeque<Rendering>>,
}

impl Renderings {
    /// None yet; the session is asked by `requests`.
    pub(super) fn new(requests: Requests) -> Self {
        Self {
            requests,
            kept: Mutex::default(),
        }
    }

    /// A text that is fresh; `None` if the session has ended. Who asks while one is made waits for
    /// it.
    ///
    /// # Errors
    /// None that a string makes.
    pub(super) async fn get(&self, format: Format) -> Result<Option<Text>, fmt::Error> {
        let mut kept = self.kept.lock().await;
        let fresh = |it: &&Rendering| it.format == format && it.made.elapsed() < FRESH;
        if let Some(rendering) = kept.iter().find(fresh) {
            return Ok(Some(Text::new(&rendering.text)));
        }
        let Some(snapshot) = self.requests.snapshot().await else {
            return Ok(None);
        };
        // First, so that there is never one more.
        kept.truncate(MAX_KEPT - 1);
        let text = Arc::new(format.write(&snapshot)?);
        let body = Text::new(&text);
        kept.push_front(Rendering {
            format,
            made: Instant::now(),
            text,
        });
        Ok(Some(body))
    }
}

/// The body of an answer: a text, as long as it is kept.
#[derive(Debug)]
pub(super) struct Text {
    text: Weak<String>,
    length: usize,
    /// Bytes that were sent.
    sent: usize,
}

impl Text {
    fn new(text: &Arc<String>) -> Self {
        Self {
            text: Arc::downgrade(text),
            length: text.len(),
            sent: 0,
        }
    }

    fn next_part(&mut self) -> io::Result<Bytes> {
        let text = self.text.upgrade();
        let text =
            text.ok_or_else(|| io::Error::other("too slow, newer metrics took its place"))?;
        let end = self.length.min(self.sent + PART);
        let part = Bytes::copy_from_slice(&text.as_bytes()[self.sent..end]);
        self.sent = end;
        Ok(part)
    }
}

impl Body for Text {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let part = (!self.is_end_stream()).then(|| self.next_part());
        Poll::Ready(part.map(|part| part.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.sent == self.length
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact((self.length - self.sent) as u64)
    }
}

#[cfg(test)]
#[path = "renderings/tests.rs"]
mod tests;
