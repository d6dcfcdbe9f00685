//! Builds the eBPF object that the binary embeds.

use std::{env, process::ExitCode};

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
    println!("cargo::rerun-if-changed=../dropwatch-common/src");
    let toolchain = xtask::toolchain::check()?;
    let path = toolchain.path()?;
    // SAFETY: a build script has one thread here.
    unsafe {
        env::set_var("PATH", path);
        // The eBPF target needs core built from source, which is an unstable
        // feature of cargo.
        env::set_var("RUSTC_BOOTSTRAP", "1");
    }
    aya_build::build_ebpf(
        [Package {
            name: "dropwatch-ebpf",
            root_dir: "../dropwatch-ebpf",
            ..Package::default()
        }],
        Toolchain::Custom(&toolchain.name),
    )
    .context("building the eBPF object")
}
