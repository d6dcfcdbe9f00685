//! Ethernet frames, byte by byte.

use std::net::Ipv6Addr;

use crate::world::{PEER_MAC, SUBJECT_MAC};

/// Ethertypes, `include/uapi/linux/if_ether.h`.
pub(crate) const ETH_IPV4: u16 = 0x0800;
pub(crate) const ETH_ARP: u16 = 0x0806;
pub(crate) const ETH_VLAN: u16 = 0x8100;
pub(crate) const ETH_IPV6: u16 = 0x86dd;
pub(crate) const ETH_QINQ: u16 = 0x88a8;
pub(crate) const ETH_BRIDGE: u16 = 0x6558;
pub(crate) const ETH_LOCAL: u16 = 0x88b5;

/// IP protocols (IANA).
pub(crate) const ICMP: u8 = 1;
pub(crate) const IGMP: u8 = 2;
pub(crate) const IPIP: u8 = 4;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const IPV6: u8 = 41;
pub(crate) const GRE: u8 = 47;
pub(crate) const ESP: u8 = 50;
pub(crate) const AH: u8 = 51;
pub(crate) const ICMPV6: u8 = 58;
pub(crate) const SCTP: u8 = 132;

pub(crate) const VXLAN_PORT: u16 = 4789;
pub(crate) const GENEVE_PORT: u16 = 6081;

pub(crate) const SUBJECT: [u8; 4] = [10, 77, 0, 1];
pub(crate) const SUBJECT6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);

pub(crate) fn shape6(n: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, n.into())
}

/// A frame from the peer to the subject; `rest` begins with the ethertype.
pub(crate) fn to_subject(rest: &[u8]) -> Vec<u8> {
    ethernet(SUBJECT_MAC, PEER_MAC, rest)
}

pub(crate) fn ethernet(destination: [u8; 6], source: [u8; 6], rest: &[u8]) -> Vec<u8> {
    [&destination[..], &source, rest].concat()
}

pub(crate) fn typed(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&ethertype.to_be_bytes()[..], payload].concat()
}

/// A VLAN tag with the ethertype before it, and what follows.
pub(crate) fn vlan(tag_type: u16, id: u16, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [
        &tag_type.to_be_bytes()[..],
        &id.to_be_bytes(),
        &typed(ethertype, payload),
    ]
    .concat()
}

/// An IPv4 packet of shape `n` to the subject.
pub(crate) fn ipv4(protocol: u8, n: u8, payload: &[u8]) -> Vec<u8> {
    ipv4_between([10, 99, 0, n], SUBJECT, protocol, payload)
}

pub(crate) fn ipv4_between(
    source: [u8; 4],
    destination: [u8; 4],
    protocol: u8,
    payload: &[u8],
) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).unwrap_or(u16::MAX);
    let mut header = vec![0x45, 0];
    header.extend(length.to_be_bytes());
    header.extend([0, 1, 0, 0, 64, protocol, 0, 0]);
    header.extend(source);
    header.extend(destination);
    let checksum = checksum(&header);
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    header.extend(payload);
    header
}

/// RFC 1071.
pub(crate) fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap_or(0)
}

/// An IPv6 packet of shape `n` to the subject.
pub(crate) fn ipv6(next: u8, n: u8, payload: &[u8]) -> Vec<u8> {
    ipv6_between(shape6(n), SUBJECT6, next, payload)
}

pub(crate) fn ipv6_between(
    source: Ipv6Addr,
    destination: Ipv6Addr,
    next: u8,
    payload: &[u8],
) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap_or(u16::MAX);
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([next, 64]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(payload);
    packet
}

/// A UDP datagram without a checksum.
pub(crate) fn udp(source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).unwrap_or(u16::MAX);
    let header = [source, destination, length, 0].map(u16::to_be_bytes);
    [header.as_flattened(), payload].concat()
}
