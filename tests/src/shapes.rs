//! Packets of every shape: hand-made frames, dropped before anybody looks at them.
//!
//! Each shape has addresses of its own (10.99.0.0/24, fd99::/16), by which its lines are told
//! apart.

use std::net::Ipv6Addr;

use anyhow::Result;

use crate::{
    frames::{
        AH, ESP, ETH_ARP, ETH_BRIDGE, ETH_IPV4, ETH_IPV6, ETH_LOCAL, ETH_QINQ, ETH_VLAN,
        GENEVE_PORT, GRE, ICMP, ICMPV6, IGMP, IPIP, IPV6, SCTP, SUBJECT, SUBJECT6, TCP, UDP,
        VXLAN_PORT, ethernet, ipv4, ipv4_between, ipv6, ipv6_between, shape6, to_subject, typed,
        udp, vlan,
    },
    kernel::Kernel,
    scenario::{BASE, REASONS, Scenario},
    traffic::{self, Packet},
    world::{PEER_MAC, SUBJECT_MAC, World},
};

/// Everything that arrives at the subject is dropped at once, as early as it can be seen.
pub(crate) const DROP_INGRESS: Scenario = Scenario {
    modules: &["sch_ingress", "cls_bpf"],
    set_up: &[
        "tc qdisc add dev v0 clsact",
        "tc filter add dev v0 ingress bpf direct-action bytecode '1,6 0 0 2,'",
    ],
    reasons: &[(REASONS, "TC_INGRESS")],
    through: "__netif_receive_skb_core",
    device: "v0",
    class: Some("drop"),
    ..BASE
};

/// The scenarios of hand-made frames.
pub static SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "shapes",
        traffic: |world| arrive(world, shapes()),
        tokens: &[
            ("mac", "02:00:00:00:00:02>02:00:00:00:00:01"),
            ("dir", "rx"),
        ],
        ..DROP_INGRESS
    },
    Scenario {
        // On the way out the tag is still in the packet's bytes.
        name: "vlan_sent",
        modules: &["sch_ingress", "cls_bpf"],
        set_up: &[
            "tc qdisc add dev v0 clsact",
            "tc filter add dev v0 egress bpf direct-action bytecode '1,6 0 0 2,'",
        ],
        traffic: |world| {
            let tagged = vlan(ETH_VLAN, 100, ETH_IPV4, &udp_packet(1));
            let frame = ethernet(PEER_MAC, SUBJECT_MAC, &tagged);
            world
                .subject
                .run(|| traffic::whole_frames("v0", &vec![frame; COPIES]))?;
            Ok(udp_line(1).times(COPIES))
        },
        reasons: &[(REASONS, "TC_EGRESS")],
        through: "__dev_queue_xmit",
        device: "v0",
        class: Some("drop"),
        sender_on_cpu: true,
        sender_owns: true,
        tokens: &[("vlan", "100"), ("dir", "tx")],
        ..BASE
    },
    Scenario {
        // A frame of a VLAN that the subject has no device for: the kernel takes the tag off
        // before it gives the packet up, so a line can't show it.
        name: "vlan_unknown",
        traffic: |world| {
            let tagged = vlan(ETH_VLAN, 100, ETH_IPV4, &udp_packet(2));
            send(world, &vec![to_subject(&tagged); COPIES])?;
            Ok(udp_line(2).times(COPIES))
        },
        reasons: &[(REASONS, "OTHERHOST")],
        through: "ip_rcv|ip_rcv_core|ip_list_rcv",
        device: "v0",
        class: Some("expected"),
        ..BASE
    },
    Scenario {
        name: "vxlan_unknown",
        modules: &["vxlan"],
        set_up: &[
            "ip link add vx0 type vxlan id 1 dstport 4789 dev v0",
            "ip link set vx0 up",
        ],
        traffic: |world| {
            let packet = ipv4(
                UDP,
                3,
                &tunnel_header(VXLAN_PORT, &vxlan(99, &inner_frame())),
            );
            send(world, &vec![to_subject(&typed(ETH_IPV4, &packet)); COPIES])?;
            Ok(line(3, "udp", Some((5000, VXLAN_PORT)))
                .with("tunnel", "vxlan/99")
                .with("inner", INNER_UDP)
                .times(COPIES))
        },
        reasons: &[
            (REASONS, "NOT_SPECIFIED"),
            (Kernel(6, 12), "VXLAN_VNI_NOT_FOUND"),
        ],
        through: "vxlan_rcv",
        device: "v0",
        class: Some("drop"),
        ..BASE
    },
    Scenario {
        // Nobody takes IP in IP: the kernel answers "protocol unreachable".
        name: "ipip_unknown",
        traffic: |world| {
            let packet = ipv4(IPIP, 4, &inner_packet());
            send(world, &vec![to_subject(&typed(ETH_IPV4, &packet)); COPIES])?;
            Ok(line(4, "ipip", None)
                .with("tunnel", "ipip")
                .with("inner", INNER_UDP)
                .times(COPIES))
        },
        reasons: &[
            (REASONS, "NOT_SPECIFIED|IP_NOPROTO"),
            (Kernel(6, 1), "IP_NOPROTO"),
        ],
        through: "ip_protocol_deliver_rcu|ip_local_deliver_finish",
        device: "v0",
        ..BASE
    },
];

