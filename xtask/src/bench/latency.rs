//! How long a start takes, and a drop on an otherwise idle machine.

use std::{
    io::{BufRead, BufReader},
    net::{Ipv4Addr, UdpSocket},
    process::ChildStdout,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};

use crate::bench::{
    COMM,
    tracer::{Launch, Sink, Tracer},
    tracers::{Program, Programs, Records},
    work::WorkDir,
};

/// How often dropwatch is started.
const STARTS: usize = 10;

/// Lone drops after the first one of the last start.
const LONE_DROPS: usize = 50;

/// Time between two lone drops, and before the first: whoever drains a buffer
/// while traffic flows sleeps soundly again by then.
const PAUSE: Duration = Duration::from_millis(30);

/// Where nobody listens: `discard`.
const CLOSED_PORT: u16 = 9;

/// What a number of starts showed.
#[derive(Default)]
pub(super) struct Starts {
    /// From the start of the process until drops are seen.
    pub(super) attached: Vec<Duration>,
    /// The first drop of each start, from sending until its line is read from
    /// the pipe.
    pub(super) first_drops: Vec<Duration>,
    /// The same for later ones.
    pub(super) later_drops: Vec<Duration>,
}

impl Starts {
    /// Starts dropwatch a number of times.
    pub(super) fn measure(programs: &Programs, work: &WorkDir) -> Result<Self> {
        thread::scope(|scope| {
            // A drop belongs to the thread that sends, and this one's name is
            // what dropwatch looks for.
            thread::Builder::new()
                .name(COMM.to_owned())
                .spawn_scoped(scope, || Self::measure_here(programs, work))
                .context("starting a thread")?
                .join()
                .map_err(|panic| anyhow!("measuring starts panicked: {panic:?}"))?
        })
    }

    fn measure_here(programs: &Programs, work: &WorkDir) -> Result<Self> {
        let mut starts = Self::default();
        for number in 1..=STARTS {
            let launch = Launch {
                program: Program::Dropwatch,
                args: &["--comm", COMM].map(str::to_owned),
                sink: Sink::Pipe,
            };
            let mut tracer = Tracer::start(&launch, programs, work)?;
            starts.attached.push(tracer.attached_after());
            let mut dropper = LoneDropper::new(tracer.take_stdout()?)?;
            starts.first_drops.push(dropper.drop_one()?);
            if number == STARTS {
                for _ in 0..LONE_DROPS {
                    starts.later_drops.push(dropper.drop_one()?);
                }
            }
            tracer.stop(Records::None)?;
        }
        Ok(starts)
    }
}

/// Causes drops and reads the lines about them.
struct LoneDropper {
    socket: UdpSocket,
    port: u16,
    lines: BufReader<ChildStdout>,
    line: String,
}

impl LoneDropper {
    fn new(stdout: ChildStdout) -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("binding a UDP socket")?;
        let address = socket.local_addr().context("asking a socket its port")?;
        Ok(Self {
            socket,
            port: address.port(),
            lines: BufReader::new(stdout),
            line: String::new(),
        })
    }

    /// Sends one datagram after a pause, and returns the time until its line
    /// was there.
    fn drop_one(&mut self) -> Result<Duration> {
        thread::sleep(PAUSE);
        self.line.clear();
        let start = Instant::now();
        self.socket
            .send_to(b"lone", (Ipv4Addr::LOCALHOST, CLOSED_PORT))
            .context("sending a datagram")?;
        self.lines
            .read_line(&mut self.line)
            .context("reading a line of dropwatch")?;
        let time = start.elapsed();
        let tuple = format!(" 127.0.0.1:{} > 127.0.0.1:{CLOSED_PORT} ", self.port);
        ensure!(
            self.line.contains(&tuple),
            "a datagram was dropped, but the line is {:?}",
            self.line
        );
        Ok(time)
    }
}
