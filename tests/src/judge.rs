//! Compares the lines that came with those that had to come.

use std::{collections::BTreeMap, fmt};

use crate::{
    kernel::Kernel,
    line::{Line, OF_SOME_PACKETS},
    scenario::{Also, Printed, Scenario},
    traffic::{Packet, fits},
    world::World,
};

/// Where the kernel frees what never was a packet, while a device is set up (6.x), or a process looks
/// for a service of the C library that is not there (up to 6.12).
const NO_PACKETS: &[&str] = &[
    "napi_get_frags_check",
    "netif_napi_add_weight_locked",
    "unix_stream_connect",
];

/// What one scenario was to make of one dropwatch's output.
#[derive(Debug)]
pub struct Judge<'a> {
    scenario: &'a Scenario,
    kernel: Kernel,
    packets: &'a [Packet],
    namespaces: [String; 2],
}

impl<'a> Judge<'a> {
    /// A judge for a scenario that has been played in `world`.
    #[must_use]
    pub fn new(
        scenario: &'a Scenario,
        kernel: Kernel,
        packets: &'a [Packet],
        world: &World,
    ) -> Self {
        let namespaces = [
            world.subject.inode().to_string(),
            world.peer.inode().to_string(),
        ];
        Self {
            scenario,
            kernel,
            packets,
            namespaces,
        }
    }

    /// How many lines there have to be.
    #[must_use]
    pub fn wanted(&self) -> usize {
        match self.scenario.printed {
            Printed::All => {
                self.packets.len() * (usize::from(self.is_seen()) + self.also().count())
            }
            Printed::None => 0,
            Printed::First(count) => count,
        }
    }

    /// The lines among `output` that are about this scenario: of its namespaces, or without one
    /// and about one of its packets.
    #[must_use]
    pub fn own_lines(&self, output: &[String]) -> Vec<String> {
        let own =
            |text: &&String| match text.split(' ').find_map(|word| word.strip_prefix("netns=")) {
                None | Some("-") => self.packets.iter().any(|packet| {
                    let pid = format!(" pid={} ", packet.sender.pid);
                    let sender = !self.scenario.sender_on_cpu || text.contains(&pid);
                    sender
                        && text.contains(&format!(
                            " {} {} > {} ",
                            packet.protocol, packet.source, packet.destination
                        ))
                }),
                Some(netns) => {
                    let named = |packet: &Packet| packet.token("netns") == Some(netns);
                    self.namespaces.iter().any(|namespace| namespace == netns)
                        || self.packets.iter().any(named)
                }
            };
        let is_packet = |text: &&String| {
            Line::parse(text).map_or(true, |line| {
                !NO_PACKETS.iter().any(|place| line.passes_through(place))
            })
        };
        output
            .iter()
            .filter(own)
            .filter(is_packet)
            .cloned()
            .collect()
    }

    /// Says what is wrong with the lines; empty if nothing is.
    #[must_use]
    pub fn complaints(&self, own_lines: &[String]) -> String {
        let mut complaints = Complaints::default();
        let mut expected = self.expected();
        for line in own_lines {
            match Line::parse(line) {
                Ok(parsed) => {
                    for wrong in self.judge_line(&parsed, &mut expected) {
                        complaints.add(wrong, line);
                    }
                }
                Err(error) => complaints.add(error.root_cause().to_string(), line),
            }
        }
        for (expectation, count) in expected {
            if self.scenario.printed == Printed::All {
                for _ in 0..count {
                    complaints.add("a line is missing".to_owned(), &expectation.to_string());
                }
            }
        }
        if own_lines.len() > self.wanted() {
            complaints.add(format!("more than {} lines", self.wanted()), "");
        }
        complaints.to_string()
    }

