//! What is inside of packets: one line for each protocol and each token.

use dropwatch::format::ExtraField;
use dropwatch_common::event::present;
use expect_test::expect;

use crate::{
    STACK,
    case::{Case, Frame},
    check, check_packets, check_starts,
    packets::{
        self, IPV4, IPV6, MORE, PORTS, arp, authentication, datagram, fragment, frame, geneve, gre,
        icmp, ipv4, ipv6, ipv6_fragment, options, tcp, vxlan, with_options,
    },
};

const ARP: u16 = 0x0806;
const ETHERNET: u16 = 0x6558;
const VLAN: u16 = 0x8100;
const SERVICE_VLAN: u16 = 0x88a8;

/// A [`Case`] with a frame whose network header is at `network_offset`.
fn on_wire(ethertype: u16, bytes: &[u8], network_offset: usize) -> Case {
    Case::default().frame(&Frame {
        ethertype,
        vlan: None,
        bytes: bytes.to_vec(),
        network_offset,
    })
}

/// A drop with a tag beside the frame.
fn beside(vlan: u16, case: Case) -> Case {
    case.event(|event| {
        event.present |= present::VLAN;
        event.vlan_proto = VLAN.to_be();
        event.vlan_tci = vlan;
    })
}

#[test]
fn arp_packets() {
    let other_hardware = [&[0, 6], &arp(1)[2..]].concat();
    let other_protocol = [&[0, 1, 0x86, 0xdd], &arp(1)[4..]].concat();
    let other_length = [&[0, 1, 8, 0, 6, 16], &arp(1)[6..]].concat();
    check_packets(
        vec![
            ("request", ARP, arp(1)),
            ("reply", ARP, arp(2)),
            ("nak", ARP, arp(10)),
            ("unknown", ARP, arp(24)),
            ("not ethernet", ARP, other_hardware),
            ("not ipv4", ARP, other_protocol),
            ("other length", ARP, other_length),
            ("rarp", 0x8035, arp(3)),
        ],
        &expect![[r#"
            request         | 1234.567890 NO_SOCKET arp 10.0.0.1 > 10.0.0.2 len=128 arp=request if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            reply           | 1234.567890 NO_SOCKET arp 10.0.0.1 > 10.0.0.2 len=128 arp=reply if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            nak             | 1234.567890 NO_SOCKET arp 10.0.0.1 > 10.0.0.2 len=128 arp=nak if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            unknown         | 1234.567890 NO_SOCKET arp 10.0.0.1 > 10.0.0.2 len=128 arp=24 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            not ethernet    | 1234.567890 NO_SOCKET arp - > - len=128 arp=request if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            not ipv4        | 1234.567890 NO_SOCKET arp - > - len=128 arp=request if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            other length    | 1234.567890 NO_SOCKET arp - > - len=128 arp=request if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            rarp            | 1234.567890 NO_SOCKET rarp - > - len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
        "#]],
    );
    check_starts(
        ARP,
        &arp(1),
        &expect![[r#"
             0 to  7 | 1234.567890 NO_SOCKET arp - > - len=128 arp=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
             8 to 27 | 1234.567890 NO_SOCKET arp - > - len=128 arp=request if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            28 to 28 | 1234.567890 NO_SOCKET arp 10.0.0.1 > 10.0.0.2 len=128 arp=request if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
        "#]],
    );
}

#[test]
fn icmp_names() {
    let icmp4 = |icmp_type, code| ipv4(1, &[icmp_type, code, 0, 0]);
    let icmp6 = |icmp_type, code| ipv6(58, &[icmp_type, code, 0, 0]);
    check_packets(
        vec![
            ("echo reply", IPV4, icmp4(0, 0)),
            ("code of echo", IPV4, icmp4(8, 9)),
            ("timestamp", IPV4, icmp4(13, 0)),
            ("unknown", IPV4, icmp4(200, 0)),
            ("unknown code", IPV4, icmp4(200, 7)),
            ("rs", IPV6, icmp6(133, 0)),
            ("ra", IPV6, icmp6(134, 0)),
            ("na", IPV6, icmp6(136, 0)),
            ("mld", IPV6, icmp6(143, 0)),
            ("unknown6", IPV6, icmp6(127, 0)),
            ("unknown6 code", IPV6, icmp6(201, 1)),
        ],
        &expect![[r#"
            echo reply      | 1234.567890 NO_SOCKET icmp 10.0.0.1 > 10.0.0.2 len=128 icmp=echo-reply if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            code of echo    | 1234.567890 NO_SOCKET icmp 10.0.0.1 > 10.0.0.2 len=128 icmp=echo-request/9 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            timestamp       | 1234.567890 NO_SOCKET icmp 10.0.0.1 > 10.0.0.2 len=128 icmp=timestamp if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            unknown         | 1234.567890 NO_SOCKET icmp 10.0.0.1 > 10.0.0.2 len=128 icmp=200 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            unknown code    | 1234.567890 NO_SOCKET icmp 10.0.0.1 > 10.0.0.2 len=128 icmp=200/7 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            rs              | 1234.567890 NO_SOCKET icmpv6 2001:db8::1 > 2001:db8::2 len=128 icmp=router-solicitation if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            ra              | 1234.567890 NO_SOCKET icmpv6 2001:db8::1 > 2001:db8::2 len=128 icmp=router-advertisement if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            na              | 1234.567890 NO_SOCKET icmpv6 2001:db8::1 > 2001:db8::2 len=128 icmp=neighbor-advertisement if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            mld             | 1234.567890 NO_SOCKET icmpv6 2001:db8::1 > 2001:db8::2 len=128 icmp=mldv2-report if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            unknown6        | 1234.567890 NO_SOCKET icmpv6 2001:db8::1 > 2001:db8::2 len=128 icmp=127 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            unknown6 code   | 1234.567890 NO_SOCKET icmpv6 2001:db8::1 > 2001:db8::2 len=128 icmp=201/1 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
        "#]],
    );
}

#[test]
fn icmp_errors() {
    let error4 = |icmp_type, code, quote: &[u8]| ipv4(1, &icmp(icmp_type, code, quote));
    let error6 = |icmp_type, code, quote: &[u8]| ipv6(58, &icmp(icmp_type, code, quote));
    let later = fragment(ipv4(17, &PORTS), 185);
    check_packets(
        vec![
            ("net", IPV4, error4(3, 0, &ipv4(1, &[8, 0, 0, 0]))),
            ("port", IPV4, error4(3, 3, &packets::udp())),
            ("frag needed", IPV4, error4(3, 4, &ipv4(6, &tcp(0x10)))),
            ("code 99", IPV4, error4(3, 99, &packets::udp())),
            ("redirect", IPV4, error4(5, 1, &packets::udp())),
            ("ttl", IPV4, error4(11, 0, &ipv4(47, &[]))),
            ("reassembly", IPV4, error4(11, 1, &later)),
            ("problem", IPV4, error4(12, 0, &packets::udp())),
            ("eight bytes", IPV4, error4(3, 3, &packets::udp()[..28])),
            ("two bytes", IPV4, error4(3, 3, &packets::udp()[..22])),
            ("half a header", IPV4, error4(3, 3, &packets::udp()[..19])),
            ("6 in 4", IPV4, error4(3, 3, &ipv6(17, &PORTS))),
            ("no route", IPV6, error6(1, 0, &ipv6(17, &PORTS))),
            ("port6", IPV6, error6(1, 4, &ipv6(6, &tcp(2)[..8]))),
            ("too big", IPV6, error6(2, 0, &ipv6(17, &PORTS))),
            ("hop limit", IPV6, error6(3, 0, &ipv6(58, &[128, 0]))),
            ("next header", IPV6, error6(4, 1, &ipv6(253, &[]))),
            (
                "quoted ext",
                IPV6,
                error6(1, 4, &ipv6(60, &options(17, 0)[..4])),
            ),
            ("none quoted", IPV6, error6(1, 4, &[])),
        ],
        &expect![[r#"
            net             | 1234.567890 NO_SOCKET icmp 10.0.0.1 > 10.0.0.2 len=128 icmp=dest-unreachable/net quoted=icmp,10.0.0.1>10.0.0.2 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            port            | 1234.567890 NO_SOCKET icmp 10.0.0.1 > 10.0.0.2 len=128 icmp=dest-unreachable/port quoted=udp,127.0.0.1:39873>127.0.0.1:9 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            frag needed     | 1234.567890 NO_SOCKET icmp 10.0.0.1 > 10.0.0.2 len=128 icmp=dest-unreachable/frag-needed quoted=tcp,10.0.0.1:39873>10.0.0.2:443 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            code 99         | 1234.567890 NO_SOCKET icmp 10.0.0.1 > 10.0.0.2 len=128 icmp=dest-unreachable/99 quoted=udp,127.0.0.1:39873>127.0.0.1:9 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            redirect        | 1234.567890 NO_SOCKET icmp 10.0.0.1 > 10.0.0.2 len=128 icmp=redirect/host quoted=udp,127.0.0.1:39873>127.0.0.1:9 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            ttl             | 1234.567890 NO_SOCKET icmp 10.0.0.1 > 10.0.0.2 len=128 icmp=time-exceeded/ttl quoted=gre,10.0.0.1>10.0.0.2 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            reassembly      | 1234.567890 NO_SOCKET icmp 10.0.0.1 > 10.0.0.2 len=128 icmp=time-exceeded/reassembly quoted=udp,10.0.0.1:->10.0.0.2:- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            problem         | 1234.567890 NO_SOCKET icmp 10.0.0.1 > 10.0.0.2 len=128 icmp=parameter-problem/pointer quoted=udp,127.0.0.1:39873>127.0.0.1:9 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            eight bytes     | 1234.567890 NO_SOCKET icmp 10.0.0.1 > 10.0.0.2 len=128 icmp=dest-unreachable/port quoted=udp,127.0.0.1:39873>127.0.0.1:9 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            two bytes       | 1234.567890 NO_SOCKET icmp 10.0.0.1 > 10.0.0.2 len=128 icmp=dest-unreachable/port quoted=udp,127.0.0.1:->127.0.0.1:- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            half a header   | 1234.567890 NO_SOCKET icmp 10.0.0.1 > 10.0.0.2 len=128 icmp=dest-unreachable/port quoted=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            6 in 4          | 1234.567890 NO_SOCKET icmp 10.0.0.1 > 10.0.0.2 len=128 icmp=dest-unreachable/port quoted=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            no route        | 1234.567890 NO_SOCKET icmpv6 2001:db8::1 > 2001:db8::2 len=128 icmp=dest-unreachable/no-route quoted=udp,[2001:db8::1]:39873>[2001:db8::2]:9 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            port6           | 1234.567890 NO_SOCKET icmpv6 2001:db8::1 > 2001:db8::2 len=128 icmp=dest-unreachable/port quoted=tcp,[2001:db8::1]:39873>[2001:db8::2]:443 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            too big         | 1234.567890 NO_SOCKET icmpv6 2001:db8::1 > 2001:db8::2 len=128 icmp=packet-too-big quoted=udp,[2001:db8::1]:39873>[2001:db8::2]:9 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            hop limit       | 1234.567890 NO_SOCKET icmpv6 2001:db8::1 > 2001:db8::2 len=128 icmp=time-exceeded/hop-limit quoted=icmpv6,2001:db8::1>2001:db8::2 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            next header     | 1234.567890 NO_SOCKET icmpv6 2001:db8::1 > 2001:db8::2 len=128 icmp=parameter-problem/next-header quoted=proto-253,2001:db8::1>2001:db8::2 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            quoted ext      | 1234.567890 NO_SOCKET icmpv6 2001:db8::1 > 2001:db8::2 len=128 icmp=dest-unreachable/port quoted=ipv6,2001:db8::1>2001:db8::2 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            none quoted     | 1234.567890 NO_SOCKET icmpv6 2001:db8::1 > 2001:db8::2 len=128 icmp=dest-unreachable/port quoted=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
        "#]],
    );
    check_starts(
        IPV4,
        &error4(3, 3, &packets::udp()),
        &expect![[r#"
             0 to 19 | 1234.567890 NO_SOCKET ipv4 - > - len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            20 to 20 | 1234.567890 NO_SOCKET icmp 10.0.0.1 > 10.0.0.2 len=128 icmp=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            21 to 21 | 1234.567890 NO_SOCKET icmp 10.0.0.1 > 10.0.0.2 len=128 icmp=- quoted=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            22 to 47 | 1234.567890 NO_SOCKET icmp 10.0.0.1 > 10.0.0.2 len=128 icmp=dest-unreachable/port quoted=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            48 to 51 | 1234.567890 NO_SOCKET icmp 10.0.0.1 > 10.0.0.2 len=128 icmp=dest-unreachable/port quoted=udp,127.0.0.1:->127.0.0.1:- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            52 to 60 | 1234.567890 NO_SOCKET icmp 10.0.0.1 > 10.0.0.2 len=128 icmp=dest-unreachable/port quoted=udp,127.0.0.1:39873>127.0.0.1:9 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
        "#]],
    );
}

#[test]
fn igmp_types() {
    let igmp = |igmp_type| ipv4(2, &[igmp_type, 0, 0, 0, 224, 0, 0, 1]);
    check_packets(
        vec![
            ("query", IPV4, igmp(0x11)),
            ("v1", IPV4, igmp(0x12)),
            ("v2", IPV4, igmp(0x16)),
            ("v3", IPV4, with_options(&igmp(0x22), &[148, 4, 0, 0])),
            ("leave", IPV4, igmp(0x17)),
            ("dvmrp", IPV4, igmp(0x13)),
            ("cut off", IPV4, ipv4(2, &[])),
        ],
        &expect![[r#"
            query           | 1234.567890 NO_SOCKET igmp 10.0.0.1 > 10.0.0.2 len=128 igmp=query if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            v1              | 1234.567890 NO_SOCKET igmp 10.0.0.1 > 10.0.0.2 len=128 igmp=v1-report if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            v2              | 1234.567890 NO_SOCKET igmp 10.0.0.1 > 10.0.0.2 len=128 igmp=v2-report if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            v3              | 1234.567890 NO_SOCKET igmp 10.0.0.1 > 10.0.0.2 len=128 igmp=v3-report if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            leave           | 1234.567890 NO_SOCKET igmp 10.0.0.1 > 10.0.0.2 len=128 igmp=leave if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            dvmrp           | 1234.567890 NO_SOCKET igmp 10.0.0.1 > 10.0.0.2 len=128 igmp=19 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            cut off         | 1234.567890 NO_SOCKET igmp 10.0.0.1 > 10.0.0.2 len=128 igmp=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
        "#]],
    );
}

#[test]
fn ipsec() {
    let esp = [0, 0, 0xab, 0xcd, 0, 0, 0, 1];
    check_packets(
        vec![
            ("esp", IPV4, ipv4(50, &esp)),
            ("esp6", IPV6, ipv6(50, &esp)),
            ("esp cut off", IPV4, ipv4(50, &esp[..3])),
            ("esp later", IPV4, fragment(ipv4(50, &esp), 185)),
            (
                "ah",
                IPV4,
                ipv4(51, &[&authentication(6)[..], &tcp(2)].concat()),
            ),
            (
                "ah esp",
                IPV6,
                ipv6(51, &[&authentication(50)[..], &esp].concat()),
            ),
            ("ah cut off", IPV4, ipv4(51, &authentication(6)[..7])),
            ("ah too short", IPV4, ipv4(51, &authentication(6)[..11])),
        ],
        &expect![[r#"
            esp             | 1234.567890 NO_SOCKET esp 10.0.0.1 > 10.0.0.2 len=128 spi=0x0000abcd if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            esp6            | 1234.567890 NO_SOCKET esp 2001:db8::1 > 2001:db8::2 len=128 spi=0x0000abcd if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            esp cut off     | 1234.567890 NO_SOCKET esp 10.0.0.1 > 10.0.0.2 len=128 spi=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            esp later       | 1234.567890 NO_SOCKET esp 10.0.0.1 > 10.0.0.2 len=128 spi=- frag=1480 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            ah              | 1234.567890 NO_SOCKET tcp 10.0.0.1:39873 > 10.0.0.2:443 len=128 flags=SYN spi=0x00000001 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            ah esp          | 1234.567890 NO_SOCKET esp 2001:db8::1 > 2001:db8::2 len=128 spi=0x00000001 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            ah cut off      | 1234.567890 NO_SOCKET ipv4 10.0.0.1 > 10.0.0.2 len=128 spi=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            ah too short    | 1234.567890 NO_SOCKET ipv4 10.0.0.1 > 10.0.0.2 len=128 spi=0x00000001 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
        "#]],
    );
}

#[test]
fn tunnels() {
    let udp = packets::udp();
    let udp6 = ipv6(17, &PORTS);
    let key = [0, 0, 0, 1];
    let inner = frame(&[], IPV4, &udp);
    check_packets(
        vec![
            ("ipip", IPV4, ipv4(4, &udp)),
            ("sit", IPV4, ipv4(41, &udp6)),
            ("ip6ip6", IPV6, ipv6(41, &udp6)),
            ("ip4ip6", IPV6, ipv6(4, &udp)),
            (
                "encap limit",
                IPV6,
                ipv6(60, &[&options(41, 0)[..], &udp6[..]].concat()),
            ),
            ("ipip tcp", IPV4, ipv4(4, &ipv4(6, &tcp(2)))),
            (
                "ipip later",
                IPV4,
                ipv4(4, &fragment(ipv4(17, &PORTS), 185)),
            ),
            ("later of ipip", IPV4, fragment(ipv4(4, &udp), 185)),
            ("ipip of what", IPV4, ipv4(4, &udp6)),
            ("ipip cut off", IPV4, ipv4(4, &udp[..19])),
            ("gre", IPV4, ipv4(47, &gre(0, &[], IPV4, &udp))),
            ("gre6", IPV4, ipv4(47, &gre(0, &[], IPV6, &udp6))),
            ("gre key", IPV4, ipv4(47, &gre(0x20, &key, IPV4, &udp))),
            (
                "gre all",
                IPV4,
                ipv4(
                    47,
                    &gre(0xb0, &[[0xff; 4], key, [0; 4]].concat(), IPV4, &udp),
                ),
            ),
            ("gretap", IPV6, ipv6(47, &gre(0, &[], ETHERNET, &inner))),
            ("gre arp", IPV4, ipv4(47, &gre(0, &[], ARP, &arp(1)))),
            ("gre mpls", IPV4, ipv4(47, &gre(0, &[], 0x8847, &[0; 4]))),
            ("gre keepalive", IPV4, ipv4(47, &gre(0, &[], 0, &[]))),
            ("gre route", IPV4, ipv4(47, &gre(0x40, &[], IPV4, &udp))),
            ("pptp", IPV4, ipv4(47, &[0x30, 1, 0x88, 0x0b, 0, 1, 0, 2])),
            (
                "gre key cut",
                IPV4,
                ipv4(47, &gre(0x20, &key[..3], IPV4, &[])),
            ),
            ("gre cut off", IPV4, ipv4(47, &[0])),
            ("later of gre", IPV4, fragment(ipv4(47, &[0; 8]), 185)),
        ],
        &expect![[r#"
            ipip            | 1234.567890 NO_SOCKET ipip 10.0.0.1 > 10.0.0.2 len=128 tunnel=ipip inner=udp,127.0.0.1:39873>127.0.0.1:9 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            sit             | 1234.567890 NO_SOCKET ipv6-in-ip 10.0.0.1 > 10.0.0.2 len=128 tunnel=sit inner=udp,[2001:db8::1]:39873>[2001:db8::2]:9 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            ip6ip6          | 1234.567890 NO_SOCKET ipv6-in-ip 2001:db8::1 > 2001:db8::2 len=128 tunnel=ip6ip6 inner=udp,[2001:db8::1]:39873>[2001:db8::2]:9 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            ip4ip6          | 1234.567890 NO_SOCKET ipip 2001:db8::1 > 2001:db8::2 len=128 tunnel=ip4ip6 inner=udp,127.0.0.1:39873>127.0.0.1:9 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            encap limit     | 1234.567890 NO_SOCKET ipv6-in-ip 2001:db8::1 > 2001:db8::2 len=128 tunnel=ip6ip6 inner=udp,[2001:db8::1]:39873>[2001:db8::2]:9 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            ipip tcp        | 1234.567890 NO_SOCKET ipip 10.0.0.1 > 10.0.0.2 len=128 tunnel=ipip inner=tcp,10.0.0.1:39873>10.0.0.2:443 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            ipip later      | 1234.567890 NO_SOCKET ipip 10.0.0.1 > 10.0.0.2 len=128 tunnel=ipip inner=udp,10.0.0.1:->10.0.0.2:- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            later of ipip   | 1234.567890 NO_SOCKET ipip 10.0.0.1 > 10.0.0.2 len=128 frag=1480 tunnel=ipip inner=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            ipip of what    | 1234.567890 NO_SOCKET ipip 10.0.0.1 > 10.0.0.2 len=128 tunnel=ipip inner=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            ipip cut off    | 1234.567890 NO_SOCKET ipip 10.0.0.1 > 10.0.0.2 len=128 tunnel=ipip inner=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            gre             | 1234.567890 NO_SOCKET gre 10.0.0.1 > 10.0.0.2 len=128 tunnel=gre inner=udp,127.0.0.1:39873>127.0.0.1:9 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            gre6            | 1234.567890 NO_SOCKET gre 10.0.0.1 > 10.0.0.2 len=128 tunnel=gre inner=udp,[2001:db8::1]:39873>[2001:db8::2]:9 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            gre key         | 1234.567890 NO_SOCKET gre 10.0.0.1 > 10.0.0.2 len=128 tunnel=gre/0x1 inner=udp,127.0.0.1:39873>127.0.0.1:9 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            gre all         | 1234.567890 NO_SOCKET gre 10.0.0.1 > 10.0.0.2 len=128 tunnel=gre/0x1 inner=udp,127.0.0.1:39873>127.0.0.1:9 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            gretap          | 1234.567890 NO_SOCKET gre 2001:db8::1 > 2001:db8::2 len=128 tunnel=gre inner=udp,127.0.0.1:39873>127.0.0.1:9 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            gre arp         | 1234.567890 NO_SOCKET gre 10.0.0.1 > 10.0.0.2 len=128 tunnel=gre inner=arp if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            gre mpls        | 1234.567890 NO_SOCKET gre 10.0.0.1 > 10.0.0.2 len=128 tunnel=gre inner=mpls if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            gre keepalive   | 1234.567890 NO_SOCKET gre 10.0.0.1 > 10.0.0.2 len=128 tunnel=gre inner=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            gre route       | 1234.567890 NO_SOCKET gre 10.0.0.1 > 10.0.0.2 len=128 tunnel=gre inner=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            pptp            | 1234.567890 NO_SOCKET gre 10.0.0.1 > 10.0.0.2 len=128 tunnel=gre inner=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            gre key cut     | 1234.567890 NO_SOCKET gre 10.0.0.1 > 10.0.0.2 len=128 tunnel=gre/- inner=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            gre cut off     | 1234.567890 NO_SOCKET gre 10.0.0.1 > 10.0.0.2 len=128 tunnel=gre/- inner=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            later of gre    | 1234.567890 NO_SOCKET gre 10.0.0.1 > 10.0.0.2 len=128 frag=1480 tunnel=gre/- inner=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
        "#]],
    );
}

#[test]
fn tunnels_over_udp() {
    let over = |port, payload: &[u8]| ipv4(17, &datagram(port, payload));
    let udp = packets::udp();
    let frame4 = frame(&[], IPV4, &udp);
    let tagged = frame(&[[SERVICE_VLAN, 10], [VLAN, 100]], IPV4, &udp);
    let too_many = frame(&[[VLAN, 1]; 3], IPV4, &udp);
    let mut reserved = vxlan(&frame4);
    reserved[7] = 1;
    let mut flags = vxlan(&frame4);
    flags[0] = 0x48;
    let mut version = geneve(&[], IPV4, &udp);
    version[0] = 0x40;
    check_packets(
        vec![
            ("vxlan", IPV4, over(4789, &vxlan(&frame4))),
            ("vxlan linux", IPV4, over(8472, &vxlan(&frame4))),
            (
                "vxlan6",
                IPV6,
                ipv6(17, &datagram(4789, &vxlan(&frame(&[], ARP, &[])))),
            ),
            (
                "vxlan 6",
                IPV4,
                over(4789, &vxlan(&frame(&[], IPV6, &ipv6(58, &[])))),
            ),
            ("vxlan tagged", IPV4, over(4789, &vxlan(&tagged))),
            ("vxlan tags", IPV4, over(4789, &vxlan(&too_many))),
            (
                "vxlan arp",
                IPV4,
                over(4789, &vxlan(&frame(&[], ARP, &arp(1)))),
            ),
            (
                "vxlan lldp",
                IPV4,
                over(4789, &vxlan(&frame(&[], 0x88cc, &[]))),
            ),
            (
                "vxlan other",
                IPV4,
                over(4789, &vxlan(&frame(&[], 0x88b5, &[]))),
            ),
            (
                "vxlan 802.3",
                IPV4,
                over(4789, &vxlan(&frame(&[], 38, &[0x42, 0x42]))),
            ),
            ("vxlan cut off", IPV4, over(4789, &vxlan(&frame4[..13]))),
            ("vxlan no frame", IPV4, over(4789, &vxlan(&[]))),
            ("no vxlan port", IPV4, over(4790, &vxlan(&frame4))),
            ("no vxlan bits", IPV4, over(4789, &reserved)),
            ("no vxlan flags", IPV4, over(4789, &flags)),
            ("no vxlan header", IPV4, over(4789, &vxlan(&frame4)[..7])),
            ("geneve", IPV4, over(6081, &geneve(&[], ETHERNET, &frame4))),
            (
                "geneve options",
                IPV4,
                over(6081, &geneve(&[0; 8], ETHERNET, &frame4)),
            ),
            ("geneve ip", IPV4, over(6081, &geneve(&[0; 4], IPV4, &udp))),
            (
                "geneve ip6",
                IPV4,
                over(6081, &geneve(&[], IPV6, &ipv6(6, &[]))),
            ),
            (
                "geneve cut off",
                IPV4,
                over(6081, &geneve(&[0; 40], IPV4, &[])[..20]),
            ),
            ("no geneve", IPV4, over(6081, &version)),
            ("no geneve type", IPV4, over(6081, &geneve(&[], 0, &udp))),
            (
                "later of vxlan",
                IPV4,
                fragment(over(4789, &vxlan(&frame4)), 185),
            ),
        ],
        &expect![[r#"
            vxlan           | 1234.567890 NO_SOCKET udp 10.0.0.1:39873 > 10.0.0.2:4789 len=128 tunnel=vxlan/100 inner=udp,127.0.0.1:39873>127.0.0.1:9 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            vxlan linux     | 1234.567890 NO_SOCKET udp 10.0.0.1:39873 > 10.0.0.2:8472 len=128 tunnel=vxlan/100 inner=udp,127.0.0.1:39873>127.0.0.1:9 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            vxlan6          | 1234.567890 NO_SOCKET udp [2001:db8::1]:39873 > [2001:db8::2]:4789 len=128 tunnel=vxlan/100 inner=arp if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            vxlan 6         | 1234.567890 NO_SOCKET udp 10.0.0.1:39873 > 10.0.0.2:4789 len=128 tunnel=vxlan/100 inner=icmpv6,2001:db8::1>2001:db8::2 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            vxlan tagged    | 1234.567890 NO_SOCKET udp 10.0.0.1:39873 > 10.0.0.2:4789 len=128 tunnel=vxlan/100 inner=udp,127.0.0.1:39873>127.0.0.1:9 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            vxlan tags      | 1234.567890 NO_SOCKET udp 10.0.0.1:39873 > 10.0.0.2:4789 len=128 tunnel=vxlan/100 inner=vlan if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            vxlan arp       | 1234.567890 NO_SOCKET udp 10.0.0.1:39873 > 10.0.0.2:4789 len=128 tunnel=vxlan/100 inner=arp if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            vxlan lldp      | 1234.567890 NO_SOCKET udp 10.0.0.1:39873 > 10.0.0.2:4789 len=128 tunnel=vxlan/100 inner=lldp if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            vxlan other     | 1234.567890 NO_SOCKET udp 10.0.0.1:39873 > 10.0.0.2:4789 len=128 tunnel=vxlan/100 inner=ethertype-0x88b5 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            vxlan 802.3     | 1234.567890 NO_SOCKET udp 10.0.0.1:39873 > 10.0.0.2:4789 len=128 tunnel=vxlan/100 inner=802.2 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            vxlan cut off   | 1234.567890 NO_SOCKET udp 10.0.0.1:39873 > 10.0.0.2:4789 len=128 tunnel=vxlan/100 inner=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            vxlan no frame  | 1234.567890 NO_SOCKET udp 10.0.0.1:39873 > 10.0.0.2:4789 len=128 tunnel=vxlan/100 inner=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            no vxlan port   | 1234.567890 NO_SOCKET udp 10.0.0.1:39873 > 10.0.0.2:4790 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            no vxlan bits   | 1234.567890 NO_SOCKET udp 10.0.0.1:39873 > 10.0.0.2:4789 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            no vxlan flags  | 1234.567890 NO_SOCKET udp 10.0.0.1:39873 > 10.0.0.2:4789 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            no vxlan header | 1234.567890 NO_SOCKET udp 10.0.0.1:39873 > 10.0.0.2:4789 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            geneve          | 1234.567890 NO_SOCKET udp 10.0.0.1:39873 > 10.0.0.2:6081 len=128 tunnel=geneve/100 inner=udp,127.0.0.1:39873>127.0.0.1:9 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            geneve options  | 1234.567890 NO_SOCKET udp 10.0.0.1:39873 > 10.0.0.2:6081 len=128 tunnel=geneve/100 inner=udp,127.0.0.1:39873>127.0.0.1:9 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            geneve ip       | 1234.567890 NO_SOCKET udp 10.0.0.1:39873 > 10.0.0.2:6081 len=128 tunnel=geneve/100 inner=udp,127.0.0.1:39873>127.0.0.1:9 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            geneve ip6      | 1234.567890 NO_SOCKET udp 10.0.0.1:39873 > 10.0.0.2:6081 len=128 tunnel=geneve/100 inner=tcp,[2001:db8::1]:->[2001:db8::2]:- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            geneve cut off  | 1234.567890 NO_SOCKET udp 10.0.0.1:39873 > 10.0.0.2:6081 len=128 tunnel=geneve/100 inner=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            no geneve       | 1234.567890 NO_SOCKET udp 10.0.0.1:39873 > 10.0.0.2:6081 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            no geneve type  | 1234.567890 NO_SOCKET udp 10.0.0.1:39873 > 10.0.0.2:6081 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            later of vxlan  | 1234.567890 NO_SOCKET udp 10.0.0.1:- > 10.0.0.2:- len=128 frag=1480 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
        "#]],
    );
    check_starts(
        IPV4,
        &over(4789, &vxlan(&frame4)),
        &expect![[r#"
             0 to 19 | 1234.567890 NO_SOCKET ipv4 - > - len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            20 to 23 | 1234.567890 NO_SOCKET udp 10.0.0.1:- > 10.0.0.2:- len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            24 to 35 | 1234.567890 NO_SOCKET udp 10.0.0.1:39873 > 10.0.0.2:4789 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            36 to 69 | 1234.567890 NO_SOCKET udp 10.0.0.1:39873 > 10.0.0.2:4789 len=128 tunnel=vxlan/100 inner=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            70 to 73 | 1234.567890 NO_SOCKET udp 10.0.0.1:39873 > 10.0.0.2:4789 len=128 tunnel=vxlan/100 inner=udp,127.0.0.1:->127.0.0.1:- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            74 to 82 | 1234.567890 NO_SOCKET udp 10.0.0.1:39873 > 10.0.0.2:4789 len=128 tunnel=vxlan/100 inner=udp,127.0.0.1:39873>127.0.0.1:9 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
        "#]],
    );
}

#[test]
fn vlans() {
    let udp = packets::udp();
    let one = frame(&[[VLAN, 0x6064]], IPV4, &udp);
    let two = frame(&[[SERVICE_VLAN, 10], [VLAN, 100]], IPV4, &udp);
    let three = frame(&[[VLAN, 1], [VLAN, 2], [VLAN, 3]], IPV4, &udp);
    let arp = frame(&[[VLAN, 100]], ARP, &arp(1));
    let plain = frame(&[], IPV4, &udp);
    let fields = |case: Case| case.fields(&[ExtraField::Mac]);
    let cases = vec![
        ("none", on_wire(IPV4, &plain, 14)),
        ("beside", beside(100, on_wire(IPV4, &plain, 14))),
        ("beside, no mac", beside(0x6064, on_wire(IPV4, &udp, 0))),
        // As received: the network header is the tag.
        ("tag", on_wire(VLAN, &one, 14)),
        ("two tags", on_wire(SERVICE_VLAN, &two, 14)),
        ("tag and beside", beside(10, on_wire(VLAN, &one, 14))),
        ("two and beside", beside(5, on_wire(SERVICE_VLAN, &two, 14))),
        ("three tags", on_wire(VLAN, &three, 14)),
        ("arp", on_wire(VLAN, &arp, 14)),
        // As put in: the network header is that of IP.
        ("inserted", on_wire(VLAN, &one, 18)),
        ("inserted two", on_wire(SERVICE_VLAN, &two, 22)),
        ("inserted one", on_wire(SERVICE_VLAN, &two, 18)),
        ("inserted arp", on_wire(VLAN, &arp, 18)),
        ("inserted three", on_wire(VLAN, &three, 26)),
        ("protocol inside", on_wire(IPV4, &one, 18)),
        // Nobody knows which of the two it is.
        ("no mac", on_wire(VLAN, &one[14..], 0)),
        ("no mac inserted", on_wire(VLAN, &udp, 0)),
        ("no mac, beside", beside(10, on_wire(VLAN, &one[14..], 0))),
        // The MAC header is none, or another packet's.
        ("other type", on_wire(IPV6, &plain, 14)),
        ("other place", on_wire(IPV4, &plain, 15)),
        ("other tag", on_wire(VLAN, &two, 14)),
        ("not a tag", on_wire(VLAN, &plain, 14)),
        ("short", on_wire(IPV4, &plain, 13)),
        ("far", on_wire(IPV4, &plain, 1000)),
        ("no type", on_wire(0, &plain, 14)),
    ];
    let cases = cases
        .into_iter()
        .map(|(label, case)| (label, fields(case)))
        .collect();
    check(
        cases,
        &expect![[r#"
            none            | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 mac=02:00:00:00:00:01>02:00:00:00:00:02 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            beside          | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 vlan=100 mac=02:00:00:00:00:01>02:00:00:00:00:02 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            beside, no mac  | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 vlan=100 mac=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            tag             | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 vlan=100 mac=02:00:00:00:00:01>02:00:00:00:00:02 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            two tags        | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 vlan=10.100 mac=02:00:00:00:00:01>02:00:00:00:00:02 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            tag and beside  | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 vlan=10.100 mac=02:00:00:00:00:01>02:00:00:00:00:02 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            two and beside  | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 vlan=5.10.100 mac=02:00:00:00:00:01>02:00:00:00:00:02 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            three tags      | 1234.567890 NO_SOCKET vlan - > - len=128 vlan=1.2.- mac=02:00:00:00:00:01>02:00:00:00:00:02 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            arp             | 1234.567890 NO_SOCKET arp 10.0.0.1 > 10.0.0.2 len=128 arp=request vlan=100 mac=02:00:00:00:00:01>02:00:00:00:00:02 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            inserted        | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 vlan=100 mac=02:00:00:00:00:01>02:00:00:00:00:02 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            inserted two    | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 vlan=10.100 mac=02:00:00:00:00:01>02:00:00:00:00:02 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            inserted one    | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 vlan=10.100 mac=02:00:00:00:00:01>02:00:00:00:00:02 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            inserted arp    | 1234.567890 NO_SOCKET arp 10.0.0.1 > 10.0.0.2 len=128 arp=request vlan=100 mac=02:00:00:00:00:01>02:00:00:00:00:02 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            inserted three  | 1234.567890 NO_SOCKET vlan - > - len=128 vlan=- mac=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            protocol inside | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 vlan=100 mac=02:00:00:00:00:01>02:00:00:00:00:02 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            no mac          | 1234.567890 NO_SOCKET vlan - > - len=128 vlan=- mac=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            no mac inserted | 1234.567890 NO_SOCKET vlan - > - len=128 vlan=- mac=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            no mac, beside  | 1234.567890 NO_SOCKET vlan - > - len=128 vlan=10.- mac=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            other type      | 1234.567890 NO_SOCKET ipv6 - > - len=128 mac=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            other place     | 1234.567890 NO_SOCKET ipv4 - > - len=128 mac=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            other tag       | 1234.567890 NO_SOCKET vlan - > - len=128 vlan=- mac=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            not a tag       | 1234.567890 NO_SOCKET vlan - > - len=128 vlan=- mac=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            short           | 1234.567890 NO_SOCKET ipv4 - > - len=128 mac=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            far             | 1234.567890 NO_SOCKET ipv4 - > - len=128 mac=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            no type         | 1234.567890 NO_SOCKET - - > - len=128 mac=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
        "#]],
    );

    let cut = |len| on_wire(VLAN, &one[..len], 14);
    let cut_inserted = |len| on_wire(VLAN, &one[..len], 18);
    check(
        vec![
            ("13", cut(13)),
            ("14", cut(14)),
            ("16", cut(16)),
            ("18", cut(18)),
            ("38", cut(38)),
            ("42", cut(42)),
            ("inserted 17", cut_inserted(17)),
            ("inserted 18", cut_inserted(18)),
            ("inserted 42", cut_inserted(42)),
        ],
        &expect![[r#"
            13              | 1234.567890 NO_SOCKET vlan - > - len=128 vlan=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            14              | 1234.567890 NO_SOCKET vlan - > - len=128 vlan=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            16              | 1234.567890 NO_SOCKET vlan - > - len=128 vlan=100.- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            18              | 1234.567890 NO_SOCKET ipv4 - > - len=128 vlan=100 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            38              | 1234.567890 NO_SOCKET udp 127.0.0.1:- > 127.0.0.1:- len=128 vlan=100 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            42              | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 vlan=100 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            inserted 17     | 1234.567890 NO_SOCKET vlan - > - len=128 vlan=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            inserted 18     | 1234.567890 NO_SOCKET ipv4 - > - len=128 vlan=100 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            inserted 42     | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 vlan=100 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
        "#]],
    );
}

#[test]
fn other_frames() {
    let llc = frame(&[], 38, &[0x42, 0x42, 3]);
    let tagged = frame(&[[VLAN, 100]], 38, &[0x42, 0x42, 3]);
    let case = |case: Case| case.fields(&[ExtraField::Mac]);
    check(
        vec![
            ("802.2", case(on_wire(0x0004, &llc, 14))),
            ("802.3", case(on_wire(0x0001, &llc, 14))),
            ("tagged 802.2", case(on_wire(VLAN, &tagged, 14))),
            ("inserted 802.2", case(on_wire(VLAN, &tagged, 18))),
            ("lldp", case(on_wire(0x88cc, &frame(&[], 0x88cc, &[2]), 14))),
            ("arp", case(on_wire(ARP, &frame(&[], ARP, &arp(2)), 14))),
        ],
        &expect![[r#"
            802.2           | 1234.567890 NO_SOCKET 802.2 - > - len=128 mac=02:00:00:00:00:01>02:00:00:00:00:02 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            802.3           | 1234.567890 NO_SOCKET 802.3 - > - len=128 mac=02:00:00:00:00:01>02:00:00:00:00:02 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            tagged 802.2    | 1234.567890 NO_SOCKET 802.2 - > - len=128 vlan=100 mac=02:00:00:00:00:01>02:00:00:00:00:02 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            inserted 802.2  | 1234.567890 NO_SOCKET 802.2 - > - len=128 vlan=100 mac=02:00:00:00:00:01>02:00:00:00:00:02 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            lldp            | 1234.567890 NO_SOCKET lldp - > - len=128 mac=02:00:00:00:00:01>02:00:00:00:00:02 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            arp             | 1234.567890 NO_SOCKET arp 10.0.0.1 > 10.0.0.2 len=128 arp=reply mac=02:00:00:00:00:01>02:00:00:00:00:02 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
        "#]],
    );
}

#[test]
fn fields_of_ip() {
    let fields = [ExtraField::Ext, ExtraField::Ipopt, ExtraField::Ttl];
    let of = |ethertype, packet: &[u8]| Case::default().packet(ethertype, packet).fields(&fields);
    let with = |options: &[u8]| of(IPV4, &with_options(&packets::udp(), options));
    let record_route = [1, 7, 7, 4, 0, 0, 0, 0];
    let three = [
        options(43, 0),
        options(44, 0),
        ipv6_fragment(60, 0, true),
        options(17, 0),
    ];
    let nine = [options(60, 0).repeat(8), options(17, 0), PORTS.to_vec()].concat();
    check(
        vec![
            ("no options", of(IPV4, &packets::udp())),
            ("router alert", with(&[148, 4, 0, 0])),
            ("two", with(&[&[148, 4, 0, 0][..], &record_route].concat())),
            ("unknown", with(&[205, 4, 0, 0])),
            ("padding", with(&[1, 1, 1, 0])),
            ("behind the end", with(&[0, 7, 7, 4])),
            ("too long", with(&[148, 4, 0, 0, 7, 9, 0, 0])),
            ("too short", with(&[68, 1, 0, 0])),
            ("one byte", with(&[1, 1, 1, 7])),
            ("no extensions", of(IPV6, &ipv6(17, &PORTS))),
            ("four", of(IPV6, &ipv6(0, &three.concat()))),
            ("auth", of(IPV6, &ipv6(51, &authentication(59)))),
            ("cut off", of(IPV6, &ipv6(0, &options(60, 0)))),
            ("later", of(IPV6, &ipv6(44, &ipv6_fragment(60, 1, true)))),
            ("nine", of(IPV6, &ipv6(60, &nine))),
            ("arp", of(ARP, &arp(1))),
            ("bad", of(IPV4, &[0x44; 30])),
        ],
        &expect![[r#"
            no options      | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 ttl=64 ipopt=none ext=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            router alert    | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 ttl=64 ipopt=ra ext=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            two             | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 ttl=64 ipopt=ra,rr ext=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            unknown         | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 ttl=64 ipopt=205 ext=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            padding         | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 ttl=64 ipopt=none ext=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            behind the end  | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 ttl=64 ipopt=none ext=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            too long        | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 ttl=64 ipopt=ra,rr,- ext=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            too short       | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 ttl=64 ipopt=ts,- ext=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            one byte        | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 ttl=64 ipopt=rr,- ext=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            no extensions   | 1234.567890 NO_SOCKET udp [2001:db8::1]:39873 > [2001:db8::2]:9 len=128 ttl=64 ipopt=- ext=none if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            four            | 1234.567890 NO_SOCKET udp [2001:db8::1]:- > [2001:db8::2]:- len=128 frag=0+ ttl=64 ipopt=- ext=hbh,route,frag,dst if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            auth            | 1234.567890 NO_SOCKET ipv6-nonxt 2001:db8::1 > 2001:db8::2 len=128 spi=0x00000001 ttl=64 ipopt=- ext=auth if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            cut off         | 1234.567890 NO_SOCKET ipv6 2001:db8::1 > 2001:db8::2 len=128 ttl=64 ipopt=- ext=hbh,dst,- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            later           | 1234.567890 NO_SOCKET ipv6 2001:db8::1 > 2001:db8::2 len=128 frag=8+ ttl=64 ipopt=- ext=frag,- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            nine            | 1234.567890 NO_SOCKET ipv6 2001:db8::1 > 2001:db8::2 len=128 ttl=64 ipopt=- ext=dst,dst,dst,dst,dst,dst,dst,dst,- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            arp             | 1234.567890 NO_SOCKET arp 10.0.0.1 > 10.0.0.2 len=128 arp=request ttl=- ipopt=- ext=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            bad             | 1234.567890 NO_SOCKET ipv4 - > - len=128 ttl=- ipopt=- ext=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
        "#]],
    );
}

#[test]
fn fields_of_tcp() {
    let fields = [ExtraField::Win, ExtraField::Seq, ExtraField::Ack];
    let of = |packet: &[u8]| Case::default().packet(IPV4, packet).fields(&fields);
    let mut header = tcp(0x10);
    header[4..8].copy_from_slice(&0xffff_fffe_u32.to_be_bytes());
    header[8..12].copy_from_slice(&7_u32.to_be_bytes());
    header[14..16].copy_from_slice(&65_535_u16.to_be_bytes());
    let mut syn = header.clone();
    syn[13] = 2;
    check(
        vec![
            ("ack", of(&ipv4(6, &header))),
            ("syn", of(&ipv4(6, &syn))),
            ("eight bytes", of(&ipv4(6, &header[..8]))),
            ("14 bytes", of(&ipv4(6, &header[..14]))),
            ("later", of(&fragment(ipv4(6, &header), MORE | 185))),
            ("udp", of(&packets::udp())),
        ],
        &expect![[r#"
            ack             | 1234.567890 NO_SOCKET tcp 10.0.0.1:39873 > 10.0.0.2:443 len=128 flags=ACK seq=4294967294 ack=7 win=65535 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            syn             | 1234.567890 NO_SOCKET tcp 10.0.0.1:39873 > 10.0.0.2:443 len=128 flags=SYN seq=4294967294 ack=- win=65535 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            eight bytes     | 1234.567890 NO_SOCKET tcp 10.0.0.1:39873 > 10.0.0.2:443 len=128 flags=- seq=4294967294 ack=- win=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            14 bytes        | 1234.567890 NO_SOCKET tcp 10.0.0.1:39873 > 10.0.0.2:443 len=128 flags=ACK seq=4294967294 ack=7 win=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            later           | 1234.567890 NO_SOCKET tcp 10.0.0.1:- > 10.0.0.2:- len=128 flags=- seq=- ack=- win=- frag=1480+ if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            udp             | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 seq=- ack=- win=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
        "#]],
    );
}

/// Everything that a line can have, in its order.
#[test]
fn all_fields() {
    let all = [
        ExtraField::Skb,
        ExtraField::Ifindex,
        ExtraField::Mac,
        ExtraField::Ext,
        ExtraField::Ipopt,
        ExtraField::Ttl,
        ExtraField::Win,
        ExtraField::Ack,
        ExtraField::Seq,
    ];
    let inner = frame(&[], IPV4, &packets::udp());
    let outer = fragment(ipv4(17, &datagram(4789, &vxlan(&inner))), MORE);
    let error = ipv4(1, &icmp(11, 0, &packets::udp()));
    let frame = |packet: &[u8]| frame(&[[VLAN, 100]], IPV4, packet);
    let case = |packet: &[u8]| {
        on_wire(VLAN, &frame(packet), 18)
            .fields(&all)
            .stack(&STACK[..4])
    };
    check(
        vec![
            ("tcp", case(&ipv4(6, &tcp(0x12)))),
            ("vxlan", beside(10, case(&outer))),
            ("error", case(&error)),
            ("nothing", on_wire(0, &[], 0).fields(&all)),
        ],
        &expect![[r#"
            tcp             | 1234.567890 NO_SOCKET tcp 10.0.0.1:39873 > 10.0.0.2:443 len=128 flags=SYN,ACK seq=1 ack=0 win=64 ttl=64 ipopt=none ext=- vlan=100 mac=02:00:00:00:00:01>02:00:00:00:00:02 if=eth0 ifindex=2 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840 skb=0xffff888102345600 stack=ip_protocol_deliver_rcu+0xb3
            vxlan           | 1234.567890 NO_SOCKET udp 10.0.0.1:39873 > 10.0.0.2:4789 len=128 seq=- ack=- win=- frag=0+ ttl=64 ipopt=none ext=- vlan=10.100 tunnel=vxlan/100 inner=udp,127.0.0.1:39873>127.0.0.1:9 mac=02:00:00:00:00:01>02:00:00:00:00:02 if=eth0 ifindex=2 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840 skb=0xffff888102345600 stack=ip_protocol_deliver_rcu+0xb3
            error           | 1234.567890 NO_SOCKET icmp 10.0.0.1 > 10.0.0.2 len=128 seq=- ack=- win=- icmp=time-exceeded/ttl ttl=64 ipopt=none ext=- vlan=100 quoted=udp,127.0.0.1:39873>127.0.0.1:9 mac=02:00:00:00:00:01>02:00:00:00:00:02 if=eth0 ifindex=2 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840 skb=0xffff888102345600 stack=ip_protocol_deliver_rcu+0xb3
            nothing         | 1234.567890 NO_SOCKET - - > - len=128 seq=- ack=- win=- ttl=- ipopt=- ext=- mac=- if=eth0 ifindex=2 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840 skb=0xffff888102345600
        "#]],
    );
}
