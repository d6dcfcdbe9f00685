//! The columns and tokens that say what is in the packet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{ExtraField, FieldSet, append, write_number};
use crate::{
    names::{
        ARP_OPERATIONS, ETHERTYPES, FAMILIES, IGMP_TYPES, IP_PROTOCOLS, IPV4_OPTIONS,
        IPV6_EXTENSIONS, IcmpType, Names, icmp_type, icmpv6_type, name_of,
    },
    packet::{
        Fragment, IpHeader, List, MacAddresses, Packet, Part, Protocol, Tcp, Transport, Tunnel,
        Tuple, VlanIds,
    },
};

/// Appends ` PROTOCOL SOURCE > DESTINATION`.
pub(super) fn write_columns(tuple: &Tuple, line: &mut Vec<u8>) {
    line.push(b' ');
    write_protocol(tuple.protocol, line);
    line.push(b' ');
    write_endpoints(tuple, " > ", line);
}

/// Appends the tokens from `flags=` to `mac=`.
pub(super) fn write_tokens(packet: &Packet, fields: FieldSet, line: &mut Vec<u8>) {
    let Packet {
        tuple: _,
        ip,
        transport,
        arp,
        vlan,
        mac,
        tunnel,
        inner,
        quoted,
    } = packet;
    write_tcp(*transport, fields, line);
    match transport {
        Transport::Icmp { type_code } => write_icmp(*type_code, icmp_type, line),
        Transport::Icmpv6 { type_code } => write_icmp(*type_code, icmpv6_type, line),
        Transport::Tcp(_) | Transport::Igmp { .. } | Transport::Other => {}
    }
    write_part(" arp=", *arp, line, |operation, line| {
        write_name(ARP_OPERATIONS, operation, line);
    });
    if let Transport::Igmp { igmp_type } = transport {
        line.extend_from_slice(b" igmp=");
        write_or_dash(*igmp_type, line, |number, line| {
            write_name(IGMP_TYPES, number, line);
        });
    }
    write_ip(ip.as_ref(), fields, line);
    write_vlan(vlan, line);
    if let Some(tunnel) = tunnel {
        line.extend_from_slice(b" tunnel=");
        write_tunnel(*tunnel, line);
    }
    write_part(" inner=", *inner, line, |tuple, line| {
        write_tuple(&tuple, line);
    });
    write_part(" quoted=", *quoted, line, |tuple, line| {
        write_tuple(&tuple, line);
    });
    if fields.has(ExtraField::Mac) {
        line.extend_from_slice(b" mac=");
        write_or_dash(*mac, line, write_mac_addresses);
    }
}

/// Appends `value`, or `-` where it can't be known.
fn write_or_dash<T>(value: Option<T>, line: &mut Vec<u8>, write: impl FnOnce(T, &mut Vec<u8>)) {
    match value {
        Some(value) => write(value, line),
        None => line.push(b'-'),
    }
}

/// Appends a token that only some packets have.
fn write_part<T>(
    key: &str,
    part: Part<T>,
    line: &mut Vec<u8>,
    write: impl FnOnce(T, &mut Vec<u8>),
) {
    let value = match part {
        Part::Absent => return,
        Part::CutOff => None,
        Part::Known(value) => Some(value),
    };
    line.extend_from_slice(key.as_bytes());
    write_or_dash(value, line, write);
}

/// Appends the name of `number`, or the number where it has none.
pub(in crate::format) fn write_name<N: itoa::Integer + PartialEq>(
    names: &Names<N>,
    number: N,
    line: &mut Vec<u8>,
) {
    match name_of(names, number) {
        Some(name) => line.extend_from_slice(name.as_bytes()),
        None => write_number("", Some(number), line),
    }
}

pub(in crate::format) fn write_protocol(protocol: Protocol, line: &mut Vec<u8>) {
    match protocol {
        Protocol::Unknown => line.push(b'-'),
        Protocol::Family(family) => {
            line.extend_from_slice(name_of(FAMILIES, family).unwrap_or("-").as_bytes());
        }
        Protocol::Ethertype(ethertype) => match name_of(ETHERTYPES, ethertype) {
            Some(name) => line.extend_from_slice(name.as_bytes()),
            None => append(line, format_args!("ethertype-{ethertype:#06x}")),
        },
        Protocol::Ip(number) => match name_of(IP_PROTOCOLS, number) {
            Some(name) => line.extend_from_slice(name.as_bytes()),
            None => write_number("proto-", Some(number), line),
        },
    }
}

