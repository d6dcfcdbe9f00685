//! In-kernel predicates. A filter that is off is removed by the verifier: each
//! begins with a comparison of a global with a constant.
//!
//! Within a filter any of its values is enough, and every filter that is on must
//! match. What is not known does not match, and is not excluded either.

use aya_ebpf::maps::lpm_trie::Key;
use dropwatch_common::{
    config::{
        CGROUP_NAMED, CGROUP_OF_CONTAINER, IFACE_KEEP, IFACE_TURN_DOWN, IP_PROTOCOL, MAX_MARKS,
        OWNER_VALID_NS, OwnerEntry, PORT_WORDS, PROTOCOL_BITS, RANGE_IPV4, RANGE_KIND_BITS,
        RangeKind, filters, range_key, verdict,
    },
    event::{COMM_LEN, DropEvent, HEADERS_LEN, IFNAME_LEN, present},
    tuple::{Bytes, Tuple},
};

use crate::{
    config::{FILTERS, RANGE_FILTERS},
    group,
    kernel::{cgroup::Cgroup, read::Copied, task::Task},
    maps::{CGROUPS, COMMS, IFACES, MARKS, OWNERS, PIDS, PORTS, RANGES, REASONS, Scratch},
    probe::{Freed, note_time},
};

/// Deepest nest of cgroups that is searched.
const MAX_CGROUP_DEPTH: usize = 32;

/// What `--pid` and `--comm` say.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// They match.
    Match,
    /// They do not.
    NoMatch,
    /// Only user space can know.
    Open,
}

/// Whether one of these filters, bits of `filters`, is on.
#[inline(always)]
pub(crate) fn is_on(filter: u32) -> bool {
    FILTERS.load() & filter != 0
}

#[inline(always)]
pub(crate) fn range_is_on(kind: RangeKind) -> bool {
    RANGE_FILTERS.load() & kind.bit() != 0
}

/// Whether a value of `bits` bits lies in a range of `kind`. Its most significant
/// bit is that of `high`.
///
/// A function of its own, for the key must not be on the caller's stack.
#[inline(never)]
fn is_in_ranges(kind: u32, bits: u32, high: u64, low: u64) -> bool {
    RANGES
        .get(Key::new(RANGE_KIND_BITS + bits, range_key(kind, high, low)))
        .is_some()
}

/// Whether `value`, which has `bits` bits, lies in a range of `kind`.
#[inline(always)]
fn is_in(kind: RangeKind, value: u64, bits: u32) -> bool {
    is_in_ranges(kind as u32, bits, value << (64 - bits), 0)
}

/// Whether an address lies in a range of `kind`; IPv4 is in the last four bytes.
#[inline(always)]
fn address_is_in(kind: RangeKind, address: &[u8; 16], is_ipv4: bool) -> bool {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *address;
    if is_ipv4 {
        let value = u64::from(u32::from_be_bytes([m, n, o, p]));
        return is_in_ranges(kind as u32 | RANGE_IPV4, 32, value << 32, 0);
    }
    let high = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
    let low = u64::from_be_bytes([i, j, k, l, m, n, o, p]);
    is_in_ranges(kind as u32, 128, high, low)
}

/// Whether the filter of `kind` is off or the value, if there is one, lies in one
/// of its ranges.
#[inline(always)]
fn keeps(kind: RangeKind, is_known: bool, value: u64, bits: u32) -> bool {
    !range_is_on(kind) || is_known && is_in(kind, value, bits)
}

/// Whether the filter of `kind` is off or the value, if there is one, lies in none
/// of its ranges.
#[inline(always)]
fn excludes_not(kind: RangeKind, is_known: bool, value: u64, bits: u32) -> bool {
    !(range_is_on(kind) && is_known && is_in(kind, value, bits))
}

/// Decides on what every attach point knows: why and where.
#[inline(always)]
pub(crate) fn drop_matches(freed: &Freed) -> bool {
    let location = freed.location;
    reason_matches(freed)
        && keeps(RangeKind::Function, true, location, 64)
        && excludes_not(RangeKind::ExcludeFunction, true, location, 64)
}

#[inline(always)]
fn reason_matches(freed: &Freed) -> bool {
    if !range_is_on(RangeKind::Reason) && !range_is_on(RangeKind::ExcludeReason) {
        return true;
    }
    if freed.has_reason
        && let Some(passes) = REASONS.get(freed.reason)
    {
        return *passes != 0;
    }
    let (has_reason, reason) = (freed.has_reason, u64::from(freed.reason));
    keeps(RangeKind::Reason, has_reason, reason, 32)
        && excludes_not(RangeKind::ExcludeReason, has_reason, reason, 32)
}

