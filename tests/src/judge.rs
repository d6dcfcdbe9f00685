//! Compares the lines that came with those that had to come.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

use crate::{
    kernel::Kernel,
    line::Line,
    scenario::{Also, Printed, Scenario},
    traffic::Packet,
    world::World,
};

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
            Printed::All => self.packets.len() * (1 + self.also().count()),
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
                    text.contains(&format!(
                        " {} {} > {} ",
                        packet.protocol, packet.source, packet.destination
                    ))
                }),
                Some(inode) => self.namespaces.iter().any(|namespace| namespace == inode),
            };
        output.iter().filter(own).cloned().collect()
    }

    /// Says what is wrong with the lines; empty if nothing is.
    #[must_use]
    pub fn complaints(&self, own_lines: &[String]) -> String {
        let mut complaints = Complaints::default();
        let mut missing: HashMap<Key, i64> = HashMap::new();
        if self.scenario.printed == Printed::All {
            for key in self.keys() {
                *missing.entry(key).or_default() += 1;
            }
        }
        for line in own_lines {
            self.judge_line(line, &mut missing, &mut complaints);
        }
        for ((protocol, source, destination), count) in missing {
            for _ in 0..count {
                let line = format!("{protocol} {source} > {destination}");
                complaints.add("a line is missing".to_owned(), &line);
            }
        }
        if own_lines.len() > self.wanted() {
            complaints.add(format!("more than {} lines", self.wanted()), "");
        }
        complaints.to_string()
    }

    fn judge_line(&self, line: &str, missing: &mut HashMap<Key, i64>, complaints: &mut Complaints) {
        let parsed = match Line::parse(line) {
            Ok(parsed) => parsed,
            Err(error) => return complaints.add(error.root_cause().to_string(), line),
        };
        let key = (
            parsed.protocol.clone(),
            parsed.source.clone(),
            parsed.destination.clone(),
        );
        if let Some(count) = missing.get_mut(&key) {
            *count -= 1;
            if *count < 0 {
                complaints.add("one too many".to_owned(), line);
            }
        }
        let packet = self.packets.iter().find(|packet| is_about(&parsed, packet));
        match packet {
            Some(packet) => {
                for wrong in self.wrong_fields(&parsed, packet) {
                    complaints.add(wrong, line);
                }
            }
            None if self.also().any(|also| also.is_about(&parsed)) => {}
            None => complaints.add("not expected".to_owned(), line),
        }
    }

    fn wrong_fields(&self, line: &Line, packet: &Packet) -> Vec<String> {
        let scenario = self.scenario;
        let no_stack = scenario.flags.contains(&"--no-stack");
        let field = |key| line.get(key).unwrap_or("-").to_owned();
        let mut wrong = Vec::new();
        let mut check = |what: &str, right: bool, want: &str| {
            if !right {
                wrong.push(format!("{what} is not {want}"));
            }
        };
        let one_of = |names: &str, name: &str| names.split('|').any(|one| one == name);
        let reason = scenario.reason(self.kernel);
        check("reason", one_of(reason, &line.reason), reason);
        check("if", one_of(scenario.device, &field("if")), scenario.device);
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
        let known = field("netns") == self.namespaces[0];
        let unknown = scenario.netns_may_be_unknown && field("netns") == "-";
        check("netns", known || unknown, &self.namespaces[0]);
        check(
            "flags",
            line.get("flags") == scenario.tcp_flags,
            scenario.tcp_flags.unwrap_or("absent"),
        );
        check("len", field("len") != "-", "a number");
        if scenario.sender_on_cpu {
            check(
                "pid",
                field("pid") == packet.sender.pid.to_string(),
                &packet.sender.pid.to_string(),
            );
            check(
                "comm",
                field("comm") == packet.sender.comm,
                &packet.sender.comm,
            );
        }
        wrong
    }

    /// What a line has to show of each packet, and of what comes with it.
    fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.packets.iter().flat_map(|packet| {
            let own = (
                packet.protocol.to_owned(),
                packet.source.clone(),
                packet.destination.clone(),
            );
            let also = self.also().map(|also| {
                (
                    also.protocol.to_owned(),
                    also.address.to_owned(),
                    also.address.to_owned(),
                )
            });
            std::iter::once(own).chain(also)
        })
    }

    fn also(&self) -> impl Iterator<Item = &'a Also> + '_ {
        self.scenario
            .also
            .iter()
            .filter(|also| self.kernel < also.before)
    }
}

/// Protocol, source, destination.
type Key = (String, String, String);

fn is_about(line: &Line, packet: &Packet) -> bool {
    line.protocol == packet.protocol
        && line.source == packet.source
        && line.destination == packet.destination
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

/// What two outputs about the same drops have in common: all but the time, which each takes for
/// itself, and the frames, among which a kprobe leaves its own.
#[must_use]
pub fn comparable(own_lines: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = own_lines
        .iter()
        .map(|line| {
            let words = line
                .split(' ')
                .skip(1)
                .filter(|word| !word.starts_with("stack="));
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
        at=udp_rcv+0x4 pid=1 comm=x netns=77 stack=ip_local_deliver+0x1";

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
    fn what_two_hooks_have_in_common() {
        let earlier = LINE
            .replace("07:30", "07:29")
            .replace("ip_local_deliver", "ftrace_call");
        assert_eq!(comparable(&[LINE.to_owned()]), comparable(&[earlier]));
        assert_ne!(
            comparable(&[LINE.to_owned()]),
            comparable(&[LINE.replace("len=108", "len=109")])
        );
    }
}
