//! The bill of materials: CycloneDX, for the program and for the eBPF object in it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use xtask::{command, toolchain::Toolchain};

use super::{CARGO_CYCLONEDX, VERSION, stage, tool};
use crate::workspace;

/// The crates that end up in the binary.
const CRATES: [&str; 2] = ["dropwatch", "dropwatch-ebpf"];

/// What the tool calls its files, which it writes beside the manifest of each crate.
const FILE: &str = "dropwatch-sbom";

/// Writes `CRATE-VERSION.cdx.json` for each.
pub(super) fn write(toolchain: &Toolchain, folder: &Path, time: &str) -> Result<()> {
    let mut cyclonedx = tool(&CARGO_CYCLONEDX, "cyclonedx", time)?;
    cyclonedx
        .args(["--quiet", "--all", "--no-build-deps", "--format", "json"])
        .args(["--spec-version", "1.5", "--target", &toolchain.host])
        .args(["--override-filename", FILE]);
    command::run(&mut cyclonedx)?;
    for name in CRATES {
        let made = workspace::root().join(name).join(file());
        let text = fs::read_to_string(&made)
            .with_context(|| format!("reading the SBOM {}", made.display()))?;
        let text = text.replace(&workspace::root().display().to_string(), "/dropwatch");
        stage::write(&folder.join(format!("{name}-{VERSION}.cdx.json")), text)?;
    }
    for made in beside_manifests(workspace::root(), 2)? {
        fs::remove_file(&made).with_context(|| format!("removing {}", made.display()))?;
    }
    Ok(())
}

fn file() -> String {
    format!("{FILE}.json")
}

/// The tool's files in `folder` and, so many levels deep, in those below.
fn beside_manifests(folder: &Path, levels: usize) -> Result<Vec<PathBuf>> {
    let reading = || format!("reading {}", folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(reading)? {
        let path = entry.with_context(reading)?.path();
        if path.is_dir() && levels > 0 && path.join("Cargo.toml").is_file() {
            found.extend(beside_manifests(&path, levels - 1)?);
        } else if path.ends_with(file()) {
            found.push(path);
        }
    }
    Ok(found)
}
