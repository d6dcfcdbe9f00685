//! `struct sock`, `include/net/sock.h`.

use dropwatch_common::{
    config::ABSENT,
    uapi::{AF_INET, AF_INET6, TCP_NEW_SYN_RECV, TCP_TIME_WAIT},
};

use super::{cgroup::Cgroup, netdev::netns_inode, read};
use crate::config::{
    SOCK_CGROUP, SOCK_CGROUP_VALUE, SOCK_FAMILY, SOCK_LISTENER, SOCK_NET, SOCK_PROTOCOL,
    SOCK_SOCKET, SOCK_STATE, SOCKET_INODE,
};

/// What `sk_buff.sk` points to: a full socket, a request or a time-wait one.
/// They share `struct sock_common`, and only that may be read.
#[derive(Clone, Copy)]
pub(crate) struct Sock {
    pub(crate) address: u64,
}

/// A socket of which all of `struct sock` may be read; none where the address is 0.
#[derive(Clone, Copy)]
pub(crate) struct FullSock {
    address: u64,
}

impl Sock {
    /// Inode number of the socket's network namespace.
    #[inline(always)]
    pub(crate) fn netns(self) -> Option<u32> {
        netns_inode(read::pointer(self.address, SOCK_NET.load()))
    }

    /// Address family, `AF_*`.
    #[inline(always)]
    pub(crate) fn family(self) -> Option<u16> {
        read::member(self.address, SOCK_FAMILY.load())
    }

    /// State, `TCP_*` for all families.
    #[inline(always)]
    pub(crate) fn state(self) -> Option<u8> {
        read::member(self.address, SOCK_STATE.load())
    }

    /// The full socket that stands behind one in `state`: itself, the listener
    /// of a request, or none.
    #[inline(always)]
    pub(crate) fn full(self, state: u8, family: u16) -> FullSock {
        // Other families use the numbers for states of their own.
        let is_inet = matches!(family, AF_INET | AF_INET6);
        let address = match state {
            TCP_TIME_WAIT if is_inet => 0,
            TCP_NEW_SYN_RECV if is_inet => read::pointer(self.address, SOCK_LISTENER.load()),
            _ => self.address,
        };
        FullSock { address }
    }
}

impl FullSock {
    /// IP protocol, 0 where there is none.
    #[inline(always)]
    pub(crate) fn protocol(self) -> u8 {
        read::member::<u16>(self.address, SOCK_PROTOCOL.load()).unwrap_or(0) as u8
    }

    /// Address of the `struct socket`, by which processes hold it; 0 if none does
    /// any more, or not yet.
    #[inline(always)]
    pub(crate) fn socket(self) -> u64 {
        read::pointer(self.address, SOCK_SOCKET.load())
    }

    /// The cgroup that the socket was created in.
    #[inline(always)]
    pub(crate) fn cgroup(self) -> Cgroup {
        if SOCK_CGROUP.load() != ABSENT {
            return Cgroup {
                address: read::pointer(self.address, SOCK_CGROUP.load()),
            };
        }
        // Before 5.15 the lower bits say what it is, 0 for a cgroup
        // (`struct sock_cgroup_data` in `include/linux/cgroup-defs.h`).
        let value = read::pointer(self.address, SOCK_CGROUP_VALUE.load());
        Cgroup {
            address: if value & 3 == 0 { value } else { 0 },
        }
    }
}

/// Inode number of the `struct socket` at `socket`, which is a part of `struct
/// socket_alloc`; 0 where it can't be read.
#[inline(always)]
pub(crate) fn inode(socket: u64) -> u64 {
    read::pointer(socket, SOCKET_INODE.load())
}
