use std::ops::Range as AddressRange;

use clap::Parser as _;
use dropwatch_common::{
    config::{IFACE_KEEP, IFACE_TURN_DOWN, RANGE_IPV4, RangeKind, filters},
    tuple::{Bytes, Progress, Tuple},
};
use proptest::{prelude::*, sample::select, strategy::ValueTree as _, test_runner::TestRunner};

use super::*;
use crate::{
    cli::Cli,
    enrich::container::ContainerMatch,
    filter::{KernelFilters, Resolver},
    format::samples::{Parts, parts},
    record::Netns,
};

fn filters_of(arguments: &[&str]) -> Filters {
    let cli = Cli::try_parse_from(["dropwatch"].iter().chain(arguments)).unwrap();
    Filters::new(cli.lines.filter).unwrap()
}

/// For filters that need nothing of a system but numbers of namespaces.
struct Numbers;

impl Resolver for Numbers {
    fn reasons(&mut self, _: &str, _: &str) -> Result<Vec<RangeInclusive<u32>>> {
        bail!("not asked for")
    }

    fn functions(&mut self, _: &str, _: &str) -> Result<Vec<AddressRange<u64>>> {
        bail!("not asked for")
    }

    fn netns(&mut self, name: &str) -> Result<u32> {
        Ok(name.parse()?)
    }

    fn cgroup(&mut self, _: &str) -> Result<u64> {
        bail!("not asked for")
    }

    fn container(&mut self, _: &str) -> Result<ContainerMatch> {
        bail!("not asked for")
    }
}

/// Headers as the kernel side has them.
struct Captured<'a>(&'a [u8]);

impl Bytes for Captured<'_> {
    fn read<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        let rest = self.0.get(usize::try_from(at).ok()?..)?;
        rest.first_chunk().copied()
    }
}

/// What the kernel side decides (`dropwatch-ebpf/src/filter.rs`, `packet_matches`), by the numbers
/// that it is given and its own reading of the packet.
struct KernelSide {
    kernel: KernelFilters,
}

impl KernelSide {
    fn is_on(&self, kind: RangeKind) -> bool {
        self.kernel.range_flags & kind.bit() != 0
    }

    fn is_in(&self, kind: RangeKind, family: u32, value: u128) -> bool {
        let mut of_kind = self.kernel.ranges.iter().filter(|range| range.kind == kind);
        of_kind
            .any(|range| range.key_kind() == kind as u32 | family && range.values.contains(&value))
    }

    fn keeps(&self, kind: RangeKind, value: Option<u128>) -> bool {
        !self.is_on(kind) || value.is_some_and(|value| self.is_in(kind, 0, value))
    }

    fn address_is_in(&self, kind: RangeKind, address: [u8; 16], is_ipv4: bool) -> bool {
        let value = u128::from_be_bytes(address);
        match is_ipv4 {
            true => self.is_in(kind, RANGE_IPV4, value & 0xffff_ffff),
            false => self.is_in(kind, 0, value),
        }
    }

    fn has(&self, flag: u32) -> bool {
        self.kernel.flags & flag != 0
    }

    fn matches(&self, record: &DropRecord<'_>) -> bool {
        let len = record.skb.map(|skb| skb.len.into());
        let netns = record.netns.map(|netns| netns.inode.into());
        let mark_matches = |mark: u32| {
            let mut marks = self.kernel.marks.iter();
            marks.any(|wanted| mark & wanted.mask == wanted.value)
        };
        let listed = record.device.and_then(|device| {
            let name = padded::<IFNAME_LEN>(device.name);
            self.kernel.ifaces.get(&name).copied()
        });
        let listed = listed.unwrap_or(0);
        self.keeps(RangeKind::Length, len)
            && self.keeps(RangeKind::Netns, netns)
            && (!self.has(filters::MARK) || record.skb.is_some_and(|skb| mark_matches(skb.mark)))
            && (!self.has(filters::IFACE) || listed & IFACE_KEEP != 0)
            && listed & IFACE_TURN_DOWN == 0
            && self.tuple_matches(record)
    }

