//! Packets, from the network header on.

use dropwatch::record::Position;
use etherparse::{IpNumber, PacketBuilder, TcpHeader};

/// `ETH_P_IP` in the kernel's `include/uapi/linux/if_ether.h`.
pub(crate) const IPV4: u16 = 0x0800;
/// `ETH_P_IPV6`, likewise.
pub(crate) const IPV6: u16 = 0x86dd;

/// Flag of an IPv4 header: more fragments follow.
pub(crate) const MORE: u16 = 1 << 13;

/// `proto 10.0.0.1 > 10.0.0.2`.
pub(crate) fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .write(&mut bytes, IpNumber(protocol), payload)
        .expect("writing to a vector");
    bytes
}

/// `proto 2001:db8::1 > 2001:db8::2`; `protocol` is that of the header that `payload` starts with.
pub(crate) fn ipv6(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let address = |last| [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    let mut bytes = Vec::new();
    PacketBuilder::ipv6(address(1), address(2), 64)
        // The number that the first extension header would have is written below.
        .write(&mut bytes, IpNumber(253), payload)
        .expect("writing to a vector");
    bytes[6] = protocol;
    bytes
}

/// `udp 127.0.0.1:39873 > 127.0.0.1:9` with 4 bytes of data.
pub(crate) fn udp() -> Vec<u8> {
    let mut bytes = Vec::new();
    PacketBuilder::ipv4([127, 0, 0, 1], [127, 0, 0, 1], 64)
        .udp(39873, 9)
        .write(&mut bytes, b"data")
        .expect("writing to a vector");
    bytes
}

/// The start of UDP, UDP-Lite and SCTP headers: ports 39873 and 9.
pub(crate) const PORTS: [u8; 8] = [0x9b, 0xc1, 0, 9, 0, 8, 0, 0];

/// A TCP header, ports 39873 and 443.
pub(crate) fn tcp(flags: u8) -> Vec<u8> {
    let mut bytes = TcpHeader::new(39873, 443, 1, 64).to_bytes().to_vec();
    bytes[13] = flags;
    bytes
}

/// With the fragmentation field of an IPv4 header: the offset in units of 8 bytes, and [`MORE`].
pub(crate) fn fragment(mut packet: Vec<u8>, field: u16) -> Vec<u8> {
    packet[6..8].copy_from_slice(&field.to_be_bytes());
    packet
}

/// An IPv6 fragment header, offset in units of 8 bytes.
pub(crate) fn ipv6_fragment(next: u8, offset: u16, more: bool) -> Vec<u8> {
    let [high, low] = (offset << 3 | u16::from(more)).to_be_bytes();
    vec![next, 0, high, low, 0, 0, 0, 1]
}

/// An IPv6 hop-by-hop, routing or destination options header of `8 + 8 * units` bytes.
pub(crate) fn options(next: u8, units: u8) -> Vec<u8> {
    let mut bytes = vec![0; 8 + usize::from(units) * 8];
    bytes[..2].copy_from_slice(&[next, units]);
    bytes
}

/// An authentication header (RFC 4302) without a value.
pub(crate) fn authentication(next: u8) -> Vec<u8> {
    vec![next, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1]
}

/// An ICMP or ICMPv6 message with four bytes and `content` behind the checksum.
pub(crate) fn icmp(icmp_type: u8, code: u8, content: &[u8]) -> Vec<u8> {
    [&[icmp_type, code, 0, 0, 0, 0, 0, 0], content].concat()
}

/// A UDP datagram from port 39873.
pub(crate) fn datagram(port: u16, payload: &[u8]) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    let [len_high, len_low] = (8 + payload.len() as u16).to_be_bytes();
    [
        &[0x9b, 0xc1, high, low, len_high, len_low, 0, 0][..],
        payload,
    ]
    .concat()
}

/// An ARP packet (RFC 826): 10.0.0.1 asks for or tells 10.0.0.2.
pub(crate) fn arp(operation: u8) -> Vec<u8> {
    let mut bytes = vec![0, 1, 8, 0, 6, 4, 0, operation];
    bytes.extend([2, 0, 0, 0, 0, 1, 10, 0, 0, 1]);
    bytes.extend([0, 0, 0, 0, 0, 0, 10, 0, 0, 2]);
    bytes
}

/// An Ethernet frame from 02:00:00:00:00:01 to 02:00:00:00:00:02; `tags` are TPID and TCI.
pub(crate) fn frame(tags: &[[u16; 2]], ethertype: u16, packet: &[u8]) -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    for field in tags.as_flattened().iter().chain([&ethertype]) {
        bytes.extend(field.to_be_bytes());
    }
    [&bytes, packet].concat()
}

/// A VXLAN header (RFC 7348), VNI 100, and what it carries.
pub(crate) fn vxlan(frame: &[u8]) -> Vec<u8> {
    [&[0x08, 0, 0, 0, 0, 0, 100, 0], frame].concat()
}

/// A Geneve header (RFC 8926), VNI 100, and what it carries.
pub(crate) fn geneve(options: &[u8], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let [high, low] = ethertype.to_be_bytes();
    let header = [(options.len() / 4) as u8, 0, high, low, 0, 0, 100, 0];
    [&header, options, payload].concat()
}

/// A GRE header (RFC 2784, RFC 2890) and what it carries; `fields` are the optional ones that
/// `flags` announce.
pub(crate) fn gre(flags: u8, fields: &[u8], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let [high, low] = ethertype.to_be_bytes();
    [&[flags, 0, high, low], fields, payload].concat()
}

/// With options in the IPv4 header, whole words.
pub(crate) fn with_options(packet: &[u8], options: &[u8]) -> Vec<u8> {
    let (header, payload) = packet.split_at(20);
    let mut bytes = [header, options, payload].concat();
    bytes[0] += (options.len() / 4) as u8;
    let [high, low] = (bytes.len() as u16).to_be_bytes();
    bytes[2..4].copy_from_slice(&[high, low]);
    bytes
}

/// Where a call site is in the source: an inlined function, and the one it is in.
pub(crate) fn positions() -> Vec<Position> {
    [
        ("include/linux/sk buff.h", 1262, "kfree_skb"),
        ("net/ipv4/udp.c", 2381, "__udp4_lib_rcv"),
    ]
    .map(|(file, line, function)| Position {
        file: file.to_owned(),
        line: Some(line),
        function: Some(function.to_owned()),
    })
    .to_vec()
}
