//! Which way a packet was going.
//!
//! The kernel does not say. It follows from what is kept beside the packet:
//!
//! - `local`: the device is the loopback device, or the packet came from it.
//! - `fwd`: it was received, and its route hands received packets to a function
//!   that forwards them; or to none that keeps them, and its device is no longer
//!   the one that it came from.
//! - `rx`: it was received otherwise, and its device is still that one, or its
//!   route leads to this host.
//! - `tx`: it was not received, and has a route or a packet socket.
//!
//! A packet of which none of these holds has no direction: one that a driver has
//! just made, or one that a bridge takes from one device to another.

use dropwatch_common::{
    event::{DropEvent, present},
    uapi::AF_PACKET,
};

use crate::record::Direction;

/// Index of the loopback device in every network namespace, `LOOPBACK_IFINDEX` in
/// `include/net/flow.h`.
const LOOPBACK: u32 = 1;

/// The functions that `dst_entry.input` of a route to another host points to
/// (`net/ipv4/route.c`, `net/ipv6/route.c`).
const FORWARDERS: [&str; 4] = ["ip_forward", "ip6_forward", "ip_mr_input", "ip6_mr_input"];

/// Those of routes to this host.
const LOCAL: [&str; 2] = ["ip_local_deliver", "ip6_input"];

/// Which way the packet of `event` was going; `name` is that of the function at
/// [`DropEvent::dst_input`].
pub(super) fn of(event: &DropEvent, name: Option<&str>) -> Option<Direction> {
    let has = |bit| event.present & bit != 0;
    if !has(present::SKB) {
        return None;
    }
    let device = has(present::DEV).then_some(event.ifindex);
    if device == Some(LOOPBACK) || event.iif == LOOPBACK {
        return Some(Direction::Local);
    }
    if event.iif != 0 {
        let has_moved = device.is_some_and(|device| device != event.iif);
        return match name {
            Some(name) if FORWARDERS.contains(&name) => Some(Direction::Forward),
            Some(name) if LOCAL.contains(&name) => Some(Direction::Receive),
            Some(_) if has_moved => Some(Direction::Forward),
            None if has_moved => None,
            _ => Some(Direction::Receive),
        };
    }
    let is_of_packet_socket = has(present::SOCKET) && event.socket_family == AF_PACKET;
    (has(present::DST) || is_of_packet_socket).then_some(Direction::Transmit)
}

#[cfg(test)]
mod tests {
    use dropwatch_common::event::EVENT_SIZE;
    use zerocopy::FromBytes as _;

    use super::*;

    fn direction(change: impl FnOnce(&mut DropEvent), name: Option<&str>) -> Option<Direction> {
        let mut event = DropEvent::read_from_bytes(&[0; EVENT_SIZE]).unwrap();
        event.present = present::SKB | present::DEV;
        event.ifindex = 2;
        change(&mut event);
        of(&event, name)
    }

    #[test]
    fn each_way() {
        let received = |event: &mut DropEvent| event.iif = 2;
        assert_eq!(direction(received, None), Some(Direction::Receive));
        assert_eq!(
            direction(received, Some("ip_local_deliver")),
            Some(Direction::Receive)
        );
        assert_eq!(
            direction(received, Some("ip_forward")),
            Some(Direction::Forward)
        );
        let moved = |event: &mut DropEvent| event.iif = 3;
        assert_eq!(
            direction(moved, Some("dst_discard")),
            Some(Direction::Forward)
        );
        assert_eq!(
            direction(moved, Some("ip_local_deliver")),
            Some(Direction::Receive)
        );
        // Up or through a bridge: who knows.
        assert_eq!(direction(moved, None), None);
        assert_eq!(
            direction(|event| event.present |= present::DST, None),
            Some(Direction::Transmit)
        );
        assert_eq!(
            direction(|event| event.iif = 1, None),
            Some(Direction::Local)
        );
        assert_eq!(
            direction(|event| event.ifindex = 1, None),
            Some(Direction::Local)
        );
    }

    #[test]
    fn a_packet_socket_transmits() {
        let of_family = |family| {
            move |event: &mut DropEvent| {
                event.present |= present::SOCKET;
                event.socket_family = family;
            }
        };
        assert_eq!(direction(of_family(17), None), Some(Direction::Transmit));
        assert_eq!(direction(of_family(2), None), None);
    }

    #[test]
    fn what_was_not_read_says_nothing() {
        assert_eq!(direction(|event| event.present = 0, None), None);
        // The index is left over from another drop.
        let no_device = |event: &mut DropEvent| {
            event.present = present::SKB;
            event.iif = 3;
        };
        assert_eq!(direction(no_device, None), Some(Direction::Receive));
        assert_eq!(direction(|_| {}, None), None);
    }
}
