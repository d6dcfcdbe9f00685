//! THE table: what is dropped, and what dropwatch has to print about it.
//!
//! A scenario is one entry of [`SCENARIOS`]. Addresses: 10.77.0.1 is the subject's and 10.77.0.2
//! the peer's end of a cable (see [`World`]).

use std::{
    net::{SocketAddrV4, UdpSocket},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    kernel::Kernel,
    line::Line,
    owners, shapes, stand_in,
    traffic::{self, Oddity, Packet, Sender, Tap, loopback6, v4},
    world::{SUBJECT_MAC, World, output_of, run_command},
};

/// How a packet gets dropped, and the lines that this has to give.
#[derive(Debug)]
pub struct Scenario {
    /// Name, unique.
    pub name: &'static str,
    /// Kernel modules without which the set-up can't be made.
    pub modules: &'static [&'static str],
    /// Commands that prepare the world, see [`World::set_up`].
    pub set_up: &'static [&'static str],
    /// Flags for dropwatch; `{pid}` stands for the runner's process id. Scenarios without flags of
    /// their own share running processes.
    pub flags: &'static [&'static str],
    /// Makes the traffic; gives back each packet that has to be dropped.
    pub traffic: fn(&World) -> Result<Vec<Packet>>,
    /// How many of the packets are printed.
    pub printed: Printed,
    /// Drop reason by kernel: since which version, and the names it may be (`A|B`). A kernel
    /// before the first entry has none and prints `-`.
    pub reasons: &'static [(Kernel, &'static str)],
    /// The function (`a|b`) that is the call site, or calls it.
    pub through: &'static str,
    /// The device (`a|b`).
    pub device: &'static str,
    /// What a line about each of the packets shows: token and value, see [`traffic::fits`]. Tokens
    /// that only some packets have must be named here or with the packet, or be absent.
    pub tokens: &'static [(&'static str, &'static str)],
    /// `class=`, where the scenario says which.
    pub class: Option<&'static str>,
    /// Older kernels free these packets without telling anybody.
    pub seen_since: Kernel,
    /// The kernel frees these packets as a list.
    pub freed_as_list: bool,
    /// The sender is certain to be on the CPU, so `pid=` and `comm=` have to be its.
    pub sender_on_cpu: bool,
    /// The packet belongs to a socket of the sender, so `owner=` has to be that.
    pub sender_owns: bool,
    /// The packet does not lead to its namespace any more: `netns=-` is right as well.
    pub netns_may_be_unknown: bool,
    /// What else the kernel drops with each packet.
    pub also: &'static [Also],
}

/// How many of the dropped packets are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Printed {
    /// A line for each.
    All,
    /// All are filtered.
    None,
    /// As many lines as were asked for; dropwatch ends by itself.
    First(usize),
}

/// A second drop that comes with each packet on some kernels.
#[derive(Debug)]
pub struct Also {
    /// The first kernel that has it.
    pub since: Kernel,
    /// The first kernel that has it no more.
    pub before: Kernel,
    /// Protocol, as printed.
    pub protocol: &'static str,
    /// Source and destination, as printed.
    pub address: &'static str,
}

impl Also {
    /// Whether a line is about it.
    #[must_use]
    pub fn is_about(&self, line: &Line) -> bool {
        line.protocol == self.protocol
            && line.source == self.address
            && line.destination == self.address
    }
}

impl Scenario {
    /// The class on `kernel`. Where there are no reasons, a closed port can't be told from a loss.
    #[must_use]
    pub fn class(&self, kernel: Kernel) -> Option<&'static str> {
        match self.class {
            Some("refused") if kernel < REASONS => Some("drop"),
            class => class,
        }
    }

    /// The names that the reason may have on `kernel`.
    #[must_use]
    pub fn reason(&self, kernel: Kernel) -> &'static str {
        let known = self
            .reasons
            .iter()
            .rev()
            .find(|(since, _)| *since <= kernel);
        known.map_or("-", |(_, names)| names)
    }
}

/// Packets per scenario, unless a buffer's size says otherwise.
pub(crate) const N: usize = 20;
/// The first kernel that gives reasons.
pub(crate) const REASONS: Kernel = Kernel(5, 17);

