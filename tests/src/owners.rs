//! Whose packet it was: sockets, processes, containers, namespaces; and packets that stand for
//! several.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::socket::{setsockopt, sockopt};

use crate::{
    cgroup::Cgroup,
    kernel::Kernel,
    netns::NamedNetns,
    scenario::{BASE, N, OUTPUT_DROP, REASONS, Scenario, between, local, peer, subject},
    server::{Server, Socket, counter},
    stand_in::SenderProcess,
    traffic::{self, Packet},
    wait,
    world::{World, output_of, run_command},
};

/// How long a server may take for anything.
const WITHIN: Duration = Duration::from_secs(20);

/// The scenarios about owners, namespaces and segments.
pub static SCENARIOS: &[Scenario] = &[
    Scenario {
        // A name server that is not scheduled while others ask.
        name: "dnsmasq_full",
        traffic: flooded_dnsmasq,
        reasons: &[(REASONS, "SOCKET_RCVBUFF")],
        through: "udp_queue_rcv_one_skb|udp_queue_rcv_skb|__udp_enqueue_schedule_skb",
        device: "v0",
        class: Some("drop"),
        tokens: &[("comm", "!dnsmasq")],
        ..BASE
    },
    Scenario {
        // A server that is not scheduled, and has less room than it had promised. Before 5.18 TCP
        // frees what it gives up as if it had been used.
        name: "redis_full",
        set_up: &[
            "peer: sysctl net.ipv4.tcp_early_retrans=0",
            "peer: ip route change 10.77.0.0/24 dev p0 src 10.77.0.2 rto_min 20s",
        ],
        traffic: flooded_redis,
        reasons: &[(REASONS, "PROTO_MEM")],
        through: "tcp_data_queue|tcp_rcv_established",
        // TCP takes the device off a packet that it has found a socket for.
        device: "-|v0",
        netns_may_be_unknown: true,
        class: Some("drop"),
        // What is written while an earlier segment waits for its device goes with the next one.
        tokens: &[
            ("comm", "!redis-server"),
            ("flags", "PSH,ACK"),
            ("segs", "-|2|3|4|5|6|7|8"),
        ],
        seen_since: Kernel(5, 18),
        ..BASE
    },
    Scenario {
        // A process in a container, by the cgroup that an engine makes for it.
        name: "container",
        traffic: |world| {
            let cgroup = Cgroup::new(&format!("system.slice/docker-{CONTAINER}.scope"))?;
            let (source, destination) = (local(40040), local(9));
            let mut sender = world
                .subject
                .run(|| SenderProcess::start(source, destination, N, true, Some(&cgroup)))?;
            let owner = sender.owner();
            let sent = sender.send()?;
            world.keep((sender, cgroup));
            Ok(with(
                sent,
                &[("owner", &owner), ("container", &CONTAINER[..12])],
            ))
        },
        ..OUTPUT_DROP
    },
    Scenario {
        // It has ended before its line is written.
        name: "sender_gone",
        traffic: |world| {
            let mut sender = world
                .subject
                .run(|| SenderProcess::start(local(40041), local(9), 1, false, None))?;
            let owner = sender.owner();
            Ok(with(sender.send()?, &[("owner", &owner)]))
        },
        ..OUTPUT_DROP
    },
    Scenario {
        // Two processes have the socket that is full; which of them is named is left open.
        name: "shared_socket",
        traffic: |world| {
            let address = local(9140);
            let holders = world.subject.run(|| {
                let receiver = traffic::small_receiver(address)?;
                Ok([holder(&receiver)?, holder(&receiver)?])
            })?;
            let owners = [0, 1].map(|one: usize| format!("sleep[{}]+1", holders[one].0.id()));
            let send = || traffic::udp(local(40042), address, 1, 1000);
            let sent = in_two_rounds(&owners.join("|"), || {
                world.subject.run(|| overflow(send, address, DATAGRAMS))
            })?;
            world.keep(holders);
            Ok(sent)
        },
        reasons: &[(REASONS, "SOCKET_RCVBUFF")],
        through: "udp_queue_rcv_one_skb|udp_queue_rcv_skb|__udp_enqueue_schedule_skb",
        class: Some("drop"),
        ..BASE
    },
    Scenario {
        // The same addresses in two namespaces.
        name: "same_address",
        traffic: |world| {
            let send = || traffic::udp(local(40043), local(9), N, 100);
            let mut sent = world.subject.run(send)?;
            let others = world.peer.run(send)?;
            let inode = world.peer.inode();
            sent.extend(others.into_iter().map(|packet| packet.in_netns(inode)));
            Ok(sent)
        },
        reasons: &[(REASONS, "NO_SOCKET")],
        through: "udp_rcv|__udp4_lib_rcv",
        class: Some("refused"),
        ..BASE
    },
    Scenario {
        // A namespace that gets its name while dropwatch runs.
        name: "named_netns",
        traffic: |world| {
            let named = NamedNetns::new(&world.subject)?;
            let name = named.name().to_owned();
            world.keep(named);
            let sent = world
                .subject
                .run(|| traffic::udp(local(40044), local(9), N, 100))?;
            Ok(with(sent, &[("netns", &name)]))
        },
        reasons: &[(REASONS, "NO_SOCKET")],
        through: "udp_rcv|__udp4_lib_rcv",
        class: Some("refused"),
        ..BASE
    },
    Scenario {
        // A message to nobody: the sender is told, nothing is lost.
        name: "netlink_nobody",
        traffic: |world| {
            world.subject.run(|| {
                traffic::netlink_to_nobody(N)?;
                Ok(Packet::new("-", "-", "-").times(N))
            })
        },
        reasons: &[(REASONS, "NOT_SPECIFIED")],
        through: "netlink_unicast",
        device: "-",
        netns_may_be_unknown: true,
        sender_on_cpu: true,
        class: Some("expected"),
        ..BASE
    },
    Scenario {
        // One call, one packet in the kernel, five on the wire.
        name: "gso_udp",
        traffic: |world| {
            world.subject.run(|| {
                let socket = UdpSocket::bind(local(40045)).context("binding a socket")?;
                setsockopt(&socket, sockopt::UdpGsoSegment, &1000)
                    .context("setting UDP_SEGMENT")?;
                let sent = traffic::udp_from(&socket, local(9).into(), N, 5000)?;
                Ok(with(sent, &[("segs", "5"), ("len", "5028")]))
            })
        },
        ..OUTPUT_DROP
    },
    Scenario {
        name: "gso_tcp",
        modules: &["sch_ingress", "cls_bpf"],
        set_up: &[
            "sysctl net.ipv4.tcp_early_retrans=0",
            "tc qdisc add dev v0 clsact",
            "ip route change 10.77.0.0/24 dev v0 src 10.77.0.1 rto_min 20s",
        ],
        traffic: large_write,
        reasons: &[(REASONS, "TC_EGRESS")],
        through: "__dev_queue_xmit",
        device: "v0",
        class: Some("drop"),
        sender_on_cpu: true,
        sender_owns: true,
        tokens: &[("flags", "ACK|PSH,ACK"), ("state", "ESTABLISHED")],
        ..BASE
    },
];

