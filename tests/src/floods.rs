//! Floods: whatever the reader does and whichever limits there are, the account has to tell where
//! each packet went. How fast dropwatch is, is no matter here.
//!
//! A flood is one entry of [`FLOODS`]: the flags, how many packets of how many sockets, what
//! becomes of the output, and what the account has to say of the packets.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    net::UdpSocket,
    path::Path,
    process::{ChildStdout, Command},
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use crate::{
    dropwatch::{Account, Dropwatch, Ended},
    line::Line,
    netns::THREAD_NAME,
    owners::OWNER_WITHIN,
    run::{SET_UP, Way},
    scenario::{OUTPUT_DROP, local},
    stand_in::SenderProcess,
    traffic,
    world::World,
};

/// How long anything here may take: an emulated processor is slow.
const WITHIN: Duration = Duration::from_secs(60);

/// Kernel modules without which nothing can be flooded.
pub const MODULES: &[&str] = OUTPUT_DROP.modules;

/// What dropwatch has to account for.
#[derive(Debug)]
pub struct Flood {
    /// Name, unique.
    pub name: &'static str,
    /// The buffers that it is played with.
    pub buffers: &'static [&'static str],
    /// Flags for dropwatch, beside one that keeps out what others drop.
    flags: &'static str,
    /// Sockets that send at the same time. With more than one, the kernel may skip programs: from
    /// 7.x on, one that is preempted keeps out those of other tasks on its processor.
    sockets: usize,
    /// Packets of each.
    packets: usize,
    /// Sends so many packets of so many sockets; gives back how many were dropped, those that the
    /// flags filter not counted.
    send: fn(usize, usize) -> Result<u64>,
    /// What becomes of the output.
    reader: Reader,
    /// Exit status.
    status: i32,
    /// What the account and the lines have to say; that each packet is in the account is checked
    /// for all.
    judge: fn(&Flooded) -> Result<()>,
}

/// What becomes of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    /// It goes to a file.
    File,
    /// To a file, but dropwatch is stopped during the flood.
    Stopped,
    /// To a pipe that is read when the flood is over.
    Late,
    /// To a device that is always full; dropwatch is stopped during the flood, so that it sees all
    /// of it.
    Full,
    /// To a pipe whose reader goes away after the first line.
    Gone,
}

/// What came of it.
#[derive(Debug)]
struct Flooded {
    /// Packets that the kernel dropped.
    sent: u64,
    /// Where dropwatch says that they went.
    account: Account,
    /// Its lines.
    lines: Vec<String>,
    /// Its standard error.
    stderr: String,
    /// How long it ran.
    time: Duration,
}

const BASE: Flood = Flood {
    name: "",
    buffers: &["ring"],
    flags: "",
    sockets: 1,
    packets: 2000,
    send: send_at_once,
    reader: Reader::File,
    status: 0,
    judge: |_| Ok(()),
};

/// In how many rounds another's socket drops until the owners of new sockets are known.
const ROUNDS: usize = 10;

const BOTH: &[&str] = &["ring", "perf"];

