//! The kernel's socket tables of a network namespace, as text in
//! `/proc/PID/net`, and which sockets in them a received packet is for.

use std::{
    io::{BufRead, BufReader},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};

use dropwatch_common::uapi::{
    IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE, TCP_LISTEN,
    TCP_SYN_RECV,
};
use rustc_hash::FxHashMap;

use super::{
    BUDGET, OPEN_COST,
    job::{Job, Pause, Waited},
    proc::{Proc, ProcessDir},
    scan::Place,
};

/// When a table is read again.
const READ_PAUSE: Pause = Pause {
    least: Duration::from_millis(100),
    times: 10,
};

/// In which callers wait for tables not longer than they have patience.
const WAIT_WINDOW: Duration = Duration::from_secs(1);

/// Most sockets in a table; a larger one is not used.
const MAX_ROWS: usize = 1 << 18;

/// Most sockets in all tables together, and most tables. When there are more,
/// all but the newest table are forgotten.
const MAX_CACHED_ROWS: usize = 1 << 19;
const MAX_TABLES: usize = 256;

/// Most sockets with the same ports that are looked through, which is done for
/// each packet. Any user can open more; a server has one for each of its
/// addresses and processors.
const MAX_WITH_PORTS: usize = 1024;

/// Most sockets that a packet can be for: as many as can be asked for their owners at once.
const MAX_CANDIDATES: usize = BUDGET / OPEN_COST;

/// A received packet, as a socket sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// IP protocol number.
    pub protocol: u8,
    /// It was dropped on its way into a raw socket, not into one of its
    /// transport protocol.
    pub raw: bool,
    /// Destination of the packet. The port is in host byte order; for ICMP it
    /// is the identifier of an echo, 0 where there is no port.
    pub local: SocketAddr,
    /// Source of the packet.
    pub remote: SocketAddr,
}

/// Tables that are matched in the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Tcp,
    Udp,
    UdpLite,
    Raw,
    Ping,
}

impl Kind {
    fn of(flow: &Flow) -> Self {
        match flow.protocol {
            _ if flow.raw => Self::Raw,
            IPPROTO_TCP => Self::Tcp,
            IPPROTO_UDP => Self::Udp,
            IPPROTO_UDPLITE => Self::UdpLite,
            IPPROTO_ICMP | IPPROTO_ICMPV6 => Self::Ping,
            _ => Self::Raw,
        }
    }

    /// Where the IPv4 and the IPv6 sockets are.
    fn files(self) -> [&'static str; 2] {
        match self {
            Self::Tcp => ["net/tcp", "net/tcp6"],
            Self::Udp => ["net/udp", "net/udp6"],
            Self::UdpLite => ["net/udplite", "net/udplite6"],
            Self::Raw => ["net/raw", "net/raw6"],
            Self::Ping => ["net/icmp", "net/icmp6"],
        }
    }
}

/// One socket of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// Port, protocol of a raw socket, or identifier of a ping socket.
    local_port: u16,
    /// 0 if not connected.
    remote_port: u16,
    /// IPv4 where an IPv6 socket holds a mapped address.
    local: IpAddr,
    remote: IpAddr,
    state: u8,
    /// An IPv6 socket.
    is_v6: bool,
    /// 0 where no process holds the socket.
    inode: u64,
}

impl Row {
    /// Reads `SL: LOCAL REMOTE STATE TX:RX TR:WHEN RETRANSMIT UID TIMEOUT INODE`,
    /// as `udp4_format_sock`, `get_tcp4_sock` and their like write it.
    pub(super) fn parse(line: &str, is_v6: bool) -> Option<Self> {
        let mut words = line.split_ascii_whitespace().skip(1);
        let (local, local_port) = address(words.next()?)?;
        let (remote, remote_port) = address(words.next()?)?;
        let state = u8::from_str_radix(words.next()?, 16).ok()?;
        let inode = words.nth(5)?.parse().ok()?;
        Some(Self {
            local_port,
            remote_port,
            local,
            remote,
            state,
            is_v6,
            inode,
        })
    }

    fn key(&self) -> (u16, u16) {
        (self.local_port, self.remote_port)
    }

    /// Whether it takes packets of this address family. Whether an IPv6 socket
    /// takes IPv6 only is not in the table.
    fn takes_family(&self, flow: &Flow, kind: Kind) -> bool {
        match (flow.local.is_ipv4(), kind) {
            (true, Kind::Raw | Kind::Ping) => !self.is_v6,
            (true, _) => true,
            (false, _) => self.is_v6,
        }
    }

