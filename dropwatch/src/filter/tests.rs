use std::{collections::BTreeSet, net::IpAddr, ops::Range as AddressRange};

use clap::Parser as _;
use dropwatch_common::{
    config::{IFACE_KEEP, IFACE_TURN_DOWN, IP_PROTOCOL, RANGE_IPV4, RangeKind, filters},
    tuple::{Bytes, Progress, Tuple},
};
use proptest::prelude::*;

use super::*;
use crate::{
    cli::Cli,
    enrich::container::ContainerMatch,
    packet::{Capture, Packet, Part, Protocol, samples},
};

fn filters_of(arguments: &[&str]) -> Result<Filters> {
    let cli = Cli::try_parse_from(["dropwatch"].iter().chain(arguments))?;
    Filters::new(cli.lines.filter)
}

/// Every value of a word is the number of its bytes.
struct Lengths;

impl Resolver for Lengths {
    fn reasons(&mut self, _: &str, pattern: &str) -> Result<Vec<RangeInclusive<u32>>> {
        let number = pattern.len() as u32;
        Ok(vec![number..=number])
    }

    fn functions(&mut self, _: &str, pattern: &str) -> Result<Vec<AddressRange<u64>>> {
        let code = 0x1000..0x1000 + pattern.len() as u64;
        Ok(vec![code])
    }

    fn netns(&mut self, name: &str) -> Result<u32> {
        Ok(name.len() as u32)
    }

    fn cgroup(&mut self, path: &str) -> Result<u64> {
        Ok(path.len() as u64)
    }

    fn container(&mut self, name: &str) -> Result<ContainerMatch> {
        Ok(ContainerMatch {
            cgroups: vec![name.len() as u64],
            own_namespaces: vec![100 + name.len() as u32],
            count: 1,
            ..ContainerMatch::default()
        })
    }
}

fn kernel_filters(arguments: &[&str]) -> KernelFilters {
    filters_of(arguments)
        .unwrap()
        .resolve(&mut Lengths)
        .unwrap()
}

#[test]
fn lists_repeat_and_take_commas() {
    let filters = filters_of(&[
        "--pid",
        "1,2",
        "--pid=3",
        "--comm",
        "curl,nc",
        "--pname=curl",
        "--port=53,8000-8100",
    ]);
    let filters = filters.unwrap();
    assert_eq!(filters.pids, BTreeSet::from([1, 2, 3]));
    assert_eq!(filters.comms.len(), 2);
    assert!(filters.comms.contains(b"curl\0\0\0\0\0\0\0\0\0\0\0\0"));
    assert_eq!(filters.ports, [53..=53, 8000..=8100]);
}

#[test]
fn names_are_cut_as_the_kernel_cuts_them() {
    let filters = filters_of(&["--comm", "systemd-resolved"]).unwrap();
    assert!(filters.comms.contains(b"systemd-resolve\0"));
    assert!(filters.process_matches(7, b"systemd-resolve"));
}

#[test]
fn process_and_name_must_be_of_one_process() {
    let filters = filters_of(&["--pid", "1,2", "--comm", "curl,nc"]).unwrap();
    let matches = |pid, names: &[&[u8]]| {
        let mut names = names.iter();
        names.any(|name| filters.process_matches(pid, name))
    };
    assert!(matches(1, &[b"nc"]));
    assert!(matches(2, &[b"main", b"curl"]));
    assert!(!matches(3, &[b"nc"]));
    assert!(!matches(1, &[b"cur", b"curl2"]));
    let names_only = filters_of(&["--comm", "nc"]).unwrap();
    assert!(names_only.process_matches(9, b"nc"));
}

#[test]
fn no_filter_turns_nothing_on() {
    let kernel = kernel_filters(&[]);
    assert_eq!((kernel.flags, kernel.range_flags), (0, 0));
    assert!(kernel.ranges.is_empty());
}

