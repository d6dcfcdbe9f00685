//! The folder under the user's cache where everything that is fetched stays.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

/// `$XDG_CACHE_HOME/dropwatch`, or `~/.cache/dropwatch`.
pub fn dir() -> Result<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty());
    let base = match (set("XDG_CACHE_HOME"), set("HOME")) {
        (Some(cache), _) => PathBuf::from(cache),
        (None, Some(home)) => PathBuf::from(home).join(".cache"),
        (None, None) => bail!("no cache folder: set HOME or XDG_CACHE_HOME"),
    };
    Ok(base.join("dropwatch"))
}

/// Waits until no other xtask changes the cache, and keeps others out until the
/// returned file is closed.
pub fn lock() -> Result<File> {
    let dir = dir()?;
    create_dir(&dir)?;
    let path = dir.join("lock");
    let file = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
    file.lock()
        .with_context(|| format!("locking {}", path.display()))?;
    Ok(file)
}

/// Creates a folder and its parents.
pub fn create_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("creating {}", path.display()))
}

/// An empty folder at `path`, whatever an interrupted run may have left there.
pub fn empty_dir(path: &Path) -> Result<()> {
    if path.exists() {
        fs::remove_dir_all(path).with_context(|| format!("emptying {}", path.display()))?;
    }
    create_dir(path)
}

/// Moves a file or a folder within the cache.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).with_context(|| format!("moving {} to {}", from.display(), to.display()))
}
