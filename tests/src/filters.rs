//! THE table of filters: which of the packets, all sent at once, each lets pass.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    net::{SocketAddr, UdpSocket},
    path::Path,
    thread,
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::socket::{setsockopt, sockopt};
use tempfile::TempDir;

use crate::{
    cgroup::Cgroup,
    dropwatch::Ended,
    frames::{
        ETH_IPV4, ETH_IPV6, ICMP, SUBJECT, TCP, UDP, ethernet, ipv4_between, ipv6_between, typed,
        udp,
    },
    kernel::Kernel,
    line::Line,
    netns::{NamedNetns, Netns},
    owners::{CONTAINER, Holder, OWNER_WITHIN, holder, overflow},
    pcapng,
    scenario::{REASONS, local},
    stand_in::SenderProcess,
    traffic::{self, Packet, fits, small_receiver},
    world::{PEER_MAC, SUBJECT_MAC, World, run_command},
};

/// A filter, and what passes it.
#[derive(Debug)]
pub struct Filter {
    /// Name, unique.
    pub name: &'static str,
    /// The flags, separated by spaces; what is in braces is filled in, see [`Stage::fill_in`].
    pub flags: &'static str,
    /// The packets that pass.
    pub passes: Passes,
    /// These may pass or not: it is not known yet whose they are.
    pub may_pass: &'static [&'static str],
    /// Whether the kernel decides alone. If not, the records of drops that user space turned down
    /// or hid reach it as well.
    pub in_kernel: bool,
    /// The first kernel that has what is filtered by.
    pub since: Kernel,
}

/// Which packets pass, by label.
#[derive(Debug)]
pub enum Passes {
    /// These and no others.
    Only(&'static [&'static str]),
    /// All but these.
    AllBut(&'static [&'static str]),
}

const BASE: Filter = Filter {
    name: "",
    flags: "",
    passes: AllBut(&[]),
    may_pass: &[],
    in_kernel: true,
    since: Kernel(0, 0),
};

const fn filter(name: &'static str, flags: &'static str, passes: Passes) -> Filter {
    Filter {
        name,
        flags,
        passes,
        ..BASE
    }
}

const fn by_reason(name: &'static str, flags: &'static str, passes: Passes) -> Filter {
    Filter {
        since: REASONS,
        ..filter(name, flags, passes)
    }
}

/// The first packets of the holder's socket may come before it is known whose it is.
const fn by_owner(
    name: &'static str,
    flags: &'static str,
    passes: Passes,
    may_pass: &'static [&'static str],
) -> Filter {
    Filter {
        in_kernel: false,
        may_pass,
        ..filter(name, flags, passes)
    }
}

use Passes::{AllBut, Only};

/// Without these modules the stage can't be made.
pub const MODULES: &[&str] = &["sch_ingress", "cls_bpf", "nf_tables"];

/// What goes through `v0`.
const V0: Passes = Only(&[
    "base", "saddr", "daddr", "sport", "dport", "tcp", "icmp", "v6", "v6_far", "big",
]);

/// What the subject drops.
const OF_SUBJECT: Passes = AllBut(&["peer", "child", "inner"]);