    fn tuple_matches(&self, record: &DropRecord<'_>) -> bool {
        let capture = record.bytes.unwrap().capture();
        let mut tuple = Tuple::default();
        tuple.read(
            &Captured(capture.bytes),
            capture.ethertype,
            capture.network_offset as u32,
            &mut Progress::default(),
        );
        let family = (self.has(filters::IPV4) && tuple.version == 4)
            || (self.has(filters::IPV6) && tuple.version == 6);
        let address = |kind, addresses: &[[u8; 16]]| {
            let mut addresses = addresses.iter();
            !self.is_on(kind)
                || tuple.has_addresses
                    && addresses.any(|it| self.address_is_in(kind, *it, tuple.is_ipv4))
        };
        let port = |kind, ports: &[u16]| {
            let mut ports = ports.iter();
            !self.is_on(kind)
                || tuple.has_ports && ports.any(|it| self.is_in(kind, 0, u128::from(*it)))
        };
        let protocol = match tuple.has_protocol {
            true => IP_PROTOCOL | u32::from(tuple.protocol),
            false => u32::from(tuple.ethertype),
        };
        let (source, destination) = (tuple.source_port, tuple.destination_port);
        (!self.has(filters::IPV4 | filters::IPV6) || family)
            && address(RangeKind::Source, &[tuple.source])
            && address(RangeKind::Destination, &[tuple.destination])
            && address(RangeKind::Address, &[tuple.source, tuple.destination])
            && port(RangeKind::SourcePort, &[source])
            && port(RangeKind::DestinationPort, &[destination])
            && port(RangeKind::Port, &[source, destination])
            && self.keeps(RangeKind::Protocol, Some(protocol.into()))
    }
}

/// Flags that the packet alone decides.
const OF_PACKETS: &[&[&str]] = &[
    &["-4"],
    &["-6"],
    &["-4", "-6"],
    &["--addr", "10.0.0.1,2001:db8::2"],
    &["--addr", "10.0.0.0/31,::/0"],
    &["--saddr", "10.0.0.0/8"],
    &["--saddr", "2001:db8::/32"],
    &["--daddr", "10.0.0.2"],
    &["--daddr", "::ffff:10.0.0.2"],
    &["--addr", "0.0.0.0/0"],
    &["--port", "0-32767"],
    &["--sport", "39873"],
    &["--dport", "4789,6081,1-20000"],
    &["--proto", "udp,gre,esp"],
    &["--proto", "arp,tcp,ethertype-0x88b5"],
    &["--proto", "ipv4,ipv6,vlan"],
    &["--len", "0-2147483647"],
    &["--mark", "0/1,0x3/0x3"],
    &[
        "-4",
        "--proto",
        "udp",
        "--sport",
        "39873",
        "--daddr",
        "10.0.0.0/30",
    ],
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    /// A filter that is asked of a recording keeps what the kernel side keeps.
    #[test]
    fn recordings_are_filtered_as_the_kernel_filters(
        parts in parts(),
        flags in select(OF_PACKETS.to_vec()),
    ) {
        let filters = filters_of(flags);
        let kernel = KernelSide { kernel: filters.resolve(&mut Numbers).unwrap() };
        let record = parts.record();
        let kept = RecordFilters::new(&filters).unwrap().judge(&record) == Verdict::Keep;
        prop_assert_eq!(kept, kernel.matches(&record), "{:?} {:?}", flags, record);
    }
}

