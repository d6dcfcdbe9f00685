//! The tree of cgroups, indexed by id.
//!
//! A cgroup's id (`bpf_get_current_cgroup_id`, `cgroup->kn->id`) is the inode number of its
//! folder in cgroup2 (`kernfs_ino` in `include/linux/kernfs.h`), on machines of 64 bits. The
//! kernel does not give an id out again, and a folder of cgroup2 can't be renamed: what an id
//! was once found to be stays right.

use std::{
    collections::VecDeque,
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

/// Most bytes that the cgroups of one walk take, as [`cost`] counts them; as much again can be
/// remembered of those before. A cgroup takes half a kilobyte; systemd makes some hundred of them,
/// a full Kubernetes node some thousand.
const LIMIT: usize = 16 << 20;

/// The cgroups of one user or of one container may take one in so many of these bytes, some four
/// thousand cgroups: however many he makes, there is room for those of others.
const SHARES: usize = 8;

/// What each of those that come later can have for sure, but where they are too many: some sixty
/// cgroups.
const LEAST: usize = 16 << 10;

/// Longest path in bytes. Kubernetes inside of Kubernetes makes some 500.
const PATH_LIMIT: usize = 1024;

/// Most ids that are known to be nowhere.
const NOWHERE_LIMIT: usize = 32 * 1024;

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

    /// The folder of the cgroup with this path.
    fn folder(&self, path: &[u8]) -> PathBuf {
        let below = path.strip_prefix(&*self.prefix).unwrap_or(path);
        let folder = [self.point.as_os_str().as_bytes(), below].concat();
        PathBuf::from(OsString::from_vec(folder))
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
pub(super) struct Tree {
    /// [`LIMIT`], but in tests.
    room: usize,
    cgroups: FxHashMap<u64, Cgroup>,
    /// Ids that were looked for and are nowhere: they never will be.
    nowhere: FxHashSet<u64>,
    walk: u32,
    /// Whether it was said that there are too many.
    warned: bool,
}

impl Default for Tree {
    fn default() -> Self {
        Self::with_room(LIMIT)
    }
}

impl Tree {
    fn with_room(room: usize) -> Self {
        Self {
            room,
            cgroups: FxHashMap::default(),
            nowhere: FxHashSet::default(),
            walk: 0,
            warned: false,
        }
    }

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
        if self.nowhere.len() >= NOWHERE_LIMIT {
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

    /// Reads the tree, which is a folder for each cgroup. Removed cgroups are remembered as long as
    /// there is room.
    ///
    /// What users and containers may make as they like comes last, each with a share of the room.
    pub(super) fn walk(&mut self, mount: &Cgroup2) {
        let taken: usize = self.cgroups.values().map(|cgroup| cost(&cgroup.path)).sum();
        if taken >= self.room {
            let last = self.walk;
            self.cgroups.retain(|_, cgroup| cgroup.walk == last);
        }
        self.walk = self.walk.wrapping_add(1);
        let Ok(top) = fs::metadata(&mount.point) else {
            return;
        };
        self.add(top.ino(), mount.prefix.clone());
        let mut left = self.room;
        let delegated = self.descend(mount, top.ino(), &mut left);
        let mut others = delegated.len();
        for delegated in delegated {
            others -= 1;
            // The others have some room for sure.
            let kept = left.saturating_sub(others * LEAST).max(left / (others + 1));
            let share = kept.min(self.room / SHARES);
            let mut rest = share;
            self.descend(mount, delegated, &mut rest);
            left -= share - rest;
        }
    }

    /// Reads what is below a cgroup, nearest first, while there is room; gives the cgroups in which
    /// others may make as many as they like, without what is below them.
    fn descend(&mut self, mount: &Cgroup2, top: u64, left: &mut usize) -> Vec<u64> {
        let mut delegated = Vec::new();
        let mut folders = VecDeque::from([top]);
        while let Some(folder) = folders.pop_front() {
            let Some(cgroup) = self.get(folder) else {
                continue;
            };
            let (above, is_delegated) = (cgroup.path.clone(), cgroup.identity.delegated);
            for entry in folders_in(&mount.folder(&above)) {
                let path = [&*above, entry.file_name().as_bytes()].join(&b'/');
                if path.len() > PATH_LIMIT {
                    self.warn(&above);
                    continue;
                }
                let Some(rest) = left.checked_sub(cost(&path)) else {
                    self.warn(&above);
                    return delegated;
                };
                *left = rest;
                let id = entry.ino();
                if self.add(id, path).identity.delegated && !is_delegated {
                    delegated.push(id);
                } else {
                    folders.push_back(id);
                }
            }
        }
        delegated
    }

    fn add(&mut self, id: u64, path: Vec<u8>) -> &Cgroup {
        let cgroup = self.cgroups.entry(id).or_insert_with(|| Cgroup {
            identity: identify(&path),
            path: path.into(),
            labels: Labels::default(),
            walk: 0,
        });
        cgroup.walk = self.walk;
        cgroup
    }

    /// Says once that not all cgroups fit.
    fn warn(&mut self, path: &[u8]) {
        if !self.warned {
            self.warned = true;
            log::warn!(
                "too many control groups, or paths of more than {PATH_LIMIT} bytes, below {}/: some \
                 drops have no container=, pod= or unit=",
                String::from_utf8_lossy(path)
            );
        }
    }
}

/// About how many bytes a cgroup takes: its path, parts of it in [`Identity`], and what is of fixed
/// size.
fn cost(path: &[u8]) -> usize {
    2 * path.len() + size_of::<Cgroup>()
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
