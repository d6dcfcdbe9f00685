//! Where the files of a run are.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    process,
};

use anyhow::{Context, Result};
use xtask::cache;

/// A folder in memory, for a disk would be part of the figures. Removed with
/// all that is in it when this is dropped.
pub(super) struct WorkDir(PathBuf);

impl WorkDir {
    /// Creates the folder with an output file that `output_bytes` fit into.
    pub(super) fn new(output_bytes: u64) -> Result<Self> {
        let path = PathBuf::from(format!("/dev/shm/dropwatch-bench-{}", process::id()));
        cache::empty_dir(&path)?;
        let work = Self(path);
        work.fill_stdout(output_bytes)
            .context("filling a file in /dev/shm")?;
        Ok(work)
    }

    /// Fills the output file, which is then overwritten: finding and clearing
    /// new memory for it would be most of the tracer's time per line.
    fn fill_stdout(&self, bytes: u64) -> io::Result<()> {
        let mut file = File::create(self.stdout())?;
        io::copy(&mut io::repeat(b'\n').take(bytes), &mut file)?;
        Ok(())
    }

    /// Created by dropwatch once it sees drops.
    pub(super) fn ready_file(&self) -> PathBuf {
        self.0.join("ready")
    }

    /// A tracer's standard output, if it is a file.
    pub(super) fn stdout(&self) -> PathBuf {
        self.0.join("stdout")
    }

    /// What a tracer writes that has a file of its own for it.
    pub(super) fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    /// A tracer's standard error.
    pub(super) fn stderr(&self) -> PathBuf {
        self.0.join("stderr")
    }

    /// Removes what the tracer before has left, but for its output.
    pub(super) fn clear(&self) -> Result<()> {
        for file in [self.ready_file(), self.data()] {
            match fs::remove_file(&file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("removing {}", file.display()));
                }
                _ => {}
            }
        }
        Ok(())
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