/// A datagram to a closed port on loopback, more or less: what the entries below start from.
pub(crate) const BASE: Scenario = Scenario {
    name: "",
    modules: &[],
    set_up: &[],
    flags: &[],
    traffic: |_| Ok(Vec::new()),
    printed: Printed::All,
    reasons: &[],
    through: "",
    device: "lo",
    tokens: &[],
    class: None,
    seen_since: Kernel(0, 0),
    freed_as_list: false,
    sender_on_cpu: false,
    sender_owns: false,
    netns_may_be_unknown: false,
    also: &[],
};

/// A rule that drops datagrams to port 9 on the way out, where the sender is on the CPU.
pub(crate) const OUTPUT_DROP: Scenario = Scenario {
    modules: &["nf_tables"],
    set_up: &[
        "nft add table ip t",
        "nft add chain ip t o '{ type filter hook output priority 0 ; }'",
        "nft add rule ip t o udp dport 9 drop",
    ],
    reasons: &[(REASONS, "NETFILTER_DROP")],
    through: "nf_hook_slow",
    device: "-|lo",
    sender_on_cpu: true,
    sender_owns: true,
    class: Some("drop"),
    ..BASE
};

/// The subject forwards what its peer sends it.
const FORWARD: &str = "sysctl net.ipv4.ip_forward=1";
/// The peer sends everything to the subject.
const VIA_SUBJECT: &str = "peer: ip route add default via 10.77.0.1";
/// A queue that lets one packet of 1000 bytes go, keeps two for a minute, and drops the others.
const SLOW_QUEUE: &str = "tc qdisc add dev v0 root tbf rate 64bit burst 1600 limit 3000";

/// All scenarios.
pub fn all() -> impl Iterator<Item = &'static Scenario> {
    [SCENARIOS, shapes::SCENARIOS, owners::SCENARIOS]
        .into_iter()
        .flatten()
}