#[test]
fn reasons_pass_by_both_filters() {
    // The number of a reason is the length of its pattern here.
    let passing = |arguments: &[&str]| -> Vec<u32> {
        let kernel = kernel_filters(arguments);
        (0..5).filter(|it| kernel.passes_reason(*it)).collect()
    };
    assert_eq!(passing(&[]), [0, 1, 2, 3, 4]);
    assert_eq!(passing(&["--reason", "A,AAA"]), [1, 3]);
    assert_eq!(passing(&["--exclude-reason", "A,AAA"]), [0, 2, 4]);
    let both = ["--reason", "A,AAA", "--exclude-reason", "AAA,AA"];
    assert_eq!(passing(&both), [1]);
}

/// The ranges of one kind: first and last value.
fn ranges(kernel: &KernelFilters, kind: RangeKind) -> Vec<(u128, u128)> {
    let of_kind = kernel.ranges.iter().filter(|range| range.kind == kind);
    of_kind
        .map(|range| (*range.values.start(), *range.values.end()))
        .collect()
}

/// Flags, and the ranges that come of them.
type RangeCase = (&'static [&'static str], RangeKind, &'static [(u128, u128)]);

#[test]
fn flags_become_ranges() {
    const TCP: u128 = (IP_PROTOCOL | 6) as u128;
    let cases: &[RangeCase] = &[
        (
            &["--port", "53,80-81"],
            RangeKind::Port,
            &[(53, 53), (80, 81)],
        ),
        (&["--sport", "0x10"], RangeKind::SourcePort, &[(16, 16)]),
        (
            &["--dport", "0-65535"],
            RangeKind::DestinationPort,
            &[(0, 65535)],
        ),
        (&["--len", "0-64"], RangeKind::Length, &[(0, 64)]),
        (
            &["--proto", "tcp,arp,ethertype-0x88b5,99,proto-99"],
            RangeKind::Protocol,
            &[
                (TCP, TCP),
                (0x806, 0x806),
                (0x88b5, 0x88b5),
                (TCP - 6 + 99, TCP - 6 + 99),
                (TCP - 6 + 99, TCP - 6 + 99),
            ],
        ),
        (
            &["--addr", "10.0.0.1"],
            RangeKind::Address,
            &[(0x0a00_0001, 0x0a00_0001)],
        ),
        (
            &["--saddr", "10.0.0.0/8"],
            RangeKind::Source,
            &[(0x0a00_0000, 0x0aff_ffff)],
        ),
        (
            &["--daddr", "::/0"],
            RangeKind::Destination,
            &[(0, u128::MAX)],
        ),
        (&["--daddr", "[::1]"], RangeKind::Destination, &[(1, 1)]),
        (
            &["--daddr", "0.0.0.0/0"],
            RangeKind::Destination,
            &[(0, 0xffff_ffff)],
        ),
        (&["-r", "ABC,X"], RangeKind::Reason, &[(3, 3), (1, 1)]),
        (
            &["--exclude-reason", "ABC"],
            RangeKind::ExcludeReason,
            &[(3, 3)],
        ),
        (&["--func", "ab"], RangeKind::Function, &[(0x1000, 0x1001)]),
        (
            &["--exclude-func", "a"],
            RangeKind::ExcludeFunction,
            &[(0x1000, 0x1000)],
        ),
        (
            &["--stack-func", "abc"],
            RangeKind::StackFunction,
            &[(0x1000, 0x1002)],
        ),
        (&["--netns", "blue"], RangeKind::Netns, &[(4, 4)]),
        (
            &["--container", "web"],
            RangeKind::ContainerNetns,
            &[(103, 103)],
        ),
    ];
    for (arguments, kind, expected) in cases {
        let kernel = kernel_filters(arguments);
        assert_eq!(ranges(&kernel, *kind), *expected, "{arguments:?}");
        assert_eq!(kernel.range_flags, kind.bit(), "{arguments:?}");
    }
}