/// How many datagrams a full buffer has to drop in a round.
const DATAGRAMS: u64 = 10;

/// The first kernel that says which socket was to receive the packet.
const RECEIVING_SOCKET: Kernel = Kernel(6, 11);

pub(crate) const CONTAINER: &str =
    "4f5e6d7c8b9a0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796";

fn with(packets: Vec<Packet>, tokens: &[(&'static str, &str)]) -> Vec<Packet> {
    let add = |packet: Packet| {
        tokens
            .iter()
            .fold(packet, |packet, (key, value)| packet.with(key, value))
    };
    packets.into_iter().map(add).collect()
}

/// A process that holds a socket and does nothing with it.
pub(crate) fn holder(socket: &UdpSocket) -> Result<Holder> {
    let socket = socket.try_clone().context("sharing a socket")?;
    let child = Command::new("sleep")
        .arg("600")
        .stdin(std::os::fd::OwnedFd::from(socket))
        .stdout(Stdio::null())
        .spawn()
        .context("starting sleep")?;
    Ok(Holder(child))
}

#[derive(Debug)]
pub(crate) struct Holder(pub(crate) std::process::Child);

impl Drop for Holder {
    fn drop(&mut self) {
        if self.0.kill().is_ok() {
            self.0.wait().ok();
        }
    }
}

/// Sends until the socket at `address` in the calling thread's namespace has dropped `wanted` more
/// datagrams, or some more than that, and gives back those that it dropped.
pub(crate) fn overflow(
    send: impl Fn() -> Result<Vec<Packet>>,
    address: SocketAddrV4,
    wanted: u64,
) -> Result<Vec<Packet>> {
    let dropped = || {
        let socket = Socket::find("udp", address)?;
        Ok(socket.context("the receiver has gone")?.drops)
    };
    let before = dropped()?;
    let mut sent = Vec::new();
    while dropped()? < before + wanted {
        ensure!(sent.len() < 10_000, "the buffer does not fill up");
        sent.extend(send()?);
    }
    // On a busy machine the kernel is behind with what was sent.
    let count = settled(dropped)? - before;
    sent.truncate(usize::try_from(count).context("a count of drops")?);
    Ok(sent)
}

/// How long until the owner of a socket that has been asked for is known: a look at all processes of
/// an emulated machine that four dropwatches look at.
pub(crate) const OWNER_WITHIN: Duration = Duration::from_secs(3);

/// Makes drops in two rounds. A new socket's owner may not be known in the first; then it has to.
fn in_two_rounds(
    owner: &str,
    mut round: impl FnMut() -> Result<Vec<Packet>>,
) -> Result<Vec<Packet>> {
    let mut sent = with(round()?, &[("owner", &format!("{owner}|-"))]);
    thread::sleep(OWNER_WITHIN);
    sent.extend(with(round()?, &[("owner", owner)]));
    Ok(sent)
}

fn flooded_dnsmasq(world: &World) -> Result<Vec<Packet>> {
    let address = subject(53);
    let server = world.subject.run(|| Server::dnsmasq(address))?;
    server.freeze()?;
    let asker = world
        .peer
        .run(|| UdpSocket::bind(peer(40046)).context("binding a socket"))?;
    // A server does not answer what calls itself an answer.
    let ask = || {
        asker
            .send_to(&[0xff; 1000], address)
            .context("asking dnsmasq")?;
        Ok(vec![Packet::new("udp", peer(40046), address)])
    };
    let owner = server.owner();
    let sent = in_two_rounds(&owner, || {
        world.subject.run(|| overflow(ask, address, DATAGRAMS))
    })?;
    server.thaw()?;
    wait::until("dnsmasq reads all", WITHIN, || {
        let socket = world.subject.run(|| Socket::find("udp", address))?;
        Ok(socket.is_some_and(|socket| socket.unread == 0))
    })?;
    world.keep(server);
    Ok(sent)
}

fn flooded_redis(world: &World) -> Result<Vec<Packet>> {
    let address = subject(6379);
    let server = world.subject.run(|| Server::redis(address))?;
    let connect = |port| -> Result<TcpStream> {
        let client = connect(peer(port), address)?;
        ask_redis(&client)?;
        Ok(client)
    };
    // On newer kernels the first drop shuts the window: a connection for each round.
    let mut clients = world
        .peer
        .run(|| Ok(vec![connect(40046)?, connect(40047)?]))?;
    server.freeze()?;
    let owner = server.owner();
    let sent = in_two_rounds(&owner, || {
        let client = clients.pop().context("a connection")?;
        fill_receive_queue(world, &server, client)
    })?;
    // It stays as it is: going on, it would answer somebody who is gone.
    world.keep(server);
    Ok(sent)
}

fn fill_receive_queue(world: &World, server: &Server, client: TcpStream) -> Result<Vec<Packet>> {
    let SocketAddr::V4(source) = client.local_addr().context("the client's address")? else {
        bail!("not an IPv4 client");
    };
    client.set_nodelay(true).context("setting TCP_NODELAY")?;
    // What the client may send was promised before; now there is no room for it.
    let accepted = server.connection_from(source)?;
    setsockopt(&accepted, sockopt::RcvBuf, &1).context("making redis's buffer small")?;
    drop(accepted);
    // A segment that is next in line, or, behind one that was dropped, is not.
    let dropped = || {
        world
            .subject
            .run(|| Ok(counter("TcpExt", "TCPRcvQDrop")? + counter("TcpExt", "TCPOFODrop")?))
    };
    let before = dropped()?;
    for _ in 0..8 {
        (&client).write_all(&[b' '; 1400]).context("asking redis")?;
    }
    wait::until("the receive queue fills up", WITHIN, || {
        Ok(dropped()? > before)
    })?;
    let count = usize::try_from(settled(dropped)? - before).context("a count of drops")?;
    close_silently(client)?;
    let mut packet = Packet::new("tcp", source, subject(6379));
    if Kernel::running()? >= RECEIVING_SOCKET {
        packet = packet.with("state", "ESTABLISHED");
    }
    Ok(packet.times(count))
}

/// One question and its answer: redis has taken the connection then.
fn ask_redis(mut client: &TcpStream) -> Result<()> {
    client.write_all(b"PING\r\n").context("asking redis")?;
    let mut answer = [0; b"+PONG\r\n".len()];
    client
        .read_exact(&mut answer)
        .context("reading redis's answer")
}

fn connect(source: SocketAddrV4, destination: SocketAddrV4) -> Result<TcpStream> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
        .context("opening a TCP socket")?;
    socket
        .bind(&source.into())
        .with_context(|| format!("binding {source}"))?;
    socket
        .connect(&destination.into())
        .with_context(|| format!("connecting to {destination}"))?;
    Ok(socket.into())
}

/// Closes a connection without a packet, and with it whatever waits to be sent again.
fn close_silently(end: TcpStream) -> Result<()> {
    setsockopt(&end, sockopt::TcpRepair, &1).context("setting TCP_REPAIR")
}

/// Connects, has everything dropped on the way out, and writes more than a packet holds.
fn large_write(world: &World) -> Result<Vec<Packet>> {
    let listener = world
        .peer
        .run(|| TcpListener::bind(peer(9141)).context("listening"))?;
    let sent = world.subject.run(|| {
        let client = connect(subject(40048), peer(9141))?;
        client
            .set_nonblocking(true)
            .context("making a socket non-blocking")?;
        let (server, _) = listener.accept().context("accepting")?;
        run_command("tc filter add dev v0 egress bpf direct-action bytecode '1,6 0 0 2,'")?;
        (&client).write_all(&[0x55; 14_480]).context("writing")?;
        close_silently(client)?;
        close_silently(server)?;
        // The queue counts packets on the wire, and drops in the kernel.
        let statistics = output_of("tc -s qdisc show dev v0")?;
        let count = |before, after| between(&statistics, before, after);
        let (segments, drops) = (count(" bytes ", " pkt (dropped"), count("(dropped ", ","));
        ensure!(
            drops == Some(1) && segments.is_some_and(|segments| segments > 1),
            "one drop of several packets was to be made: {statistics}"
        );
        let packet = Packet::new("tcp", subject(40048), peer(9141));
        Ok(vec![packet.with("segs", segments.unwrap_or_default())])
    })?;
    Ok(sent)
}

/// A count that has not changed for a while.
fn settled(mut count: impl FnMut() -> Result<u64>) -> Result<u64> {
    let (mut last, mut since) = (count()?, Instant::now());
    while since.elapsed() < Duration::from_millis(300) {
        thread::sleep(Duration::from_millis(20));
        let now = count()?;
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    Ok(last)
}
