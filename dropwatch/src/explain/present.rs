//! What the host says now: counters, settings and queues, of the network namespace that this
//! process lives in.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use super::{
    sockets::{self, Socket},
    texts::Queues,
};
use crate::enrich::{files::read_bounded, owner::Owners};

/// Most bytes of a file in `/proc` that is read whole: `snmp6` has some kilobytes, tables with a
/// line for each processor some hundred.
const LIMIT: u64 = 4 << 20;

/// Reads the sockets whose queues matter; `None` if they can't be read.
type ReadSockets = fn(Queues) -> Option<Vec<Socket>>;

/// Where present values come from.
pub struct Present {
    proc: PathBuf,
    sockets: ReadSockets,
    owners: Owners,
}

impl Present {
    /// Those of the host whose proc file system is mounted at `proc`.
    #[must_use]
    pub fn new(proc: &Path) -> Self {
        Self::with_sockets(proc, sockets::read)
    }

    pub(super) fn with_sockets(proc: &Path, sockets: ReadSockets) -> Self {
        Self {
            proc: proc.to_owned(),
            sockets,
            owners: Owners::new(proc),
        }
    }

    /// The value of a setting as one line; `None` if this host does not have it.
    #[must_use]
    pub fn sysctl(&self, name: &str) -> Option<String> {
        let text = self.read(&format!("sys/{}", name.replace('.', "/")))?;
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        Some(words.join(" "))
    }

    /// The value of a counter: by the name that `nstat` has for it, or as `FILE COLUMN`. `None` if
    /// this host does not have it.
    #[must_use]
    pub fn counter(&self, name: &str) -> Option<u64> {
        match name.split_once(' ') {
            // `softnet_seq_show` in `net/core/net-procfs.c` names no columns.
            Some(("softnet_stat", "dropped")) => self.sum_of_column("net/softnet_stat", 1),
            Some(("softnet_stat", "flow_limit")) => self.sum_of_column("net/softnet_stat", 10),
            Some(("xfrm_stat", counter)) => self.listed("net/xfrm_stat", counter),
            Some((file, column)) => self.sum_of_named_column(&format!("net/stat/{file}"), column),
            None => self
                .in_pairs("net/snmp", name)
                .or_else(|| self.in_pairs("net/netstat", name))
                .or_else(|| self.listed("net/snmp6", name)),
        }
    }

    /// The sockets to look at; `None` if they can't be read.
    pub(super) fn sockets(&self, queues: Queues) -> Option<Vec<Socket>> {
        (self.sockets)(queues)
    }

    /// The process that holds a socket, as lines show it.
    pub(super) fn owner(&mut self, socket: &Socket) -> String {
        match self.owners.of_socket(socket.inode, 0, Instant::now()) {
            Some(owner) => format!("{}[{}]", owner.comm.escape_ascii(), owner.pid),
            None => "-".to_owned(),
        }
    }

    fn read(&self, file: &str) -> Option<String> {
        let bytes = read_bounded(&self.proc.join(file), LIMIT).ok()?;
        String::from_utf8(bytes).ok()
    }

    /// From a file of pairs of lines, `Tcp: InSegs OutSegs` and `Tcp: 12 7`.
    fn in_pairs(&self, file: &str, name: &str) -> Option<u64> {
        let text = self.read(file)?;
        let mut lines = text.lines();
        while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
            let (group, names) = names.split_once(':')?;
            let Some(wanted) = name.strip_prefix(group) else {
                continue;
            };
            let (_, values) = values.split_once(':')?;
            let place = names.split_whitespace().position(|name| name == wanted);
            if let Some(place) = place {
                return values.split_whitespace().nth(place)?.parse().ok();
            }
        }
        None
    }

    /// From a file with a line for each counter, its name and its value.
    fn listed(&self, file: &str, name: &str) -> Option<u64> {
        let text = self.read(file)?;
        let mut words = text.lines().map(str::split_whitespace);
        let value = words.find_map(|mut words| (words.next() == Some(name)).then(|| words.next()));
        value??.parse().ok()
    }

    /// From a file whose first line names the columns.
    fn sum_of_named_column(&self, file: &str, name: &str) -> Option<u64> {
        let text = self.read(file)?;
        let (names, lines) = text.split_once('\n')?;
        let column = names.split_whitespace().position(|it| it == name)?;
        sum(lines, column)
    }

    fn sum_of_column(&self, file: &str, column: usize) -> Option<u64> {
        sum(&self.read(file)?, column)
    }
}

/// The sum of a column of hexadecimal numbers: a line for each processor.
fn sum(lines: &str, column: usize) -> Option<u64> {
    let number = |line: &str| u64::from_str_radix(line.split_whitespace().nth(column)?, 16).ok();
    lines.lines().map(number).sum()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn host() -> (tempfile::TempDir, Present) {
        let proc = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let path = proc.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("sys/net/ipv4/tcp_rmem", "4096\t131072\t6291456\n");
        write(
            "net/snmp",
            "Ip: A InB\nIp: 1 2\nTcp: MaxConn InErrs\nTcp: -1 7\n",
        );
        write(
            "net/netstat",
            "TcpExt: ListenDrops\nTcpExt: 12\nIpExt: A\nIpExt: 3\n",
        );
        write("net/snmp6", "Ip6InReceives  \t40\nUdp6NoPorts 41\n");
        write("net/xfrm_stat", "XfrmInNoPols            5\n");
        write(
            "net/stat/arp_cache",
            "entries  table_fulls\n0000000a 0000000b\n0000000a 00000005\n",
        );
        let row = "1 2 3 0 0 0 0 0 0 0 10\n";
        write("net/softnet_stat", &row.repeat(2));
        let present = Present::new(proc.path());
        (proc, present)
    }

    #[test]
    fn counters() {
        let (_proc, host) = host();
        for (name, value) in [
            ("TcpInErrs", Some(7)),
            ("IpInB", Some(2)),
            ("TcpExtListenDrops", Some(12)),
            ("IpExtA", Some(3)),
            ("Udp6NoPorts", Some(41)),
            ("xfrm_stat XfrmInNoPols", Some(5)),
            ("arp_cache table_fulls", Some(16)),
            ("softnet_stat dropped", Some(4)),
            ("softnet_stat flow_limit", Some(0x20)),
            // Not a number of things, or not there.
            ("TcpMaxConn", None),
            ("TcpNone", None),
            ("arp_cache none", None),
            ("ndisc_cache table_fulls", None),
        ] {
            assert_eq!(host.counter(name), value, "{name}");
        }
    }

    #[test]
    fn settings() {
        let (_proc, host) = host();
        assert_eq!(
            host.sysctl("net.ipv4.tcp_rmem").unwrap(),
            "4096 131072 6291456"
        );
        assert_eq!(host.sysctl("net.ipv4.none"), None);
    }
}
