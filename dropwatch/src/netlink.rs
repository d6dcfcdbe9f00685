//! Requests to the kernel by netlink: the socket is rustix's, the messages are those of the
//! `netlink-packet` crates.

use std::{io, time::Duration};

use netlink_packet_core::{
    Emitable, ErrorBuffer, ErrorMessage, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE,
    NLMSG_ERROR, NetlinkBuffer, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
    Parseable as _,
};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType,
    netlink::SocketAddrNetlink,
    recv, sendto, socket_with,
    sockopt::{Timeout, set_socket_timeout},
};

/// How long the kernel may take for an answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// More than the kernel puts into one answer (`netlink_dump` in `net/netlink/af_netlink.c`).
const ANSWER: usize = 64 << 10;

/// Where messages are aligned, `NLMSG_ALIGNTO` in `include/uapi/linux/netlink.h`.
const ALIGNMENT: usize = 4;

/// A request: its type, and what follows the header.
pub(crate) struct Request<B> {
    /// As `RTM_GETLINK`.
    pub(crate) kind: u16,
    /// What is asked.
    pub(crate) body: B,
}

impl<B: Emitable> NetlinkSerializable for Request<B> {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        self.body.buffer_len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        self.body.emit(buffer);
    }
}

/// Asks for all objects of a kind, in the network namespace of the calling thread; `take` gets
/// each message without its header. `protocol` is `None` for `NETLINK_ROUTE`.
///
/// # Errors
/// The kernel refuses, does not answer within a second, or answers with what is no message.
pub(crate) fn dump(
    protocol: Option<Protocol>,
    request: Request<impl Emitable>,
    mut take: impl FnMut(&[u8]),
) -> io::Result<()> {
    exchange(protocol, request, NLM_F_DUMP, &mut take)
}

/// Asks for a change, as [`dump`], and waits until the kernel has made it.
///
/// # Errors
/// As for [`dump`].
pub(crate) fn change(request: Request<impl Emitable>) -> io::Result<()> {
    exchange(None, request, NLM_F_ACK, &mut |_| {})
}

fn exchange(
    protocol: Option<Protocol>,
    request: Request<impl Emitable>,
    flags: u16,
    take: &mut dyn FnMut(&[u8]),
) -> io::Result<()> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        protocol,
    )?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    let mut message = NetlinkMessage::from(request);
    message.header.flags = NLM_F_REQUEST | flags;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    let kernel = SocketAddrNetlink::new(0, 0);
    sendto(&socket, &bytes, SendFlags::empty(), &kernel)?;
    let mut buffer = vec![0; ANSWER];
    loop {
        let (len, _) = recv(&socket, buffer.as_mut_slice(), RecvFlags::empty())?;
        if take_answer(buffer.get(..len).unwrap_or_default(), take)? {
            return Ok(());
        }
    }
}

impl<B> From<Request<B>> for NetlinkPayload<Request<B>> {
    fn from(request: Request<B>) -> Self {
        Self::InnerMessage(request)
    }
}

/// Hands over the messages of an answer; true if the last one was among them.
fn take_answer(mut bytes: &[u8], take: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
    while !bytes.is_empty() {
        let message = NetlinkBuffer::new_checked(bytes).map_err(io::Error::other)?;
        match message.message_type() {
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => {
                let payload = message.payload();
                let error = ErrorBuffer::new_checked(&payload).map_err(io::Error::other)?;
                let error = ErrorMessage::parse(&error).map_err(io::Error::other)?;
                // Without a number it is the answer to a change.
                return error.code.map_or(Ok(true), |_| Err(error.to_io()));
            }
            _ => take(message.payload()),
        }
        let len = (message.length() as usize).next_multiple_of(ALIGNMENT);
        bytes = bytes.get(len..).unwrap_or_default();
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_answer_ends(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut taken = 0;
            let ended = take_answer(&bytes, &mut |_| taken += 1);
            prop_assert!(ended.is_err() || taken <= bytes.len() / 16);
        }
    }

    #[test]
    fn an_error_has_its_number() {
        let mut bytes = vec![36, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend((-libc::ENOENT).to_ne_bytes());
        bytes.extend([0; 16]);
        let error = take_answer(&bytes, &mut |_| {}).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
        bytes[16..20].fill(0);
        assert!(take_answer(&bytes, &mut |_| {}).unwrap());
    }
}
