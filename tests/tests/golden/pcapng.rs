//! Packets for Wireshark: from the bytes of a record to those of a file.

use std::fmt::Write as _;

use dropwatch::{
    account::Account,
    format::{ExtraField, Format as _, Host, PcapngFormat, PcapngOptions, TextOptions},
};
use dropwatch_common::event::{HEADERS_LEN, MAX_SNAPLEN, present};
use dropwatch_tests::pcapng::{Capture, read};
use expect_test::{Expect, expect};

use crate::{
    STACK,
    case::{Case, Frame, padded},
    packets::{IPV4, IPV6, PORTS, arp, datagram, frame, ipv4, ipv6, tcp},
};

/// Ethertypes.
const ARP: u16 = 0x0806;
const VLAN: u16 = 0x8100;
const ETHERTYPE_802_2: u16 = 4;

/// How packets are written here, unless a test says otherwise.
fn options() -> PcapngOptions {
    PcapngOptions {
        snaplen: MAX_SNAPLEN as u32,
        is_cooked: false,
        text: TextOptions::default(),
        host: Host {
            hardware: "x86_64".to_owned(),
            os: "Linux 6.12.0".to_owned(),
            application: "dropwatch 0.1.0".to_owned(),
            netns: Some(4_026_531_840),
        },
    }
}

/// The file of these drops.
fn file(options: PcapngOptions, cases: &[Case], account: Option<&Account>) -> Vec<u8> {
    let mut format = PcapngFormat::new(options);
    let mut bytes = Vec::new();
    format.write_head(&mut bytes);
    for case in cases {
        case.shown(|record| format.write(record, &mut bytes));
    }
    if let Some(account) = account {
        format.write_account(account, &mut bytes);
    }
    bytes
}

fn capture(options: PcapngOptions, cases: &[Case]) -> Capture {
    read(&file(options, cases, None)).expect("a file that can be read")
}

/// Compares what becomes of each case: link type, interface, flags, length, and the bytes
/// before those of `shown`.
fn check(cases: Vec<(&str, Case)>, expected: &Expect) {
    let mut text = String::new();
    for is_cooked in [false, true] {
        for (label, case) in &cases {
            let options = PcapngOptions {
                is_cooked,
                ..options()
            };
            let capture = capture(options, std::slice::from_ref(case));
            let packet = &capture.packets[0];
            let interface = &capture.interfaces[packet.interface];
            let start: Vec<String> = packet
                .data
                .iter()
                .take(30)
                .map(|byte| format!("{byte:02x}"))
                .collect();
            writeln!(
                text,
                "{label:<14}| link {:<3} {} ({}) flags {} bytes {}/{}: {}",
                interface.link,
                interface.name,
                interface.description,
                packet.flags,
                packet.data.len(),
                packet.original_len,
                start.concat(),
            )
            .expect("a string");
        }
    }
    expected.assert_eq(&text);
}

/// A frame with the MAC header in front of the network header, `data` being behind it.
fn ethernet(ethertype: u16, tags: &[[u16; 2]], packet: &[u8]) -> Case {
    let bytes = frame(tags, ethertype, packet);
    let network_offset = bytes.len() - packet.len();
    let frame = Frame {
        ethertype,
        network_offset,
        bytes,
        ..Frame::default()
    };
    length_from(
        Case::default().frame(&frame),
        network_offset as i16,
        packet.len() as u32,
    )
}

/// A packet without MAC header, `data` being at its network header.
fn bare(ethertype: u16, packet: &[u8]) -> Case {
    length_from(
        Case::default().packet(ethertype, packet),
        0,
        packet.len() as u32,
    )
}

/// With a length that counts from so many bytes behind the first captured one on.
fn length_from(case: Case, data_offset: i16, len: u32) -> Case {
    case.event(|event| {
        event.present |= present::DATA_OFFSET;
        event.data_offset = data_offset;
        event.len = len;
    })
}

/// Received through this interface, with this packet type.
fn received(case: Case, iif: u32, pkt_type: u8) -> Case {
    case.event(|event| {
        event.iif = iif;
        event.pkt_type = pkt_type;
        event.present |= present::PKT_TYPE;
    })
}

fn sent(case: Case) -> Case {
    let case = received(case, 0, 0);
    case.event(|event| event.present |= present::DST)
}

fn tagged(case: Case) -> Case {
    case.event(|event| {
        event.present |= present::VLAN;
        event.vlan_proto = VLAN.to_be();
        event.vlan_tci = 0x2064;
    })
}