/// Appends source and destination with `separator` in between.
fn write_endpoints(tuple: &Tuple, separator: &str, line: &mut Vec<u8>) {
    let (source, destination) = match tuple.addresses {
        Some(addresses) => (Some(addresses.source), Some(addresses.destination)),
        None => (None, None),
    };
    write_endpoint(source, tuple.ports.map(|(source, _)| source), line);
    line.extend_from_slice(separator.as_bytes());
    let port = tuple.ports.map(|(_, destination)| destination);
    write_endpoint(destination, port, line);
}

/// Appends an address, `-` where it can't be known.
pub(in crate::format) fn write_address(address: Option<IpAddr>, line: &mut Vec<u8>) {
    match address {
        None => line.push(b'-'),
        Some(IpAddr::V4(address)) => write_ipv4(address, line),
        Some(IpAddr::V6(address)) => write_ipv6(address, line),
    }
}

/// Appends an address and, for a protocol with ports, the port.
fn write_endpoint(address: Option<IpAddr>, port: Part<u16>, line: &mut Vec<u8>) {
    match address {
        None => return line.push(b'-'),
        Some(IpAddr::V6(address)) if port != Part::Absent => {
            line.push(b'[');
            write_ipv6(address, line);
            line.push(b']');
        }
        address => write_address(address, line),
    }
    write_part(":", port, line, |port, line| {
        write_number("", Some(port), line);
    });
}

fn write_ipv4(address: Ipv4Addr, line: &mut Vec<u8>) {
    let mut separator = "";
    for octet in address.octets() {
        write_number(separator, Some(octet), line);
        separator = ".";
    }
}

fn write_ipv6(address: Ipv6Addr, line: &mut Vec<u8>) {
    append(line, format_args!("{address}"));
}

/// Appends `PROTOCOL,SOURCE>DESTINATION`, or what is known of a packet inside of
/// another one.
fn write_tuple(tuple: &Tuple, line: &mut Vec<u8>) {
    write_protocol(tuple.protocol, line);
    if tuple.addresses.is_some() {
        line.push(b',');
        write_endpoints(tuple, ">", line);
    }
}

/// Appends TCP's tokens.
fn write_tcp(transport: Transport, fields: FieldSet, line: &mut Vec<u8>) {
    let tcp = match transport {
        Transport::Tcp(tcp) => {
            line.extend_from_slice(b" flags=");
            write_or_dash(tcp.flags, line, write_tcp_flags);
            tcp
        }
        _ => Tcp::default(),
    };
    if fields.has(ExtraField::Seq) {
        write_number(" seq=", tcp.seq, line);
    }
    if fields.has(ExtraField::Ack) {
        write_number(" ack=", tcp.ack, line);
    }
    if fields.has(ExtraField::Win) {
        write_number(" win=", tcp.window, line);
    }
}

/// TCP flags in the order that people say them, with the bit of the header.
const TCP_FLAGS: [(u8, &str); 8] = [
    (0x02, "SYN"),
    (0x01, "FIN"),
    (0x04, "RST"),
    (0x08, "PSH"),
    (0x10, "ACK"),
    (0x20, "URG"),
    (0x40, "ECE"),
    (0x80, "CWR"),
];

pub(super) fn write_tcp_flags(flags: u8, line: &mut Vec<u8>) {
    if flags == 0 {
        line.extend_from_slice(b"none");
    }
    let mut separator: &[u8] = b"";
    for name in tcp_flag_names(flags) {
        line.extend_from_slice(separator);
        line.extend_from_slice(name.as_bytes());
        separator = b",";
    }
}

/// The names of the flags that are set.
pub(in crate::format) fn tcp_flag_names(flags: u8) -> impl Iterator<Item = &'static str> {
    let is_set = move |(bit, _): &(u8, _)| flags & bit != 0;
    TCP_FLAGS.into_iter().filter(is_set).map(|(_, name)| name)
}

fn write_icmp(
    type_code: Option<(u8, u8)>,
    type_of: fn(u8) -> Option<IcmpType>,
    line: &mut Vec<u8>,
) {
    line.extend_from_slice(b" icmp=");
    write_or_dash(type_code, line, |type_code, line| {
        write_icmp_type(type_code, type_of, line);
    });
}

