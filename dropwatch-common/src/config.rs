//! The read-only configuration of the eBPF programs, and the values of the maps
//! that hold filters.
//!
//! User space overrides the globals before load. The verifier then sees
//! constants and removes the code of everything that is off.

use crate::event::COMM_LEN;

/// Value of a `u32` global that names something this kernel does not have.
pub const ABSENT: u32 = u32::MAX;

/// Records go into the ring buffer.
pub const BUFFER_RING: u32 = 0;
/// Records go into the per-CPU perf buffers.
pub const BUFFER_PERF: u32 = 1;

/// Parts of the map `PORTS`, one for each filter of ports.
pub const PORT_TABLES: u32 = 3;

/// Most processes, names, cgroups or interfaces that one filter holds.
pub const MAX_FILTER_ENTRIES: u32 = 1024;

/// Most prefixes that all ranges of all filters are made of.
pub const MAX_RANGE_ENTRIES: u32 = 64 * 1024;

/// Drop reasons that are decided by a table, those of the core: more than any kernel
/// has (`include/net/dropreason-core.h`).
pub const MAX_TABLE_REASONS: u32 = 256;

/// Words of 64 bits in which each port has a bit.
pub const PORT_WORDS: u32 = 1 << (16 - 6);

/// Most value/mask pairs that `--mark` takes.
pub const MAX_MARKS: u32 = 16;

/// Sockets whose owner the kernel side remembers.
pub const MAX_OWNERS: u32 = 4096;

/// How long the owner of a socket counts as known, in nanoseconds.
pub const OWNER_VALID_NS: u64 = 1_000_000_000;

/// Nested drops that a CPU can record at the same time: a task, interrupted by
/// a softirq, interrupted by a hard interrupt, interrupted by an NMI.
pub const NESTING_LEVELS: u32 = 4;

/// Bits of the global `FILTERS`: which filters are on.
pub mod filters {
    /// `--pid`: the map `PIDS`.
    pub const PID: u32 = 1 << 0;
    /// `--comm`: the map `COMMS`.
    pub const COMM: u32 = 1 << 1;
    /// `--iface`: the map `IFACES` has names to keep.
    pub const IFACE: u32 = 1 << 2;
    /// `--exclude-iface`: the map `IFACES` has names to turn down.
    pub const EXCLUDE_IFACE: u32 = 1 << 3;
    /// `--cgroup`: the map `CGROUPS`, by socket, otherwise by task.
    pub const CGROUP: u32 = 1 << 4;
    /// `--container`: the map `CGROUPS`, by socket, otherwise by network
    /// namespace.
    pub const CONTAINER: u32 = 1 << 5;
    /// `--mark`: the map `MARKS`.
    pub const MARK: u32 = 1 << 6;
    /// `-4`
    pub const IPV4: u32 = 1 << 7;
    /// `-6`
    pub const IPV6: u32 = 1 << 8;
}

/// What a range of values in the map `RANGES` is about. Each has a bit of its
/// own in the global `RANGE_FILTERS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum RangeKind {
    /// `--addr`: source or destination; IPv4 with [`RANGE_IPV4`].
    Address = 0,
    /// `--saddr`
    Source = 1,
    /// `--daddr`
    Destination = 2,
    /// `--port`: source or destination.
    Port = 3,
    /// `--sport`
    SourcePort = 4,
    /// `--dport`
    DestinationPort = 5,
    /// `--proto`: the IP protocol, or the ethertype, of the line.
    Protocol = 6,
    /// `--reason`
    Reason = 7,
    /// `--exclude-reason`
    ExcludeReason = 8,
    /// `--func`: the call site.
    Function = 9,
    /// `--exclude-func`
    ExcludeFunction = 10,
    /// `--stack-func`: any frame of the stack.
    StackFunction = 11,
    /// `--len`
    Length = 12,
    /// `--netns`: inode numbers.
    Netns = 13,
    /// The network namespaces that are the containers' of `--container`.
    ContainerNetns = 14,
    /// No filter: call sites in functions that work for a socket they have
    /// found, on kernels that do not say which.
    SocketReceive = 15,
    /// No filter: code of functions that free packets, where the compiler has split
    /// them and the tracepoint gives addresses in them as call sites.
    SplitFunction = 16,
}

impl RangeKind {
    /// Which part of the map `PORTS` holds the ports of this kind, `None` if it is of
    /// none.
    #[must_use]
    #[inline(always)]
    pub const fn port_table(self) -> Option<u32> {
        match self {
            Self::Port => Some(0),
            Self::SourcePort => Some(1),
            Self::DestinationPort => Some(2),
            _ => None,
        }
    }

