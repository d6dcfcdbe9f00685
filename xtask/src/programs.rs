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

/// The file at `path` in `tree`; an absolute link there means another file of the tree.
fn file_in(tree: &Path, path: PathBuf) -> Option<PathBuf> {
    let file = tree.join(path);
    let file = match fs::read_link(&file) {
        Ok(target) if target.is_absolute() => tree.join(target.strip_prefix("/").ok()?),
        _ => file,
    };
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
    use std::{env, os::unix::fs::symlink, process};

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
    #[test]
    fn links_stay_in_the_tree() {
        let tree = env::temp_dir().join(format!("dropwatch-programs-{}", process::id()));
        for dir in ["bin", "sbin", "usr/lib/aarch64-linux-gnu"] {
            fs::create_dir_all(tree.join(dir)).unwrap();
        }
        fs::write(tree.join("bin/only-there"), "").unwrap();
        symlink("/bin/only-there", tree.join("sbin/linked")).unwrap();
        let library = "usr/lib/aarch64-linux-gnu/libx.so.1";
        fs::write(tree.join(library), "").unwrap();
        let programs = Programs::Unpacked(tree.clone());
        let found = programs.find("linked");
        let libraries = programs.libraries(Path::new("linked"));
        fs::remove_dir_all(&tree).unwrap();
        assert_eq!(found.unwrap(), tree.join("bin/only-there"));
        let in_guest = "/lib/aarch64-linux-gnu/libx.so.1".to_owned();
        assert_eq!(libraries.unwrap(), [(in_guest, tree.join(library))]);
    }
}
