//! Counts drops in groups, without a record for each.

use aya_ebpf::bindings::BPF_NOEXIST;
use dropwatch_common::{
    config::{Counters, RangeKind, filters},
    event::{COMM_LEN, IFNAME_LEN, present},
    group::{EXAMPLE_INTERVAL_NS, GroupCounts, by, known},
};

use crate::{
    config::{EXAMPLES, GROUP_BY},
    filter,
    maps::{GROUPS, Scratch},
    probe::add,
};

/// What became of a drop that was to be counted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    /// It is in its group.
    Grouped,
    /// It is, and the group is due to send a record as an example.
    GroupedWithExample,
    /// The map is full.
    NoRoom,
}

/// Whether drops are counted in groups.
#[inline(always)]
pub(crate) fn is_on() -> bool {
    GROUP_BY.load() != 0
}

/// Whether groups are told apart by one of `dimensions`.
#[inline(always)]
pub(crate) fn is_by(dimensions: u32) -> bool {
    GROUP_BY.load() & dimensions != 0
}

/// Whether a drop can become a record: each one, or some of those that are counted.
#[inline(always)]
pub(crate) fn may_record() -> bool {
    !is_on()
        || EXAMPLES.load() != 0
        || is_by(by::OWNER | by::STACK)
        || filter::is_on(filters::PID | filters::COMM)
}

/// Whether the packet's device and network namespace have to be looked at.
#[inline(always)]
pub(crate) fn needs_device() -> bool {
    may_record()
        || is_by(by::DEVICE | by::NETNS | by::CGROUP)
        || filter::range_is_on(RangeKind::Netns)
        || filter::is_on(filters::IFACE | filters::EXCLUDE_IFACE | filters::CONTAINER)
}

/// Whether the packet's socket has to be looked at.
#[inline(always)]
pub(crate) fn needs_socket() -> bool {
    may_record()
        || is_by(by::CGROUP | by::PROTOCOL)
        || filter::is_on(filters::CGROUP | filters::CONTAINER)
}

/// Whether it has to be known what runs on the CPU.
#[inline(always)]
pub(crate) fn needs_task() -> bool {
    may_record() || is_by(by::COMM)
}

/// Whether the group of a drop can only be found by user space: the process that
/// holds a socket which the kernel does not name, and a stack that the
/// stack-trace map does not take.
#[inline(always)]
pub(crate) fn needs_record(scratch: &Scratch) -> bool {
    let event = &scratch.event;
    event.present & present::PROCESS_OPEN != 0
        || is_by(by::OWNER) && event.present & present::SOCKET_BY_ADDRESS != 0
        || is_by(by::STACK) && event.present & present::STACK_ID == 0 && event.frame_count != 0
}

/// Counts the drop in its group.
#[inline(always)]
pub(crate) fn count(scratch: &mut Scratch) -> Counted {
    fill_key(scratch);
    let key = &scratch.key;
    let counts = match GROUPS.get_ptr_mut(key) {
        Some(counts) => counts,
        None => {
            // Another processor, or an interrupt of this one, may be faster: then
            // the entry is there all the same.
            let _raced = GROUPS.insert(key, NOTHING, u64::from(BPF_NOEXIST));
            match GROUPS.get_ptr_mut(key) {
                Some(counts) => counts,
                None => return Counted::NoRoom,
            }
        }
    };
    let (packets, bytes) = packets_and_bytes(scratch);
    // SAFETY: the pointer comes from the map, and is this CPU's.
    unsafe {
        add(&raw mut (*counts).drops, 1);
        add(&raw mut (*counts).packets, packets);
        add(&raw mut (*counts).bytes, bytes);
    }
    if EXAMPLES.load() == 0 {
        return Counted::Grouped;
    }
    let now = scratch.event.time_ns;
    // SAFETY: as above. An interrupt in between makes one example more.
    unsafe {
        let example = &raw mut (*counts).example_ns;
        let last = example.read_volatile();
        if last != 0 && now.wrapping_sub(last) < EXAMPLE_INTERVAL_NS {
            return Counted::Grouped;
        }
        example.write_volatile(now);
    }
    Counted::GroupedWithExample
}

const NOTHING: GroupCounts = GroupCounts {
    drops: 0,
    packets: 0,
    bytes: 0,
    example_ns: 0,
};

