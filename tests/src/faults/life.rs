//! A run that is killed, stopped, or not the only one.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::SocketAddrV4,
    os::{fd::AsRawFd as _, unix::fs::symlink},
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    libc,
    sys::{
        signal::{Signal, kill},
        socket::{AddressFamily, MsgFlags, SockFlag, SockType, SockaddrIn, bind, sendto, socket},
        wait::waitpid,
    },
    unistd::{ForkResult, Pid, fork},
};

use super::{Stage, WITHIN, end, make, parsed, wait_until, world_of_drops};
use crate::{
    bpf_objects::Objects,
    kernel,
    run::Outcome,
    scenario::local,
    stand_in::{SENDER, SenderProcess},
};

/// Probes that tools have left, where tracefs is mounted.
const PROBES: [&str; 2] = [
    "/sys/kernel/tracing/kprobe_events",
    "/sys/kernel/tracing/uprobe_events",
];

/// How long dropwatch is stopped.
const STOPPED: Duration = Duration::from_secs(10);
/// Drops that other tools have to see as well.
const SEEN_BY_BOTH: usize = 500;
/// Processes that live for one datagram.
const PROCESSES: u16 = 10_000;
/// The first one's port.
const FIRST_PORT: u16 = 20_000;
/// By how much memory may grow meanwhile, in KiB.
const GROWTH_KIB: u64 = 8 << 10;

/// What has no time to tidy up leaves nothing behind.
pub(super) fn killed(stage: &Stage<'_>, hook: &str) -> Result<Outcome> {
    if hook == "kprobe" && !kernel::has_kprobes() {
        return Ok(Outcome::Ignored("this kernel has no kprobes".to_owned()));
    }
    let probes = || PROBES.map(|path| fs::read_to_string(path).unwrap_or_default());
    let world = world_of_drops()?;
    let (before, probes_before) = (Objects::all()?, probes());
    let dropwatch = stage.start(&world, &["--hook", hook])?;
    let own = Objects::of_process(dropwatch.pid())?;
    ensure!(
        !own.programs.is_empty() && !own.maps.is_empty(),
        "it has programs and maps: {own:?}"
    );
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let flood = scope.spawn(|| -> Result<()> {
            while !over.load(Relaxed) {
                make(&world, 40_000, 100)?;
            }
            Ok(())
        });
        let killed = wait_until("the first lines", || Ok(dropwatch.lines().len() > 100))
            .and_then(|()| dropwatch.signal(Signal::SIGKILL))
            .and_then(|()| dropwatch.wait(WITHIN));
        over.store(true, Relaxed);
        flood.join().ok().context("the flood panicked")??;
        killed
    })?;
    // The kernel removes them when it finds the time.
    wait_until(&format!("{own:?} is to go"), || {
        let left = Objects::all()?;
        Ok(left.is_disjoint(&own) && (!stage.own_machine || left.is_subset(&before)))
    })?;
    ensure!(probes() == probes_before, "probes are left: {:?}", probes());
    Ok(Outcome::Passed)
}

/// What does not fit into the buffer meanwhile is lost, and that to the drop.
pub(super) fn stopped(stage: &Stage<'_>) -> Result<Outcome> {
    let world = world_of_drops()?;
    let dropwatch = stage.start(&world, &["--buffer-size", "64K"])?;
    dropwatch.pause()?;
    let started = Instant::now();
    let mut sent = 0;
    while started.elapsed() < STOPPED {
        sent += make(&world, 40_000, 200)?;
        thread::sleep(Duration::from_millis(100));
    }
    dropwatch.signal(Signal::SIGCONT)?;
    // It goes on as if nothing had been.
    wait_until("lines again", || Ok(!dropwatch.lines().is_empty()))?;
    sent += make(&world, 40_001, 10)?;
    let (ended, account) = end(dropwatch, sent)?;
    ensure!(account.lost > 0, "some were to be lost: {account:?}");
    let last = ended.stdout.lines().rev().take(10);
    ensure!(
        last.filter(|line| line.contains(":40001 > ")).count() == 10,
        "the last lines were to come after the pause"
    );
    Ok(Outcome::Passed)
}

/// Each sees all, whatever the other one asks for.
pub(super) fn two_at_once(stage: &Stage<'_>) -> Result<Outcome> {
    let world = world_of_drops()?;
    let one = stage.start(&world, &[])?;
    let other = stage.start(&world, &["--buffer", "perf", "--no-stack"])?;
    let mut sent = make(&world, 40_000, 2000)?;
    end(one, sent)?;
    // One that ends takes nothing away from the other.
    sent += make(&world, 40_001, 100)?;
    end(other, sent)?;
    Ok(Outcome::Passed)
}

/// Another program in the place of the shell's `$0`, under the name of [`SENDER`].
fn sender_link(folder: &Path) -> Result<std::path::PathBuf> {
    let link = folder.join(SENDER);
    let own = std::env::current_exe().context("finding the own program")?;
    symlink(own, &link).context("making a link")?;
    Ok(link)
}

