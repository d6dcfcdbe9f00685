//! `test`: every check there is, in the order of what they cost.

use std::{
    env,
    io::{BufRead, BufReader},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, Result};
use clap::Args;
use xtask::{
    command, say,
    toolchain::{self, Toolchain},
};

use crate::{build, counts::Counts, deny, dist, host_tools, vm, workspace};

/// Options of `cargo xtask test`.
#[derive(Args)]
pub(crate) struct TestOptions {
    /// Leave out the VM tests.
    #[arg(long)]
    quick: bool,
    /// Run only the steps whose name contains this, as `packages`.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

/// A check and what it is called when it fails.
type Step = (&'static str, fn(&Toolchain) -> Result<Counts>);

const STEPS: &[Step] = &[
    ("formatting", formatting),
    ("lints", lints),
    ("lints of the eBPF side", ebpf_lints),
    ("unit and golden tests", unit_tests),
    ("live tests", live_tests),
    ("packages", dist::test),
    ("dependencies", deny::test),
];

const VM_STEP: Step = ("VM tests", vm::all);

/// Runs every step, also after one has failed, and closes with the count.
pub(crate) fn test(options: &TestOptions) -> Result<ExitCode> {
    let toolchain = toolchain::ensure()?;
    let mut steps = STEPS.to_vec();
    let mut total = Counts::default();
    let mut failed = Vec::new();
    let is_wanted = |name: &str| options.only.as_ref().is_none_or(|only| name.contains(only));
    steps.retain(|(name, _)| is_wanted(name));
    if !options.quick && is_wanted(VM_STEP.0) {
        // What is missing should come out now, not after minutes of tests.
        match vm::provision_all() {
            Ok(_) => steps.push(VM_STEP),
            Err(error) => {
                say::progress(format!("setting up the VM tests: {error:#}"));
                total += Counts::FAILED;
                failed.push(VM_STEP.0);
            }
        }
    }
    for (name, run) in steps {
        let counts = step(name, run, &toolchain);
        total += counts;
        if !counts.is_success() {
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        say::progress(format!("failed: {}", failed.join(", ")));
    }
    say::result(total.to_string());
    Ok(ExitCode::from(u8::from(!failed.is_empty())))
}

fn step(name: &str, run: fn(&Toolchain) -> Result<Counts>, toolchain: &Toolchain) -> Counts {
    say::progress(format!("--- {name}"));
    let counts = run(toolchain).unwrap_or_else(|error| {
        say::progress(format!("{name}: {error:#}"));
        Counts::FAILED
    });
    say::progress(format!("--- {name}: {counts}"));
    counts
}

fn formatting(_: &Toolchain) -> Result<Counts> {
    let mut cargo = workspace::cargo()?;
    command::run(cargo.args(["fmt", "--all", "--check"]))?;
    Ok(Counts::PASSED)
}

fn lints(_: &Toolchain) -> Result<Counts> {
    let mut cargo = workspace::cargo()?;
    cargo.args(["clippy", "--quiet", "--workspace", "--all-targets"]);
    cargo
        .args(exclude(EBPF_CRATES))
        .args(["--", "-D", "warnings"]);
    command::run(&mut cargo)?;
    Ok(Counts::PASSED)
}

/// The crates that build for the eBPF target only.
const EBPF_CRATES: &[&str] = &["dropwatch-ebpf", "dropwatch-floor-ebpf"];

/// cargo's flags that leave `crates` of the workspace out.
fn exclude(crates: &'static [&'static str]) -> impl Iterator<Item = &'static str> {
    crates.iter().flat_map(|name| ["--exclude", name])
}

fn ebpf_lints(toolchain: &Toolchain) -> Result<Counts> {
    let mut cargo = workspace::cargo()?;
    cargo
        .args(["clippy", "--quiet"])
        .args(EBPF_CRATES.iter().flat_map(|name| ["--package", name]))
        .args(["--target", "bpfel-unknown-none", "-Z", "build-std=core"])
        .args(["--", "-D", "warnings"])
        // As aya-build does it for the real build.
        .env("RUSTC_BOOTSTRAP", "1")
        .env(
            "RUSTFLAGS",
            format!(r#"--cfg bpf_target_arch="{}""#, env::consts::ARCH),
        )
        .env("PATH", toolchain.path()?)
        // RUSTC_BOOTSTRAP would make cargo build the host's crates anew, and
        // once more without it.
        .env(
            "CARGO_TARGET_DIR",
            workspace::target_dir()?.join("ebpf-lints"),
        );
    command::run(&mut cargo)?;
    Ok(Counts::PASSED)
}

fn unit_tests(_: &Toolchain) -> Result<Counts> {
    let mut cargo = workspace::cargo()?;
    cargo.args(["test", "--no-fail-fast", "--workspace"]);
    cargo.args(exclude(EBPF_CRATES)).args(["--exclude", TESTS]);
    let mut counts = count_tests(&mut cargo)?;
    let mut cargo = workspace::cargo()?;
    cargo.args(["test", "--no-fail-fast", "--package", TESTS]);
    cargo.args(["--lib", "--bins", "--test", GOLDEN]);
    counts += count_tests(&mut cargo)?;
    Ok(counts)
}

/// The crate of the live tests, which need root and the release binary, and of
/// the golden tests, which need neither.
const TESTS: &str = "dropwatch-tests";
const LIVE: &str = "live";
const GOLDEN: &str = "golden";

fn live_tests(toolchain: &Toolchain) -> Result<Counts> {
    host_tools::ensure_live()?;
    let dropwatch = build::release("dropwatch", "dropwatch", toolchain)?;
    let mut cargo = workspace::cargo()?;
    cargo
        .args(["test", "--no-fail-fast", "--package", TESTS])
        .args(["--test", LIVE])
        .env("DROPWATCH_BIN", dropwatch)
        .env("DROPWATCH_PROMETHEUS", host_tools::prometheus()?);
    if !command::is_root() {
        let sudo = command::sudo("cargo xtask test")?;
        // Cargo itself stays the user's, only the tests run as root.
        let host = toolchain.host.to_uppercase().replace('-', "_");
        let runner = format!("{} -E", sudo.display());
        cargo.env(format!("CARGO_TARGET_{host}_RUNNER"), runner);
    }
    count_tests(&mut cargo)
}

/// Runs `cargo test`, passes its lines on and adds up its counts.
fn count_tests(cargo: &mut Command) -> Result<Counts> {
    let mut child = cargo
        .stdout(Stdio::piped())
        .spawn()
        .context("starting cargo test")?;
    let stdout = child.stdout.take().context("cargo has no output")?;
    let mut counts = Counts::default();
    for line in BufReader::new(stdout).lines() {
        let line = line.context("reading the output of cargo test")?;
        counts += Counts::of_cargo(&line).unwrap_or_default();
        say::result(line);
    }
    let status = child.wait().context("waiting for cargo test")?;
    if !status.success() && counts.failed == 0 {
        // It did not build, or a test program ended without its closing line.
        counts += Counts::FAILED;
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn no_test_program_is_left_out() {
        let folder = workspace::root().join("tests/tests");
        let mut programs: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        programs.sort();
        assert_eq!(programs, [GOLDEN, LIVE]);
    }
}