/// A drop with everything known.
fn some_parts() -> Parts {
    let mut runner = TestRunner::deterministic();
    let mut parts = parts().new_tree(&mut runner).unwrap().current();
    parts.reason = Some("NETFILTER_DROP");
    parts.reason_number = 8;
    parts.class = Class::Drop;
    parts.device = Some((2, b"eth0".to_vec()));
    parts.netns = Some((4_026_531_840, Some(b"blue".to_vec())));
    parts.pid = 812;
    parts.comm = b"worker".to_vec();
    parts.owner = Some((b"nginx".to_vec(), 800, 0));
    let id = b"0123456789abcdef".repeat(4);
    parts.workload = [
        Some(b"web".to_vec()),
        Some(b"shop/web-1".to_vec()),
        None,
        Some(id),
    ];
    let scope = format!(
        "/system.slice/docker-{}.scope",
        "0123456789abcdef".repeat(4)
    );
    parts.cgroup = Some(scope.into_bytes());
    parts.stack =
        Some("ip_rcv+0x1,ip_local_deliver+0x81,__netif_receive_skb_core.constprop.0+0x8d");
    parts
}

/// Whether the flags keep a drop of a host with some drop reasons.
fn keeps(flags: &[&str], record: &DropRecord<'_>) -> Result<bool> {
    let filters = filters_of(flags);
    let mut of_records = RecordFilters::new(&filters)?;
    let reasons = [
        (1, "SKB_CONSUMED"),
        (3, "NO_SOCKET"),
        (8, "NETFILTER_DROP"),
        (0x3_0001, "openvswitch:LAST_ACTION"),
    ];
    let mut names = ReasonNames::written_down(reasons, [(3, "openvswitch")]);
    of_records.set_reasons(&mut names)?;
    Ok(of_records.judge(record) == Verdict::Keep)
}

#[test]
fn a_reason_that_the_recorded_kernel_does_not_have() {
    let parts = some_parts();
    let error = keeps(&["-r", "NOSOCKET"], &parts.record()).unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        "--reason: the recorded kernel has no drop reason named 'NOSOCKET'; it has NO_SOCKET"
    );
}

#[test]
fn each_flag_looks_at_its_field() {
    let parts = some_parts();
    let record = parts.record();
    // Flags that keep the drop, and flags of the same kind that do not.
    let cases: &[(&[&str], &[&str])] = &[
        (&["-r", "NETFILTER_DROP"], &["-r", "NO_SOCKET"]),
        (&["-r", "skb_drop_reason_netfilter_*"], &["-r", "3"]),
        (&["-r", "8"], &["-r", "openvswitch"]),
        (
            &["--exclude-reason", "NO_*"],
            &["--exclude-reason", "NET*,NO_*"],
        ),
        (&["--func", "nft_do_*"], &["--func", "nft_do"]),
        (
            &["--func", "nft_do_chain[nf_tables]"],
            &["--func", "nft_do_chain[nf_conntrack]"],
        ),
        (
            &["--exclude-func", "ip_rcv"],
            &["--exclude-func", "nft_do_chain"],
        ),
        (
            &["--stack-func", "ip_local_deliver"],
            &["--stack-func", "ip_local"],
        ),
        (
            &["--stack-func", "__netif_receive_skb_core"],
            &["--stack-func", "tcp_*"],
        ),
        (&["--stack-func", "nft_do_chain"], &["--stack-func", "0x*"]),
        (&["-i", "eth0,eth1"], &["-i", "eth1"]),
        (&["--exclude-iface", "eth1"], &["--exclude-iface", "eth0"]),
        (&["--netns", "blue"], &["--netns", "green"]),
        (&["--netns", "4026531840"], &["--netns", "4026531841"]),
        (
            &["--netns", "/run/netns/blue"],
            &["--netns", "/var/run/netns/green"],
        ),
        (&["--container", "web"], &["--container", "db"]),
        (&["--container", "shop/web-1"], &["--container", "web-1"]),
        (&["--container", "0123456789ab"], &["--container", "1234"]),
        (&["--cgroup", "/system.slice"], &["--cgroup", "/system"]),
        (
            &["--cgroup", "/sys/fs/cgroup/system.slice/"],
            &["--cgroup", "/sys/fs/cgroup/user.slice"],
        ),
        (
            &["--cgroup", "/sys/fs/cgroup/unified/system.slice"],
            &["--cgroup", "/sys/fs/cgroup/unifiedX"],
        ),
        (&["--cgroup", "/"], &["--cgroup", "/init.scope"]),
        (&["--pid", "800"], &["--pid", "812"]),
        (&["--comm", "nginx"], &["--comm", "worker"]),
        (
            &["--pid", "800", "--comm", "nginx"],
            &["--pid", "800", "--comm", "worker"],
        ),
        (&["--hide-expected"], &["--hide-expected", "--pid", "1"]),
    ];
    for (keeping, other) in cases {
        assert!(keeps(keeping, &record).unwrap(), "{keeping:?}");
        assert!(!keeps(other, &record).unwrap(), "{other:?}");
    }
}

