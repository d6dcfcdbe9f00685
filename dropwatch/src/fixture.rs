//! What real kernels say about themselves, for tests: see
//! `tests/fixtures/README.md`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{btf::Btf, enrich::symbol::Symbols};

/// The kernels that there are fixtures of.
pub(crate) const KERNELS: [&str; 4] = ["5.10", "6.1", "6.12", "7.3"];

fn path(kernel: &str, file: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
    fixtures.join(kernel).join(file)
}

/// The folder that stands for `/sys/kernel/btf`.
pub(crate) fn btf_folder(kernel: &str) -> PathBuf {
    path(kernel, "btf")
}

/// The folder that stands for `/proc`: counters of 7.3 only.
pub(crate) fn proc(kernel: &str) -> PathBuf {
    path(kernel, "proc")
}

/// The names of the kernel's settings; of 7.3 only.
pub(crate) fn sysctls(kernel: &str) -> String {
    fs::read_to_string(path(kernel, "sysctls")).unwrap()
}

/// The kernel's BTF.
pub(crate) fn btf(kernel: &str) -> Btf {
    Btf::load(Some(&path(kernel, "btf/vmlinux"))).unwrap()
}

/// The kernel's BTF after one of its names was replaced by one as long.
pub(crate) fn btf_with_renamed(kernel: &str, from: &str, to: &str) -> Btf {
    assert_eq!(from.len(), to.len(), "other names must not move");
    let file = path(kernel, "btf/vmlinux");
    let mut bytes = fs::read(&file).unwrap();
    let name = [b"\0", from.as_bytes(), b"\0"].concat();
    let at = bytes.windows(name.len()).position(|bytes| bytes == name);
    let start = at.unwrap() + 1;
    bytes[start..start + to.len()].copy_from_slice(to.as_bytes());
    Btf::from_bytes(bytes, &file).unwrap()
}

/// The kernel's symbols.
pub(crate) fn symbols(kernel: &str) -> Symbols {
    Symbols::load(&path(kernel, "kallsyms"), &path(kernel, "modules")).unwrap()
}

/// Address of a function of the kernel.
pub(crate) fn address(kernel: &str, function: &str) -> u64 {
    let kallsyms = fs::read_to_string(path(kernel, "kallsyms")).unwrap();
    let mut lines = kallsyms.lines().map(|line| line.split([' ', '\t']));
    let address = lines.find_map(|mut words| {
        let address = words.next()?;
        (words.nth(1) == Some(function)).then_some(address)
    });
    let address = address.unwrap_or_else(|| panic!("{kernel} has no {function}"));
    u64::from_str_radix(address, 16).unwrap()
}