const COPIES: usize = 3;

/// What lines say of [`inner_packet`] and [`inner_packet6`].
const INNER_UDP: &str = "udp,10.1.0.1:5000>10.1.0.2:53";
const INNER_UDP6: &str = "udp,[fd01::1]:5000>[fd01::2]:53";

/// Frames and what a line about each has to show.
type Shapes = Vec<(Vec<u8>, Packet)>;

/// The peer sends each frame [`COPIES`] times.
fn arrive(world: &World, shapes: Shapes) -> Result<Vec<Packet>> {
    let mut sent = Vec::new();
    for (frame, packet) in shapes {
        send(world, &vec![to_subject(&frame); COPIES])?;
        sent.extend(packet.times(COPIES));
    }
    Ok(sent)
}

fn send(world: &World, frames: &[Vec<u8>]) -> Result<()> {
    world.peer.run(|| traffic::whole_frames("p0", frames))
}

fn shapes() -> Shapes {
    let mut shapes = link_shapes();
    shapes.extend(ip_shapes());
    shapes.extend(transport_shapes());
    shapes.extend(error_shapes());
    shapes.extend(tunnel_shapes());
    shapes.extend(tunnel6_shapes());
    shapes
}

fn link_shapes() -> Shapes {
    let inner_tag = vlan(ETH_VLAN, 100, ETH_IPV4, &udp_packet(11));
    let arp = |n: u8, operation: u8| {
        let mut bytes = vec![0, 1, 8, 0, 6, 4, 0, operation];
        bytes.extend(PEER_MAC);
        bytes.extend([10, 99, 0, n]);
        bytes.extend([0; 6]);
        bytes.extend(SUBJECT);
        typed(ETH_ARP, &bytes)
    };
    vec![
        (
            vlan(ETH_VLAN, 100, ETH_IPV4, &udp_packet(10)),
            udp_line(10).with("vlan", "100"),
        ),
        (
            [
                &ETH_QINQ.to_be_bytes()[..],
                &10_u16.to_be_bytes(),
                &inner_tag,
            ]
            .concat(),
            udp_line(11).with("vlan", "10.100"),
        ),
        (arp(12, 1), line(12, "arp", None).with("arp", "request")),
        (arp(13, 2), line(13, "arp", None).with("arp", "reply")),
        (arp(14, 77), line(14, "arp", None).with("arp", "77")),
    ]
}

