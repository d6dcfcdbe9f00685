//! Cgroups as container engines make them.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};

/// A folder in the cgroup2 tree with the folders above it, removed on drop.
#[derive(Debug)]
pub struct Cgroup {
    root: PathBuf,
    path: PathBuf,
}

impl Cgroup {
    /// Makes `path`, as `system.slice/docker-ID.scope`, under a folder of this process.
    pub fn new(path: &str) -> Result<Self> {
        let root = mount_point()?.join(format!("dwt-{}", std::process::id()));
        let cgroup = Self {
            path: root.join(path),
            root,
        };
        fs::create_dir_all(&cgroup.path)
            .with_context(|| format!("making the cgroup {}", cgroup.path.display()))?;
        Ok(cgroup)
    }

    /// Makes `path`, whose processes get so many bytes together and no swap.
    pub fn with_memory(path: &str, bytes: u64) -> Result<Self> {
        let cgroup = Self::new(path)?;
        let above = cgroup.path.ancestors().skip(1);
        let mut above: Vec<&Path> = above
            .take_while(|dir| dir.join("cgroup.procs").exists())
            .collect();
        // From the top, for each folder gives to those below it what it has itself.
        above.reverse();
        for folder in above {
            let file = folder.join("cgroup.subtree_control");
            fs::write(&file, "+memory").with_context(|| format!("writing {}", file.display()))?;
        }
        for (name, bytes) in [("memory.max", bytes), ("memory.swap.max", 0)] {
            let file = cgroup.path.join(name);
            // Kernels without swap have no limit of it.
            if file.exists() {
                fs::write(&file, bytes.to_string())
                    .with_context(|| format!("writing {}", file.display()))?;
            }
        }
        Ok(cgroup)
    }

    /// Its folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Moves a process into it.
    pub fn add(&self, pid: u32) -> Result<()> {
        let file = self.path.join("cgroup.procs");
        fs::write(&file, pid.to_string()).with_context(|| format!("writing {}", file.display()))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let folders = self
            .path
            .ancestors()
            .take_while(|dir| dir.starts_with(&self.root));
        for folder in folders {
            // A process that has just ended leaves its cgroup a moment later.
            for _ in 0..50 {
                if fs::remove_dir(folder).is_ok() || fs::read_dir(folder).is_err() {
                    break;
                }
                let shared = fs::read_dir(folder)
                    .is_ok_and(|entries| entries.flatten().any(|entry| entry.path().is_dir()));
                if shared {
                    return;
                }
                thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

/// Where the cgroup2 tree is: not at the usual place where the old trees are mounted beside it.
fn mount_point() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("reading the mounts")?;
    cgroup2_of(&mounts).context("no cgroup2 tree is mounted")
}

fn cgroup2_of(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ');
        let (_, place, kind) = (words.next()?, words.next()?, words.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(place))
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::cgroup2_of;

    #[test]
    fn the_tree_is_found() {
        let mounts = "cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(
            cgroup2_of(mounts),
            Some(PathBuf::from("/sys/fs/cgroup/unified"))
        );
        assert_eq!(cgroup2_of("proc /proc proc rw 0 0\n"), None);
    }
}