/// All filters. The packets are those of [`Stage::send`].
pub static FILTERS: &[Filter] = &[
    filter(
        "netns_inode",
        "--netns {subject},{peer},{inner}",
        AllBut(&[]),
    ),
    filter("netns_path", "--netns {peer_path}", Only(&["peer"])),
    filter("netns_name", "--netns {name}", OF_SUBJECT),
    filter(
        "netns_pid",
        "--netns pid:{child}",
        Only(&["child", "inner"]),
    ),
    filter("iface", "--iface v0", V0),
    // One of these appears after dropwatch has started.
    filter("iface_any_of", "-i v1,late0", Only(&["dev", "mac", "late"])),
    filter(
        "exclude_iface",
        "--exclude-iface v0,lo --exclude-iface p0 --dport 53",
        Only(&["dev", "mac", "late"]),
    ),
    // One address is of a source, one of a destination.
    filter(
        "addr",
        "--addr 10.98.0.0/16,10.76.0.1 --addr fd98::/16",
        Only(&["saddr", "daddr", "v6_far"]),
    ),
    filter(
        "saddr",
        "--saddr 10.98.0.0/16,10.76.0.1,fd98::1",
        Only(&["saddr", "v6_far"]),
    ),
    filter("daddr", "--daddr 10.76.0.0/24,10.98.0.1", Only(&["daddr"])),
    filter(
        "port",
        "--port 54,1999-2001 --netns {subject}",
        Only(&["dport", "sport"]),
    ),
    filter(
        "sport",
        "--sport 54,1990-2010 --netns {subject}",
        Only(&["sport"]),
    ),
    filter(
        "dport",
        "--dport 54-60,2000 --netns {subject}",
        Only(&["dport"]),
    ),
    filter(
        "proto",
        "--proto 1,tcp --netns {subject}",
        Only(&["icmp", "tcp"]),
    ),
    filter(
        "ipv4",
        "-4 --netns {subject}",
        AllBut(&["v6", "v6_far", "peer", "child", "inner"]),
    ),
    filter("ipv6", "-6 --netns {subject}", Only(&["v6", "v6_far"])),
    by_reason(
        "reason",
        "-r NO_SOCKET,*_RCVBUFF --netns {subject}",
        Only(&["closed", "dev", "late", "owned", "first"]),
    ),
    by_reason(
        "exclude_reason",
        "--exclude-reason TC_* --port 1000 --netns {subject},{peer}",
        Only(&["closed", "dev", "mac", "late"]),
    ),
    filter(
        "func",
        "--func *udp*_rcv --netns {subject}",
        Only(&["closed", "dev", "late"]),
    ),
    filter(
        "exclude_func",
        "--exclude-func __netif_receive_* --port 1000 --netns {subject}",
        Only(&["closed", "dev", "mac", "late"]),
    ),
    filter(
        "stack_func",
        "--stack-func ip_local_deliver* --netns {subject}",
        Only(&["closed", "dev", "late", "owned", "first"]),
    ),
    filter("mark", "--mark 7 --netns {subject}", Only(&["marked"])),
    filter(
        "mark_mask",
        "--mark 0x7/0xf --netns {subject}",
        Only(&["marked", "wide"]),
    ),
    filter(
        "len",
        "--len 1000-1200 --netns {subject}",
        Only(&["big", "owned", "first"]),
    ),
    by_owner("pid", "--pid {child}", Only(&["child"]), &[]),
    // The thread's name counts where the process is on the CPU.
    by_owner(
        "comm",
        "--comm dwt-worker --dport 10",
        Only(&["marked", "wide"]),
        &[],
    ),
    // Not the process on the CPU: that is the sender.
    by_owner("pid_owner", "--pid {holder}", Only(&["owned"]), &["first"]),
    by_owner(
        "comm_owner",
        "--comm sleep --netns {subject}",
        Only(&["owned"]),
        &["first"],
    ),
    filter(
        "container",
        "--container {container}",
        Only(&["child", "inner"]),
    ),
    filter("cgroup", "--cgroup {cgroup}", Only(&["child"])),
    Filter {
        in_kernel: false,
        ..filter(
            "hide_expected",
            "--hide-expected --netns {subject}",
            AllBut(&["mac", "peer", "child", "inner"]),
        )
    },
    // Packets that differ from `base` in one thing are turned down by one flag alone.
    filter(
        "all_of",
        "-4 -i v0,p0 --saddr 10.99.0.0/16 --daddr 10.77.0.1 --sport 1000 --dport 53 --proto udp \
         --len 100-200 --netns {subject}",
        Only(&["base"]),
    ),
    // No filter, but a program of its own: it copies more of each packet.
    filter(
        "write",
        "--netns {subject},{peer},{inner} --write {packets}.{hook}",
        AllBut(&[]),
    ),
    // What costs the verifier most.
    by_owner(
        "write_owned_stack_func",
        "--pid {holder} --comm sleep --stack-func ip_local_deliver* --netns {subject} \
         --write {packets}.owned.{hook}",
        Only(&["owned"]),
        &["first"],
    ),
];

impl Filter {
    /// Whether the packet with this label passes.
    #[must_use]
    pub fn lets_pass(&self, label: &str) -> bool {
        match self.passes {
            Only(labels) => labels.contains(&label),
            AllBut(labels) => !labels.contains(&label),
        }
    }