fn ip_shapes() -> Shapes {
    let fragment = |offset: u16, more: bool| {
        let mut packet = ipv4(UDP, 20, &udp(5000, 9, &[0x55; 1472]));
        let field = (offset / 8) | if more { 0x2000 } else { 0 };
        packet[6..8].copy_from_slice(&field.to_be_bytes());
        typed(ETH_IPV4, &packet)
    };
    let later = |token| Packet::new("udp", "10.99.0.20:-", "10.77.0.1:-").with("frag", token);
    // Router alert (RFC 2113), a header of six words.
    let mut options = ipv4(
        UDP,
        21,
        &[&[148, 4, 0, 0], &udp(5000, 9, &[0x55; 100])[..]].concat(),
    );
    options[0] = 0x46;
    // Hop-by-hop and destination options, each with padding alone.
    let extended = [
        &[60, 0, 1, 4, 0, 0, 0, 0],
        &[UDP, 0, 1, 4, 0, 0, 0, 0],
        &udp(5000, 9, &[])[..],
    ];
    let fragment6 = |offset: u16, more: u16| {
        let header = [&[UDP, 0][..], &(offset | more).to_be_bytes(), &[0, 0, 0, 7]].concat();
        typed(
            ETH_IPV6,
            &ipv6(44, 23, &[&header[..], &udp(5000, 9, &[0x55; 80])].concat()),
        )
    };
    vec![
        (fragment(0, true), udp_line(20).with("frag", "0+")),
        (fragment(1480, true), later("1480+")),
        (fragment(2960, false), later("2960")),
        (
            typed(ETH_IPV4, &options),
            udp_line(21).with("ipopt", "ra").with("ttl", "64"),
        ),
        (
            typed(ETH_IPV6, &ipv6(0, 22, &extended.concat())),
            line6(22, "udp", Some((5000, 9)))
                .with("ext", "hbh,dst")
                .with("ttl", "64"),
        ),
        (
            fragment6(0, 1),
            line6(23, "udp", Some((5000, 9)))
                .with("frag", "0+")
                .with("ext", "frag"),
        ),
        (
            fragment6(1480, 0),
            Packet::new("udp", "[fd99::17]:-", "[fd77::1]:-")
                .with("frag", "1480")
                .with("ext", "frag"),
        ),
    ]
}

fn transport_shapes() -> Shapes {
    let tcp = [
        &[0x13, 0x88, 0, 80][..], // ports
        &1_000_000_u32.to_be_bytes(),
        &2_000_000_u32.to_be_bytes(),
        &[0x50, 0x18, 0x10, 0, 0, 0, 0, 0],
    ]
    .concat();
    let sctp = [&[0x13, 0x88, 0, 80][..], &[0; 8], &[3, 0, 0, 4]].concat();
    let spi = [0, 0, 0xab, 0xcd];
    let ah = [&[UDP, 4, 0, 0][..], &spi, &[0; 16], &udp(5000, 9, &[])].concat();
    vec![
        (
            typed(ETH_IPV4, &ipv4(TCP, 30, &tcp)),
            line(30, "tcp", Some((5000, 80)))
                .with("flags", "PSH,ACK")
                .with("seq", 1_000_000)
                .with("ack", 2_000_000)
                .with("win", 4096),
        ),
        (
            typed(ETH_IPV4, &ipv4(SCTP, 31, &sctp)),
            line(31, "sctp", Some((5000, 80))),
        ),
        (
            typed(ETH_IPV4, &ipv4(ESP, 32, &[&spi[..], &[0; 28]].concat())),
            line(32, "esp", None).with("spi", "0x0000abcd"),
        ),
        (
            typed(ETH_IPV4, &ipv4(AH, 33, &ah)),
            line(33, "udp", Some((5000, 9))).with("spi", "0x0000abcd"),
        ),
        (
            typed(ETH_IPV4, &ipv4(IGMP, 34, &[0x11, 100, 0, 0, 0, 0, 0, 0])),
            line(34, "igmp", None).with("igmp", "query"),
        ),
        (
            typed(ETH_IPV4, &ipv4(IGMP, 35, &[0x22, 0, 0, 0, 0, 0, 0, 0])),
            line(35, "igmp", None).with("igmp", "v3-report"),
        ),
    ]
}

