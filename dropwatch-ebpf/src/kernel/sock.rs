//! `struct sock`, `include/net/sock.h`.

use core::marker::PhantomData;

use dropwatch_common::{
    config::ABSENT,
    uapi::{AF_INET, AF_INET6, TCP_NEW_SYN_RECV, TCP_TIME_WAIT},
};

use super::{
    cgroup::Cgroup,
    netdev::netns_inode,
    read::{Access, Copied},
};
use crate::config::{
    SOCK_CGROUP, SOCK_CGROUP_VALUE, SOCK_FAMILY, SOCK_LISTENER, SOCK_NET, SOCK_PROTOCOL,
    SOCK_SOCKET, SOCK_STATE, SOCKET_INODE,
};

/// What `sk_buff.sk` points to: a full socket, a request or a time-wait one.
/// They share `struct sock_common`, and only that may be read.
pub(crate) struct Sock<A> {
    pub(crate) address: u64,
    access: PhantomData<A>,
}

/// A socket of which all of `struct sock` may be read; none where the address is 0.
pub(crate) struct FullSock<A> {
    address: u64,
    access: PhantomData<A>,
}

impl<A: Access> Sock<A> {
    #[inline(always)]
    pub(crate) fn new(address: u64) -> Self {
        Self {
            address,
            access: PhantomData,
        }
    }

    /// Inode number of the socket's network namespace.
    #[inline(always)]
    pub(crate) fn netns(&self) -> Option<u32> {
        netns_inode::<A>(A::pointer(self.address, SOCK_NET.load()))
    }

    /// Address family, `AF_*`; 0, which no socket has, where it can't be read.
    #[inline(always)]
    pub(crate) fn family(&self) -> u16 {
        A::load(self.address, SOCK_FAMILY.load())
    }

    /// State, `TCP_*` for all families.
    #[inline(always)]
    pub(crate) fn state(&self) -> u8 {
        A::load(self.address, SOCK_STATE.load())
    }

    /// What the socket is, if its state is `state`.
    #[inline(always)]
    pub(crate) fn kind(&self, state: u8, family: u16) -> Kind<A> {
        // Other families use the numbers for states of their own.
        let is_inet = matches!(family, AF_INET | AF_INET6);
        match state {
            TCP_TIME_WAIT if is_inet => Kind::TimeWait,
            // The listener's place is that of a plain number, too: its type is not
            // known.
            TCP_NEW_SYN_RECV if is_inet => Kind::Request(FullSock::new(Copied::pointer(
                self.address,
                SOCK_LISTENER.load(),
            ))),
            _ => Kind::Full(FullSock::new(self.address)),
        }
    }
}

/// What a socket can be.
pub(crate) enum Kind<A> {
    /// A full one.
    Full(FullSock<A>),
    /// A request, with its listener.
    Request(FullSock<Copied>),
    /// One that only waits for the last packets.
    TimeWait,
}

impl<A: Access> FullSock<A> {
    #[inline(always)]
    const fn new(address: u64) -> Self {
        Self {
            address,
            access: PhantomData,
        }
    }

    /// IP protocol, 0 where there is none.
    #[inline(always)]
    pub(crate) fn protocol(&self) -> u8 {
        A::load::<u16>(self.address, SOCK_PROTOCOL.load()) as u8
    }

    /// Address of the `struct socket`, by which processes hold it; 0 if none does
    /// any more, or not yet.
    #[inline(always)]
    pub(crate) fn socket(&self) -> u64 {
        A::pointer(self.address, SOCK_SOCKET.load())
    }

    /// The cgroup that the socket was created in.
    #[inline(always)]
    pub(crate) fn cgroup(&self) -> Cgroup {
        if SOCK_CGROUP.load() != ABSENT {
            return Cgroup {
                address: A::pointer(self.address, SOCK_CGROUP.load()),
            };
        }
        // Before 5.15 the lower bits say what it is, 0 for a cgroup
        // (`struct sock_cgroup_data` in `include/linux/cgroup-defs.h`).
        let value = A::load::<u64>(self.address, SOCK_CGROUP_VALUE.load());
        Cgroup {
            address: if value & 3 == 0 { value } else { 0 },
        }
    }

    /// The id of the cgroup that [`FullSock::cgroup`] gave.
    #[inline(always)]
    pub(crate) fn cgroup_id(&self, cgroup: Cgroup) -> u64 {
        // Before 5.15 its type is not known.
        match SOCK_CGROUP.load() {
            ABSENT => cgroup.id::<Copied>(),
            _ => cgroup.id::<A>(),
        }
    }
}

/// Inode number of the `struct socket` at `socket`, which is a part of `struct
/// socket_alloc`; 0 where it can't be read.
#[inline(always)]
pub(crate) fn inode(socket: u64) -> u64 {
    Copied::load(socket, SOCKET_INODE.load())
}