#[test]
fn what_is_not_known_does_not_match_and_is_not_excluded() {
    let parts = some_parts();
    let unknown = DropRecord {
        reason: None,
        skb: None,
        device: None,
        location: "0xffffffffc0a01234",
        netns: Some(Netns {
            inode: 7,
            name: None,
        }),
        workload: Workload::default(),
        stack: Some(Stack::Unknown),
        origin: crate::record::Origin::default(),
        ..parts.record()
    };
    for (flags, expected) in [
        (&["-r", "*"][..], false),
        (&["--exclude-reason", "*"], true),
        (&["--len", "0-4294967295"], false),
        (&["--mark", "0/0"], false),
        (&["-i", "eth0"], false),
        (&["--exclude-iface", "eth0"], true),
        (&["--func", "*"], false),
        (&["--exclude-func", "*"], true),
        (&["--stack-func", "*"], false),
        (&["--netns", "blue"], false),
        (&["--container", "web"], false),
        (&["--cgroup", "/"], false),
    ] {
        assert_eq!(keeps(flags, &unknown).unwrap(), expected, "{flags:?}");
    }
}

#[test]
fn whose_a_packet_is() {
    let mut parts = some_parts();
    let keeps = |parts: &Parts, flags: &[&str]| keeps(flags, &parts.record()).unwrap();
    // The owner is on the CPU: the thread's name counts as well.
    parts.pid = 800;
    assert!(keeps(&parts, &["--comm", "worker"]) && keeps(&parts, &["--comm", "nginx"]));
    // Nobody holds the socket, as far as is known.
    parts.owner = None;
    assert!(keeps(&parts, &["--comm", "worker"]) && !keeps(&parts, &["--comm", "nginx"]));
    // Names are compared as far as the kernel keeps them.
    parts.comm = b"systemd-resolve".to_vec();
    assert!(keeps(&parts, &["--comm", "systemd-resolved"]));
    // The namespace is a container's, and the socket is not one of a container.
    parts.cgroup = Some(b"/system.slice/ssh.service".to_vec());
    assert!(!keeps(&parts, &["--container", "web"]));
    assert!(keeps(&parts, &["--cgroup", "/system.slice/ssh.service"]));
    parts.cgroup = None;
    assert!(keeps(&parts, &["--container", "web"]) && !keeps(&parts, &["--cgroup", "/"]));
}

#[test]
fn expected_drops_are_hidden() {
    let mut parts = some_parts();
    let filters = filters_of(&["--hide-expected"]);
    let of_records = RecordFilters::new(&filters).unwrap();
    for (class, verdict) in [
        (Class::Drop, Verdict::Keep),
        (Class::Refused, Verdict::Keep),
        (Class::Teardown, Verdict::Hide),
        (Class::Expected, Verdict::Hide),
    ] {
        parts.class = class;
        assert_eq!(of_records.judge(&parts.record()), verdict);
    }
}

#[test]
fn what_only_a_running_host_knows_is_refused() {
    let parts = some_parts();
    for (flags, expected) in [
        (&["--netns", "pid:1"][..], "inode numbers"),
        (&["--netns", "/proc/1/ns/net"], "inode numbers"),
        (&["--cgroup", "nginx.service"], "from the top"),
        (&["-r", "NO_SOCKETS"], "NO_SOCKET"),
    ] {
        let error = keeps(flags, &parts.record()).unwrap_err();
        let error = format!("{error:#}");
        assert!(error.contains(expected), "{flags:?} gave: {error}");
    }
}
