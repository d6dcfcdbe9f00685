//! Interfaces, namespaces and modules that get another name, or go.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use super::{N, Stage, end, flow, parsed, wait_until};
use crate::{
    dropwatch::Dropwatch,
    kernel::load_module,
    netns::{NamedNetns, Netns},
    run::Outcome,
    scenario::local,
    traffic::{self, v4},
    world::{World, run_command},
};

/// How long the kernel takes to notice that the other end of a cable came or went, and dropwatch
/// to read symbols anew.
const SETTLE: Duration = Duration::from_secs(2);

/// Sends from the peer to where nobody listens: the subject drops that at its end of the cable.
fn send_to_subject(world: &World, port: u16) -> Result<u64> {
    let (source, destination) = (v4([10, 77, 0, 2], port), v4([10, 77, 0, 1], 9));
    let sent = world
        .peer
        .run(|| traffic::udp(source, destination, N, 100))?;
    Ok(sent.len() as u64)
}

fn wait_lines(dropwatch: &Dropwatch, count: u64) -> Result<()> {
    wait_until(&format!("{count} lines"), || {
        Ok(dropwatch.lines().len() as u64 >= count)
    })
}

/// Checks that all lines of a flow have this value.
fn all_have(stdout: &str, port: u16, key: &str, values: &[&str]) -> Result<()> {
    let lines = parsed(stdout)?;
    let lines = flow(&lines, port);
    let fits = |value: Option<&str>| value.is_some_and(|value| values.contains(&value));
    ensure!(
        lines.len() == N && lines.iter().all(|line| fits(line.get(key))),
        "{N} lines with {key}={values:?} expected: {lines:?}"
    );
    Ok(())
}

/// A dropwatch that has printed the drops of one flow, and was stopped before those of a second one;
/// and how many they are.
fn stopped_with_drops(stage: &Stage<'_>, world: &World) -> Result<(Dropwatch, u64)> {
    let dropwatch = stage.start(world, &[])?;
    let mut sent = send_to_subject(world, 40_001)?;
    wait_lines(&dropwatch, sent)?;
    dropwatch.pause()?;
    sent += send_to_subject(world, 40_002)?;
    Ok((dropwatch, sent))
}

/// From the moment on, lines have the new name; those of before keep theirs.
pub(super) fn interface_renamed(stage: &Stage<'_>) -> Result<Outcome> {
    let world = World::new()?;
    let (dropwatch, mut sent) = stopped_with_drops(stage, &world)?;
    world.set_up([
        "ip link set v0 down",
        "ip link set v0 name w0",
        "ip link set w0 up",
    ])?;
    dropwatch.signal(Signal::SIGCONT)?;
    thread::sleep(SETTLE);
    sent += send_to_subject(&world, 40_003)?;
    wait_lines(&dropwatch, sent)?;
    let (ended, _) = end(dropwatch, sent)?;
    all_have(&ended.stdout, 40_001, "if", &["v0"])?;
    all_have(&ended.stdout, 40_002, "if", &["v0"])?;
    all_have(&ended.stdout, 40_003, "if", &["w0"])?;
    Ok(Outcome::Passed)
}

/// What was dropped at an interface has its name also when it is gone, and another has its number.
pub(super) fn interface_removed(stage: &Stage<'_>) -> Result<Outcome> {
    let world = World::new()?;
    let (dropwatch, sent) = stopped_with_drops(stage, &world)?;
    let index = world.subject.run(|| {
        let index = nix::net::if_::if_nametoindex("v0").context("the interface's number")?;
        run_command("ip link del v0")?;
        Ok(index)
    })?;
    world.set_up([format!("ip link add other index {index} type veth peer name far").as_str()])?;
    dropwatch.signal(Signal::SIGCONT)?;
    wait_lines(&dropwatch, sent)?;
    let (ended, _) = end(dropwatch, sent)?;
    all_have(&ended.stdout, 40_001, "if", &["v0"])?;
    all_have(&ended.stdout, 40_002, "if", &["v0"])?;
    Ok(Outcome::Passed)
}