    /// How many of the packets pass.
    #[must_use]
    pub fn wanted(&self, sent: &[Sent]) -> usize {
        sent.iter()
            .filter(|sent| self.lets_pass(sent.label))
            .map(|sent| sent.count)
            .sum()
    }

    /// Fails unless dropwatch printed what passes, and the kernel kept the rest to itself.
    pub fn judge(&self, stage: &Stage, sent: &[Sent], ended: &Ended) -> Result<()> {
        ended.expect_status(0)?;
        let account = ended.account()?;
        ensure!(account.lost == 0, "lines were lost: {account:?}");
        if let Some(file) = ended.packets_file() {
            packets_are_lines(&file, &ended.stdout)?;
        }
        let complaints = self.complaints(stage, sent, &ended.stdout);
        ensure!(
            complaints.is_empty(),
            "{complaints}standard error:\n{}",
            ended.stderr
        );
        let turned_down: usize = sent
            .iter()
            .filter(|sent| !self.lets_pass(sent.label) && !self.may_pass.contains(&sent.label))
            .map(|sent| sent.count)
            .sum();
        ensure!(
            account.filtered + account.hidden >= turned_down as u64,
            "{turned_down} were to be turned down: {account:?}"
        );
        let records = ended.records()?;
        if self.in_kernel {
            ensure!(
                records == account.printed,
                "{records} records reached user space for {} lines",
                account.printed
            );
        } else {
            ensure!(
                records <= account.printed + account.filtered + account.hidden,
                "{records} records reached user space: {account:?}"
            );
        }
        Ok(())
    }

    /// What is wrong with lines that were to be those of the packets that pass; empty if nothing
    /// is.
    #[must_use]
    pub fn complaints(&self, stage: &Stage, sent: &[Sent], stdout: &str) -> String {
        let mut printed: BTreeMap<&str, usize> = BTreeMap::new();
        let mut complaints = String::new();
        for text in stdout.lines() {
            let Ok(line) = Line::parse(text) else {
                writeln!(complaints, "not a line: {text}").ok();
                continue;
            };
            if !stage.is_own(&line) {
                continue;
            }
            match sent.iter().find(|sent| stage.is_about(&line, &sent.packet)) {
                Some(sent) => *printed.entry(sent.label).or_default() += 1,
                None => {
                    writeln!(complaints, "not expected: {text}").ok();
                }
            }
        }
        for sent in sent {
            let want = if self.lets_pass(sent.label) {
                sent.count
            } else {
                0
            };
            let got = printed.get(sent.label).copied().unwrap_or(0);
            let open = self.may_pass.contains(&sent.label) && got <= sent.count;
            if want != got && !open {
                writeln!(
                    complaints,
                    "{} was to be printed {want} times, not {got}",
                    sent.label
                )
                .ok();
            }
        }
        complaints
    }
}

/// A packet that was sent and dropped.
#[derive(Debug)]
pub struct Sent {
    label: &'static str,
    packet: Packet,
    /// How often.
    pub count: usize,
}

/// What the filters are about; made before dropwatch starts, for flags name it.
#[derive(Debug)]
pub struct Stage {
    world: World,
    named: NamedNetns,
    // As an engine makes them: a namespace and a cgroup of its own for what runs in it.
    inner: Netns,
    child: SenderProcess,
    cgroup: Cgroup,
    holder: Holder,
    /// For files of packets.
    folder: TempDir,
}

/// Fails unless the file has a packet for each line, with the line as its comment, and more than
/// the headers of those that are longer.
fn packets_are_lines(file: &Path, stdout: &str) -> Result<()> {
    /// What records hold of each packet anyway.
    const HEADERS: usize = 144;

    let bytes = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    let capture = pcapng::read(&bytes)?;
    let lines: Vec<&str> = stdout.lines().collect();
    ensure!(
        capture.packets.len() == lines.len(),
        "{} packets for {} lines",
        capture.packets.len(),
        lines.len()
    );
    let mut longer = 0;
    for (packet, line) in capture.packets.iter().zip(lines) {
        let (_, rest) = line.split_once(' ').context("a line has a time")?;
        ensure!(packet.comment == rest, "{:?} for {line:?}", packet.comment);
        ensure!(
            packet.original_len as usize <= HEADERS || packet.data.len() >= 28,
            "almost nothing of a packet: {packet:?}"
        );
        longer += usize::from(packet.data.len() > HEADERS);
    }
    ensure!(longer > 0, "no packet with more than its headers");
    let account = capture.account.context("no account in the file")?;
    ensure!(
        account.counts[3] == capture.packets.len() as u64,
        "{account:?}"
    );
    Ok(())
}

