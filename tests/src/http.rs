//! As much of HTTP as tests of `dropwatch serve` need: one request on a connection.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::netns::Netns;

/// How long a server may take for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Most bytes of a message.
const MAX_MESSAGE: u64 = 16 << 20;

/// An answer, or a request.
#[derive(Clone, Debug)]
pub struct Message {
    /// All before the empty line.
    pub head: String,
    /// What comes behind it.
    pub body: Vec<u8>,
}

impl Message {
    fn parse(bytes: &[u8]) -> Result<Self> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.context("no end of the head")?;
        Ok(Self {
            head: String::from_utf8_lossy(&bytes[..end]).into_owned(),
            body: bytes[end + 4..].to_vec(),
        })
    }

    /// The status of an answer.
    pub fn status(&self) -> Result<u16> {
        let status = self.head.split(' ').nth(1);
        let status = status.and_then(|status| status.parse().ok());
        status.with_context(|| format!("no status: {:?}", self.head))
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Sends `request`, as it is, to a server in `netns`, and reads until it ends the connection.
pub fn exchange(netns: &Netns, server: SocketAddr, request: &[u8]) -> Result<Message> {
    Message::parse(&exchange_bytes(netns, server, request)?)
}

/// The same, whatever the answer is; none if the server goes away.
pub fn exchange_bytes(netns: &Netns, server: SocketAddr, request: &[u8]) -> Result<Vec<u8>> {
    let mut stream = connect(netns, server)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    // A server may have had enough before it has read all.
    stream.write_all(request).ok();
    let mut answer = Vec::new();
    stream.take(MAX_MESSAGE).read_to_end(&mut answer).ok();
    Ok(answer)
}

/// A connection to a server in `netns`.
pub fn connect(netns: &Netns, server: SocketAddr) -> Result<TcpStream> {
    netns.run(|| TcpStream::connect(server).with_context(|| format!("connecting to {server}")))
}

/// Asks a server in `netns` for `path`, with further header lines.
pub fn get(netns: &Netns, server: SocketAddr, path: &str, headers: &str) -> Result<Message> {
    let request = format!("GET {path} HTTP/1.0\r\nHost: test\r\n{headers}\r\n");
    exchange(netns, server, request.as_bytes()).with_context(|| format!("asking for {path}"))
}

/// Takes one request with a body from `listener`, and answers 200 with nothing.
pub fn take_request(listener: &TcpListener, within: Duration) -> Result<Message> {
    let mut stream = accept(listener, within)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    loop {
        let length = stream.read(&mut part).context("reading a request")?;
        ensure!(length > 0, "the request has no end");
        bytes.extend_from_slice(&part[..length]);
        let Ok(message) = Message::parse(&bytes) else {
            continue;
        };
        if message.body.len() >= content_length(&message.head)? {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
            return Ok(message);
        }
    }
}

fn content_length(head: &str) -> Result<usize> {
    let line = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then_some(value)
    });
    let length = line.with_context(|| format!("no content-length: {head:?}"))?;
    length.trim().parse().context("reading content-length")
}

fn accept(listener: &TcpListener, within: Duration) -> Result<TcpStream> {
    listener.set_nonblocking(true)?;
    let deadline = Instant::now() + within;
    while Instant::now() < deadline {
        if let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(false)?;
            return Ok(stream);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    bail!("nobody came within {within:?}")
}
