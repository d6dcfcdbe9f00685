//! The bill of materials: CycloneDX, for the program and for the eBPF object in it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use xtask::{cache, command, toolchain::Toolchain};

use super::{CARGO_CYCLONEDX, VERSION, stage, tool};
use crate::workspace;

/// The crates that end up in the binary.
const CRATES: [&str; 2] = ["dropwatch", "dropwatch-ebpf"];

/// What the tool calls its files, which it writes beside the manifest of each crate.
const FILE: &str = "dropwatch-sbom";

/// Writes `CRATE-VERSION.cdx.json` for each.
pub(super) fn write(toolchain: &Toolchain, folder: &Path, time: &str) -> Result<()> {
    // In a copy: new files beside the sources would make cargo build everything again.
    let copy = copy_of_workspace()?;
    let mut cyclonedx = tool(&CARGO_CYCLONEDX, "cyclonedx", time)?;
    cyclonedx
        .args(["--quiet", "--all", "--no-build-deps", "--format", "json"])
        .args(["--spec-version", "1.5", "--target", &toolchain.host])
        .args(["--override-filename", FILE])
        .current_dir(&copy);
    command::run(&mut cyclonedx)?;
    for name in CRATES {
        let made = copy.join(name).join(format!("{FILE}.json"));
        let text = fs::read_to_string(&made)
            .with_context(|| format!("reading the SBOM {}", made.display()))?;
        let text = text.replace(&copy.display().to_string(), "/dropwatch");
        stage::write(&folder.join(format!("{name}-{VERSION}.cdx.json")), text)?;
    }
    fs::remove_dir_all(&copy).with_context(|| format!("removing {}", copy.display()))
}

fn copy_of_workspace() -> Result<PathBuf> {
    let copy = workspace::target_dir()?.join("sbom");
    cache::empty_dir(&copy)?;
    let root = workspace::root();
    let reading = || format!("reading {}", root.display());
    for entry in fs::read_dir(root).with_context(reading)? {
        let name = entry.with_context(reading)?.file_name();
        if name != "target" && name != ".git" {
            let mut cp = Command::new("cp");
            command::run(cp.arg("--recursive").arg(root.join(name)).arg(&copy))?;
        }
    }
    Ok(copy)
}
