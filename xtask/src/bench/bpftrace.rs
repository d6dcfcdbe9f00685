//! bpftrace as Debian builds it: the newest that can be had, with libraries of its own.

use std::{
    env::consts,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use xtask::{
    apt::{self, Suite},
    command,
};

/// Suites that are newer than most machines, the newest first.
const SUITES: &[&str] = &["forky", "trixie"];

/// The words that a command for bpftrace starts with.
///
/// The package and its libraries are unpacked into the cache, where they stay:
/// removing the folder `bpftrace-VERSION` brings the newest one anew.
pub(super) fn command_words() -> Result<Vec<PathBuf>> {
    match (tree(), command::find("bpftrace")) {
        (Ok(tree), _) => words_in(&tree),
        (Err(_), Some(installed)) => Ok(vec![installed]),
        (Err(error), None) => Err(error.context("no bpftrace")),
    }
}

fn tree() -> Result<PathBuf> {
    let suites = SUITES.iter().map(|suite| (*suite).to_owned());
    let suites: Vec<_> = suites.chain(apt::own_suites()?).collect();
    apt::unpacked("bpftrace", &suites, Suite::unpack_with_dependencies)
}

/// Starts the program by the tree's own dynamic linker, for the machine's C library
/// may be older than the one it was built for.
fn words_in(tree: &Path) -> Result<Vec<PathBuf>> {
    let libraries = tree.join(format!("usr/lib/{}-linux-gnu", consts::ARCH));
    let entries = fs::read_dir(&libraries)
        .with_context(|| format!("reading {}", libraries.display()))?
        .collect::<Result<Vec<_>, _>>()?;
    let is_linker = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with("ld-linux-");
    let linker = entries.iter().find(|entry| is_linker(&entry.file_name()));
    let linker = linker.with_context(|| format!("no dynamic linker in {}", libraries.display()))?;
    Ok(vec![
        linker.path(),
        "--library-path".into(),
        libraries,
        tree.join("usr/bin/bpftrace"),
    ])
}
