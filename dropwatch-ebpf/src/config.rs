//! The globals that user space sets before load, see `dropwatch_common::config`.

use aya_ebpf::Global;
use dropwatch_common::config::{ABSENT, BUFFER_RING};

macro_rules! offset_globals {
    ($($name:ident: $strukt:literal, $path:literal, $size:literal, $required:literal;)*) => {
        $(
            #[doc = concat!("Offset in bytes of `", $strukt, ".", $path, "`.")]
            #[unsafe(no_mangle)]
            pub(crate) static $name: Global<u32> = Global::new(ABSENT);
        )*
    };
}

dropwatch_common::with_kernel_fields!(offset_globals);

macro_rules! bit_globals {
    ($($name:ident: $strukt:literal, $path:literal, $bits:literal;)*) => {
        $(
            #[doc = concat!("Distance in bits of `", $strukt, ".", $path, "`.")]
            #[unsafe(no_mangle)]
            pub(crate) static $name: Global<u32> = Global::new(ABSENT);
        )*
    };
}

dropwatch_common::with_kernel_bits!(bit_globals);

/// Bytes of a `struct sk_buff` that the offsets above reach, at most
/// `SKB_SNAPSHOT_LEN`.
#[unsafe(no_mangle)]
pub(crate) static SKB_SNAPSHOT_USED: Global<u32> = Global::new(0);

/// 1 where the tracepoint has a third argument, the drop reason.
#[unsafe(no_mangle)]
pub(crate) static TRACEPOINT_HAS_REASON: Global<u32> = Global::new(0);

/// 1 where the kernel gives programs the task on the CPU with its type, from 5.11.
#[unsafe(no_mangle)]
pub(crate) static HAS_TYPED_TASK: Global<u32> = Global::new(0);

/// Drop reason that means the packet was consumed.
#[unsafe(no_mangle)]
pub(crate) static REASON_CONSUMED: Global<u32> = Global::new(ABSENT);

/// Drop reason that means the packet is not dropped.
#[unsafe(no_mangle)]
pub(crate) static REASON_NOT_DROPPED_YET: Global<u32> = Global::new(ABSENT);

/// Most bytes of a packet that a record holds, 0 for no more than its headers.
#[unsafe(no_mangle)]
pub(crate) static PACKET_LEN: Global<u32> = Global::new(0);

/// `BUFFER_RING` or `BUFFER_PERF`.
#[unsafe(no_mangle)]
pub(crate) static BUFFER: Global<u32> = Global::new(BUFFER_RING);

/// Bytes of stack frames to unwind: 8 per frame, 0 for no stack.
#[unsafe(no_mangle)]
pub(crate) static STACK_BYTES: Global<u32> = Global::new(0);

/// 1 where the tracepoint has a fourth argument, the receiving socket.
#[unsafe(no_mangle)]
pub(crate) static TRACEPOINT_HAS_SOCKET: Global<u32> = Global::new(0);

/// 1 where the line shows the direction.
#[unsafe(no_mangle)]
pub(crate) static WANT_DIRECTION: Global<u32> = Global::new(0);

/// Which filters are on: the bits of `filters`.
#[unsafe(no_mangle)]
pub(crate) static FILTERS: Global<u32> = Global::new(0);

/// Which kinds of ranges are in the map `RANGES`: the bits of `RangeKind`.
#[unsafe(no_mangle)]
pub(crate) static RANGE_FILTERS: Global<u32> = Global::new(0);

/// What groups of drops are told apart by: the bits of `group::by`, 0 to make a
/// record of each drop.
#[unsafe(no_mangle)]
pub(crate) static GROUP_BY: Global<u32> = Global::new(0);

/// 1 to send records of grouped drops as examples.
#[unsafe(no_mangle)]
pub(crate) static EXAMPLES: Global<u32> = Global::new(0);

/// `--sample`: one of so many drops is recorded; 0 and 1 turn it off.
#[unsafe(no_mangle)]
pub(crate) static SAMPLE: Global<u32> = Global::new(0);

/// `--rate-limit`: `RateLimit::interval_ns`, 0 turns it off.
#[unsafe(no_mangle)]
pub(crate) static RATE_INTERVAL_NS: Global<u64> = Global::new(0);

/// `--rate-limit`: `RateLimit::burst_ns`.
#[unsafe(no_mangle)]
pub(crate) static RATE_BURST_NS: Global<u64> = Global::new(0);
