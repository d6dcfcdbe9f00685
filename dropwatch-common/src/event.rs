//! The record of one dropped packet, as the eBPF program writes it.

/// Length of a process name, terminating NUL included.
///
/// `TASK_COMM_LEN` in the kernel's `include/linux/sched.h`.
pub const COMM_LEN: usize = 16;

/// Length of an interface name, terminating NUL included.
///
/// `IFNAMSIZ` in the kernel's `include/uapi/linux/if.h`.
pub const IFNAME_LEN: usize = 16;

/// Most bytes that can lie between the MAC header and the network header for
/// the MAC header to be captured: Ethernet (14) and two VLAN tags (4 each).
pub const LINK_HEADER_MAX: usize = 22;
/// Least bytes between the two headers, likewise.
pub const LINK_HEADER_MIN: usize = 14;

/// Most bytes of packet headers that a record carries: a link-layer header (22)
/// and the longest stack of headers that a line shows, VXLAN in IPv6 (40, 8, 8,
/// 14) with an IPv6 packet (40) and its ports (8) inside.
pub const HEADERS_LEN: usize = 144;

/// Most bytes of a packet that a record carries, those of [`DropEvent::headers`]
/// included: what `--snaplen` can ask for. The kernel's limit is the size of an
/// entry of a per-CPU map, `PCPU_MIN_UNIT_SIZE` (32 KiB) in
/// `include/linux/percpu.h`.
pub const MAX_SNAPLEN: usize = 16 << 10;

/// Most bytes of a packet behind [`DropEvent::headers`].
pub const MAX_TAIL: usize = MAX_SNAPLEN - HEADERS_LEN;

/// Most stack frames that a record or the stack-trace map holds, the kernel's
/// own limit: `PERF_MAX_STACK_DEPTH` in `include/uapi/linux/perf_event.h`.
pub const MAX_FRAMES: usize = 127;

/// Size in bytes of a [`DropEvent`].
pub const EVENT_SIZE: usize = size_of::<DropEvent>();

/// Size in bytes of a [`DropEvent`] without its headers: the part of a record
/// that is always there.
pub const FIXED_SIZE: usize = core::mem::offset_of!(DropEvent, headers);

/// Size in bytes of the longest record: a [`DropEvent`], [`MAX_FRAMES`] frames and
/// [`MAX_TAIL`] more bytes of the packet.
pub const MAX_RECORD_SIZE: usize = EVENT_SIZE + MAX_FRAMES * size_of::<u64>() + MAX_TAIL;

/// One dropped packet.
///
/// A record in the buffer is this struct. With [`DropEvent::frame_count`] 0 it
/// ends behind the captured headers; otherwise it is whole, and that many return
/// addresses (`u64`, innermost first) follow, because the stack could not be
/// given by its id. With [`DropEvent::headers_len`] above [`HEADERS_LEN`] it is whole
/// as well, and the rest of these bytes follows behind the addresses. Integers are in host byte order unless the field says
/// otherwise. A field whose bit is missing from [`DropEvent::present`] means
/// nothing: it can be left over from another drop.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "user",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable)
)]
pub struct DropEvent {
    /// When the packet was freed: nanoseconds of `CLOCK_BOOTTIME`.
    pub time_ns: u64,
    /// Kernel address of the `struct sk_buff`.
    pub skb: u64,
    /// Call site: the address to which the freeing function returns.
    pub location: u64,
    /// Inode number of the packet's socket. [`present::SOCKET_INODE`].
    pub socket_inode: u64,
    /// Id of the cgroup that the packet's socket belongs to.
    /// [`present::SOCKET_CGROUP`].
    pub socket_cgroup: u64,
    /// Address of the function that the packet's route hands received packets
    /// to (`dst_entry.input`). [`present::DST_INPUT`].
    pub dst_input: u64,
    /// Drop reason, subsystem in the high 16 bits
    /// (`include/net/dropreason-core.h`). [`present::REASON`].
    pub reason: u32,
    /// `sk_buff.len`: bytes from `sk_buff.data` on, fragments included.
    /// [`present::SKB`].
    pub len: u32,
    /// Which fields hold a value: the bits of [`mod@present`].
    pub present: u32,
    /// `net_device.ifindex` of the packet's device. [`present::DEV`].
    pub ifindex: u32,
    /// Inode number of the packet's network namespace. [`present::NETNS`].
    pub netns: u32,
    /// Process (thread group) on the CPU, 0 for the idle task.
    pub tgid: u32,
    /// Key in the stack-trace map. [`present::STACK_ID`].
    pub stack_id: u32,
    /// `sk_buff.mark`. [`present::SKB`].
    pub mark: u32,
    /// `sk_buff.priority`. [`present::SKB`].
    pub priority: u32,
    /// `sk_buff.hash`. [`present::SKB`].
    pub hash: u32,
    /// `sk_buff.skb_iif`: index of the device that the packet was received on,
    /// 0 if it was not. [`present::SKB`].
    pub iif: u32,
    /// Process that holds the packet's socket. [`present::OWNER`].
    pub owner_tgid: u32,
    /// `sk_buff.protocol`: the ethertype, in network byte order, 0 where the
    /// kernel has not set it. [`present::SKB`].
    pub ethertype: u16,
    /// `sk_buff.queue_mapping`. [`present::SKB`].
    pub queue: u16,
    /// TPID of the accelerated VLAN tag, in network byte order.
    /// [`present::VLAN`].
    pub vlan_proto: u16,
    /// TCI of the accelerated VLAN tag. [`present::VLAN`].
    pub vlan_tci: u16,
    /// Bytes of payload in each segment that the packet is to be cut into.
    /// [`present::GSO`].
    pub gso_size: u16,
    /// Number of segments that the packet is to be cut into. [`present::GSO`].
    pub gso_segs: u16,
    /// Address family (`AF_*`) of the packet's socket. [`present::SOCKET`].
    pub socket_family: u16,
    /// How many bytes of the packet there are: the first [`HEADERS_LEN`] of them in
    /// [`DropEvent::headers`], the others at the end of the record.
    pub headers_len: u16,
    /// How many stack frames follow this struct.
    pub frame_count: u16,
    /// State of the packet's socket (`include/net/tcp_states.h`).
    /// [`present::SOCKET`].
    pub socket_state: u8,
    /// IP protocol of the packet's socket, 0 where it has none.
    /// [`present::SOCKET`].
    pub socket_protocol: u8,
    /// `sk_buff.pkt_type` (`include/uapi/linux/if_packet.h`).
    /// [`present::PKT_TYPE`].
    pub pkt_type: u8,
    /// Where the network header starts in [`DropEvent::headers`]: 0, or behind
    /// a link-layer header.
    pub network_offset: u8,
    /// Bytes from the first one of [`DropEvent::headers`] to `sk_buff.data`, where
    /// [`DropEvent::len`] begins to count. [`present::DATA_OFFSET`].
    pub data_offset: i16,
    /// Name of the task on the CPU, NUL-terminated; what follows the NUL means
    /// nothing.
    pub comm: [u8; COMM_LEN],
    /// Name of the process that holds the packet's socket, NUL-terminated.
    /// [`present::OWNER`].
    pub owner_comm: [u8; COMM_LEN],
    /// `net_device.name` of the packet's device, NUL-terminated.
    /// [`present::DEV`].
    pub ifname: [u8; IFNAME_LEN],
    /// The packet's bytes from the MAC header on, or from the network header
    /// on, linear data only.
    pub headers: [u8; HEADERS_LEN],
}

