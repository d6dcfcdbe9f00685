//! The line on a terminal that says that dropwatch is at work: there while nothing else is to be
//! read, and gone before anything else is written.

use std::{
    io::{self, Write as _},
    os::fd::AsFd as _,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use jiff::{
    SignedDuration,
    fmt::friendly::{Spacing, SpanPrinter},
};
use rustix::{
    process::getpgrp,
    termios::{isatty, tcgetpgrp, tcgetwinsize},
};

use crate::stderr::Stderr;

/// How long nothing was printed before the line comes.
const PATIENCE: Duration = Duration::from_secs(3);

/// Whether the line is there. It is one for the process, as standard error is.
static IS_SHOWN: AtomicBool = AtomicBool::new(false);

/// When there was something to read.
pub struct Progress {
    started: Instant,
    /// When something was printed last.
    printed: Option<Instant>,
}

impl Progress {
    /// `None` where standard error is no terminal.
    #[must_use]
    pub fn new() -> Option<Self> {
        isatty(io::stderr()).then(|| Self {
            started: Instant::now(),
            printed: None,
        })
    }

    /// Takes the line away, for something is about to be printed.
    pub fn pause(&mut self) {
        erase();
        self.printed = Some(Instant::now());
    }

    /// Shows for how long `doing` goes on and what came of it, unless something was printed just
    /// now, or nobody wants to read it.
    pub fn show(&self, doing: &str, result: &str) {
        let since_last = self.printed.unwrap_or(self.started).elapsed();
        if since_last < PATIENCE || is_in_background() {
            return;
        }
        let since_last = self.printed.map(|_| since_last);
        let text = text(doing, self.started.elapsed(), result, since_last);
        // What does not fit would be a new line each time.
        if columns().is_some_and(|columns| text.len() < columns) {
            IS_SHOWN.store(true, Ordering::Relaxed);
            write(&format!("\r{text}\x1b[K"));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        erase();
    }
}

/// Takes the line away, if it is there. To be called before anything else goes to the terminal.
pub fn erase() {
    if IS_SHOWN.swap(false, Ordering::Relaxed) {
        write("\r\x1b[K");
    }
}

/// A job in the background would write into what others do on the terminal.
fn is_in_background() -> bool {
    tcgetpgrp(io::stderr()).is_ok_and(|group| group != getpgrp())
}

fn text(doing: &str, time: Duration, result: &str, since_last: Option<Duration>) -> String {
    let last = since_last.map(|time| format!(", the last {} ago", seconds(time)));
    let last = last.unwrap_or_default();
    format!("dropwatch: {doing} {}, {result}{last}", seconds(time))
}

fn columns() -> Option<usize> {
    let size = tcgetwinsize(io::stderr().as_fd()).ok()?;
    Some(usize::from(size.ws_col))
}

fn write(text: &str) {
    // Nobody is left to tell if standard error is closed.
    drop(Stderr.write_all(text.as_bytes()));
}

/// As `1 m 12 s`.
fn seconds(time: Duration) -> String {
    const PRINTER: SpanPrinter = SpanPrinter::new().spacing(Spacing::BetweenUnitsAndDesignators);
    let whole = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    PRINTER.duration_to_string(&SignedDuration::from_secs(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_long_and_what_came_of_it() {
        let text = |seconds, result, since_last: Option<u64>| {
            let since_last = since_last.map(Duration::from_secs);
            text("tracing", Duration::from_secs(seconds), result, since_last)
        };
        assert_eq!(
            text(12, "0 drops printed", None),
            "dropwatch: tracing 12 s, 0 drops printed"
        );
        assert_eq!(
            text(3_672, "14 drops printed", Some(30)),
            "dropwatch: tracing 1 h 1 m 12 s, 14 drops printed, the last 30 s ago"
        );
    }
}
