//! `struct cgroup`, `include/linux/cgroup-defs.h`.

use super::read::{Access, Copied};
use crate::config::{CGROUP_NODE, CGROUP_PARENT, CSS_CGROUP, KERNFS_ID};

/// A cgroup of the unified hierarchy; none where the address is 0.
#[derive(Clone, Copy)]
pub(crate) struct Cgroup {
    pub(crate) address: u64,
}

impl Cgroup {
    /// The cgroup's id: the inode number of its folder, as
    /// `bpf_get_current_cgroup_id` gives it; 0 where it can't be read.
    #[inline(always)]
    pub(crate) fn id<A: Access>(self) -> u64 {
        A::load(
            A::pointer(self.address, CGROUP_NODE.load()),
            KERNFS_ID.load(),
        )
    }

    /// The cgroup that this one is in, none for the root.
    #[inline(always)]
    pub(crate) fn parent(self) -> Self {
        let css = Copied::pointer(self.address, CGROUP_PARENT.load());
        Self {
            address: Copied::pointer(css, CSS_CGROUP.load()),
        }
    }
}
