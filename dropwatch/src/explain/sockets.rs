//! Queues of sockets, as the kernel tells through `NETLINK_SOCK_DIAG`: what `ss` asks. Of a listening
//! socket no file in `/proc` has the limit. As with `ss`, the kernel may load its module for it.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use dropwatch_common::uapi::{self, IPPROTO_TCP, IPPROTO_UDP, TCP_LISTEN};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, sendto,
    socket_with,
    sockopt::{Timeout, set_socket_timeout},
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::texts::Queues;

/// A socket and its queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Socket {
    /// Where it listens.
    pub(super) local: SocketAddr,
    /// Its number in sockfs; 0 if no process holds it.
    pub(super) inode: u64,
    /// What waits: connections of a listening socket, bytes of memory of others.
    pub(super) waiting: u32,
    /// Most that may wait.
    pub(super) limit: u32,
    /// Packets that it dropped, where the kernel tells.
    pub(super) drops: u32,
}

impl Socket {
    /// Whether the queue is, or is about to be, full.
    pub(super) fn is_nearly_full(&self) -> bool {
        u64::from(self.waiting) * 4 >= u64::from(self.limit) * 3
    }
}

/// How long the kernel may take for an answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// More than the kernel puts into one answer (`netlink_dump` in `net/netlink/af_netlink.c`).
const ANSWER: usize = 64 << 10;

// `include/uapi/linux/netlink.h`, `sock_diag.h`, `inet_diag.h`.
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const INET_DIAG_SKMEMINFO: u16 = 7;
/// Places in the array of `INET_DIAG_SKMEMINFO`.
const SK_MEMINFO_RMEM_ALLOC: usize = 0;
const SK_MEMINFO_RCVBUF: usize = 1;
const SK_MEMINFO_DROPS: usize = 8;

const AF_INET: u8 = uapi::AF_INET as u8;
const AF_INET6: u8 = uapi::AF_INET6 as u8;

/// `struct nlmsghdr`, in host byte order.
#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Header {
    len: u32,
    kind: u16,
    flags: u16,
    sequence: u32,
    port: u32,
}

/// `struct inet_diag_req_v2` behind its header.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Request {
    header: Header,
    family: u8,
    protocol: u8,
    extensions: u8,
    padding: u8,
    /// A bit for each TCP state.
    states: u32,
    /// A single socket; zeros for a dump.
    id: [u8; 48],
}

/// `struct inet_diag_msg`; addresses and ports in network byte order.
#[derive(FromBytes)]
#[repr(C)]
struct Message {
    family: u8,
    _state_timer_retransmits: [u8; 3],
    source_port: [u8; 2],
    _destination_port: [u8; 2],
    source: [u8; 16],
    _destination: [u8; 16],
    _interface_and_cookie: [u32; 3],
    _expires: u32,
    receive_queue: u32,
    send_queue: u32,
    _uid: u32,
    inode: u32,
}

/// `struct nlattr`.
#[derive(FromBytes)]
#[repr(C)]
struct Attribute {
    len: u16,
    kind: u16,
}

/// Reads the sockets whose queues matter; `None` if the kernel does not tell.
pub(super) fn read(queues: Queues) -> Option<Vec<Socket>> {
    let mut sockets = Vec::new();
    for family in [AF_INET, AF_INET6] {
        match dump(queues, family, &mut sockets) {
            Ok(()) => {}
            // Without IPv6 there are no such sockets.
            Err(error) if family == AF_INET6 => log::debug!("no IPv6 sockets: {error}"),
            Err(error) => {
                log::debug!("asking the kernel for its sockets: {error}");
                return None;
            }
        }
    }
    Some(sockets)
}

fn dump(queues: Queues, family: u8, sockets: &mut Vec<Socket>) -> io::Result<()> {
    let netlink = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(netlink::SOCK_DIAG),
    )?;
    set_socket_timeout(&netlink, Timeout::Recv, Some(PATIENCE))?;
    let kernel = netlink::SocketAddrNetlink::new(0, 0);
    let request = request(queues, family);
    sendto(&netlink, request.as_bytes(), SendFlags::empty(), &kernel)?;
    let mut buffer = vec![0; ANSWER];
    loop {
        let (len, _) = recv(&netlink, buffer.as_mut_slice(), RecvFlags::empty())?;
        if take(buffer.get(..len).unwrap_or_default(), queues, sockets)? {
            return Ok(());
        }
    }
}

fn request(queues: Queues, family: u8) -> Request {
    let (protocol, states) = match queues {
        Queues::Listeners => (IPPROTO_TCP, 1 << TCP_LISTEN),
        Queues::Receivers => (IPPROTO_UDP, u32::MAX),
    };
    Request {
        header: Header {
            len: size_of::<Request>() as u32,
            kind: SOCK_DIAG_BY_FAMILY,
            flags: NLM_F_REQUEST | NLM_F_DUMP,
            sequence: 1,
            port: 0,
        },
        family,
        protocol,
        extensions: 1 << (INET_DIAG_SKMEMINFO - 1),
        padding: 0,
        states,
        id: [0; 48],
    }
}

