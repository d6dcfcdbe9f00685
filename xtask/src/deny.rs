//! `deny`: where the dependencies come from, under which licences, and what is known of them.

use std::process::{Command, ExitCode};

use anyhow::Result;
use xtask::{cargo_tool::CargoTool, command, say, toolchain::Toolchain};

use crate::{counts::Counts, workspace};

const CARGO_DENY: CargoTool = CargoTool {
    name: "cargo-deny",
    version: "0.20.2",
    flags: &["--no-default-features"],
    is_optimised: false,
};

/// What needs nothing but the crates themselves.
const CHECKS: [&str; 3] = ["bans", "licenses", "sources"];

/// Checks the dependencies against deny.toml, looks known vulnerabilities up, and closes with the
/// count of both.
pub(crate) fn deny() -> Result<ExitCode> {
    check()?;
    let mut counts = Counts::PASSED;
    counts += advisories()?;
    say::result(counts.to_string());
    Ok(ExitCode::SUCCESS)
}

/// Known vulnerabilities; skipped where their database can't be fetched, for an old one knows nothing
/// of new ones.
fn advisories() -> Result<Counts> {
    if let Err(error) = command::output(cargo_deny()?.args(["fetch", "db"])) {
        say::progress(format!(
            "known vulnerabilities were NOT looked up, their database can't be fetched: {error:#}"
        ));
        return Ok(Counts::SKIPPED);
    }
    command::run(cargo_deny()?.args(["check", "--disable-fetch", "advisories"]))?;
    Ok(Counts::PASSED)
}

/// As a step of the tests: whose outcome is the same on every day.
pub(crate) fn test(_: &Toolchain) -> Result<Counts> {
    check().map(|()| Counts::PASSED)
}

fn check() -> Result<()> {
    command::run(cargo_deny()?.arg("check").args(CHECKS))
}

fn cargo_deny() -> Result<Command> {
    let mut deny = Command::new(CARGO_DENY.ensure()?);
    deny.arg("--locked").current_dir(workspace::root());
    Ok(deny)
}