#[test]
fn flags_become_flags() {
    let cases: &[(&[&str], u32)] = &[
        (&["--pid", "1"], filters::PID),
        (&["--comm", "x"], filters::COMM),
        (&["-i", "lo"], filters::IFACE),
        (&["--exclude-iface", "lo"], filters::EXCLUDE_IFACE),
        (&["--cgroup", "/x"], filters::CGROUP),
        (&["--container", "x"], filters::CONTAINER),
        (&["--mark", "1"], filters::MARK),
        (&["-4"], filters::IPV4),
        (&["-6"], filters::IPV6),
        (&["-4", "-6"], filters::IPV4 | filters::IPV6),
    ];
    for (arguments, expected) in cases {
        assert_eq!(kernel_filters(arguments).flags, *expected, "{arguments:?}");
    }
    let kernel = kernel_filters(&["-i", "lo,eth0", "--exclude-iface", "eth1"]);
    let name = |name: &[u8]| parse::padded::<IFNAME_LEN>(name);
    assert_eq!(kernel.ifaces[&name(b"eth0")], IFACE_KEEP);
    assert_eq!(kernel.ifaces[&name(b"eth1")], IFACE_TURN_DOWN);
    let kernel = kernel_filters(&["--cgroup", "/abc", "--container", "web"]);
    assert_eq!(
        (kernel.cgroups, kernel.container_cgroups),
        (vec![4], vec![3])
    );
}

#[test]
fn addresses_of_one_family_are_none_of_the_other() {
    let kinds = |arguments: &[&str]| {
        let ranges = kernel_filters(arguments).ranges;
        ranges
            .iter()
            .map(|range| (range.key_kind(), range.bits))
            .collect::<Vec<_>>()
    };
    let all = kinds(&["--addr", "::/0,0.0.0.0/0,::ffff:10.0.0.1"]);
    let ipv6 = (RangeKind::Address as u32, 128);
    assert_eq!(
        all,
        [ipv6, (RangeKind::Address as u32 | RANGE_IPV4, 32), ipv6]
    );
    // 32 bits are not only addresses.
    assert_eq!(kinds(&["--len", "7"]), [(RangeKind::Length as u32, 32)]);
}

#[test]
fn names_of_namespaces_are_followed_and_numbers_are_not() {
    let filters = filters_of(&["--netns", "blue,4026531840,pid:1"]).unwrap();
    let mut kernel = filters.resolve(&mut Lengths).unwrap();
    assert_eq!(
        ranges(&kernel, RangeKind::Netns),
        [(10, 10), (4, 4), (5, 5)]
    );
    filters.set_netns(&mut kernel, |_| Ok(77)).unwrap();
    assert_eq!(
        ranges(&kernel, RangeKind::Netns),
        [(10, 10), (77, 77), (5, 5)]
    );
    filters.set_netns(&mut kernel, |_| bail!("gone")).unwrap();
    assert_eq!(ranges(&kernel, RangeKind::Netns), [(10, 10), (5, 5)]);
    filters.set_netns(&mut kernel, |_| Ok(78)).unwrap();
    assert_eq!(
        ranges(&kernel, RangeKind::Netns),
        [(10, 10), (78, 78), (5, 5)]
    );
}

#[test]
fn what_is_excluded_can_not_be_asked_for() {
    let error = |arguments: &[&str]| {
        let filters = filters_of(arguments).unwrap();
        filters
            .resolve(&mut Lengths)
            .err()
            .map(|error| error.to_string())
    };
    for arguments in [
        ["-r", "AB", "--exclude-reason", "CD"],
        ["--func", "ab", "--exclude-func", "cde"],
    ] {
        let error = error(&arguments).unwrap();
        assert!(error.contains("no drop can match"), "{error}");
    }
    assert_eq!(error(&["-r", "AB,C", "--exclude-reason", "CD"]), None);
    assert_eq!(error(&["--func", "abc", "--exclude-func", "ab"]), None);
}

#[test]
fn containers_are_replaced() {
    let filters = filters_of(&["--container", "web", "--port", "1"]).unwrap();
    let mut kernel = filters.resolve(&mut Lengths).unwrap();
    filters
        .set_containers(&mut kernel, |_| Ok(ContainerMatch::default()))
        .unwrap();
    assert!(kernel.container_cgroups.is_empty());
    assert_eq!(ranges(&kernel, RangeKind::ContainerNetns), []);
    assert_eq!(ranges(&kernel, RangeKind::Port), [(1, 1)]);
    // Off would let every packet through.
    assert_ne!(kernel.range_flags & RangeKind::ContainerNetns.bit(), 0);
}

