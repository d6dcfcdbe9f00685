//! Waiting for what comes about by itself.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

/// Time between two looks.
const POLL: Duration = Duration::from_millis(20);

/// Looks until `done` says so.
///
/// # Errors
/// That of `done`, or that it was not `within` this time; `what` was waited for.
pub fn until(what: &str, within: Duration, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + within;
    while !done()? {
        ensure!(Instant::now() < deadline, "{what}: not within {within:?}");
        thread::sleep(POLL);
    }
    Ok(())
}
