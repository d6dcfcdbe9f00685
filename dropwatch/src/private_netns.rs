//! A network namespace of one thread, to make drops in that nobody else has.
#![allow(unsafe_code, reason = "leaving a namespace is unsafe, see below")]

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    os::unix::fs::MetadataExt as _,
    sync::mpsc::{Receiver, Sender, channel},
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, Result, anyhow};
use netlink_packet_route::link::{LinkFlags, LinkHeader};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::netlink::{self, Request};

/// A network namespace with a loopback device that is up, and nothing else. It ends
/// with the thread that lives in it, and that with this handle.
pub(crate) struct PrivateNetns {
    /// Its inode number.
    pub(crate) inode: u64,
    /// From where datagrams are sent.
    pub(crate) source: SocketAddr,
    /// Where to send a datagram to; closed, it ends the thread.
    orders: Option<Sender<SocketAddr>>,
    results: Receiver<Result<()>>,
    thread: Option<JoinHandle<()>>,
}

impl PrivateNetns {
    /// Makes one.
    ///
    /// # Errors
    /// The kernel refuses (`CAP_SYS_ADMIN`), or has no network namespaces.
    pub(crate) fn new() -> Result<Self> {
        let (orders, to_send) = channel::<SocketAddr>();
        let (tell, results) = channel();
        let (tell_made, made) = channel();
        let thread = thread::Builder::new()
            .name("doctor".to_owned())
            .spawn(move || {
                let socket = match enter() {
                    Ok((socket, inode, source)) => {
                        drop(tell_made.send(Ok((inode, source))));
                        socket
                    }
                    Err(error) => return drop(tell_made.send(Err(error))),
                };
                for destination in to_send {
                    let sent = socket.send_to(b"dropwatch doctor", destination);
                    let sent = sent.map(|_| ()).context("sending a datagram");
                    // Nobody waits for it once the handle is gone.
                    drop(tell.send(sent));
                }
            })
            .context("starting a thread")?;
        let died = |_| anyhow!("the thread of a network namespace has died");
        let (inode, source) = made.recv().map_err(died)??;
        Ok(Self {
            inode,
            source,
            orders: Some(orders),
            results,
            thread: Some(thread),
        })
    }

    /// Sends a datagram.
    ///
    /// # Errors
    /// The kernel does not take it.
    pub(crate) fn send(&self, destination: SocketAddr) -> Result<()> {
        let died = "the thread of a network namespace has died";
        let orders = self.orders.as_ref().context(died)?;
        orders.send(destination).ok().context(died)?;
        self.results.recv().context(died)?
    }
}

impl Drop for PrivateNetns {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Moves the calling thread into a new namespace; gives a socket there, the namespace's inode
/// number, and the socket's address.
fn enter() -> Result<(UdpSocket, u64, SocketAddr)> {
    // SAFETY: only the network namespace is left. Descriptors and memory, which other threads
    // rely on, stay shared.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.context("making a network namespace")?;
    let own = "/proc/thread-self/ns/net";
    let inode = fs::metadata(own)
        .with_context(|| format!("looking at {own}"))?
        .ino();
    raise_loopback().context("bringing up the loopback device")?;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("binding a socket")?;
    let source = socket.local_addr().context("asking for a port")?;
    Ok((socket, inode, source))
}

/// Brings up the loopback device.
fn raise_loopback() -> std::io::Result<()> {
    /// `include/uapi/linux/rtnetlink.h`.
    const RTM_NEWLINK: u16 = 16;
    /// `LOOPBACK_IFINDEX`, `include/net/flow.h`.
    const LOOPBACK: u32 = 1;

    let link = LinkHeader {
        index: LOOPBACK,
        flags: LinkFlags::Up,
        change_mask: LinkFlags::Up,
        ..LinkHeader::default()
    };
    netlink::change(Request {
        kind: RTM_NEWLINK,
        body: link,
    })
}