/// Why packets are dropped: each place and reason that can be had without special hardware.
pub static SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "udp_closed",
        traffic: |world| {
            world
                .subject
                .run(|| traffic::udp(local(40001), local(9), N, 100))
        },
        reasons: &[(REASONS, "NO_SOCKET")],
        through: "udp_rcv|__udp4_lib_rcv",
        class: Some("refused"),
        ..BASE
    },
    Scenario {
        name: "tcp_closed",
        traffic: |world| {
            world
                .subject
                .run(|| traffic::tcp_refused(local(40100), local(9), 20))
        },
        reasons: &[(REASONS, "NO_SOCKET")],
        through: "tcp_v4_rcv",
        tokens: &[("flags", "SYN")],
        class: Some("refused"),
        ..BASE
    },
    Scenario {
        name: "udp6_closed",
        set_up: &["sysctl net.ipv6.conf.lo.disable_ipv6=0"],
        traffic: |world| {
            world
                .subject
                .run(|| traffic::udp(loopback6(40002), loopback6(9), N, 100))
        },
        reasons: &[(REASONS, "NO_SOCKET")],
        through: "udpv6_rcv|__udp6_lib_rcv",
        // Older kernels free even the error that was read as a dropped packet.
        also: &[Also {
            since: Kernel(0, 0),
            before: Kernel(6, 12),
            protocol: "icmpv6",
            address: "::1",
        }],
        class: Some("refused"),
        ..BASE
    },
    Scenario {
        name: "nft_input",
        modules: &["nf_tables"],
        set_up: &[
            "nft add table ip t",
            "nft add chain ip t i '{ type filter hook input priority 0 ; }'",
            "nft add rule ip t i udp dport 9 drop",
        ],
        traffic: |world| {
            world
                .subject
                .run(|| traffic::udp(local(40003), local(9), N, 100))
        },
        reasons: &[(REASONS, "NETFILTER_DROP")],
        through: "nf_hook_slow",
        class: Some("drop"),
        ..BASE
    },
    Scenario {
        name: "nft_output",
        traffic: |world| {
            world
                .subject
                .run(|| traffic::udp(local(40004), local(9), N, 100))
        },
        ..OUTPUT_DROP
    },
    Scenario {
        name: "comm_curl",
        modules: &["nf_tables", "nft_reject_inet"],
        set_up: &[
            "nft add table inet t",
            "nft add chain inet t o '{ type filter hook output priority 0 ; }'",
            "nft add rule inet t o tcp dport 9180 reject with tcp reset",
            "nft add rule inet t o udp dport 9180 drop",
        ],
        flags: &["--comm", "curl"],
        traffic: |world| world.subject.run(curl_and_others),
        tokens: &[("flags", "SYN")],
        ..OUTPUT_DROP
    },
    Scenario {
        name: "pid_own",
        flags: &["--pid", "{pid}"],
        traffic: |world| {
            world
                .subject
                .run(|| traffic::udp(local(40005), local(9), N, 100))
        },
        ..OUTPUT_DROP
    },
    Scenario {
        name: "pid_other",
        flags: &["--pid", "1"],
        traffic: |world| {
            world
                .subject
                .run(|| traffic::udp(local(40006), local(9), N, 100))
        },
        printed: Printed::None,
        ..OUTPUT_DROP
    },
    Scenario {
        name: "no_stack",
        flags: &["--no-stack"],
        traffic: |world| {
            world
                .subject
                .run(|| traffic::udp(local(40007), local(9), N, 100))
        },
        // Without a stack only the call site is left: where the function ended up differs.
        through: "nf_hook_slow|nft_do_chain",
        ..OUTPUT_DROP
    },
    Scenario {
        name: "count",
        flags: &["--count", "5"],
        traffic: |world| {
            world
                .subject
                .run(|| traffic::udp(local(40008), local(9), N, 100))
        },
        printed: Printed::First(5),
        ..OUTPUT_DROP
    },
    Scenario {
        name: "rp_filter",
        set_up: &["sysctl net.ipv4.conf.v0.rp_filter=1"],
        traffic: |world| {
            let source = v4([198, 51, 100, 7], 40009);
            world
                .peer
                .run(|| traffic::raw(source, SUBJECT_CLOSED, N, 100, Oddity::default()))
        },
        reasons: &[(REASONS, "IP_RPFILTER")],
        through: "ip_rcv|ip_rcv_finish|ip_list_rcv",
        device: "v0",
        ..BASE
    },
    Scenario {
        name: "udp_buffer_full",
        traffic: |world| world.subject.run(full_receive_buffer),
        reasons: &[(REASONS, "SOCKET_RCVBUFF")],
        through: "udp_queue_rcv_one_skb|udp_queue_rcv_skb|__udp_enqueue_schedule_skb",
        class: Some("drop"),
        ..BASE
    },
    Scenario {
        // A full tap lets go of a packet that the socket still gets: nothing is lost.
        name: "tap_full",
        traffic: full_tap,
        ..BASE
    },
    Scenario {
        // Errors that are read are used up, not dropped; the datagrams are.
        name: "icmp_read",
        traffic: |world| world.subject.run(read_errors),
        reasons: &[(REASONS, "NO_SOCKET")],
        through: "udp_rcv|__udp4_lib_rcv",
        class: Some("refused"),
        ..BASE
    },
    Scenario {
        name: "no_route",
        set_up: &[FORWARD, VIA_SUBJECT],
        traffic: |world| {
            world
                .peer
                .run(|| traffic::udp(peer(40010), v4([203, 0, 113, 9], 9), N, 100))
        },
        reasons: &[
            (REASONS, "NOT_SPECIFIED|IP_INNOROUTES"),
            (Kernel(6, 1), "IP_INNOROUTES"),
        ],
        through: "ip_error",
        device: "v0",
        ..BASE
    },
    Scenario {
        name: "ttl_exceeded",
        set_up: &[FORWARD, "ip route add 203.0.113.0/24 via 10.77.0.2"],
        traffic: |world| {
            let odd = Oddity {
                ttl: 1,
                ..Oddity::default()
            };
            via_subject(world, 40011, v4([203, 0, 113, 9], 9), 100, odd)
        },
        reasons: &[
            (REASONS, "NOT_SPECIFIED|IP_INHDR"),
            (Kernel(6, 1), "IP_INHDR"),
        ],
        through: "ip_forward",
        device: "v0",
        ..BASE
    },
    Scenario {
        name: "too_big",
        set_up: &[
            FORWARD,
            "ip link add v1 mtu 1000 type veth peer name w1",
            "ip addr add 10.78.0.1/24 dev v1",
            "ip link set w1 up",
            "ip link set v1 up",
        ],
        traffic: |world| {
            let odd = Oddity {
                dont_fragment: true,
                ..Oddity::default()
            };
            via_subject(world, 40012, v4([10, 78, 0, 9], 9), 1200, odd)
        },
        reasons: &[
            (REASONS, "NOT_SPECIFIED|PKT_TOO_BIG"),
            (Kernel(6, 1), "PKT_TOO_BIG"),
        ],
        through: "ip_forward",
        device: "v0",
        ..BASE
    },
    Scenario {
        name: "bad_checksum",
        traffic: |world| {
            let odd = Oddity {
                bad_checksum: true,
                ..Oddity::default()
            };
            world
                .subject
                .run(|| traffic::raw(local(40013), local(9), N, 100, odd))
        },
        reasons: &[(REASONS, "UDP_CSUM")],
        through: "udp_rcv|__udp4_lib_rcv",
        class: Some("drop"),
        ..BASE
    },
    Scenario {
        // A socket's owner checks late, on its own time.
        name: "bad_checksum_read",
        traffic: |world| world.subject.run(read_bad_checksums),
        reasons: &[
            (REASONS, "NOT_SPECIFIED"),
            (Kernel(6, 13), "NOT_SPECIFIED|UDP_CSUM"),
            (Kernel(6, 17), "UDP_CSUM"),
        ],
        through: "udp_recvmsg|__skb_recv_udp|udp_poll|first_packet_length",
        // UDP keeps other things where the device was.
        device: "-",
        sender_on_cpu: true,
        netns_may_be_unknown: true,
        ..BASE
    },
    Scenario {
        name: "arp_unanswered",
        set_up: &[
            "sysctl net.ipv4.neigh.v0.retrans_time_ms=200",
            "sysctl net.ipv4.neigh.v0.mcast_solicit=1",
        ],
        traffic: |world| {
            world
                .subject
                .run(|| traffic::udp(subject(40014), v4([10, 77, 0, 99], 9), 5, 100))
        },
        reasons: &[(REASONS, "NEIGH_FAILED")],
        through: "neigh_invalidate|arp_error_report",
        device: "v0",
        ..BASE
    },
    Scenario {
        name: "tbf_over_limit",
        modules: &["sch_tbf"],
        set_up: &[SLOW_QUEUE],
        traffic: |world| with_receiver(world, overrun_queue),
        reasons: &[(REASONS, "QDISC_DROP")],
        through: "__dev_queue_xmit",
        device: "v0",
        freed_as_list: true,
        sender_on_cpu: true,
        sender_owns: true,
        class: Some("drop"),
        ..BASE
    },
    Scenario {
        name: "qdisc_purged",
        modules: &["sch_tbf"],
        set_up: &[SLOW_QUEUE],
        traffic: |world| with_receiver(world, purge_queue),
        reasons: &[(REASONS, "NOT_SPECIFIED")],
        through: "__rtnl_unlock|rtnl_unlock|netdev_run_todo|qdisc_reset|kfree_skb_list|rtnl_kfree_skbs",
        device: "v0",
        ..BASE
    },
    Scenario {
        name: "netem_loss",
        modules: &["sch_netem"],
        set_up: &["tc qdisc add dev v0 root netem loss 100%"],
        traffic: |world| {
            world
                .subject
                .run(|| traffic::udp(subject(40017), peer(9), N, 100))
        },
        reasons: &[(REASONS, "QDISC_DROP")],
        through: "__dev_queue_xmit",
        device: "v0",
        freed_as_list: true,
        sender_on_cpu: true,
        sender_owns: true,
        class: Some("drop"),
        ..BASE
    },
    Scenario {
        name: "tc_ingress",
        modules: &["sch_ingress", "cls_bpf"],
        set_up: &[
            "tc qdisc add dev v0 clsact",
            "tc filter add dev v0 ingress bpf direct-action bytecode '1,6 0 0 2,'",
        ],
        traffic: |world| {
            world
                .peer
                .run(|| traffic::udp(peer(40018), SUBJECT_CLOSED, N, 100))
        },
        reasons: &[(REASONS, "TC_INGRESS")],
        through: "__netif_receive_skb_core",
        device: "v0",
        class: Some("drop"),
        ..BASE
    },
    Scenario {
        name: "tc_egress",
        modules: &["sch_ingress", "cls_bpf"],
        set_up: &[
            "tc qdisc add dev v0 clsact",
            "tc filter add dev v0 egress bpf direct-action bytecode '1,6 0 0 2,'",
        ],
        traffic: |world| {
            world
                .subject
                .run(|| traffic::udp(subject(40019), peer(9), N, 100))
        },
        reasons: &[(REASONS, "TC_EGRESS")],
        through: "__dev_queue_xmit",
        device: "v0",
        sender_on_cpu: true,
        sender_owns: true,
        class: Some("drop"),
        ..BASE
    },
    Scenario {
        name: "wrong_mac",
        traffic: |world| {
            let packet = traffic::datagram(peer(40020), SUBJECT_CLOSED, 100, Oddity::default())?;
            let mac = [2, 0, 0, 0, 0, 0x77];
            world.peer.run(|| traffic::frames("p0", mac, &packet, N))?;
            Ok(Packet::new("udp", peer(40020), SUBJECT_CLOSED).times(N))
        },
        reasons: &[(REASONS, "OTHERHOST")],
        through: "ip_rcv|ip_rcv_core|ip_list_rcv",
        device: "v0",
        class: Some("expected"),
        ..BASE
    },
    Scenario {
        // Unread datagrams die with their socket.
        name: "socket_closed",
        traffic: |world| world.subject.run(close_unread),
        reasons: &[(REASONS, "NOT_SPECIFIED")],
        through: "udp_destruct_sock|udp_destruct_common|inet_sock_destruct|__sk_destruct",
        device: "-",
        netns_may_be_unknown: true,
        class: Some("teardown"),
        ..BASE
    },
];

