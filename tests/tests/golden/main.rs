//! From the bytes of a record to the line: decoding, names, text.
//!
//! Of each drop the JSON object is checked as well: by the schema, and against the line.
//!
//! Each test is a table of drops and the lines that they have to give, with the names of a real
//! kernel from `tests/fixtures`. No root is needed. `UPDATE_EXPECT=1 cargo test --package
//! dropwatch-tests --test golden` writes the lines anew: read the difference before you keep it.

mod case;
mod dissection;
mod json;
mod packets;
mod pcapng;
mod recorded;

use dropwatch::{
    decode::decode,
    format::{ExtraField, TimestampStyle},
};
use dropwatch_common::event::{HEADERS_LEN, present};
use expect_test::{Expect, expect};

use crate::{
    case::{Case, padded},
    packets::{
        IPV4, IPV6, MORE, PORTS, authentication, fragment, ipv4, ipv6, ipv6_fragment, options, tcp,
    },
};

/// Compares the lines of `cases`, each behind its label.
fn check(cases: Vec<(&str, Case)>, expected: &Expect) {
    let lines: String = cases
        .iter()
        .map(|(label, case)| format!("{label:<16}| {}\n", case.line()))
        .collect();
    expected.assert_eq(&lines);
}

/// [`check`] for packets alone.
fn check_packets(packets: Vec<(&str, u16, Vec<u8>)>, expected: &Expect) {
    let case = |(label, ethertype, bytes): (_, _, Vec<u8>)| {
        let case = Case::default().packet(ethertype, &bytes);
        (label, case)
    };
    check(packets.into_iter().map(case).collect(), expected);
}

