//! Packets byte by byte: the first ones as Linux 6.18 sent them, the others as
//! their RFCs draw them.

use super::*;

/// Bytes in hexadecimal, with white space wherever it helps.
fn bytes(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|it| it.to_digit(16)).collect();
    let pairs = digits.chunks_exact(2);
    pairs.map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

/// What an Ethernet frame without tags says.
fn on_wire(text: &str) -> Packet {
    let bytes = bytes(text);
    Packet::parse(&Capture {
        ethertype: u16_at(&bytes, 12).unwrap(),
        bytes: &bytes,
        network_offset: 14,
        ..Capture::default()
    })
}

fn endpoints(source: &str, destination: &str) -> Option<Addresses> {
    Some(Addresses {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
    })
}

/// 10.9.0.1 to 10.9.0.2.
fn there(protocol: u8, ports: Part<(u16, u16)>) -> Tuple {
    Tuple {
        protocol: Protocol::Ip(protocol),
        addresses: endpoints("10.9.0.1", "10.9.0.2"),
        ports,
    }
}

/// The way back.
fn back(protocol: u8, ports: Part<(u16, u16)>) -> Tuple {
    Tuple {
        addresses: endpoints("10.9.0.2", "10.9.0.1"),
        ..there(protocol, ports)
    }
}

fn mac() -> Option<MacAddresses> {
    Some(MacAddresses {
        source: [0xde, 0xda, 0x9a, 0xb9, 0x07, 0xfa],
        destination: [0x96, 0x6e, 0xba, 0x6a, 0x7c, 0x09],
    })
}

/// [`mac`] the other way round.
fn mac_back() -> Option<MacAddresses> {
    mac().map(|mac| MacAddresses {
        source: mac.destination,
        destination: mac.source,
    })
}

fn header4(fragment: Part<Fragment>, options: &[u8]) -> Option<IpHeader> {
    let mut list = Ipv4Options::default();
    options.iter().for_each(|option| list.push(*option));
    Some(IpHeader {
        ttl: 64,
        options: Some(list),
        extensions: None,
        fragment,
        spi: Part::Absent,
    })
}

fn header6(ttl: u8, extensions: &[u8]) -> Option<IpHeader> {
    let mut list = Ipv6Extensions::default();
    extensions.iter().for_each(|it| list.push(*it));
    Some(IpHeader {
        ttl,
        options: None,
        extensions: Some(list),
        fragment: Part::Absent,
        spi: Part::Absent,
    })
}

const UDP_PORTS: Part<(u16, u16)> = Part::Known((0xc068, 9));

#[test]
fn udp() {
    let packet = on_wire(
        "966eba6a7c09 deda9ab907fa 0800
         4500 0020 9f71 4000 40 11 8747 0a090001 0a090002
         c068 0009 000c 1432 64617461",
    );
    let expected = Packet {
        tuple: there(17, UDP_PORTS),
        ip: header4(Part::Absent, &[]),
        mac: mac(),
        ..Packet::default()
    };
    assert_eq!(packet, expected);
}

#[test]
fn icmp_port_unreachable() {
    let packet = on_wire(
        "deda9ab907fa 966eba6a7c09 0800
         45c0 003c 83c0 0000 40 01 e22c 0a090002 0a090001
         03 03 4f8a 00000000
         4500 0020 9f71 4000 40 11 8747 0a090001 0a090002
         c068 0009 000c 1432 64617461",
    );
    let expected = Packet {
        tuple: back(1, Part::Absent),
        ip: header4(Part::Absent, &[]),
        transport: Transport::Icmp {
            type_code: Some((3, 3)),
        },
        mac: mac_back(),
        quoted: Part::Known(there(17, UDP_PORTS)),
        ..Packet::default()
    };
    assert_eq!(packet, expected);
}

