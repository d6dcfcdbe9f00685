//! `soak`: minutes in which everything around dropwatch comes and goes.

use std::{
    ffi::OsStr,
    process::{ExitCode, Stdio},
};

use anyhow::{Context, Result};
use clap::Args;
use xtask::{command, say, toolchain};

use crate::{build, host_tools, reliability};

/// Options of `cargo xtask soak`.
#[derive(Args)]
pub(crate) struct SoakOptions {
    /// How long.
    #[arg(long, value_name = "N", default_value_t = 20)]
    minutes: u64,
    /// Another one is another order of scenarios, flags and signals.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Write the figures into docs/reliability.md.
    #[arg(long)]
    report: bool,
}

/// Runs it, and prints what it came to.
pub(crate) fn soak(options: &SoakOptions) -> Result<ExitCode> {
    let toolchain = toolchain::ensure()?;
    host_tools::ensure_live()?;
    let dropwatch = build::release("dropwatch", "dropwatch", &toolchain)?;
    let soak = build::release("dropwatch-tests", "soak", &toolchain)?;
    let (minutes, seed) = (options.minutes.to_string(), options.seed.to_string());
    let args: [&OsStr; 6] = [
        "--dropwatch".as_ref(),
        dropwatch.as_ref(),
        "--minutes".as_ref(),
        minutes.as_ref(),
        "--seed".as_ref(),
        seed.as_ref(),
    ];
    let mut run = command::as_root(&soak, &args)?;
    say::progress(format!("{} minutes", options.minutes));
    let output = run.stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("starting {}", soak.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    say::result(text.trim_end());
    if options.report && output.status.success() {
        reliability::replace("soak", &text)?;
    }
    Ok(ExitCode::from(u8::from(!output.status.success())))
}
