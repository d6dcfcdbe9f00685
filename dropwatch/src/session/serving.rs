//! The session as the source of what `dropwatch serve` exports.

use std::{
    future,
    net::SocketAddr,
    sync::Arc,
    time::{Instant, SystemTime},
};

use anyhow::{Context as _, Result};
use rustix::system::uname;
use tokio::sync::mpsc;

use super::Session;
use crate::{
    config::{ServeOptions, View},
    output::say,
    serve::{
        Request, Requests, http,
        otlp::{self, Exports},
        snapshot::{Snapshot, State},
    },
};

/// What was asked for over the network; nothing, and nobody to ask, in the other views.
pub(super) struct Serving(Option<Open>);

struct Open {
    requests: mpsc::Receiver<Request>,
    /// Where is answered.
    addresses: Vec<SocketAddr>,
    start: SystemTime,
    kernel: String,
    max_series: u32,
    /// How exports went; `None` without a collector.
    exports: Option<Arc<Exports>>,
}

impl Serving {
    /// Listens, and starts what asks. Has to be called in a runtime.
    ///
    /// # Errors
    /// The address can't be listened at.
    pub(super) fn open(view: &View) -> Result<Self> {
        match view {
            View::Serve(options) => Ok(Self(Some(Open::new(options)?))),
            View::Lines { .. } | View::Summary(_) | View::Top(_) => Ok(Self(None)),
        }
    }

    pub(super) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Says where it answers, once it does.
    pub(super) fn say_where(&self) {
        for address in self.0.iter().flat_map(|open| &open.addresses) {
            say(&format_args!("answering at http://{address}/metrics"));
        }
    }

    /// Waits for a request.
    pub(super) async fn next_request(&mut self) -> Request {
        let asked = match &mut self.0 {
            Some(open) => open.requests.recv().await,
            None => None,
        };
        match asked {
            Some(request) => request,
            None => future::pending().await,
        }
    }
}

impl Open {
    fn new(options: &ServeOptions) -> Result<Self> {
        let (sender, requests) = Requests::channel();
        let server = http::Server::new(sender.clone());
        let mut addresses = Vec::new();
        for address in &options.listen {
            let listener = http::listen(*address).with_context(|| {
                format!(
                    "listening at {address}; --listen takes an address of this host and a free port"
                )
            })?;
            addresses.push(listener.local_addr()?);
            tokio::spawn(Arc::clone(&server).serve(listener));
        }
        let exports = options.otlp.clone().map(|otlp| {
            let exports = Arc::new(Exports::default());
            tokio::spawn(otlp::run(otlp, sender, Arc::clone(&exports)));
            exports
        });
        Ok(Self {
            requests,
            addresses,
            start: SystemTime::now(),
            kernel: uname().release().to_string_lossy().into_owned(),
            max_series: options.max_series,
            exports,
        })
    }
}

impl Session<'_> {
    /// Answers a request. Who has asked may have gone.
    pub(super) fn answer(&mut self, request: Request) -> Result<()> {
        match request {
            Request::Health(sender) => drop(sender.send(())),
            Request::Snapshot(sender) if sender.is_closed() => {}
            Request::Snapshot(sender) => {
                let snapshot = self.snapshot()?;
                drop(sender.send(Arc::new(snapshot)));
            }
        }
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        let started = Instant::now();
        let open = self.serving.0.as_ref().context("nothing is served")?;
        // Before the groups, so that they have no less than it says.
        let account = self.account()?.settled();
        self.records.read_groups(&self.kernel)?;
        Ok(Snapshot::new(&State {
            start: open.start,
            account: &account,
            groups: &self.records.groups,
            duration: started.elapsed(),
            max_series: open.max_series,
            exports: open.exports.as_deref().map(Exports::counts),
            kernel: &open.kernel,
        }))
    }
}
