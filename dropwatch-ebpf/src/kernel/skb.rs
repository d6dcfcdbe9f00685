//! `struct sk_buff`, `include/linux/skbuff.h`.

use dropwatch_common::{event::HEADERS_LEN, kernel_fields::SKB_SNAPSHOT_LEN};

use super::{netdev::NetDevice, read, sock::Sock};
use crate::config::{
    SKB_DATA, SKB_DATA_LEN, SKB_DEV, SKB_HEAD, SKB_LEN, SKB_NETWORK_HEADER, SKB_NEXT, SKB_PROTOCOL,
    SKB_SK, SKB_SNAPSHOT_USED, SKB_USERS,
};

/// A copy of a `struct sk_buff`, taken with one read.
pub(crate) struct Skb<'a> {
    snapshot: &'a [u64; SKB_SNAPSHOT_LEN / 8],
}

/// A range of kernel memory.
pub(crate) struct Span {
    pub(crate) address: u64,
    /// Bytes, at most `HEADERS_LEN`.
    pub(crate) len: u32,
}

impl<'a> Skb<'a> {
    /// Copies the struct at `address` into `snapshot`.
    #[inline(always)]
    pub(crate) fn read(
        address: u64,
        snapshot: &'a mut [u64; SKB_SNAPSHOT_LEN / 8],
    ) -> Option<Self> {
        let len = SKB_SNAPSHOT_USED.load();
        if len as usize > SKB_SNAPSHOT_LEN {
            return None;
        }
        // SAFETY: `len` is at most the size of the snapshot.
        unsafe { read::bytes(snapshot.as_mut_ptr().cast(), len, address) }
            .then_some(Self { snapshot })
    }

    /// The integer at `offset`, which the loader has checked to be aligned and
    /// inside the snapshot; the verifier checks it again.
    #[inline(always)]
    fn field<T: Copy + Default>(&self, offset: u32) -> T {
        if offset as usize > SKB_SNAPSHOT_LEN - size_of::<T>() {
            return T::default();
        }
        // SAFETY: in bounds by the check above, aligned as the kernel's own
        // member is, and every bit pattern is a valid integer.
        unsafe {
            self.snapshot
                .as_ptr()
                .cast::<u8>()
                .add(offset as usize)
                .cast::<T>()
                .read()
        }
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
    pub(crate) fn dev(&self) -> NetDevice {
        NetDevice {
            address: self.field(SKB_DEV.load()),
        }
    }

    /// The socket the packet belongs to.
    #[inline(always)]
    pub(crate) fn sk(&self) -> Sock {
        Sock {
            address: self.field(SKB_SK.load()),
        }
    }

    /// The packet's bytes from the network header on: linear data only, and
    /// never past its end.
    ///
    /// Before the receive path has set `network_header` (it is 0 then), the
    /// network header is where `data` points.
    #[inline(always)]
    pub(crate) fn network_headers(&self) -> Option<Span> {
        let head: u64 = self.field(SKB_HEAD.load());
        let data: u64 = self.field(SKB_DATA.load());
        let data_len: u32 = self.field(SKB_DATA_LEN.load());
        let network_header: u16 = self.field(SKB_NETWORK_HEADER.load());
        let linear = self.len().checked_sub(data_len)?;

        let end = data.wrapping_add(u64::from(linear));
        let start = match network_header {
            0 => data,
            offset => head.wrapping_add(u64::from(offset)),
        };
        if head == 0 || start >= end {
            return None;
        }
        let available = end - start;
        let len = if available < HEADERS_LEN as u64 {
            available as u32
        } else {
            HEADERS_LEN as u32
        };
        Some(Span {
            address: start,
            len,
        })
    }
}

/// Whether freeing the packet at `skb` now frees it for good, because the caller
/// holds the last reference: `skb_unref` in `include/linux/skbuff.h`.
#[inline(always)]
pub(crate) fn is_last_reference(skb: u64) -> bool {
    skb != 0 && read::member::<u32>(skb, SKB_USERS.load()) == Some(1)
}

/// The next packet of a list linked through `next`, 0 at its end.
#[inline(always)]
pub(crate) fn next(skb: u64) -> u64 {
    read::member(skb, SKB_NEXT.load()).unwrap_or(0)
}
