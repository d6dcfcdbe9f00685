//! A file system without much room.

use std::path::Path;

use anyhow::{Context as _, Result};
use nix::mount::{MsFlags, mount, umount};
use tempfile::TempDir;

/// 64 KiB, and a folder to reach it by; gone on drop.
#[derive(Debug)]
pub struct SmallDisk(TempDir);

impl SmallDisk {
    /// Makes and mounts it.
    pub fn new() -> Result<Self> {
        let folder = tempfile::tempdir().context("making a folder")?;
        mount(
            Some("none"),
            folder.path(),
            Some("tmpfs"),
            MsFlags::empty(),
            Some("size=64k"),
        )
        .context("mounting a small file system")?;
        Ok(Self(folder))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        umount(self.0.path()).ok();
    }
}
