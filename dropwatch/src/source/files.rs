//! Where debug files are, and what to install where there are none.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use super::{BuildId, Kernel};

/// How deep folders of modules are looked through: `kernel/drivers/net/ethernet/intel/ice` is six.
const MAX_DEPTH: u32 = 10;

/// Where the kernel's debug file can be, most likely first: what `tools/perf/util/symbol.c` and
/// `tools/lib/bpf/btf.c` of the kernel look at.
pub(super) fn of_kernel(kernel: &Kernel) -> Vec<PathBuf> {
    let Kernel { root, release, .. } = kernel;
    let by_name = [
        format!("usr/lib/debug/boot/vmlinux-{release}"),
        format!("usr/lib/debug/lib/modules/{release}/vmlinux"),
        format!("usr/lib/debug/usr/lib/modules/{release}/vmlinux"),
        format!("usr/lib/debug/usr/lib/modules/{release}/vmlinux.debug"),
        format!("usr/lib/debug/boot/vmlinux-{release}.debug"),
        format!("lib/modules/{release}/build/vmlinux"),
        format!("lib/modules/{release}/vmlinux"),
        format!("boot/vmlinux-{release}"),
    ];
    let by_id = by_build_id(root, &kernel.build_id);
    by_id
        .into_iter()
        .chain(by_name.iter().map(|path| root.join(path)))
        .collect()
}

/// Where a module's debug file can be.
pub(super) fn of_module(kernel: &Kernel, module: &str, id: &BuildId) -> Vec<PathBuf> {
    let Kernel { root, release, .. } = kernel;
    let mut paths: Vec<PathBuf> = by_build_id(root, id).into_iter().collect();
    for folder in [
        format!("usr/lib/debug/lib/modules/{release}"),
        format!("usr/lib/debug/usr/lib/modules/{release}"),
        format!("lib/modules/{release}"),
    ] {
        find_module(&root.join(folder), module, MAX_DEPTH, &mut paths);
    }
    paths
}

fn by_build_id(root: &Path, id: &BuildId) -> Option<PathBuf> {
    let id = id.to_string();
    let (start, rest) = id.split_at_checked(2)?;
    Some(root.join(format!("usr/lib/debug/.build-id/{start}/{rest}.debug")))
}

/// Adds the files below `folder` that are named after the module.
fn find_module(folder: &Path, module: &str, depth: u32, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        // Not through links, such as `build`.
        if kind.is_dir() && depth > 0 {
            find_module(&entry.path(), module, depth - 1, found);
        } else if !kind.is_dir() && is_module(&entry.file_name(), module) {
            found.push(entry.path());
        }
    }
}

/// Whether a file, as `nf-tables.ko.debug`, is that of a module, as `nf_tables`.
fn is_module(file: &OsStr, module: &str) -> bool {
    let Some((name, ending)) = file.to_str().and_then(|file| file.split_once(".ko")) else {
        return false;
    };
    let is_same = |(a, b): (u8, u8)| a == b || (a, b) == (b'-', b'_');
    name.len() == module.len()
        && name.bytes().zip(module.bytes()).all(is_same)
        && matches!(ending, "" | ".debug" | ".gz" | ".xz" | ".zst")
}

/// What to do where the kernel's debug file is missing.
pub(super) fn advice(kernel: &Kernel) -> String {
    if !kernel.is_running {
        return "give it with --vmlinux".to_owned();
    }
    let os_release = fs::read_to_string(kernel.root.join("etc/os-release")).unwrap_or_default();
    let package = package(&os_release, &kernel.release);
    format!("{package}, or give it with --vmlinux")
}