/// All floods.
pub static FLOODS: &[Flood] = &[
    Flood {
        name: "64_sockets",
        buffers: BOTH,
        sockets: 64,
        packets: 100,
        ..BASE
    },
    Flood {
        name: "stopped_reader",
        buffers: BOTH,
        reader: Reader::Stopped,
        judge: Flooded::is_complete,
        ..BASE
    },
    Flood {
        name: "one_page",
        buffers: BOTH,
        flags: "--buffer-size 4096",
        reader: Reader::Stopped,
        judge: Flooded::has_losses,
        ..BASE
    },
    Flood {
        name: "fail_on_lost",
        flags: "--buffer-size 1 --fail-on-lost",
        reader: Reader::Stopped,
        status: 3,
        judge: Flooded::has_losses,
        ..BASE
    },
    Flood {
        name: "fail_on_lost_without",
        flags: "--fail-on-lost",
        judge: Flooded::is_complete,
        ..BASE
    },
    Flood {
        // More lines than pipe and dropwatch hold, more records than the buffer.
        name: "late_reader",
        buffers: BOTH,
        flags: "--buffer-size 4096",
        packets: 8000,
        reader: Reader::Late,
        judge: Flooded::has_losses,
        ..BASE
    },
    Flood {
        name: "dev_full",
        buffers: BOTH,
        reader: Reader::Full,
        status: 1,
        judge: |flooded| {
            ensure!(
                flooded.account.lost == flooded.sent,
                "no line could be written"
            );
            let errors = flooded.stderr.lines();
            let errors: Vec<&str> = errors.filter(|line| !line.contains(" seen = ")).collect();
            ensure!(
                matches!(errors.as_slice(), [error] if error.contains("standard output")),
                "one line about standard output expected"
            );
            Ok(())
        },
        ..BASE
    },
    Flood {
        name: "reader_gone",
        reader: Reader::Gone,
        ..BASE
    },
    Flood {
        name: "rate_limit",
        flags: "--rate-limit 100",
        sockets: 4,
        packets: 500,
        judge: |flooded| {
            let most = 100 * (flooded.time.as_secs() + 2);
            flooded.prints(100..=most)
        },
        ..BASE
    },
    Flood {
        name: "rate_limit_by_the_hour",
        buffers: BOTH,
        flags: "--rate-limit 3/h",
        judge: |flooded| {
            flooded.prints(3..=3)?;
            flooded.is_only_limited()
        },
        ..BASE
    },
    Flood {
        // Only user space knows what is hidden, so it has to limit.
        name: "rate_limit_of_what_is_not_hidden",
        flags: "--rate-limit 3/h --hide-expected",
        judge: |flooded| {
            flooded.prints(3..=3)?;
            flooded.is_only_limited()
        },
        ..BASE
    },
    Flood {
        // Whose they are only user space knows, and what is not wanted must not use up the rate.
        name: "rate_limit_of_a_receiver",
        flags: "--rate-limit 3/h --pid {pid}",
        packets: 1000,
        send: send_to_full_receiver,
        judge: |flooded| {
            flooded.prints(3..=3)?;
            ensure!(flooded.account.filtered >= 1000, "the others are filtered");
            flooded.is_only_limited()
        },
        ..BASE
    },
    Flood {
        name: "sample",
        buffers: BOTH,
        flags: "--sample 10",
        judge: |flooded| {
            flooded.is_sampled("10")?;
            flooded.prints_a_tenth()
        },
        ..BASE
    },
    Flood {
        name: "sample_of_a_process",
        flags: "--sample 10 --pid {pid}",
        judge: |flooded| {
            flooded.is_sampled("10")?;
            flooded.prints_a_tenth()
        },
        ..BASE
    },
    Flood {
        // Here the stack is looked at before the limits.
        name: "sample_and_rate_limit_of_a_stack",
        flags: "--sample 10 --rate-limit 3/h --stack-func nf_hook_slow",
        judge: |flooded| {
            flooded.is_sampled("10")?;
            flooded.prints(3..=3)?;
            let account = flooded.account;
            ensure!(
                account.limited > 0 && account.sampled_out > account.limited,
                "sampled first, then limited"
            );
            Ok(())
        },
        ..BASE
    },
];

impl Flood {
    /// Floods, and judges what dropwatch at `path` says of it.
    pub fn play(&self, path: &Path, way: &Way) -> Result<()> {
        let world = World::new().context("making the world")?;
        world
            .set_up(OUTPUT_DROP.set_up.iter().copied())
            .context(SET_UP)?;
        let command = self.command(path, way, &world);
        let (mut dropwatch, pipe) = match self.reader {
            Reader::File | Reader::Stopped => (Dropwatch::spawn_command(command)?, None),
            Reader::Full => (Dropwatch::spawn_full(command)?, None),
            Reader::Late | Reader::Gone => {
                let (dropwatch, pipe) = Dropwatch::spawn_piped(command)?;
                (dropwatch, Some(pipe))
            }
        };
        let started = Instant::now();
        dropwatch.wait_ready()?;
        let sent = self.flood(&world, &dropwatch)?;
        match self.reader {
            Reader::Gone => return self.is_quiet(pipe, dropwatch),
            Reader::Full => {}
            _ => dropwatch.signal(Signal::SIGINT)?,
        }
        // Somebody has to read now, or the last lines are given up.
        let reader = pipe.map(|mut pipe| {
            thread::spawn(move || {
                let mut text = String::new();
                pipe.read_to_string(&mut text).map(|_| text)
            })
        });
        let ended = dropwatch.wait(WITHIN)?;
        let text = match reader {
            Some(reader) => reader.join().ok().context("reading the lines")??,
            None => ended.stdout.clone(),
        };
        self.judge(sent, &ended, &text, started.elapsed())
    }

    fn command(&self, path: &Path, way: &Way, world: &World) -> Command {
        let mut command = Command::new(path);
        command.args(["--hook", &way.hook, "--buffer", &way.buffer, "--netns"]);
        command.arg(world.subject.inode().to_string());
        let flags = self.flags.replace("{pid}", &std::process::id().to_string());
        command.args(flags.split_whitespace());
        command
    }

    /// Sends all packets; each is dropped while its sender is on the processor.
    fn flood(&self, world: &World, dropwatch: &Dropwatch) -> Result<u64> {
        let stops = matches!(self.reader, Reader::Stopped | Reader::Full);
        if stops {
            dropwatch.pause()?;
        }
        let sent = world
            .subject
            .run(|| (self.send)(self.sockets, self.packets));
        if stops {
            dropwatch.signal(Signal::SIGCONT)?;
        }
        sent
    }