/// Whether the drop happened in a function that works for a socket it has found.
#[inline(always)]
pub(crate) fn is_socket_receive(location: u64) -> bool {
    range_is_on(RangeKind::SocketReceive) && is_in(RangeKind::SocketReceive, location, 64)
}

/// Whether the function at `location` is the first part of one that the compiler has split.
#[inline(always)]
pub(crate) fn is_in_split_function(location: u64) -> bool {
    range_is_on(RangeKind::SplitFunction) && is_in(RangeKind::SplitFunction, location, 64)
}

/// Whether the call site or one of its callers is in a function of `--stack-func`.
///
/// The first frames of the stack are those of the program and of the function that
/// frees, up to the one with the address of the call site. Where none has it (a
/// function can give itself as the call site), all count.
#[inline(never)]
pub(crate) fn stack_matches(scratch: &mut Scratch, count: usize) -> bool {
    // In the scratch area, of which the verifier knows nothing: for a local variable it
    // follows the rest of the loop once for each value, from each frame.
    let matches = &raw mut scratch.stack_matches;
    let location = scratch.event.location;
    // SAFETY: the pointer comes from a reference. Volatile, or the compiler keeps it in a register.
    unsafe { matches.write_volatile(0) };
    for (index, &frame) in scratch.frames.iter().enumerate() {
        if index >= count {
            break;
        }
        // SAFETY: as above.
        unsafe {
            if frame == location {
                matches.write_volatile(0);
            }
            // The call, not the address behind it: that can belong to another function.
            if is_in(RangeKind::StackFunction, frame.wrapping_sub(1), 64) {
                matches.write_volatile(1);
            }
        }
    }
    // SAFETY: as above.
    unsafe { matches.read_volatile() != 0 }
}

/// Decides on what the `struct sk_buff` says, as far as it was read.
#[inline(always)]
pub(crate) fn packet_matches(scratch: &mut Scratch) -> bool {
    let event = &scratch.event;
    let has_len = event.present & present::SKB != 0;
    let has_netns = event.present & present::NETNS != 0;
    keeps(RangeKind::Length, has_len, u64::from(event.len), 32)
        && keeps(RangeKind::Netns, has_netns, u64::from(event.netns), 32)
        && (!is_on(filters::MARK) || has_len && mark_matches(event.mark))
        && (!is_on(filters::IFACE | filters::EXCLUDE_IFACE) || iface_matches(&scratch.event))
        && (!needs_tuple() || tuple_matches(scratch))
}

#[inline(never)]
fn mark_matches(mark: u32) -> bool {
    for index in 0..MAX_MARKS {
        if let Some(wanted) = MARKS.get(index)
            && mark & wanted.mask == wanted.value
        {
            return true;
        }
    }
    false
}

#[inline(never)]
fn iface_matches(event: &DropEvent) -> bool {
    let name: &[u8; IFNAME_LEN] = &event.ifname;
    let listed = match event.present & present::DEV {
        0 => None,
        _ => IFACES.get_ptr(name),
    };
    // SAFETY: the pointer comes from the map.
    let listed = listed.map_or(0, |listed| unsafe { *listed });
    (!is_on(filters::IFACE) || listed & IFACE_KEEP != 0) && listed & IFACE_TURN_DOWN == 0
}

/// Whether a filter needs the packet's device or network namespace.
#[inline(always)]
pub(crate) fn needs_device() -> bool {
    range_is_on(RangeKind::Netns)
        || is_on(filters::IFACE | filters::EXCLUDE_IFACE | filters::CONTAINER)
}

/// Whether a filter, or the drop's group, needs the packet's headers.
#[inline(always)]
pub(crate) fn needs_tuple() -> bool {
    const RANGES: u32 = RangeKind::Address.bit()
        | RangeKind::Source.bit()
        | RangeKind::Destination.bit()
        | RangeKind::Port.bit()
        | RangeKind::SourcePort.bit()
        | RangeKind::DestinationPort.bit()
        | RangeKind::Protocol.bit();
    RANGE_FILTERS.load() & RANGES != 0
        || is_on(filters::IPV4 | filters::IPV6)
        || group::is_by_tuple()
}

#[inline(never)]
fn tuple_matches(scratch: &mut Scratch) -> bool {
    let ethertype = match scratch.event.present & present::SKB {
        0 => 0,
        _ => u16::from_be(scratch.event.ethertype),
    };
    let event = &scratch.event;
    let headers = CapturedHeaders {
        bytes: &event.headers,
        len: event.headers_len.into(),
    };
    let network_offset = event.network_offset.into();
    scratch
        .tuple
        .read(&headers, ethertype, network_offset, &mut scratch.progress);
    let tuple = &scratch.tuple;
    family_matches(tuple.version)
        && addresses_match(tuple)
        && ports_match(tuple)
        && protocol_matches(tuple)
}

