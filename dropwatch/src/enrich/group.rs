//! What a group's key says, in the form that drops have.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dropwatch_common::{
    event::DropEvent,
    group::{GroupKey, known},
};
use zerocopy::FromZeros as _;

use crate::packet::{Addresses, Packet, Part, Protocol, Tuple};

/// The event and the packet that have what the drops of a group have in common,
/// and nothing else.
#[must_use]
pub fn parts(key: &GroupKey) -> (DropEvent, Packet) {
    let event = DropEvent {
        location: key.short.location,
        socket_inode: key.socket_inode,
        socket_cgroup: key.socket_cgroup,
        reason: key.short.reason,
        present: key.short.present,
        netns: key.short.netns,
        stack_id: key.short.stack_id,
        owner_tgid: key.owner_tgid,
        comm: key.comm,
        owner_comm: key.owner_comm,
        ifname: key.ifname,
        ..DropEvent::new_zeroed()
    };
    let packet = Packet {
        tuple: tuple(key),
        ..Packet::default()
    };
    (event, packet)
}

fn tuple(key: &GroupKey) -> Tuple {
    let has = |bit| key.short.known & bit != 0;
    let is_ipv4 = has(known::IPV4);
    Tuple {
        protocol: if has(known::IP_PROTOCOL) {
            Protocol::Ip(key.short.protocol as u8)
        } else if has(known::ETHERTYPE) {
            Protocol::Ethertype(key.short.protocol)
        } else if has(known::FAMILY) {
            Protocol::Family(key.short.protocol)
        } else {
            Protocol::Unknown
        },
        addresses: has(known::ADDRESSES).then(|| Addresses {
            source: address(key.source, is_ipv4),
            destination: address(key.destination, is_ipv4),
        }),
        ports: match has(known::PORT) {
            true => Part::Known((0, key.short.destination_port)),
            false => Part::Absent,
        },
    }
}

/// An address from its bytes; IPv4 is in the last four.
fn address(bytes: [u8; 16], is_ipv4: bool) -> IpAddr {
    match bytes {
        [.., a, b, c, d] if is_ipv4 => Ipv4Addr::new(a, b, c, d).into(),
        bytes => Ipv6Addr::from(bytes).into(),
    }
}
