//! Few connections at a time, and who comes always gets one: whoever keeps a place without need
//! gives way.

use std::{
    collections::VecDeque,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use tokio::{
    task::{AbortHandle, yield_now},
    time::sleep,
};

/// Most connections at a time.
pub(super) const MAX_CONNECTIONS: usize = 16;

/// How long to wait for an answer that is being made, before it is looked again who can give way.
const PAUSE: Duration = Duration::from_millis(10);

/// What a connection is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// The head of its request has not come yet.
    Silent,
    /// Its answer is being made.
    Asking,
    /// Its answer is being sent.
    Reading,
}

/// The phase of a connection, which its task sets.
#[derive(Clone, Debug)]
pub(super) struct Progress(Arc<AtomicU8>);

impl Progress {
    fn new() -> Self {
        Self(Arc::new(AtomicU8::new(Phase::Silent as u8)))
    }

    pub(super) fn set(&self, phase: Phase) {
        self.0.store(phase as u8, Ordering::Relaxed);
    }

    fn is(&self, phase: Phase) -> bool {
        self.0.load(Ordering::Relaxed) == phase as u8
    }
}

struct Connection {
    task: AbortHandle,
    progress: Progress,
}

/// The connections that are there, oldest first.
#[derive(Default)]
pub(super) struct Connections(VecDeque<Connection>);

impl Connections {
    /// Serves one more, once there is room.
    pub(super) async fn add<F>(&mut self, serve: impl FnOnce(Progress) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.make_room().await;
        let progress = Progress::new();
        let task = tokio::spawn(serve(progress.clone())).abort_handle();
        self.0.push_back(Connection { task, progress });
        // It reads what is there before others can take its place.
        yield_now().await;
    }

    async fn make_room(&mut self) {
        loop {
            self.0.retain(|it| !it.task.is_finished());
            if self.0.len() < MAX_CONNECTIONS {
                return;
            }
            match self.dispensable().and_then(|index| self.0.remove(index)) {
                Some(connection) => connection.task.abort(),
                None => sleep(PAUSE).await,
            }
        }
    }

    /// Who gives way: the oldest that says nothing, else the oldest that reads its answer.
    fn dispensable(&self) -> Option<usize> {
        let oldest = |phase| self.0.iter().position(|it| it.progress.is(phase));
        oldest(Phase::Silent).or_else(|| oldest(Phase::Reading))
    }
}
