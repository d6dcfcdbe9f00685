//! Faults: what the host does to a run, and what has to come of it.
//!
//! A fault is one entry of [`FAULTS`]. Some change what a machine has only one of (clock,
//! processors, settings): they run on machines of their own only, which are the virtual ones.

mod host;
mod life;
mod missing;
mod names;
mod verifier;

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use crate::{
    bpf_objects::Objects,
    dropwatch::{Account, Dropwatch, Ended},
    kernel::{self, Kernel},
    line::Line,
    run::Outcome,
    scenario::{OUTPUT_DROP, local},
    traffic, wait,
    world::World,
};

/// How long anything here may take: an emulated processor is slow.
const WITHIN: Duration = Duration::from_secs(60);

/// Drops that are made where their number is no matter.
const N: usize = 10;

/// A fault, and what has to come of it.
#[derive(Debug)]
pub struct Fault {
    /// Name, unique.
    pub name: &'static str,
    /// Where it may be provoked.
    place: Place,
    /// Provokes it and checks what comes of it.
    play: fn(&Stage<'_>) -> Result<Outcome>,
}

/// Where a fault may be provoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// It concerns nobody else.
    Anywhere,
    /// It changes the machine.
    OwnMachine,
}

/// All faults.
pub static FAULTS: &[Fault] = &[
    anywhere("killed_in_flood_tracepoint", |stage| {
        life::killed(stage, "tracepoint")
    }),
    anywhere("killed_in_flood_kprobe", |stage| {
        life::killed(stage, "kprobe")
    }),
    anywhere("stopped_for_10_s", life::stopped),
    anywhere("two_at_once", life::two_at_once),
    anywhere("beside_perf", life::beside_perf),
    anywhere("beside_bpftrace", life::beside_bpftrace),
    anywhere("10000_processes", life::short_lived),
    anywhere("interface_renamed", names::interface_renamed),
    anywhere("interface_removed", names::interface_removed),
    anywhere("netns_deleted", names::netns_deleted),
    own_machine("module_unloaded", names::module_unloaded),
    anywhere("no_btf", missing::no_btf),
    anywhere("btf_truncated", missing::btf_truncated),
    anywhere("no_proc", missing::no_proc),
    anywhere("no_tracing", missing::no_tracing),
    anywhere("no_sys", missing::no_sys),
    anywhere("stdout_closed", |stage| missing::closed(stage, ">&-")),
    anywhere("stderr_closed", |stage| missing::closed(stage, "2>&-")),
    anywhere("full_disk", missing::full_disk),
    anywhere("links_and_pipes", missing::links_and_pipes),
    anywhere("low_memlock", host::low_memlock),
    anywhere("verifier_margin", verifier::margin),
    own_machine("memory_64_mb", host::memory_limit),
    own_machine("processor_offline_ring", |stage| {
        host::processor_offline(stage, "ring")
    }),
    own_machine("processor_offline_perf", |stage| {
        host::processor_offline(stage, "perf")
    }),
    own_machine("clock_set", host::clock_set),
    own_machine("kptr_restrict", host::kptr_restrict),
    own_machine("unprivileged_bpf_disabled", host::unprivileged_bpf),
];

const fn anywhere(name: &'static str, play: fn(&Stage<'_>) -> Result<Outcome>) -> Fault {
    Fault {
        name,
        place: Place::Anywhere,
        play,
    }
}

const fn own_machine(name: &'static str, play: fn(&Stage<'_>) -> Result<Outcome>) -> Fault {
    Fault {
        place: Place::OwnMachine,
        ..anywhere(name, play)
    }
}

impl Fault {
    /// Provokes it.
    pub fn play(&self, stage: &Stage<'_>) -> Outcome {
        if self.place == Place::OwnMachine && !stage.own_machine {
            let reason = "it changes the machine: `cargo xtask vm --filter faults` has some";
            return Outcome::Ignored(reason.to_owned());
        }
        match self.play_and_look(stage) {
            Ok(outcome) => outcome,
            Err(error) => Outcome::Failed(format!("{error:#}")),
        }
    }

    /// Provokes it. Where nobody else uses eBPF, the kernel then has to hold no more than before: it
    /// may still have held what an earlier test has left to be removed.
    fn play_and_look(&self, stage: &Stage<'_>) -> Result<Outcome> {
        let before = Objects::all()?;
        let outcome = (self.play)(stage)?;
        if stage.own_machine {
            // It removes them when it finds the time.
            wait_until("what was loaded has to go", || {
                Ok(Objects::all()?.is_subset(&before))
            })?;
        }
        Ok(outcome)
    }
}

