//! What `dropwatch summary` does as a program.

use std::{io::Read as _, path::Path, process::Command, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use dropwatch_tests::{
    dropwatch::{Dropwatch, Ended},
    kernel::Kernel,
    run::Outcome,
};
use nix::sys::signal::Signal;

use crate::checks::{Check, Drops, SOON, wait_until};

/// All checks.
pub(crate) const ALL: &[(&str, Check)] = &[
    ("summary/table_at_the_end", table_at_the_end),
    ("summary/intervals_add_up", intervals_add_up),
    ("summary/json", json),
    ("summary/full_map_loses_nothing", full_map_loses_nothing),
    ("summary/classes_come_as_records", classes_come_as_records),
    ("summary/filters", filters),
    ("summary/stuck_reader", stuck_reader),
    ("summary/folded", folded),
    ("summary/flame_graph", flame_graph),
];

/// Runs a summary while `drops` are made.
fn run(path: &Path, drops: &Drops, flags: &[&str], make: &[usize]) -> Result<Ended> {
    let mut summary = drops.summary(path, flags)?;
    summary.wait_ready()?;
    for count in make {
        drops.make(*count)?;
        thread::sleep(Duration::from_millis(300));
    }
    summary.signal(Signal::SIGINT)?;
    let ended = summary.wait(SOON)?;
    ended.expect_status(0)?;
    Ok(ended)
}

/// The number of drops at the start of a group, behind `skip` words.
fn drops_of(line: &str, skip: usize) -> Result<u64> {
    let word = line.split_whitespace().nth(skip);
    word.and_then(|word| word.parse().ok())
        .with_context(|| format!("no number of drops: {line:?}"))
}

fn table_at_the_end(path: &Path) -> Result<Outcome> {
    let drops = Drops::new()?;
    let ended = run(path, &drops, &["--by", "proto,saddr,dport"], &[30, 12])?;
    ensure!(
        ended
            .stdout
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            == "42 drops 42 packets 5376 bytes proto=udp saddr=127.0.0.1 dport=9",
        "not the table: {}",
        ended.stdout
    );
    ensure!(ended.counted()? == 42, "{}", ended.stderr);
    Ok(Outcome::Passed)
}

fn intervals_add_up(path: &Path) -> Result<Outcome> {
    let drops = Drops::new()?;
    let mut summary = drops.summary(path, &["--by", "dport", "--interval", "100ms"])?;
    summary.wait_ready()?;
    let counted = |lines: &[String]| lines.iter().map(|line| drops_of(line, 1)).sum();
    for (burst, total) in [(10, 10), (20, 30), (30, 60)] {
        drops.make(burst)?;
        // Printed while it runs, and each drop once.
        wait_until(|| matches!(counted(&summary.lines()), Ok(counted) if counted >= total))?;
    }
    let ended = summary.stop()?;
    let lines: Vec<String> = ended.stdout.lines().map(str::to_owned).collect();
    let counted: u64 = counted(&lines)?;
    ensure!(counted == 60, "60 drops: {}", ended.stdout);
    ensure!(lines.len() >= 3, "three bursts: {}", ended.stdout);
    Ok(Outcome::Passed)
}

fn json(path: &Path) -> Result<Outcome> {
    let drops = Drops::new()?;
    let ended = run(
        path,
        &drops,
        &["--by", "dport,container", "-o", "json"],
        &[5],
    )?;
    let [group, account] = ended.stdout.lines().collect::<Vec<_>>()[..] else {
        anyhow::bail!("a group and the account expected: {}", ended.stdout);
    };
    ensure!(
        group.ends_with(",\"drops\":5,\"packets\":5,\"bytes\":640,\"dport\":9,\"container\":null}"),
        "{group}"
    );
    ensure!(
        account.starts_with("{\"schema\":1,\"type\":\"account\",\"seen\":")
            && account.contains("\"counted\":5,"),
        "{account}"
    );
    Ok(Outcome::Passed)
}

fn full_map_loses_nothing(path: &Path) -> Result<Outcome> {
    let (first, second) = (Drops::new()?, Drops::new()?);
    let second_netns = second.netns();
    let flags = [
        "--netns",
        &second_netns,
        "--by",
        "netns",
        "--max-groups",
        "1",
    ];
    let mut summary = first.summary(path, &flags)?;
    summary.wait_ready()?;
    first.make(7)?;
    second.make(4)?;
    first.make(1)?;
    summary.signal(Signal::SIGINT)?;
    let ended = summary.wait(SOON)?;
    ended.expect_status(0)?;
    let lines: Vec<&str> = ended.stdout.lines().collect();
    ensure!(lines.len() == 2, "a group and others: {}", ended.stdout);
    ensure!(drops_of(lines[0], 0)? == 8, "{}", ended.stdout);
    let others = "4 drops 4 packets 512 bytes other";
    let last = lines[1].split_whitespace().collect::<Vec<_>>().join(" ");
    ensure!(last == others, "{others:?} expected: {}", ended.stdout);
    ensure!(ended.counted()? == 12, "{}", ended.stderr);
    Ok(Outcome::Passed)
}

fn classes_come_as_records(path: &Path) -> Result<Outcome> {
    let drops = Drops::new()?;
    let flags = ["--by", "dport", "--hide-expected", "-v"];
    let ended = run(path, &drops, &flags, &[9])?;
    ensure!(drops_of(&ended.stdout, 0)? == 9, "{}", ended.stdout);
    ensure!(ended.records()? == 9, "as records: {}", ended.stderr);
    ensure!(ended.counted()? == 9, "{}", ended.stderr);
    Ok(Outcome::Passed)
}

fn filters(path: &Path) -> Result<Outcome> {
    let drops = Drops::new()?;
    let ended = run(path, &drops, &["--port", "10", "-v"], &[9])?;
    ensure!(ended.stdout.is_empty(), "no groups: {}", ended.stdout);
    ensure!(ended.counted()? == 0, "{}", ended.stderr);
    // What passes is counted without a record.
    let mut summary = drops.summary(path, &["--port", "9", "--by", "stack", "-v"])?;
    summary.wait_ready()?;
    drops.make(3)?;
    let ended = summary.stop()?;
    ensure!(drops_of(&ended.stdout, 0)? == 3, "{}", ended.stdout);
    ensure!(
        ended.stdout.contains(" stack=") && ended.stdout.contains("udp_send_skb"),
        "a stack: {}",
        ended.stdout
    );
    ensure!(ended.records()? == 0, "no records: {}", ended.stderr);
    Ok(Outcome::Passed)
}

/// A reader that stands still gets fewer reports, each about more time: not all of them later.
fn stuck_reader(path: &Path) -> Result<Outcome> {
    const PORTS: std::ops::Range<u16> = 1000..2000;
    /// What may wait for the reader, and a report more.
    const MOST: usize = 2 << 20;
    let drops = Drops::new()?;
    let mut command = Command::new(path);
    command.args(["summary", "--netns", &drops.netns(), "--by", "dport"]);
    command.args(["--interval", "10ms"]);
    let (mut summary, mut output) = Dropwatch::spawn_piped(command)?;
    summary.wait_ready()?;
    // Reports of some 70 kB.
    for _ in 0..60 {
        drops.make_at(PORTS, 1)?;
        thread::sleep(Duration::from_millis(10));
    }
    summary.signal(Signal::SIGINT)?;
    let reader = thread::spawn(move || {
        let mut text = String::new();
        output.read_to_string(&mut text).map(|_| text)
    });
    let ended = summary.wait(SOON)?;
    ended.expect_status(0)?;
    let text = reader.join().ok().context("reading the reports")??;
    ensure!(text.len() < MOST, "{} bytes have waited", text.len());
    let lines = text.lines().map(|line| drops_of(line, 1));
    let told = lines.sum::<Result<u64>>()?;
    ensure!(
        told == ended.counted()? && told >= 60 * PORTS.len() as u64,
        "{told} drops in reports: {}",
        ended.stderr
    );
    Ok(Outcome::Passed)
}

/// Stacks, and the drops of each.
fn stacks(folded: &str) -> Result<Vec<(Vec<&str>, u64)>> {
    let stack = |line| -> Result<_> {
        let (stack, drops) = str::rsplit_once(line, ' ').context("no number of drops")?;
        Ok((stack.split(';').collect(), drops.parse()?))
    };
    let lines = folded.lines();
    lines
        .map(|line| stack(line).with_context(|| format!("in {line:?}")))
        .collect()
}

fn folded(path: &Path) -> Result<Outcome> {
    let drops = Drops::new()?;
    let flags = ["--by", "reason,dport,stack", "-o", "folded"];
    let ended = run(path, &drops, &flags, &[30, 12])?;
    let found = stacks(&ended.stdout)?;
    let total: u64 = found.iter().map(|(_, drops)| drops).sum();
    ensure!(
        total == 42 && ended.counted()? == 42,
        "42 drops: {} {}",
        ended.stdout,
        ended.stderr
    );
    let has_reasons = Kernel::running()? >= Kernel(5, 17);
    for (frames, _) in &found {
        let [port, root, .., caller, site, reason] = frames.as_slice() else {
            anyhow::bail!("frames are missing: {}", ended.stdout);
        };
        ensure!(
            *port == "dport=9" && *root == "entry_SYSCALL_64_after_hwframe",
            "from the port and the system call on: {frames:?}"
        );
        ensure!(
            !caller.contains("+0x") && site.contains("+0x"),
            "call site behind its callers: {frames:?}"
        );
        let expected = if has_reasons { "NETFILTER_DROP" } else { "-" };
        ensure!(*reason == expected, "{expected} is the leaf: {frames:?}");
    }
    // As many callers as were asked for, and the frame that says so.
    let flags = ["--by", "stack", "--stack", "3", "-o", "folded"];
    let ended = run(path, &drops, &flags, &[5])?;
    let [(frames, 5)] = &stacks(&ended.stdout)?[..] else {
        anyhow::bail!("one stack of 5 drops expected: {}", ended.stdout);
    };
    ensure!(
        frames.len() == 5 && frames[0] == "[--stack 3 reached]",
        "{frames:?}"
    );
    Ok(Outcome::Passed)
}

fn flame_graph(path: &Path) -> Result<Outcome> {
    let drops = Drops::new()?;
    let flags = ["--by", "reason,stack", "-o", "svg"];
    let ended = run(path, &drops, &flags, &[42])?;
    let account = ended.stderr.trim_end().strip_prefix("dropwatch: ");
    let account = account.context("an account")?;
    for expected in [
        "<title>all (42 drops, 100%)</title>",
        "<title>udp_send_skb",
        &format!(">{account}</text>"),
    ] {
        ensure!(
            ended.stdout.contains(expected),
            "no {expected} in {}",
            ended.stdout
        );
    }
    let empty = run(path, &drops, &flags, &[])?;
    ensure!(
        empty.stdout.starts_with("<svg ") && empty.stdout.contains(">no drops: "),
        "{}",
        empty.stdout
    );
    Ok(Outcome::Passed)
}
