//! Programs of this machine that the VM tests use, or take along into the guest.

use anyhow::Result;
use xtask::{apt, cache, command};

/// Each program and the Debian package that brings it.
const TOOLS: &[(&str, &str)] = &[
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("busybox", "busybox-static"),
    ("dash", "dash"),
    ("ip", "iproute2"),
    ("tc", "iproute2"),
    ("nft", "nftables"),
    ("modprobe", "kmod"),
    ("depmod", "kmod"),
    ("setpriv", "util-linux"),
];

/// Installs the packages of the programs that are missing.
pub(crate) fn ensure() -> Result<()> {
    if missing().is_empty() {
        return Ok(());
    }
    let _lock = cache::lock()?;
    match missing() {
        packages if packages.is_empty() => Ok(()),
        packages => apt::install(&packages),
    }
}

fn missing() -> Vec<&'static str> {
    let absent = |(program, _): &&(&str, _)| command::find(program).is_none();
    let mut packages: Vec<_> = TOOLS.iter().filter(absent).map(|tool| tool.1).collect();
    packages.dedup();
    packages
}