/// Counts a drop whose group found no room.
#[inline(always)]
pub(crate) fn count_without_room(counters: *mut Counters, scratch: &Scratch) {
    let (packets, bytes) = packets_and_bytes(scratch);
    // SAFETY: the pointer comes from the map, and is this CPU's.
    unsafe {
        add(&raw mut (*counters).no_group, 1);
        add(&raw mut (*counters).no_group_packets, packets);
        add(&raw mut (*counters).no_group_bytes, bytes);
    }
}

/// How many packets the drop would have been on the wire, and its bytes.
#[inline(always)]
fn packets_and_bytes(scratch: &Scratch) -> (u64, u64) {
    let event = &scratch.event;
    let packets = if event.present & present::GSO != 0 && event.gso_segs != 0 {
        u64::from(event.gso_segs)
    } else {
        1
    };
    let bytes = if event.present & present::SKB != 0 {
        u64::from(event.len)
    } else {
        0
    };
    (packets, bytes)
}

/// Fills the parts of the key that groups are told apart by; the others are zero
/// from the start.
#[inline(always)]
fn fill_key(scratch: &mut Scratch) {
    let (event, key) = (&scratch.event, &mut scratch.key);
    let has = |bit| event.present & bit != 0;
    let mut shown = 0;
    if is_by(by::REASON) {
        shown |= present::REASON;
        key.reason = if has(present::REASON) {
            event.reason
        } else {
            0
        };
    }
    if is_by(by::LOCATION) {
        key.location = event.location;
    }
    if is_by(by::NETNS | by::CGROUP) {
        shown |= present::NETNS;
        key.netns = if has(present::NETNS) { event.netns } else { 0 };
    }
    if is_by(by::CGROUP) {
        shown |= present::SOCKET_CGROUP;
        key.socket_cgroup = if has(present::SOCKET_CGROUP) {
            event.socket_cgroup
        } else {
            0
        };
    }
    if is_by(by::STACK) {
        shown |= present::STACK_ID;
        key.stack_id = if has(present::STACK_ID) {
            event.stack_id
        } else {
            0
        };
        // Only with its call site does a stack mean something.
        key.location = event.location;
    }
    if is_by(by::OWNER) {
        shown |= present::SOCKET_INODE | present::OWNER;
        key.socket_inode = if has(present::SOCKET_INODE) {
            event.socket_inode
        } else {
            0
        };
        (key.owner_tgid, key.owner_comm) = if has(present::OWNER) {
            (event.owner_tgid, event.owner_comm)
        } else {
            (0, [0; COMM_LEN])
        };
    }
    if is_by(by::DEVICE) {
        shown |= present::DEV;
        key.ifname = if has(present::DEV) {
            event.ifname
        } else {
            [0; IFNAME_LEN]
        };
    }
    if is_by(by::COMM) {
        key.comm = event.comm;
    }
    key.present = event.present & shown;
    if is_by(TUPLE) {
        fill_tuple(scratch);
    }
}

/// The dimensions that come from the packet's headers.
const TUPLE: u32 = by::PROTOCOL | by::SOURCE | by::DESTINATION | by::DESTINATION_PORT;

/// Whether groups are told apart by what is in the headers.
#[inline(always)]
pub(crate) fn is_by_tuple() -> bool {
    is_by(TUPLE)
}

#[inline(always)]
fn fill_tuple(scratch: &mut Scratch) {
    let (event, tuple, key) = (&scratch.event, &scratch.tuple, &mut scratch.key);
    key.known = 0;
    if is_by(by::SOURCE | by::DESTINATION) {
        if tuple.has_addresses {
            key.known |= known::ADDRESSES;
            if tuple.is_ipv4 {
                key.known |= known::IPV4;
            }
        }
        if is_by(by::SOURCE) {
            key.source = if tuple.has_addresses {
                tuple.source
            } else {
                [0; 16]
            };
        }
        if is_by(by::DESTINATION) {
            key.destination = if tuple.has_addresses {
                tuple.destination
            } else {
                [0; 16]
            };
        }
    }
    if is_by(by::DESTINATION_PORT) {
        key.destination_port = 0;
        if tuple.has_ports {
            key.destination_port = tuple.destination_port;
            key.known |= known::PORT;
        }
    }
    if is_by(by::PROTOCOL) {
        let (protocol, kind) = if tuple.has_protocol {
            (u16::from(tuple.protocol), known::IP_PROTOCOL)
        } else if tuple.ethertype != 0 {
            (tuple.ethertype, known::ETHERTYPE)
        } else if event.present & present::SOCKET != 0 {
            (event.socket_family, known::FAMILY)
        } else {
            (0, 0)
        };
        key.protocol = protocol;
        key.known |= kind;
    }
}
