//! The way of one drop: count, filter, fill a record, hand it over or count it
//! as lost.

use core::{arch::asm, ffi::c_void, mem::offset_of};

use aya_ebpf::{
    EbpfContext,
    bindings::{BPF_F_CURRENT_CPU, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::generated::{
        bpf_get_stack, bpf_ktime_get_boot_ns, bpf_loop, bpf_perf_event_output, bpf_ringbuf_output,
    },
    maps::Array,
    programs::{ProbeContext, tracing::StackIdContext},
};
use aya_log_ebpf::debug;
use dropwatch_common::{
    config::{BUFFER_PERF, Counters, NESTING_LEVELS, RangeKind},
    event::{DropEvent, EVENT_SIZE, FIXED_SIZE, HEADERS_LEN, MAX_FRAMES, MAX_TAIL, present},
};

use crate::{
    config::{
        BUFFER, PACKET_LEN, REASON_CONSUMED, REASON_NOT_DROPPED_YET, STACK_BYTES,
        TRACEPOINT_HAS_REASON, TRACEPOINT_HAS_SOCKET, WANT_DIRECTION,
    },
    filter::{self, Decision},
    group::{self, Counted},
    kernel::{
        netdev::NetDevice,
        read::{self, Access, Copied},
        skb::{self, Skb},
        sock::{self, FullSock, Kind, Sock},
        task,
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
pub(crate) fn tracepoint<A: Access, C: StackIdContext>(ctx: &C) {
    let argument = |index: usize| {
        let arguments: *const u64 = ctx.as_ptr().cast();
        // SAFETY: the verifier takes only arguments that the tracepoint has.
        unsafe { arguments.add(index).read() }
    };
    let has_reason = TRACEPOINT_HAS_REASON.load() != 0;
    let freed = Freed {
        skb: argument(0),
        location: call_site(ctx, argument(1)),
        has_reason,
        reason: if has_reason { argument(2) as u32 } else { 0 },
        receiver: if TRACEPOINT_HAS_SOCKET.load() == 0 {
            0
        } else {
            argument(3)
        },
    };
    if freed.is_drop() {
        record::<A, _>(ctx, &freed);
    }
}

/// Where the function was called that `location` names.
///
/// The tracepoint gives the address that its function returns to. Where the compiler has split that
/// function (`kfree_skb` and `kfree_skb.part.0`: possible before the kernel's commit c205cc7534a9,
/// 6.0), this is an address in its first part, and the call site is the frame behind it.
#[inline(always)]
fn call_site<C: EbpfContext>(ctx: &C, location: u64) -> u64 {
    if filter::is_in_split_function(location) {
        frame_behind(ctx.as_ptr(), location)
    } else {
        location
    }
}

/// Enough for the frames of the program, the tracepoint and both parts of its function.
const FREEING_FRAMES: usize = 12;

/// The frame behind the one with the address `location`, 0 if that is not among the first ones.
#[inline(never)]
fn frame_behind(ctx: *mut c_void, location: u64) -> u64 {
    let mut frames = [0_u64; FREEING_FRAMES];
    let size = size_of_val(&frames) as u32;
    // SAFETY: `frames` has `size` bytes. What a failure leaves are zeros.
    unsafe { bpf_get_stack(ctx, frames.as_mut_ptr().cast(), size, 0) };
    let mut is_next = false;
    for frame in frames {
        if is_next {
            return frame;
        }
        is_next = frame == location;
    }
    0
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
        record::<Copied, _>(ctx, &freed);
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
        record::<Copied, _>(&ProbeContext::new(walk.ctx), &walk.freed);
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
        Copied::load(stack_pointer, 0)
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
fn record<A: Access, C: StackIdContext>(ctx: &C, freed: &Freed) {
    let Some(counters) = COUNTERS.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: the pointer comes from the map and is this CPU's.
    unsafe { add(&raw mut (*counters).seen, 1) };

    let outcome = if filter::drop_matches(freed) {
        with_scratch(counters, |scratch| {
            fill_packet::<A, _>(ctx, freed, scratch);
            match examine::<A, _>(ctx, freed, counters, scratch) {
                Ok(()) => keep::<A, _>(ctx, freed, counters, scratch),
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
fn keep<A: Access, C: StackIdContext>(
    ctx: &C,
    freed: &Freed,
    counters: *mut Counters,
    scratch: &mut Scratch,
) -> Outcome {
    if group::is_on() {
        fill_gso::<A>(freed, scratch);
        if !group::needs_record(scratch) {
            match group::count(scratch) {
                Counted::Grouped => return Outcome::Grouped,
                Counted::GroupedWithExample => scratch.event.present |= present::EXAMPLE,
                Counted::NoRoom => {
                    group::count_without_room(counters, scratch);
                    return Outcome::NoGroup;
                }
            }
        }
    }
    complete::<A>(freed, scratch);
    fill_tail::<A>(freed, scratch);
    let is_written = submit(ctx, scratch);
    if scratch.event.present & present::EXAMPLE != 0 {
        // An example that finds no room is no loss: its drop is counted.
        return Outcome::Grouped;
    }
    match is_written {
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

/// Decides on filters and limits, and reads what they, the drop's group and the
/// stack need; otherwise returns what became of the drop.
#[inline(always)]
fn examine<A: Access, C: StackIdContext>(
    ctx: &C,
    freed: &Freed,
    counters: *mut Counters,
    scratch: &mut Scratch,
) -> Result<(), Outcome> {
    if filter::needs_device() {
        fill_device::<A>(freed, scratch);
    }
    if filter::needs_tuple() {
        fill_headers::<A>(freed, scratch);
    }
    if !filter::packet_matches(scratch) {
        return Err(Outcome::Filtered);
    }
    if group::needs_socket() {
        fill_socket::<A>(freed, scratch);
    }
    if !filter::cgroup_matches(scratch) {
        return Err(Outcome::Filtered);
    }
    if group::may_record()
        && scratch.event.present & present::SOCKET == 0
        && filter::is_socket_receive(freed.location)
    {
        scratch.event.present |= present::SOCKET_BY_ADDRESS;
    }
    if group::needs_task() {
        scratch.event.tgid = task::identify::<A>(&mut scratch.event.comm);
    }
    match filter::process_decision(scratch) {
        Decision::Match => {}
        Decision::NoMatch => return Err(Outcome::Filtered),
        Decision::Open => scratch.event.present |= present::PROCESS_OPEN,
    }
    if !filter::needs_device() && group::needs_device() {
        fill_device::<A>(freed, scratch);
    }
    if !group::is_on() || limit::needs_time() {
        note_time(&mut scratch.event);
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
    Ok(())
}

/// Fills what only a record needs.
#[inline(always)]
fn complete<A: Access>(freed: &Freed, scratch: &mut Scratch) {
    note_time(&mut scratch.event);
    if !filter::needs_device() && !group::needs_device() {
        fill_device::<A>(freed, scratch);
    }
    if !filter::needs_tuple() {
        fill_headers::<A>(freed, scratch);
    }
    if !group::is_on() {
        fill_gso::<A>(freed, scratch);
    }
    fill_details::<A>(freed, scratch);
}

/// Notes the time, if that was not done for this drop: reading the clock takes as
/// long as all of the `struct sk_buff`.
#[inline(always)]
pub(crate) fn note_time(event: &mut DropEvent) {
    if event.time_ns == 0 {
        // SAFETY: a helper without arguments.
        event.time_ns = unsafe { bpf_ktime_get_boot_ns() };
    }
}

/// Fills what the attach point knows and what of the packet is needed to look at
/// the rest of it, or costs next to nothing.
#[inline(always)]
fn fill_packet<A: Access, C: EbpfContext>(ctx: &C, freed: &Freed, scratch: &mut Scratch) {
    let event = &mut scratch.event;
    event.time_ns = 0;
    event.skb = freed.skb;
    event.location = freed.location;
    event.present = 0;
    if freed.has_reason {
        event.reason = freed.reason;
        event.present |= present::REASON;
    }
    let Some(skb) = Skb::<A>::open(freed.skb, &mut scratch.skb) else {
        if may_diagnose(&mut scratch.diagnostics) {
            debug!(ctx, "can't read the sk_buff at {:x}", freed.skb);
        }
        return;
    };
    event.present |= present::SKB;
    event.len = skb.len();
    event.ethertype = skb.protocol();
    event.mark = skb.mark();
}

/// The socket that was to receive the packet, or the one that it belongs to.
#[inline(always)]
fn socket_of<A: Access>(freed: &Freed, scratch: &Scratch) -> Sock<A> {
    if freed.receiver == 0 && scratch.event.present & present::SKB != 0 {
        Skb::<A>::opened(freed.skb, &scratch.skb).sk()
    } else {
        Sock::new(freed.receiver)
    }
}

/// Fills what comes from the packet and no filter looks at.
#[inline(always)]
fn fill_details<A: Access>(freed: &Freed, scratch: &mut Scratch) {
    let event = &mut scratch.event;
    if event.present & present::SKB == 0 {
        return;
    }
    let skb = Skb::<A>::opened(freed.skb, &scratch.skb);
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
}

/// Fills how the packet was to be cut into segments.
#[inline(always)]
fn fill_gso<A: Access>(freed: &Freed, scratch: &mut Scratch) {
    let event = &mut scratch.event;
    if event.present & present::SKB != 0
        && let Some(gso) = Skb::<A>::opened(freed.skb, &scratch.skb).gso()
    {
        event.gso_size = gso.size;
        event.gso_segs = gso.segs;
        event.present |= present::GSO;
    }
}

/// Fills device and network namespace: of the device that the packet came from or,
/// where it did not come from any, of the one that its route leads to, or those of
/// its socket.
#[inline(always)]
fn fill_device<A: Access>(freed: &Freed, scratch: &mut Scratch) {
    let event = &mut scratch.event;
    let is_known = event.present & present::SKB != 0
        && note_devices(&Skb::<A>::opened(freed.skb, &scratch.skb), event);
    if !is_known && let Some(netns) = socket_of::<A>(freed, scratch).netns() {
        scratch.event.netns = netns;
        scratch.event.present |= present::NETNS;
    }
}

/// Notes the route and the device of a packet; false if it has no device.
#[inline(always)]
fn note_devices<A: Access>(skb: &Skb<'_, A>, event: &mut DropEvent) -> bool {
    let dst = skb.dst();
    if dst.address != 0 {
        event.present |= present::DST;
        if WANT_DIRECTION.load() != 0 {
            event.dst_input = dst.input();
            event.present |= present::DST_INPUT;
        }
    }
    note_device(&skb.dev(), event) || skb.iif() == 0 && note_device(&dst.dev(), event)
}

/// Notes a device and its network namespace; false if it has none, which no device
/// has: something else is kept in its place then.
#[inline(always)]
fn note_device<A: Access>(dev: &NetDevice<A>, event: &mut DropEvent) -> bool {
    let Some(netns) = dev.netns() else {
        return false;
    };
    event.netns = netns;
    event.ifindex = dev.ifindex();
    event.ifname = dev.name();
    event.present |= present::NETNS | present::DEV;
    true
}

/// Fills what comes from the packet's socket.
#[inline(always)]
fn fill_socket<A: Access>(freed: &Freed, scratch: &mut Scratch) {
    let sock = socket_of::<A>(freed, scratch);
    scratch.socket.address = 0;
    scratch.socket.cgroup = 0;
    if sock.address == 0 {
        return;
    }
    let (state, family) = (sock.state(), sock.family());
    if family == 0 {
        return;
    }
    let event = &mut scratch.event;
    event.present |= present::SOCKET;
    event.socket_state = state;
    event.socket_family = family;
    event.socket_protocol = 0;
    match sock.kind(state, family) {
        Kind::Full(full) => fill_full_socket(&full, scratch),
        Kind::Request(listener) => fill_full_socket(&listener, scratch),
        Kind::TimeWait => {}
    }
}

/// Fills what only full sockets have.
#[inline(always)]
fn fill_full_socket<A: Access>(full: &FullSock<A>, scratch: &mut Scratch) {
    let event = &mut scratch.event;
    event.socket_protocol = full.protocol();
    let cgroup = full.cgroup();
    event.socket_cgroup = full.cgroup_id(cgroup);
    if event.socket_cgroup != 0 {
        event.present |= present::SOCKET_CGROUP;
    }
    let address = full.socket();
    event.socket_inode = sock::inode(address);
    if event.socket_inode != 0 {
        event.present |= present::SOCKET_INODE;
    }
    scratch.socket.address = address;
    scratch.socket.cgroup = cgroup.address;
}

/// Copies the packet's headers: none without an ethertype, for the bytes have no
/// meaning then.
#[inline(always)]
fn fill_headers<A: Access>(freed: &Freed, scratch: &mut Scratch) {
    let event = &mut scratch.event;
    event.headers_len = 0;
    event.network_offset = 0;
    if event.present & present::SKB == 0 || event.ethertype == 0 {
        return;
    }
    let headers = Skb::<A>::opened(freed.skb, &scratch.skb).headers();
    event.network_offset = headers.network_offset as u8;
    let len = bounded(headers.len, HEADERS_LEN as u32);
    // SAFETY: `len` is at most the size of `headers`.
    if len != 0 && unsafe { read::bytes(event.headers.as_mut_ptr(), len, headers.address) } {
        event.headers_len = len as u16;
    }
}

/// For `--write`, notes where the packet's length begins to count, and copies what of its
/// linear data lies behind the headers to behind the stack frames.
#[inline(always)]
fn fill_tail<A: Access>(freed: &Freed, scratch: &mut Scratch) {
    if PACKET_LEN.load() == 0 || scratch.event.headers_len == 0 {
        return;
    }
    let headers = Skb::<A>::opened(freed.skb, &scratch.skb).headers();
    let data_offset = headers.data.wrapping_sub(headers.address) as i64;
    if data_offset == i64::from(data_offset as i16) {
        scratch.event.data_offset = data_offset as i16;
        scratch.event.present |= present::DATA_OFFSET;
    }
    if headers.available <= HEADERS_LEN as u64 {
        return;
    }
    let rest = headers.available - HEADERS_LEN as u64;
    let len = tail_bounded(if rest < MAX_TAIL as u64 {
        rest as u32
    } else {
        MAX_TAIL as u32
    });
    let frames = frame_count(&scratch.event);
    let address = headers.address + HEADERS_LEN as u64;
    // SAFETY: the frames and the tail lie in `scratch`, one behind the other.
    let is_copied = unsafe {
        let destination = (&raw mut *scratch).cast::<u8>();
        let destination =
            destination.add(offset_of!(Scratch, frames) + frames as usize * size_of::<u64>());
        len != 0 && read::bytes(destination, len, address)
    };
    if is_copied {
        scratch.event.headers_len = (HEADERS_LEN as u32 + len) as u16;
    }
}

/// `len` bytes of the packet's tail, at most as many as the record has room for.
#[inline(always)]
fn tail_bounded(len: u32) -> u32 {
    // Where packets are wanted at all, their headers are.
    let limit = u64::from(PACKET_LEN.load().wrapping_sub(HEADERS_LEN as u32));
    let mut bounded = u64::from(len);
    // Spelled out, because the verifier of 5.10 forgets what it knew of a number that the
    // compiler takes from memory again behind the comparison.
    // SAFETY: only compares.
    unsafe {
        asm!(
            "if {bounded} <= {limit} goto +1",
            "{bounded} = {limit}",
            bounded = inout(reg) bounded,
            limit = in(reg) limit,
            options(pure, nomem, nostack),
        );
    }
    bounded as u32
}

/// How many bytes of the packet lie behind the frames.
#[inline(always)]
fn tail_len(event: &DropEvent) -> u32 {
    let captured = u32::from(event.headers_len);
    if PACKET_LEN.load() == 0 || captured <= HEADERS_LEN as u32 {
        return 0;
    }
    tail_bounded(captured - HEADERS_LEN as u32)
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
        return filter::stack_matches(scratch, frames).then_some(frames);
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
fn submit<C: StackIdContext>(ctx: &C, scratch: &mut Scratch) -> bool {
    let frames = frame_count(&scratch.event);
    let tail = tail_len(&scratch.event);
    let size = if frames == 0 && tail == 0 {
        let headers = bounded(u32::from(scratch.event.headers_len), HEADERS_LEN as u32);
        FIXED_SIZE as u64 + u64::from(headers)
    } else {
        EVENT_SIZE as u64 + u64::from(frames) * size_of::<u64>() as u64 + u64::from(tail)
    };
    // SAFETY: the record is a part of `scratch`; what is behind it belongs to it.
    let record: *mut c_void = unsafe {
        let scratch = (&raw mut *scratch).cast::<u8>();
        scratch.add(offset_of!(Scratch, event)).cast()
    };
    if BUFFER.load() == BUFFER_PERF {
        // SAFETY: the record and what is behind it lie in `scratch`.
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

/// The number of frames in the record, for the verifier at most a mask.
///
/// Read from the record, of which the verifier knows nothing: a number in a register it
/// follows from every frame at which `--stack-func` may stop, each with all code behind.
#[inline(always)]
fn frame_count(event: &DropEvent) -> u32 {
    const { assert!((MAX_FRAMES + 1).is_power_of_two()) };
    // SAFETY: a valid reference. Volatile, or the compiler keeps the number in a register.
    let count = unsafe { (&raw const event.frame_count).read_volatile() };
    u32::from(count) & MAX_FRAMES as u32
}

/// `value`, at most `limit`, in a way that the verifier can follow.
#[inline(always)]
fn bounded(value: u32, limit: u32) -> u32 {
    // The compiler knows some values to be in bounds and would leave out the
    // comparison that shows it to the verifier.
    let value = core::hint::black_box(value);
    if value > limit { limit } else { value }
}
