//! This program under another name: processes whose packets are dropped.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, SocketAddrV4},
    os::unix::process::CommandExt as _,
    process::{Child, Command, ExitCode, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    cgroup::Cgroup,
    traffic::{self, Packet, Sender},
};

/// The name of a process that sends, see [`SenderProcess`].
pub const SENDER: &str = "dwt-sender";

/// Called under one of the names here, a test program acts as that: first thing in `main`.
pub fn act() -> Option<ExitCode> {
    let mut args = std::env::args();
    let name = args.next()?;
    let args: Vec<String> = args.collect();
    match name.rsplit('/').next()? {
        "curl" => Some(act_as_curl(&args)),
        SENDER => Some(match act_as_sender(&args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        }),
        _ => None,
    }
}

/// Starts this program as `name`.
pub fn start(name: &str, prepare: impl FnOnce(&mut Command)) -> Result<Child> {
    let own = std::env::current_exe().context("finding the own program")?;
    start_as(&own, name, prepare)
}

/// Starts a program under another name, which is then its `comm`, too.
pub fn start_as(
    program: &std::path::Path,
    name: &str,
    prepare: impl FnOnce(&mut Command),
) -> Result<Child> {
    let dir = tempfile::tempdir().context("making a folder")?;
    let link = dir.path().join(name);
    std::os::unix::fs::symlink(program, &link)
        .with_context(|| format!("making a link named {name}"))?;
    let mut command = Command::new(&link);
    command.arg0(&link);
    prepare(&mut command);
    // The program has been opened once `spawn` is back: the link may go.
    command
        .spawn()
        .with_context(|| format!("starting {}", link.display()))
}

/// Connects as curl would, and fails as curl does.
fn act_as_curl(args: &[String]) -> ExitCode {
    let connect = || -> Result<()> {
        let [source, destination] = args else {
            anyhow::bail!("curl SOURCE DESTINATION")
        };
        let (source, destination): (SocketAddrV4, SocketAddrV4) =
            (source.parse()?, destination.parse()?);
        traffic::tcp_refused(source, destination, 1).map(drop)
    };
    // 7: failed to connect.
    ExitCode::from(if connect().is_ok() { 7 } else { 1 })
}

/// Sends when told to, and waits for the end of its standard input if it is to stay.
fn act_as_sender(args: &[String]) -> Result<()> {
    let [source, destination, count, stay] = args else {
        anyhow::bail!("{SENDER} SOURCE DESTINATION COUNT STAY")
    };
    let (source, destination): (SocketAddr, SocketAddr) = (source.parse()?, destination.parse()?);
    let count: usize = count.parse()?;
    let mut input = BufReader::new(std::io::stdin());
    let mut line = String::new();
    input.read_line(&mut line)?;
    let socket = std::net::UdpSocket::bind(source)?;
    traffic::udp_from(&socket, destination, count, 100)?;
    let mut output = std::io::stdout();
    output.write_all(b"sent\n")?;
    output.flush()?;
    if stay == "stay" {
        input.read_to_string(&mut line)?;
    }
    Ok(())
}

/// A process named [`SENDER`] that sends UDP datagrams when it is told to.
#[derive(Debug)]
pub struct SenderProcess {
    child: Child,
    source: SocketAddr,
    destination: SocketAddr,
    count: usize,
    stays: bool,
}

impl SenderProcess {
    /// Starts it in the calling thread's network namespace and in `cgroup`. If it does not stay,
    /// it ends at once after it has sent.
    pub fn start(
        source: impl Into<SocketAddr>,
        destination: impl Into<SocketAddr>,
        count: usize,
        stays: bool,
        cgroup: Option<&Cgroup>,
    ) -> Result<Self> {
        let (source, destination) = (source.into(), destination.into());
        let child = start(SENDER, |command| {
            command
                .args([
                    source.to_string(),
                    destination.to_string(),
                    count.to_string(),
                ])
                .arg(if stays { "stay" } else { "go" })
                .stdin(Stdio::piped())
                .stdout(Stdio::piped());
        })?;
        if let Some(cgroup) = cgroup {
            cgroup.add(child.id())?;
        }
        Ok(Self {
            child,
            source,
            destination,
            count,
            stays,
        })
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `NAME[PID]`, as an owner is shown.
    #[must_use]
    pub fn owner(&self) -> String {
        format!("{SENDER}[{}]", self.pid())
    }

    /// Has it send, and gives back what it sent. One that does not stay has ended then.
    pub fn send(&mut self) -> Result<Vec<Packet>> {
        let input = self.child.stdin.as_mut().context("the sender's input")?;
        input
            .write_all(b"send\n")
            .context("telling the sender to send")?;
        let output = self.child.stdout.take().context("the sender's output")?;
        let mut said = String::new();
        BufReader::new(output)
            .read_line(&mut said)
            .context("waiting for the sender")?;
        ensure!(said == "sent\n", "the sender did not send: {said:?}");
        if !self.stays {
            let status = self.child.wait().context("waiting for the sender's end")?;
            ensure!(status.success(), "the sender ended with {status}");
        }
        let packet = Packet {
            sender: Sender::other(self.pid(), SENDER),
            ..Packet::new("udp", self.source, self.destination)
        };
        Ok(packet.times(self.count))
    }
}

impl Drop for SenderProcess {
    fn drop(&mut self) {
        // The end of its input is its sign to end.
        drop(self.child.stdin.take());
        self.child.wait().ok();
    }
}
