//! `struct sk_buff`, `include/linux/skbuff.h`.

use core::marker::PhantomData;

use dropwatch_common::{
    config::ABSENT,
    event::{HEADERS_LEN, LINK_HEADER_MAX, LINK_HEADER_MIN},
};

use super::{
    dst::Dst,
    netdev::NetDevice,
    read::{Access, Copied, SkbCopy},
    sock::Sock,
};
use crate::config::{
    SHINFO_GSO_SEGS, SHINFO_GSO_SIZE, SKB_DATA, SKB_DATA_LEN, SKB_DEV, SKB_END, SKB_HASH, SKB_HEAD,
    SKB_IIF, SKB_LEN, SKB_MAC_HEADER, SKB_MARK, SKB_NETWORK_HEADER, SKB_NEXT, SKB_PKT_TYPE,
    SKB_PRIORITY, SKB_PROTOCOL, SKB_QUEUE_MAPPING, SKB_REFDST, SKB_SK, SKB_USERS, SKB_VLAN_PRESENT,
    SKB_VLAN_PROTO, SKB_VLAN_TCI,
};

/// A packet.
pub(crate) struct Skb<'a, A> {
    address: u64,
    copy: &'a SkbCopy,
    access: PhantomData<A>,
}

/// The packet's headers in kernel memory.
#[derive(Clone, Copy)]
pub(crate) struct Headers {
    pub(crate) address: u64,
    /// Bytes, at most `HEADERS_LEN`.
    pub(crate) len: u32,
    /// How many of them lie before the network header.
    pub(crate) network_offset: u32,
    /// Bytes of linear data from `address` on.
    pub(crate) available: u64,
    /// `sk_buff.data`.
    pub(crate) data: u64,
}

impl Headers {
    /// None at all.
    pub(crate) const NONE: Self = Self {
        address: 0,
        len: 0,
        network_offset: 0,
        available: 0,
        data: 0,
    };
}

/// How a packet is to be cut into segments.
pub(crate) struct Gso {
    /// Bytes of payload in each segment.
    pub(crate) size: u16,
    /// Number of segments, 0 where the kernel has not counted them.
    pub(crate) segs: u16,
}

impl<'a, A: Access> Skb<'a, A> {
    /// The packet at `address`; `copy` is room to work in. `None` if it can't be read.
    #[inline(always)]
    pub(crate) fn open(address: u64, copy: &'a mut SkbCopy) -> Option<Self> {
        A::open_skb(address, copy).then_some(Self::opened(address, copy))
    }

    /// The packet at `address`, which was opened with `copy`.
    #[inline(always)]
    pub(crate) const fn opened(address: u64, copy: &'a SkbCopy) -> Self {
        Self {
            address,
            copy,
            access: PhantomData,
        }
    }

    /// The integer at `offset`, 0 where this kernel has no such field.
    #[inline(always)]
    fn field<T: Copy + Default>(&self, offset: u32) -> T {
        A::skb_field(self.address, self.copy, offset)
    }

    /// Bytes from `data` on, fragments included.
    #[inline(always)]
    pub(crate) fn len(&self) -> u32 {
        self.field(SKB_LEN.load())
    }

    /// Ethertype in network byte order, 0 where it is not set.
    #[inline(always)]
    pub(crate) fn protocol(&self) -> u16 {
        self.field(SKB_PROTOCOL.load())
    }

    /// The device the packet came from or goes to.
    ///
    /// Some queues keep something else in this place while they hold a packet
    /// (`dev_scratch`, `rbnode`): [`NetDevice::netns`] tells.
    #[inline(always)]
    pub(crate) fn dev(&self) -> NetDevice<A> {
        NetDevice::new(A::vetted(self.field(SKB_DEV.load())))
    }

    /// The socket the packet belongs to.
    #[inline(always)]
    pub(crate) fn sk(&self) -> Sock<A> {
        Sock::new(A::vetted(self.field(SKB_SK.load())))
    }

    /// `sk_buff.mark`.
    #[inline(always)]
    pub(crate) fn mark(&self) -> u32 {
        self.field(SKB_MARK.load())
    }

    /// `sk_buff.priority`.
    #[inline(always)]
    pub(crate) fn priority(&self) -> u32 {
        self.field(SKB_PRIORITY.load())
    }

    /// `sk_buff.hash`.
    #[inline(always)]
    pub(crate) fn hash(&self) -> u32 {
        self.field(SKB_HASH.load())
    }

    /// Index of the device that the packet was received on, 0 if it was not.
    #[inline(always)]
    pub(crate) fn iif(&self) -> u32 {
        self.field(SKB_IIF.load())
    }

