//! Groups of drops that the eBPF side counts without a record for each.

use crate::event::{COMM_LEN, IFNAME_LEN};

/// Bits of the global `GROUP_BY`: what tells groups apart. Without any, each drop
/// becomes a record.
pub mod by {
    /// The drop reason.
    pub const REASON: u32 = 1 << 0;
    /// The call site.
    pub const LOCATION: u32 = 1 << 1;
    /// The packet's device.
    pub const DEVICE: u32 = 1 << 2;
    /// The protocol that the line shows.
    pub const PROTOCOL: u32 = 1 << 3;
    /// The source address.
    pub const SOURCE: u32 = 1 << 4;
    /// The destination address.
    pub const DESTINATION: u32 = 1 << 5;
    /// The destination port.
    pub const DESTINATION_PORT: u32 = 1 << 6;
    /// The name of the task on the CPU.
    pub const COMM: u32 = 1 << 7;
    /// The socket, and the process that is known to hold it.
    pub const OWNER: u32 = 1 << 8;
    /// The network namespace.
    pub const NETNS: u32 = 1 << 9;
    /// The control group of the socket.
    pub const CGROUP: u32 = 1 << 10;
    /// The stack.
    pub const STACK: u32 = 1 << 11;

    /// What a [`super::ShortKey`] tells apart.
    pub const SHORT: u32 = REASON | LOCATION | PROTOCOL | DESTINATION_PORT | NETNS | STACK;
}

/// Bits of [`ShortKey::known`].
pub mod known {
    /// [`super::GroupKey::source`] and `destination`, as far as they are grouped by.
    pub const ADDRESSES: u32 = 1 << 0;
    /// The addresses are those of IPv4.
    pub const IPV4: u32 = 1 << 1;
    /// [`super::ShortKey::destination_port`].
    pub const PORT: u32 = 1 << 2;
    /// [`super::ShortKey::protocol`] is an IP protocol.
    pub const IP_PROTOCOL: u32 = 1 << 3;
    /// It is an ethertype.
    pub const ETHERTYPE: u32 = 1 << 4;
    /// It is the address family of the packet's socket.
    pub const FAMILY: u32 = 1 << 5;
}

/// What the drops of a group have in common. What is not grouped by is zero.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "user",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable)
)]
pub struct GroupKey {
    /// What most groups are told apart by.
    pub short: ShortKey,
    /// Inode number of the packet's socket.
    pub socket_inode: u64,
    /// Id of the cgroup that the packet's socket belongs to.
    pub socket_cgroup: u64,
    /// Source address, IPv4 as mapped IPv6. [`known::ADDRESSES`].
    pub source: [u8; 16],
    /// Destination address, likewise.
    pub destination: [u8; 16],
    /// Name of the task on the CPU, NUL-padded.
    pub comm: [u8; COMM_LEN],
    /// Name of the process that holds the packet's socket, NUL-padded.
    pub owner_comm: [u8; COMM_LEN],
    /// Name of the packet's device, NUL-padded.
    pub ifname: [u8; IFNAME_LEN],
    /// Process that holds the packet's socket.
    pub owner_tgid: u32,
    /// Always zero.
    pub padding: u32,
}

/// The part of a [`GroupKey`] that is a key by itself if groups are told apart by
/// [`by::SHORT`] only: the kernel hashes and compares a key for each drop.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "user",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable)
)]
pub struct ShortKey {
    /// Call site: the address to which the freeing function returns.
    pub location: u64,
    /// The bits of [`event::present`](crate::event::present) that mean something
    /// in the whole key: `REASON`, `DEV`, `NETNS`, `STACK_ID`, `SOCKET_INODE`,
    /// `SOCKET_CGROUP`, `OWNER`.
    pub present: u32,
    /// The bits of [`mod@known`].
    pub known: u32,
    /// Drop reason.
    pub reason: u32,
    /// Inode number of the packet's network namespace.
    pub netns: u32,
    /// Key in the stack-trace map.
    pub stack_id: u32,
    /// IP protocol, ethertype in host byte order, or address family: see
    /// [`mod@known`].
    pub protocol: u16,
    /// Destination port in host byte order. [`known::PORT`].
    pub destination_port: u16,
}

/// What one CPU has counted of a group.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupCounts {
    /// Drops.
    pub drops: u64,
    /// Packets that they would have been on the wire: a drop counts as many as it
    /// has segments.
    pub packets: u64,
    /// Bytes: `sk_buff.len`, fragments included.
    pub bytes: u64,
    /// When a record of the group was last sent as an example, nanoseconds of
    /// `CLOCK_BOOTTIME`; 0 if none was.
    pub example_ns: u64,
    /// In which of the kernel's ticks (`jiffies_64`) it was last asked whether an
    /// example is due.
    pub looked_tick: u64,
}

/// Pause between two examples of a group on one CPU, in nanoseconds.
pub const EXAMPLE_INTERVAL_NS: u64 = 1_000_000_000;

const _: () = {
    assert!(size_of::<ShortKey>() == 32);
    assert!(size_of::<GroupKey>() == 136);
    assert!(size_of::<GroupKey>().is_multiple_of(size_of::<u64>()));
    assert!(core::mem::offset_of!(GroupKey, short) == 0);
};
