//! The one place that writes to the terminal.
//!
//! Progress and diagnostics go to standard error; standard output is left to
//! what a command was asked for (a path, test results).
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "printing is this module's purpose"
)]

/// Tells what is being done.
pub fn progress(message: impl AsRef<str>) {
    eprintln!("xtask: {}", message.as_ref());
}

/// Writes one line of a command's result.
pub fn result(line: impl AsRef<str>) {
    println!("{}", line.as_ref());
}
