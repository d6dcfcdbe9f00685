//! Hours in minutes: everything that drops packets, comes and goes beside dropwatch processes that
//! run all the time, and must neither grow nor miscount.

use std::{
    fmt, fs,
    io::{BufRead as _, BufReader},
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{ChildStdout, Command},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use fastrand::Rng;
use nix::sys::signal::Signal;

use crate::{
    dropwatch::{Account, Dropwatch},
    http, kernel,
    netns::Netns,
    scenario::{self, Scenario},
    traffic::{self, v4},
    world::{World, run_command},
};

/// The devices of every [`World`], and of nobody else: what is dropped elsewhere is filtered.
const DEVICES: &str = "v0,p0";

/// Where `serve` listens, in a namespace of its own.
const METRICS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9466);

/// Datagrams of each flood to a closed port.
const FLOOD: usize = 2000;
/// Where the floods go to.
const CLOSED: u16 = 40_900;
/// Where they come from.
const SENDER: u16 = 40_901;

/// Processes that live for a moment, each round.
const PROCESSES: usize = 20;
/// Sockets that live for a moment, each round.
const SOCKETS: usize = 100;

/// How long an end may take.
const SOON: Duration = Duration::from_secs(60);

/// How much memory may grow, in parts of what it was.
const GROWTH: f64 = 0.02;

/// What dropwatch processes that come and go are started with.
const FLAGS: &[&str] = &[
    "",
    "-o json --fields all",
    "--buffer perf --fields all",
    "--no-stack --rate-limit 100",
    "--reason NO_SOCKET --port 1-65535",
    "--exclude-reason NO_SOCKET --hide-expected",
    "--stack-func *udp* --comm dwt-worker",
    "--addr 10.77.0.0/24 -4 --proto udp --len 20-2000",
    "--sample 3 --stack=2",
    "--comm dwt-worker --counters",
    "--write packets.pcapng --rotate 100k --keep 2",
    "--write drops.dwr",
    "summary --by reason,at,comm",
    "summary --by saddr,dport -o json",
    "summary --by stack -o folded",
];

/// How a run is made.
#[derive(Debug)]
pub struct Options {
    /// The program to test.
    pub dropwatch: PathBuf,
    /// How long it goes on.
    pub length: Duration,
    /// Another one is another order of things.
    pub seed: u64,
}

/// What came of it.
#[derive(Debug)]
pub struct Report {
    length: Duration,
    seed: u64,
    rounds: usize,
    scenarios: usize,
    short_runs: usize,
    killed: usize,
    flooded: u64,
    residents: Vec<Resident>,
}

/// What a process that runs all the time came to.
#[derive(Debug)]
struct Resident {
    flags: &'static str,
    account: Account,
    /// Lines about floods.
    flood_lines: u64,
    samples: Vec<Sample>,
}

/// What a process holds at a moment.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    /// Memory, in KiB.
    rss: u64,
    /// Open descriptors.
    descriptors: u64,
    /// Those that are maps and programs of the kernel.
    bpf: u64,
}

/// A dropwatch that runs all the time, and the thread that reads its output.
struct Running {
    flags: &'static str,
    dropwatch: Dropwatch,
    /// Counts lines about floods.
    reader: JoinHandle<Result<u64>>,
    samples: Vec<Sample>,
}

impl Running {
    fn start(binary: &Path, netns: &Netns, flags: &'static str) -> Result<Self> {
        let command = watching(binary, flags);
        let (mut dropwatch, stdout) = netns.run(|| Dropwatch::spawn_piped(command))?;
        let reader = thread::spawn(move || read(stdout));
        dropwatch.wait_ready().context(flags)?;
        Ok(Self {
            flags,
            dropwatch,
            reader,
            samples: Vec::new(),
        })
    }