    /// How well it fits, ordered as the kernel's choice: bound address, then
    /// connected, then its own address family. `None` if it does not fit.
    fn rank(&self, flow: &Flow) -> Option<(bool, u8, bool)> {
        let is_bound = fits(self.local, flow.local.ip())?;
        let from_address = fits(self.remote, flow.remote.ip())?;
        let from_port = match self.remote_port {
            0 => false,
            port => (port == flow.remote.port()).then_some(true)?,
        };
        let connected = u8::from(from_address) + u8::from(from_port);
        Some((is_bound, connected, !self.is_v6))
    }
}

/// Whether a socket's address is this one, or any; `None` if another one.
fn fits(socket: IpAddr, packet: IpAddr) -> Option<bool> {
    if socket.is_unspecified() {
        Some(false)
    } else {
        (socket == packet).then_some(true)
    }
}

/// Reads `ADDRESS:PORT`. The address is one or four 32-bit words, each a number
/// in host byte order of the bytes as they are in memory; the port is a number.
fn address(text: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let digits = address.get(at * 8..at * 8 + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    let address = match address.len() {
        8 => IpAddr::from(word(0)?),
        32 => {
            let mut bytes = [0; 16];
            for (at, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(at)?);
            }
            Ipv6Addr::from(bytes).to_canonical()
        }
        _ => return None,
    };
    Some((address, port))
}

/// Most namespaces whose sockets are looked through together.
const MAX_PLACES: usize = 128;

/// The sockets of one kind in one namespace, or in all.
#[derive(Debug)]
pub(super) struct Table {
    kind: Kind,
    /// Of all namespaces: only connections can be told apart.
    is_of_all: bool,
    /// Ordered by local and remote port.
    rows: Vec<Row>,
}

impl Table {
    /// Reads the tables of the namespaces in `places`; `None` if there are too
    /// many sockets or namespaces, or a single one can't be read.
    fn read(proc: &Proc, places: &[Place], kind: Kind, is_of_all: bool) -> Option<Self> {
        if places.len() > MAX_PLACES {
            return None;
        }
        let mut rows = Vec::new();
        for place in places {
            let mut processes = place.pids.iter().filter_map(|pid| proc.process(*pid));
            match processes.find(|process| process.netns() == Some(place.netns)) {
                Some(process) => read_files(&process, kind, &mut rows)?,
                // It has gone, or nobody lives there any more.
                None if is_of_all => {}
                None => return None,
            }
        }
        Some(Self::new(kind, is_of_all, rows))
    }

    fn new(kind: Kind, is_of_all: bool, mut rows: Vec<Row>) -> Self {
        rows.sort_unstable_by_key(Row::key);
        Self {
            kind,
            is_of_all,
            rows,
        }
    }

    /// Sockets with these ports; `None` if there are too many.
    fn with_ports(&self, local: u16, remote: u16) -> Option<&[Row]> {
        self.between((local, remote), (local, remote))
    }

    /// Sockets whose ports are not below `first` and not above `last`; `None` if
    /// there are too many.
    fn between(&self, first: (u16, u16), last: (u16, u16)) -> Option<&[Row]> {
        let start = self.rows.partition_point(|row| row.key() < first);
        let end = self.rows.partition_point(|row| row.key() <= last);
        let rows = self.rows.get(start..end)?;
        (rows.len() <= MAX_WITH_PORTS).then_some(rows)
    }

    /// Puts the inodes of the sockets that can be meant into `found`: several
    /// where the table does not tell which, none where no process has it or
    /// there are too many.
    fn candidates(&self, flow: &Flow, found: &mut Vec<u64>) {
        found.clear();
        if self.is_of_all && self.kind != Kind::Tcp {
            return;
        }
        let looked_through = match self.kind {
            Kind::Tcp => self.tcp(flow, found),
            Kind::Udp | Kind::UdpLite => self.udp(flow, found),
            // Every one that fits gets a copy (`raw_v4_input` in
            // `net/ipv4/raw.c`), the first of them is taken (`ping_lookup` in
            // `net/ipv4/ping.c`); which one that is the table does not say.
            Kind::Raw => self.all(flow, u16::from(flow.protocol), found),
            Kind::Ping => self.all(flow, flow.local.port(), found),
        };
        if looked_through.is_none() || found.len() > MAX_CANDIDATES || found.contains(&0) {
            found.clear();
        }
    }