/// Takes the messages of an answer; true if the last one was among them.
fn take(mut bytes: &[u8], queues: Queues, sockets: &mut Vec<Socket>) -> io::Result<bool> {
    while let Ok((header, _)) = Header::read_from_prefix(bytes) {
        let message = bytes.get(size_of::<Header>()..header.len as usize);
        match (header.kind, message) {
            (NLMSG_DONE, _) => return Ok(true),
            (NLMSG_ERROR, Some(message)) => {
                let negative = i32::read_from_prefix(message).map_or(0, |(error, _)| error);
                return Err(io::Error::from_raw_os_error(negative.wrapping_neg()));
            }
            (_, Some(message)) => sockets.extend(socket(message, queues)),
            (_, None) => return Err(io::ErrorKind::InvalidData.into()),
        }
        bytes = bytes
            .get(aligned(header.len as usize)..)
            .unwrap_or_default();
    }
    Ok(false)
}

/// As `NLMSG_ALIGN` and `NLA_ALIGN`.
fn aligned(len: usize) -> usize {
    len.next_multiple_of(4)
}

fn socket(bytes: &[u8], queues: Queues) -> Option<Socket> {
    let (message, attributes) = Message::read_from_prefix(bytes).ok()?;
    let [a, b, c, d, ..] = message.source;
    let address = match message.family {
        AF_INET => IpAddr::from(Ipv4Addr::new(a, b, c, d)),
        _ => Ipv6Addr::from(message.source).to_canonical(),
    };
    let memory = memory(attributes);
    let drops = memory.map_or(0, |memory| memory[SK_MEMINFO_DROPS]);
    let (waiting, limit) = match (queues, memory) {
        (Queues::Listeners, _) => (message.receive_queue, message.send_queue),
        (Queues::Receivers, Some(memory)) => {
            (memory[SK_MEMINFO_RMEM_ALLOC], memory[SK_MEMINFO_RCVBUF])
        }
        (Queues::Receivers, None) => return None,
    };
    Some(Socket {
        local: SocketAddr::new(address, u16::from_be_bytes(message.source_port)),
        inode: message.inode.into(),
        waiting,
        limit,
        drops,
    })
}

/// The array of `INET_DIAG_SKMEMINFO`.
fn memory(mut attributes: &[u8]) -> Option<[u32; SK_MEMINFO_DROPS + 1]> {
    while let Ok((attribute, rest)) = Attribute::read_from_prefix(attributes) {
        if attribute.kind == INET_DIAG_SKMEMINFO {
            let (values, _) = FromBytes::read_from_prefix(rest).ok()?;
            return Some(values);
        }
        // An attribute is at least its header, or this would not end.
        let len = usize::from(attribute.len).max(size_of::<Attribute>());
        attributes = attributes.get(aligned(len)..).unwrap_or_default();
    }
    None
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_listening_socket_of_this_process() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            // A host may have no IPv6.
            let Ok(listener) = TcpListener::bind(address) else {
                continue;
            };
            let local = listener.local_addr().unwrap();
            let Some(sockets) = read(Queues::Listeners) else {
                // A kernel without this kind of netlink socket.
                return;
            };
            let found = sockets.iter().find(|socket| socket.local == local);
            let found = found.expect("it listens");
            assert_eq!(found.waiting, 0);
            assert!(found.limit > 0 && found.inode != 0 && !found.is_nearly_full());
        }
    }

    #[test]
    fn a_udp_socket_with_a_datagram() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let local = receiver.local_addr().unwrap();
        receiver.send_to(b"unread", local).unwrap();
        let Some(sockets) = read(Queues::Receivers) else {
            return;
        };
        let found = sockets.iter().find(|socket| socket.local == local).unwrap();
        assert!(found.waiting >= 6 && found.limit > found.waiting && found.drops == 0);
    }

    #[test]
    fn nearly_full() {
        let socket = |waiting, limit| Socket {
            local: SocketAddr::from(([0; 4], 1)),
            inode: 0,
            waiting,
            limit,
            drops: 0,
        };
        assert!(socket(129, 128).is_nearly_full() && socket(96, 128).is_nearly_full());
        assert!(!socket(95, 128).is_nearly_full());
    }

    proptest! {
        #[test]
        fn any_answer_ends(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut sockets = Vec::new();
            let taken = take(&bytes, Queues::Receivers, &mut sockets);
            prop_assert!(taken.is_err() || sockets.len() <= bytes.len());
        }
    }
}