/// A port of the subject that nobody listens on.
const SUBJECT_CLOSED: SocketAddrV4 = subject(9);

/// A port of the peer that takes datagrams.
const PEER_OPEN: SocketAddrV4 = peer(9113);

pub(crate) const fn local(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, port)
}

pub(crate) const fn subject(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(std::net::Ipv4Addr::new(10, 77, 0, 1), port)
}

pub(crate) const fn peer(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(std::net::Ipv4Addr::new(10, 77, 0, 2), port)
}

/// The peer sends hand-made datagrams to the subject's MAC address, past its own routes and what
/// these learn of the path.
fn via_subject(
    world: &World,
    port: u16,
    destination: SocketAddrV4,
    size: usize,
    odd: Oddity,
) -> Result<Vec<Packet>> {
    let packet = traffic::datagram(peer(port), destination, size, odd)?;
    world
        .peer
        .run(|| traffic::frames("p0", SUBJECT_MAC, &packet, N))?;
    Ok(Packet::new("udp", peer(port), destination).times(N))
}

fn full_receive_buffer() -> Result<Vec<Packet>> {
    let receiver = traffic::small_receiver(local(9109))?;
    let mut sent = traffic::udp(local(40021), local(9109), N, 1000)?;
    let received = traffic::drain(&receiver)?;
    ensure!(
        0 < received && received < N,
        "the buffer held {received} of {N} datagrams"
    );
    sent.truncate(N - received);
    Ok(sent)
}

