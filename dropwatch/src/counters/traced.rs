//! The drops that were traced, by what tells which counters they move.

use std::{collections::BTreeMap, net::IpAddr};

use rustc_hash::{FxHashMap, FxHashSet};

use crate::{
    explain::{NEAR, entries, query::Place, texts::Texts},
    format::write_dimension,
    groups::{Dimension, Groups},
    record::DropRecord,
};

/// Most kinds of drops that are told apart: some hundred bytes each.
const LIMIT: usize = 16 * 1024;

/// Ends each part of a kind.
const END: u8 = 0;

/// What lines show for what can't be known.
const UNKNOWN: &str = "-";

/// What matters of a drop, in the words of lines and in the order of the parts of a kind.
const PARTS: [Dimension; 6] = [
    Dimension::Reason,
    Dimension::At,
    Dimension::Stack,
    Dimension::Netns,
    Dimension::If,
    Dimension::Proto,
];

/// Drops by kind: its parts and the version of IP, each followed by [`END`].
#[derive(Default)]
pub(super) struct Traced {
    drops: FxHashMap<Box<[u8]>, u64>,
    /// Room to write a kind in.
    kind: Vec<u8>,
}

impl Traced {
    /// Notes a drop.
    pub(super) fn note(&mut self, record: &DropRecord<'_>) {
        self.kind.clear();
        for part in PARTS {
            let start = self.kind.len();
            write_dimension(part, record, &mut self.kind);
            if part == Dimension::Stack {
                keep_near(&mut self.kind, start);
            }
            self.kind.push(END);
        }
        let addresses = record.packet.tuple.addresses;
        self.kind.extend_from_slice(match addresses {
            Some(addresses) if matches!(addresses.source, IpAddr::V4(_)) => b"4",
            Some(_) => b"6",
            None => b"-",
        });
        self.kind.push(END);
        if let Some(drops) = self.drops.get_mut(&*self.kind) {
            *drops += 1;
        } else if self.drops.len() < LIMIT {
            self.drops.insert(self.kind.as_slice().into(), 1);
        }
    }

    /// The drops that were noted.
    pub(super) fn drops(&self) -> Drops<'_> {
        let drops = self.drops.iter().map(|(kind, drops)| {
            let mut parts = kind
                .split(|byte| *byte == END)
                .map(|part| str::from_utf8(part).unwrap_or(UNKNOWN));
            let mut next = || parts.next().unwrap_or(UNKNOWN);
            let part = [next(), next(), next(), next(), next(), next(), next()];
            (part, *drops)
        });
        Drops(drops.collect())
    }
}

/// Cuts a stack behind the callers that entries are looked up for.
fn keep_near(kind: &mut Vec<u8>, start: usize) {
    let commas = (start..).zip(kind.iter().skip(start));
    let mut commas = commas.filter(|(_, byte)| **byte == b',');
    if let Some((end, _)) = commas.nth(NEAR - 1) {
        kind.truncate(end);
    }
}

/// Drops, with the parts of their kinds.
pub(super) struct Drops<'d>(Vec<([&'d str; 7], u64)>);

impl<'d> Drops<'d> {
    /// Those of groups, since the start; `None` if the groups don't tell why packets were dropped.
    pub(super) fn of_groups(groups: &'d Groups) -> Option<Self> {
        let by = groups.by();
        if !by.contains(&Dimension::Reason) && !by.contains(&Dimension::At) {
            return None;
        }
        let place = |part| by.iter().position(|dimension| *dimension == part);
        let places = PARTS.map(place);
        let drops = groups.groups().map(|group| {
            let value = |place: Option<usize>| {
                let id = place.and_then(|place| group.values.get(place));
                id.map_or(UNKNOWN, |id| groups.text(*id))
            };
            let [reason, at, stack, netns, interface, protocol] = places.map(value);
            let part = [reason, at, stack, netns, interface, protocol, UNKNOWN];
            (part, group.total.drops)
        });
        Some(Self(drops.collect()))
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.0.iter().map(|(_, drops)| drops).sum()
    }

