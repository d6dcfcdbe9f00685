//! What the running kernel is and can do.

use std::{fmt, fs, path::Path, process::Command, str::FromStr};

use anyhow::{Context as _, Result, anyhow};

/// A kernel version, to the minor number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kernel(pub u32, pub u32);

impl Kernel {
    /// The running kernel.
    pub fn running() -> Result<Self> {
        fs::read_to_string("/proc/sys/kernel/osrelease")
            .context("reading the kernel release")?
            .parse()
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}", self.0, self.1)
    }
}

impl FromStr for Kernel {
    type Err = anyhow::Error;

    fn from_str(release: &str) -> Result<Self> {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => Ok(Self(major, minor)),
            _ => Err(anyhow!("not a kernel release: {release:?}")),
        }
    }
}

/// Whether this kernel can place kprobes.
///
/// The PMU is there exactly with `CONFIG_KPROBE_EVENTS`, and needs no tracefs mount to be seen.
#[must_use]
pub fn has_kprobes() -> bool {
    Path::new("/sys/bus/event_source/devices/kprobe").exists()
}

/// Whether the compiler has split `kfree_skb`: packets of a list are then freed by its second part
/// alone, where no probe is.
#[must_use]
pub fn splits_kfree_skb() -> bool {
    let symbols = fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    symbols.contains(" kfree_skb.part.")
}

/// Loads a module if it can be had. Built in, loaded and loadable all give `true`.
pub fn load_module(name: &str) -> bool {
    Path::new("/sys/module").join(name).exists()
        || Command::new("modprobe")
            .arg(name)
            .output()
            .is_ok_and(|output| output.status.success())
}

#[cfg(test)]
mod tests {
    use super::Kernel;

    #[test]
    fn releases() {
        for (release, want) in [
            ("5.10.0-35-cloud-amd64", Some(Kernel(5, 10))),
            ("7.3+deb13-cloud-amd64", Some(Kernel(7, 3))),
            ("6.1\n", Some(Kernel(6, 1))),
            ("rolling", None),
        ] {
            assert_eq!(release.parse().ok(), want, "{release}");
        }
        assert!(Kernel(5, 10) < Kernel(5, 17) && Kernel(6, 12) < Kernel(7, 3));
    }
}