/// Datagrams to port 10 are dropped on the way out.
const DROP_OUTPUT: &[&str] = &[
    "nft add table ip t",
    "nft add chain ip t o '{ type filter hook output priority 0 ; }'",
    "nft add rule ip t o udp dport 10 drop",
];

/// How often each packet is sent.
const COPIES: usize = 2;
/// The receiver that nobody reads.
const HELD: u16 = 9142;

impl Stage {
    /// Makes the world with its processes.
    pub fn new() -> Result<Self> {
        let world = World::new()?;
        let peer = world.peer.path();
        world.set_up([
            "tc qdisc add dev v0 clsact",
            "tc filter add dev v0 ingress bpf direct-action bytecode '1,6 0 0 2,'",
            "peer: tc qdisc add dev p0 clsact",
            "peer: tc filter add dev p0 ingress bpf direct-action bytecode '1,6 0 0 2,'",
            &cable("v1", "p1", &peer.display().to_string()),
            "ip link set v1 up",
            "peer: ip link set p1 up",
        ])?;
        world.set_up(DROP_OUTPUT.iter().copied())?;
        let cgroup = Cgroup::new(&format!("system.slice/docker-{CONTAINER}.scope"))?;
        let inner = Netns::new()?;
        let child = inner.run(|| {
            run_command("ip link set lo up")?;
            DROP_OUTPUT
                .iter()
                .try_for_each(|command| run_command(command))?;
            SenderProcess::start(local(1003), local(10), COPIES, true, Some(&cgroup))
        })?;
        let holder = world
            .subject
            .run(|| holder(&small_receiver(local(HELD))?))?;
        Ok(Self {
            named: NamedNetns::new(&world.subject)?,
            folder: tempfile::tempdir().context("making a folder")?,
            world,
            inner,
            child,
            cgroup,
            holder,
        })
    }

    /// The flags with what is in braces replaced.
    #[must_use]
    pub fn fill_in(&self, flags: &str) -> String {
        let replacements = [
            ("{subject}", self.world.subject.inode().to_string()),
            ("{peer}", self.world.peer.inode().to_string()),
            ("{peer_path}", self.world.peer.path().display().to_string()),
            ("{name}", self.named.name().to_owned()),
            ("{inner}", self.inner.inode().to_string()),
            ("{child}", self.child.pid().to_string()),
            ("{holder}", self.holder.0.id().to_string()),
            ("{container}", CONTAINER[..12].to_owned()),
            ("{cgroup}", self.cgroup.path().display().to_string()),
            (
                "{packets}",
                self.folder.path().join("packets").display().to_string(),
            ),
        ];
        replacements
            .iter()
            .fold(flags.to_owned(), |flags, (name, value)| {
                flags.replace(name, value)
            })
    }

    /// Sends each packet [`COPIES`] times; all are dropped.
    pub fn send(&mut self) -> Result<Vec<Sent>> {
        let mut sent = vec![self.introduce_holder()?];
        sent.extend(self.send_to_v0()?);
        sent.extend(self.send_elsewhere()?);
        sent.extend(self.send_from_sockets()?);
        Ok(sent)
    }

    /// Makes drops by which dropwatch gets to know the holder's socket.
    fn introduce_holder(&self) -> Result<Sent> {
        let send = || traffic::udp(local(1006), local(HELD), 1, 1000);
        let packets = self
            .world
            .subject
            .run(|| overflow(send, local(HELD), COPIES as u64))?;
        thread::sleep(OWNER_WITHIN);
        Sent::all("first", packets)
    }