fn error_shapes() -> Shapes {
    // What the subject would have sent, and is told about.
    let quoted = {
        let mut packet = ipv4(UDP, 42, &udp(4000, 53, &[0x55; 20]));
        packet.copy_within(12..16, 16);
        packet[12..16].copy_from_slice(&SUBJECT);
        packet[16..20].copy_from_slice(&[10, 99, 0, 42]);
        packet
    };
    let quoted6 = {
        let mut packet = ipv6(UDP, 43, &udp(4000, 53, &[0x55; 20]));
        packet[8..24].copy_from_slice(&SUBJECT6.octets());
        packet[24..40].copy_from_slice(&shape6(43).octets());
        packet
    };
    let icmp =
        |kind: u8, code: u8, rest: &[u8]| [&[kind, code, 0, 0, 0, 0, 0, 0][..], rest].concat();
    let v4 = |n, payload: &[u8]| typed(ETH_IPV4, &ipv4(ICMP, n, payload));
    let v6 = |n, payload: &[u8]| typed(ETH_IPV6, &ipv6(ICMPV6, n, payload));
    vec![
        (
            v4(40, &icmp(8, 0, &[])),
            line(40, "icmp", None).with("icmp", "echo-request"),
        ),
        (
            v4(41, &icmp(200, 7, &[])),
            line(41, "icmp", None).with("icmp", "200/7"),
        ),
        (
            v4(42, &icmp(3, 3, &quoted)),
            line(42, "icmp", None)
                .with("icmp", "dest-unreachable/port")
                .with("quoted", "udp,10.77.0.1:4000>10.99.0.42:53"),
        ),
        (
            v6(43, &icmp(1, 4, &quoted6)),
            line6(43, "icmpv6", None)
                .with("icmp", "dest-unreachable/port")
                .with("quoted", "udp,[fd77::1]:4000>[fd99::2b]:53"),
        ),
    ]
}

fn tunnel_shapes() -> Shapes {
    let v4 = |protocol, n, payload: &[u8]| typed(ETH_IPV4, &ipv4(protocol, n, payload));
    let arp = typed(ETH_ARP, &[0, 1, 8, 0, 6, 4, 0, 1]);
    let inner_arp = ethernet(
        [2, 0, 0, 0, 1, 1],
        [2, 0, 0, 0, 1, 2],
        &[&arp[..], &[0; 20]].concat(),
    );
    let geneve = [
        &[0, 0][..],
        &ETH_BRIDGE.to_be_bytes(),
        &[0, 0, 100, 0],
        &inner_frame(),
    ]
    .concat();
    let gre = |key: Option<u32>, ethertype: u16, payload: &[u8]| {
        let flags: u16 = if key.is_some() { 0x2000 } else { 0 };
        let key = key.map(u32::to_be_bytes);
        let key = key.as_ref().map_or(&[][..], |key| &key[..]);
        [
            &flags.to_be_bytes()[..],
            &ethertype.to_be_bytes(),
            key,
            payload,
        ]
        .concat()
    };
    vec![
        (
            v4(IPIP, 50, &inner_packet()),
            line(50, "ipip", None)
                .with("tunnel", "ipip")
                .with("inner", INNER_UDP),
        ),
        (
            v4(IPV6, 51, &inner_packet6()),
            line(51, "ipv6-in-ip", None)
                .with("tunnel", "sit")
                .with("inner", INNER_UDP6),
        ),
        (
            v4(GRE, 52, &gre(None, ETH_IPV4, &inner_packet())),
            line(52, "gre", None)
                .with("tunnel", "gre")
                .with("inner", INNER_UDP),
        ),
        (
            v4(GRE, 53, &gre(Some(1), ETH_IPV4, &inner_packet())),
            line(53, "gre", None)
                .with("tunnel", "gre/0x1")
                .with("inner", INNER_UDP),
        ),
        (
            v4(GRE, 54, &gre(None, ETH_LOCAL, &[0; 40])),
            line(54, "gre", None)
                .with("tunnel", "gre")
                .with("inner", "ethertype-0x88b5"),
        ),
        (
            v4(
                UDP,
                55,
                &tunnel_header(VXLAN_PORT, &vxlan(100, &inner_frame())),
            ),
            line(55, "udp", Some((5000, VXLAN_PORT)))
                .with("tunnel", "vxlan/100")
                .with("inner", INNER_UDP),
        ),
        (
            v4(UDP, 56, &tunnel_header(VXLAN_PORT, &vxlan(100, &inner_arp))),
            line(56, "udp", Some((5000, VXLAN_PORT)))
                .with("tunnel", "vxlan/100")
                .with("inner", "arp"),
        ),
        (
            v4(UDP, 57, &tunnel_header(GENEVE_PORT, &geneve)),
            line(57, "udp", Some((5000, GENEVE_PORT)))
                .with("tunnel", "geneve/100")
                .with("inner", INNER_UDP),
        ),
    ]
}

