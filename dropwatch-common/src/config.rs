//! The read-only configuration of the eBPF programs.
//!
//! User space overrides these globals before load. The verifier then sees
//! constants and removes the code of everything that is off.

/// Value of a `u32` global that names something this kernel does not have.
pub const ABSENT: u32 = u32::MAX;

/// Records go into the ring buffer.
pub const BUFFER_RING: u32 = 0;
/// Records go into the per-CPU perf buffers.
pub const BUFFER_PERF: u32 = 1;

/// Most processes or names that one filter holds.
pub const MAX_FILTER_ENTRIES: u32 = 1024;

/// Nested drops that a CPU can record at the same time: a task, interrupted by
/// a softirq, interrupted by a hard interrupt, interrupted by an NMI.
pub const NESTING_LEVELS: u32 = 4;

/// Per-CPU counters, the source of the account.
///
/// `seen = records in the buffer + filtered + lost`, always.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Drops for which the program ran.
    pub seen: u64,
    /// Drops that a filter turned down.
    pub filtered: u64,
    /// Drops for which no record could be written.
    pub lost: u64,
    /// How many drops this CPU is recording just now, at most
    /// [`NESTING_LEVELS`].
    pub nesting: u64,
}