/// What faults are provoked with.
#[derive(Clone, Copy, Debug)]
pub struct Stage<'a> {
    /// The program.
    pub dropwatch: &'a Path,
    /// The running kernel.
    pub kernel: Kernel,
    /// Whether the machine is here for the tests alone.
    pub own_machine: bool,
}

impl Stage<'_> {
    /// A command that watches drops in the subject of `world`.
    fn command(&self, world: &World, flags: &[&str]) -> Command {
        let mut command = Command::new(self.dropwatch);
        watching(&mut command, world, flags);
        command
    }

    /// The same by a shell script in which `"$0" "$@"` is dropwatch.
    fn in_shell(&self, script: &str, world: &World, flags: &[&str]) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(self.dropwatch);
        watching(&mut command, world, flags);
        command
    }

    /// Starts it, and waits until it is attached.
    fn start(&self, world: &World, flags: &[&str]) -> Result<Dropwatch> {
        let mut dropwatch = Dropwatch::spawn_command(self.command(world, flags))?;
        dropwatch.wait_ready()?;
        Ok(dropwatch)
    }
}

fn watching(command: &mut Command, world: &World, flags: &[&str]) {
    // Behind the name of a command.
    command.args(flags).arg("--netns");
    command.arg(world.subject.inode().to_string());
}

/// A world in which datagrams to port 9 are dropped while their sender is on the processor.
fn world_of_drops() -> Result<World> {
    let world = World::new().context("making the world")?;
    OUTPUT_DROP.modules.iter().for_each(|module| {
        kernel::load_module(module);
    });
    world.set_up(OUTPUT_DROP.set_up.iter().copied())?;
    Ok(world)
}

/// Makes `count` drops in the subject, in a flow of its own.
fn make(world: &World, port: u16, count: usize) -> Result<u64> {
    let sent = world
        .subject
        .run(|| traffic::udp(local(port), local(9), count, 100))?;
    Ok(sent.len() as u64)
}

/// Runs one with some drops.
fn played(command: Command, world: &World) -> Result<Ended> {
    let mut dropwatch = Dropwatch::spawn_command(command)?;
    dropwatch.wait_ready()?;
    let sent = make(world, 40_000, N)?;
    Ok(end(dropwatch, sent)?.0)
}

/// Ends it, and checks that the account has each of `sent` drops and each line.
fn end(dropwatch: Dropwatch, sent: u64) -> Result<(Ended, Account)> {
    dropwatch.signal(Signal::SIGINT)?;
    let ended = dropwatch.wait(WITHIN)?;
    let account = exact(&ended, sent)?;
    Ok((ended, account))
}

/// Checks the same of one that has ended.
fn exact(ended: &Ended, sent: u64) -> Result<Account> {
    ended.expect_status(0)?;
    let account = ended.account()?;
    ensure!(
        account.passed() == sent,
        "{sent} drops were made: {account:?}, {}",
        ended.stderr
    );
    Ok(account)
}

/// Checks that it has ended with one line that has all of these words.
fn one_line(ended: &Ended, words: &[&str]) -> Result<()> {
    ended.expect_status(1)?;
    let said = &ended.stderr;
    let is_one = said.lines().count() == 1 && ended.stdout.is_empty();
    ensure!(
        is_one && words.iter().all(|word| said.contains(word)),
        "one line with {words:?} expected: {said}"
    );
    Ok(())
}

/// The lines of the flow with this source port.
fn flow(lines: &[Line], port: u16) -> Vec<&Line> {
    let end = format!(":{port}");
    let of_flow = |line: &&Line| line.source.ends_with(&end);
    lines.iter().filter(of_flow).collect()
}

fn parsed(text: &str) -> Result<Vec<Line>> {
    text.lines().map(Line::parse).collect()
}

fn wait_until(what: &str, done: impl FnMut() -> Result<bool>) -> Result<()> {
    wait::until(what, WITHIN, done)
}

/// A file of the kernel with another content, until this is dropped.
#[derive(Debug)]
struct Setting {
    path: String,
    before: String,
}

impl Setting {
    fn change(path: &str, value: &str) -> Result<Self> {
        let before = fs::read_to_string(path).with_context(|| format!("reading {path}"))?;
        let setting = Self {
            path: path.to_owned(),
            before,
        };
        setting.set(value)?;
        Ok(setting)
    }

    fn set(&self, value: &str) -> Result<()> {
        fs::write(&self.path, value).with_context(|| format!("writing {value} to {}", self.path))
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        fs::write(&self.path, &self.before).ok();
    }
}
