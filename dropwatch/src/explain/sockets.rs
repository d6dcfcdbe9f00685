//! Queues of sockets, as the kernel tells through `NETLINK_SOCK_DIAG`: what `ss` asks. Of a listening
//! socket no file in `/proc` has the limit. As with `ss`, the kernel may load its module for it.

use std::{io, net::SocketAddr};

use dropwatch_common::uapi::{IPPROTO_TCP, IPPROTO_UDP};
use netlink_packet_core::Parseable as _;
use netlink_packet_sock_diag::{
    SOCK_DIAG_BY_FAMILY,
    constants::{AF_INET, AF_INET6},
    inet::{
        ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags,
        nlas::{MemInfo, Nla},
    },
};
use rustix::net::netlink::SOCK_DIAG;

use super::texts::Queues;
use crate::netlink::{self, Request};

/// A socket and its queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Socket {
    /// Where it listens.
    pub(crate) local: SocketAddr,
    /// Its number in sockfs; 0 if no process holds it.
    pub(crate) inode: u64,
    /// What waits: connections of a listening socket, bytes of memory of others.
    pub(crate) waiting: u32,
    /// Most that may wait.
    pub(crate) limit: u32,
    /// Packets that it dropped, where the kernel tells.
    pub(crate) drops: u32,
}

impl Socket {
    /// Whether the queue is, or is about to be, full.
    pub(crate) fn is_nearly_full(&self) -> bool {
        u64::from(self.waiting) * 4 >= u64::from(self.limit) * 3
    }
}

/// Reads the sockets whose queues matter; `None` if the kernel does not tell.
pub(crate) fn read(queues: Queues) -> Option<Vec<Socket>> {
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
    let request = Request {
        kind: SOCK_DIAG_BY_FAMILY,
        body: request(queues, family),
    };
    netlink::dump(
        Some(SOCK_DIAG),
        request,
        |message| match InetResponse::parse(message) {
            Ok(response) => sockets.extend(socket(&response, queues)),
            Err(error) => log::debug!("a socket that is not understood: {error}"),
        },
    )
}

fn request(queues: Queues, family: u8) -> InetRequest {
    let (protocol, states) = match queues {
        Queues::Listeners => (IPPROTO_TCP, StateFlags::LISTEN),
        Queues::Receivers => (IPPROTO_UDP, StateFlags::all()),
    };
    InetRequest {
        family,
        protocol,
        extensions: ExtensionFlags::SKMEMINFO,
        states,
        socket_id: match family {
            AF_INET => SocketId::new_v4(),
            _ => SocketId::new_v6(),
        },
    }
}

fn socket(response: &InetResponse, queues: Queues) -> Option<Socket> {
    let InetResponse { header, nlas } = response;
    let memory = nlas.iter().find_map(|it| match it {
        Nla::MemInfo(memory) => Some(memory),
        _ => None,
    });
    let (waiting, limit) = match (queues, memory) {
        (Queues::Listeners, _) => (header.recv_queue, header.send_queue),
        (Queues::Receivers, Some(memory)) => (memory.receive_queue, memory.receive_queue_max),
        (Queues::Receivers, None) => return None,
    };
    let id = &header.socket_id;
    Some(Socket {
        local: SocketAddr::new(id.source_address.to_canonical(), id.source_port),
        inode: header.inode.into(),
        waiting,
        limit,
        drops: memory.map_or(0, |memory: &MemInfo| memory.drops),
    })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

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
}