    /// The bit of the global `RANGE_FILTERS`.
    #[must_use]
    pub const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// Key of the map `RANGES`, behind the length of the prefix: a [`RangeKind`] in
/// host byte order, then a value, most significant byte first. A longest-prefix
/// trie holds every range of numbers as the prefixes that it consists of.
pub type RangeKey = [u8; 20];

/// Bits of a [`RangeKey`] that are the kind's; every prefix has them all.
pub const RANGE_KIND_BITS: u32 = 32;

/// Bit of the kind in a [`RangeKey`]: the values are IPv4 addresses of 32 bits, and
/// without it, of the kinds of addresses, IPv6 ones.
pub const RANGE_IPV4: u32 = 1 << 8;

/// The key of a value whose most significant bit is that of `high`.
#[must_use]
#[inline(always)]
pub const fn range_key(kind: u32, high: u64, low: u64) -> RangeKey {
    let [k0, k1, k2, k3] = kind.to_ne_bytes();
    let [h0, h1, h2, h3, h4, h5, h6, h7] = high.to_be_bytes();
    let [l0, l1, l2, l3, l4, l5, l6, l7] = low.to_be_bytes();
    [
        k0, k1, k2, k3, h0, h1, h2, h3, h4, h5, h6, h7, l0, l1, l2, l3, l4, l5, l6, l7,
    ]
}

/// Value of [`RangeKind::Protocol`] for an IP protocol: 17 bits, this one on top.
pub const IP_PROTOCOL: u32 = 1 << 16;

/// Bits of a value of [`RangeKind::Protocol`]: an ethertype, or an IP protocol
/// with [`IP_PROTOCOL`].
pub const PROTOCOL_BITS: u32 = 17;

/// Value of the map `IFACES`: the interface's name is one to keep.
pub const IFACE_KEEP: u8 = 1;
/// Value of the map `IFACES`: the interface's name is one to turn down.
pub const IFACE_TURN_DOWN: u8 = 2;

/// Value of the map `CGROUPS`: the control group is one of `--cgroup`.
pub const CGROUP_NAMED: u8 = 1;
/// Value of the map `CGROUPS`: the control group is one of `--container`.
pub const CGROUP_OF_CONTAINER: u8 = 2;

/// Entry of the map `MARKS`: a packet matches if its mark has `value` under
/// `mask`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Value under the mask.
    pub value: u32,
    /// Bits that are compared.
    pub mask: u32,
}

/// Entry of the map `OWNERS`: what is known of the process that holds a socket.
/// The key is the inode number of the socket.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(zerocopy::IntoBytes, zerocopy::Immutable))]
pub struct OwnerEntry {
    /// Until when this counts: nanoseconds of `CLOCK_BOOTTIME`.
    pub expires_ns: u64,
    /// Process that holds the socket, 0 if none is known.
    pub tgid: u32,
    /// Process that was found not to hold it, 0 if none was looked at.
    pub not_tgid: u32,
    /// Whether `--pid` and `--comm` want it: one of [`verdict`]. User space writes
    /// entries with a verdict and without a process, the kernel side those with a
    /// process that it has seen.
    pub verdict: u32,
    /// Always zero.
    pub padding: u32,
    /// The key: an entry is taken for another socket without a grace period, and
    /// may be so while it is read.
    pub inode: u64,
    /// Name of the process, NUL-padded.
    pub comm: [u8; COMM_LEN],
}

/// Values of [`OwnerEntry::verdict`].
pub mod verdict {
    /// Nobody has decided.
    pub const OPEN: u32 = 0;
    /// `--pid` and `--comm` match.
    pub const MATCH: u32 = 1;
    /// They do not match.
    pub const NO_MATCH: u32 = 2;
    /// No process holds the socket: the task on the CPU decides.
    pub const NOBODY: u32 = 3;
}

/// Per-CPU counters, the source of the account.
///
/// `seen = records in the buffer + grouped + no_group + filtered + sampled_out +
/// limited + lost`, always: examples of groups are no records of this account.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Drops for which the program ran.
    pub seen: u64,
    /// Drops that a filter turned down.
    pub filtered: u64,
    /// Drops that passed the filters of the kernel side and that `--sample` left out.
    pub sampled_out: u64,
    /// Drops that passed them and for which `--rate-limit` had no token.
    pub limited: u64,
    /// Drops for which no record could be written.
    pub lost: u64,
    /// Drops that were counted in their group.
    pub grouped: u64,
    /// Drops whose group found no room in the map.
    pub no_group: u64,
    /// Packets that these would have been on the wire.
    pub no_group_packets: u64,
    /// Bytes of these.
    pub no_group_bytes: u64,
    /// How many drops this CPU is recording just now, at most
    /// [`NESTING_LEVELS`].
    pub nesting: u64,
    /// With `--sample`: drops of which every so many is one of the sample.
    pub sampled_from: u64,
}

const _: () = {
    assert!(size_of::<OwnerEntry>() == 48);
};