#[test]
fn marks() {
    let marks = filters_of(&["--mark", "0x10/0xf0,7"]).unwrap().marks;
    let mark = |value, mask| Mark { value, mask };
    assert_eq!(marks, [mark(0x10, 0xf0), mark(7, u32::MAX)]);
}

#[test]
fn wrong_values_name_the_flag() {
    let cases: &[(&[&str], &str)] = &[
        (&["--comm", ""], "--comm"),
        (&["-i", ""], "--iface"),
        (&["-i", "abcdefghijklmnop"], "--iface"),
        (&["--exclude-iface", "a/b"], "--exclude-iface"),
        (&["--addr", "10.0.0"], "--addr"),
        (&["--addr", "10.0.0.0/33"], "--addr"),
        (&["--saddr", "10.0.0.1/8"], "10.0.0.0/8"),
        (&["--daddr", "2001:db8::1/32"], "2001:db8::/32"),
        (&["--port", "65536"], "65535"),
        (&["--port", "-1"], "--port"),
        (&["--port", "+1"], "--port"),
        (&["--port", "0x+50"], "--port"),
        (&["--len", "-5"], "--len"),
        (&["--mark", "-1"], "--mark"),
        (&["--addr", "[[::1]"], "--addr"),
        (&["--proto", "ethertype-0x0"], "--proto"),
        (&["--port", "9-8"], "ends before"),
        (&["--sport", "http"], "--sport"),
        (&["--dport", "1-"], "--dport"),
        (&["--proto", "tpc"], "tcp"),
        (&["--proto", "256"], "--proto"),
        (&["--len", "many"], "--len"),
        (&["--len", "4294967296"], "--len"),
        (&["--mark", "x"], "--mark"),
        (&["--mark", "1/x"], "--mark"),
        (&["--mark", "0x100/0xff"], "mask"),
        (
            &["--mark", "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17"],
            "16",
        ),
        (&["-r", ""], "--reason"),
        (&["--func", "a,,b"], "--func"),
        (&["--netns", ""], "--netns"),
    ];
    for (arguments, expected) in cases {
        let error = filters_of(arguments).unwrap_err().to_string();
        assert!(error.contains(expected), "{arguments:?} gave: {error}");
        assert!(
            !error.trim_end().contains('\n') || error.contains("--help"),
            "{error}"
        );
    }
}

#[test]
fn contradictions() {
    let cases: &[&[&str]] = &[
        &["-4", "--addr", "::1"],
        &["-4", "--saddr", "10.0.0.1,::1"],
        &["-6", "--daddr", "10.0.0.0/8"],
        &["--saddr", "10.0.0.1", "--daddr", "::1"],
        &["--proto", "icmp", "--port", "53"],
        &["--proto", "arp,icmp", "--dport", "53"],
        &["--proto", "icmpv6", "-4"],
        &["--proto", "icmp", "--addr", "::1"],
        &["--proto", "arp", "-4"],
        &["--proto", "arp", "--addr", "::1"],
        &["-i", "lo", "--exclude-iface", "lo"],
    ];
    for arguments in cases {
        let error = filters_of(arguments).unwrap_err().to_string();
        assert!(
            error.contains("no drop can match"),
            "{arguments:?} gave: {error}"
        );
    }
    let possible: &[&[&str]] = &[
        &["-4", "-6", "--addr", "::1"],
        &["-4", "--addr", "10.0.0.1"],
        &["--addr", "10.0.0.1,::1", "--proto", "icmp"],
        &["--proto", "tcp,icmp", "--port", "53"],
        &["--proto", "icmp,icmpv6", "-4"],
        &["--proto", "arp", "--addr", "10.0.0.1"],
        &["-i", "lo", "--exclude-iface", "eth0"],
    ];
    for arguments in possible {
        assert!(filters_of(arguments).is_ok(), "{arguments:?}");
    }
}

fn range(bits: u32, first: u128, last: u128) -> Range {
    Range {
        kind: RangeKind::Port,
        bits,
        values: first..=last,
    }
}