#[test]
fn tcp() {
    let syn = on_wire(
        "966eba6a7c09 deda9ab907fa 0800
         4500 003c 22c7 4000 40 06 03e1 0a090001 0a090002
         c4bc 01bb 2a091619 00000000 a002 faf0 1443 0000
         0204 05b4 0402 080a 90f0cc28 00000000 0103030a",
    );
    let ports = Part::Known((0xc4bc, 443));
    let expected = Packet {
        tuple: there(6, ports),
        ip: header4(Part::Absent, &[]),
        transport: Transport::Tcp(Tcp {
            seq: Some(0x2a09_1619),
            ack: None,
            flags: Some(0x02),
            window: Some(0xfaf0),
        }),
        mac: mac(),
        ..Packet::default()
    };
    assert_eq!(syn, expected);

    let reset = on_wire(
        "deda9ab907fa 966eba6a7c09 0800
         4500 0028 0000 4000 40 06 26bc 0a090002 0a090001
         01bb c4bc 00000000 2a09161a 5014 0000 9521 0000",
    );
    let expected = Packet {
        tuple: back(6, Part::Known((443, 0xc4bc))),
        transport: Transport::Tcp(Tcp {
            seq: Some(0),
            ack: Some(0x2a09_161a),
            flags: Some(0x14),
            window: Some(0),
        }),
        mac: mac_back(),
        ..expected
    };
    assert_eq!(reset, expected);
}

#[test]
fn ipv4_fragments() {
    for (header, offset, more, ports) in [
        (
            "05dc 9f79 2000 40 11 a183",
            0,
            true,
            Part::Known((0x9473, 9)),
        ),
        ("05dc 9f79 20b9 40 11 a0ca", 1480, true, Part::CutOff),
        ("0044 9f79 0172 40 11 c5a9", 2960, false, Part::CutOff),
    ] {
        let packet = on_wire(&format!(
            "966eba6a7c09 deda9ab907fa 0800
             4500 {header} 0a090001 0a090002
             9473 0009 0bc0 5dfb 7878787878787878",
        ));
        let expected = Packet {
            tuple: there(17, ports),
            ip: header4(Part::Known(Fragment { offset, more }), &[]),
            mac: mac(),
            ..Packet::default()
        };
        assert_eq!(packet, expected);
    }
}

#[test]
fn arp_reply() {
    let packet = on_wire(
        "966eba6a7c09 deda9ab907fa 0806
         0001 0800 06 04 0002 deda9ab907fa 0a090001 966eba6a7c09 0a090002",
    );
    let expected = Packet {
        tuple: Tuple {
            protocol: Protocol::Ethertype(0x0806),
            addresses: endpoints("10.9.0.1", "10.9.0.2"),
            ports: Part::Absent,
        },
        arp: Part::Known(2),
        mac: mac(),
        ..Packet::default()
    };
    assert_eq!(packet, expected);
}

#[test]
fn igmp_report() {
    let packet = on_wire(
        "01005e000016 deda9ab907fa 0800
         46c0 0028 0000 4000 01 02 f9ef 0a090001 e0000016 94040000
         22 00 e8f9 0000 0001 04 00 0000 ef010203",
    );
    let options = header4(Part::Absent, &[148]);
    let expected = Packet {
        tuple: Tuple {
            addresses: endpoints("10.9.0.1", "224.0.0.22"),
            ..there(2, Part::Absent)
        },
        ip: options.map(|header| IpHeader { ttl: 1, ..header }),
        transport: Transport::Igmp {
            igmp_type: Some(0x22),
        },
        mac: mac().map(|mac| MacAddresses {
            destination: [1, 0, 0x5e, 0, 0, 0x16],
            ..mac
        }),
        ..Packet::default()
    };
    assert_eq!(packet, expected);
}

#[test]
fn icmpv6() {
    let solicitation = on_wire(
        "3333ffb907fa deda9ab907fa 86dd
         60000000 0020 3a ff 00000000000000000000000000000000
         ff0200000000000000000001ffb907fa
         87 00 8a3a 00000000 fe80000000000000dcda9afffeb907fa 0e01 57291ae9ea8f",
    );
    assert_eq!(solicitation.ip, header6(255, &[]));
    let type_code = Some((135, 0));
    assert_eq!(solicitation.transport, Transport::Icmpv6 { type_code });
    assert_eq!(
        solicitation.tuple.addresses,
        endpoints("::", "ff02::1:ffb9:7fa")
    );

    let report = on_wire(
        "333300000016 966eba6a7c09 86dd
         60000000 0024 00 01 00000000000000000000000000000000
         ff020000000000000000000000000016
         3a 00 0502 0000 0100
         8f 00 f316 0000 0001 04000000 ff0200000000000000000001ff6a7c09",
    );
    assert_eq!(report.ip, header6(1, &[0]));
    let type_code = Some((143, 0));
    assert_eq!(report.transport, Transport::Icmpv6 { type_code });
    assert_eq!(report.tuple.protocol, Protocol::Ip(58));
}