    /// Compares a line with the expectation that it fits best, and uses that up.
    fn judge_line(&self, line: &Line, expected: &mut [(Expectation<'_>, usize)]) -> Vec<String> {
        let mut candidates: Vec<_> = expected
            .iter_mut()
            .filter(|(expectation, _)| expectation.is_about(line))
            .map(|(expectation, count)| (self.wrong_fields(line, expectation), count))
            .collect();
        // What is left over comes first; among those, what fits best.
        candidates.sort_by_key(|(wrong, count)| (**count == 0, wrong.len()));
        let Some((mut wrong, count)) = candidates.into_iter().next() else {
            return vec!["not expected".to_owned()];
        };
        match count.checked_sub(1) {
            Some(left) => *count = left,
            None if self.scenario.printed == Printed::All => wrong.push("one too many".to_owned()),
            None => {}
        }
        wrong
    }

    fn wrong_fields(&self, line: &Line, expectation: &Expectation<'_>) -> Vec<String> {
        let Expectation::Packet(packet) = expectation else {
            return Vec::new();
        };
        let scenario = self.scenario;
        let no_stack = scenario.flags.contains(&"--no-stack");
        let field = |key| line.get(key).unwrap_or("-").to_owned();
        let mut wrong = Vec::new();
        let mut check = |what: &str, right: bool, want: &str| {
            if !right {
                wrong.push(format!("{what} is not {want}"));
            }
        };
        let reason = scenario.reason(self.kernel);
        check("reason", fits(reason, &line.reason), reason);
        check("if", fits(scenario.device, &field("if")), scenario.device);
        let through = scenario
            .through
            .split('|')
            .any(|function| line.passes_through(function));
        check("at or stack", through, scenario.through);
        check(
            "stack",
            line.stack().is_empty() == no_stack,
            if no_stack { "empty" } else { "there" },
        );
        let inode = packet.netns.map(|inode| inode.to_string());
        let netns = packet.token("netns").or(inode.as_deref());
        let netns = netns.unwrap_or(&self.namespaces[0]);
        let unknown = scenario.netns_may_be_unknown && field("netns") == "-";
        check("netns", field("netns") == netns || unknown, netns);
        check("len", field("len") != "-", "a number");
        if scenario.sender_on_cpu {
            let pid = packet.sender.pid.to_string();
            check("pid", field("pid") == pid, &pid);
            check(
                "comm",
                field("comm") == packet.sender.comm,
                &packet.sender.comm,
            );
        }
        if scenario.sender_owns {
            let owner = packet.sender.owner();
            check("owner", field("owner") == owner, &owner);
        }
        if let Some(class) = scenario.class(self.kernel) {
            check("class", line.get("class") == Some(class), class);
        }
        self.check_tokens(line, packet, &mut check);
        wrong
    }

    fn check_tokens(&self, line: &Line, packet: &Packet, check: &mut dyn FnMut(&str, bool, &str)) {
        let of_all = self.scenario.tokens.iter();
        let of_this = packet
            .tokens
            .iter()
            .map(|(key, value)| (*key, value.as_str()));
        let tokens: Vec<_> = of_all.copied().chain(of_this).collect();
        for (key, expected) in &tokens {
            // One that may be left out is `-` there.
            let right = fits(expected, line.get(key).unwrap_or("-"));
            check(key, right, expected);
        }
        for key in OF_SOME_PACKETS {
            let expected = tokens.iter().any(|(token, _)| token == key);
            check(key, expected || line.get(key).is_none(), "absent");
        }
    }

    /// Each thing that lines have to be about, and how many of them.
    fn expected(&self) -> Vec<(Expectation<'a>, usize)> {
        let mut counts: BTreeMap<&Packet, usize> = BTreeMap::new();
        if self.is_seen() {
            for packet in self.packets {
                *counts.entry(packet).or_default() += 1;
            }
        }
        let packets = counts.into_iter();
        let mut expected: Vec<_> = packets
            .map(|(packet, count)| (Expectation::Packet(packet), count))
            .collect();
        let also = self.also().map(Expectation::Also);
        expected.extend(also.map(|also| (also, self.packets.len())));
        expected
    }

    /// Whether this kernel tells of the drop at all.
    fn is_seen(&self) -> bool {
        self.scenario.seen_since <= self.kernel
    }

    fn also(&self) -> impl Iterator<Item = &'a Also> + use<'a> {
        let kernel = self.kernel;
        self.scenario
            .also
            .iter()
            .filter(move |also| also.since <= kernel && kernel < also.before)
    }
}

/// What a line may be about.
enum Expectation<'a> {
    Packet(&'a Packet),
    Also(&'a Also),
}

impl Expectation<'_> {
    fn is_about(&self, line: &Line) -> bool {
        match self {
            Self::Packet(packet) => {
                line.protocol == packet.protocol
                    && line.source == packet.source
                    && line.destination == packet.destination
            }
            Self::Also(also) => also.is_about(line),
        }
    }
}

impl fmt::Display for Expectation<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Packet(packet) => {
                let Packet {
                    protocol,
                    source,
                    destination,
                    ..
                } = packet;
                write!(out, "{protocol} {source} > {destination}")
            }
            Self::Also(also) => write!(out, "{} {}", also.protocol, also.address),
        }
    }
}

/// What is wrong, how often, and the first line with it.
#[derive(Default)]
struct Complaints(BTreeMap<String, (usize, String)>);

impl Complaints {
    fn add(&mut self, what: String, line: &str) {
        let (count, _) = self.0.entry(what).or_insert((0, line.to_owned()));
        *count += 1;
    }
}

impl fmt::Display for Complaints {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|(what, (count, line))| writeln!(out, "{what} ({count} times): {line}"))
    }
}

