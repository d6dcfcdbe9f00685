//! Every map.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    macros::map,
    maps::{Array, HashMap, PerCpuArray, PerfEventByteArray, RingBuf, StackTrace},
};
use dropwatch_common::{
    config::{Counters, MAX_FILTER_ENTRIES, NESTING_LEVELS},
    event::{COMM_LEN, DropEvent, MAX_FRAMES},
    kernel_fields::SKB_SNAPSHOT_LEN,
};

/// Where one drop is put together. Too large for the 512-byte stack.
#[repr(C)]
pub(crate) struct Scratch {
    /// The record: what user space receives starts here.
    pub(crate) event: DropEvent,
    /// Stack frames of the record.
    pub(crate) frames: [u64; MAX_FRAMES],
    /// How many diagnostics this scratch area has given.
    pub(crate) diagnostics: u64,
    /// Copy of the `struct sk_buff`.
    pub(crate) skb: [u64; SKB_SNAPSHOT_LEN / 8],
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

/// Kernel stacks by id; its depth and size are set by the loader.
#[map]
pub(crate) static STACKS: StackTrace = StackTrace::with_max_entries(1, 0);

/// Processes that `--pid` names, by tgid.
#[map]
pub(crate) static PIDS: HashMap<u32, u8> = HashMap::with_max_entries(MAX_FILTER_ENTRIES, 0);

/// Process names that `--comm` names, NUL-padded.
#[map]
pub(crate) static COMMS: HashMap<[u8; COMM_LEN], u8> =
    HashMap::with_max_entries(MAX_FILTER_ENTRIES, 0);
