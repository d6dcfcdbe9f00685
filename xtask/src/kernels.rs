//! Debian's kernels, unpacked into the cache.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, anyhow};
use xtask::{apt, cache, command};

use crate::arch::Arch;

/// Which of Debian's builds of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// For virtual machines: small, with BTF and all that is traced.
    Cloud,
    /// For any machine.
    Generic,
}

impl Flavour {
    /// As in `--flavour`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cloud => "cloud",
            Self::Generic => "generic",
        }
    }

    /// How the names of its packages end.
    fn suffix(self, arch: Arch) -> String {
        match self {
            Self::Cloud => format!("-cloud-{}", arch.debian()),
            Self::Generic => format!("-{}", arch.debian()),
        }
    }

    /// Where its kernels are.
    fn dir(self, arch: Arch) -> Result<PathBuf> {
        let mut kernels = cache::dir()?.join("kernels");
        if arch != Arch::X86_64 {
            kernels.push(arch.debian());
        }
        Ok(match self {
            Self::Cloud => kernels,
            Self::Generic => kernels.join(self.name()),
        })
    }
}

/// The kernels that dropwatch is tested on.
pub(crate) const KERNELS: &[Kernel] = &[
    // kfree_skb without a reason.
    Kernel {
        label: "5.10",
        suite: "bullseye-security",
        packages: &["linux-image-5.10."],
    },
    // kfree_skb_reason.
    Kernel {
        label: "6.1",
        suite: "bookworm",
        packages: &["linux-image-6.1."],
    },
    // sk_skb_reason_drop, and the receiving socket in the tracepoint.
    Kernel {
        label: "6.12",
        suite: "trixie",
        packages: &["linux-image-6.12."],
    },
    // The newest; Debian splits the package from 7.0 on.
    Kernel {
        label: "7.3",
        suite: "trixie-backports",
        packages: &["linux-binary-7.3.", "linux-modules-7.3."],
    },
];

/// A kernel series and where Debian has it.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// The series, which is also its name in `--kernel`.
    pub(crate) label: &'static str,
    suite: &'static str,
    /// How the names of the packages start that make up this kernel.
    packages: &'static [&'static str],
}

/// A kernel in the cache.
pub(crate) struct Installed {
    pub(crate) label: &'static str,
    pub(crate) arch: Arch,
    dir: PathBuf,
}

impl Kernel {
    /// The kernel of this label.
    pub(crate) fn named(label: &str) -> Result<&'static Self> {
        let found = KERNELS.iter().find(|kernel| kernel.label == label);
        found.with_context(|| {
            let known: Vec<_> = KERNELS.iter().map(|kernel| kernel.label).collect();
            format!("unknown kernel `{label}`; known: {}", known.join(", "))
        })
    }

    /// The version in the cache, or else the newest that Debian has.
    pub(crate) fn ensure(&self, flavour: Flavour, arch: Arch) -> Result<Installed> {
        if let Some(installed) = self.cached(flavour, arch)? {
            return Ok(installed);
        }
        let _lock = cache::lock()?;
        // Another xtask may have fetched it in the meantime.
        if let Some(installed) = self.cached(flavour, arch)? {
            return Ok(installed);
        }
        self.fetch(flavour, arch).with_context(|| {
            format!(
                "fetching the Debian kernel {} from suite {}",
                self.label,
                self.suite(arch)
            )
        })
    }

    fn suite(&self, arch: Arch) -> &'static str {
        match (self.suite, arch) {
            // Its lists name packages for arm64, but they are gone.
            ("bullseye-security", Arch::Arm64) => "bullseye",
            (suite, _) => suite,
        }
    }

    fn cached(&self, flavour: Flavour, arch: Arch) -> Result<Option<Installed>> {
        let dir = flavour.dir(arch)?;
        let newest = newest(entries(&dir)?, self.label);
        Ok(newest.map(|name| self.installed(arch, dir.join(name))))
    }

    fn installed(&self, arch: Arch, dir: PathBuf) -> Installed {
        Installed {
            label: self.label,
            arch,
            dir,
        }
    }

    fn fetch(&self, flavour: Flavour, arch: Arch) -> Result<Installed> {
        let suite = arch.suite(self.suite(arch))?;
        let kernels = flavour.dir(arch)?;
        cache::create_dir(&kernels)?;
        let parts = kernels.join(format!("{}.partial", self.label));
        cache::empty_dir(&parts)?;
        let unpacked = parts.join("unpacked");
        let mut version = String::new();
        for package in suite.newest(self.packages, &flavour.suffix(arch))? {
            suite.unpack(&package, &unpacked)?;
            version = package.version;
        }
        arrange(&unpacked, &parts)?;
        let dir = kernels.join(format!("{}-{version}", self.label));
        cache::rename(&parts, &dir)?;
        Ok(self.installed(arch, dir))
    }
}