    /// With the counters that they move.
    pub(super) fn movers<'t>(&self, texts: &'t Texts) -> Movers<'t, 'd> {
        let mut movers: BTreeMap<&str, Vec<Mover<'t, 'd>>> = BTreeMap::new();
        for (part, drops) in &self.0 {
            let [reason, at, stack, netns, interface, protocol, version] = *part;
            let reason = Some(reason).filter(|reason| *reason != UNKNOWN);
            let place = Place::new(reason, at, Some(stack));
            // It moves a counter once, however many of its entries name that.
            let mut named = FxHashSet::default();
            for ((by, entry), is_site) in entries(texts, &place) {
                let counters = entry.counters.iter().chain(&entry.moves);
                for counter in counters.filter(|counter| named.insert(*counter)) {
                    movers.entry(counter).or_default().push(Mover {
                        by,
                        perhaps: is_site || entry.perhaps.contains(counter),
                        netns,
                        interface,
                        protocol,
                        version,
                        drops: *drops,
                    });
                }
            }
        }
        Movers(movers)
    }
}

/// Drops of a kind that move a counter.
struct Mover<'t, 'd> {
    /// The entry that says so.
    by: &'t str,
    /// Whether they do so in some cases only.
    perhaps: bool,
    netns: &'d str,
    interface: &'d str,
    protocol: &'d str,
    version: &'d str,
    drops: u64,
}

/// Drops by the counters that they move.
pub(super) struct Movers<'t, 'd>(BTreeMap<&'t str, Vec<Mover<'t, 'd>>>);

/// Traced drops that explain a counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The drop reason or the function of the call site, as `dropwatch explain` knows it.
    pub by: String,
    /// How many drops.
    pub drops: u64,
    /// Whether it is not known that they, all of them, moved this counter.
    pub perhaps: bool,
}

impl Movers<'_, '_> {
    /// What explains a counter of this namespace and interface (`None` where it is of none): what
    /// surely does first, then the most drops.
    pub(super) fn causes(
        &self,
        counter: &str,
        netns: Option<&str>,
        interface: Option<&str>,
    ) -> Vec<Cause> {
        let (version, protocol) = family(counter);
        let mut causes: BTreeMap<(&str, bool), u64> = BTreeMap::new();
        for mover in self.0.get(counter).into_iter().flatten() {
            let fits = [
                fit(netns, mover.netns),
                fit(interface, mover.interface),
                fit(protocol, mover.protocol),
                fit(version, mover.version),
            ];
            if fits.contains(&Fit::No) {
                continue;
            }
            let perhaps = mover.perhaps || fits.contains(&Fit::Unknown);
            *causes.entry((mover.by, perhaps)).or_default() += mover.drops;
        }
        let mut causes: Vec<Cause> = causes
            .into_iter()
            .map(|((by, perhaps), drops)| Cause {
                by: by.to_owned(),
                drops,
                perhaps,
            })
            .collect();
        causes.sort_by_key(|cause| (cause.perhaps, std::cmp::Reverse(cause.drops)));
        causes
    }
}

/// Whether a drop can have moved a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    Yes,
    No,
    Unknown,
}

fn fit(counter: Option<&str>, drop: &str) -> Fit {
    match counter {
        None => Fit::Yes,
        Some(_) if drop == UNKNOWN => Fit::Unknown,
        Some(counter) if counter == drop => Fit::Yes,
        Some(_) => Fit::No,
    }
}