    /// As `__inet_lookup` in `include/net/inet_hashtables.h`: the connection,
    /// otherwise a listener. `None` if there are too many to look through.
    fn tcp(&self, flow: &Flow, found: &mut Vec<u64>) -> Option<()> {
        let mut connections = self
            .with_ports(flow.local.port(), flow.remote.port())?
            .iter()
            .filter(|row| row.state != TCP_LISTEN)
            .filter(|row| row.local == flow.local.ip() && row.remote == flow.remote.ip())
            .peekable();
        if self.is_of_all {
            // Two namespaces can have the same connection.
            found.extend(connections.map(|row| row.inode));
            return Some(());
        }
        match connections.peek() {
            // A request to connect is its listener's business.
            Some(row) if row.inode == 0 && row.state == TCP_SYN_RECV => {}
            // Inode 0: in TIME_WAIT, or closed by its process.
            Some(row) => {
                found.push(row.inode);
                return Some(());
            }
            None => {}
        }
        let listeners = self
            .with_ports(flow.local.port(), 0)?
            .iter()
            .filter(|row| row.state == TCP_LISTEN);
        best(listeners, flow, self.kind, found);
        Some(())
    }

    /// As `__udp4_lib_lookup` in `net/ipv4/udp.c`; to a group or to all, every
    /// socket that fits gets a copy (`__udp4_lib_mcast_deliver`). `None` if there
    /// are too many to look through.
    fn udp(&self, flow: &Flow, found: &mut Vec<u64>) -> Option<()> {
        let port = flow.local.port();
        let unconnected = self.with_ports(port, 0)?.iter();
        let connected = match flow.remote.port() {
            0 => &[],
            remote => self.with_ports(port, remote)?,
        };
        let rows = unconnected.chain(connected);
        if is_for_many(flow.local.ip()) {
            let fitting = rows
                .filter(|row| row.takes_family(flow, self.kind) && row.rank(flow).is_some())
                .map(|row| row.inode);
            found.extend(fitting);
        } else {
            best(rows, flow, self.kind, found);
        }
        Some(())
    }

    fn all(&self, flow: &Flow, local_port: u16, found: &mut Vec<u64>) -> Option<()> {
        let fitting = self
            .between((local_port, 0), (local_port, u16::MAX))?
            .iter()
            .filter(|row| row.takes_family(flow, self.kind))
            .filter(|row| {
                // The kernel does not ask where a ping socket is connected to.
                fits(row.local, flow.local.ip()).is_some()
                    && (self.kind == Kind::Ping || fits(row.remote, flow.remote.ip()).is_some())
            });
        found.extend(fitting.map(|row| row.inode));
        Some(())
    }
}

/// The best of `rows`, all of them where several are.
fn best<'a>(rows: impl Iterator<Item = &'a Row>, flow: &Flow, kind: Kind, found: &mut Vec<u64>) {
    let mut highest = None;
    for row in rows.filter(|row| row.takes_family(flow, kind)) {
        let Some(rank) = row.rank(flow) else {
            continue;
        };
        if Some(rank) > highest {
            highest = Some(rank);
            found.clear();
        }
        if Some(rank) == highest {
            found.push(row.inode);
        }
    }
}

fn is_for_many(address: IpAddr) -> bool {
    address.is_multicast() || address == IpAddr::V4(Ipv4Addr::BROADCAST)
}

/// Appends the sockets of a kind that a process sees; `None` if there are too
/// many.
fn read_files(process: &ProcessDir, kind: Kind, rows: &mut Vec<Row>) -> Option<()> {
    for (file, is_v6) in kind.files().into_iter().zip([false, true]) {
        // A kernel without the protocol has no such file.
        if let Some(file) = process.open(file) {
            read_rows(BufReader::new(file), is_v6, rows)?;
        }
    }
    Some(())
}

/// Appends the sockets of a file; `None` if there are too many.
fn read_rows(mut file: impl BufRead, is_v6: bool, rows: &mut Vec<Row>) -> Option<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if file.read_until(b'\n', &mut line).ok()? == 0 {
            return Some(());
        }
        // The heading is no socket.
        let row = std::str::from_utf8(&line)
            .ok()
            .and_then(|line| Row::parse(line, is_v6));
        rows.extend(row);
        if rows.len() > MAX_ROWS {
            log::debug!("a socket table has more than {MAX_ROWS} lines");
            return None;
        }
    }
}

/// A table and its age.
#[derive(Debug)]
struct Cached {
    /// `None` if it could not be read.
    table: Option<Table>,
    read: Instant,
    took: Duration,
}

