//! Writes what packages hold beside the binary and is made from dropwatch's own sources: manual
//! pages and completions from the one definition of the command line, and the notices of what
//! the binary is built of.
//!
//! A crate of its own: the binary needs none of it, and `xtask` must not depend on dropwatch,
//! whose build script depends on `xtask`.

mod completions;
mod man;
mod notices;

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use clap::CommandFactory as _;
use dropwatch::cli::Cli;

fn main() -> Result<()> {
    let mut args = env::args().skip(1);
    let (Some(folder), Some(date)) = (args.next(), args.next()) else {
        bail!("usage: dropwatch-packaging FOLDER DATE");
    };
    let folder = PathBuf::from(folder);
    man::write(Cli::command(), &date, &subfolder(&folder, "man")?)?;
    completions::write(Cli::command(), &subfolder(&folder, "completions")?)?;
    write(
        &folder.join("THIRD-PARTY-LICENSES.txt"),
        &notices::collect()?,
    )
}

fn subfolder(folder: &Path, name: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    fs::create_dir_all(&path).with_context(|| format!("creating {}", path.display()))?;
    Ok(path)
}

fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    fs::write(path, content).with_context(|| format!("writing {}", path.display()))
}
