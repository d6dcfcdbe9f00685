//! Counts drops in groups, without a record for each.

use aya_ebpf::{bindings::BPF_NOEXIST, helpers::generated::bpf_jiffies64, maps::PerCpuHashMap};
use dropwatch_common::{
    config::{Counters, filters},
    event::{COMM_LEN, DropEvent, IFNAME_LEN, present},
    group::{EXAMPLE_INTERVAL_NS, GroupCounts, by, known},
};

use crate::{
    config::{EXAMPLES, GROUP_BY},
    filter,
    maps::{GROUPS, GROUPS_SHORT, Scratch},
    probe::{add, note_time},
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

/// Whether groups are told apart by the packet's device or network namespace.
#[inline(always)]
pub(crate) fn needs_device() -> bool {
    is_by(by::DEVICE | by::NETNS | by::CGROUP)
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
    let entry = if is_by(!by::SHORT) {
        entry_of(&GROUPS, key)
    } else {
        entry_of(&GROUPS_SHORT, &key.short)
    };
    let Some(counts) = entry else {
        return Counted::NoRoom;
    };
    let (packets, bytes) = packets_and_bytes(scratch);
    // SAFETY: the pointer comes from the map, and is this CPU's.
    unsafe {
        add(&raw mut (*counts).drops, 1);
        add(&raw mut (*counts).packets, packets);
        add(&raw mut (*counts).bytes, bytes);
    }
    if EXAMPLES.load() != 0 && is_example_due(counts, &mut scratch.event) {
        return Counted::GroupedWithExample;
    }
    Counted::Grouped
}

/// Whether it is time for another example of a group, and notes that there is one.
#[inline(always)]
fn is_example_due(counts: *mut GroupCounts, event: &mut DropEvent) -> bool {
    // SAFETY: the caller's pointer is into a map value of this CPU. An interrupt in
    // between makes one example more.
    unsafe {
        // The clock costs as much as the rest; in a flood it is read once a tick.
        let tick = bpf_jiffies64();
        let looked = &raw mut (*counts).looked_tick;
        if looked.read_volatile() == tick {
            return false;
        }
        looked.write_volatile(tick);
        note_time(event);
        let example = &raw mut (*counts).example_ns;
        let last = example.read_volatile();
        if last != 0 && event.time_ns.wrapping_sub(last) < EXAMPLE_INTERVAL_NS {
            return false;
        }
        example.write_volatile(event.time_ns);
    }
    true
}

/// This CPU's entry of a group; a new one if there is room.
#[inline(always)]
fn entry_of<K>(groups: &PerCpuHashMap<K, GroupCounts>, key: &K) -> Option<*mut GroupCounts> {
    groups.get_ptr_mut(key).or_else(|| {
        // Another processor, or an interrupt of this one, may be faster: then the
        // entry is there all the same.
        let _raced = groups.insert(key, NOTHING, u64::from(BPF_NOEXIST));
        groups.get_ptr_mut(key)
    })
}

const NOTHING: GroupCounts = GroupCounts {
    drops: 0,
    packets: 0,
    bytes: 0,
    example_ns: 0,
    looked_tick: 0,
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
        key.short.reason = if has(present::REASON) {
            event.reason
        } else {
            0
        };
    }
    if is_by(by::LOCATION) {
        key.short.location = event.location;
    }
    if is_by(by::NETNS | by::CGROUP) {
        shown |= present::NETNS;
        key.short.netns = if has(present::NETNS) { event.netns } else { 0 };
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
        key.short.stack_id = if has(present::STACK_ID) {
            event.stack_id
        } else {
            0
        };
        // Only with its call site does a stack mean something.
        key.short.location = event.location;
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
    key.short.present = event.present & shown;
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
    key.short.known = 0;
    if is_by(by::SOURCE | by::DESTINATION) {
        if tuple.has_addresses {
            key.short.known |= known::ADDRESSES;
            if tuple.is_ipv4 {
                key.short.known |= known::IPV4;
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
        key.short.destination_port = 0;
        if tuple.has_ports {
            key.short.destination_port = tuple.destination_port;
            key.short.known |= known::PORT;
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
        key.short.protocol = protocol;
        key.short.known |= kind;
    }
}
