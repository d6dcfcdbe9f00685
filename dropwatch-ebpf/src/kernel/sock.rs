//! `struct sock`, `include/net/sock.h`.

use super::{netdev::netns_inode, read};
use crate::config::SOCK_NET;

/// What `sk_buff.sk` points to: a full socket, a request or a time-wait one.
/// They share `struct sock_common`, and only that may be read.
pub(crate) struct Sock {
    pub(crate) address: u64,
}

impl Sock {
    /// Inode number of the socket's network namespace.
    #[inline(always)]
    pub(crate) fn netns(&self) -> Option<u32> {
        if self.address == 0 {
            return None;
        }
        netns_inode(read::member(self.address, SOCK_NET.load())?)
    }
}
