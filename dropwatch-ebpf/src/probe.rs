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
    maps::Array,
    programs::{ProbeContext, RawTracePointContext, tracing::StackIdContext},
};
use aya_log_ebpf::debug;
use dropwatch_common::{
    config::{BUFFER_PERF, Counters, NESTING_LEVELS, RangeKind, reads},
    event::{COMM_LEN, DropEvent, EVENT_SIZE, FIXED_SIZE, HEADERS_LEN, MAX_FRAMES, present},
};

use crate::{
    config::{
        BUFFER, READS, REASON_CONSUMED, REASON_NOT_DROPPED_YET, STACK_BYTES, TRACEPOINT_HAS_REASON,
        TRACEPOINT_HAS_SOCKET, WANT_DIRECTION,
    },
    filter::{self, Decision},
    group::{self, Counted},
    kernel::{
        cgroup::Cgroup,
        netdev::NetDevice,
        read,
        skb::{self, Headers, Skb},
        sock::{self, Sock},
    },
    limit,
    maps::{
        COUNTERS, DROPS_LOST, READER_WAITS, RECORDS_PERF, RECORDS_RING, SCRATCH, STACKS, Scratch,
    },
};

/// Most calls that `bpf_loop` makes, `BPF_MAX_LOOPS` in the kernel's
/// `include/linux/bpf_verifier.h`; no list of packets is that long.
const MAX_LIST: u32 = 1 << 23;

/// What the attach point knows of a freed packet.
///
/// No `Option`: the verifier refuses the copy of one's content that was never set.
pub(crate) struct Freed {
    /// Address of the `struct sk_buff`.
    pub(crate) skb: u64,
    /// The call site.
    pub(crate) location: u64,
    /// Whether this kernel gives a drop reason.
    pub(crate) has_reason: bool,
    /// The drop reason.
    pub(crate) reason: u32,
    /// Address of the socket that was to receive the packet, 0 where the attach
    /// point does not know it.
    pub(crate) receiver: u64,
}

impl Freed {
    /// False where the reason says that the packet was consumed.
    #[inline(always)]
    fn is_drop(&self) -> bool {
        !self.has_reason
            || self.reason != REASON_CONSUMED.load() && self.reason != REASON_NOT_DROPPED_YET.load()
    }
}