#[test]
fn vxlan() {
    let outer = "966eba6a7c09 deda9ab907fa 0800
                 4500 006a 9f60 0000 40 11 c70e 0a090001 0a090002
                 8111 12b5 0056 147c 08 000000 000064 00";
    let packet = on_wire(&format!(
        "{outer}
         333300000002 a2953dbd5bc6 86dd
         60000000 0010 3a ff fe80000000000000a0953dfffebd5bc6
         ff020000000000000000000000000002
         85 00 06fc 00000000 0101a2953dbd5bc6"
    ));
    let expected = Packet {
        tuple: there(17, Part::Known((0x8111, 4789))),
        ip: header4(Part::Absent, &[]),
        mac: mac(),
        tunnel: Some(Tunnel::Vxlan { vni: 100 }),
        inner: Part::Known(Tuple {
            protocol: Protocol::Ip(58),
            addresses: endpoints("fe80::a095:3dff:febd:5bc6", "ff02::2"),
            ports: Part::Absent,
        }),
        ..Packet::default()
    };
    assert_eq!(packet, expected);

    let packet = on_wire(&format!(
        "{outer}
         ffffffffffff a2953dbd5bc6 0806
         0001 0800 06 04 0001 a2953dbd5bc6 0a010001 000000000000 0a010002"
    ));
    let inner = Part::Known(Tuple::of_ethertype(0x0806));
    assert_eq!(packet, Packet { inner, ..expected });
}

/// What IPv4 from 10.9.0.1 to 10.9.0.2 with this payload says.
fn over_ipv4(protocol: u8, payload: &str) -> Packet {
    on_wire(&format!(
        "966eba6a7c09 deda9ab907fa 0800
         4500 0000 0001 0000 40 {protocol:02x} 0000 0a090001 0a090002 {payload}"
    ))
}

/// 10.1.0.1:5000 to 10.1.0.2:53, as bytes and as it is understood.
const INNER: &str = "4500 0020 0001 0000 40 11 0000 0a010001 0a010002
                     1388 0035 000c 0000 64617461";

fn inner() -> Part<Tuple> {
    Part::Known(Tuple {
        protocol: Protocol::Ip(17),
        addresses: endpoints("10.1.0.1", "10.1.0.2"),
        ports: Part::Known((5000, 53)),
    })
}

/// RFC 9260, 3: an INIT chunk. RFC 4340, 5.1: a DCCP request.
#[test]
fn sctp_and_dccp() {
    let sctp = over_ipv4(132, "1388 0b59 00000000 00000000 01 00 0014 deadbeef");
    assert_eq!(sctp.tuple, there(132, Part::Known((5000, 2905))));
    let dccp = over_ipv4(33, "1388 0035 04 00 0000 01 000000 00000001");
    assert_eq!(dccp.tuple, there(33, Part::Known((5000, 53))));
}

/// RFC 2784, 2.1 and RFC 2890, 2: checksum, key, sequence number.
#[test]
fn gre() {
    for (header, key) in [
        ("0000 0800", Part::Absent),
        ("8000 0800 abcd0000", Part::Absent),
        ("2000 0800 00000064", Part::Known(100)),
        ("1000 0800 00000007", Part::Absent),
        ("b000 0800 abcd0000 00000064 00000007", Part::Known(100)),
        (
            "2000 6558 00000064 020000000002 020000000001 0800",
            Part::Known(100),
        ),
    ] {
        let packet = over_ipv4(47, &format!("{header} {INNER}"));
        assert_eq!(packet.tuple, there(47, Part::Absent));
        assert_eq!(packet.tunnel, Some(Tunnel::Gre { key }));
        assert_eq!(packet.inner, inner());
    }
}

/// RFC 8926, 3.4 and 3.5: an option of OVN (class 0x0102, four bytes).
#[test]
fn geneve() {
    let packet = over_ipv4(
        17,
        &format!(
            "8111 17c1 0000 0000
             02 40 6558 000064 00 0102 80 01 00010002
             020000000002 020000000001 8100 0064 0800 {INNER}"
        ),
    );
    assert_eq!(packet.tunnel, Some(Tunnel::Geneve { vni: 100 }));
    assert_eq!(packet.inner, inner());
}

