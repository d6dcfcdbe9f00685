//! The enriched drop: all that a format needs to know, and no I/O.

use crate::packet::Packet;

/// One dropped packet with the names that belong to its numbers.
///
/// `None` means that the value can't be known; a format prints `-` for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropRecord<'a> {
    /// When the packet was freed.
    pub time: DropTime,
    /// Drop reason, as `NO_SOCKET` or `openvswitch:LAST_ACTION`.
    pub reason: Option<&'a str>,
    /// What the packet's headers say.
    pub packet: Packet,
    /// Bytes from the kernel's `skb->data` on, at the time of the drop.
    pub len: Option<u32>,
    /// The interface the packet came from or goes to.
    pub device: Option<Device<'a>>,
    /// Call site: `symbol+0xoff`, `symbol+0xoff[module]`, or a hexadecimal
    /// address where no symbol covers it; `-` where it can't be known.
    pub location: &'a str,
    /// Process (thread group id) on the CPU.
    pub pid: u32,
    /// Name of the task on the CPU, without padding.
    pub comm: &'a [u8],
    /// Inode number of the packet's network namespace.
    pub netns: Option<u32>,
    /// Callers from the call site outwards; `None` where stacks are off.
    pub stack: Option<Stack<'a>>,
    /// Kernel address of the `struct sk_buff`.
    pub skb: u64,
}

/// A point in time on two clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DropTime {
    /// Nanoseconds of `CLOCK_BOOTTIME`.
    pub boot_ns: u64,
    /// Nanoseconds since the Unix epoch (`CLOCK_REALTIME`).
    pub unix_ns: i64,
}

/// A network interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device<'a> {
    /// Interface index, unique in its network namespace.
    pub ifindex: u32,
    /// Name, any bytes but NUL and `/`.
    pub name: &'a [u8],
}

/// A symbolised kernel stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stack<'a> {
    /// The callers, each written like [`DropRecord::location`], innermost
    /// first, separated by commas; at least one.
    Callers(&'a str),
    /// The kernel gave no stack for this drop, or not up to the first caller.
    Unknown,
}
