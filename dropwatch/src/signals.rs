//! The signals that end a run.

use std::fs;

use anyhow::{Context as _, Result};
use rustix::process::Signal as Number;
use tokio::{
    select,
    signal::unix::{Signal, SignalKind, signal},
};

/// What asks a run to end: `SIGINT`, `SIGTERM`, and `SIGHUP` unless whoever has started this ignores
/// it, as nohup(1) does.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Option<Signal>,
}

impl Signals {
    /// Listens from here on. Until then a signal ends the process at once, for nobody would look at
    /// it.
    ///
    /// # Errors
    /// The kernel does not let us listen.
    pub fn new() -> Result<Self> {
        let listen = |kind| signal(kind).context("listening for signals");
        let hangup = (!is_ignored(Number::HUP)).then(|| listen(SignalKind::hangup()));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: hangup.transpose()?,
        })
    }

    /// Waits for one of them.
    pub async fn any(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = hangup => {}
        }
    }
}

/// Whether this process ignores a signal; without `/proc` nobody can tell, and it does not.
fn is_ignored(signal: Number) -> bool {
    fs::read_to_string("/proc/self/status").is_ok_and(|status| ignores(&status, signal))
}

/// The same, by the text of `/proc/PID/status`: `SigIgn` has a bit for each signal, the lowest for
/// the first (proc(5)).
fn ignores(status: &str, signal: Number) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal.as_raw() - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals() {
        let status =
            "SigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000004002\n";
        assert!(ignores(status, Number::HUP));
        assert!(ignores(status, Number::PIPE));
        assert!(!ignores(status, Number::INT));
        assert!(!ignores(status, Number::TERM));
        assert!(!ignores("SigIgn:\tnone\n", Number::HUP));
        assert!(!ignores("", Number::HUP));
    }
}
