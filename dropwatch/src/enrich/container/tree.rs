//! The tree of cgroups, indexed by id.
//!
//! A cgroup's id (`bpf_get_current_cgroup_id`, `cgroup->kn->id`) is the inode number of its
//! folder in cgroup2 (`kernfs_ino` in `include/linux/kernfs.h`), on machines of 64 bits. The
//! kernel does not give an id out again, and a folder of cgroup2 can't be renamed: what an id
//! was once found to be stays right.

use std::{
    ffi::OsString,
    fs::{self, DirEntry},
    os::unix::{
        ffi::{OsStrExt as _, OsStringExt as _},
        fs::{DirEntryExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
};

use rustc_hash::{FxHashMap, FxHashSet};

use super::{
    super::files::{MOUNTINFO, MOUNTINFO_LIMIT, mounts, read_bounded},
    Labels,
    identity::{Identity, identify},
};

/// Most cgroups that are remembered; systemd makes some hundred, a full Kubernetes node some
/// thousand.
const LIMIT: usize = 32 * 1024;

/// Where cgroup2 is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cgroup2 {
    /// The folder.
    pub(super) point: PathBuf,
    /// The path of the cgroup that is mounted there, empty for the topmost one.
    pub(super) prefix: Vec<u8>,
}

impl Cgroup2 {
    /// Looks for the mount; the whole tree is preferred to a part of it.
    pub(super) fn find(root: &Path) -> Option<Self> {
        let mountinfo = read_bounded(&root.join(MOUNTINFO), MOUNTINFO_LIMIT).ok()?;
        let mut found: Vec<_> = mounts(&mountinfo)
            .filter(|mount| mount.kind == b"cgroup2")
            .collect();
        found.sort_by_key(|mount| mount.root != b"/");
        let mount = found.into_iter().next()?;
        let is_top = mount.root == b"/";
        Some(Self {
            point: PathBuf::from(OsString::from_vec(mount.point)),
            prefix: if is_top { Vec::new() } else { mount.root },
        })
    }
}

/// A cgroup.
pub(super) struct Cgroup {
    /// Its path from the top of the tree, as `/proc/PID/cgroup` gives it; empty for the top.
    pub(super) path: Box<[u8]>,
    /// What the path says.
    pub(super) identity: Identity,
    /// Names for it.
    pub(super) labels: Labels,
    /// The number of the walk that saw it last.
    walk: u32,
}

/// The cgroups that were seen.
#[derive(Default)]
pub(super) struct Tree {
    cgroups: FxHashMap<u64, Cgroup>,
    /// Ids that were looked for and are nowhere: they never will be.
    nowhere: FxHashSet<u64>,
    walk: u32,
}

impl Tree {
    /// The cgroup with this id.
    pub(super) fn get(&self, id: u64) -> Option<&Cgroup> {
        self.cgroups.get(&id)
    }

    /// The cgroup with this id.
    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut Cgroup> {
        self.cgroups.get_mut(&id)
    }

    /// Whether a walk would tell nothing new about this id.
    pub(super) fn is_settled(&self, id: u64) -> bool {
        self.cgroups.contains_key(&id) || self.nowhere.contains(&id)
    }

    /// To be told, after a walk, of the id that caused it.
    pub(super) fn settle(&mut self, id: u64) {
        if self.nowhere.len() >= LIMIT {
            self.nowhere.clear();
        }
        if !self.cgroups.contains_key(&id) {
            self.nowhere.insert(id);
        }
    }

    /// The cgroups that were there at the last walk, by id.
    pub(super) fn present(&self) -> impl Iterator<Item = (u64, &Cgroup)> {
        let all = self.cgroups.iter().map(|(id, cgroup)| (*id, cgroup));
        all.filter(|(_, cgroup)| cgroup.walk == self.walk)
    }

    /// Reads the whole tree, which is a folder for each cgroup. Removed cgroups are remembered as long
    /// as there is room.
    pub(super) fn walk(&mut self, mount: &Cgroup2) {
        self.walk = self.walk.wrapping_add(1);
        if self.cgroups.len() >= LIMIT {
            let last = self.walk.wrapping_sub(1);
            self.cgroups.retain(|_, cgroup| cgroup.walk == last);
        }
        let Ok(top) = fs::metadata(&mount.point) else {
            return;
        };
        self.add(top.ino(), mount.prefix.clone());
        let mut folders = vec![(mount.point.clone(), mount.prefix.clone())];
        let mut left = LIMIT;
        while let Some((folder, path)) = folders.pop() {
            for entry in folders_in(&folder) {
                if left == 0 {
                    return;
                }
                left -= 1;
                let path = [path.as_slice(), entry.file_name().as_bytes()].join(&b'/');
                self.add(entry.ino(), path.clone());
                folders.push((entry.path(), path));
            }
        }
    }

    fn add(&mut self, id: u64, path: Vec<u8>) {
        let walk = self.walk;
        if let Some(cgroup) = self.cgroups.get_mut(&id) {
            cgroup.walk = walk;
            return;
        }
        let identity = identify(&path);
        let cgroup = Cgroup {
            path: path.into(),
            identity,
            labels: Labels::default(),
            walk,
        };
        self.cgroups.insert(id, cgroup);
    }
}

/// Names of the cgroups in a folder.
pub(super) fn children(folder: &Path) -> Vec<Vec<u8>> {
    folders_in(folder)
        .map(|entry| entry.file_name().as_bytes().to_vec())
        .collect()
}

/// The folders in a folder; none if it has just been removed.
fn folders_in(folder: &Path) -> impl Iterator<Item = DirEntry> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let entries = entries.filter_map(Result::ok);
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
}

#[cfg(test)]
#[path = "tree/tests.rs"]
mod tests;
