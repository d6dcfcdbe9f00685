//! The enriched drop: all that a format needs to know, and no I/O.

use crate::{
    classify::Class,
    packet::{Capture, Packet, VlanTag},
};

/// One dropped packet with the names that belong to its numbers.
///
/// `None` means that the value can't be known; a format prints `-` for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropRecord<'a> {
    /// When the packet was freed.
    pub time: DropTime,
    /// Drop reason, as `NO_SOCKET` or `openvswitch:LAST_ACTION`.
    pub reason: Option<&'a str>,
    /// What kind of loss it is.
    pub class: Class,
    /// How many drops this one stands for; `None` where no sample is taken.
    pub sample: Option<u32>,
    /// What the packet's headers say.
    pub packet: Packet,
    /// What the kernel keeps beside the packet.
    pub skb: Option<SkbFields>,
    /// How the packet was to be cut into segments; `None` if it was not.
    pub gso: Option<Gso>,
    /// The interface the packet came from or goes to.
    pub device: Option<Device<'a>>,
    /// Which way the packet was going.
    pub direction: Option<Direction>,
    /// TCP state of the packet's socket.
    pub state: Option<TcpState>,
    /// Call site: `symbol+0xoff`, `symbol+0xoff[module]`, or a hexadecimal
    /// address where no symbol covers it; `-` where it can't be known.
    pub location: &'a str,
    /// Where in the source the call site is; `None` where nobody asked.
    pub source: Option<Source<'a>>,
    /// Process (thread group id) on the CPU.
    pub pid: u32,
    /// Name of the task on the CPU, without padding.
    pub comm: &'a [u8],
    /// The process that holds the packet's socket.
    pub owner: Option<Owner<'a>>,
    /// The packet's network namespace.
    pub netns: Option<Netns<'a>>,
    /// Container, pod and unit that the packet belongs to.
    pub workload: Workload<'a>,
    /// Callers from the call site outwards; `None` where stacks are off.
    pub stack: Option<Stack<'a>>,
    /// Kernel address of the `struct sk_buff`.
    pub address: u64,
    /// What no line shows.
    pub origin: Origin<'a>,
    /// The packet itself, as far as it was captured; `None` for what is no single
    /// packet.
    pub bytes: Option<PacketBytes<'a>>,
}

impl DropRecord<'_> {
    /// How many packets the drop would have been on the wire: one, unless the
    /// kernel has counted more segments.
    pub fn packets(&self) -> u64 {
        let segments = self.gso.and_then(|gso| gso.segments);
        segments.map_or(1, u64::from)
    }
}

/// Fields of the `struct sk_buff`, `include/linux/skbuff.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SkbFields {
    /// Bytes from `data` on, at the time of the drop.
    pub len: u32,
    /// Index of the interface that the packet was received on, 0 if it was not.
    pub iif: u32,
    /// Number of the queue, as the kernel's place for it has it.
    pub queue: u16,
    /// Mark.
    pub mark: u32,
    /// Priority.
    pub priority: u32,
    /// Hash of the flow, 0 where it was not computed.
    pub hash: u32,
}

/// A packet's bytes: linear data only, and with `--write` more of it than headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketBytes<'a> {
    /// The first bytes, from the MAC header on if that was captured, else from the
    /// network header on. Empty where the kernel has not set an ethertype: nobody can
    /// know then what they mean.
    pub head: &'a [u8],
    /// Those behind them.
    pub tail: &'a [u8],
    /// Where the network header is in `head`; 0 without MAC header.
    pub network_offset: usize,
    /// Bytes from the first one of `head` to the end of the packet, fragments
    /// included, not fewer than there are; `None` where the kernel side did not look.
    pub original_len: Option<u32>,
    /// `sk_buff.protocol`: the ethertype in host byte order, 0 where it is not set.
    pub ethertype: u16,
    /// The VLAN tag that the kernel keeps outside of the frame.
    pub vlan_tag: Option<VlanTag>,
    /// `sk_buff.pkt_type`: `PACKET_*` of `include/uapi/linux/if_packet.h`.
    pub pkt_type: Option<u8>,
}

impl<'a> PacketBytes<'a> {
    /// What headers are read from.
    #[must_use]
    pub fn capture(&self) -> Capture<'a> {
        Capture {
            ethertype: self.ethertype,
            vlan_tag: self.vlan_tag,
            bytes: self.head,
            network_offset: self.network_offset,
        }
    }
}

/// How a packet is to be cut into segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gso {
    /// Bytes of payload in each segment.
    pub size: u16,
    /// Number of segments; `None` where the kernel has not counted them.
    pub segments: Option<u16>,
}

/// Which way a packet was going.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// It was received.
    Receive,
    /// It was sent by this host.
    Transmit,
    /// It was received, and on its way out again.
    Forward,
    /// It was going through the loopback device.
    Local,
}

/// States of a TCP socket, `include/net/tcp_states.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpState(pub u8);

/// The process that holds a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner<'a> {
    /// Name of the process, any bytes.
    pub comm: &'a [u8],
    /// Process (thread group id).
    pub pid: u32,
    /// Further processes that hold it.
    pub others: u32,
}

/// A network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Netns<'a> {
    /// Inode number.
    pub inode: u32,
    /// Name, any bytes.
    pub name: Option<&'a [u8]>,
}

/// Whose packet it is; each is `None` if it is not known or there is no such
/// thing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Workload<'a> {
    /// The container's name, or the start of its id.
    pub container: Option<&'a [u8]>,
    /// `namespace/name` of the pod, or its uid.
    pub pod: Option<&'a [u8]>,
    /// The systemd unit.
    pub unit: Option<&'a [u8]>,
    /// The container's whole id: what the start of an id in `--container` is compared
    /// with. No line shows it.
    pub container_id: Option<&'a [u8]>,
}

/// What a recording needs to be read again and filtered, and no line shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin<'a> {
    /// Number of the drop reason, subsystem in the high 16 bits.
    pub reason: Option<u32>,
    /// The control group of the packet's socket: its path from the top of the tree, as
    /// `/proc/PID/cgroup` gives it; empty for the top.
    pub cgroup: Option<&'a [u8]>,
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

/// Where code comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source<'a> {
    /// The innermost inlined function first, the function itself last; at least one.
    Positions(&'a [Position]),
    /// There is no debug information for it, or it does not say it.
    Unknown,
}

/// A place in the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// Path of the file, in the kernel's source tree if it is there; any characters.
    pub file: String,
    /// Line number, from 1 on.
    pub line: Option<u32>,
    /// The function, as the source names it; any characters.
    pub function: Option<String>,
}