    /// A reader that goes away is no failure, and nothing to talk about.
    fn is_quiet(&self, pipe: Option<ChildStdout>, dropwatch: Dropwatch) -> Result<()> {
        let mut pipe = BufReader::new(pipe.context("a pipe to read from")?);
        let mut line = String::new();
        pipe.read_line(&mut line).context("reading a line")?;
        drop(pipe);
        let ended = dropwatch.wait(WITHIN)?;
        ended.expect_status(self.status)?;
        ensure!(ended.stderr.is_empty(), "it says: {}", ended.stderr);
        Ok(())
    }

    fn judge(&self, sent: u64, ended: &Ended, text: &str, time: Duration) -> Result<()> {
        ended.expect_status(self.status)?;
        let account = Account::find(&ended.stderr)?;
        account.check()?;
        let flooded = Flooded {
            sent,
            account,
            lines: text.lines().map(str::to_owned).collect(),
            stderr: ended.stderr.clone(),
            time,
        };
        let judged = flooded.is_exact().and_then(|()| (self.judge)(&flooded));
        judged.with_context(|| format!("{sent} packets, and {account:?}"))
    }
}

impl Flooded {
    /// Each packet is in one term of the account, and each line was counted.
    fn is_exact(&self) -> Result<()> {
        let (account, lines) = (&self.account, self.lines.len() as u64);
        ensure!(account.printed == lines, "{lines} lines");
        ensure!(
            account.passed() == self.sent,
            "{} accounted for",
            account.passed()
        );
        for line in &self.lines {
            Line::parse(line)?;
        }
        Ok(())
    }

    fn is_complete(&self) -> Result<()> {
        ensure!(self.account.printed == self.sent, "all were to be printed");
        Ok(())
    }

    fn has_losses(&self) -> Result<()> {
        ensure!(
            self.account.lost > 0 && self.account.printed > 0,
            "some were to be lost"
        );
        Ok(())
    }

    fn prints(&self, wanted: std::ops::RangeInclusive<u64>) -> Result<()> {
        ensure!(
            wanted.contains(&self.account.printed),
            "{wanted:?} lines expected"
        );
        Ok(())
    }

    /// On each processor the first packet is printed, and then every tenth.
    fn prints_a_tenth(&self) -> Result<()> {
        let processors = thread::available_parallelism().context("counting processors")?;
        let least = self.sent / 10;
        self.prints(least..=least + processors.get() as u64)
    }

    fn is_only_limited(&self) -> Result<()> {
        let account = &self.account;
        ensure!(
            account.printed + account.limited == self.sent,
            "what is not printed was to be limited"
        );
        Ok(())
    }

    fn is_sampled(&self, of: &str) -> Result<()> {
        ensure!(self.account.lost == 0, "nothing was to be lost");
        for line in &self.lines {
            let sample = Line::parse(line)?;
            ensure!(sample.get("sample") == Some(of), "not sample={of}: {line}");
        }
        Ok(())
    }
}

/// Sends from several sockets at the same time.
fn send_at_once(sockets: usize, packets: usize) -> Result<u64> {
    let bind = |number: usize| {
        let source = local(41_000 + number as u16);
        UdpSocket::bind(source).with_context(|| format!("binding {source}"))
    };
    let sockets = (0..sockets).map(bind).collect::<Result<Vec<_>>>()?;
    let barrier = Barrier::new(sockets.len());
    let send = |socket: &UdpSocket| {
        barrier.wait();
        traffic::udp_from(socket, local(9).into(), packets, 100).map(|sent| sent.len() as u64)
    };
    thread::scope(|scope| {
        let start = |socket| {
            let thread = thread::Builder::new().name(THREAD_NAME.to_owned());
            thread.spawn_scoped(scope, move || send(socket))
        };
        let threads: Vec<_> = sockets.iter().map(start).collect::<Result<_, _>>()?;
        let counts = threads.into_iter().map(|thread| {
            let sent = thread.join().ok().context("a sender panicked")?;
            sent.context("sending")
        });
        counts.sum()
    })
}

/// Another process sends: first what is dropped as its own, then more than a socket of this process
/// takes. Only the latter count.
fn send_to_full_receiver(_sockets: usize, packets: usize) -> Result<u64> {
    let receiver = traffic::small_receiver(local(9114))?;
    // A new socket is known from the next scan on. Drops of a socket that nobody knows cause one, but
    // not soon after another: they come for as long as that may take. The socket was never this
    // process's, which a scan could have seen.
    let mut other = SenderProcess::start(local(9115), local(9), 0, true, None)?;
    other.send()?;
    for _ in 0..ROUNDS {
        SenderProcess::start(local(41_002), local(9115), packets, false, None)?.send()?;
        thread::sleep(OWNER_WITHIN / ROUNDS as u32);
    }
    for (source, destination) in [(local(41_000), local(9)), (local(41_001), local(9114))] {
        SenderProcess::start(source, destination, packets, false, None)?.send()?;
    }
    let received = traffic::drain(&receiver)?;
    ensure!(
        received < packets,
        "the buffer held all {packets} datagrams"
    );
    Ok((packets - received) as u64)
}
