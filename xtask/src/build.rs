//! `build` and `run`: the static release binary.

use std::{
    env,
    ffi::{OsStr, OsString},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, ensure};
use xtask::{
    command, say,
    toolchain::{self, Toolchain},
};

use crate::workspace;

/// Builds dropwatch and prints where it is.
pub(crate) fn build() -> Result<()> {
    let binary = release("dropwatch", "dropwatch", &toolchain::ensure()?)?;
    say::result(binary.display().to_string());
    Ok(())
}

/// Builds dropwatch and becomes it.
pub(crate) fn run(flags: &[String]) -> Result<ExitCode> {
    let binary = release("dropwatch", "dropwatch", &toolchain::ensure()?)?;
    // exec() returns only if it fails.
    let error = command::as_root(&binary, flags)?.exec();
    Err(error).with_context(|| format!("starting {}", binary.display()))
}

/// Builds one program of the workspace without dynamic libraries, so that it
/// runs on any host and in an initramfs.
pub(crate) fn release(package: &str, bin: &str, toolchain: &Toolchain) -> Result<PathBuf> {
    release_for(&toolchain.host, package, bin, toolchain)
}

/// As [`release`], for the machines that the compiler calls `target`.
pub(crate) fn release_for(
    target: &str,
    package: &str,
    bin: &str,
    toolchain: &Toolchain,
) -> Result<PathBuf> {
    let mut cargo = workspace::cargo()?;
    say::progress(format!("building {bin} (the first time takes minutes)"));
    cargo
        // Else cargo repeats, each time, what the build of the eBPF side said.
        .args(["build", "--quiet"])
        .args(["--release", "--package", package, "--bin", bin])
        .args(["--target", target])
        .env("CARGO_ENCODED_RUSTFLAGS", flags(toolchain)?);
    if target != toolchain.host {
        build_library(&mut cargo);
    }
    command::run(&mut cargo)?;
    let binary = workspace::target_dir()?
        .join(target)
        .join("release")
        .join(bin);
    ensure!(
        binary.is_file(),
        "cargo built {bin}, but {} is not there",
        binary.display()
    );
    Ok(binary)
}

/// Has cargo, by an unstable feature, build the standard library as well: a compiler brings it for
/// its own machine only. Debian's compiler for C links the program.
fn build_library(cargo: &mut Command) {
    cargo
        .args(["-Z", "build-std=std,panic_abort,panic_unwind"])
        .env("RUSTC_BOOTSTRAP", "1")
        .env(
            "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER",
            "aarch64-linux-gnu-gcc",
        );
}

/// The user's own flags, if any, a static C library, and neutral names for the folders of this
/// machine, so that a build is the same anywhere.
fn flags(toolchain: &Toolchain) -> Result<OsString> {
    let own = env::var("RUSTFLAGS").unwrap_or_default();
    let mut flags: Vec<OsString> = own.split_whitespace().map(OsString::from).collect();
    flags.push("-Ctarget-feature=+crt-static".into());
    // Of prefixes that fit, the last one counts.
    let folders = [
        (cargo_home()?, "/cargo"),
        (workspace::target_dir()?, "/target"),
        (workspace::root().to_owned(), "/dropwatch"),
        (workspace::root().join("target"), "/target"),
        (toolchain.library_source.clone(), "/rustlib"),
    ];
    for (folder, name) in folders {
        let mut flag = OsString::from("--remap-path-prefix=");
        flag.push(folder);
        flag.push("=");
        flag.push(name);
        flags.push(flag);
    }
    // The variable that takes folders with blanks.
    Ok(flags.join(OsStr::new("\x1f")))
}

/// Where cargo keeps the sources of crates.
fn cargo_home() -> Result<PathBuf> {
    if let Some(home) = env::var_os("CARGO_HOME") {
        return Ok(home.into());
    }
    let home = env::var_os("HOME").context("no folder of cargo's: set HOME or CARGO_HOME")?;
    Ok(PathBuf::from(home).join(".cargo"))
}
