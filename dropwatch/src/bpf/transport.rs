//! How records get from the kernel to user space.

use std::time::Duration;

use anyhow::{Context as _, Result};
use aya::{
    maps::{
        MapData, PerfEventArray, RingBuf,
        perf::{PerfEvent, PerfEventArrayBuffer},
    },
    util::online_cpus,
};
use rustix::event::epoll;
use tokio::io::{Interest, unix::AsyncFd};

use crate::{poll::poll, shared_flag::SharedFlag};

/// Pause between two looks at the buffer while records keep coming. Bounds the
/// latency of a record in a flow of them, and the room that a flood needs.
const DRAIN_INTERVAL: Duration = Duration::from_millis(1);

/// Most records that one call of [`Transport::drain`] hands over, so that
/// signals and output get their turn in a flood.
const DRAIN_LIMIT: usize = 1024;

/// How long the reader of the ring buffer sleeps at most. The kernel side wakes it by
/// an empty record, for which a flood can leave no room.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// The buffer in use.
pub enum Transport {
    /// One buffer for all processors.
    Ring(Box<RingTransport>),
    /// One buffer per processor.
    Perf(Box<PerfTransport>),
}

impl Transport {
    /// Hands the records that wait to `handle`, and returns their number: of the
    /// ring buffer a thousand at most, of the perf buffers what they hold.
    pub fn drain(&mut self, mut handle: impl FnMut(&[u8])) -> usize {
        match self {
            Self::Ring(ring) => ring.drain(&mut handle),
            Self::Perf(perf) => perf.drain(&mut handle),
        }
    }

    /// Waits until it is time to drain again, given how many records the last
    /// call of [`Transport::drain`] gave.
    ///
    /// Can be dropped at any point and called again.
    ///
    /// # Errors
    /// The buffer can't be polled.
    pub async fn wait(&mut self, drained: usize) -> Result<()> {
        if drained >= DRAIN_LIMIT {
            // More is waiting; only let the others have their turn.
            tokio::task::yield_now().await;
            return Ok(());
        }
        if drained > 0 {
            tokio::time::sleep(DRAIN_INTERVAL).await;
            return Ok(());
        }
        match self {
            Self::Ring(ring) => ring.wait().await,
            Self::Perf(perf) => perf.wait().await,
        }
    }
}

/// The ring buffer, from which the kernel never wakes the reader but when the
/// reader has asked for it.
pub struct RingTransport {
    ring: AsyncFd<RingBuf<MapData>>,
    /// The flag by which the reader asks to be woken at the next record.
    waits: SharedFlag,
    /// Whether the flag is up.
    asked: bool,
}

impl RingTransport {
    pub(crate) fn new(ring: RingBuf<MapData>, waits: SharedFlag) -> Result<Self> {
        let ring = poll(ring, Interest::READABLE).context("polling the ring buffer")?;
        Ok(Self {
            ring,
            waits,
            asked: false,
        })
    }

    fn drain(&mut self, handle: &mut impl FnMut(&[u8])) -> usize {
        let ring = self.ring.get_mut();
        let mut drained = 0;
        while drained < DRAIN_LIMIT {
            let Some(record) = ring.next() else { break };
            drained += 1;
            handle(&record);
        }
        if drained > 0 {
            self.asked = false;
        }
        drained
    }

    async fn wait(&mut self) -> Result<()> {
        if !self.asked {
            // Asks first and looks once more afterwards: a record that came in
            // between did not see the flag.
            self.waits.raise();
            self.asked = true;
            return Ok(());
        }
        if let Ok(ready) = tokio::time::timeout(LONGEST_SLEEP, self.ring.readable()).await {
            ready.context("waiting for the ring buffer")?.clear_ready();
        }
        // The flag is down now, even if the record that is first in line is not
        // finished yet and this wake-up finds nothing: ask again.
        self.asked = false;
        Ok(())
    }
}

/// The perf buffers, whose records the kernel announces one by one.
pub struct PerfTransport {
    buffers: Vec<PerfEventArrayBuffer<MapData>>,
    /// Readable when one of the buffers is.
    epoll: AsyncFd<std::os::fd::OwnedFd>,
    /// The records of one drain, one behind the other.
    bytes: Vec<u8>,
    /// Time, start and end of each record in `bytes`.
    index: Vec<(u64, usize, usize)>,
}

impl PerfTransport {
    pub(crate) fn new(mut array: PerfEventArray<MapData>, total_bytes: u32) -> Result<Self> {
        let cpus = online_cpus().map_err(|(path, error)| {
            anyhow::Error::new(error).context(format!("reading {path}"))
        })?;
        let pages = pages_per_buffer(total_bytes as usize, cpus.len());
        let page = rustix::param::page_size();
        log::info!("buffer perf: {} bytes for each processor", pages * page);
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).context("creating an epoll")?;
        let mut buffers = Vec::with_capacity(cpus.len());
        for cpu in cpus {
            let buffer = array
                .open(cpu, Some(pages))
                .with_context(|| format!("opening the perf buffer of processor {cpu}"))?;
            epoll::add(
                &epoll,
                &buffer,
                epoll::EventData::new_u64(u64::from(cpu)),
                epoll::EventFlags::IN,
            )
            .with_context(|| format!("polling the perf buffer of processor {cpu}"))?;
            buffers.push(buffer);
        }
        Ok(Self {
            buffers,
            epoll: poll(epoll, Interest::READABLE).context("polling the perf buffers")?,
            bytes: Vec::new(),
            index: Vec::new(),
        })
    }

    fn drain(&mut self, handle: &mut impl FnMut(&[u8])) -> usize {
        self.bytes.clear();
        self.index.clear();
        for buffer in &mut self.buffers {
            collect(buffer, &mut self.bytes, &mut self.index);
        }
        // Each buffer is in order of time, all of them together are not.
        self.index.sort_by_key(|(time, ..)| *time);
        for &(_, start, end) in &self.index {
            handle(self.bytes.get(start..end).unwrap_or_default());
        }
        self.index.len()
    }

    async fn wait(&mut self) -> Result<()> {
        let mut ready = self
            .epoll
            .readable()
            .await
            .context("waiting for the perf buffers")?;
        ready.clear_ready();
        Ok(())
    }
}

/// Copies all records of one buffer. What the kernel says of lost records is in
/// the kernel side's own counters already.
fn collect(
    buffer: &mut PerfEventArrayBuffer<MapData>,
    bytes: &mut Vec<u8>,
    index: &mut Vec<(u64, usize, usize)>,
) {
    buffer.for_each(|event| {
        if let PerfEvent::Sample { head, tail } = event {
            let start = bytes.len();
            bytes.extend_from_slice(head);
            bytes.extend_from_slice(tail);
            let record = bytes.get(start..).unwrap_or_default();
            // Every record starts with its time.
            let time = record
                .first_chunk()
                .map_or(0, |time| u64::from_ne_bytes(*time));
            index.push((time, start, bytes.len()));
        }
    });
}

/// The largest power of two of pages with which `buffers` buffers stay within
/// `total_bytes`, at least 1.
fn pages_per_buffer(total_bytes: usize, buffers: usize) -> usize {
    let pages = total_bytes / buffers.max(1) / rustix::param::page_size();
    pages.checked_ilog2().map_or(1, |power| 1 << power)
}