#[inline(always)]
fn family_matches(version: u8) -> bool {
    !is_on(filters::IPV4 | filters::IPV6)
        || is_on(filters::IPV4) && version == 4
        || is_on(filters::IPV6) && version == 6
}

#[inline(always)]
fn addresses_match(tuple: &Tuple) -> bool {
    let is_known = tuple.has_addresses;
    (!range_is_on(RangeKind::Source)
        || is_known && address_is_in(RangeKind::Source, &tuple.source, tuple.is_ipv4))
        && (!range_is_on(RangeKind::Destination)
            || is_known && address_is_in(RangeKind::Destination, &tuple.destination, tuple.is_ipv4))
        && (!range_is_on(RangeKind::Address)
            || is_known
                && (address_is_in(RangeKind::Address, &tuple.source, tuple.is_ipv4)
                    || address_is_in(RangeKind::Address, &tuple.destination, tuple.is_ipv4)))
}

#[inline(always)]
fn ports_match(tuple: &Tuple) -> bool {
    let is_known = tuple.has_ports;
    let (source, destination) = (tuple.source_port, tuple.destination_port);
    (!range_is_on(RangeKind::SourcePort) || is_known && port_is_in(RangeKind::SourcePort, source))
        && (!range_is_on(RangeKind::DestinationPort)
            || is_known && port_is_in(RangeKind::DestinationPort, destination))
        && (!range_is_on(RangeKind::Port)
            || is_known
                && (port_is_in(RangeKind::Port, source)
                    || port_is_in(RangeKind::Port, destination)))
}

/// Whether a port is one of `kind`.
#[inline(always)]
fn port_is_in(kind: RangeKind, port: u16) -> bool {
    let Some(table) = kind.port_table() else {
        return false;
    };
    let word = PORTS.get(table * PORT_WORDS + u32::from(port >> 6));
    word.is_some_and(|word| *word >> (port & 63) & 1 != 0)
}

#[inline(always)]
fn protocol_matches(tuple: &Tuple) -> bool {
    let value = match tuple.has_protocol {
        true => IP_PROTOCOL | u32::from(tuple.protocol),
        false => u32::from(tuple.ethertype),
    };
    keeps(RangeKind::Protocol, true, u64::from(value), PROTOCOL_BITS)
}

/// The packet's headers, as the record has them.
struct CapturedHeaders<'a> {
    bytes: &'a [u8; HEADERS_LEN],
    len: u32,
}

impl Bytes for CapturedHeaders<'_> {
    #[inline(always)]
    fn read<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        // The compiler must not compare another copy of it than the one that is added
        // to the address: the verifier would not see that it is in bounds.
        let at = core::hint::black_box(at);
        if at > self.len || self.len - at < N as u32 || at > (HEADERS_LEN - N) as u32 {
            return None;
        }
        // SAFETY: in bounds by the last comparison.
        Some(unsafe {
            self.bytes
                .as_ptr()
                .add(at as usize)
                .cast::<[u8; N]>()
                .read()
        })
    }
}

/// Decides `--cgroup` and `--container`: by the cgroup of the packet's socket or,
/// where there is none, `--cgroup` by that of the task on the CPU, and
/// `--container` by the packet's network namespace.
#[inline(always)]
pub(crate) fn cgroup_matches(scratch: &Scratch) -> bool {
    let event = &scratch.event;
    if is_on(filters::CGROUP) {
        let cgroup = match scratch.socket.cgroup {
            0 => Task::current().cgroup().address,
            cgroup => cgroup,
        };
        if !is_listed(cgroup, CGROUP_NAMED) {
            return false;
        }
    }
    if is_on(filters::CONTAINER) {
        return match scratch.socket.cgroup {
            0 => {
                event.present & present::NETNS != 0
                    && is_in(RangeKind::ContainerNetns, u64::from(event.netns), 32)
            }
            address => is_listed(address, CGROUP_OF_CONTAINER),
        };
    }
    true
}

/// Whether the map `CGROUPS` has the cgroup at `address`, or one that it is in,
/// as one of the flag with the bit `flag`.
#[inline(never)]
fn is_listed(address: u64, flag: u8) -> bool {
    let mut cgroup = Cgroup { address };
    for _ in 0..MAX_CGROUP_DEPTH {
        if cgroup.address == 0 {
            return false;
        }
        if let Some(flags) = CGROUPS.get_ptr(cgroup.id::<Copied>())
            // SAFETY: the pointer comes from the map.
            && unsafe { *flags } & flag != 0
        {
            return true;
        }
        cgroup = cgroup.parent();
    }
    false
}