    /// What differs from `base` in one thing alone, but for `v6`.
    fn send_to_v0(&self) -> Result<Vec<Sent>> {
        let v4 = |source, destination, protocol, payload: &[u8]| {
            typed(
                ETH_IPV4,
                &ipv4_between(source, destination, protocol, payload),
            )
        };
        let from = [10, 99, 0, 1];
        let small = |source, destination| udp(source, destination, &[0x55; 100]);
        let v6 = |net: u16| {
            let address = |net| std::net::Ipv6Addr::new(net, 0, 0, 0, 0, 0, 0, 1);
            let source = address(net);
            let packet = ipv6_between(source, address(0xfd77), UDP, &udp(1000, 53, &[]));
            let line = Packet::new("udp", format!("[{source}]:1000"), "[fd77::1]:53");
            (typed(ETH_IPV6, &packet), line)
        };
        let line = |protocol, source: &str, destination: &str| {
            Packet::new(protocol, source, destination).with("if", "v0")
        };
        let tcp = [
            &[3, 0xe8, 0, 53][..],
            &[0; 8],
            &[0x50, 2, 1, 0, 0, 0, 0, 0],
            &[0x55; 88],
        ]
        .concat();
        let (base_line, to) = ("10.99.0.1:1000", "10.77.0.1:53");
        let ((v6_frame, v6_line), (far_frame, far_line)) = (v6(0xfd99), v6(0xfd98));
        let packets = [
            (
                "base",
                v4(from, SUBJECT, UDP, &small(1000, 53)),
                line("udp", base_line, to).with("len", 128),
            ),
            (
                "saddr",
                v4([10, 98, 0, 1], SUBJECT, UDP, &small(1000, 53)),
                line("udp", "10.98.0.1:1000", to),
            ),
            (
                "daddr",
                v4(from, [10, 76, 0, 1], UDP, &small(1000, 53)),
                line("udp", base_line, "10.76.0.1:53"),
            ),
            (
                "sport",
                v4(from, SUBJECT, UDP, &small(2000, 53)),
                line("udp", "10.99.0.1:2000", to),
            ),
            (
                "dport",
                v4(from, SUBJECT, UDP, &small(1000, 54)),
                line("udp", base_line, "10.77.0.1:54"),
            ),
            (
                "tcp",
                v4(from, SUBJECT, TCP, &tcp),
                line("tcp", base_line, to),
            ),
            (
                "icmp",
                v4(from, SUBJECT, ICMP, &[8, 0, 0, 0, 0, 0, 0, 0]),
                line("icmp", "10.99.0.1", "10.77.0.1"),
            ),
            ("v6", v6_frame, v6_line),
            ("v6_far", far_frame, far_line),
            (
                "big",
                v4(from, SUBJECT, UDP, &udp(1000, 53, &[0x55; 1000])),
                line("udp", base_line, to).with("len", 1028),
            ),
        ];
        let mut sent = Vec::new();
        for (label, rest, packet) in packets {
            let frame = ethernet(SUBJECT_MAC, PEER_MAC, &rest);
            self.world
                .peer
                .run(|| traffic::whole_frames("p0", &vec![frame; COPIES]))?;
            sent.push(Sent::copies(label, packet));
        }
        Ok(sent)
    }

    /// `base` through other devices, and in the other namespace.
    fn send_elsewhere(&self) -> Result<Vec<Sent>> {
        let world = &self.world;
        let packet = ipv4_between([10, 99, 0, 1], SUBJECT, UDP, &udp(1000, 53, &[0x55; 100]));
        let base = typed(ETH_IPV4, &packet);
        let line = |device| Packet::new("udp", "10.99.0.1:1000", "10.77.0.1:53").with("if", device);
        let strange = ipv4_between([10, 99, 0, 4], SUBJECT, UDP, &udp(1000, 53, &[0x55; 100]));
        world.set_up([
            cable("late0", "late1", &world.peer.path().display().to_string()).as_str(),
            "ip link set late0 up",
            "peer: ip link set late1 up",
        ])?;
        let send = |device, frame: Vec<u8>| traffic::whole_frames(device, &vec![frame; COPIES]);
        let frame = ethernet(V1_MAC, PEER_MAC, &base);
        world.peer.run(|| send("p1", frame.clone()))?;
        world.peer.run(|| send("late1", frame))?;
        let not_ours = ethernet([2, 0, 0, 0, 0, 0x77], PEER_MAC, &typed(ETH_IPV4, &strange));
        world.peer.run(|| send("p1", not_ours))?;
        world
            .subject
            .run(|| send("v0", ethernet(PEER_MAC, SUBJECT_MAC, &base)))?;
        let mac = Packet::new("udp", "10.99.0.4:1000", "10.77.0.1:53").with("if", "v1");
        Ok(vec![
            Sent::copies("dev", line("v1")),
            Sent::copies("late", line("late0")),
            Sent::copies("mac", mac),
            Sent::copies("peer", line("p0").in_netns(world.peer.inode())),
        ])
    }

