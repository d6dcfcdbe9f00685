//! Counts for those who ask over the network: [`http`] answers Prometheus, [`otlp`] sends to an
//! OpenTelemetry collector. Both ask the session for a [`Snapshot`](snapshot::Snapshot), which is
//! the one place that names metrics.

pub(crate) mod http;
pub mod listen;
pub mod otlp;
pub mod snapshot;

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use self::snapshot::Snapshot;

/// Most requests that wait for the session; who asks then waits as well.
pub(crate) const MAX_REQUESTS: usize = 16;

/// What is asked of the session.
#[derive(Debug)]
pub(crate) enum Request {
    /// What was counted until now.
    Snapshot(oneshot::Sender<Arc<Snapshot>>),
    /// Whether drops are being read.
    Health(oneshot::Sender<()>),
}

/// Where the session is asked. It answers between two looks at its buffer.
#[derive(Clone, Debug)]
pub(crate) struct Requests(mpsc::Sender<Request>);

impl Requests {
    /// The two ends.
    pub(crate) fn channel() -> (Self, mpsc::Receiver<Request>) {
        let (sender, receiver) = mpsc::channel(MAX_REQUESTS);
        (Self(sender), receiver)
    }

    /// What was counted until now; `None` if the session has ended.
    pub(crate) async fn snapshot(&self) -> Option<Arc<Snapshot>> {
        let (sender, answer) = oneshot::channel();
        self.0.send(Request::Snapshot(sender)).await.ok()?;
        answer.await.ok()
    }

    /// `None` if the session has ended.
    pub(crate) async fn health(&self) -> Option<()> {
        let (sender, answer) = oneshot::channel();
        self.0.send(Request::Health(sender)).await.ok()?;
        answer.await.ok()
    }
}
