//! The way of one drop: count, filter, fill a record, hand it over or count it
//! as lost.

use core::{arch::asm, ffi::c_void};

use aya_ebpf::{
    EbpfContext as _,
    bindings::{BPF_F_CURRENT_CPU, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::{
        bpf_get_current_pid_tgid,
        generated::{
            bpf_get_current_comm, bpf_get_stack, bpf_ktime_get_boot_ns, bpf_loop,
            bpf_perf_event_output, bpf_ringbuf_output,
        },
    },
    programs::{ProbeContext, RawTracePointContext, tracing::StackIdContext},
};
use aya_log_ebpf::debug;
use dropwatch_common::{
    config::{BUFFER_PERF, Counters, NESTING_LEVELS},
    event::{COMM_LEN, DropEvent, EVENT_SIZE, HEADERS_LEN, MAX_FRAMES, present},
};

use crate::{
    config::{BUFFER, REASON_CONSUMED, REASON_NOT_DROPPED_YET, STACK_BYTES, TRACEPOINT_HAS_REASON},
    filter,
    kernel::{
        read,
        skb::{self, Skb},
    },
    maps::{COUNTERS, READER_WAITS, RECORDS_PERF, RECORDS_RING, SCRATCH, STACKS, Scratch},
};

/// Most calls that `bpf_loop` makes, `BPF_MAX_LOOPS` in the kernel's
/// `include/linux/bpf_verifier.h`; no list of packets is that long.
const MAX_LIST: u32 = 1 << 23;

/// What the attach point knows of a freed packet.
struct Freed {
    /// Address of the `struct sk_buff`.
    skb: u64,
    /// The call site.
    location: u64,
    /// The drop reason, where this kernel has one.
    reason: Option<u32>,
}

impl Freed {
    /// False where the reason says that the packet was consumed.
    #[inline(always)]
    fn is_drop(&self) -> bool {
        match self.reason {
            Some(reason) => {
                reason != REASON_CONSUMED.load() && reason != REASON_NOT_DROPPED_YET.load()
            }
            None => true,
        }
    }
}

/// The tracepoint `skb:kfree_skb`: fires for drops only.
#[inline(always)]
pub(crate) fn tracepoint(ctx: &RawTracePointContext) {
    let freed = Freed {
        skb: ctx.arg(0),
        location: ctx.arg(1),
        reason: if TRACEPOINT_HAS_REASON.load() == 0 {
            None
        } else {
            Some(ctx.arg(2))
        },
    };
    if freed.is_drop() {
        record(ctx, &freed);
    }
}

/// A function that frees the packet in its argument number `skb_arg`: called
/// also with NULL, with packets that only lose a reference, and with reasons
/// that mean consumed.
#[inline(always)]
pub(crate) fn function(ctx: &ProbeContext, skb_arg: usize, reason_arg: Option<usize>) {
    let Some(skb) = ctx.arg(skb_arg) else { return };
    let freed = Freed {
        skb,
        location: return_address(ctx),
        reason: reason_arg.and_then(|arg| ctx.arg(arg)),
    };
    if freed.is_drop() && skb::is_last_reference(skb) {
        record(ctx, &freed);
    }
}

/// A function that frees a list of packets, linked through `next`.
///
/// The kernels that need this probe (6.3 on) have `bpf_loop` (5.17 on), which
/// walks a list of any length.
#[inline(always)]
pub(crate) fn list(ctx: &ProbeContext) {
    let Some(first) = ctx.arg(0) else { return };
    let mut walk = ListWalk {
        ctx: ctx.as_ptr(),
        freed: Freed {
            skb: first,
            location: return_address(ctx),
            reason: ctx.arg(1),
        },
    };
    // SAFETY: `visit` has the signature that `bpf_loop` calls, and `walk`
    // outlives the call.
    unsafe {
        bpf_loop(MAX_LIST, visit as *mut c_void, (&raw mut walk).cast(), 0);
    }
}

/// What the walk over a list needs at each packet.
#[repr(C)]
struct ListWalk {
    /// The context of the probe.
    ctx: *mut c_void,
    /// The packet to visit next.
    freed: Freed,
}

/// Looks at one packet of a list; returns 1 at the list's end.
#[inline(never)]
extern "C" fn visit(_index: u32, walk: *mut ListWalk) -> i64 {
    // SAFETY: `bpf_loop` hands over the pointer that `list` gave it.
    let walk = unsafe { &mut *walk };
    let skb = walk.freed.skb;
    if skb == 0 {
        return 1;
    }
    if walk.freed.is_drop() && skb::is_last_reference(skb) {
        record(&ProbeContext::new(walk.ctx), &walk.freed);
    }
    walk.freed.skb = skb::next(skb);
    0
}

/// The address that the probed function returns to.
#[inline(always)]
fn return_address(ctx: &ProbeContext) -> u64 {
    #[cfg(bpf_target_arch = "x86_64")]
    {
        // At a function's entry the return address is on top of the stack.
        // SAFETY: the context of a kprobe is a valid `struct pt_regs`.
        let stack_pointer = unsafe { (*ctx.regs).rsp };
        read::member(stack_pointer, 0).unwrap_or(0)
    }
    #[cfg(bpf_target_arch = "aarch64")]
    {
        // SAFETY: the context of a kprobe is a valid `struct pt_regs`.
        unsafe { (*ctx.regs).regs[30] }
    }
}

/// Counts the drop, and writes its record unless a filter turns it down.
#[inline(always)]
fn record<C: StackIdContext>(ctx: &C, freed: &Freed) {
    let Some(counters) = COUNTERS.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: the pointer comes from the map and is this CPU's.
    unsafe { add_one(&raw mut (*counters).seen) };

    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    if !filter::matches(tgid) {
        // SAFETY: as above.
        unsafe { add_one(&raw mut (*counters).filtered) };
        return;
    }
    if !with_scratch(counters, |scratch| {
        let frames = fill(ctx, freed, tgid, scratch);
        submit(ctx, scratch, frames)
    }) {
        // SAFETY: as above.
        unsafe { add_one(&raw mut (*counters).lost) };
    }
}

/// Adds one to a counter of this CPU.
///
/// One instruction, because an interrupt between load and store can run this
/// program again on the same CPU. Spelled out, because core offers no atomic
/// addition for this target; kernels before 5.12 know no other form of it.
///
/// # Safety
///
/// `counter` must point into a map value.
#[inline(always)]
unsafe fn add_one(counter: *mut u64) {
    // SAFETY: valid and aligned by the caller's promise.
    unsafe {
        asm!(
            "lock *(u64 *)({counter} + 0) += {one}",
            counter = in(reg) counter,
            one = in(reg) 1_u64,
            options(nostack),
        );
    }
}

/// Calls `f` with a scratch area that no drop nested into this one can touch.
///
/// Before 6.2 nothing keeps a raw tracepoint program from being interrupted by
/// itself on the same CPU.
#[inline(always)]
fn with_scratch(counters: *mut Counters, f: impl FnOnce(&mut Scratch) -> bool) -> bool {
    // SAFETY: the pointer comes from the map. Volatile, because the compiler
    // can't know of the interrupt that reads the level in between.
    let level = unsafe { (&raw const (*counters).nesting).read_volatile() };
    if level >= u64::from(NESTING_LEVELS) {
        return false;
    }
    let Some(scratch) = SCRATCH.get_ptr_mut(level as u32) else {
        return false;
    };
    // SAFETY: as above; the level leaves this scratch to this call alone.
    unsafe {
        (&raw mut (*counters).nesting).write_volatile(level + 1);
        let done = f(&mut *scratch);
        (&raw mut (*counters).nesting).write_volatile(level);
        done
    }
}

/// Fills the record and returns the number of stack frames in it.
///
/// The padding is zero: the kernel clears new maps, and nobody writes to it.
#[inline(always)]
fn fill<C: StackIdContext>(ctx: &C, freed: &Freed, tgid: u32, scratch: &mut Scratch) -> usize {
    let event = &mut scratch.event;
    // SAFETY: a helper without arguments.
    event.time_ns = unsafe { bpf_ktime_get_boot_ns() };
    event.skb = freed.skb;
    event.location = freed.location;
    event.tgid = tgid;
    event.headers_len = 0;
    let mut found = 0;
    if let Some(reason) = freed.reason {
        event.reason = reason;
        found |= present::REASON;
    }
    // SAFETY: `comm` is valid for `COMM_LEN` bytes.
    unsafe { bpf_get_current_comm(event.comm.as_mut_ptr().cast(), COMM_LEN as u32) };
    match Skb::read(freed.skb, &mut scratch.skb) {
        Some(skb) => found |= fill_packet(&skb, event),
        None => {
            if may_diagnose(&mut scratch.diagnostics) {
                debug!(ctx, "can't read the sk_buff at {:x}", freed.skb);
            }
        }
    }
    let frames = fill_stack(ctx, scratch, &mut found);
    let event = &mut scratch.event;
    event.frame_count = frames as u16;
    event.present = found;
    frames
}

/// Fills what comes from the packet and returns the bits of `present`.
#[inline(always)]
fn fill_packet(skb: &Skb<'_>, event: &mut DropEvent) -> u32 {
    let mut found = present::LEN;
    event.len = skb.len();
    event.ethertype = skb.protocol();

    let dev = skb.dev();
    // A device without a network namespace is none: something else is kept in
    // the packet's `dev`.
    let netns = dev.netns();
    if netns.is_some()
        && let Some(ifindex) = dev.ifindex()
        && dev.read_name(&mut event.ifname)
    {
        event.ifindex = ifindex;
        found |= present::DEV;
    }
    if let Some(netns) = netns.or_else(|| skb.sk().netns()) {
        event.netns = netns;
        found |= present::NETNS;
    }
    // Without an ethertype the bytes have no meaning.
    if event.ethertype != 0 {
        fill_headers(skb, event);
    }
    found
}

#[inline(always)]
fn fill_headers(skb: &Skb<'_>, event: &mut DropEvent) {
    let Some(span) = skb.network_headers() else {
        return;
    };
    let len = bounded(span.len, HEADERS_LEN as u32);
    // SAFETY: `len` is at most the size of `headers`.
    if unsafe { read::bytes(event.headers.as_mut_ptr(), len, span.address) } {
        event.headers_len = len as u16;
    }
}

/// Takes the kernel stack and returns the number of frames in the record: none
/// where the stack-trace map has it.
#[inline(always)]
fn fill_stack<C: StackIdContext>(ctx: &C, scratch: &mut Scratch, found: &mut u32) -> usize {
    let bytes = STACK_BYTES.load();
    if bytes == 0 || bytes as usize > size_of_val(&scratch.frames) {
        return 0;
    }
    match ctx.get_stackid(&STACKS, 0) {
        Ok(id) => {
            scratch.event.stack_id = id as u32;
            *found |= present::STACK_ID;
            0
        }
        Err(error) => {
            let frames = scratch.frames.as_mut_ptr().cast();
            // SAFETY: `bytes` is at most the size of `frames`.
            let copied = unsafe { bpf_get_stack(ctx.as_ptr(), frames, bytes, 0) };
            if may_diagnose(&mut scratch.diagnostics) {
                debug!(
                    ctx,
                    "no stack id (error {}), {} bytes of frames go into the record", error, copied
                );
            }
            if copied < 0 {
                0
            } else {
                copied as usize / size_of::<u64>()
            }
        }
    }
}

/// Diagnostics that one scratch area gives in a run: a flood must not become a
/// flood of diagnostics.
const MAX_DIAGNOSTICS: u64 = 8;

#[inline(always)]
fn may_diagnose(given: &mut u64) -> bool {
    if *given >= MAX_DIAGNOSTICS {
        return false;
    }
    *given += 1;
    true
}

/// Hands the record to user space; false if there was no room for it.
#[inline(always)]
fn submit<C: StackIdContext>(ctx: &C, scratch: &mut Scratch, frames: usize) -> bool {
    let frames = bounded(frames as u32, MAX_FRAMES as u32);
    let size = EVENT_SIZE as u64 + u64::from(frames) * size_of::<u64>() as u64;
    let record: *mut c_void = (&raw mut *scratch).cast();
    if BUFFER.load() == BUFFER_PERF {
        // SAFETY: the record and the frames behind it lie in `scratch`.
        return unsafe {
            bpf_perf_event_output(
                ctx.as_ptr(),
                (&raw const RECORDS_PERF).cast_mut().cast(),
                u64::from(BPF_F_CURRENT_CPU as u32),
                record,
                size,
            ) == 0
        };
    }
    // SAFETY: as above.
    let written = unsafe {
        bpf_ringbuf_output(
            (&raw const RECORDS_RING).cast_mut().cast(),
            record,
            size,
            u64::from(BPF_RB_NO_WAKEUP),
        ) == 0
    };
    wake_waiting_reader();
    written
}

/// Wakes user space if it sleeps until a record comes.
///
/// Looks after the record is committed, while the reader looks for records
/// after it has raised its flag: one of them sees the other. The wake-up rides
/// on an empty record that the reader never sees.
#[inline(always)]
fn wake_waiting_reader() {
    let Some(waits) = READER_WAITS.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: the pointer comes from the map. Volatile, because user space
    // writes it, too.
    unsafe {
        if waits.read_volatile() == 0 {
            return;
        }
        waits.write_volatile(0);
    }
    if let Some(empty) = RECORDS_RING.reserve::<u64>(0) {
        empty.discard(u64::from(BPF_RB_FORCE_WAKEUP));
    }
}

/// `value`, at most `limit`, in a way that the verifier can follow.
#[inline(always)]
fn bounded(value: u32, limit: u32) -> u32 {
    // The compiler knows some values to be in bounds and would leave out the
    // comparison that shows it to the verifier.
    let value = core::hint::black_box(value);
    if value > limit { limit } else { value }
}
