//! The processors that guests have, and all that is different for each.

use anyhow::Result;
use clap::ValueEnum;
use xtask::{apt::Suite, toolchain::Toolchain};

/// A kind of processor, as in `--arch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Arch {
    /// That of the machine: its programs run in the guest as well.
    #[value(name = "x86-64")]
    X86_64,
    /// Another one, for which programs are built and fetched.
    #[value(name = "arm64")]
    Arm64,
}

impl Arch {
    /// Debian's name for it, with which names of kernels end.
    pub(crate) fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// The suite `name`, with packages for this processor.
    pub(crate) fn suite(self, name: &str) -> Result<Suite> {
        match self {
            Self::X86_64 => Suite::open(name),
            Self::Arm64 => Suite::open_foreign(name, self.debian()),
        }
    }

    /// What the compiler calls a machine with it.
    pub(crate) fn target(self, toolchain: &Toolchain) -> &str {
        match self {
            Self::X86_64 => &toolchain.host,
            Self::Arm64 => "aarch64-unknown-linux-gnu",
        }
    }

    /// The emulator and what it emulates.
    pub(crate) fn qemu(self) -> &'static [&'static str] {
        match self {
            // Without cx16 the kernel leaves out cmpxchg16b, after which qemu
            // 7.2 now and then has garbage in the flags: 6 of 16 boots of 6.12
            // panicked on it, none of 15 without.
            Self::X86_64 => &["qemu-system-x86_64", "-cpu", "max,-cx16"],
            // Pointers are signed by a quick function, not by the processor's.
            Self::Arm64 => &[
                "qemu-system-aarch64",
                "-machine",
                "virt",
                "-cpu",
                "max,pauth-impdef=on",
            ],
        }
    }

    /// The guest's name for its first serial port.
    pub(crate) fn console(self) -> &'static str {
        match self {
            Self::X86_64 => "ttyS0",
            Self::Arm64 => "ttyAMA0",
        }
    }
}