    fn sample(&mut self) -> Result<()> {
        ensure!(
            self.dropwatch.is_running(),
            "`{}` has ended: {}",
            self.flags,
            self.dropwatch.stderr()
        );
        self.samples.push(Sample::of(&self.dropwatch)?);
        Ok(())
    }

    /// Ends it.
    fn stop(self) -> Result<Resident> {
        self.dropwatch.signal(Signal::SIGINT)?;
        let ended = self.dropwatch.wait(SOON)?;
        ended.expect_status(0).context(self.flags)?;
        let account = Account::find(&ended.stderr).context(self.flags)?;
        let Ok(lines) = self.reader.join() else {
            bail!("the reader of `{}` failed", self.flags);
        };
        Ok(Resident {
            flags: self.flags,
            account,
            flood_lines: lines?,
            samples: self.samples,
        })
    }
}

/// A command that watches what is dropped in worlds.
fn watching(binary: &Path, flags: &str) -> Command {
    let mut command = Command::new(binary);
    command.args(flags.split_whitespace());
    command.args(["--iface", DEVICES]);
    command
}

/// Reads all lines, and counts those about floods.
fn read(stdout: ChildStdout) -> Result<u64> {
    let text = format!(" 10.77.0.2:{SENDER} > 10.77.0.1:{CLOSED} ");
    let json = [
        format!("\"sport\":{SENDER},"),
        format!("\"dport\":{CLOSED},"),
    ];
    let mut count = 0;
    for line in BufReader::new(stdout).lines() {
        let line = line.context("reading a line")?;
        ensure!(!line.contains('\x1b'), "a line that controls a terminal");
        let is_flood = line.contains(&text) || json.iter().all(|part| line.contains(part));
        count += u64::from(is_flood);
    }
    Ok(count)
}

impl Sample {
    fn of(dropwatch: &Dropwatch) -> Result<Self> {
        let mut sample = Self {
            rss: dropwatch.resident_kib()?,
            ..Self::default()
        };
        for entry in fs::read_dir(format!("/proc/{}/fd", dropwatch.pid()))? {
            sample.descriptors += 1;
            // It can be closed by now.
            let target = fs::read_link(entry?.path()).unwrap_or_default();
            sample.bpf += u64::from(target.to_string_lossy().contains("bpf"));
        }
        Ok(sample)
    }
}

/// Runs for so long.
///
/// # Errors
/// An account that is not exact, a process that ended, or did not as it has to.
pub fn run(options: &Options, tell: &mut dyn FnMut(String)) -> Result<Report> {
    let binary = &options.dropwatch;
    let mut rng = Rng::with_seed(options.seed);
    let own = Netns::new()?;
    own.run(|| run_command("ip link set lo up"))?;
    let home = World::new()?;
    let playable = playable();
    let mut running = Vec::new();
    for flags in [
        "--fields all",
        "-o json --buffer perf",
        "summary --by reason,at,saddr,dport --interval 10s",
        "serve --listen 127.0.0.1:9466",
    ] {
        running.push(Running::start(binary, &own, flags)?);
    }
    let mut report = Report {
        length: options.length,
        seed: options.seed,
        rounds: 0,
        scenarios: 0,
        short_runs: 0,
        killed: 0,
        flooded: 0,
        residents: Vec::new(),
    };
    let start = Instant::now();
    let mut told = Instant::now();
    while start.elapsed() < options.length {
        round(binary, &home, &playable, &mut rng, &mut report)
            .with_context(|| format!("round {}", report.rounds))?;
        let scraped = http::get(&own, METRICS, "/metrics", "")?;
        ensure!(scraped.status()? == 200, "{}", scraped.head);
        running.iter_mut().try_for_each(Running::sample)?;
        if told.elapsed() > Duration::from_secs(60) {
            told = Instant::now();
            let minutes = start.elapsed().as_secs() / 60;
            let memory = running.iter().filter_map(|running| running.samples.last());
            let memory: Vec<u64> = memory.map(|sample| sample.rss).collect();
            tell(format!(
                "{minutes} min: {} rounds, memory {memory:?} KiB",
                report.rounds
            ));
        }
    }
    // What is on its way arrives.
    thread::sleep(Duration::from_secs(1));
    for running in running {
        report.residents.push(running.stop()?);
    }
    Ok(report)
}