/// `perf stat` counts at the same tracepoint.
pub(super) fn beside_perf(stage: &Stage<'_>) -> Result<Outcome> {
    if Command::new("perf").arg("--version").output().is_err() {
        return Ok(Outcome::Ignored("there is no perf here".to_owned()));
    }
    let world = world_of_drops()?;
    let folder = tempfile::tempdir().context("making a folder")?;
    let (link, counts) = (sender_link(folder.path())?, folder.path().join("counts"));
    let dropwatch = stage.start(&world, &[])?;
    world.subject.run(|| {
        let mut command = Command::new("perf");
        command.args(["stat", "-x", ",", "-e", "skb:kfree_skb", "-o"]);
        command.arg(&counts).arg("--").arg(&link);
        let (source, destination): (SocketAddrV4, SocketAddrV4) = (local(40_000), local(9));
        command.args([source.to_string(), destination.to_string()]);
        command.args([&SEEN_BY_BOTH.to_string(), "go"]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("starting perf")?;
        let mut input = child.stdin.take().context("the sender's input")?;
        input.write_all(b"send\n").context("telling the sender")?;
        ensure!(child.wait()?.success(), "perf failed");
        Ok(())
    })?;
    end(dropwatch, SEEN_BY_BOTH as u64)?;
    let counted = fs::read_to_string(&counts).context("reading what perf counted")?;
    let is_all = |line: &str| {
        let count = line.split(',').next();
        line.contains("skb:kfree_skb") && count == Some(&SEEN_BY_BOTH.to_string())
    };
    ensure!(counted.lines().any(is_all), "perf counted: {counted}");
    Ok(Outcome::Passed)
}

/// bpftrace has a program of its own at the same tracepoint.
pub(super) fn beside_bpftrace(stage: &Stage<'_>) -> Result<Outcome> {
    if Command::new("bpftrace").arg("--version").output().is_err() {
        return Ok(Outcome::Ignored("there is no bpftrace here".to_owned()));
    }
    let world = world_of_drops()?;
    let dropwatch = stage.start(&world, &[])?;
    let mut sender = world
        .subject
        .run(|| SenderProcess::start(local(40_000), local(9), SEEN_BY_BOTH, false, None))?;
    let program = format!(
        "BEGIN {{ printf(\"ready\\n\"); }} tracepoint:skb:kfree_skb /pid == {}/ {{ @ = count(); }}",
        sender.pid()
    );
    let mut command = Command::new("bpftrace");
    let mut tracer = Tracer(
        command
            .args(["-e", &program])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("starting bpftrace")?,
    );
    let output = tracer.0.stdout.take().context("bpftrace's output")?;
    let mut output = BufReader::new(output);
    let mut said = String::new();
    while !said.contains("ready") {
        ensure!(output.read_line(&mut said)? > 0, "bpftrace ended: {said}");
    }
    sender.send()?;
    tracer.signal(Signal::SIGINT)?;
    output.read_to_string(&mut said)?;
    end(dropwatch, SEEN_BY_BOTH as u64)?;
    let wanted = format!("@: {SEEN_BY_BOTH}");
    ensure!(said.lines().any(|line| line == wanted), "it said: {said}");
    Ok(Outcome::Passed)
}

/// A tracer that ends with its test.
struct Tracer(Child);

impl Tracer {
    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.0.id()).context("a process id")?;
        kill(Pid::from_raw(pid), signal).context("ending the tracer")
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Each is told apart from the others, and none is remembered for good.
pub(super) fn short_lived(stage: &Stage<'_>) -> Result<Outcome> {
    let world = world_of_drops()?;
    let dropwatch = stage.start(&world, &["--no-stack"])?;
    // What comes with the first drop is no growth.
    let mut sent = make(&world, 40_000, 100)?;
    wait_until("the first lines", || Ok(dropwatch.lines().len() == 100))?;
    let before = dropwatch.resident_kib()?;
    let ports = FIRST_PORT..FIRST_PORT + PROCESSES;
    let pids = world
        .subject
        .run(|| ports.map(send_and_end).collect::<Result<Vec<i32>>>())?;
    sent += pids.len() as u64;
    wait_until("the lines", || Ok(dropwatch.lines().len() as u64 >= sent))?;
    let after = dropwatch.resident_kib()?;
    let (ended, account) = end(dropwatch, sent)?;
    ensure!(account.lost == 0, "none was to be lost: {account:?}");
    for line in parsed(&ended.stdout)? {
        let port = line
            .source
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok());
        let number = port.and_then(|port: u16| port.checked_sub(FIRST_PORT));
        let Some(pid) = number.and_then(|number| pids.get(usize::from(number))) else {
            continue;
        };
        let owner = line.get("owner").unwrap_or_default();
        ensure!(
            line.get("pid") == Some(&pid.to_string()) && owner.ends_with(&format!("[{pid}]")),
            "process {pid} sent it: {line:?}"
        );
    }
    ensure!(
        after < before + GROWTH_KIB,
        "memory went from {before} to {after} KiB"
    );
    Ok(Outcome::Passed)
}

/// A process that sends one datagram from `port`, and is no more. Returns its id.
fn send_and_end(port: u16) -> Result<i32> {
    // SAFETY: the child makes system calls only, and ends without running anything else.
    match unsafe { fork() }.context("making a process")? {
        ForkResult::Parent { child } => {
            match waitpid(child, None).context("waiting for a process")? {
                nix::sys::wait::WaitStatus::Exited(_, 0) => Ok(child.as_raw()),
                status => bail!("a process could not send: {status:?}"),
            }
        }
        ForkResult::Child => {
            let status = i32::from(send_one(port).is_err());
            // SAFETY: it ends the child at once.
            unsafe { libc::_exit(status) }
        }
    }
}

/// Without a heap: the thread that holds its lock may not be in this process.
fn send_one(port: u16) -> nix::Result<()> {
    let own = socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::empty(),
        None,
    )?;
    bind(own.as_raw_fd(), &SockaddrIn::from(local(port)))?;
    let destination = SockaddrIn::from(local(9));
    match sendto(own.as_raw_fd(), &[0; 100], &destination, MsgFlags::empty()) {
        // The rule that drops it says so.
        Ok(_) | Err(nix::errno::Errno::EPERM) => Ok(()),
        Err(error) => Err(error),
    }
}
