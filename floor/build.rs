//! Builds the eBPF object that the binary embeds.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use aya_build::{Package, Toolchain};

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One message, not a page of a build script's output.
            println!("cargo::error={error:#}");
            ExitCode::SUCCESS
        }
    }
}

fn build() -> Result<()> {
    // SAFETY: a build script has one thread here.
    let toolchain = unsafe { xtask::toolchain::prepare_ebpf_build() }?;
    aya_build::build_ebpf(
        [Package {
            name: "dropwatch-floor-ebpf",
            root_dir: "ebpf",
            ..Package::default()
        }],
        Toolchain::Custom(&toolchain.name),
    )
    .context("building the eBPF object")
}
