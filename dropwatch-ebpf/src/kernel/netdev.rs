//! `struct net_device`, `include/linux/netdevice.h`, and `struct net`.

use core::marker::PhantomData;

use dropwatch_common::event::IFNAME_LEN;

use super::read::{Access, padded};
use crate::config::{NET_INUM, NETDEV_IFINDEX, NETDEV_NAME, NETDEV_NET};

/// Inode numbers of network namespaces: those given out at run time start at
/// `PROC_DYNAMIC_FIRST` (`fs/proc/generic.c`), the fixed ones of newer kernels
/// (`include/uapi/linux/nsfs.h`) lie just below. The upper end keeps out the
/// high half of a kernel pointer.
const NETNS_INODES: core::ops::Range<u32> = 0xEFFF_FF00..0xF800_0000;

/// What `sk_buff.dev` points to.
pub(crate) struct NetDevice<A> {
    address: u64,
    access: PhantomData<A>,
}

impl<A: Access> NetDevice<A> {
    #[inline(always)]
    pub(crate) fn new(address: u64) -> Self {
        Self {
            address,
            access: PhantomData,
        }
    }

    /// Inode number of the device's network namespace.
    ///
    /// `None` also where the address is not that of a device.
    #[inline(always)]
    pub(crate) fn netns(&self) -> Option<u32> {
        netns_inode::<A>(A::pointer(self.address, NETDEV_NET.load()))
    }

    /// Interface index.
    #[inline(always)]
    pub(crate) fn ifindex(&self) -> u32 {
        A::load(self.address, NETDEV_IFINDEX.load())
    }

    /// The interface's name, NUL-padded.
    #[inline(always)]
    pub(crate) fn name(&self) -> [u8; IFNAME_LEN] {
        padded(A::name(self.address, NETDEV_NAME.load()))
    }
}

/// Inode number of the `struct net` at `net`, `None` if there is none.
#[inline(always)]
pub(crate) fn netns_inode<A: Access>(net: u64) -> Option<u32> {
    let inode: u32 = A::load(net, NET_INUM.load());
    NETNS_INODES.contains(&inode).then_some(inode)
}
