//! Real servers, stopped in the middle of their work, so that their sockets fill up.

use std::{
    env, fs,
    net::{SocketAddrV4, TcpStream},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use crate::stand_in;

/// How long a server may take until it listens.
const READY_WITHIN: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);

/// A server process; it is ended on drop.
#[derive(Debug)]
pub struct Server {
    child: Child,
    name: &'static str,
}

impl Server {
    /// dnsmasq on a UDP (and TCP) port, in the calling thread's network namespace.
    pub fn dnsmasq(address: SocketAddrV4) -> Result<Self> {
        let mut command = Command::new(find("dnsmasq")?);
        command
            .args([
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--pid-file",
            ])
            .args([
                "--no-resolv",
                "--no-hosts",
                "--bind-interfaces",
                "--log-facility=-",
            ])
            .args(["--user=root", "--group=root"])
            .arg(format!("--listen-address={}", address.ip()))
            .arg(format!("--port={}", address.port()));
        let child = quiet(&mut command).spawn().context("starting dnsmasq")?;
        Self::ready("dnsmasq", child, "udp", address)
    }

    /// redis-server on a TCP port, in the calling thread's network namespace.
    pub fn redis(address: SocketAddrV4) -> Result<Self> {
        // One program: under this name it is the server, whatever package brought it.
        let program = find("redis-check-rdb").or_else(|_| find("redis-server"))?;
        let child = stand_in::start_as(&program, "redis-server", |command| {
            quiet(command)
                .arg0("redis-server")
                .args(["--save", "", "--appendonly", "no", "--protected-mode", "no"])
                .args(["--bind", &address.ip().to_string()])
                .args(["--port", &address.port().to_string()])
                .args(["--dir", "/"]);
        })?;
        Self::ready("redis-server", child, "tcp", address)
    }

    fn ready(
        name: &'static str,
        child: Child,
        protocol: &str,
        address: SocketAddrV4,
    ) -> Result<Self> {
        let mut server = Self { child, name };
        let deadline = Instant::now() + READY_WITHIN;
        while Socket::find(protocol, address)?.is_none() {
            if let Some(status) = server.child.try_wait().context("waiting for a server")? {
                bail!("{name} ended before it listened ({status})");
            }
            ensure!(Instant::now() < deadline, "{name} did not listen in time");
            thread::sleep(POLL);
        }
        Ok(server)
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `NAME[PID]`, as an owner is shown.
    #[must_use]
    pub fn owner(&self) -> String {
        format!("{}[{}]", self.name, self.pid())
    }

    /// Stops it in the middle of its work: its sockets stay, nobody reads them.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Has it go on.
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// The server's own end of a connection.
    pub fn connection_from(&self, client: SocketAddrV4) -> Result<TcpStream> {
        let pid = i32::try_from(self.pid())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        let process = pidfd_open(pid.context("a process id")?, PidfdFlags::empty())
            .with_context(|| format!("opening the process {}", self.name))?;
        let folder = format!("/proc/{}/fd", self.pid());
        for entry in fs::read_dir(&folder).with_context(|| format!("reading {folder}"))? {
            let entry = entry.with_context(|| format!("reading {folder}"))?;
            let Some(number) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            let file = pidfd_getfd(&process, number, PidfdGetfdFlags::empty())
                .with_context(|| format!("sharing file {number} of {}", self.name))?;
            let socket = TcpStream::from(file);
            if socket.peer_addr().is_ok_and(|peer| peer == client.into()) {
                return Ok(socket);
            }
        }
        bail!("{} has no connection from {client}", self.name)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid()).context("a process id")?;
        kill(Pid::from_raw(pid), signal)
            .with_context(|| format!("sending {signal} to {}", self.name))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            self.child.wait().ok();
        }
    }
}

/// Where a server's program is: on PATH, or where Debian keeps those for the administrator.
pub fn find(program: &str) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
        .with_context(|| format!("no {program} here; run: cargo xtask setup --vm"))
}

fn quiet(command: &mut Command) -> &mut Command {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
}

/// What the kernel says about a socket, `/proc/net/udp` or `/proc/net/tcp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket {
    /// Bytes that nobody has read yet (UDP: with what the kernel needs to keep them).
    pub unread: u64,
    /// Datagrams that did not fit; 0 for TCP, which has no such column.
    pub drops: u64,
}

impl Socket {
    /// The socket bound to `address` in the calling thread's network namespace.
    pub fn find(protocol: &str, address: SocketAddrV4) -> Result<Option<Self>> {
        let path = format!("/proc/thread-self/net/{protocol}");
        let table = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
        Ok(Self::parse(&table, address))
    }

    /// The lines are `sl local_address rem_address st tx_queue:rx_queue ...`, those about UDP end
    /// with a count of drops; addresses are hexadecimal as they lie in memory.
    fn parse(table: &str, address: SocketAddrV4) -> Option<Self> {
        let ip = u32::from_ne_bytes(address.ip().octets());
        let local = format!("{ip:08X}:{:04X}", address.port());
        table.lines().find_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            if words.get(1) != Some(&local.as_str()) {
                return None;
            }
            let (_, unread) = words.get(4)?.split_once(':')?;
            Some(Self {
                unread: u64::from_str_radix(unread, 16).ok()?,
                drops: words.get(12)?.parse().unwrap_or(0),
            })
        })
    }
}

/// A counter of the calling thread's network namespace, as `TcpExt`, `TCPRcvQDrop`; 0 where the
/// kernel does not have it.
pub fn counter(group: &str, name: &str) -> Result<u64> {
    let text = fs::read_to_string("/proc/thread-self/net/netstat").context("reading netstat")?;
    Ok(parse_counter(&text, group, name).unwrap_or(0))
}

/// Pairs of lines: `TcpExt: names...`, `TcpExt: values...`.
fn parse_counter(text: &str, group: &str, name: &str) -> Option<u64> {
    let mut of_group = text
        .lines()
        .filter_map(|line| line.split_once(": "))
        .filter(|(title, _)| *title == group);
    let (names, values) = (of_group.next()?.1, of_group.next()?.1);
    let place = names.split(' ').position(|one| one == name)?;
    values.split(' ').nth(place)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Socket, parse_counter};
    use crate::traffic::v4;

    #[test]
    fn sockets() {
        let table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
             1: 01004D0A:0035 00000000:0000 07 00000000:00000900 00:00000000 00000000     0        0 4 2 00000000 17\n";
        let found = Socket::parse(table, v4([10, 77, 0, 1], 53));
        let expected = Socket {
            unread: 0x900,
            drops: 17,
        };
        assert_eq!(found, Some(expected));
        assert_eq!(Socket::parse(table, v4([10, 77, 0, 2], 53)), None);
    }

    #[test]
    fn counters() {
        let text = "TcpExt: A TCPRcvQDrop B\nTcpExt: 1 5 2\nIpExt: A\nIpExt: 9\n";
        assert_eq!(parse_counter(text, "TcpExt", "TCPRcvQDrop"), Some(5));
        assert_eq!(parse_counter(text, "IpExt", "A"), Some(9));
        assert_eq!(parse_counter(text, "TcpExt", "C"), None);
    }
}