impl Installed {
    /// The image to boot.
    pub(crate) fn image(&self) -> PathBuf {
        self.dir.join("vmlinuz")
    }

    /// The folder `/lib/modules/RELEASE` with `modules.dep` in it.
    pub(crate) fn modules(&self) -> Result<PathBuf> {
        only_entry(&self.dir.join("lib/modules"))
    }
}

/// The folder `LABEL-VERSION` of the newest version.
fn newest(folders: Vec<String>, label: &str) -> Option<String> {
    let version = |name: &str| -> Option<String> {
        let version = name.strip_prefix(label)?.strip_prefix('-')?;
        (!version.ends_with(".partial")).then(|| version.to_owned())
    };
    folders
        .into_iter()
        .filter_map(|name| Some((version(&name)?, name)))
        .max_by(|(a, _), (b, _)| apt::compare_versions(a, b))
        .map(|(_, name)| name)
}

/// Keeps the image and the modules of an unpacked package, where we look for
/// them: packages put them into different places.
fn arrange(unpacked: &Path, into: &Path) -> Result<()> {
    let modules = ["lib/modules", "usr/lib/modules"]
        .map(|dir| unpacked.join(dir))
        .into_iter()
        .find(|dir| dir.exists())
        .with_context(|| format!("no modules in {}", unpacked.display()))?;
    let tree = only_entry(&modules)?;
    let release = tree.file_name().unwrap_or_default().to_string_lossy();
    let image = [
        unpacked.join(format!("boot/vmlinuz-{release}")),
        tree.join("vmlinuz"),
    ]
    .into_iter()
    .find(|image| image.exists())
    .with_context(|| format!("no vmlinuz in {}", unpacked.display()))?;
    cache::rename(&image, &into.join("vmlinuz"))?;
    cache::create_dir(&into.join("lib"))?;
    cache::rename(&modules, &into.join("lib/modules"))?;
    index_modules(into, &release)?;
    fs::remove_dir_all(unpacked).with_context(|| format!("removing {}", unpacked.display()))
}

/// Writes `modules.dep`, which installing the package would have done.
fn index_modules(dir: &Path, release: &str) -> Result<()> {
    let depmod = command::find("depmod").context("depmod is missing; run: apt-get install kmod")?;
    let mut depmod = Command::new(depmod);
    command::output(depmod.arg("-b").arg(dir).arg(release)).map(drop)
}

fn only_entry(dir: &Path) -> Result<PathBuf> {
    match &entries(dir)?[..] {
        [name] => Ok(dir.join(name)),
        names => Err(anyhow!(
            "{} should hold one folder, but holds {names:?}; remove it and try again",
            dir.display()
        )),
    }
}

fn entries(dir: &Path) -> Result<Vec<String>> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))?;
    entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_not_compared_as_text() {
        let folders = [
            "6.1-6.1.100-1",
            "6.1-6.1.9-1",
            "6.12-6.12.107-1",
            "6.1.partial",
        ];
        let folders: Vec<_> = folders.map(str::to_owned).into();
        assert_eq!(newest(folders.clone(), "6.1").unwrap(), "6.1-6.1.100-1");
        assert_eq!(newest(folders.clone(), "6.12").unwrap(), "6.12-6.12.107-1");
        assert_eq!(newest(folders, "5.10"), None);
    }
}