#[test]
fn link_types() {
    let udp = ipv4(17, &PORTS);
    let udp6 = ipv6(17, &PORTS);
    check(
        vec![
            ("ethernet", ethernet(IPV4, &[], &udp)),
            ("ethernet6", ethernet(IPV6, &[], &udp6)),
            ("ethernet arp", ethernet(ARP, &[], &arp(1))),
            ("802.2", ethernet(ETHERTYPE_802_2, &[], &[0x42; 40])),
            ("tag inside", ethernet(IPV4, &[[VLAN, 100]], &udp)),
            ("tag beside", tagged(ethernet(IPV4, &[], &udp))),
            ("ip", bare(IPV4, &udp)),
            ("ip6", bare(IPV6, &udp6)),
            ("ip tag beside", tagged(bare(IPV4, &udp))),
            ("arp", bare(ARP, &arp(1))),
            ("vlan", bare(VLAN, &[0, 100, 8, 0, 0x45])),
            ("stale", stale_mac_header(&udp)),
            ("no ethertype", bare(0, &[]).event(|event| event.len = 77)),
            ("no skb", bare(0, &[]).without(present::SKB)),
        ],
        &expect![[r#"
            ethernet      | link 1   eth0 (ifindex=2 netns=4026531840) flags 1 bytes 42/42: 02000000000202000000000108004500001c00004000401126cf0a000001
            ethernet6     | link 1   eth0 (ifindex=2 netns=4026531840) flags 1 bytes 62/62: 02000000000202000000000186dd600000000008114020010db800000000
            ethernet arp  | link 1   eth0 (ifindex=2 netns=4026531840) flags 1 bytes 42/42: 020000000002020000000001080600010800060400010200000000010a00
            802.2         | link 1   eth0 (ifindex=2 netns=4026531840) flags 1 bytes 54/54: 020000000002020000000001000442424242424242424242424242424242
            tag inside    | link 1   eth0 (ifindex=2 netns=4026531840) flags 1 bytes 46/46: 0200000000020200000000018100006408004500001c00004000401126cf
            tag beside    | link 1   eth0 (ifindex=2 netns=4026531840) flags 1 bytes 46/46: 0200000000020200000000018100206408004500001c00004000401126cf
            ip            | link 101 eth0 (ifindex=2 netns=4026531840) flags 1 bytes 28/28: 4500001c00004000401126cf0a0000010a0000029bc1000900080000
            ip6           | link 101 eth0 (ifindex=2 netns=4026531840) flags 1 bytes 48/48: 600000000008114020010db800000000000000000000000120010db80000
            ip tag beside | link 113 eth0 (ifindex=2 netns=4026531840) flags 1 bytes 48/48: 0000ffff000000000000000000008100206408004500001c000040004011
            arp           | link 113 eth0 (ifindex=2 netns=4026531840) flags 1 bytes 44/44: 0000ffff0000000000000000000008060001080006040001020000000001
            vlan          | link 113 eth0 (ifindex=2 netns=4026531840) flags 1 bytes 21/21: 0000ffff0000000000000000000000000064080045
            stale         | link 101 eth0 (ifindex=2 netns=4026531840) flags 1 bytes 28/28: 4500001c00004000401126cf0a0000010a0000029bc1000900080000
            no ethertype  | link 113 eth0 (ifindex=2 netns=4026531840) flags 1 bytes 16/93: 0000ffff000000000000000000000000
            no skb        | link 113 eth0 (ifindex=2 netns=4026531840) flags 0 bytes 16/16: 0000ffff000000000000000000000000
            ethernet      | link 113 eth0 (ifindex=2 netns=4026531840) flags 1 bytes 44/44: 000000010006020000000001000008004500001c00004000401126cf0a00
            ethernet6     | link 113 eth0 (ifindex=2 netns=4026531840) flags 1 bytes 64/64: 000000010006020000000001000086dd600000000008114020010db80000
            ethernet arp  | link 113 eth0 (ifindex=2 netns=4026531840) flags 1 bytes 44/44: 000000010006020000000001000008060001080006040001020000000001
            802.2         | link 113 eth0 (ifindex=2 netns=4026531840) flags 1 bytes 56/56: 000000010006020000000001000000044242424242424242424242424242
            tag inside    | link 113 eth0 (ifindex=2 netns=4026531840) flags 1 bytes 48/48: 00000001000602000000000100008100006408004500001c000040004011
            tag beside    | link 113 eth0 (ifindex=2 netns=4026531840) flags 1 bytes 48/48: 00000001000602000000000100008100206408004500001c000040004011
            ip            | link 113 eth0 (ifindex=2 netns=4026531840) flags 1 bytes 44/44: 0000ffff0000000000000000000008004500001c00004000401126cf0a00
            ip6           | link 113 eth0 (ifindex=2 netns=4026531840) flags 1 bytes 64/64: 0000ffff0000000000000000000086dd600000000008114020010db80000
            ip tag beside | link 113 eth0 (ifindex=2 netns=4026531840) flags 1 bytes 48/48: 0000ffff000000000000000000008100206408004500001c000040004011
            arp           | link 113 eth0 (ifindex=2 netns=4026531840) flags 1 bytes 44/44: 0000ffff0000000000000000000008060001080006040001020000000001
            vlan          | link 113 eth0 (ifindex=2 netns=4026531840) flags 1 bytes 21/21: 0000ffff0000000000000000000000000064080045
            stale         | link 113 eth0 (ifindex=2 netns=4026531840) flags 1 bytes 44/44: 0000ffff0000000000000000000008004500001c00004000401126cf0a00
            no ethertype  | link 113 eth0 (ifindex=2 netns=4026531840) flags 1 bytes 16/93: 0000ffff000000000000000000000000
            no skb        | link 113 eth0 (ifindex=2 netns=4026531840) flags 0 bytes 16/16: 0000ffff000000000000000000000000
        "#]],
    );
}

/// What lies in front of the network header says another ethertype than the kernel.
fn stale_mac_header(packet: &[u8]) -> Case {
    let bytes = frame(&[], IPV6, packet);
    let frame = Frame {
        ethertype: IPV4,
        network_offset: 14,
        bytes,
        ..Frame::default()
    };
    length_from(Case::default().frame(&frame), 14, packet.len() as u32)
}

#[test]
fn lengths() {
    let udp = ipv4(17, &datagram(9, &[0x55; 20]));
    let bytes = udp.len();
    let case = || ethernet(IPV4, &[], &udp);
    let original = |case: Case| capture(options(), &[case]).packets[0].original_len as usize;
    assert_eq!(original(case()), 14 + bytes);
    // The MAC header is a part of the length, IP and UDP headers are not any more.
    assert_eq!(
        original(length_from(case(), 0, 14 + bytes as u32)),
        14 + bytes
    );
    assert_eq!(original(length_from(case(), 14 + 28, 20)), 14 + bytes);
    // Most of it is in page fragments.
    assert_eq!(original(length_from(case(), 14, 60_000)), 60_014);
    assert_eq!(
        original(length_from(case(), 14, u32::MAX)),
        14 + bytes,
        "not a packet's"
    );
    // Another header was put in front, which is not where the network header is.
    assert_eq!(
        original(length_from(bare(IPV4, &udp), -8, bytes as u32 + 8)),
        bytes
    );
    // The kernel side did not look.
    assert_eq!(original(case().without(present::DATA_OFFSET)), 14 + bytes);
}

#[test]
fn the_rest_of_the_packet_and_the_snap_length() {
    let udp = ipv4(17, &datagram(9, &[0x55; 500]));
    let case = ethernet(IPV4, &[], &udp);
    let whole = frame(&[], IPV4, &udp);
    let mut record = case.record();
    record.extend_from_slice(&whole[HEADERS_LEN..]);
    let len = (whole.len() as u16).to_ne_bytes();
    let at = std::mem::offset_of!(dropwatch_common::event::DropEvent, headers_len);
    record[at..at + 2].copy_from_slice(&len);
    for snaplen in [1, 14, 143, 144, 145, 541, 542, 16_384] {
        let mut format = PcapngFormat::new(PcapngOptions {
            snaplen,
            ..options()
        });
        let mut bytes = Vec::new();
        format.write_head(&mut bytes);
        case.shown_of(&record, |record| format.write(record, &mut bytes));
        let packet = &read(&bytes).expect("a file").packets[0];
        let captured = whole.len().min(snaplen as usize);
        assert!(packet.data == whole[..captured], "{snaplen}");
        assert_eq!(packet.original_len as usize, whole.len());
    }
}

#[test]
fn comments_are_lines() {
    let comments_case = || {
        let case = Case::default().stack(&STACK);
        case.event(|event| event.comm = padded(b"\x1b[2J\n x"))
    };
    for options in [&[][..], &[ExtraField::Mark, ExtraField::Skb]] {
        let case = comments_case().fields(options);
        let line = case.line();
        let (_, line) = line.split_once(' ').expect("a time");
        let text = TextOptions {
            fields: options.to_vec(),
            ..TextOptions::default()
        };
        let capture = capture(
            PcapngOptions {
                text,
                ..self::options()
            },
            &[case],
        );
        assert_eq!(capture.packets[0].comment, line);
    }
}

#[test]
fn directions() {
    let cases: Vec<(&str, Case)> = vec![
        (
            "to us",
            received(ethernet(IPV4, &[], &ipv4(6, &tcp(2))), 2, 0),
        ),
        ("broadcast", received(bare(IPV4, &ipv4(17, &PORTS)), 2, 1)),
        ("multicast", received(bare(IPV4, &ipv4(17, &PORTS)), 2, 2)),
        ("other host", received(bare(IPV4, &ipv4(17, &PORTS)), 2, 3)),
        ("sent", sent(bare(IPV4, &ipv4(17, &PORTS)))),
        (
            "forwarded",
            received(bare(IPV4, &ipv4(17, &PORTS)), 2, 0).forwarded_by("ip_forward"),
        ),
        (
            "on its way out",
            received(bare(IPV4, &ipv4(17, &PORTS)), 3, 0).forwarded_by("ip_forward"),
        ),
        (
            "from lo",
            received(bare(IPV4, &ipv4(17, &PORTS)), 1, 0).event(|event| event.ifindex = 1),
        ),
        (
            "to lo",
            sent(bare(IPV4, &ipv4(17, &PORTS))).event(|event| event.ifindex = 1),
        ),
        ("who knows", received(bare(IPV4, &ipv4(17, &PORTS)), 0, 0)),
    ];
    let mut text = String::new();
    for (label, case) in cases {
        let flags = capture(options(), &[case]).packets[0].flags;
        let direction = ["-", "in", "out"][(flags & 3) as usize];
        let reception = ["-", "unicast", "multicast", "broadcast", "promiscuous"];
        writeln!(
            text,
            "{label:<15}| {direction} {}",
            reception[(flags >> 2) as usize]
        )
        .expect("a string");
    }
    expect![[r#"
        to us          | in unicast
        broadcast      | in broadcast
        multicast      | in multicast
        other host     | in promiscuous
        sent           | out -
        forwarded      | in unicast
        on its way out | out -
        from lo        | in unicast
        to lo          | out -
        who knows      | - -
    "#]]
    .assert_eq(&text);
}

#[test]
fn interfaces_come_once_and_change_with_what_they_stand_for() {
    let of = |netns, ifindex, name: &str| {
        Case::default().event(|event| {
            event.netns = netns;
            event.ifindex = ifindex;
            event.ifname = padded(name);
        })
    };
    let cases = [
        of(4_026_531_840, 2, "eth0"),
        of(4_026_531_840, 2, "eth0"),
        of(4_026_532_000, 2, "eth0"),
        of(4_026_531_840, 3, "eth1"),
        of(4_026_531_840, 3, "wan"),
        ethernet(IPV4, &[], &ipv4(17, &PORTS)),
        of(4_026_531_840, 2, "eth0").without(present::DEV),
        of(4_026_531_840, 2, "eth0").without(present::DEV | present::NETNS),
        of(4_026_532_000, 9, "-\n\\"),
    ];
    let capture = capture(options(), &cases);
    let names: Vec<String> = capture
        .interfaces
        .iter()
        .map(|it| format!("{} {} ({})", it.link, it.name, it.description))
        .collect();
    expect![[r#"
        1 dropwatch (all drops: the account)
        101 eth0 (ifindex=2 netns=4026531840)
        101 4026532000/eth0 (ifindex=2 netns=4026532000)
        101 eth1 (ifindex=3 netns=4026531840)
        101 wan (ifindex=3 netns=4026531840)
        1 eth0 (ifindex=2 netns=4026531840)
        101 - (ifindex=- netns=4026531840)
        101 -/- (ifindex=- netns=-)
        101 4026532000/-\x0a\x5c (ifindex=9 netns=4026532000)"#]]
    .assert_eq(&names.join("\n"));
    let of_packets: Vec<usize> = capture.packets.iter().map(|it| it.interface).collect();
    assert_eq!(of_packets, [1, 1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn a_new_section_forgets_interfaces() {
    let case = Case::default();
    let mut format = PcapngFormat::new(options());
    let mut bytes = Vec::new();
    format.write_head(&mut bytes);
    case.shown(|record| {
        let mut record = *record;
        for ifindex in (0..5000).chain([0]) {
            if let Some(device) = &mut record.device {
                device.ifindex = ifindex;
            }
            format.write(&record, &mut bytes);
        }
    });
    let capture = read(&bytes).expect("a file");
    assert_eq!((capture.sections.len(), capture.packets.len()), (2, 5001));
    let last = capture.packets.last().expect("a packet");
    let description = &capture.interfaces[last.interface].description;
    assert!(description.starts_with("ifindex=0 "), "{description}");
}

#[test]
fn the_whole_file() {
    let account = Account {
        seen: 15,
        printed: 2,
        filtered: 9,
        lost: 4,
        ..Account::default()
    };
    let cases = [
        Case::default(),
        Case::default().event(|event| event.time_ns += 1),
    ];
    let file = file(options(), &cases, Some(&account));
    let capture = read(&file).expect("a file");
    assert_eq!(
        capture.sections,
        [[
            "x86_64".to_owned(),
            "Linux 6.12.0".to_owned(),
            "dropwatch 0.1.0".to_owned()
        ]]
    );
    let said = capture.account.expect("an account");
    assert_eq!(said.comment, account.to_string());
    assert_eq!(said.counts, [15, 6, 4, 2]);
    let times: Vec<u64> = capture
        .packets
        .iter()
        .map(|packet| packet.time_ns)
        .collect();
    assert_eq!(said.times.to_vec(), times);
    assert_eq!(times[1], times[0] + 1);

    // An account of nothing.
    let empty = read(&self::file(options(), &[], Some(&Account::default()))).expect("a file");
    assert_eq!(empty.account.expect("an account").counts, [0; 4]);
    assert_eq!(empty.interfaces.len(), 1);

    let golden = self::file(options(), &cases[..1], None);
    let words = golden.chunks(16).map(|row| {
        let bytes: Vec<String> = row.iter().map(|byte| format!("{byte:02x}")).collect();
        bytes.join(" ")
    });
    expect![[r#"
        0a 0d 0d 0a 50 00 00 00 4d 3c 2b 1a 01 00 00 00
        ff ff ff ff ff ff ff ff 02 00 06 00 78 38 36 5f
        36 34 00 00 03 00 0c 00 4c 69 6e 75 78 20 36 2e
        31 32 2e 30 04 00 0f 00 64 72 6f 70 77 61 74 63
        68 20 30 2e 31 2e 30 00 00 00 00 00 50 00 00 00
        01 00 00 00 4c 00 00 00 01 00 00 00 00 40 00 00
        02 00 09 00 64 72 6f 70 77 61 74 63 68 00 00 00
        03 00 16 00 61 6c 6c 20 64 72 6f 70 73 3a 20 74
        68 65 20 61 63 63 6f 75 6e 74 00 00 09 00 01 00
        09 00 00 00 00 00 00 00 4c 00 00 00 01 00 00 00
        48 00 00 00 65 00 00 00 00 40 00 00 02 00 04 00
        65 74 68 30 03 00 1a 00 69 66 69 6e 64 65 78 3d
        32 20 6e 65 74 6e 73 3d 34 30 32 36 35 33 31 38
        34 30 00 00 09 00 01 00 09 00 00 00 00 00 00 00
        48 00 00 00 06 00 00 00 e0 00 00 00 01 00 00 00
        1f 01 00 00 cb 04 fb 71 20 00 00 00 20 00 00 00
        45 00 00 20 00 00 40 00 40 11 3c cb 7f 00 00 01
        7f 00 00 01 9b c1 00 09 00 0c 8d 46 64 61 74 61
        01 00 8f 00 4e 4f 5f 53 4f 43 4b 45 54 20 75 64
        70 20 31 32 37 2e 30 2e 30 2e 31 3a 33 39 38 37
        33 20 3e 20 31 32 37 2e 30 2e 30 2e 31 3a 39 20
        6c 65 6e 3d 31 32 38 20 69 66 3d 65 74 68 30 20
        63 6c 61 73 73 3d 72 65 66 75 73 65 64 20 61 74
        3d 5f 5f 75 64 70 34 5f 6c 69 62 5f 72 63 76 2b
        30 78 34 62 63 20 70 69 64 3d 32 38 33 37 31 20
        63 6f 6d 6d 3d 66 6c 6f 6f 64 20 6f 77 6e 65 72
        3d 2d 20 6e 65 74 6e 73 3d 34 30 32 36 35 33 31
        38 34 30 00 02 00 04 00 01 00 00 00 00 00 00 00
        e0 00 00 00"#]]
    .assert_eq(&words.collect::<Vec<_>>().join("\n"));
}
