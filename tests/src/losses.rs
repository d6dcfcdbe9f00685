//! Losses of every kind in a small network, and what `dropwatch --counters` has to say of each.

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::{
    dropwatch::Dropwatch,
    kernel,
    traffic::{self, v4},
    world::World,
    xdp,
};

/// Datagrams to a closed port.
const CLOSED: u64 = 7;
/// Datagrams to a receiver that reads nothing.
const UNREAD: usize = 20;
/// Datagrams to an interface whose other end is down.
const DOWN: u64 = 5;
/// Datagrams to a queue that has room for one.
const QUEUED: usize = 12;
/// Datagrams that an XDP program drops.
const BY_XDP: u64 = 6;
/// Connections to a listener that takes none; the kernel lets `backlog + 1` wait.
const CONNECTIONS: usize = 5;
/// Where nobody accepts.
const LISTENER: u16 = 80;
/// How long dropwatch may take to end.
const SOON: Duration = Duration::from_secs(60);

/// Makes the losses and compares what is said of them with what was made.
///
/// # Errors
/// Says which counter is not as it has to be.
pub fn check(binary: &Path) -> Result<()> {
    // Those that the kernel does not have may be built in.
    for module in ["veth", "sch_tbf", "tcp_diag"] {
        kernel::load_module(module);
    }
    let world = World::new()?;
    let netns = world.subject.path();
    let mut dropwatch = Dropwatch::spawn(
        binary,
        &[
            "--counters",
            "--output",
            "json",
            "--netns",
            &netns.to_string_lossy(),
        ],
    )?;
    dropwatch.wait_ready()?;
    let kept = world.subject.run(|| lose(&world))?;
    thread::sleep(Duration::from_millis(300));
    dropwatch.signal(Signal::SIGINT)?;
    let ended = dropwatch.wait(SOON)?;
    drop(kept);
    ended.expect_status(0)?;
    let objects = ended.stdout.lines().map(serde_json::from_str);
    let objects = objects.collect::<Result<Vec<Value>, _>>();
    let mut objects = objects.context("reading an object")?;
    let account = objects.pop().context("there is no account")?;
    let said = Said {
        drops: &objects,
        counters: account["counters"].as_array().context("no counters")?,
    };
    said.check(&ended.stderr)
        .with_context(|| format!("counters: {:#?}, {}", said.counters, ended.stderr))
}

/// What has to stay open until dropwatch has looked at it.
type Kept = (std::net::UdpSocket, TcpListener, Vec<Socket>);

/// Loses packets in the subject of `world`.
fn lose(world: &World) -> Result<Kept> {
    let local = |port| v4([127, 0, 0, 1], port);
    traffic::udp(local(40500), local(9), CLOSED as usize, 10)?;
    let receiver = traffic::small_receiver(local(5000))?;
    traffic::udp(local(40501), local(5000), UNREAD, 500)?;
    let (listener, connections) = fill_accept_queue()?;

    let far = v4([10, 77, 0, 2], 9);
    let near = |port| v4([10, 77, 0, 1], port);
    // The kernel notices a moment later that the cable has no other end, and then has no queue to
    // put packets into.
    world.set_up(["peer: ip link set p0 down"])?;
    thread::sleep(Duration::from_millis(500));
    traffic::udp(near(40502), far, DOWN as usize, 10)?;
    world.set_up([
        "peer: ip link set p0 up",
        "ip neigh replace 10.77.0.2 lladdr 02:00:00:00:00:02 dev v0 nud permanent",
        "tc qdisc add dev v0 root handle 1: tbf rate 8kbit burst 1600 limit 1600",
    ])?;
    thread::sleep(Duration::from_millis(500));
    traffic::udp(near(40503), far, QUEUED, 1000)?;

    world.set_up([
        "peer: ip neigh replace 10.77.0.1 lladdr 02:00:00:00:00:01 dev p0 nud permanent",
    ])?;
    let program = xdp::drop_all("v0")?;
    let peer = || traffic::udp(far, near(40504), BY_XDP as usize, 10);
    world.peer.run(peer)?;
    drop(program);
    Ok((receiver, listener, connections))
}

/// Connects more often than a listener that takes nothing has room for, in the calling thread's
/// namespace.
///
/// # Errors
/// Says what failed.
pub fn fill_accept_queue() -> Result<(TcpListener, Vec<Socket>)> {
    let open = || Socket::new(Domain::IPV4, Type::STREAM, None).context("opening a TCP socket");
    let listener = open()?;
    let address = SocketAddr::from(([0; 4], LISTENER));
    listener
        .bind(&address.into())
        .context("binding a listener")?;
    listener.listen(1).context("listening")?;
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let connection = open()?;
        connection
            .set_nonblocking(true)
            .context("making a socket non-blocking")?;
        // It is under way, and stays so.
        connection
            .connect(&SocketAddr::from(([127, 0, 0, 1], LISTENER)).into())
            .ok();
        connections.push(connection);
    }
    Ok((listener.into(), connections))
}

