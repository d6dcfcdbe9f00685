//! Generators of traffic: each gives back exactly what it sent.

use std::{
    fs,
    io::{self, ErrorKind},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, TcpStream, UdpSocket},
    os::fd::{AsRawFd as _, OwnedFd},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use etherparse::{EtherType, Ethernet2Header, IpFragOffset, IpNumber, Ipv4Header, UdpHeader};
use nix::{
    errno::Errno,
    ifaddrs::getifaddrs,
    sys::socket::{
        AddressFamily, LinkAddr, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv,
        sendto, socket,
    },
};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::netns::THREAD_NAME;

/// `include/uapi/linux/in.h`: send only.
const IPPROTO_RAW: i32 = 255;

/// A packet that a generator sent, as a line about it has to show it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Packet {
    /// Protocol in lower case.
    pub protocol: &'static str,
    /// Source, as printed.
    pub source: String,
    /// Destination, as printed.
    pub destination: String,
    /// The task that sent it.
    pub sender: Sender,
    /// What a line about this packet has to show beyond the scenario's tokens, see [`fits`].
    pub tokens: Vec<(&'static str, String)>,
    /// Inode number of the namespace that drops it, if that is not the subject.
    pub netns: Option<u64>,
}

/// Whether a token's value is as expected: one of `a|b|c`, or with `!a` anything but `a`.
#[must_use]
pub fn fits(expected: &str, value: &str) -> bool {
    match expected.strip_prefix('!') {
        Some(other) => value != other,
        None => expected.split('|').any(|one| one == value),
    }
}

/// A task, as a line shows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sender {
    /// The process.
    pub pid: u32,
    /// The thread's name.
    pub comm: String,
    /// The process's name.
    pub process: String,
}

impl Sender {
    /// The calling process, working in a namespace.
    #[must_use]
    pub fn this() -> Self {
        Self {
            pid: std::process::id(),
            comm: THREAD_NAME.to_owned(),
            process: own_name(),
        }
    }

    /// Another process, which has one thread.
    #[must_use]
    pub fn other(pid: u32, name: &str) -> Self {
        Self {
            pid,
            comm: name.to_owned(),
            process: name.to_owned(),
        }
    }

    /// `NAME[PID]`, as an owner is shown.
    #[must_use]
    pub fn owner(&self) -> String {
        format!("{}[{}]", self.process, self.pid)
    }
}

/// The name of this process, which is that of its first thread.
fn own_name() -> String {
    let name = fs::read_to_string("/proc/self/comm").unwrap_or_default();
    name.trim_end().to_owned()
}

impl Packet {
    /// A packet sent by this process.
    #[must_use]
    pub fn new(protocol: &'static str, source: impl ToString, destination: impl ToString) -> Self {
        Self {
            protocol,
            source: source.to_string(),
            destination: destination.to_string(),
            sender: Sender::this(),
            tokens: Vec::new(),
            netns: None,
        }
    }

    /// The same packet, of which a line has to show this token, too.
    #[must_use]
    pub fn with(mut self, key: &'static str, expected: impl ToString) -> Self {
        self.tokens.push((key, expected.to_string()));
        self
    }

    /// The same packet, dropped in another namespace than the subject.
    #[must_use]
    pub fn in_netns(mut self, inode: u64) -> Self {
        self.netns = Some(inode);
        self
    }

    /// The value that a token has to have, if that is said.
    #[must_use]
    pub fn token(&self, key: &str) -> Option<&str> {
        let mut tokens = self.tokens.iter();
        tokens
            .find(|(known, _)| *known == key)
            .map(|(_, value)| value.as_str())
    }

    /// `count` times the same.
    #[must_use]
    pub fn times(self, count: usize) -> Vec<Self> {
        vec![self; count]
    }
}

/// An IPv4 socket address.
#[must_use]
pub fn v4(address: [u8; 4], port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::from(address), port)
}

/// `[::1]:port`.
#[must_use]
pub fn loopback6(port: u16) -> SocketAddrV6 {
    SocketAddrV6::new(Ipv6Addr::LOCALHOST, port, 0, 0)
}

/// Sends `count` UDP datagrams of `size` bytes from a socket bound to `source`.
pub fn udp(
    source: impl Into<SocketAddr>,
    destination: impl Into<SocketAddr>,
    count: usize,
    size: usize,
) -> Result<Vec<Packet>> {
    let (source, destination) = (source.into(), destination.into());
    let socket = UdpSocket::bind(source).with_context(|| format!("binding {source}"))?;
    udp_from(&socket, destination, count, size)
}

