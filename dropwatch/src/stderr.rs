//! Standard error, whose reader must not stop a run: who scrolls in a pager or holds a terminal with
//! Ctrl-S reads neither lines nor messages.

use std::{
    io::{self, ErrorKind, Write},
    os::fd::AsFd as _,
    sync::{
        LazyLock,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use crate::non_blocking::NonBlocking;

/// How long a message waits for a reader that takes nothing.
const PATIENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// `None` where it is a file, or can't be had so.
static FILE: LazyLock<Option<NonBlocking>> =
    LazyLock::new(|| NonBlocking::open(2, io::stderr()).ok());

/// Whether the reader took nothing of the last message: then the next one does not wait.
static IS_STUCK: AtomicBool = AtomicBool::new(false);

/// Standard error for messages: what its reader does not take in time is not written.
#[derive(Clone, Copy, Debug)]
pub struct Stderr;

impl Stderr {
    /// Opens it. To be called before files can't be opened any more.
    #[must_use]
    pub fn open() -> Self {
        LazyLock::force(&FILE);
        Self
    }
}

impl Write for Stderr {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let Some(file) = &*FILE else {
            return io::stderr().write(text);
        };
        loop {
            match file.write(text) {
                Err(error) if error.kind() == ErrorKind::WouldBlock && waits(file) => {}
                result => {
                    IS_STUCK.store(result.is_err(), Ordering::Relaxed);
                    return result;
                }
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits until there is room for more; false if there is none in time.
fn waits(file: &NonBlocking) -> bool {
    if IS_STUCK.load(Ordering::Relaxed) {
        return false;
    }
    let mut ready = [PollFd::from_borrowed_fd(file.as_fd(), PollFlags::OUT)];
    match poll(&mut ready, Some(&PATIENCE)) {
        Ok(count) => count > 0,
        Err(error) => error == Errno::INTR,
    }
}