/// What dropwatch said.
struct Said<'s> {
    drops: &'s [Value],
    counters: &'s [Value],
}

impl Said<'_> {
    fn check(&self, stderr: &str) -> Result<()> {
        self.moved("UdpNoPorts", |count| count == CLOSED)?;
        self.explained("UdpNoPorts", "NO_SOCKET")?;

        let full = self.printed("dport", 5000);
        ensure!(full > 0, "the receive buffer never was full");
        for counter in ["UdpRcvbufErrors", "UdpInErrors"] {
            self.moved(counter, |count| count == full)?;
            self.explained(counter, "SOCKET_RCVBUFF")?;
        }

        let queued = self.counter("qdisc drops")?;
        ensure!(queued["if"] == "v0" && queued["qdisc"] == "tbf", "{queued}");
        let sent_to_queue = self.printed("sport", 40503);
        self.moved("qdisc drops", |count| count == sent_to_queue && count > 0)?;
        self.explained("qdisc drops", "QDISC_DROP")?;

        self.check_driver()?;
        self.check_accept_queue(stderr)?;
        ensure!(
            self.counters
                .iter()
                .all(|counter| counter["name"] != "TcpOutRsts"),
            "what is no loss is told of"
        );
        Ok(())
    }

    /// A queue that is full is told of, with the process that does not take connections, although
    /// nothing was freed as a drop for it.
    fn check_accept_queue(&self, stderr: &str) -> Result<()> {
        let freed = self.printed("dport", LISTENER.into());
        for name in ["TcpExtListenOverflows", "TcpExtListenDrops"] {
            // Retransmissions come on top.
            let least = CONNECTIONS as u64 - 2;
            self.moved(name, |count| count >= least)?;
            let counter = self.counter(name)?;
            let count = counter["count"].as_u64().unwrap_or(0);
            ensure!(
                counter["unexplained"] == count - freed.min(count),
                "{freed} of its packets were freed as drops: {counter}"
            );
            let owner = format!("[{}]) full, 2/1", std::process::id());
            let remark = counter["remark"].as_str().unwrap_or_default();
            ensure!(
                remark.contains(&format!("accept queue of *:{LISTENER} (owner "))
                    && remark.contains(&owner),
                "not the queue and its owner: {counter}"
            );
            ensure!(stderr.contains(&format!("dropwatch: {name} +{count} netns=")));
        }
        Ok(())
    }

    /// What XDP programs drop, the driver counts.
    fn check_driver(&self) -> Result<()> {
        let of_driver = |counter: &&Value| {
            let name = counter["name"].as_str().unwrap_or_default();
            name.starts_with("ethtool rx_queue_") && name.ends_with("_xdp_drops")
        };
        let mut count = 0;
        for counter in self.counters.iter().filter(of_driver) {
            count += counter["count"].as_u64().unwrap_or(0);
            ensure!(counter["if"] == "v0", "{counter}");
        }
        // The kernel may send something of its own.
        ensure!(count >= BY_XDP, "{count} dropped by XDP");
        Ok(())
    }

    /// Drops that were printed with this number.
    fn printed(&self, key: &str, value: u64) -> u64 {
        let drops = self.drops.iter();
        drops.filter(|drop| drop[key] == value).count() as u64
    }

    fn counter(&self, name: &str) -> Result<&Value> {
        let mut counters = self.counters.iter();
        let counter = counters.find(|counter| counter["name"] == name);
        counter.with_context(|| format!("{name} did not move"))
    }

    fn moved(&self, name: &str, is_right: impl Fn(u64) -> bool) -> Result<()> {
        let counter = self.counter(name)?;
        let count = counter["count"].as_u64();
        ensure!(count.is_some_and(is_right), "{name} is wrong: {counter}");
        Ok(())
    }

    /// Whether drops explain all of it: those of `reason` or, without reasons, perhaps those of call
    /// sites.
    fn explained(&self, name: &str, reason: &str) -> Result<()> {
        let counter = self.counter(name)?;
        ensure!(counter["unexplained"] == 0, "not explained: {counter}");
        let causes = counter["causes"].as_array().context("no causes")?;
        let has_reasons = self.drops.iter().any(|drop| !drop["reason"].is_null());
        let is_right = causes.iter().any(|cause| match has_reasons {
            true => cause["by"] == reason && cause["perhaps"] == false,
            false => cause["perhaps"] == true,
        });
        ensure!(is_right, "explained by something else: {counter}");
        Ok(())
    }
}