/// Scenarios that this kernel can make.
fn playable() -> Vec<&'static Scenario> {
    let is_playable = |scenario: &&Scenario| {
        scenario.flags.is_empty()
            && scenario
                .modules
                .iter()
                .all(|name| kernel::load_module(name))
    };
    scenario::all().filter(is_playable).collect()
}

/// A world comes and goes, with some scenarios, a flood, and a dropwatch that looks on.
fn round(
    binary: &Path,
    home: &World,
    playable: &[&'static Scenario],
    rng: &mut Rng,
    report: &mut Report,
) -> Result<()> {
    report.rounds += 1;
    let folder = tempfile::tempdir().context("making a folder")?;
    let flags = FLAGS[rng.usize(..FLAGS.len())];
    let mut command = watching(binary, flags);
    command.current_dir(folder.path());
    let mut short = Dropwatch::spawn_command(command)?;
    for _ in 0..2 {
        let scenario = playable[rng.usize(..playable.len())];
        report.scenarios += 1;
        play(scenario).with_context(|| format!("scenario {}", scenario.name))?;
    }
    churn(home, rng)?;
    flood(home, report)?;
    // It may be hit at its start as well.
    let waits = rng.u8(..) < 200;
    if waits {
        short.wait_ready().context(flags)?;
        flood(home, report)?;
    }
    end(short, waits, rng, report).with_context(|| format!("`{flags}`"))
}

fn play(scenario: &Scenario) -> Result<()> {
    let world = World::new()?;
    world.set_up(scenario.set_up.iter().copied())?;
    (scenario.traffic)(&world)?;
    Ok(())
}

/// Ends a dropwatch one way or another.
fn end(short: Dropwatch, is_ready: bool, rng: &mut Rng, report: &mut Report) -> Result<()> {
    report.short_runs += 1;
    let signals = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL];
    let signal = signals[rng.usize(..signals.len())];
    short.signal(signal)?;
    let ended = short.wait(SOON)?;
    if signal == Signal::SIGKILL {
        report.killed += 1;
        return Ok(());
    }
    // While it starts, a signal does what it does by itself.
    if !is_ready && ended.status.signal() == Some(signal as i32) {
        return Ok(());
    }
    ended.expect_status(0)?;
    Account::find(&ended.stderr)?.check()
}

/// Interfaces, processes and sockets come and go.
fn churn(home: &World, rng: &mut Rng) -> Result<()> {
    let [first, second] = [rng.u32(..), rng.u32(..)].map(|number| format!("s{number:x}"));
    let commands = [
        format!("ip link add {first} type veth peer name {first}p"),
        format!("ip link set {first} up"),
        format!("ip link set {first} down"),
        format!("ip link set {first} name {second}"),
        format!("ip link del {second}"),
    ];
    home.set_up(commands.iter().map(String::as_str))?;
    home.peer.run(|| {
        for _ in 0..PROCESSES {
            Command::new("true").status().context("starting `true`")?;
        }
        for _ in 0..SOCKETS {
            let socket = UdpSocket::bind("10.77.0.2:0").context("opening a socket")?;
            socket.send_to(b"x", "10.77.0.1:9").context("sending")?;
        }
        Ok(())
    })
}

fn flood(home: &World, report: &mut Report) -> Result<()> {
    report.flooded += FLOOD as u64;
    home.peer.run(|| {
        let from = v4([10, 77, 0, 2], SENDER);
        traffic::udp(from, v4([10, 77, 0, 1], CLOSED), FLOOD, 100).map(drop)
    })
}