/// What two outputs about the same drops have in common: all but the time and the owner, which each
/// finds for itself, and the frames, among which a kprobe leaves its own.
#[must_use]
pub fn comparable(own_lines: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = own_lines
        .iter()
        .map(|line| {
            let words = line
                .split(' ')
                .skip(1)
                .filter(|word| !word.starts_with("stack=") && !word.starts_with("owner="));
            words.collect::<Vec<_>>().join(" ")
        })
        .collect();
    lines.sort();
    lines
}

#[cfg(test)]
mod tests {
    use super::{Judge, Kernel, Packet, comparable};
    use crate::scenario::SCENARIOS;

    const LINE: &str = "07:30:01.123456 NO_SOCKET udp 127.0.0.1:40001 > 127.0.0.1:9 len=108 if=lo \
        class=refused at=udp_rcv+0x4 pid=1 comm=x owner=- netns=77 \
        stack=ip_local_deliver+0x1";

    fn complaints(lines: &[&str]) -> String {
        let packets = Packet::new("udp", "127.0.0.1:40001", "127.0.0.1:9").times(2);
        let judge = Judge {
            scenario: &SCENARIOS[0],
            kernel: Kernel(6, 18),
            packets: &packets,
            namespaces: ["77".to_owned(), "78".to_owned()],
        };
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        judge.complaints(&judge.own_lines(&lines))
    }

    #[test]
    fn the_right_lines() {
        assert_eq!(complaints(&[LINE, LINE]), "");
        assert_eq!(
            complaints(&[LINE, LINE, &LINE.replace("netns=77", "netns=5")]),
            "",
            "another's"
        );
    }

    #[test]
    fn each_wrong_expectation_is_told() {
        for (from, to, want) in [
            ("NO_SOCKET", "-", "reason"),
            ("if=lo", "if=eth0", "if is not"),
            ("at=udp_rcv", "at=tcp_v4_rcv", "at or stack"),
            (":40001", ":40002", "not expected"),
            ("netns=77", "netns=78", "netns is not"),
            ("netns=77", "netns=-", "netns is not"),
            ("netns=77", "netns=5", "missing"),
            (" stack=ip_local_deliver+0x1", "", "stack"),
            ("class=refused", "class=drop", "class is not"),
            (" if=lo", " vlan=1 if=lo", "vlan is not absent"),
            (" if=lo", " flags=SYN if=lo", "flags"),
            ("07:30", "7:30", "not a time"),
        ] {
            let broken = LINE.replace(from, to);
            assert!(
                complaints(&[LINE, &broken]).contains(want),
                "{from}: {}",
                complaints(&[LINE, &broken])
            );
        }
        assert!(complaints(&[LINE]).contains("a line is missing (1 times)"));
        assert!(complaints(&[LINE, LINE, LINE]).contains("one too many"));
    }

    #[test]
    fn a_line_uses_up_the_expectation_that_it_fits_best() {
        let packet = || Packet::new("udp", "127.0.0.1:40001", "127.0.0.1:9");
        let packets = [
            packet().with("owner", "x[1]|-"),
            packet().with("owner", "x[1]"),
            packet().with("owner", "x[1]").in_netns(78),
        ];
        let judge = Judge {
            scenario: &SCENARIOS[0],
            kernel: Kernel(6, 18),
            packets: &packets,
            namespaces: ["77".to_owned(), "78".to_owned()],
        };
        let line = |owner: &str, netns: &str| {
            LINE.replace("owner=- netns=77", &format!("owner={owner} netns={netns}"))
        };
        let known = [line("x[1]", "78"), line("x[1]", "77"), line("x[1]", "77")];
        assert_eq!(judge.complaints(&known), "");
        let unknown_at_first = [line("x[1]", "77"), line("-", "77"), line("x[1]", "78")];
        assert_eq!(judge.complaints(&unknown_at_first), "");
        let unknown = [line("-", "77"), line("-", "77"), line("x[1]", "78")];
        assert!(
            judge
                .complaints(&unknown)
                .contains("owner is not x[1] (1 times)")
        );
        let of_one = [line("x[1]", "77"), line("x[1]", "77"), line("x[1]", "77")];
        assert!(
            judge
                .complaints(&of_one)
                .contains("netns is not 78 (1 times)")
        );
    }

    #[test]
    fn what_two_hooks_have_in_common() {
        let earlier = LINE
            .replace("07:30", "07:29")
            .replace("ip_local_deliver", "ftrace_call")
            .replace("netns=77", "owner=- netns=77");
        assert_eq!(comparable(&[LINE.to_owned()]), comparable(&[earlier]));
        assert_ne!(
            comparable(&[LINE.to_owned()]),
            comparable(&[LINE.replace("len=108", "len=109")])
        );
    }
}