fn tunnel6_shapes() -> Shapes {
    let v6 = |next, n, payload: &[u8]| typed(ETH_IPV6, &ipv6(next, n, payload));
    vec![
        (
            v6(IPV6, 60, &inner_packet6()),
            line6(60, "ipv6-in-ip", None)
                .with("tunnel", "ip6ip6")
                .with("inner", INNER_UDP6),
        ),
        (
            v6(IPIP, 61, &inner_packet()),
            line6(61, "ipip", None)
                .with("tunnel", "ip4ip6")
                .with("inner", INNER_UDP),
        ),
    ]
}

/// What a line shows of a shape's packet over IPv4.
fn line(n: u8, protocol: &'static str, ports: Option<(u16, u16)>) -> Packet {
    match ports {
        Some((source, destination)) => Packet::new(
            protocol,
            format!("10.99.0.{n}:{source}"),
            format!("10.77.0.1:{destination}"),
        ),
        None => Packet::new(protocol, format!("10.99.0.{n}"), "10.77.0.1"),
    }
}

/// The same over IPv6.
fn line6(n: u8, protocol: &'static str, ports: Option<(u16, u16)>) -> Packet {
    let source = shape6(n);
    match ports {
        Some((from, to)) => Packet::new(
            protocol,
            format!("[{source}]:{from}"),
            format!("[{SUBJECT6}]:{to}"),
        ),
        None => Packet::new(protocol, source, SUBJECT6),
    }
}

/// What a line shows of [`udp_packet`].
fn udp_line(n: u8) -> Packet {
    line(n, "udp", Some((5000, 9)))
}

fn udp_packet(n: u8) -> Vec<u8> {
    ipv4(UDP, n, &udp(5000, 9, &[0x55; 100]))
}

fn tunnel_header(port: u16, payload: &[u8]) -> Vec<u8> {
    udp(5000, port, payload)
}

/// RFC 7348.
fn vxlan(vni: u32, frame: &[u8]) -> Vec<u8> {
    [&[8, 0, 0, 0][..], &(vni << 8).to_be_bytes(), frame].concat()
}

fn inner_frame() -> Vec<u8> {
    let packet = typed(ETH_IPV4, &inner_packet());
    ethernet([2, 0, 0, 0, 1, 1], [2, 0, 0, 0, 1, 2], &packet)
}

fn inner_packet() -> Vec<u8> {
    ipv4_between(
        [10, 1, 0, 1],
        [10, 1, 0, 2],
        UDP,
        &udp(5000, 53, &[0x55; 20]),
    )
}

fn inner_packet6() -> Vec<u8> {
    let end = |n| Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, n);
    ipv6_between(end(1), end(2), UDP, &udp(5000, 53, &[0x55; 20]))
}
