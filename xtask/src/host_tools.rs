//! Programs of this machine that the live and the VM tests use, or take along into the guest.

use std::path::PathBuf;

use anyhow::{Context, Result};
use xtask::{
    apt::{self, Suite},
    cache, command,
};

use crate::arch::Arch;

/// A program and the Debian package that brings it.
type Tool = (&'static str, &'static str);

/// What the scenarios run. The packages of the two servers start no service: dnsmasq-base is the
/// bare program, and redis-tools holds the server under the name of its checker (the package
/// redis-server adds a link and a service).
const LIVE: &[Tool] = &[
    ("ip", "iproute2"),
    ("tc", "iproute2"),
    ("nft", "nftables"),
    ("dnsmasq", "dnsmasq-base"),
    ("redis-check-rdb", "redis-tools"),
    ("setpriv", "util-linux"),
];

/// What the live tests need beside, to look at a terminal.
const TERMINAL: &[Tool] = &[("tmux", "tmux")];

/// What they look at the unit with. The package alone does not make systemd the init of a machine.
const UNITS: &[Tool] = &[("systemd-analyze", "systemd"), ("strace", "strace")];

/// What they read files of packets with.
const PACKETS: &[Tool] = &[("tshark", "tshark"), ("tcpdump", "tcpdump")];

/// What sees drops beside dropwatch.
const TRACERS: &[Tool] = &[("perf", "linux-perf"), ("bpftrace", "bpftrace")];

/// What goes into virtual machines beside.
const GUEST: &[Tool] = &[
    ("busybox", "busybox-static"),
    ("dash", "dash"),
    ("modprobe", "kmod"),
];

/// What runs virtual machines.
const VM: &[Tool] = &[
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("depmod", "kmod"),
];

/// What runs those of arm64, and links programs for them: of the compilers, only that for C++ brings
/// the C library.
const ARM64_VM: &[Tool] = &[
    ("qemu-system-aarch64", "qemu-system-arm"),
    ("depmod", "kmod"),
    ("aarch64-linux-gnu-g++", "g++-aarch64-linux-gnu"),
];

/// What installs packages into a folder, and reads manual pages and completions.
const PACKAGES: &[Tool] = &[
    ("ip", "iproute2"),
    ("debootstrap", "debootstrap"),
    ("rpm", "rpm"),
    ("mandoc", "mandoc"),
    ("zsh", "zsh"),
    ("fish", "fish"),
];

/// What libFuzzer is built with.
const FUZZ: &[Tool] = &[("c++", "g++")];

/// Installs what fuzzing lacks.
pub(crate) fn ensure_fuzz() -> Result<()> {
    ensure(&[FUZZ])
}

/// Installs what the tests of packages lack.
pub(crate) fn ensure_packages() -> Result<()> {
    ensure(&[PACKAGES])
}

/// Installs the packages of the programs that the live tests lack.
pub(crate) fn ensure_live() -> Result<()> {
    ensure(&[LIVE, TERMINAL, UNITS, PACKETS, TRACERS])
}

/// The folder with Debian's `prometheus` and `promtool`. Installed, the package would start a
/// service; so it is unpacked into the cache.
pub(crate) fn prometheus() -> Result<PathBuf> {
    let tree = apt::unpacked("prometheus", &apt::own_suites()?, Suite::unpack)?;
    Ok(tree.join("usr/bin"))
}

/// Installs the packages of the programs that the VM tests lack.
pub(crate) fn ensure_vm(arch: Arch) -> Result<()> {
    match arch {
        Arch::X86_64 => ensure(&[LIVE, GUEST, VM]),
        Arch::Arm64 => ensure(&[LIVE, GUEST, ARM64_VM]),
    }
}

/// The folder with what goes into virtual machines, for the processor `arch`: Debian's packages with
/// all that they depend on, unpacked into the cache. It stays there; removing it brings it anew.
pub(crate) fn unpacked_for_guest(arch: Arch) -> Result<PathBuf> {
    let _lock = cache::lock()?;
    let tree = cache::dir()?.join(format!("guest-{}", arch.debian()));
    if tree.exists() {
        return Ok(tree);
    }
    let own = apt::own_suites()?;
    let suite = arch.suite(own.first().context("this machine has no suite")?)?;
    let parts = tree.with_extension("partial");
    cache::empty_dir(&parts)?;
    let mut packages: Vec<_> = [LIVE, GUEST].concat().iter().map(|tool| tool.1).collect();
    packages.dedup();
    suite.unpack_all_with_dependencies(&packages, &parts)?;
    cache::rename(&parts, &tree)?;
    Ok(tree)
}

fn ensure(tools: &[&[Tool]]) -> Result<()> {
    if missing(tools).is_empty() {
        return Ok(());
    }
    let _lock = cache::lock()?;
    match missing(tools) {
        packages if packages.is_empty() => Ok(()),
        packages => apt::install(&packages),
    }
}

fn missing(tools: &[&[Tool]]) -> Vec<&'static str> {
    let tools = tools.iter().flat_map(|tools| tools.iter());
    let absent = |(program, _): &&Tool| command::find(program).is_none();
    let mut packages: Vec<_> = tools.filter(absent).map(|tool| tool.1).collect();
    packages.dedup();
    packages
}
