//! Where the host that is traced keeps its names.

use std::path::{Path, PathBuf};

use anyhow::Result;
use rustc_hash::FxHashSet;

use super::{
    container::{Containers, processes},
    netns::NetnsNames,
};

/// The names of a host's network namespaces and containers, read when they are
/// asked for.
pub struct Host {
    /// Its `/proc`.
    pub(super) proc: PathBuf,
    /// Names of network namespaces.
    pub(super) netns: NetnsNames,
    /// Control groups, containers and pods.
    pub containers: Containers,
}

impl Host {
    /// The host whose file systems are below `root`.
    pub fn below(root: &Path) -> Self {
        Self {
            proc: root.join("proc"),
            netns: NetnsNames::below(root),
            containers: Containers::below(root),
        }
    }

    /// To be called before names are asked for: notices those that have changed.
    pub fn refresh(&mut self) {
        self.netns.refresh();
        self.containers.refresh();
    }

    /// Inode number of the network namespace that `name` stands for now: a path, a
    /// name, an inode number, or `pid:N`.
    ///
    /// # Errors
    /// There is no such namespace.
    pub fn resolve_netns(&mut self, name: &str) -> Result<u32> {
        self.netns.resolve(name, &mut self.containers)
    }

    /// The name of the network namespace with this inode number.
    pub(crate) fn netns_name(&mut self, inode: u32) -> Option<&[u8]> {
        self.netns.name(inode)
    }

    /// Inode numbers of the network namespaces that are known, each once, and a file by which it can
    /// be entered: those with a name, and those that processes live in.
    pub(crate) fn network_namespaces(&self) -> Vec<(u32, PathBuf)> {
        let mut found = self.netns.files();
        found.extend(processes::namespace_files(&self.proc));
        let mut seen = FxHashSet::default();
        found.retain(|(inode, _)| seen.insert(*inode));
        found
    }
}
