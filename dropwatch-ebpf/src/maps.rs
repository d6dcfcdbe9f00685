//! Every map.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    macros::map,
    maps::{
        Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, PerCpuHashMap, PerfEventByteArray,
        RingBuf, StackTrace,
    },
};
use dropwatch_common::{
    config::{
        Counters, MAX_FILTER_ENTRIES, MAX_MARKS, MAX_OWNERS, MAX_RANGE_ENTRIES, MAX_TABLE_REASONS,
        Mark, NESTING_LEVELS, OwnerEntry, PORT_TABLES, PORT_WORDS, RangeKey,
    },
    event::{COMM_LEN, DropEvent, IFNAME_LEN, MAX_FRAMES, MAX_TAIL},
    group::{GroupCounts, GroupKey, ShortKey},
    tuple::{Progress, Tuple},
};

use crate::kernel::read::SkbCopy;

/// Open files that are looked at together.
pub(crate) const FILES_CHUNK: usize = 64;

/// The packet's socket, as the filters need it.
#[repr(C)]
pub(crate) struct Socket {
    /// Address of the `struct socket` by which processes hold it, 0 if none does.
    pub(crate) address: u64,
    /// Address of the cgroup that it was created in, 0 if it is not known.
    pub(crate) cgroup: u64,
}

/// Where one drop is put together: all that is too large for the 512-byte stack,
/// or would make it overflow together with the rest.
#[repr(C)]
pub(crate) struct Scratch {
    /// How many diagnostics this scratch area has given.
    pub(crate) diagnostics: u64,
    /// Some of the files that the task on the CPU has open.
    pub(crate) files: [u64; FILES_CHUNK],
    /// Copy of the `struct sk_buff`, where it is not read in place.
    pub(crate) skb: SkbCopy,
    /// What filters need of the headers.
    pub(crate) tuple: Tuple,
    /// How far the headers were followed for it.
    pub(crate) progress: Progress,
    /// The packet's socket, as far as it was looked at. Kept here, not in registers: the
    /// verifier would follow the rest of the program once for each kind of socket.
    pub(crate) socket: Socket,
    /// Whether `--stack-func` has found a function, as far as the stack was looked at.
    pub(crate) stack_matches: u64,
    /// An entry for the map `OWNERS`.
    pub(crate) owner: OwnerEntry,
    /// The drop's group; what it is not told by is always zero.
    pub(crate) key: GroupKey,
    /// The record: what user space receives starts here.
    pub(crate) event: DropEvent,
    /// Stack frames of the record.
    pub(crate) frames: [u64; MAX_FRAMES],
    /// Room for more of the packet, which begins behind the frames that there are. The
    /// loader leaves no more of it in the map's values than `PACKET_LEN` needs.
    pub(crate) tail: [u8; MAX_TAIL],
}

/// One [`Scratch`] per nesting level and CPU.
#[map]
pub(crate) static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(NESTING_LEVELS, 0);

/// The account, one entry.
#[map]
pub(crate) static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(1, 0);

/// Records for user space; its size in bytes is set by the loader.
#[map]
pub(crate) static RECORDS_RING: RingBuf = RingBuf::with_byte_size(4096, 0);

/// Records for user space where the ring buffer is not used.
#[map]
pub(crate) static RECORDS_PERF: PerfEventByteArray = PerfEventByteArray::new(0);

/// 1 while user space sleeps until a record comes, one entry, which user space
/// maps into its memory.
#[map]
pub(crate) static READER_WAITS: Array<u32> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// 1 once a drop was lost that user space has not told of, one entry, which user
/// space maps into its memory.
#[map]
pub(crate) static DROPS_LOST: Array<u32> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// When the token bucket of `--rate-limit` is full again, one entry for all
/// processors: nanoseconds of `CLOCK_BOOTTIME`.
#[map]
pub(crate) static RATE_FULL_NS: Array<u64> = Array::with_max_entries(1, 0);

/// Kernel stacks by id; its depth and size are set by the loader.
#[map]
pub(crate) static STACKS: StackTrace = StackTrace::with_max_entries(1, 0);

/// What was counted of each group; its size is set by the loader.
#[map]
pub(crate) static GROUPS: PerCpuHashMap<GroupKey, GroupCounts> =
    PerCpuHashMap::with_max_entries(1, 0);

/// As `GROUPS`, where a short key is enough.
#[map]
pub(crate) static GROUPS_SHORT: PerCpuHashMap<ShortKey, GroupCounts> =
    PerCpuHashMap::with_max_entries(1, 0);

/// Processes that `--pid` names, by tgid.
#[map]
pub(crate) static PIDS: HashMap<u32, u8> = HashMap::with_max_entries(MAX_FILTER_ENTRIES, 0);

/// Process names that `--comm` names, NUL-padded.
#[map]
pub(crate) static COMMS: HashMap<[u8; COMM_LEN], u8> =
    HashMap::with_max_entries(MAX_FILTER_ENTRIES, 0);

/// Interfaces that `--iface` and `--exclude-iface` name, NUL-padded: `IFACE_KEEP`,
/// `IFACE_TURN_DOWN`.
#[map]
pub(crate) static IFACES: HashMap<[u8; IFNAME_LEN], u8> =
    HashMap::with_max_entries(MAX_FILTER_ENTRIES, 0);

/// Ids of the cgroups that `--cgroup` and `--container` name: `CGROUP_NAMED`,
/// `CGROUP_OF_CONTAINER`.
#[map]
pub(crate) static CGROUPS: HashMap<u64, u8> = HashMap::with_max_entries(MAX_FILTER_ENTRIES, 0);

/// What `--mark` names; entries that are not used have mask 0 and value 1, which
/// no mark matches.
#[map]
pub(crate) static MARKS: Array<Mark> = Array::with_max_entries(MAX_MARKS, 0);

/// For each of the lowest drop reasons, 1 if `--reason` and `--exclude-reason` let it
/// pass.
#[map]
pub(crate) static REASONS: Array<u32> = Array::with_max_entries(MAX_TABLE_REASONS, 0);

/// The ports of `--port`, `--sport` and `--dport`: a bit for each.
#[map]
pub(crate) static PORTS: Array<u64> = Array::with_max_entries(PORT_TABLES * PORT_WORDS, 0);

/// The ranges of all other filters of numbers.
#[map]
pub(crate) static RANGES: LpmTrie<RangeKey, u8> = LpmTrie::with_max_entries(MAX_RANGE_ENTRIES, 0);

/// What is known of the processes that hold sockets, by inode number.
#[map]
pub(crate) static OWNERS: LruHashMap<u64, OwnerEntry> = LruHashMap::with_max_entries(MAX_OWNERS, 0);
