//! The members that say what is in the packet.

use super::object::{Key, Object, key, write_array, write_number, write_or_null, write_plain};
use crate::{
    format::text::packet::{
        tcp_flag_names, write_address, write_icmp_type, write_mac, write_name, write_protocol,
    },
    names::{
        ARP_OPERATIONS, FAMILIES, IGMP_TYPES, IPV4_OPTIONS, IPV6_EXTENSIONS, IcmpType, Names,
        icmp_type, icmpv6_type, name_of,
    },
    packet::{
        IpHeader, List, MacAddresses, Packet, Protocol, Tcp, Transport, Tunnel, Tuple, VlanIds,
    },
};

/// Writes protocol, addresses and ports, each as a member.
pub(super) fn write_tuple(tuple: &Tuple, object: &mut Object<'_>) {
    let Tuple {
        protocol,
        addresses,
        ports,
    } = *tuple;
    object.value(key!("proto"), known(protocol), |protocol, line| {
        write_plain(line, |line| write_protocol(protocol, line));
    });
    let source = addresses.map(|addresses| addresses.source);
    let destination = addresses.map(|addresses| addresses.destination);
    let write = |address, line: &mut Vec<u8>| {
        write_plain(line, |line| write_address(Some(address), line));
    };
    object.value(key!("saddr"), source, write);
    object.part(key!("sport"), ports.map(|(source, _)| source), write_number);
    object.value(key!("daddr"), destination, write);
    object.part(key!("dport"), ports.map(|(_, port)| port), write_number);
}

/// The protocol, if it has a name or a number to show.
fn known(protocol: Protocol) -> Option<Protocol> {
    let is_known = match protocol {
        Protocol::Unknown => false,
        Protocol::Family(family) => name_of(FAMILIES, family).is_some(),
        Protocol::Ethertype(_) | Protocol::Ip(_) => true,
    };
    is_known.then_some(protocol)
}

/// Writes all that is not in the tuple.
pub(super) fn write_members(packet: &Packet, object: &mut Object<'_>) {
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
    write_transport(*transport, object);
    object.part(key!("arp"), *arp, |operation, line| {
        write_plain(line, |line| write_name(ARP_OPERATIONS, operation, line));
    });
    if let Some(ip) = ip {
        write_ip(ip, object);
    }
    write_vlan(vlan, object);
    if let Some(tunnel) = tunnel {
        write_tunnel(*tunnel, object);
    }
    object.part(key!("inner"), *inner, write_packet);
    object.part(key!("quoted"), *quoted, write_packet);
    object.value(key!("mac"), *mac, write_mac_addresses);
}

/// Appends an object for a packet inside of another one, `null` where nothing is known
/// of it.
fn write_packet(tuple: Tuple, line: &mut Vec<u8>) {
    let known = known(tuple.protocol).map(|_| tuple);
    write_or_null(known, line, |tuple, line| {
        let mut object = Object::open(line);
        write_tuple(&tuple, &mut object);
        object.close();
    });
}

fn write_transport(transport: Transport, object: &mut Object<'_>) {
    match transport {
        Transport::Other => {}
        Transport::Tcp(tcp) => write_tcp(tcp, object),
        Transport::Icmp { type_code } => write_icmp(type_code, icmp_type, object),
        Transport::Icmpv6 { type_code } => write_icmp(type_code, icmpv6_type, object),
        Transport::Igmp { igmp_type } => {
            object.value(key!("igmp"), igmp_type, |number, line| {
                write_plain(line, |line| write_name(IGMP_TYPES, number, line));
            });
        }
    }
}

fn write_tcp(tcp: Tcp, object: &mut Object<'_>) {
    let Tcp {
        seq,
        ack,
        flags,
        window,
    } = tcp;
    object.value(key!("flags"), flags, |flags, line| {
        write_array(tcp_flag_names(flags), line, |name, line| {
            write_plain(line, |line| line.extend_from_slice(name.as_bytes()));
        });
    });
    object.number(key!("seq"), seq);
    object.number(key!("ack"), ack);
    object.number(key!("win"), window);
}

fn write_icmp(
    type_code: Option<(u8, u8)>,
    type_of: fn(u8) -> Option<IcmpType>,
    object: &mut Object<'_>,
) {
    object.value(key!("icmp"), type_code, |type_code, line| {
        write_plain(line, |line| write_icmp_type(type_code, type_of, line));
    });
    if let Some((icmp_type, code)) = type_code {
        object.number(key!("icmp_type"), Some(icmp_type));
        object.number(key!("icmp_code"), Some(code));
    }
}

fn write_ip(ip: &IpHeader, object: &mut Object<'_>) {
    let IpHeader {
        ttl,
        options,
        extensions,
        fragment,
        spi,
    } = ip;
    object.part(key!("spi"), *spi, write_number);
    object.part(key!("frag"), fragment.map(|it| it.offset), write_number);
    object.part(key!("frag_more"), fragment.map(|it| it.more), write_boolean);
    object.number(key!("ttl"), Some(*ttl));
    if let Some(options) = options {
        write_names(key!("ipopt"), options, IPV4_OPTIONS, object);
    }
    if let Some(extensions) = extensions {
        write_names(key!("ext"), extensions, IPV6_EXTENSIONS, object);
    }
}

fn write_boolean(value: bool, line: &mut Vec<u8>) {
    let text = if value { "true" } else { "false" };
    line.extend_from_slice(text.as_bytes());
}

/// Writes an array of names, `null` in place of those that can't be known.
fn write_names<const N: usize>(
    key: Key,
    list: &List<u8, N>,
    names: &Names<u8>,
    object: &mut Object<'_>,
) {
    write_array(list.iter(), object.member(key), |number, line| {
        write_or_null(number, line, |number, line| {
            write_plain(line, |line| write_name(names, number, line));
        });
    });
}

fn write_vlan(vlan: &VlanIds, object: &mut Object<'_>) {
    if vlan.iter().next().is_some() {
        write_array(vlan.iter(), object.member(key!("vlan")), |id, line| {
            write_or_null(id, line, write_number);
        });
    }
}

fn write_tunnel(tunnel: Tunnel, object: &mut Object<'_>) {
    let name = match tunnel {
        Tunnel::Vxlan { .. } => "vxlan",
        Tunnel::Geneve { .. } => "geneve",
        Tunnel::Gre { .. } => "gre",
        Tunnel::Ipip => "ipip",
        Tunnel::Sit => "sit",
        Tunnel::Ip6ip6 => "ip6ip6",
        Tunnel::Ip4ip6 => "ip4ip6",
    };
    object.word(key!("tunnel"), Some(name));
    match tunnel {
        Tunnel::Vxlan { vni } | Tunnel::Geneve { vni } => {
            object.number(key!("tunnel_id"), Some(vni))
        }
        Tunnel::Gre { key } => object.part(key!("tunnel_id"), key, write_number),
        Tunnel::Ipip | Tunnel::Sit | Tunnel::Ip6ip6 | Tunnel::Ip4ip6 => {}
    }
}

fn write_mac_addresses(mac: MacAddresses, line: &mut Vec<u8>) {
    let MacAddresses {
        source,
        destination,
    } = mac;
    let mut object = Object::open(line);
    for (key, address) in [(key!("saddr"), source), (key!("daddr"), destination)] {
        write_plain(object.member(key), |line| write_mac(address, line));
    }
    object.close();
}