#[test]
fn ranges_consist_of_the_fewest_prefixes() {
    assert_eq!(range(16, 80, 80).prefixes(), [(80, 16)]);
    assert_eq!(range(16, 0, 65535).prefixes(), [(0, 0)]);
    assert_eq!(range(16, 1024, 65535).prefixes().len(), 6);
    assert_eq!(
        range(16, 1, 6).prefixes(),
        [(1, 16), (2, 15), (4, 15), (6, 16)]
    );
    assert_eq!(range(128, 0, u128::MAX).prefixes(), [(0, 0)]);
    assert_eq!(
        range(128, u128::MAX, u128::MAX).prefixes(),
        [(u128::MAX, 128)]
    );
    assert_eq!(
        range(64, u128::from(u64::MAX) - 1, u128::from(u64::MAX))
            .prefixes()
            .len(),
        1
    );
}

/// Headers as the kernel side has them.
struct Captured<'a>(&'a [u8]);

impl Bytes for Captured<'_> {
    fn read<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        let rest = self.0.get(usize::try_from(at).ok()?..)?;
        rest.first_chunk().copied()
    }
}

/// What the line shows, in the kernel side's terms.
fn tuple_of_line(packet: &Packet) -> Tuple {
    let mut tuple = Tuple::default();
    match packet.tuple.protocol {
        Protocol::Ip(protocol) => {
            tuple.has_protocol = true;
            tuple.protocol = protocol;
        }
        Protocol::Ethertype(ethertype) => tuple.ethertype = ethertype,
        Protocol::Unknown | Protocol::Family(_) => {}
    }
    if let Some(addresses) = packet.tuple.addresses {
        tuple.has_addresses = true;
        let number = |address| match address {
            IpAddr::V4(address) => dropwatch_common::tuple::mapped(address.octets()),
            IpAddr::V6(address) => address.octets(),
        };
        tuple.is_ipv4 = addresses.source.is_ipv4();
        tuple.source = number(addresses.source);
        tuple.destination = number(addresses.destination);
    }
    if let Part::Known((source, destination)) = packet.tuple.ports {
        tuple.has_ports = true;
        tuple.source_port = source;
        tuple.destination_port = destination;
    }
    tuple
}

/// What the kernel side makes of the same bytes, without what means nothing.
fn tuple_of_filters(capture: &Capture<'_>) -> Tuple {
    let mut tuple = Tuple {
        source: [0xaa; 16],
        destination: [0xbb; 16],
        source_port: 0xcccc,
        destination_port: 0xdddd,
        ..Tuple::default()
    };
    let bytes = Captured(capture.bytes);
    let offset = capture.network_offset as u32;
    tuple.read(&bytes, capture.ethertype, offset, &mut Progress::default());
    if !tuple.has_addresses {
        (tuple.source, tuple.destination) = ([0; 16], [0; 16]);
    }
    if !tuple.has_ports {
        (tuple.source_port, tuple.destination_port) = (0, 0);
    }
    if tuple.has_protocol {
        tuple.ethertype = 0;
    } else {
        tuple.protocol = 0;
    }
    tuple.version = 0;
    tuple
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    /// Filters look at what the line shows: whole packets, cut ones, garbled ones.
    #[test]
    fn filters_and_lines_agree(
        sample in prop_oneof![samples::sample(), samples::garbled()],
        len in 0..400_usize,
    ) {
        for capture in [sample.capture(), sample.start(len.min(sample.bytes.len()))] {
            let packet = Packet::parse(&capture);
            prop_assert_eq!(tuple_of_filters(&capture), tuple_of_line(&packet));
        }
    }

    /// Each value of a range is in exactly one of its prefixes, and no other is.
    #[test]
    fn prefixes_are_the_range(first: u16, last: u16, value: u16) {
        let (first, last) = (first.min(last), first.max(last));
        let prefixes = range(16, first.into(), last.into()).prefixes();
        let inside = prefixes.iter().filter(|(start, bits)| {
            u32::from(value).checked_shr(16 - bits).unwrap_or(0)
                == (*start as u32).checked_shr(16 - bits).unwrap_or(0)
        });
        prop_assert_eq!(inside.count(), usize::from((first..=last).contains(&value)));
    }
}
