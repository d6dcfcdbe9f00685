//! The class of a drop: what [`classify`](crate::classify) says, cached by place.

use dropwatch_common::{
    event::{DropEvent, present},
    uapi::{
        AF_NETLINK, AF_UNIX, IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_TCP, IPPROTO_UDP,
        IPPROTO_UDPLITE, TCP_TIME_WAIT,
    },
};
use rustc_hash::FxHashMap;

use super::{cache::insert_bounded, location::Described};
use crate::{
    classify::{self, Candidates, Class, Delivery, Place, Protocol},
    packet::{self, Transport},
    record::Stack,
};

/// A place: call site, stack and reason.
type Key = (u64, u32, u32);

/// Classes of drops.
#[derive(Debug, Default)]
pub(crate) struct Classes {
    places: FxHashMap<Key, Candidates>,
    /// That of the names that `places` was found by.
    generation: u64,
}

impl Classes {
    /// The class of a drop.
    pub(crate) fn of(
        &mut self,
        event: &DropEvent,
        packet: &packet::Packet,
        reason: Option<&str>,
        place: &Described<'_>,
    ) -> Class {
        if self.generation != place.generation {
            self.generation = place.generation;
            self.places.clear();
        }
        let candidates = if event.present & present::STACK_ID == 0 && place.stack.is_some() {
            // The stack came in the record.
            candidates(reason, place)
        } else {
            let reason_number = match event.present & present::REASON {
                0 => u32::MAX,
                _ => event.reason,
            };
            let key = (event.location, event.stack_id, reason_number);
            match self.places.get(&key) {
                Some(candidates) => *candidates,
                None => {
                    let candidates = candidates(reason, place);
                    insert_bounded(&mut self.places, key, candidates);
                    candidates
                }
            }
        };
        candidates.class(&packet_of(event, packet))
    }
}

fn candidates(reason: Option<&str>, place: &Described<'_>) -> Candidates {
    let callers: Vec<&str> = match place.stack {
        Some(Stack::Callers(text)) => text.split(',').map(function).collect(),
        Some(Stack::Unknown) | None => Vec::new(),
    };
    let site = function(place.location);
    Candidates::at(Place {
        reason,
        site: (!site.is_empty() && site != "-" && !site.starts_with("0x")).then_some(site),
        callers: &callers,
    })
}

/// The function of `function+0xoff[module]`.
fn function(frame: &str) -> &str {
    frame.split('+').next().unwrap_or_default()
}

/// What the table of classes wants to know of the packet.
fn packet_of(event: &DropEvent, packet: &packet::Packet) -> classify::Packet {
    let has = |bit| event.present & bit != 0;
    classify::Packet {
        protocol: protocol_of(event, packet),
        delivery: match has(present::PKT_TYPE) {
            true => Delivery::from_pkt_type(event.pkt_type),
            false => Delivery::Unknown,
        },
    }
}

fn protocol_of(event: &DropEvent, packet: &packet::Packet) -> Protocol {
    let socket = event.present & present::SOCKET != 0;
    match packet.tuple.protocol {
        packet::Protocol::Family(AF_UNIX) => Protocol::Unix,
        packet::Protocol::Family(AF_NETLINK) => Protocol::Netlink,
        packet::Protocol::Unknown | packet::Protocol::Family(_) => Protocol::Unknown,
        packet::Protocol::Ethertype(ethertype) => Protocol::Ethertype(ethertype),
        packet::Protocol::Ip(IPPROTO_UDP | IPPROTO_UDPLITE) => Protocol::Udp,
        packet::Protocol::Ip(IPPROTO_TCP) => Protocol::Tcp {
            flags: tcp_flags(packet),
            time_wait: socket && event.socket_state == TCP_TIME_WAIT,
        },
        packet::Protocol::Ip(IPPROTO_ICMP) => Protocol::Icmp(icmp_type(packet)),
        packet::Protocol::Ip(IPPROTO_ICMPV6) => Protocol::Icmpv6(icmp_type(packet)),
        packet::Protocol::Ip(number) => Protocol::Ip(number),
    }
}

fn tcp_flags(packet: &packet::Packet) -> Option<u8> {
    match packet.transport {
        Transport::Tcp(tcp) => tcp.flags,
        _ => None,
    }
}

fn icmp_type(packet: &packet::Packet) -> Option<u8> {
    match packet.transport {
        Transport::Icmp { type_code } | Transport::Icmpv6 { type_code } => {
            type_code.map(|(icmp_type, _)| icmp_type)
        }
        _ => None,
    }
}