    fn send_from_sockets(&mut self) -> Result<Vec<Sent>> {
        let marked = |port, mark: u32| {
            let socket = UdpSocket::bind(local(port)).context("binding a socket")?;
            setsockopt(&socket, sockopt::Mark, &mark).context("setting SO_MARK")?;
            traffic::udp_from(&socket, SocketAddr::from(local(10)), COPIES, 100)
        };
        let (closed, seven, wide, owned) = self.world.subject.run(|| {
            let closed = traffic::udp(local(1000), local(9), COPIES, 100)?;
            let send = || traffic::udp(local(1004), local(HELD), 1, 1000);
            let owned = overflow(send, local(HELD), COPIES as u64)?;
            Ok((closed, marked(1001, 7)?, marked(1002, 0x17)?, owned))
        })?;
        let child = self.child.send()?;
        let inner = self
            .inner
            .run(|| traffic::udp(local(1005), local(9), COPIES, 100))?;
        let inside = |packets: Vec<Packet>| {
            let packets = packets.into_iter();
            packets
                .map(|packet| packet.in_netns(self.inner.inode()))
                .collect()
        };
        [
            ("closed", closed),
            ("marked", seven),
            ("wide", wide),
            ("child", inside(child)),
            ("inner", inside(inner)),
            ("owned", owned),
        ]
        .into_iter()
        .map(|(label, packets)| Sent::all(label, packets))
        .collect()
    }

    /// Whether the line is about one of the namespaces.
    fn is_own(&self, line: &Line) -> bool {
        let netns = line.get("netns").unwrap_or("-");
        let others = [&self.world.peer, &self.inner];
        self.is_subject(netns) || others.iter().any(|one| netns == one.inode().to_string())
    }

    /// How many lines are about one of the namespaces.
    #[must_use]
    pub fn count_own(&self, lines: &[String]) -> usize {
        let lines = lines.iter().filter_map(|text| Line::parse(text).ok());
        lines.filter(|line| self.is_own(line)).count()
    }

    fn is_subject(&self, netns: &str) -> bool {
        netns == self.named.name() || netns == self.world.subject.inode().to_string()
    }

    fn is_about(&self, line: &Line, packet: &Packet) -> bool {
        let netns = line.get("netns").unwrap_or("-");
        let here = match packet.netns {
            Some(inode) => netns == inode.to_string(),
            None => self.is_subject(netns),
        };
        here && line.protocol == packet.protocol
            && line.source == packet.source
            && line.destination == packet.destination
            && packet
                .tokens
                .iter()
                .all(|(key, expected)| line.get(key).is_some_and(|value| fits(expected, value)))
    }
}

impl Sent {
    fn all(label: &'static str, packets: Vec<Packet>) -> Result<Self> {
        let count = packets.len();
        let packet = packets.into_iter().next().context("a packet")?;
        Ok(Self {
            label,
            packet,
            count,
        })
    }

    fn copies(label: &'static str, packet: Packet) -> Self {
        Self {
            label,
            packet,
            count: COPIES,
        }
    }
}

const V1_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x11];

/// The command that makes a cable to the peer.
fn cable(here: &str, there: &str, peer: &str) -> String {
    format!("ip link add {here} address 02:00:00:00:00:11 type veth peer name {there} netns {peer}")
}

/// Fails on a table that would prove nothing: a label that no packet has.
pub fn check_labels(sent: &[Sent]) -> Result<()> {
    let known: BTreeSet<&str> = sent.iter().map(|sent| sent.label).collect();
    for filter in FILTERS {
        let (Only(labels) | AllBut(labels)) = &filter.passes;
        for label in labels.iter().chain(filter.may_pass) {
            ensure!(known.contains(label), "{}: no packet {label}", filter.name);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::FILTERS;

    #[test]
    fn names_are_unique() {
        let names: HashSet<_> = FILTERS.iter().map(|filter| filter.name).collect();
        assert_eq!(names.len(), FILTERS.len());
    }
}