/// Bits of [`DropEvent::present`].
pub mod present {
    /// [`super::DropEvent::reason`] holds a drop reason.
    pub const REASON: u32 = 1 << 0;
    /// The `struct sk_buff` was read: [`super::DropEvent::len`], `ethertype`,
    /// `mark`, `priority`, `hash`, `iif`, `queue`.
    pub const SKB: u32 = 1 << 1;
    /// [`super::DropEvent::ifindex`] and [`super::DropEvent::ifname`] were read.
    pub const DEV: u32 = 1 << 2;
    /// [`super::DropEvent::netns`] was read.
    pub const NETNS: u32 = 1 << 3;
    /// [`super::DropEvent::stack_id`] names a stack in the stack-trace map.
    pub const STACK_ID: u32 = 1 << 4;
    /// The packet has an accelerated VLAN tag.
    pub const VLAN: u32 = 1 << 5;
    /// The packet is to be cut into segments.
    pub const GSO: u32 = 1 << 6;
    /// [`super::DropEvent::pkt_type`] was read.
    pub const PKT_TYPE: u32 = 1 << 7;
    /// The packet has a socket: `socket_family`, `socket_state`,
    /// `socket_protocol`.
    pub const SOCKET: u32 = 1 << 8;
    /// [`super::DropEvent::socket_inode`] was read.
    pub const SOCKET_INODE: u32 = 1 << 9;
    /// [`super::DropEvent::socket_cgroup`] was read.
    pub const SOCKET_CGROUP: u32 = 1 << 10;
    /// [`super::DropEvent::owner_tgid`] and `owner_comm` are known.
    pub const OWNER: u32 = 1 << 11;
    /// The packet has a route.
    pub const DST: u32 = 1 << 12;
    /// [`super::DropEvent::dst_input`] was read.
    pub const DST_INPUT: u32 = 1 << 13;
    /// The drop happened in a function that works for a socket it has found,
    /// and the kernel does not say which.
    pub const SOCKET_BY_ADDRESS: u32 = 1 << 14;
    /// The kernel side could not decide `--pid` and `--comm`.
    pub const PROCESS_OPEN: u32 = 1 << 15;
    /// The drop is counted in its group already; the record is an example of it.
    pub const EXAMPLE: u32 = 1 << 16;
    /// [`super::DropEvent::data_offset`] was computed.
    pub const DATA_OFFSET: u32 = 1 << 17;
}

const _: () = {
    use core::mem::offset_of;
    assert!(align_of::<DropEvent>() == 8);
    assert!(offset_of!(DropEvent, reason) == 48);
    assert!(offset_of!(DropEvent, present) == 56);
    assert!(offset_of!(DropEvent, stack_id) == 72);
    assert!(offset_of!(DropEvent, owner_tgid) == 92);
    assert!(offset_of!(DropEvent, ethertype) == 96);
    assert!(offset_of!(DropEvent, socket_state) == 114);
    assert!(offset_of!(DropEvent, data_offset) == 118);
    assert!(offset_of!(DropEvent, comm) == 120);
    assert!(offset_of!(DropEvent, ifname) == 152);
    assert!(FIXED_SIZE == 168);
    assert!(EVENT_SIZE == FIXED_SIZE + HEADERS_LEN);
    // Frames follow the struct, so they must be aligned by its size.
    assert!(EVENT_SIZE.is_multiple_of(size_of::<u64>()));
};