/// Appends `TYPE` and `/CODE`, if the code is not 0 or codes have names.
pub(in crate::format) fn write_icmp_type(
    (number, code): (u8, u8),
    type_of: fn(u8) -> Option<IcmpType>,
    line: &mut Vec<u8>,
) {
    let codes = match type_of(number) {
        Some(IcmpType { name, codes }) => {
            line.extend_from_slice(name.as_bytes());
            codes
        }
        None => {
            write_number("", Some(number), line);
            &[]
        }
    };
    if code != 0 || !codes.is_empty() {
        line.push(b'/');
        write_name(codes, code, line);
    }
}

/// Appends the tokens of the IP header, from `spi=` to `ext=`.
fn write_ip(ip: Option<&IpHeader>, fields: FieldSet, line: &mut Vec<u8>) {
    if let Some(ip) = ip {
        write_part(" spi=", ip.spi, line, |spi, line| {
            append(line, format_args!("{spi:#010x}"));
        });
        write_part(" frag=", ip.fragment, line, write_fragment);
    }
    if fields.has(ExtraField::Ttl) {
        write_number(" ttl=", ip.map(|ip| ip.ttl), line);
    }
    if fields.has(ExtraField::Ipopt) {
        line.extend_from_slice(b" ipopt=");
        write_or_dash(ip.and_then(|ip| ip.options), line, |options, line| {
            write_names(&options, IPV4_OPTIONS, line);
        });
    }
    if fields.has(ExtraField::Ext) {
        line.extend_from_slice(b" ext=");
        write_or_dash(ip.and_then(|ip| ip.extensions), line, |extensions, line| {
            write_names(&extensions, IPV6_EXTENSIONS, line);
        });
    }
}

fn write_fragment(Fragment { offset, more }: Fragment, line: &mut Vec<u8>) {
    write_number("", Some(offset), line);
    if more {
        line.push(b'+');
    }
}

/// Appends names separated by commas: `none` if there are none, and `-` in place
/// of those that can't be known.
fn write_names<const N: usize>(list: &List<u8, N>, names: &Names<u8>, line: &mut Vec<u8>) {
    if list.items().is_empty() && !list.is_cut() {
        line.extend_from_slice(b"none");
    }
    write_list(list, ",", line, |number, line| {
        write_name(names, number, line);
    });
}

/// Appends ` vlan=OUTER.INNER`, if there are any.
fn write_vlan(vlan: &VlanIds, line: &mut Vec<u8>) {
    if vlan.items().is_empty() && !vlan.is_cut() {
        return;
    }
    line.extend_from_slice(b" vlan=");
    write_list(vlan, ".", line, |id, line| write_number("", Some(id), line));
}

/// Appends the items of a list, and `-` in place of those that can't be known.
fn write_list<T: Copy + Default, const N: usize>(
    list: &List<T, N>,
    separator: &str,
    line: &mut Vec<u8>,
    write: impl Fn(T, &mut Vec<u8>),
) {
    for (index, item) in list.iter().enumerate() {
        if index > 0 {
            line.extend_from_slice(separator.as_bytes());
        }
        write_or_dash(item, line, &write);
    }
}

fn write_tunnel(tunnel: Tunnel, line: &mut Vec<u8>) {
    match tunnel {
        Tunnel::Vxlan { vni } => write_number("vxlan/", Some(vni), line),
        Tunnel::Geneve { vni } => write_number("geneve/", Some(vni), line),
        Tunnel::Gre { key } => {
            line.extend_from_slice(b"gre");
            write_part("/", key, line, |key, line| {
                append(line, format_args!("{key:#x}"));
            });
        }
        Tunnel::Ipip => line.extend_from_slice(b"ipip"),
        Tunnel::Sit => line.extend_from_slice(b"sit"),
        Tunnel::Ip6ip6 => line.extend_from_slice(b"ip6ip6"),
        Tunnel::Ip4ip6 => line.extend_from_slice(b"ip4ip6"),
    }
}

fn write_mac_addresses(mac: MacAddresses, line: &mut Vec<u8>) {
    write_mac(mac.source, line);
    line.push(b'>');
    write_mac(mac.destination, line);
}

pub(in crate::format) fn write_mac([a, b, c, d, e, f]: [u8; 6], line: &mut Vec<u8>) {
    append(
        line,
        format_args!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}"),
    );
}
