//! The record of one dropped packet, as the eBPF program writes it.

/// Length of a process name, terminating NUL included.
///
/// `TASK_COMM_LEN` in the kernel's `include/linux/sched.h`.
pub const COMM_LEN: usize = 16;

/// Length of an interface name, terminating NUL included.
///
/// `IFNAMSIZ` in the kernel's `include/uapi/linux/if.h`.
pub const IFNAME_LEN: usize = 16;

/// Most bytes of packet headers that a record carries, counted from the network
/// header: an IPv6 header (40), an ICMPv6 error (8), the quoted IPv6 header (40)
/// and its ports (8).
pub const HEADERS_LEN: usize = 96;

/// Most stack frames that a record or the stack-trace map holds, the kernel's
/// own limit: `PERF_MAX_STACK_DEPTH` in `include/uapi/linux/perf_event.h`.
pub const MAX_FRAMES: usize = 127;

/// Size in bytes of a [`DropEvent`], the part of a record that is always there.
pub const EVENT_SIZE: usize = size_of::<DropEvent>();

/// Size in bytes of the longest record: a [`DropEvent`] and [`MAX_FRAMES`] frames.
pub const MAX_RECORD_SIZE: usize = EVENT_SIZE + MAX_FRAMES * size_of::<u64>();

/// One dropped packet.
///
/// A record in the buffer is this struct, followed by [`DropEvent::frame_count`]
/// return addresses (`u64`, innermost first) where the stack could not be given
/// by its id. Integers are in host byte order unless the field says otherwise.
/// A field whose bit is missing from [`DropEvent::present`] means nothing: it
/// can be left over from another drop.
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
    /// Drop reason, subsystem in the high 16 bits
    /// (`include/net/dropreason-core.h`). [`present::REASON`].
    pub reason: u32,
    /// `sk_buff.len`: bytes from `sk_buff.data` on, fragments included.
    /// [`present::LEN`].
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
    /// `sk_buff.protocol`: the ethertype, in network byte order, 0 where the
    /// kernel has not set it.
    pub ethertype: u16,
    /// How many bytes of [`DropEvent::headers`] hold packet data.
    pub headers_len: u16,
    /// How many stack frames follow this struct.
    pub frame_count: u16,
    /// Always zero; makes the struct's size a multiple of its alignment.
    pub padding: [u16; 3],
    /// Name of the task on the CPU, NUL-terminated; what follows the NUL means
    /// nothing.
    pub comm: [u8; COMM_LEN],
    /// `net_device.name` of the packet's device, NUL-terminated.
    /// [`present::DEV`].
    pub ifname: [u8; IFNAME_LEN],
    /// The packet's bytes from the network header on, linear data only.
    pub headers: [u8; HEADERS_LEN],
}

/// Bits of [`DropEvent::present`].
pub mod present {
    /// [`super::DropEvent::reason`] holds a drop reason.
    pub const REASON: u32 = 1 << 0;
    /// [`super::DropEvent::len`] and [`super::DropEvent::ethertype`] were read.
    pub const LEN: u32 = 1 << 1;
    /// [`super::DropEvent::ifindex`] and [`super::DropEvent::ifname`] were read.
    pub const DEV: u32 = 1 << 2;
    /// [`super::DropEvent::netns`] was read.
    pub const NETNS: u32 = 1 << 3;
    /// [`super::DropEvent::stack_id`] names a stack in the stack-trace map.
    pub const STACK_ID: u32 = 1 << 4;
}

const _: () = {
    use core::mem::offset_of;
    assert!(EVENT_SIZE == 192);
    assert!(align_of::<DropEvent>() == 8);
    assert!(offset_of!(DropEvent, reason) == 24);
    assert!(offset_of!(DropEvent, present) == 32);
    assert!(offset_of!(DropEvent, stack_id) == 48);
    assert!(offset_of!(DropEvent, ethertype) == 52);
    assert!(offset_of!(DropEvent, padding) == 58);
    assert!(offset_of!(DropEvent, comm) == 64);
    assert!(offset_of!(DropEvent, ifname) == 80);
    assert!(offset_of!(DropEvent, headers) == 96);
    // Frames follow the struct, so they must be aligned by its size.
    assert!(EVENT_SIZE.is_multiple_of(size_of::<u64>()));
};