impl Cached {
    fn unreadable(now: Instant) -> Self {
        Self {
            table: None,
            read: now,
            took: Duration::ZERO,
        }
    }

    fn rows(&self) -> usize {
        self.table.as_ref().map_or(0, |table| table.rows.len())
    }
}

/// Namespace, none for all of them, and kind.
type Key = (Option<u32>, Kind);

/// Tables of all namespaces that were asked for.
#[derive(Debug, Default)]
pub(super) struct Tables {
    cached: FxHashMap<Key, Cached>,
    /// The one table that is being read.
    reading: Option<(Key, Job<Option<Table>>)>,
    /// When the last [`WAIT_WINDOW`] began, and how long callers have waited in it.
    waited: Option<(Instant, Duration)>,
    /// The last answer.
    pub(super) found: Vec<u64>,
}

impl Tables {
    /// Puts the inodes of the sockets in `netns`, or of connections in any
    /// namespace, that `flow` can be for into `found`. Reads at most one table,
    /// that of `places`, and waits for it. All callers together wait not longer
    /// than `patience` in a second, and then nothing is read for the rest of it: a user
    /// can make many namespaces.
    pub(super) fn candidates(
        &mut self,
        (proc, places): (&Proc, impl FnOnce() -> Vec<Place>),
        netns: Option<u32>,
        flow: &Flow,
        now: Instant,
        patience: Duration,
    ) {
        let key = (netns, Kind::of(flow));
        self.collect(Duration::ZERO);
        if !self.is_fresh(&key, now, 1) && self.may_read(patience, now) {
            let places = places();
            if !places.is_empty() {
                let start = Instant::now();
                let patience = self.patience_left(patience, now);
                self.start(key, proc, places, now);
                self.collect(patience);
                if let Some((_, waited)) = &mut self.waited {
                    *waited += start.elapsed();
                }
            }
        }
        self.found.clear();
        // While a table is being read the one of before may serve, not one of
        // long before.
        if self.is_fresh(&key, now, 2)
            && let Some(cached) = self.cached.get(&key)
            && let Some(table) = &cached.table
        {
            table.candidates(flow, &mut self.found);
        }
    }

    /// Whether a table can be read now.
    pub(super) fn may_read(&mut self, patience: Duration, now: Instant) -> bool {
        self.reading.is_none() && !self.patience_left(patience, now).is_zero()
    }

    /// What callers have not waited of `patience` in this second.
    fn patience_left(&mut self, patience: Duration, now: Instant) -> Duration {
        let (begun, waited) = self.waited.get_or_insert((now, Duration::ZERO));
        if now.saturating_duration_since(*begun) >= WAIT_WINDOW {
            (*begun, *waited) = (now, Duration::ZERO);
        }
        patience.saturating_sub(*waited)
    }

    /// Forgets what was read of all namespaces together: there is a new one.
    pub(super) fn forget_all_namespaces(&mut self) {
        self.cached.retain(|(netns, _), _| netns.is_some());
    }

    /// Whether the table is not older than some pauses between reads.
    fn is_fresh(&self, key: &Key, now: Instant, pauses: u32) -> bool {
        self.cached.get(key).is_some_and(|cached| {
            let age = now.saturating_duration_since(cached.read);
            age < READ_PAUSE.after(cached.took).saturating_mul(pauses)
        })
    }

    fn start(&mut self, key: Key, proc: &Proc, places: Vec<Place>, now: Instant) {
        let proc = proc.clone();
        let (netns, kind) = key;
        match Job::start(now, move || {
            Table::read(&proc, &places, kind, netns.is_none())
        }) {
            Some(job) => self.reading = Some((key, job)),
            None => self.insert(key, Cached::unreadable(now)),
        }
    }

    pub(super) fn collect(&mut self, patience: Duration) {
        let Some((key, job)) = &self.reading else {
            return;
        };
        let read = job.started;
        let cached = match job.wait(patience) {
            Waited::Done(table, took) => Cached { table, read, took },
            Waited::Running => return,
            Waited::Failed => Cached::unreadable(read),
        };
        let key = *key;
        self.reading = None;
        self.insert(key, cached);
    }

    fn insert(&mut self, key: Key, cached: Cached) {
        let rows: usize = self.cached.values().map(Cached::rows).sum();
        if rows + cached.rows() > MAX_CACHED_ROWS || self.cached.len() >= MAX_TABLES {
            self.cached.clear();
        }
        self.cached.insert(key, cached);
    }
}

#[cfg(test)]
#[path = "tables/tests.rs"]
mod tests;
