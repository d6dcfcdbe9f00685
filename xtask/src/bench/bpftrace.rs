//! bpftrace as Debian builds it: the newest that can be had, with libraries of its own.

use std::{
    env::consts,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use xtask::{
    apt::{self, Package, Suite},
    cache, command,
};

/// Suites that are newer than most machines, the newest first.
const SUITES: &[&str] = &["forky", "trixie"];

/// The words that a command for bpftrace starts with.
///
/// The package and its libraries are unpacked into the cache, where they stay:
/// removing the folder `bpftrace-VERSION` brings the newest one anew.
pub(super) fn command_words() -> Result<Vec<PathBuf>> {
    let fetched = cached().and_then(|cached| cached.map_or_else(fetch, Ok));
    match (fetched, command::find("bpftrace")) {
        (Ok(tree), _) => words_in(&tree),
        (Err(_), Some(installed)) => Ok(vec![installed]),
        (Err(error), None) => Err(error.context("no bpftrace")),
    }
}

fn cached() -> Result<Option<PathBuf>> {
    let dir = cache::dir()?;
    let entries = fs::read_dir(&dir).with_context(|| format!("reading {}", dir.display()))?;
    let mut versions = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        versions.extend(name.strip_prefix("bpftrace-").map(str::to_owned));
    }
    versions.retain(|version| !version.ends_with(".partial"));
    let newest = versions
        .into_iter()
        .max_by(|a, b| apt::compare_versions(a, b));
    Ok(newest.map(|version| dir.join(format!("bpftrace-{version}"))))
}

fn fetch() -> Result<PathBuf> {
    let _lock = cache::lock()?;
    let (suite, package) = find()?;
    let tree = cache::dir()?.join(format!("bpftrace-{}", package.version));
    // Not `with_extension`: a version has dots, too.
    let parts = cache::dir()?.join(format!("bpftrace-{}.partial", package.version));
    cache::empty_dir(&parts)?;
    suite.unpack_with_dependencies(&package, &parts)?;
    cache::rename(&parts, &tree)?;
    Ok(tree)
}

fn find() -> Result<(Suite, Package)> {
    let own = apt::own_suites()?;
    let suites = SUITES.iter().map(|suite| (*suite).to_owned()).chain(own);
    for name in suites {
        // A suite that the mirror lacks is no reason to give up.
        let Ok(suite) = Suite::open(&name) else {
            continue;
        };
        if let Some(package) = suite.versions("bpftrace")?.into_iter().next() {
            return Ok((suite, package));
        }
    }
    bail!("no suite has the package bpftrace")
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