/// How to get it on this distribution, `os-release(5)`.
fn package(os_release: &str, release: &str) -> String {
    let value = |key: &str| {
        let mut lines = os_release.lines();
        let value = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        value.unwrap_or_default().trim_matches(['"', '\''])
    };
    let like = value("ID_LIKE").split_ascii_whitespace();
    for id in std::iter::once(value("ID")).chain(like) {
        match id {
            "ubuntu" => {
                return format!("install linux-image-{release}-dbgsym (from ddebs.ubuntu.com)");
            }
            "debian" => return format!("install linux-image-{release}-dbg"),
            "fedora" | "rhel" | "centos" => {
                return format!(
                    "install kernel-debuginfo-{release} (dnf debuginfo-install kernel)"
                );
            }
            "suse" | "opensuse" | "sles" => {
                return "install kernel-default-debuginfo".to_owned();
            }
            "arch" => {
                return "give --debuginfod with DEBUGINFOD_URLS=https://debuginfod.archlinux.org"
                    .to_owned();
            }
            _ => {}
        }
    }
    format!("install the debug information of kernel {release}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_of_distributions() {
        let package = |os_release| package(os_release, "6.1.0-47-amd64");
        for (os_release, expected) in [
            ("ID=debian\n", "install linux-image-6.1.0-47-amd64-dbg"),
            (
                "NAME=x\nID=ubuntu\nID_LIKE=debian\n",
                "linux-image-6.1.0-47-amd64-dbgsym",
            ),
            ("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", "-dbgsym"),
            (
                "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n",
                "dnf debuginfo-install",
            ),
            ("ID=fedora\n", "kernel-debuginfo-6.1.0-47-amd64"),
            (
                "ID=\"opensuse-tumbleweed\"\nID_LIKE=\"opensuse suse\"\n",
                "kernel-default-debuginfo",
            ),
            ("ID=arch\n", "--debuginfod"),
            ("ID=other\n", "debug information of kernel 6.1.0-47-amd64"),
            ("", "debug information of kernel 6.1.0-47-amd64"),
        ] {
            let package = package(os_release);
            assert!(package.contains(expected), "{package} for {os_release}");
        }
    }

    #[test]
    fn files_of_modules() {
        let is_module = |file: &str, module| is_module(OsStr::new(file), module);
        assert!(is_module("nf_tables.ko", "nf_tables"));
        assert!(is_module("nf-tables.ko.debug", "nf_tables"));
        assert!(is_module("veth.ko.zst", "veth"));
        assert!(!is_module("nf_tables.ko", "nf_tablesx"));
        assert!(!is_module("veth.ko.old", "veth"));
        assert!(!is_module("veth.so", "veth"));
        assert!(!is_module("vmlinux", "vmlinux"));
    }

    #[test]
    fn modules_are_found_below_folders() {
        let root = tempfile::tempdir().unwrap();
        let kernel = Kernel {
            root: root.path().to_owned(),
            release: "6.1".to_owned(),
            build_id: BuildId::parse("aabb").unwrap(),
            is_running: true,
        };
        for path in [
            "usr/lib/debug/lib/modules/6.1/kernel/drivers/net/veth.ko.debug",
            "lib/modules/6.1/updates/veth.ko.xz",
            "lib/modules/6.2/updates/veth.ko.xz",
        ] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        // A loop, as the link to the source tree can be.
        std::os::unix::fs::symlink(root.path(), root.path().join("lib/modules/6.1/build")).unwrap();
        let id = BuildId::parse("ccdd").unwrap();
        let found = of_module(&kernel, "veth", &id);
        let expected = [
            "usr/lib/debug/.build-id/cc/dd.debug",
            "usr/lib/debug/lib/modules/6.1/kernel/drivers/net/veth.ko.debug",
            "lib/modules/6.1/updates/veth.ko.xz",
        ];
        assert_eq!(found, expected.map(|path| root.path().join(path)));
        let paths = of_kernel(&kernel);
        assert_eq!(
            paths[0],
            root.path().join("usr/lib/debug/.build-id/aa/bb.debug")
        );
        assert!(paths.contains(&root.path().join("usr/lib/debug/boot/vmlinux-6.1")));
    }
}