fn full_tap(world: &World) -> Result<Vec<Packet>> {
    let (tap, receiver) = world.subject.run(|| {
        let receiver = UdpSocket::bind(subject(9110)).context("binding the receiver")?;
        Ok((Tap::open("v0")?, receiver))
    })?;
    world
        .peer
        .run(|| traffic::udp(peer(40022), subject(9110), N, 1000))?;
    let received = traffic::drain(&receiver)?;
    let tapped = tap.drain()?;
    ensure!(
        received == N,
        "the receiver got {received} of {N} datagrams"
    );
    ensure!(
        0 < tapped && tapped < N,
        "the tap was to overflow, it has {tapped} of {N} packets"
    );
    Ok(Vec::new())
}

fn read_errors() -> Result<Vec<Packet>> {
    let mut sent = Vec::new();
    let mut refused = 0;
    let socket = UdpSocket::bind(local(40023)).context("binding a socket")?;
    socket.connect(local(9)).context("connecting a socket")?;
    while sent.len() < N {
        // The error that one datagram brought is what the next `send` reads, sending nothing.
        match socket.send(&[0x55; 100]) {
            Ok(_) => sent.push(Packet::new("udp", local(40023), local(9))),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => refused += 1,
            Err(error) => return Err(error).context("sending to a closed port"),
        }
    }
    ensure!(refused > 0, "no error was read");
    Ok(sent)
}

fn read_bad_checksums() -> Result<Vec<Packet>> {
    let receiver = UdpSocket::bind(local(9111)).context("binding the receiver")?;
    let odd = Oddity {
        bad_checksum: true,
        ..Oddity::default()
    };
    let sent = traffic::raw(local(40024), local(9111), N, 100, odd)?;
    let received = traffic::drain(&receiver)?;
    ensure!(
        received == 0,
        "{received} datagrams with a bad checksum got through"
    );
    Ok(sent)
}

