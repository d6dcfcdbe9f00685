//! `struct net_device`, `include/linux/netdevice.h`, and `struct net`.

use dropwatch_common::event::IFNAME_LEN;

use super::read;
use crate::config::{NET_INUM, NETDEV_IFINDEX, NETDEV_NAME, NETDEV_NET};

/// Inode numbers of network namespaces: those given out at run time start at
/// `PROC_DYNAMIC_FIRST` (`fs/proc/generic.c`), the fixed ones of newer kernels
/// (`include/uapi/linux/nsfs.h`) lie just below. The upper end keeps out the
/// high half of a kernel pointer.
const NETNS_INODES: core::ops::Range<u32> = 0xEFFF_FF00..0xF800_0000;

/// What `sk_buff.dev` points to.
#[derive(Clone, Copy)]
pub(crate) struct NetDevice {
    pub(crate) address: u64,
}

impl NetDevice {
    /// Inode number of the device's network namespace.
    ///
    /// `None` also where the address is not that of a device.
    #[inline(always)]
    pub(crate) fn netns(&self) -> Option<u32> {
        netns_inode(read::pointer(self.address, NETDEV_NET.load()))
    }

    /// Interface index.
    #[inline(always)]
    pub(crate) fn ifindex(&self) -> Option<u32> {
        read::member(self.address, NETDEV_IFINDEX.load())
    }

    /// Copies the interface's name; false if it can't be read.
    #[inline(always)]
    pub(crate) fn read_name(&self, name: &mut [u8; IFNAME_LEN]) -> bool {
        let address = self.address.wrapping_add(u64::from(NETDEV_NAME.load()));
        // SAFETY: `name` is valid for `IFNAME_LEN` bytes.
        unsafe { read::bytes(name.as_mut_ptr(), IFNAME_LEN as u32, address) }
    }

    /// The interface's name with nothing but NULs behind its end: a name that
    /// was changed can leave a longer one's end there.
    #[inline(always)]
    pub(crate) fn padded_name(&self) -> Option<[u8; IFNAME_LEN]> {
        let address = self.address.wrapping_add(u64::from(NETDEV_NAME.load()));
        let mut name = [0; IFNAME_LEN];
        // SAFETY: `name` is valid for `IFNAME_LEN` bytes.
        unsafe { read::string(name.as_mut_ptr(), IFNAME_LEN as u32, address) }.then_some(name)
    }
}

/// Inode number of the `struct net` at `net`, `None` if there is none.
#[inline(always)]
pub(crate) fn netns_inode(net: u64) -> Option<u32> {
    let inode: u32 = read::member(net, NET_INUM.load())?;
    NETNS_INODES.contains(&inode).then_some(inode)
}
