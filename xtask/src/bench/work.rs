//! Where the files of a run are.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
};

use anyhow::Result;
use xtask::cache;

/// A folder in memory, for a disk would be part of the figures. Removed with
/// all that is in it when this is dropped.
pub(super) struct WorkDir(PathBuf);

impl WorkDir {
    pub(super) fn new() -> Result<Self> {
        let path = PathBuf::from(format!("/dev/shm/dropwatch-bench-{}", process::id()));
        cache::empty_dir(&path)?;
        Ok(Self(path))
    }

    /// Created by dropwatch once it sees drops.
    pub(super) fn ready_file(&self) -> PathBuf {
        self.0.join("ready")
    }

    /// dropwatch's standard output, if it is a file.
    pub(super) fn stdout(&self) -> PathBuf {
        self.0.join("stdout")
    }

    /// dropwatch's standard error.
    pub(super) fn stderr(&self) -> PathBuf {
        self.0.join("stderr")
    }

    /// Removes what the run before has left.
    pub(super) fn clear(&self) -> Result<()> {
        cache::empty_dir(self.path())
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        // There is nobody left to tell; the folder is in memory only.
        fs::remove_dir_all(self.path()).ok();
    }
}