/// Decides `--pid` and `--comm`, and notes the socket's owner in the event where
/// it is known: by the process that holds the packet's socket, or by the task on the
/// CPU if the packet has none.
///
/// Whether a process holds a socket is known for a while from the map `OWNERS`,
/// and seen of the task on the CPU. A task on the CPU that holds the socket and
/// is not wanted decides nothing: others may hold it, too.
#[inline(always)]
pub(crate) fn process_decision(scratch: &mut Scratch) -> Decision {
    let verdict = if group::may_record() && scratch.socket.address != 0 {
        owner(scratch)
    } else if scratch.event.present & present::SOCKET_BY_ADDRESS != 0 {
        verdict::OPEN
    } else {
        verdict::NOBODY
    };
    if !is_on(filters::PID | filters::COMM) {
        return Decision::Match;
    }
    match verdict {
        verdict::MATCH => Decision::Match,
        verdict::NO_MATCH if is_of_wanted_task(scratch) => Decision::Match,
        verdict::NO_MATCH => Decision::NoMatch,
        verdict::NOBODY if task_matches(&scratch.event) => Decision::Match,
        verdict::NOBODY => Decision::NoMatch,
        _ if scratch.event.present & present::OWNER != 0 && owner_matches(&scratch.event) => {
            Decision::Match
        }
        _ => Decision::Open,
    }
}

/// Whether the task on the CPU is wanted and holds the socket: it can be a new
/// process, of which the verdict on the socket's other holders knows nothing.
#[inline(always)]
fn is_of_wanted_task(scratch: &mut Scratch) -> bool {
    task_matches(&scratch.event)
        && Task::current().holds(scratch.socket.address, &mut scratch.files)
}

/// Notes the owner of the packet's socket in the event, and returns the verdict of
/// user space.
#[inline(never)]
fn owner(scratch: &mut Scratch) -> u32 {
    let event = &mut scratch.event;
    // What is known of an owner is known for a while only.
    note_time(event);
    if let Some(known) = OWNERS.get_ptr(event.socket_inode) {
        // SAFETY: the pointer comes from the map. Another CPU may write the entry at
        // the same time, or the kernel may take it for another socket: so a copy is
        // taken, and looked at afterwards.
        scratch.owner = unsafe { known.read_volatile() };
        let known = &scratch.owner;
        if known.inode == event.socket_inode && known.expires_ns > event.time_ns {
            if known.tgid != 0 {
                event.owner_tgid = known.tgid;
                event.owner_comm = known.comm;
                event.present |= present::OWNER;
                return verdict::OPEN;
            }
            if known.verdict != verdict::OPEN || known.not_tgid == event.tgid {
                return known.verdict;
            }
        }
    }
    look_at_task(scratch);
    verdict::OPEN
}

/// Notes in the map `OWNERS`, and in the event, whether the task on the CPU holds
/// the packet's socket.
#[inline(always)]
fn look_at_task(scratch: &mut Scratch) {
    let event = &mut scratch.event;
    let entry = &mut scratch.owner;
    entry.inode = event.socket_inode;
    entry.expires_ns = event.time_ns + OWNER_VALID_NS;
    entry.tgid = 0;
    entry.not_tgid = event.tgid;
    entry.verdict = verdict::OPEN;
    let task = Task::current();
    if event.tgid != 0 && task.holds(scratch.socket.address, &mut scratch.files) {
        entry.comm = task.process_name();
        entry.tgid = event.tgid;
        event.owner_tgid = entry.tgid;
        event.owner_comm = entry.comm;
        event.present |= present::OWNER;
    }
    let entry: &OwnerEntry = &scratch.owner;
    // A map that takes no more knows less, and nothing else.
    let _known_less = OWNERS.insert(event.socket_inode, entry, 0);
}

/// Whether the task on the CPU is one that `--pid` and `--comm` name.
#[inline(always)]
fn task_matches(event: &DropEvent) -> bool {
    (!is_on(filters::PID) || PIDS.get_ptr(event.tgid).is_some())
        && (!is_on(filters::COMM) || name_matches(&event.comm))
}

/// Whether the owner noted in `event` is one that `--pid` and `--comm` name.
#[inline(always)]
fn owner_matches(event: &DropEvent) -> bool {
    (!is_on(filters::PID) || PIDS.get_ptr(event.owner_tgid).is_some())
        && (!is_on(filters::COMM)
            || name_matches(&event.owner_comm)
            || event.owner_tgid == event.tgid && name_matches(&event.comm))
}

#[inline(always)]
fn name_matches(name: &[u8; COMM_LEN]) -> bool {
    COMMS.get_ptr(name).is_some()
}