/// The same from a socket that is there already.
pub fn udp_from(
    socket: &UdpSocket,
    destination: SocketAddr,
    count: usize,
    size: usize,
) -> Result<Vec<Packet>> {
    let source = socket.local_addr().context("the socket's address")?;
    let payload = vec![0x55; size];
    for _ in 0..count {
        match socket.send_to(&payload, destination) {
            // An output rule that drops tells the sender so; the packet was made all the same.
            Err(error) if error.kind() != ErrorKind::PermissionDenied => {
                return Err(error)
                    .with_context(|| format!("sending from {source} to {destination}"));
            }
            _ => {}
        }
    }
    Ok(Packet::new("udp", source, destination).times(count))
}

/// Tries `count` TCP connections, each from a port of its own, that must be refused.
pub fn tcp_refused(
    source: SocketAddrV4,
    destination: SocketAddrV4,
    count: u16,
) -> Result<Vec<Packet>> {
    (0..count)
        .map(|number| {
            let source = SocketAddrV4::new(*source.ip(), source.port() + number);
            let socket =
                Socket::new(Domain::IPV4, Type::STREAM, None).context("opening a TCP socket")?;
            socket
                .bind(&source.into())
                .with_context(|| format!("binding {source}"))?;
            let result = socket.connect_timeout(&destination.into(), Duration::from_secs(20));
            let refused = result
                .as_ref()
                .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused);
            ensure!(
                refused,
                "connecting to {destination} should be refused: {result:?}"
            );
            Ok(Packet::new("tcp", source, destination))
        })
        .collect()
}

/// Tries one TCP connection and gives up before the kernel sends a second SYN (after 1 s).
pub fn connect_briefly(destination: SocketAddr) -> io::Result<TcpStream> {
    TcpStream::connect_timeout(&destination, Duration::from_millis(400))
}

/// How a hand-made datagram departs from an ordinary one.
#[derive(Clone, Copy, Debug)]
pub struct Oddity {
    /// Time to live.
    pub ttl: u8,
    /// "Don't fragment".
    pub dont_fragment: bool,
    /// A wrong UDP checksum.
    pub bad_checksum: bool,
}

impl Default for Oddity {
    fn default() -> Self {
        Self {
            ttl: 64,
            dont_fragment: false,
            bad_checksum: false,
        }
    }
}

/// An IPv4 packet with a UDP datagram in it.
pub fn datagram(
    source: SocketAddrV4,
    destination: SocketAddrV4,
    size: usize,
    odd: Oddity,
) -> Result<Vec<u8>> {
    let payload = vec![0x55; size];
    let length = u16::try_from(UdpHeader::LEN + size).context("the size of a datagram")?;
    let mut ip = Ipv4Header::new(
        length,
        odd.ttl,
        IpNumber::UDP,
        source.ip().octets(),
        destination.ip().octets(),
    )?;
    ip.dont_fragment = odd.dont_fragment;
    ip.fragment_offset = IpFragOffset::ZERO;
    ip.header_checksum = ip.calc_header_checksum();
    let mut udp = UdpHeader::with_ipv4_checksum(source.port(), destination.port(), &ip, &payload)?;
    if odd.bad_checksum {
        // Neither the right one nor 0, which would mean that there is none.
        udp.checksum = if udp.checksum == 0x1234 {
            0x4321
        } else {
            0x1234
        };
    }
    let mut bytes = Vec::new();
    ip.write_raw(&mut bytes).context("writing an IPv4 header")?;
    udp.write(&mut bytes).context("writing a UDP header")?;
    bytes.extend_from_slice(&payload);
    Ok(bytes)
}

/// Sends `count` hand-made datagrams through a raw IP socket.
pub fn raw(
    source: SocketAddrV4,
    destination: SocketAddrV4,
    count: usize,
    size: usize,
    odd: Oddity,
) -> Result<Vec<Packet>> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(IPPROTO_RAW)))
        .context("opening a raw socket")?;
    socket
        .set_header_included_v4(true)
        .context("setting IP_HDRINCL")?;
    let packet = datagram(source, destination, size, odd)?;
    let address = SockAddr::from(SocketAddrV4::new(*destination.ip(), 0));
    for _ in 0..count {
        socket
            .send_to(&packet, &address)
            .with_context(|| format!("sending raw to {destination}"))?;
    }
    Ok(Packet::new("udp", source, destination).times(count))
}

