//! `struct dst_entry`, `include/net/dst.h`: the route that was found for a packet.

use super::{
    netdev::NetDevice,
    read::{Access as _, Copied},
};
use crate::config::{DST_DEV, DST_INPUT};

/// The bits of `sk_buff._skb_refdst` that are not the pointer's:
/// `SKB_DST_PTRMASK` in `include/linux/skbuff.h`.
const REFDST_FLAGS: u64 = 1;

/// A route; none where the address is 0.
#[derive(Clone, Copy)]
pub(crate) struct Dst {
    pub(crate) address: u64,
}

impl Dst {
    /// What `sk_buff._skb_refdst` says.
    ///
    /// Some queues keep something else in this place while they hold a packet
    /// (`tcp_tsorted_anchor`): [`NetDevice::netns`] of the device tells.
    #[inline(always)]
    pub(crate) fn from_refdst(refdst: u64) -> Self {
        Self {
            address: refdst & !REFDST_FLAGS,
        }
    }

    /// The device that the packet is to leave by.
    #[inline(always)]
    pub(crate) fn dev(self) -> NetDevice<Copied> {
        NetDevice::new(Copied::pointer(self.address, DST_DEV.load()))
    }

    /// Address of the function that received packets are handed to, 0 where it
    /// can't be known.
    #[inline(always)]
    pub(crate) fn input(self) -> u64 {
        Copied::pointer(self.address, DST_INPUT.load())
    }
}