fn close_unread() -> Result<Vec<Packet>> {
    let receiver = UdpSocket::bind(local(9112)).context("binding the receiver")?;
    let sent = traffic::udp(local(40025), local(9112), N, 100)?;
    drop(receiver);
    Ok(sent)
}

/// Sends from the subject while the peer takes what gets through, so that only queues drop.
fn with_receiver(world: &World, send: fn() -> Result<Vec<Packet>>) -> Result<Vec<Packet>> {
    let receiver = world
        .peer
        .run(|| UdpSocket::bind(PEER_OPEN).with_context(|| format!("binding {PEER_OPEN}")))?;
    let sent = world.subject.run(send)?;
    traffic::drain(&receiver)?;
    Ok(sent)
}

/// Sends more than [`SLOW_QUEUE`] takes; the queue's own statistics say what became of it.
fn overrun_queue() -> Result<Vec<Packet>> {
    let mut sent = traffic::udp(subject(40015), PEER_OPEN, N, 1000)?;
    let statistics = output_of("tc -s qdisc show dev v0")?;
    let dropped = between(&statistics, "(dropped ", ",").context("reading what was dropped")?;
    ensure!(
        0 < dropped && dropped < N,
        "the queue was to take a part of {N} packets: {statistics}"
    );
    sent.truncate(dropped);
    Ok(sent)
}

/// Fills [`SLOW_QUEUE`] without overrunning it (one passes, two wait), and removes it.
fn purge_queue() -> Result<Vec<Packet>> {
    let mut sent = traffic::udp(subject(40016), PEER_OPEN, 3, 1000)?;
    let statistics = output_of("tc -s qdisc show dev v0")?;
    let waiting = between(&statistics, "b ", "p requeues").context("reading the backlog")?;
    ensure!(waiting == 2, "two packets were to wait: {statistics}");
    run_command("tc qdisc del dev v0 root")?;
    sent.truncate(waiting);
    Ok(sent)
}

pub(crate) fn between(text: &str, before: &str, after: &str) -> Option<usize> {
    let (head, _) = text.rsplit_once(after)?;
    head.rsplit_once(before)?.1.trim().parse().ok()
}

fn curl_and_others() -> Result<Vec<Packet>> {
    const CURLS: u16 = 3;
    traffic::udp(local(40026), local(9180), N, 100)?;
    (0..CURLS)
        .map(|number| curl(local(40300 + number), local(9180)))
        .collect()
}

/// Runs curl against a port that refuses.
fn curl(source: SocketAddrV4, destination: SocketAddrV4) -> Result<Packet> {
    let mut child = match real_curl(source, destination).spawn() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            stand_in::start("curl", |command| {
                command.args([source.to_string(), destination.to_string()]);
            })?
        }
        spawned => spawned.context("starting curl")?,
    };
    let sender = Sender::other(child.id(), "curl");
    let status = child.wait().context("waiting for curl")?;
    // 7: failed to connect.
    ensure!(status.code() == Some(7), "curl was to be refused: {status}");
    Ok(Packet {
        sender,
        ..Packet::new("tcp", source, destination)
    })
}

fn real_curl(source: SocketAddrV4, destination: SocketAddrV4) -> Command {
    let mut command = Command::new("curl");
    command
        .args([
            "--silent",
            "--noproxy",
            "*",
            "--connect-timeout",
            "20",
            "--local-port",
        ])
        .arg(source.port().to_string())
        .arg(format!("http://{destination}/"));
    command
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{Kernel, SCENARIOS, all, between};

    #[test]
    fn names_are_unique() {
        let names: HashSet<_> = all().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), all().count());
    }

    #[test]
    fn reasons_by_kernel() {
        let udp = &SCENARIOS[0];
        assert_eq!(udp.reason(Kernel(5, 10)), "-");
        assert_eq!(udp.reason(Kernel(7, 3)), "NO_SOCKET");
    }

    #[test]
    fn queue_statistics() {
        let text = " Sent 1042 bytes 1 pkt (dropped 17, overlimits 3 requeues 0) \n backlog 2084b 2p requeues 0\n";
        assert_eq!(between(text, "(dropped ", ","), Some(17));
        assert_eq!(between(text, "b ", "p requeues"), Some(2));
    }
}
