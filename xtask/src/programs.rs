//! Programs for the guest, with their libraries.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use xtask::command;

use crate::{arch::Arch, host_tools};

/// Where the guest's programs come from.
pub(crate) enum Programs {
    /// This machine.
    Own,
    /// A folder with unpacked packages for the guest's processor.
    Unpacked(PathBuf),
}

impl Programs {
    /// Those that run on `arch`.
    pub(crate) fn of(arch: Arch) -> Result<Self> {
        match arch {
            Arch::X86_64 => Ok(Self::Own),
            Arch::Arm64 => host_tools::unpacked_for_guest(arch).map(Self::Unpacked),
        }
    }

    /// The file of `program`.
    pub(crate) fn find(&self, program: &str) -> Result<PathBuf> {
        match self {
            Self::Own => command::find(program)
                .with_context(|| format!("{program} is missing; run: cargo xtask setup --vm")),
            Self::Unpacked(tree) => ["bin", "sbin", "usr/bin", "usr/sbin"]
                .into_iter()
                .find_map(|dir| file_in(tree, Path::new(dir).join(program)))
                .with_context(|| format!("no {program} in {}", tree.display())),
        }
    }

    /// Shared libraries that `program` may load: where they belong in the guest, and the files.
    pub(crate) fn libraries(&self, program: &Path) -> Result<Vec<(String, PathBuf)>> {
        match self {
            Self::Own => Ok(own_libraries(program)),
            // No program of this machine tells which of them it loads, and all are not many.
            Self::Unpacked(tree) => all_libraries(tree),
        }
    }
}

/// The shared libraries that `program` loads; ldd refuses a static program.
fn own_libraries(program: &Path) -> Vec<(String, PathBuf)> {
    let listing = command::output(Command::new("ldd").arg(program)).unwrap_or_default();
    let paths = listing.lines().filter_map(library_path);
    paths.map(|path| (path.clone(), path.into())).collect()
}

/// From `libc.so.6 => /lib/libc.so.6 (0x7f...)` or `/lib64/ld.so (0x7f...)`.
fn library_path(line: &str) -> Option<String> {
    let path = line.split_whitespace().find(|word| word.starts_with('/'))?;
    Some(path.to_owned())
}

/// The file at `path` in `tree`, in which links stay, whatever they name.
fn file_in(tree: &Path, path: PathBuf) -> Option<PathBuf> {
    let mut file = tree.join(path);
    if let Ok(target) = fs::read_link(&file) {
        // A relative one is followed by who reads the file.
        if let Ok(inside) = target.strip_prefix("/") {
            file = tree.join(inside);
        }
    }
    file.is_file().then_some(file)
}

/// The libraries in `tree`, where the guest's dynamic linker looks for them.
fn all_libraries(tree: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut libraries = Vec::new();
    for dir in ["lib", "lib/aarch64-linux-gnu"] {
        for from in [tree.join(dir), tree.join("usr").join(dir)] {
            for name in library_names(&from)? {
                libraries.push((format!("/{dir}/{name}"), from.join(name)));
            }
        }
    }
    Ok(libraries)
}

/// The names by which programs ask for the libraries in `dir`; a folder that is absent has none.
fn library_names(dir: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let is_library = name.ends_with(".so") || name.contains(".so.");
        if is_library && dir.join(&name).is_file() {
            names.push(name);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ldd_lines_give_paths() {
        let path = |line| library_path(line);
        assert_eq!(path("\tlinux-vdso.so.1 (0x7ffc)"), None);
        assert_eq!(
            path("\tlibc.so.6 => /lib/libc.so.6 (0x7f)").as_deref(),
            Some("/lib/libc.so.6")
        );
        assert_eq!(
            path("\t/lib64/ld-linux-x86-64.so.2 (0x7f)").as_deref(),
            Some("/lib64/ld-linux-x86-64.so.2")
        );
    }
}