    /// `sk_buff.queue_mapping`.
    #[inline(always)]
    pub(crate) fn queue(&self) -> u16 {
        self.field(SKB_QUEUE_MAPPING.load())
    }

    /// The route that was found for the packet.
    #[inline(always)]
    pub(crate) fn dst(&self) -> Dst {
        Dst::from_refdst(self.field(SKB_REFDST.load()))
    }

    /// `PACKET_*` of `include/uapi/linux/if_packet.h`.
    #[inline(always)]
    pub(crate) fn pkt_type(&self) -> Option<u8> {
        self.bits(SKB_PKT_TYPE.load(), 0b111)
    }

    /// The accelerated VLAN tag: TPID in network byte order, and TCI.
    ///
    /// Kernels up to 6.1 have a bit for its presence, others a TPID
    /// (`skb_vlan_tag_present` in `include/linux/if_vlan.h`).
    #[inline(always)]
    pub(crate) fn vlan_tag(&self) -> Option<(u16, u16)> {
        let proto: u16 = self.field(SKB_VLAN_PROTO.load());
        let is_present = match self.bits(SKB_VLAN_PRESENT.load(), 1) {
            Some(bit) => bit != 0,
            None => proto != 0,
        };
        is_present.then(|| (proto, self.field(SKB_VLAN_TCI.load())))
    }

    /// The bit field that starts `position` bits from the start of the struct;
    /// `None` where this kernel has none.
    #[inline(always)]
    fn bits(&self, position: u32, mask: u8) -> Option<u8> {
        if position == ABSENT {
            return None;
        }
        let byte: u8 = self.field(position / 8);
        Some(byte >> (position % 8) & mask)
    }

    /// How the packet is to be cut into segments, `None` if it is not
    /// (`skb_is_gso` in `include/linux/skbuff.h`).
    #[inline(always)]
    pub(crate) fn gso(&self) -> Option<Gso> {
        let head: u64 = self.field(SKB_HEAD.load());
        let end: u32 = self.field(SKB_END.load());
        let shared_info = head.wrapping_add(u64::from(end));
        let size: u16 = Copied::load(shared_info, SHINFO_GSO_SIZE.load());
        if size == 0 {
            return None;
        }
        let segs = Copied::load(shared_info, SHINFO_GSO_SEGS.load());
        Some(Gso { size, segs })
    }

    /// The packet's bytes from the MAC header on, where there is one right
    /// before the network header, otherwise from the network header on: linear
    /// data only, and never past its end.
    ///
    /// Before the receive path has set `network_header` (it is 0 then), the
    /// network header is where `data` points.
    #[inline(always)]
    pub(crate) fn headers(&self) -> Headers {
        let head: u64 = self.field(SKB_HEAD.load());
        let data: u64 = self.field(SKB_DATA.load());
        let data_len: u32 = self.field(SKB_DATA_LEN.load());
        let network_header: u16 = self.field(SKB_NETWORK_HEADER.load());
        let mac_header: u16 = self.field(SKB_MAC_HEADER.load());
        let linear = self.len().saturating_sub(data_len);

        let end = data.wrapping_add(u64::from(linear));
        let network = match network_header {
            0 => data,
            offset => head.wrapping_add(u64::from(offset)),
        };
        if head == 0 || network >= end {
            return Headers::NONE;
        }
        // A MAC header that is not set is 0xffff, behind every network header.
        let gap = network.wrapping_sub(head.wrapping_add(u64::from(mac_header)));
        let network_offset = if (LINK_HEADER_MIN as u64..=LINK_HEADER_MAX as u64).contains(&gap) {
            gap as u32
        } else {
            0
        };
        let start = network - u64::from(network_offset);
        let available = end - start;
        let len = if available < HEADERS_LEN as u64 {
            available as u32
        } else {
            HEADERS_LEN as u32
        };
        Headers {
            address: start,
            len,
            network_offset,
            available,
            data,
        }
    }
}

/// Whether freeing the packet at `skb` now frees it for good, because the caller
/// holds the last reference: `skb_unref` in `include/linux/skbuff.h`.
#[inline(always)]
pub(crate) fn is_last_reference(skb: u64) -> bool {
    Copied::load::<u32>(skb, SKB_USERS.load()) == 1
}

/// The next packet of a list linked through `next`, 0 at its end.
#[inline(always)]
pub(crate) fn next(skb: u64) -> u64 {
    Copied::pointer(skb, SKB_NEXT.load())
}