/// The tracepoint `skb:kfree_skb`: fires for drops only.
#[inline(always)]
pub(crate) fn tracepoint(ctx: &RawTracePointContext) {
    let has_reason = TRACEPOINT_HAS_REASON.load() != 0;
    let freed = Freed {
        skb: ctx.arg(0),
        location: ctx.arg(1),
        has_reason,
        reason: if has_reason { ctx.arg(2) } else { 0 },
        receiver: if TRACEPOINT_HAS_SOCKET.load() == 0 {
            0
        } else {
            ctx.arg(3)
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
pub(crate) fn function(
    ctx: &ProbeContext,
    skb_arg: usize,
    reason_arg: Option<usize>,
    receiver_arg: Option<usize>,
) {
    let argument = |index: Option<usize>| match index {
        Some(index) => ctx.arg::<u64>(index).unwrap_or(0),
        None => 0,
    };
    let freed = Freed {
        skb: argument(Some(skb_arg)),
        location: return_address(ctx),
        has_reason: reason_arg.is_some(),
        reason: argument(reason_arg) as u32,
        receiver: argument(receiver_arg),
    };
    if freed.is_drop() && skb::is_last_reference(freed.skb) {
        record(ctx, &freed);
    }
}

/// A function that frees a list of packets, linked through `next`.
///
/// The kernels that need this probe (6.3 on) have `bpf_loop` (5.17 on), which
/// walks a list of any length.
#[inline(always)]
pub(crate) fn list(ctx: &ProbeContext) {
    let mut walk = ListWalk {
        ctx: ctx.as_ptr(),
        freed: Freed {
            skb: ctx.arg(0).unwrap_or(0),
            location: return_address(ctx),
            has_reason: true,
            reason: ctx.arg(1).unwrap_or(0),
            receiver: 0,
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

/// What became of a drop.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Its record is in the buffer.
    Recorded,
    /// A filter turned it down.
    Filtered,
    /// `--sample` left it out.
    SampledOut,
    /// `--rate-limit` had no token for it.
    Limited,
    /// There was no room for its record.
    Lost,
    /// It is counted in its group.
    Grouped,
    /// There was no room for its group; it is counted as one of these.
    NoGroup,
}

/// Counts the drop, and writes its record unless a filter turns it down.
#[inline(always)]
fn record<C: StackIdContext>(ctx: &C, freed: &Freed) {
    let Some(counters) = COUNTERS.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: the pointer comes from the map and is this CPU's.
    unsafe { add(&raw mut (*counters).seen, 1) };

    let outcome = if filter::drop_matches(freed) {
        with_scratch(counters, |scratch| {
            match examine(ctx, freed, counters, scratch) {
                Ok(frames) => keep(ctx, counters, scratch, frames),
                Err(outcome) => outcome,
            }
        })
    } else {
        Outcome::Filtered
    };
    // SAFETY: as above.
    unsafe {
        match outcome {
            Outcome::Recorded | Outcome::NoGroup => {}
            Outcome::Filtered => add(&raw mut (*counters).filtered, 1),
            Outcome::SampledOut => add(&raw mut (*counters).sampled_out, 1),
            Outcome::Limited => add(&raw mut (*counters).limited, 1),
            Outcome::Grouped => add(&raw mut (*counters).grouped, 1),
            Outcome::Lost => {
                add(&raw mut (*counters).lost, 1);
                raise(&DROPS_LOST);
            }
        }
    }
}

/// Raises a flag that user space takes down.
#[inline(always)]
fn raise(flag: &Array<u32>) {
    let Some(flag) = flag.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: the pointer comes from the map. Volatile, because user space writes
    // it, too; and only written if it is down, so that processors do not take the
    // cache line from each other in a flood.
    unsafe {
        if flag.read_volatile() == 0 {
            flag.write_volatile(1);
        }
    }
}

/// Counts the drop in its group, or writes its record.
#[inline(always)]
fn keep<C: StackIdContext>(
    ctx: &C,
    counters: *mut Counters,
    scratch: &mut Scratch,
    frames: usize,
) -> Outcome {
    if group::is_on() && !group::needs_record(scratch) {
        return match group::count(scratch) {
            Counted::Grouped => Outcome::Grouped,
            Counted::GroupedWithExample => {
                scratch.event.present |= present::EXAMPLE;
                complete(scratch);
                // An example that finds no room is no loss: its drop is counted.
                submit(ctx, scratch, frames);
                Outcome::Grouped
            }
            Counted::NoRoom => {
                group::count_without_room(counters, scratch);
                Outcome::NoGroup
            }
        };
    }
    complete(scratch);
    match submit(ctx, scratch, frames) {
        true => Outcome::Recorded,
        false => Outcome::Lost,
    }
}

/// Adds `number` to a counter of this CPU.
///
/// One instruction, because an interrupt between load and store can run this
/// program again on the same CPU. Spelled out, because core offers no atomic
/// addition for this target; kernels before 5.12 know no other form of it.
///
/// # Safety
///
/// `counter` must point into a map value.
#[inline(always)]
pub(crate) unsafe fn add(counter: *mut u64, number: u64) {
    // SAFETY: valid and aligned by the caller's promise.
    unsafe {
        asm!(
            "lock *(u64 *)({counter} + 0) += {number}",
            counter = in(reg) counter,
            number = in(reg) number,
            options(nostack),
        );
    }
}

/// Calls `f` with a scratch area that no drop nested into this one can touch.
///
/// Before 6.2 nothing keeps a raw tracepoint program from being interrupted by
/// itself on the same CPU.
#[inline(always)]
fn with_scratch(counters: *mut Counters, f: impl FnOnce(&mut Scratch) -> Outcome) -> Outcome {
    // SAFETY: the pointer comes from the map. Volatile, because the compiler
    // can't know of the interrupt that reads the level in between.
    let level = unsafe { (&raw const (*counters).nesting).read_volatile() };
    if level >= u64::from(NESTING_LEVELS) {
        return Outcome::Lost;
    }
    let Some(scratch) = SCRATCH.get_ptr_mut(level as u32) else {
        return Outcome::Lost;
    };
    // SAFETY: as above; the level leaves this scratch to this call alone.
    unsafe {
        (&raw mut (*counters).nesting).write_volatile(level + 1);
        let done = f(&mut *scratch);
        (&raw mut (*counters).nesting).write_volatile(level);
        done
    }
}

/// Reads what filters, groups and records need, and returns the number of stack
/// frames in the record, or what became of the drop if a filter turns it down or a
/// limit does not let it through.
///
/// The padding is zero: the kernel clears new maps, and nobody writes to it.
#[inline(always)]
fn examine<C: StackIdContext>(
    ctx: &C,
    freed: &Freed,
    counters: *mut Counters,
    scratch: &mut Scratch,
) -> Result<usize, Outcome> {
    let event = &mut scratch.event;
    if reads(reads::TIME) {
        // SAFETY: a helper without arguments.
        event.time_ns = unsafe { bpf_ktime_get_boot_ns() };
    }
    event.skb = freed.skb;
    event.location = freed.location;
    event.tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    event.present = 0;
    if freed.has_reason {
        event.reason = freed.reason;
        event.present |= present::REASON;
    }
    if !fill_packet(freed, scratch) && may_diagnose(&mut scratch.diagnostics) {
        debug!(ctx, "can't read the sk_buff at {:x}", freed.skb);
    }
    if !filter::packet_matches(scratch) {
        return Err(Outcome::Filtered);
    }
    let socket = if reads(reads::SOCKET) {
        fill_socket(scratch.sock, &mut scratch.event)
    } else {
        Socket::NONE
    };
    if !filter::cgroup_matches(socket.cgroup, &scratch.event) {
        return Err(Outcome::Filtered);
    }
    if scratch.event.present & present::SOCKET == 0 && filter::is_socket_receive(freed.location) {
        scratch.event.present |= present::SOCKET_BY_ADDRESS;
    }
    match filter::process_decision(scratch, socket.address) {
        Decision::Match => {}
        Decision::NoMatch => return Err(Outcome::Filtered),
        Decision::Open => scratch.event.present |= present::PROCESS_OPEN,
    }
    // The stack is what costs: the limits come before it, unless it is a filter.
    let is_stack_filter = filter::range_is_on(RangeKind::StackFunction);
    if !is_stack_filter {
        limit::pass(counters, &scratch.event)?;
    }
    let frames = fill_stack(ctx, scratch).ok_or(Outcome::Filtered)?;
    if is_stack_filter {
        limit::pass(counters, &scratch.event)?;
    }
    scratch.event.frame_count = frames as u16;
    Ok(frames)
}

/// Fills what only a record needs.
#[inline(always)]
fn complete(scratch: &mut Scratch) {
    fill_headers(scratch.headers, &mut scratch.event);
    // SAFETY: `comm` is valid for `COMM_LEN` bytes.
    unsafe { bpf_get_current_comm(scratch.event.comm.as_mut_ptr().cast(), COMM_LEN as u32) };
}

/// Whether any of `parts` has to be read.
#[inline(always)]
fn reads(parts: u32) -> bool {
    READS.load() & parts != 0
}

/// Fills what comes from the packet; false if it can't be read.
#[inline(always)]
fn fill_packet(freed: &Freed, scratch: &mut Scratch) -> bool {
    scratch.headers = Headers::NONE;
    scratch.dev = NetDevice { address: 0 };
    scratch.sock = Sock {
        address: freed.receiver,
    };
    let event = &mut scratch.event;
    let Some(skb) = Skb::read(freed.skb, &mut scratch.skb) else {
        return false;
    };
    event.present |= present::SKB;
    event.len = skb.len();
    event.ethertype = skb.protocol();
    event.mark = skb.mark();
    event.priority = skb.priority();
    event.hash = skb.hash();
    event.iif = skb.iif();
    event.queue = skb.queue();
    if let Some(pkt_type) = skb.pkt_type() {
        event.pkt_type = pkt_type;
        event.present |= present::PKT_TYPE;
    }
    if let Some((proto, tci)) = skb.vlan_tag() {
        event.vlan_proto = proto;
        event.vlan_tci = tci;
        event.present |= present::VLAN;
    }
    if let Some(gso) = skb.gso() {
        event.gso_size = gso.size;
        event.gso_segs = gso.segs;
        event.present |= present::GSO;
    }
    if scratch.sock.address == 0 {
        scratch.sock = skb.sk();
    }
    if reads(reads::DEVICE) {
        scratch.dev = fill_device(&skb, scratch.sock, event);
    }
    // Without an ethertype the bytes have no meaning.
    if event.ethertype != 0
        && let Some(headers) = skb.headers()
    {
        scratch.headers = headers;
    }
    true
}

/// Fills device and network namespace: of the device that the packet came from or,
/// where it did not come from any, of the one that its route leads to.
///
/// A device without a network namespace is none: something else is kept in the
/// packet's `dev`.
#[inline(always)]
fn fill_device(skb: &Skb<'_>, sock: Sock, event: &mut DropEvent) -> NetDevice {
    let dst = skb.dst();
    if dst.address != 0 {
        event.present |= present::DST;
        if WANT_DIRECTION.load() != 0 {
            event.dst_input = dst.input();
            event.present |= present::DST_INPUT;
        }
    }
    let mut dev = skb.dev();
    let mut netns = dev.netns();
    if netns.is_none() && event.iif == 0 {
        dev = dst.dev();
        netns = dev.netns();
    }
    if netns.is_some()
        && let Some(ifindex) = dev.ifindex()
        && dev.read_name(&mut event.ifname)
    {
        event.ifindex = ifindex;
        event.present |= present::DEV;
    }
    if let Some(netns) = netns.or_else(|| sock.netns()) {
        event.netns = netns;
        event.present |= present::NETNS;
    }
    dev
}

/// The packet's socket, as the filters need it.
struct Socket {
    /// The cgroup that it was created in.
    cgroup: Cgroup,
    /// Address of the `struct socket` by which processes hold it, 0 if none does.
    address: u64,
}

impl Socket {
    const NONE: Self = Self {
        cgroup: Cgroup { address: 0 },
        address: 0,
    };
}

/// Fills what comes from the packet's socket.
#[inline(always)]
fn fill_socket(sock: Sock, event: &mut DropEvent) -> Socket {
    if sock.address == 0 {
        return Socket::NONE;
    }
    let (Some(state), Some(family)) = (sock.state(), sock.family()) else {
        return Socket::NONE;
    };
    event.present |= present::SOCKET;
    event.socket_state = state;
    event.socket_family = family;
    let full = sock.full(state, family);
    event.socket_protocol = full.protocol();
    let cgroup = full.cgroup();
    event.socket_cgroup = cgroup.id();
    if event.socket_cgroup != 0 {
        event.present |= present::SOCKET_CGROUP;
    }
    let address = full.socket();
    event.socket_inode = sock::inode(address);
    if event.socket_inode != 0 {
        event.present |= present::SOCKET_INODE;
    }
    Socket { cgroup, address }
}

#[inline(always)]
fn fill_headers(headers: Headers, event: &mut DropEvent) {
    event.headers_len = 0;
    event.network_offset = headers.network_offset as u8;
    let len = bounded(headers.len, HEADERS_LEN as u32);
    // SAFETY: `len` is at most the size of `headers`.
    if len != 0 && unsafe { read::bytes(event.headers.as_mut_ptr(), len, headers.address) } {
        event.headers_len = len as u16;
    }
}

/// Takes the kernel stack and returns the number of frames in the record: none
/// where the stack-trace map has it. `None` if `--stack-func` turns the drop
/// down, which needs the frames here.
#[inline(always)]
fn fill_stack<C: StackIdContext>(ctx: &C, scratch: &mut Scratch) -> Option<usize> {
    let bytes = STACK_BYTES.load();
    if bytes == 0 || bytes as usize > size_of_val(&scratch.frames) {
        return Some(0);
    }
    if filter::range_is_on(RangeKind::StackFunction) {
        let frames = copy_stack(ctx, scratch, bytes);
        return filter::stack_matches(&scratch.frames, frames, scratch.event.location)
            .then_some(frames);
    }
    match ctx.get_stackid(&STACKS, 0) {
        Ok(id) => {
            scratch.event.stack_id = id as u32;
            scratch.event.present |= present::STACK_ID;
            Some(0)
        }
        Err(error) => {
            if may_diagnose(&mut scratch.diagnostics) {
                debug!(
                    ctx,
                    "no stack id (error {}), the frames go into the record", error
                );
            }
            Some(copy_stack(ctx, scratch, bytes))
        }
    }
}

/// Copies the kernel stack into the record, and returns the number of frames.
#[inline(always)]
fn copy_stack<C: StackIdContext>(ctx: &C, scratch: &mut Scratch, bytes: u32) -> usize {
    let frames = scratch.frames.as_mut_ptr().cast();
    // SAFETY: the caller has checked that `bytes` is at most the size of `frames`.
    let copied = unsafe { bpf_get_stack(ctx.as_ptr(), frames, bytes, 0) };
    if copied < 0 {
        0
    } else {
        copied as usize / size_of::<u64>()
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
    let size = if frames == 0 {
        let headers = bounded(u32::from(scratch.event.headers_len), HEADERS_LEN as u32);
        FIXED_SIZE as u64 + u64::from(headers)
    } else {
        EVENT_SIZE as u64 + u64::from(frames) * size_of::<u64>() as u64
    };
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
