//! What `--counters` does as a program.

use std::{path::Path, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use dropwatch_tests::{
    dropwatch::Dropwatch,
    losses,
    netns::NamedNetns,
    run::Outcome,
    traffic::{self, loopback6, v4},
    world::{World, run_command},
};
use nix::sys::signal::Signal;

use crate::checks::{Check, Drops, SOON};

/// All checks.
pub(crate) const ALL: &[(&str, Check)] = &[
    ("counters/summary_tells_unasked", summary_tells_unasked),
    ("counters/filters_are_told", filters_are_told),
    ("counters/output_rules_explain", output_rules_explain),
    ("counters/off_by_default", off_by_default),
];

/// Without filters a summary tells what its drops do not explain, in any namespace with a name.
fn summary_tells_unasked(path: &Path) -> Result<Outcome> {
    let world = World::new()?;
    let named = NamedNetns::new(&world.subject)?;
    let mut summary = Dropwatch::spawn(path, &["summary", "--by", "reason,at,netns,proto"])?;
    summary.wait_ready()?;
    world.subject.run(|| {
        let local = |port| v4([127, 0, 0, 1], port);
        traffic::udp(local(40500), local(9), 6, 10).map(drop)
    })?;
    let kept = world.subject.run(losses::fill_accept_queue)?;
    thread::sleep(Duration::from_millis(300));
    summary.signal(Signal::SIGINT)?;
    let ended = summary.wait(SOON)?;
    drop(kept);
    ended.expect_status(0)?;
    let told = format!("netns={}", named.name());
    let has = |counter: &str| {
        let mut lines = ended.stderr.lines();
        lines.any(|line| line.contains(&format!("dropwatch: {counter} +")) && line.contains(&told))
    };
    ensure!(
        has("TcpExtListenOverflows") && !has("UdpNoPorts"),
        "the unexplained ones are to be told of: {}",
        ended.stderr
    );
    ensure!(
        ended
            .stderr
            .contains("more counters of losses moved, see them with --counters"),
        "not said that there are more: {}",
        ended.stderr
    );
    Ok(Outcome::Passed)
}

/// Drops that a filter turns down explain nothing, and it is said so.
fn filters_are_told(path: &Path) -> Result<Outcome> {
    let drops = Drops::new()?;
    let netns = drops.path();
    let flags = [
        "--counters",
        "--netns",
        &netns,
        "--reason",
        "NETFILTER_DROP",
    ];
    let mut dropwatch = Dropwatch::start(path, &flags)?;
    drops.make(3)?;
    // Not port 9, which a rule drops.
    drops.make_at(10..11, 4)?;
    thread::sleep(Duration::from_millis(300));
    ensure!(dropwatch.is_running(), "{}", dropwatch.stderr());
    let ended = dropwatch.stop()?;
    ensure!(
        ended.stderr.contains("UdpNoPorts +4") && ended.stderr.contains(": 4 unexplained\n"),
        "4 datagrams to a closed port: {}",
        ended.stderr
    );
    ensure!(
        ended
            .stderr
            .contains("drops that were filtered, limited or lost explain none of them"),
        "not said that filters are on: {}",
        ended.stderr
    );
    Ok(Outcome::Passed)
}

/// A packet that a rule drops on its way out moves a counter of IP, which the drop explains.
fn output_rules_explain(path: &Path) -> Result<Outcome> {
    let drops = Drops::new()?;
    drops.within(|| {
        [
            "nft add table ip6 t",
            "nft add chain ip6 t o '{ type filter hook output priority 0 ; }'",
            "nft add rule ip6 t o udp dport 9 drop",
        ]
        .into_iter()
        .try_for_each(run_command)
    })?;
    let mut dropwatch = Dropwatch::start(path, &["--counters", "--netns", &drops.path()])?;
    drops.make(3)?;
    drops
        .within(|| traffic::udp(loopback6(40500), loopback6(9), 2, 10))
        .context("sending over IPv6")?;
    thread::sleep(Duration::from_millis(300));
    ensure!(dropwatch.is_running(), "{}", dropwatch.stderr());
    let ended = dropwatch.stop()?;
    for moved in ["IpOutDiscards +3", "Ip6OutDiscards +2"] {
        let line = ended.stderr.lines().find(|line| line.contains(moved));
        let line = line.with_context(|| format!("no {moved}: {}", ended.stderr))?;
        ensure!(
            line.contains(": perhaps ") && !line.contains("unexplained"),
            "{line}"
        );
    }
    Ok(Outcome::Passed)
}

fn off_by_default(path: &Path) -> Result<Outcome> {
    let drops = Drops::new()?;
    let mut dropwatch = Dropwatch::start(path, &["--netns", &drops.netns(), "-o", "json"])?;
    drops.make_at(10..11, 4)?;
    ensure!(dropwatch.is_running(), "{}", dropwatch.stderr());
    let ended = dropwatch.stop()?;
    ensure!(
        !ended.stdout.contains("\"counters\"") && !ended.stderr.contains("UdpNoPorts"),
        "nobody asked for counters: {}",
        ended.stderr
    );
    Ok(Outcome::Passed)
}