/// A namespace that is gone has its name or its number, and the account has its drops.
pub(super) fn netns_deleted(stage: &Stage<'_>) -> Result<Outcome> {
    let netns = Netns::new()?;
    let number = netns.inode().to_string();
    netns.run(|| run_command("ip link set lo up"))?;
    let named = NamedNetns::new(&netns)?;
    let name = named.name().to_owned();
    let send = |port| -> Result<u64> {
        let sent = netns.run(|| traffic::udp(local(port), local(9), N, 100))?;
        Ok(sent.len() as u64)
    };
    let dropwatch = Dropwatch::start(stage.dropwatch, &["--netns", &number])?;
    let mut sent = send(40_001)?;
    wait_lines(&dropwatch, sent)?;
    dropwatch.pause()?;
    sent += send(40_002)?;
    drop(named);
    drop(netns);
    thread::sleep(SETTLE);
    dropwatch.signal(Signal::SIGCONT)?;
    wait_lines(&dropwatch, sent)?;
    let (ended, _) = end(dropwatch, sent)?;
    all_have(&ended.stdout, 40_001, "netns", &[&name])?;
    all_have(&ended.stdout, 40_002, "netns", &[&name, &number])?;
    Ok(Outcome::Passed)
}

/// Code of a module that was unloaded has its name or none, and that of a module which was loaded
/// again has its own, also where another one took its place.
pub(super) fn module_unloaded(stage: &Stage<'_>) -> Result<Outcome> {
    ensure!(load_module("veth"), "there is no module veth");
    let pid = std::process::id().to_string();
    let dropwatch = Dropwatch::start(stage.dropwatch, &["--pid", &pid])?;
    let first = narrow()?;
    send_large(&first, 40_001)?;
    wait_flow(&dropwatch, 40_001)?;
    dropwatch.pause()?;
    send_large(&first, 40_002)?;
    drop(first);
    wait_until("unloading veth", || Ok(run_command("rmmod veth").is_ok()))?;
    // One of these may come to where it was.
    let others = ["dummy", "tun", "macvlan", "8021q"];
    let others = others.into_iter().filter(|module| load_module(module));
    let others: Vec<String> = others.map(|module| format!("[{module}]")).collect();
    dropwatch.signal(Signal::SIGCONT)?;
    wait_flow(&dropwatch, 40_002)?;
    thread::sleep(SETTLE);
    ensure!(load_module("veth"), "loading veth again");
    let second = narrow()?;
    send_large(&second, 40_003)?;
    wait_flow(&dropwatch, 40_003)?;
    let ended = dropwatch.stop()?;
    ended.expect_status(0)?;
    ended.account()?;
    for line in ended.stdout.lines() {
        ensure!(
            !others.iter().any(|other| line.contains(other)),
            "a name of {others:?}: {line}"
        );
        ensure!(
            line.contains("veth_xmit+0x") || line.contains(":40002 > "),
            "no name of veth: {line}"
        );
    }
    Ok(Outcome::Passed)
}

/// A cable whose other end takes small packets only: others are dropped below veth's own code.
fn narrow() -> Result<World> {
    let world = World::new()?;
    world.set_up(["peer: ip link set p0 mtu 1000"])?;
    Ok(world)
}

fn send_large(world: &World, port: u16) -> Result<()> {
    let (source, destination) = (v4([10, 77, 0, 1], port), v4([10, 77, 0, 2], 9));
    world
        .subject
        .run(|| traffic::udp(source, destination, N, 1300))
        .map(drop)
}

fn wait_flow(dropwatch: &Dropwatch, port: u16) -> Result<()> {
    let source = format!(":{port} > ");
    wait_until(&format!("lines of port {port}"), || {
        let lines = dropwatch.lines();
        Ok(lines.iter().filter(|line| line.contains(&source)).count() >= N)
    })
}