/// Sends `count` Ethernet frames with an IPv4 packet in them to the MAC address `mac`.
pub fn frames(device: &str, mac: [u8; 6], packet: &[u8], count: usize) -> Result<()> {
    let own = link_address(device)?.addr().context("a MAC address")?;
    let mut frame = Vec::new();
    Ethernet2Header {
        source: own,
        destination: mac,
        ether_type: EtherType::IPV4,
    }
    .write(&mut frame)
    .context("writing an Ethernet header")?;
    frame.extend(packet);
    whole_frames(device, &vec![frame; count])
}

/// Sends Ethernet frames as they are.
pub fn whole_frames(device: &str, frames: &[Vec<u8>]) -> Result<()> {
    let address = link_address(device)?;
    let socket = packet_socket(false)?;
    for frame in frames {
        match sendto(socket.as_raw_fd(), frame, &address, MsgFlags::empty()) {
            // A packet that is dropped on the way out; it was made all the same.
            Ok(_) | Err(Errno::ENOBUFS) => {}
            Err(error) => return Err(error).context("sending a frame"),
        }
    }
    Ok(())
}

/// Sends netlink messages to a port that nobody has.
pub fn netlink_to_nobody(count: usize) -> Result<()> {
    /// A number that is no process's.
    const NOBODY: u32 = 0x7fff_fff0;
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkUserSock,
    )
    .context("opening a netlink socket")?;
    for _ in 0..count {
        let to = NetlinkAddr::new(NOBODY, 0);
        match sendto(socket.as_raw_fd(), &[0; 64], &to, MsgFlags::empty()) {
            Err(Errno::ECONNREFUSED) => {}
            result => bail!("nobody was to be reached: {result:?}"),
        }
    }
    Ok(())
}

/// A packet tap on one device, with the smallest buffer that the kernel gives.
#[derive(Debug)]
pub struct Tap(OwnedFd);

impl Tap {
    /// Opens a tap on `device`.
    pub fn open(device: &str) -> Result<Self> {
        let socket = packet_socket(true)?;
        nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBuf, &1)
            .context("making the tap's buffer small")?;
        nix::sys::socket::bind(socket.as_raw_fd(), &link_address(device)?)
            .with_context(|| format!("binding a tap to {device}"))?;
        Ok(Self(socket))
    }

    /// Reads all that it holds and gives back how many packets that was.
    pub fn drain(&self) -> Result<usize> {
        let mut buffer = [0; 2048];
        for count in 0.. {
            match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(_) => {}
                Err(Errno::EAGAIN) => return Ok(count),
                Err(error) => return Err(error).context("reading the tap"),
            }
        }
        unreachable!("a count without end")
    }
}

/// A socket for whole frames. Without a protocol it receives nothing.
fn packet_socket(receive: bool) -> Result<OwnedFd> {
    let protocol = receive.then_some(SockProtocol::EthAll);
    socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        protocol,
    )
    .context("opening a packet socket")
}

fn link_address(device: &str) -> Result<LinkAddr> {
    getifaddrs()
        .context("listing the devices")?
        .filter(|interface| interface.interface_name == device)
        .find_map(|interface| interface.address?.as_link_addr().copied())
        .with_context(|| format!("no device {device}"))
}

/// A UDP socket with the smallest receive buffer that the kernel gives.
pub fn small_receiver(address: SocketAddrV4) -> Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).context("opening a UDP socket")?;
    socket
        .set_recv_buffer_size(1)
        .context("making the receive buffer small")?;
    socket
        .bind(&address.into())
        .with_context(|| format!("binding {address}"))?;
    Ok(socket.into())
}

/// Reads what a socket holds until nothing has come for a while; gives back how many datagrams.
///
/// A socket that is closed with datagrams in it drops them: receivers are read until empty.
pub fn drain(socket: &UdpSocket) -> Result<usize> {
    socket
        .set_nonblocking(true)
        .context("making a socket non-blocking")?;
    let mut buffer = [0; 2048];
    let (mut count, mut last) = (0, Instant::now());
    while last.elapsed() < Duration::from_millis(200) {
        match socket.recv(&mut buffer) {
            Ok(_) => (count, last) = (count + 1, Instant::now()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_millis(5))
            }
            Err(error) => return Err(error).context("reading a socket"),
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn values_of_tokens() {
        assert!(fits("a|b", "b") && !fits("a|b", "c") && !fits("a|b", "a|b"));
        assert!(fits("!a", "b") && !fits("!a", "a"));
    }
}
