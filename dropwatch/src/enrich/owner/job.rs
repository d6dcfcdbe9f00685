//! Slow reads in a thread of their own, and how often they may be made.

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    thread,
    time::{Duration, Instant},
};

/// Work that is under way.
#[derive(Debug)]
pub(super) struct Job<T> {
    result: Receiver<(T, Duration)>,
    /// When it was asked for, on the caller's clock.
    pub(super) started: Instant,
}

/// How a wait for a job ended.
#[derive(Debug)]
pub(super) enum Waited<T> {
    /// It is done: the result, and how long the work took.
    Done(T, Duration),
    /// It goes on.
    Running,
    /// It will never be done: the thread has ended.
    Failed,
}

impl<T: Send + 'static> Job<T> {
    /// Starts `work`; `None` if the system gives no thread.
    pub(super) fn start(now: Instant, work: impl FnOnce() -> T + Send + 'static) -> Option<Self> {
        let (sender, result) = sync_channel(1);
        let run = move || {
            let start = Instant::now();
            let value = work();
            // Nobody waits any more when the program ends.
            drop(sender.send((value, start.elapsed())));
        };
        let spawned = thread::Builder::new()
            .name("dropwatch-proc".into())
            .spawn(run);
        match spawned {
            Ok(_) => Some(Self {
                result,
                started: now,
            }),
            Err(error) => {
                log::debug!("no thread for reading /proc: {error}");
                None
            }
        }
    }

    /// Waits for the result, not longer than `patience`.
    pub(super) fn wait(&self, patience: Duration) -> Waited<T> {
        match self.result.recv_timeout(patience) {
            Ok((value, took)) => Waited::Done(value, took),
            Err(RecvTimeoutError::Timeout) => Waited::Running,
            Err(RecvTimeoutError::Disconnected) => Waited::Failed,
        }
    }
}

/// A pause between reads that grows with what they cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pause {
    /// The pause after a read that cost nothing.
    pub(super) least: Duration,
    /// How many times longer than the read the pause is.
    pub(super) times: u32,
}

impl Pause {
    /// How long not to read again after a read that took this long.
    pub(super) fn after(self, took: Duration) -> Duration {
        self.least.max(took.saturating_mul(self.times))
    }
}