impl Report {
    /// Whether all is as it has to be.
    ///
    /// # Errors
    /// Says what is not.
    pub fn judge(&self) -> Result<()> {
        let mut passed = Vec::new();
        for resident in &self.residents {
            resident.account.check().context(resident.flags)?;
            let is_complete = resident.account.printed > 0 && resident.account.lost == 0;
            ensure!(
                !is_complete || resident.flood_lines == self.flooded,
                "`{}`: {} lines for floods of {}",
                resident.flags,
                resident.flood_lines,
                self.flooded
            );
            passed.push(resident.account.passed());
            let [_, first, last] = resident.tenths();
            ensure!(
                last.descriptors == first.descriptors && last.bpf == first.bpf,
                "`{}`: {first:?} became {last:?}",
                resident.flags
            );
            ensure!(
                resident.growth() < GROWTH,
                "`{}` grew: {first:?} became {last:?}",
                resident.flags
            );
        }
        ensure!(
            passed.windows(2).all(|pair| pair[0] == pair[1]),
            "they have not counted the same drops: {passed:?}"
        );
        Ok(())
    }
}

impl Resident {
    /// In the second, the sixth and the last tenth. Up to the sixth it warms up: each cache of names
    /// grows until it is full, and is emptied then.
    fn tenths(&self) -> [Sample; 3] {
        let tenth = (self.samples.len() / 10).max(1);
        let in_tenth = |number: usize| self.samples.iter().skip(tenth * number).take(tenth);
        let last = self.samples.iter().rev().take(tenth);
        [typical(in_tenth(1)), typical(in_tenth(5)), typical(last)]
    }

    fn growth(&self) -> f64 {
        let [_, first, last] = self.tenths();
        last.rss as f64 / first.rss as f64 - 1.0
    }
}

/// The median of memory; of descriptors the fewest, for a connection or a look at `/proc` has one for
/// a moment.
fn typical<'s>(samples: impl Iterator<Item = &'s Sample> + Clone) -> Sample {
    let mut rss: Vec<u64> = samples.clone().map(|sample| sample.rss).collect();
    rss.sort_unstable();
    let fewest = |of: fn(&Sample) -> u64| samples.clone().map(of).min().unwrap_or_default();
    Sample {
        rss: rss.get(rss.len() / 2).copied().unwrap_or_default(),
        descriptors: fewest(|sample| sample.descriptors),
        bpf: fewest(|sample| sample.bpf),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} minutes (seed {}): {} rounds with {} scenarios, {} processes and {} sockets that came \
             and went, {} floods of {FLOOD} datagrams; {} short runs of dropwatch, {} of them \
             killed.\n",
            self.length.as_secs() / 60,
            self.seed,
            self.rounds,
            self.scenarios,
            self.rounds * PROCESSES,
            self.rounds * SOCKETS,
            self.flooded / FLOOD as u64,
            self.short_runs,
            self.killed,
        )?;
        writeln!(
            f,
            "| `dropwatch` | its drops | lost | MB in the 2nd tenth | in the 6th | in the last | growth since the 6th | descriptors | maps and programs |"
        )?;
        writeln!(f, "|---|--:|--:|--:|--:|--:|--:|--:|--:|")?;
        for resident in &self.residents {
            let [early, first, last] = resident.tenths();
            let both = |first: u64, last: u64| match first == last {
                true => first.to_string(),
                false => format!("{first}, {last}"),
            };
            writeln!(
                f,
                "| `{}` | {} | {} | {:.1} | {:.1} | {:.1} | {:+.1} % | {} | {} |",
                resident.flags,
                resident.account.passed(),
                resident.account.lost,
                early.rss as f64 / 1024.0,
                first.rss as f64 / 1024.0,
                last.rss as f64 / 1024.0,
                resident.growth() * 100.0,
                both(first.descriptors, last.descriptors),
                both(first.bpf, last.bpf),
            )?;
        }
        Ok(())
    }
}