/// The version of IP and the protocol whose packets alone move a counter.
fn family(counter: &str) -> (Option<&'static str>, Option<&'static str>) {
    const FAMILIES: [(&str, Option<&str>, Option<&str>); 12] = [
        ("Udp6", Some("6"), Some("udp")),
        ("Udp", Some("4"), Some("udp")),
        ("Icmp6", Some("6"), Some("icmpv6")),
        ("Icmp", Some("4"), Some("icmp")),
        ("Ip6", Some("6"), None),
        ("Ip", Some("4"), None),
        // The group of counters has some of IP.
        ("TcpExtIP", Some("4"), None),
        ("TcpExtPFMemalloc", None, None),
        ("Tcp", None, Some("tcp")),
        ("arp_cache ", Some("4"), None),
        ("rt_cache ", Some("4"), None),
        ("ndisc_cache ", Some("6"), None),
    ];
    let mut families = FAMILIES.iter();
    let found = families.find(|(prefix, ..)| counter.starts_with(prefix));
    found.map_or((None, None), |(_, version, protocol)| (*version, *protocol))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Drops in one namespace: reason, call site, interface, protocol, version of IP.
    fn drops<'d>(drops: &[([&'d str; 5], u64)]) -> Drops<'d> {
        let all = drops.iter().map(|(part, count)| {
            let [reason, at, interface, protocol, version] = *part;
            let part = [reason, at, UNKNOWN, "blue", interface, protocol, version];
            (part, *count)
        });
        Drops(all.collect())
    }

    fn causes(drops: &Drops<'_>, counter: &str, netns: &str, interface: Option<&str>) -> String {
        let texts = Texts::load().unwrap();
        let causes = drops.movers(&texts).causes(counter, Some(netns), interface);
        let shown = causes.iter().map(|cause| {
            let perhaps = if cause.perhaps { "?" } else { "" };
            format!("{}{perhaps} {}", cause.by, cause.drops)
        });
        shown.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn counters_go_by_namespace_protocol_and_version() {
        let at = "udp_queue_rcv_one_skb+0x409";
        let drops = drops(&[
            (["SOCKET_RCVBUFF", at, "lo", "udp", "4"], 12),
            (["SOCKET_RCVBUFF", at, "eth0", "udp", "4"], 1),
            (["SOCKET_RCVBUFF", at, "lo", "udp", "6"], 5),
            (["SOCKET_RCVBUFF", at, "lo", "icmp", "4"], 7),
            (["NO_SOCKET", "udp_rcv+0x1", "lo", "udp", "4"], 3),
        ]);
        for (counter, netns, expected) in [
            ("UdpRcvbufErrors", "blue", "SOCKET_RCVBUFF 13"),
            ("UdpInErrors", "blue", "SOCKET_RCVBUFF 13"),
            ("Udp6RcvbufErrors", "blue", "SOCKET_RCVBUFF 5"),
            ("UdpRcvbufErrors", "red", ""),
            ("UdpNoPorts", "blue", "NO_SOCKET 3"),
            ("UdpMemErrors", "blue", ""),
        ] {
            assert_eq!(causes(&drops, counter, netns, None), expected, "{counter}");
        }
        assert_eq!(drops.count(), 28);
    }

    #[test]
    fn what_is_not_known_is_perhaps() {
        let site = drops(&[(["-", "udp_queue_rcv_one_skb+0x9", "lo", "udp", "4"], 4)]);
        let shown = causes(&site, "UdpRcvbufErrors", "blue", None);
        assert_eq!(shown, "udp_queue_rcv_one_skb? 4");
        // As in a group that is told apart by the reason only.
        let group = drops(&[(["SOCKET_RCVBUFF", "-", "-", "-", "-"], 4)]);
        let shown = causes(&group, "UdpRcvbufErrors", "blue", None);
        assert_eq!(shown, "SOCKET_RCVBUFF? 4");
        let memory = drops(&[
            (["PROTO_MEM", "-", "-", "udp", "4"], 1),
            (["PROTO_MEM", "-", "-", "tcp", "4"], 2),
        ]);
        let shown = causes(&memory, "UdpMemErrors", "blue", None);
        assert_eq!(shown, "PROTO_MEM 1");
        let shown = causes(&memory, "TcpExtTCPRcvQDrop", "blue", None);
        assert_eq!(shown, "PROTO_MEM? 2");
    }

    #[test]
    fn a_drop_on_its_way_out_explains_a_counter_once() {
        let part = |reason, at, stack, version| [reason, at, stack, "blue", "-", "udp", version];
        let hook = "nft_do_chain_inet+0x43,nf_hook_slow+0x43,__ip_local_out+0x11c";
        let drops = Drops(vec![
            (part("NETFILTER_DROP", "nft_do_chain+0x3e8", hook, "4"), 5),
            (part("NETFILTER_DROP", "nft_do_chain+0x3e8", hook, "6"), 2),
            // As before 5.17.
            (
                part("-", "nf_hook_slow+0x9", "__ip_local_out+0x11c", "4"),
                3,
            ),
            (
                part("BPF_CGROUP_EGRESS", "ip_finish_output+0x1", "-", "4"),
                4,
            ),
            (part("TC_EGRESS", "__dev_queue_xmit+0x1", "-", "6"), 6),
        ]);
        for (counter, expected) in [
            (
                "IpOutDiscards",
                "NETFILTER_DROP? 5, BPF_CGROUP_EGRESS? 4, __ip_local_out? 3",
            ),
            ("Ip6OutDiscards", "TC_EGRESS? 6, NETFILTER_DROP? 2"),
            ("Udp6SndbufErrors", "TC_EGRESS? 6, NETFILTER_DROP? 2"),
            ("Ip6FragFails", "TC_EGRESS? 6, NETFILTER_DROP? 2"),
        ] {
            assert_eq!(causes(&drops, counter, "blue", None), expected);
        }
    }

    #[test]
    fn queues_go_by_interface() {
        let queue = drops(&[
            (["QDISC_DROP", "-", "eth0", "udp", "4"], 10),
            (["QDISC_OVERLIMIT", "-", "eth0", "udp", "4"], 20),
            (["QDISC_DROP", "-", "eth1", "udp", "4"], 5),
            (
                ["CPU_BACKLOG", "enqueue_to_backlog+0x1", "eth1", "udp", "4"],
                2,
            ),
        ]);
        for (counter, interface, expected) in [
            ("qdisc drops", "eth0", "QDISC_OVERLIMIT 20, QDISC_DROP 10"),
            ("qdisc drops", "eth1", "QDISC_DROP 5"),
            ("qdisc drops", "eth2", ""),
            ("interface rx_dropped", "eth1", "CPU_BACKLOG 2"),
            ("interface rx_dropped", "eth0", ""),
        ] {
            let shown = causes(&queue, counter, "blue", Some(interface));
            assert_eq!(shown, expected, "{counter} {interface}");
        }
        let texts = Texts::load().unwrap();
        let global = queue.movers(&texts);
        let global = global.causes("softnet_stat dropped", None, None);
        assert_eq!(global.first().map(|cause| cause.drops), Some(2));
    }

    #[test]
    fn stacks_are_cut_behind_the_callers_that_matter() {
        let mut kind = b"NO_SOCKET\0a+0x1,b+0x2,c+0x3,d+0x4,e+0x5".to_vec();
        keep_near(&mut kind, 10);
        assert_eq!(kind, b"NO_SOCKET\0a+0x1,b+0x2,c+0x3,d+0x4");
        keep_near(&mut kind, 10);
        assert_eq!(kind, b"NO_SOCKET\0a+0x1,b+0x2,c+0x3,d+0x4");
    }

    #[test]
    fn groups_without_reason_and_call_site_explain_nothing() {
        assert!(Drops::of_groups(&Groups::new(&[Dimension::Dport], 9)).is_none());
        let mut groups = Groups::new(&[Dimension::Reason, Dimension::Netns], 9);
        let counts = crate::groups::Counts {
            drops: 6,
            ..Default::default()
        };
        groups.add_values(&["UDP_CSUM", "blue"], counts);
        groups.begin_reading(Default::default());
        let drops = Drops::of_groups(&groups).unwrap();
        let part = ["UDP_CSUM", "-", "-", "blue", "-", "-", "-"];
        assert_eq!(drops.0, [(part, 6)]);
    }
}
