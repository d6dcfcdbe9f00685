//! Network namespaces without a name: nothing to remove, even after a crash.

use std::{
    fs::{self, File},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context as _, Result, anyhow};
use nix::{
    mount::{MsFlags, mount, umount},
    sched::{CloneFlags, setns, unshare},
};
use rustix::io::fcntl_dupfd_cloexec;

/// The name of every thread that works in a namespace: what the kernel calls its `comm`.
pub const THREAD_NAME: &str = "dwt-worker";
/// Namespaces are files with numbers from here on.
const HIGH: i32 = 200;
/// Where `ip netns` keeps its names.
const NAMED: &str = "/run/netns";

/// A network namespace that lives as long as this handle.
///
/// The kernel gives an inode number to another namespace once the first is gone, so a runner keeps
/// its namespaces until no line about them can arrive any more.
#[derive(Debug)]
pub struct Netns {
    file: OwnedFd,
    inode: u64,
}

impl Netns {
    /// Makes an empty namespace: a loopback device that is down, and nothing else.
    pub fn new() -> Result<Self> {
        let file = in_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("making a network namespace")?;
            open_own()
        })?;
        Self::from_file(file)
    }

    /// The namespace that the calling thread is in.
    pub fn current() -> Result<Self> {
        Self::from_file(open_own()?)
    }

    fn from_file(file: File) -> Result<Self> {
        let inode = file
            .metadata()
            .context("reading the namespace's inode")?
            .ino();
        // A runner has many; the low numbers are left to sockets, as in a process that just sends.
        let file = fcntl_dupfd_cloexec(&file, HIGH).context("moving a file out of the way")?;
        Ok(Self { file, inode })
    }

    /// The inode number, as dropwatch prints it in `netns=`.
    #[must_use]
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// A path by which another process (`ip link set ... netns PATH`) can open the namespace.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            self.file.as_raw_fd()
        ))
    }

    /// Runs `work` inside the namespace, on a thread of its own.
    ///
    /// Sockets opened and processes started by `work` stay in the namespace.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        in_thread(|| {
            setns(&self.file, CloneFlags::CLONE_NEWNET).context("entering a network namespace")?;
            work()
        })
    }
}

/// A name for a namespace, as `ip netns` gives it; gone on drop.
#[derive(Debug)]
pub struct NamedNetns {
    path: PathBuf,
    name: String,
}

impl NamedNetns {
    /// Names `netns` by its inode, for that is free.
    pub fn new(netns: &Netns) -> Result<Self> {
        Self::beginning(netns, "dwt")
    }

    /// Names it so, and by its inode.
    pub fn beginning(netns: &Netns, begin: &str) -> Result<Self> {
        let name = format!("{begin}-{}", netns.inode());
        let path = Path::new(NAMED).join(&name);
        fs::create_dir_all(NAMED).with_context(|| format!("making {NAMED}"))?;
        File::create(&path).with_context(|| format!("creating {}", path.display()))?;
        let named = Self { path, name };
        let none = None::<&str>;
        mount(
            Some(&netns.path()),
            &named.path,
            none,
            MsFlags::MS_BIND,
            none,
        )
        .with_context(|| format!("mounting {}", named.path.display()))?;
        Ok(named)
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for NamedNetns {
    fn drop(&mut self) {
        umount(&self.path).ok();
        fs::remove_file(&self.path).ok();
    }
}

fn open_own() -> Result<File> {
    // Not /proc/self: that is the first thread, which stays where it was.
    File::open("/proc/thread-self/ns/net").context("opening /proc/thread-self/ns/net")
}

fn in_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        thread::Builder::new()
            .name(THREAD_NAME.to_owned())
            .spawn_scoped(scope, work)
            .context("starting a thread")?
            .join()
            .map_err(|panic| anyhow!("a thread panicked: {panic:?}"))?
    })
}

#[cfg(test)]
mod tests {
    use super::in_thread;

    #[test]
    fn a_thread_gives_back_value_and_error() {
        assert_eq!(in_thread(|| Ok(7)).ok(), Some(7));
        assert!(in_thread::<()>(|| anyhow::bail!("no")).is_err());
    }
}