/// RFC 2003, 3.1 and RFC 4213, 3.5.
#[test]
fn ip_in_ip() {
    let packet = over_ipv4(4, INNER);
    assert_eq!(packet.tunnel, Some(Tunnel::Ipip));
    assert_eq!(packet.inner, inner());

    let packet = over_ipv4(
        41,
        "60000000 0008 11 40 fd000000000000000000000000000001
         fd000000000000000000000000000002 1388 0035 0008 0000",
    );
    assert_eq!(packet.tunnel, Some(Tunnel::Sit));
    let expected = Tuple {
        protocol: Protocol::Ip(17),
        addresses: endpoints("fd00::1", "fd00::2"),
        ports: Part::Known((5000, 53)),
    };
    assert_eq!(packet.inner, Part::Known(expected));
}

/// RFC 4303, 2 and RFC 4302, 2: AH with a checksum of 12 bytes in transport mode.
#[test]
fn ipsec() {
    let esp = over_ipv4(50, "0000abcd 00000001 deadbeef");
    assert_eq!(esp.tuple, there(50, Part::Absent));
    assert_eq!(esp.ip.unwrap().spi, Part::Known(0xabcd));
    let ah = over_ipv4(
        51,
        "11 04 0000 0000abcd 00000001 0102030405060708090a0b0c
         c068 0009 000c 1432",
    );
    assert_eq!(ah.tuple, there(17, UDP_PORTS));
    assert_eq!(ah.ip.unwrap().spi, Part::Known(0xabcd));
}

/// RFC 8200, 4: hop-by-hop, routing, fragment, destination options.
#[test]
fn ipv6_extensions() {
    let packet = on_wire(
        "966eba6a7c09 deda9ab907fa 86dd
         60000000 0030 00 40 fd000000000000000000000000000001
         fd000000000000000000000000000002
         2b 00 0104 00000000
         2c 02 0401 00000000 fd000000000000000000000000000003
         3c 00 0001 00000001
         11 00 0104 00000000
         c068 0009 000c 1432",
    );
    let mut header = header6(64, &[0, 43, 44, 60]).unwrap();
    header.fragment = Part::Known(Fragment {
        offset: 0,
        more: true,
    });
    assert_eq!(packet.ip, Some(header));
    let expected = Tuple {
        protocol: Protocol::Ip(17),
        addresses: endpoints("fd00::1", "fd00::2"),
        // Behind the payload length, and so not the packet's.
        ports: Part::CutOff,
    };
    assert_eq!(packet.tuple, expected);
}

/// IEEE 802.1ad: a service tag and a customer tag, in both of the kernel's
/// layouts.
#[test]
fn vlan_tags() {
    let bytes = bytes(&format!(
        "966eba6a7c09 deda9ab907fa 88a8 000a 8100 6064 0800 {INNER}"
    ));
    for network_offset in [14, 22] {
        let packet = Packet::parse(&Capture {
            ethertype: 0x88a8,
            vlan_tag: Some(VlanTag {
                tpid: 0x88a8,
                tci: 0xf005,
            }),
            bytes: &bytes,
            network_offset,
        });
        let mut vlan = VlanIds::default();
        [5, 10, 100].iter().for_each(|id| vlan.push(*id));
        assert_eq!(packet.vlan, vlan);
        assert_eq!(packet.mac, mac());
        assert_eq!(Part::Known(packet.tuple), inner());
    }
}

/// A MAC header that does not say what the kernel says is another packet's.
#[test]
fn stale_mac_header() {
    let bytes = bytes(&format!("966eba6a7c09 deda9ab907fa 86dd {INNER}"));
    for (ethertype, is_stale) in [(0x86dd, false), (0x0800, true), (0x8100, true), (0, true)] {
        let packet = Packet::parse(&Capture {
            ethertype,
            bytes: &bytes,
            network_offset: 14,
            ..Capture::default()
        });
        assert_eq!(packet.mac.is_none(), is_stale, "{ethertype:#x}");
        assert_eq!(packet.tuple.addresses.is_some(), ethertype == 0x0800);
    }
}

/// RFC 2784, 2.3 and 2.3.1: no source routes, no other version.
#[test]
fn other_gre() {
    for header in ["4000 0800", "0001 0800"] {
        let packet = over_ipv4(47, &format!("{header} {INNER}"));
        assert_eq!(packet.tunnel, Some(Tunnel::Gre { key: Part::Absent }));
        assert_eq!(packet.inner, Part::CutOff);
    }
}