#[test]
fn transport_protocols() {
    check_packets(
        vec![
            ("udp", IPV4, ipv4(17, &PORTS)),
            ("udp6", IPV6, ipv6(17, &PORTS)),
            ("udplite", IPV4, ipv4(136, &PORTS)),
            ("udplite6", IPV6, ipv6(136, &PORTS)),
            ("sctp", IPV4, ipv4(132, &PORTS)),
            ("sctp6", IPV6, ipv6(132, &PORTS)),
            ("tcp syn", IPV4, ipv4(6, &tcp(0x02))),
            ("tcp6 syn ack", IPV6, ipv6(6, &tcp(0x12))),
            ("tcp fin ack", IPV4, ipv4(6, &tcp(0x11))),
            ("tcp rst", IPV4, ipv4(6, &tcp(0x04))),
            ("tcp all", IPV4, ipv4(6, &tcp(0xff))),
            ("tcp none", IPV4, ipv4(6, &tcp(0))),
            ("echo", IPV4, ipv4(1, &[8, 0, 0, 0])),
            ("port unreach", IPV4, ipv4(1, &[3, 3, 0, 0])),
            ("solicitation", IPV6, ipv6(58, &[135, 0, 0, 0])),
            ("too big", IPV6, ipv6(58, &[2, 0, 0, 0])),
        ],
        &expect![[r#"
            udp             | 1234.567890 NO_SOCKET udp 10.0.0.1:39873 > 10.0.0.2:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            udp6            | 1234.567890 NO_SOCKET udp [2001:db8::1]:39873 > [2001:db8::2]:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            udplite         | 1234.567890 NO_SOCKET udplite 10.0.0.1:39873 > 10.0.0.2:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            udplite6        | 1234.567890 NO_SOCKET udplite [2001:db8::1]:39873 > [2001:db8::2]:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            sctp            | 1234.567890 NO_SOCKET sctp 10.0.0.1:39873 > 10.0.0.2:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            sctp6           | 1234.567890 NO_SOCKET sctp [2001:db8::1]:39873 > [2001:db8::2]:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            tcp syn         | 1234.567890 NO_SOCKET tcp 10.0.0.1:39873 > 10.0.0.2:443 len=128 flags=SYN if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            tcp6 syn ack    | 1234.567890 NO_SOCKET tcp [2001:db8::1]:39873 > [2001:db8::2]:443 len=128 flags=SYN,ACK if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            tcp fin ack     | 1234.567890 NO_SOCKET tcp 10.0.0.1:39873 > 10.0.0.2:443 len=128 flags=FIN,ACK if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            tcp rst         | 1234.567890 NO_SOCKET tcp 10.0.0.1:39873 > 10.0.0.2:443 len=128 flags=RST if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            tcp all         | 1234.567890 NO_SOCKET tcp 10.0.0.1:39873 > 10.0.0.2:443 len=128 flags=SYN,FIN,RST,PSH,ACK,URG,ECE,CWR if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            tcp none        | 1234.567890 NO_SOCKET tcp 10.0.0.1:39873 > 10.0.0.2:443 len=128 flags=none if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            echo            | 1234.567890 NO_SOCKET icmp 10.0.0.1 > 10.0.0.2 len=128 icmp=echo-request if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            port unreach    | 1234.567890 NO_SOCKET icmp 10.0.0.1 > 10.0.0.2 len=128 icmp=dest-unreachable/port quoted=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            solicitation    | 1234.567890 NO_SOCKET icmpv6 2001:db8::1 > 2001:db8::2 len=128 icmp=neighbor-solicitation if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            too big         | 1234.567890 NO_SOCKET icmpv6 2001:db8::1 > 2001:db8::2 len=128 icmp=packet-too-big quoted=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
        "#]],
    );
}

#[test]
fn protocols_without_ports() {
    check_packets(
        vec![
            ("igmp", IPV4, ipv4(2, &PORTS)),
            ("gre", IPV4, ipv4(47, &PORTS)),
            ("esp", IPV6, ipv6(50, &PORTS)),
            ("ipip", IPV4, ipv4(4, &packets::udp())),
            ("6in4", IPV4, ipv4(41, &PORTS)),
            ("no next", IPV6, ipv6(59, &PORTS)),
            ("unknown", IPV4, ipv4(253, &PORTS)),
            ("unknown6", IPV6, ipv6(254, &PORTS)),
            ("mobility", IPV6, ipv6(135, &PORTS)),
        ],
        &expect![[r#"
            igmp            | 1234.567890 NO_SOCKET igmp 10.0.0.1 > 10.0.0.2 len=128 igmp=155 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            gre             | 1234.567890 NO_SOCKET gre 10.0.0.1 > 10.0.0.2 len=128 tunnel=gre inner=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            esp             | 1234.567890 NO_SOCKET esp 2001:db8::1 > 2001:db8::2 len=128 spi=0x9bc10009 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            ipip            | 1234.567890 NO_SOCKET ipip 10.0.0.1 > 10.0.0.2 len=128 tunnel=ipip inner=udp,127.0.0.1:39873>127.0.0.1:9 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            6in4            | 1234.567890 NO_SOCKET ipv6-in-ip 10.0.0.1 > 10.0.0.2 len=128 tunnel=sit inner=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            no next         | 1234.567890 NO_SOCKET ipv6-nonxt 2001:db8::1 > 2001:db8::2 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            unknown         | 1234.567890 NO_SOCKET proto-253 10.0.0.1 > 10.0.0.2 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            unknown6        | 1234.567890 NO_SOCKET proto-254 2001:db8::1 > 2001:db8::2 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            mobility        | 1234.567890 NO_SOCKET proto-135 2001:db8::1 > 2001:db8::2 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
        "#]],
    );
}

#[test]
fn fragments() {
    let v6 = |offset, more, next, payload: &[u8]| {
        ipv6(44, &[&ipv6_fragment(next, offset, more), payload].concat())
    };
    check_packets(
        vec![
            ("first", IPV4, fragment(ipv4(17, &PORTS), MORE)),
            ("middle", IPV4, fragment(ipv4(17, &PORTS), MORE | 185)),
            ("last", IPV4, fragment(ipv4(17, &PORTS), 185)),
            ("tcp first", IPV4, fragment(ipv4(6, &tcp(0x18)), MORE)),
            ("tcp last", IPV4, fragment(ipv4(6, &tcp(0x18)), 185)),
            ("icmp last", IPV4, fragment(ipv4(1, &PORTS), 185)),
            ("gre last", IPV4, fragment(ipv4(47, &PORTS), 185)),
            (
                "ah last",
                IPV4,
                fragment(ipv4(51, &authentication(17)), 185),
            ),
            ("6 atomic", IPV6, v6(0, false, 17, &PORTS)),
            ("6 first", IPV6, v6(0, true, 17, &PORTS)),
            ("6 middle", IPV6, v6(185, true, 17, &PORTS)),
            ("6 last", IPV6, v6(185, false, 6, &tcp(0x18))),
            ("6 icmp last", IPV6, v6(185, false, 58, &PORTS)),
            // What the data would mean as an extension header must not be looked at.
            ("6 options last", IPV6, v6(185, false, 60, &options(17, 0))),
            (
                "6 options cut",
                IPV6,
                v6(185, false, 60, &options(17, 9)[..8]),
            ),
        ],
        &expect![[r#"
            first           | 1234.567890 NO_SOCKET udp 10.0.0.1:39873 > 10.0.0.2:9 len=128 frag=0+ if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            middle          | 1234.567890 NO_SOCKET udp 10.0.0.1:- > 10.0.0.2:- len=128 frag=1480+ if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            last            | 1234.567890 NO_SOCKET udp 10.0.0.1:- > 10.0.0.2:- len=128 frag=1480 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            tcp first       | 1234.567890 NO_SOCKET tcp 10.0.0.1:39873 > 10.0.0.2:443 len=128 flags=PSH,ACK frag=0+ if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            tcp last        | 1234.567890 NO_SOCKET tcp 10.0.0.1:- > 10.0.0.2:- len=128 flags=- frag=1480 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            icmp last       | 1234.567890 NO_SOCKET icmp 10.0.0.1 > 10.0.0.2 len=128 icmp=- frag=1480 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            gre last        | 1234.567890 NO_SOCKET gre 10.0.0.1 > 10.0.0.2 len=128 frag=1480 tunnel=gre/- inner=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            ah last         | 1234.567890 NO_SOCKET ipv4 10.0.0.1 > 10.0.0.2 len=128 spi=- frag=1480 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            6 atomic        | 1234.567890 NO_SOCKET udp [2001:db8::1]:39873 > [2001:db8::2]:9 len=128 frag=0 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            6 first         | 1234.567890 NO_SOCKET udp [2001:db8::1]:39873 > [2001:db8::2]:9 len=128 frag=0+ if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            6 middle        | 1234.567890 NO_SOCKET udp [2001:db8::1]:- > [2001:db8::2]:- len=128 frag=1480+ if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            6 last          | 1234.567890 NO_SOCKET tcp [2001:db8::1]:- > [2001:db8::2]:- len=128 flags=- frag=1480 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            6 icmp last     | 1234.567890 NO_SOCKET icmpv6 2001:db8::1 > 2001:db8::2 len=128 icmp=- frag=1480 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            6 options last  | 1234.567890 NO_SOCKET ipv6 2001:db8::1 > 2001:db8::2 len=128 frag=1480 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            6 options cut   | 1234.567890 NO_SOCKET ipv6 2001:db8::1 > 2001:db8::2 len=128 frag=1480 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
        "#]],
    );
}

#[test]
fn extension_headers() {
    let long = [options(60, 3), options(17, 5), PORTS.to_vec()].concat();
    check_packets(
        vec![
            (
                "hop by hop",
                IPV6,
                ipv6(0, &[&options(17, 0)[..], &PORTS].concat()),
            ),
            (
                "routing",
                IPV6,
                ipv6(43, &[&options(6, 2)[..], &tcp(2)].concat()),
            ),
            (
                "three",
                IPV6,
                ipv6(
                    0,
                    &[options(43, 0), options(60, 0), options(58, 1), vec![128, 0]].concat(),
                ),
            ),
            (
                "ah",
                IPV6,
                ipv6(51, &[&authentication(17)[..], &PORTS].concat()),
            ),
            (
                "ah4",
                IPV4,
                ipv4(51, &[&authentication(17)[..], &PORTS].concat()),
            ),
            ("nothing behind", IPV6, ipv6(60, &options(17, 0))),
            // Longer than what a record carries.
            ("too long", IPV6, ipv6(0, &long)),
            ("cut off", IPV6, ipv6(0, &options(17, 1)[..8])),
            (
                "hop in between",
                IPV6,
                ipv6(60, &[options(0, 0), options(17, 0)].concat()),
            ),
            ("ah4 cut off", IPV4, ipv4(51, &authentication(17)[..8])),
        ],
        &expect![[r#"
            hop by hop      | 1234.567890 NO_SOCKET udp [2001:db8::1]:39873 > [2001:db8::2]:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            routing         | 1234.567890 NO_SOCKET tcp [2001:db8::1]:39873 > [2001:db8::2]:443 len=128 flags=SYN if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            three           | 1234.567890 NO_SOCKET icmpv6 2001:db8::1 > 2001:db8::2 len=128 icmp=echo-request if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            ah              | 1234.567890 NO_SOCKET udp [2001:db8::1]:39873 > [2001:db8::2]:9 len=128 spi=0x00000001 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            ah4             | 1234.567890 NO_SOCKET udp 10.0.0.1:39873 > 10.0.0.2:9 len=128 spi=0x00000001 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            nothing behind  | 1234.567890 NO_SOCKET udp [2001:db8::1]:- > [2001:db8::2]:- len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            too long        | 1234.567890 NO_SOCKET udp [2001:db8::1]:39873 > [2001:db8::2]:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            cut off         | 1234.567890 NO_SOCKET ipv6 2001:db8::1 > 2001:db8::2 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            hop in between  | 1234.567890 NO_SOCKET udp [2001:db8::1]:- > [2001:db8::2]:- len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            ah4 cut off     | 1234.567890 NO_SOCKET ipv4 10.0.0.1 > 10.0.0.2 len=128 spi=0x00000001 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
        "#]],
    );
}

#[test]
fn ethertypes() {
    let other = |label, ethertype| (label, ethertype, packets::udp());
    let mut zero_ihl = packets::udp();
    zero_ihl[0] = 0x40;
    check_packets(
        vec![
            other("arp", 0x0806),
            other("rarp", 0x8035),
            other("vlan", 0x8100),
            other("qinq", 0x88a8),
            other("lldp", 0x88cc),
            other("mpls", 0x8847),
            other("802.2", 0x0004),
            other("unknown", 0x88b5),
            other("unknown small", 0x00fb),
            other("none", 0),
            ("4 says 6", IPV4, ipv6(17, &PORTS)),
            ("6 says 4", IPV6, packets::udp()),
            ("version 5", IPV4, vec![0x55; 40]),
            ("no room", IPV4, zero_ihl),
        ],
        &expect![[r#"
            arp             | 1234.567890 NO_SOCKET arp - > - len=128 arp=16384 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            rarp            | 1234.567890 NO_SOCKET rarp - > - len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            vlan            | 1234.567890 NO_SOCKET vlan - > - len=128 vlan=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            qinq            | 1234.567890 NO_SOCKET qinq - > - len=128 vlan=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            lldp            | 1234.567890 NO_SOCKET lldp - > - len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            mpls            | 1234.567890 NO_SOCKET mpls - > - len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            802.2           | 1234.567890 NO_SOCKET 802.2 - > - len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            unknown         | 1234.567890 NO_SOCKET ethertype-0x88b5 - > - len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            unknown small   | 1234.567890 NO_SOCKET ethertype-0x00fb - > - len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            none            | 1234.567890 NO_SOCKET - - > - len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            4 says 6        | 1234.567890 NO_SOCKET ipv4 - > - len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            6 says 4        | 1234.567890 NO_SOCKET ipv6 - > - len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            version 5       | 1234.567890 NO_SOCKET ipv4 - > - len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            no room         | 1234.567890 NO_SOCKET ipv4 - > - len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
        "#]],
    );
}

/// The line of each start of a packet, those of one line together.
fn check_starts(ethertype: u16, packet: &[u8], expected: &Expect) {
    let mut lines: Vec<(usize, usize, String)> = Vec::new();
    for len in 0..=packet.len() {
        let line = Case::default().packet(ethertype, &packet[..len]).line();
        match lines.last_mut() {
            Some((_, last, same)) if *same == line => *last = len,
            _ => lines.push((len, len, line)),
        }
    }
    let lines: String = lines
        .iter()
        .map(|(first, last, line)| format!("{first:>2} to {last:>2} | {line}\n"))
        .collect();
    expected.assert_eq(&lines);
}

#[test]
fn headers_that_are_cut_off() {
    check_starts(
        IPV4,
        &packets::udp(),
        &expect![[r#"
             0 to 19 | 1234.567890 NO_SOCKET ipv4 - > - len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            20 to 23 | 1234.567890 NO_SOCKET udp 127.0.0.1:- > 127.0.0.1:- len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            24 to 32 | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
        "#]],
    );
    check_starts(
        IPV4,
        &ipv4(6, &tcp(0x02)),
        &expect![[r#"
             0 to 19 | 1234.567890 NO_SOCKET ipv4 - > - len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            20 to 23 | 1234.567890 NO_SOCKET tcp 10.0.0.1:- > 10.0.0.2:- len=128 flags=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            24 to 33 | 1234.567890 NO_SOCKET tcp 10.0.0.1:39873 > 10.0.0.2:443 len=128 flags=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            34 to 40 | 1234.567890 NO_SOCKET tcp 10.0.0.1:39873 > 10.0.0.2:443 len=128 flags=SYN if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
        "#]],
    );
    let icmpv6 = [&options(58, 0)[..], &[128, 0, 0, 0]].concat();
    check_starts(
        IPV6,
        &ipv6(0, &icmpv6),
        &expect![[r#"
             0 to 39 | 1234.567890 NO_SOCKET ipv6 - > - len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            40 to 47 | 1234.567890 NO_SOCKET ipv6 2001:db8::1 > 2001:db8::2 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            48 to 49 | 1234.567890 NO_SOCKET icmpv6 2001:db8::1 > 2001:db8::2 len=128 icmp=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            50 to 52 | 1234.567890 NO_SOCKET icmpv6 2001:db8::1 > 2001:db8::2 len=128 icmp=echo-request if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
        "#]],
    );
    const { assert!(HEADERS_LEN >= 96, "all of the packets above are shorter") };
}

#[test]
fn what_can_not_be_known() {
    let case = Case::default;
    check(
        vec![
            ("no reason", case().without(present::REASON)),
            ("no device", case().without(present::DEV)),
            ("no netns", case().without(present::NETNS)),
            ("no packet", case().without(present::SKB)),
            ("no headers", case().event(|event| event.headers_len = 0)),
            ("no call site", case().event(|event| event.location = 0)),
            (
                "nothing",
                case()
                    .without(u32::MAX)
                    .event(|event| event.headers_len = 0),
            ),
        ],
        &expect![[r#"
            no reason       | 1234.567890 - udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=drop at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            no device       | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=- class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            no netns        | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=-
            no packet       | 1234.567890 NO_SOCKET - - > - len=- if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            no headers      | 1234.567890 NO_SOCKET ipv4 - > - len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            no call site    | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=- pid=28371 comm=flood owner=- netns=4026531840
            nothing         | 1234.567890 - - - > - len=- if=- class=drop at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=-
        "#]],
    );
}

#[test]
fn reasons() {
    let on = |kernel, reason| {
        let case = Case {
            kernel,
            ..Case::default()
        };
        case.at("tcp_v4_rcv", 0x10)
            .event(|event| event.reason = reason)
    };
    check(
        vec![
            ("5.10", on("5.10", 0).without(present::REASON)),
            ("6.1", on("6.1", 2)),
            ("6.12", on("6.12", 3)),
            ("7.3", on("7.3", 12)),
            ("unknown", on("6.12", 60_000)),
            ("openvswitch", on("6.12", 196_609)),
            ("unknown in it", on("6.12", 196_700)),
            ("no subsystem", on("6.12", 5 << 16 | 7)),
            ("qdisc", on("7.3", 196_610)),
            ("largest", on("7.3", u32::MAX)),
        ],
        &expect![[r#"
            5.10            | 1234.567890 - udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=drop at=tcp_v4_rcv+0x10 pid=28371 comm=flood owner=- netns=4026531840
            6.1             | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=tcp_v4_rcv+0x10 pid=28371 comm=flood owner=- netns=4026531840
            6.12            | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=tcp_v4_rcv+0x10 pid=28371 comm=flood owner=- netns=4026531840
            7.3             | 1234.567890 NETFILTER_DROP udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=drop at=tcp_v4_rcv+0x10 pid=28371 comm=flood owner=- netns=4026531840
            unknown         | 1234.567890 60000 udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=drop at=tcp_v4_rcv+0x10 pid=28371 comm=flood owner=- netns=4026531840
            openvswitch     | 1234.567890 openvswitch:LAST_ACTION udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=drop at=tcp_v4_rcv+0x10 pid=28371 comm=flood owner=- netns=4026531840
            unknown in it   | 1234.567890 openvswitch:92 udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=drop at=tcp_v4_rcv+0x10 pid=28371 comm=flood owner=- netns=4026531840
            no subsystem    | 1234.567890 subsys5:7 udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=drop at=tcp_v4_rcv+0x10 pid=28371 comm=flood owner=- netns=4026531840
            qdisc           | 1234.567890 qdisc:OVERLIMIT udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=drop at=tcp_v4_rcv+0x10 pid=28371 comm=flood owner=- netns=4026531840
            largest         | 1234.567890 subsys65535:65535 udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=drop at=tcp_v4_rcv+0x10 pid=28371 comm=flood owner=- netns=4026531840
        "#]],
    );
}

#[test]
fn names() {
    let comm = |name: &[u8]| Case::default().event(|event| event.comm = padded(name));
    let device = |name: &[u8]| Case::default().event(|event| event.ifname = padded(name));
    let idle = comm(b"swapper/0").event(|event| event.tgid = 0);
    check(
        vec![
            ("idle", idle),
            ("empty", comm(b"")),
            ("dash", comm(b"-")),
            ("space", comm(b"tmux: server")),
            ("new line", comm(b"a\nb\r\tc")),
            ("terminal", comm(b"\x1b]0;x\x07\x7f")),
            ("backslash", comm(b"a\\x20b")),
            ("key", comm(b"x owner=1,y")),
            ("utf-8", comm("größe".as_bytes())),
            ("bidi", comm("\u{202e}gpj".as_bytes())),
            ("not utf-8", comm(b"\xff\xc3\x28")),
            ("not terminated", comm(b"sixteen-bytes-xx")),
            ("behind the end", comm(b"a\0b")),
            ("device", device(b"wg0.100@if:2")),
            ("device space", device(b"a b")),
            ("device dash", device(b"-")),
            ("device nothing", device(b"")),
            ("device cut", device(b"0123456789abcde")),
        ],
        &expect![[r#"
            idle            | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=0 comm=swapper/0 owner=- netns=4026531840
            empty           | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=- owner=- netns=4026531840
            dash            | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=\x2d owner=- netns=4026531840
            space           | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=tmux:\x20server owner=- netns=4026531840
            new line        | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=a\x0ab\x0d\x09c owner=- netns=4026531840
            terminal        | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=\x1b]0;x\x07\x7f owner=- netns=4026531840
            backslash       | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=a\x5cx20b owner=- netns=4026531840
            key             | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=x\x20owner=1,y owner=- netns=4026531840
            utf-8           | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=gr\xc3\xb6\xc3\x9fe owner=- netns=4026531840
            bidi            | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=\xe2\x80\xaegpj owner=- netns=4026531840
            not utf-8       | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=\xff\xc3( owner=- netns=4026531840
            not terminated  | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=sixteen-bytes-xx owner=- netns=4026531840
            behind the end  | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=a owner=- netns=4026531840
            device          | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=wg0.100@if:2 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            device space    | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=a\x20b class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            device dash     | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=\x2d class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            device nothing  | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=- class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            device cut      | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=0123456789abcde class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
        "#]],
    );
}

/// The way of a UDP datagram to a closed port, from the inside out.
const STACK: [(&str, u64); 6] = [
    ("", 0xffff_ffff_c000_1000),
    ("sk_skb_reason_drop", 0x6a),
    ("__udp4_lib_rcv", 0x4bc),
    ("ip_protocol_deliver_rcu", 0xb3),
    ("ip_local_deliver_finish", 0x81),
    ("__netif_receive_skb_one_core", 0x8d),
];

#[test]
fn stacks() {
    let by_id = || Case::default().stack(&STACK);
    let depth = |depth| Case { depth, ..by_id() };
    let gone = Case {
        stack: None,
        ..by_id()
    };
    // In the record and in the map: the id counts.
    let both = Case {
        stack: by_id().stack,
        ..Case::default().frames(&STACK[..4]).stack(&STACK)
    };
    let netfilter = [
        ("sk_skb_reason_drop", 0x6a),
        ("nft_do_chain", 0x3e8),
        ("nf_hook_slow", 0x43),
        ("ip_local_deliver", 0xe2),
        ("", 0xffff_ffff_0000_0001),
    ];
    let itself = [
        ("sk_skb_reason_drop", 0x6a),
        ("net_rx_action", 0x123),
        ("do_softirq", 0x12),
    ];
    check(
        vec![
            ("by id", by_id()),
            ("in the record", Case::default().frames(&STACK)),
            ("both", both),
            ("none", Case::default().frames(&[])),
            ("not in the map", gone),
            ("two callers", depth(2)),
            ("off", depth(0)),
            ("another one", by_id().at("tcp_v4_rcv", 0x10)),
            ("ends with it", Case::default().frames(&STACK[..3])),
            (
                "module",
                Case::default().at("nft_do_chain", 0x3e8).stack(&netfilter),
            ),
            (
                "its own start",
                Case::default().at("net_rx_action", 0).stack(&itself),
            ),
        ],
        &expect![[r#"
            by id           | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840 stack=ip_protocol_deliver_rcu+0xb3,ip_local_deliver_finish+0x81,__netif_receive_skb_one_core+0x8d
            in the record   | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840 stack=ip_protocol_deliver_rcu+0xb3,ip_local_deliver_finish+0x81,__netif_receive_skb_one_core+0x8d
            both            | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840 stack=ip_protocol_deliver_rcu+0xb3,ip_local_deliver_finish+0x81,__netif_receive_skb_one_core+0x8d
            none            | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840 stack=-
            not in the map  | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840 stack=-
            two callers     | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840 stack=ip_protocol_deliver_rcu+0xb3,ip_local_deliver_finish+0x81
            off             | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            another one     | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=tcp_v4_rcv+0x10 pid=28371 comm=flood owner=- netns=4026531840 stack=-
            ends with it    | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840 stack=-
            module          | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=nft_do_chain+0x3e8[nf_tables] pid=28371 comm=flood owner=- netns=4026531840 stack=nf_hook_slow+0x43,ip_local_deliver+0xe2,0xffffffff00000001
            its own start   | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=net_rx_action+0x0 pid=28371 comm=flood owner=- netns=4026531840 stack=do_softirq+0x12
        "#]],
    );
}

#[test]
fn call_sites() {
    let on = |kernel, function| {
        let case = Case {
            kernel,
            ..Case::default()
        };
        case.without(present::REASON).at(function, 0x10)
    };
    let at = |location| Case::default().event(|event| event.location = location);
    check(
        vec![
            ("5.10", on("5.10", "__udp4_lib_rcv")),
            ("6.1", on("6.1", "nft_do_chain")),
            ("6.12", on("6.12", "__netif_receive_skb_core.constprop.0")),
            ("7.3", on("7.3", "nft_do_chain")),
            ("before all", at(0xffff_ffff_0000_1234)),
            ("behind all", at(u64::MAX)),
            ("user space", at(0x7fff_1234)),
        ],
        &expect![[r#"
            5.10            | 1234.567890 - udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=drop at=__udp4_lib_rcv+0x10 pid=28371 comm=flood owner=- netns=4026531840
            6.1             | 1234.567890 - udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=drop at=nft_do_chain+0x10[nf_tables] pid=28371 comm=flood owner=- netns=4026531840
            6.12            | 1234.567890 - udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=drop at=__netif_receive_skb_core.constprop.0+0x10 pid=28371 comm=flood owner=- netns=4026531840
            7.3             | 1234.567890 - udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=drop at=nft_do_chain+0x10[nf_tables] pid=28371 comm=flood owner=- netns=4026531840
            before all      | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=0xffffffff00001234 pid=28371 comm=flood owner=- netns=4026531840
            behind all      | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=0xffffffffffffffff pid=28371 comm=flood owner=- netns=4026531840
            user space      | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=0x7fff1234 pid=28371 comm=flood owner=- netns=4026531840
        "#]],
    );
}

#[test]
fn extra_fields() {
    let fields = |fields: &[ExtraField]| Case::default().stack(&STACK[..4]).fields(fields);
    check(
        vec![
            ("skb", fields(&[ExtraField::Skb])),
            ("ifindex", fields(&[ExtraField::Ifindex])),
            ("both", fields(&[ExtraField::Skb, ExtraField::Ifindex])),
            (
                "no device",
                fields(&[ExtraField::Ifindex]).without(present::DEV),
            ),
            (
                "skb 0",
                fields(&[ExtraField::Skb]).event(|event| event.skb = 0),
            ),
        ],
        &expect![[r#"
            skb             | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840 skb=0xffff888102345600 stack=ip_protocol_deliver_rcu+0xb3
            ifindex         | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 ifindex=2 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840 stack=ip_protocol_deliver_rcu+0xb3
            both            | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 ifindex=2 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840 skb=0xffff888102345600 stack=ip_protocol_deliver_rcu+0xb3
            no device       | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=- ifindex=- class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840 stack=ip_protocol_deliver_rcu+0xb3
            skb 0           | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840 skb=0x0 stack=ip_protocol_deliver_rcu+0xb3
        "#]],
    );
}

#[test]
fn samples() {
    check(
        vec![
            ("all", Case::default()),
            ("one of ten", Case::default().sample(10)),
            (
                "with fields",
                Case::default().sample(2).fields(&[ExtraField::Ifindex]),
            ),
        ],
        &expect![[r#"
            all             | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            one of ten      | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused sample=10 at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            with fields     | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 ifindex=2 class=refused sample=2 at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
        "#]],
    );
}

#[test]
fn places_in_the_source() {
    check(
        vec![
            ("inlined", Case::default().source(packets::positions())),
            ("unknown", Case::default().source(Vec::new())),
        ],
        &expect![[r#"
            inlined         | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc source=include/linux/sk\x20buff.h:1262,net/ipv4/udp.c:2381 pid=28371 comm=flood owner=- netns=4026531840
            unknown         | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc source=- pid=28371 comm=flood owner=- netns=4026531840
        "#]],
    );
}

#[test]
fn times() {
    let style = |style| Case::default().options(|options| options.timestamp = style);
    let boot = |time_ns| Case::default().event(|event| event.time_ns = time_ns);
    check(
        vec![
            ("boot", style(TimestampStyle::Boot)),
            ("boot 0", boot(0)),
            ("boot 999 ns", boot(999)),
            ("boot largest", boot(u64::MAX)),
            // The enricher has not looked at the clock, and takes boot for 1970.
            ("utc", style(TimestampStyle::Utc)),
            ("delta", style(TimestampStyle::Delta)),
            ("none", style(TimestampStyle::None)),
        ],
        &expect![[r#"
            boot            | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            boot 0          | 0.000000 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            boot 999 ns     | 0.000000 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            boot largest    | 18446744073.709551 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            utc             | 1970-01-01T00:20:34.567890Z NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            delta           | +0.000000 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            none            | NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
        "#]],
    );
}

#[test]
fn terminals() {
    let width = |width| {
        Case::default()
            .stack(&STACK)
            .options(|options| options.width = Some(width))
    };
    let whole = Case::default().stack(&STACK).line().len();
    let off = Case {
        depth: 0,
        ..width(20)
    };
    let unknown = Case {
        stack: None,
        ..width(20)
    };
    check(
        vec![
            ("wide", width(1000)),
            ("as wide", width(whole)),
            ("one less", width(whole - 1)),
            ("narrow", width(160)),
            ("too narrow", width(80)),
            ("no column", width(0)),
            ("no stack", off),
            ("unknown stack", unknown),
        ],
        &expect![[r#"
            wide            | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840 stack=ip_protocol_deliver_rcu+0xb3,ip_local_deliver_finish+0x81,__netif_receive_skb_one_core+0x8d
            as wide         | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840 stack=ip_protocol_deliver_rcu+0xb3,ip_local_deliver_finish+0x81,__netif_receive_skb_one_core+0x8d
            one less        | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840 stack=ip_protocol_deliver_rcu+0xb3,ip_local_deliver_finish+0x81,__netif_receive_skb_one_core+0x…
            narrow          | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840 stack=…
            too narrow      | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840 stack=…
            no column       | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840 stack=…
            no stack        | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            unknown stack   | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840 stack=-
        "#]],
    );
}

/// The packet's socket: address family, IP protocol, state.
fn of_socket(family: u16, protocol: u8, state: u8) -> Case {
    Case::default().event(|event| {
        event.present |= present::SOCKET;
        event.socket_family = family;
        event.socket_protocol = protocol;
        event.socket_state = state;
    })
}

#[test]
fn sockets_and_their_owners() {
    let of_family = |family| {
        let case = of_socket(family, 0, 7).event(|event| {
            event.ethertype = 0;
            event.headers_len = 0;
        });
        case.without(present::DEV)
    };
    let owned = of_socket(2, 17, 7).event(|event| {
        event.present |= present::SOCKET_INODE | present::OWNER;
        event.socket_inode = 77;
        event.owner_tgid = 812;
        event.owner_comm = padded("dns masq");
    });
    let state = |protocol, state| of_socket(2, protocol, state).fields(&[ExtraField::State]);
    check(
        vec![
            ("owned", owned.clone()),
            ("not any more", owned.without(present::OWNER)),
            ("unix", of_family(1)),
            ("netlink", of_family(16)),
            ("unnamed family", of_family(200)),
            ("no ethertype", of_family(2)),
            ("listening", state(6, 10)),
            ("request", state(0, 12)),
            ("time wait", state(0, 6)),
            ("unknown state", state(6, 99)),
            ("not tcp", state(17, 7)),
            ("no socket", state(6, 1).without(present::SOCKET)),
        ],
        &expect![[r#"
            owned           | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=dns\x20masq[812] netns=4026531840
            not any more    | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            unix            | 1234.567890 NO_SOCKET unix - > - len=128 if=- class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            netlink         | 1234.567890 NO_SOCKET netlink - > - len=128 if=- class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            unnamed family  | 1234.567890 NO_SOCKET - - > - len=128 if=- class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            no ethertype    | 1234.567890 NO_SOCKET - - > - len=128 if=- class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            listening       | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 state=LISTEN class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            request         | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 state=NEW_SYN_RECV class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            time wait       | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 state=TIME_WAIT class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            unknown state   | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 state=- class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            not tcp         | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 state=- class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            no socket       | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 state=- class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
        "#]],
    );
}

#[test]
fn what_the_kernel_keeps_beside_the_packet() {
    let fields = [
        ExtraField::Gso,
        ExtraField::Ifindex,
        ExtraField::Iif,
        ExtraField::Queue,
        ExtraField::Dir,
        ExtraField::Mark,
        ExtraField::Prio,
        ExtraField::Hash,
        ExtraField::Unit,
    ];
    let case = || Case::default().fields(&fields);
    let gso = |size, segs| {
        case().event(|event| {
            event.present |= present::GSO;
            (event.gso_size, event.gso_segs) = (size, segs);
        })
    };
    check(
        vec![
            ("received", case()),
            ("moved on", case().event(|event| event.iif = 7)),
            ("local", case().event(|event| event.iif = 1)),
            ("forwarded", case().forwarded_by("ip_forward")),
            (
                "transmitted",
                case().event(|event| {
                    event.iif = 0;
                    event.present |= present::DST;
                }),
            ),
            ("unknown way", case().event(|event| event.iif = 0)),
            ("gso", gso(1448, 23)),
            ("not counted", gso(1448, 0)),
            ("one segment", gso(1448, 1)),
            ("nothing", case().without(u32::MAX)),
        ],
        &expect![[r#"
            received        | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 gso=- if=eth0 ifindex=2 iif=2 queue=3 dir=rx mark=0x2a prio=0x6 hash=0x1234abcd class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840 unit=-
            moved on        | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 gso=- if=eth0 ifindex=2 iif=7 queue=3 dir=- mark=0x2a prio=0x6 hash=0x1234abcd class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840 unit=-
            local           | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 gso=- if=eth0 ifindex=2 iif=1 queue=3 dir=local mark=0x2a prio=0x6 hash=0x1234abcd class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840 unit=-
            forwarded       | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 gso=- if=eth0 ifindex=2 iif=2 queue=3 dir=fwd mark=0x2a prio=0x6 hash=0x1234abcd class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840 unit=-
            transmitted     | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 gso=- if=eth0 ifindex=2 iif=- queue=3 dir=tx mark=0x2a prio=0x6 hash=0x1234abcd class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840 unit=-
            unknown way     | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 gso=- if=eth0 ifindex=2 iif=- queue=3 dir=- mark=0x2a prio=0x6 hash=0x1234abcd class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840 unit=-
            gso             | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 segs=23 gso=1448 if=eth0 ifindex=2 iif=2 queue=3 dir=rx mark=0x2a prio=0x6 hash=0x1234abcd class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840 unit=-
            not counted     | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 segs=- gso=1448 if=eth0 ifindex=2 iif=2 queue=3 dir=rx mark=0x2a prio=0x6 hash=0x1234abcd class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840 unit=-
            one segment     | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 gso=1448 if=eth0 ifindex=2 iif=2 queue=3 dir=rx mark=0x2a prio=0x6 hash=0x1234abcd class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840 unit=-
            nothing         | 1234.567890 - - - > - len=- gso=- if=- ifindex=- iif=- queue=- dir=- mark=- prio=- hash=- class=drop at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=- unit=-
        "#]],
    );
}

#[test]
fn classes_of_drops() {
    // As numbered on 6.12.
    const OTHERHOST: u32 = 12;
    const NETFILTER: u32 = 11;
    let case = Case::default;
    let reason = |number| case().event(|event| event.reason = number);
    check(
        vec![
            ("no socket", case()),
            ("netfilter", reason(NETFILTER)),
            ("other host", reason(OTHERHOST)),
            (
                "no reason",
                Case {
                    kernel: "5.10",
                    ..case()
                }
                .without(present::REASON),
            ),
        ],
        &expect![[r#"
            no socket       | 1234.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            netfilter       | 1234.567890 NETFILTER_DROP udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=drop at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            other host      | 1234.567890 OTHERHOST udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=expected at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
            no reason       | 1234.567890 - udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=drop at=0xffffffffbcaff4fc pid=28371 comm=flood owner=- netns=4026531840
        "#]],
    );
}

#[test]
fn the_perf_buffer_pads_its_records() {
    for case in [
        Case::default().stack(&STACK),
        Case::default().frames(&STACK),
    ] {
        for padding in 1..8 {
            let padded = Case {
                padding,
                ..case.clone()
            };
            assert_eq!(padded.line(), case.line());
        }
    }
}

#[test]
fn what_is_not_a_record() {
    let record = Case::default().frames(&STACK).record();
    assert!(decode(&record).is_some());
    for len in 0..record.len() {
        assert_eq!(decode(&record[..len]), None, "{len} bytes");
    }
    let longer = [&record[..], &[0; 8]].concat();
    assert_eq!(decode(&longer), None);
    let too_many_headers =
        Case::default().event(|event| event.headers_len = HEADERS_LEN as u16 + 1);
    assert_eq!(decode(&too_many_headers.record()), None);
    let too_many_frames = Case {
        frames: vec![1; 128],
        ..Case::default()
    };
    assert_eq!(decode(&too_many_frames.record()), None);
}
