//! What `dropwatch explain` and `--explain` do as a program.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
    thread,
};

use anyhow::{Context as _, Result, ensure};
use dropwatch_tests::{dropwatch::Dropwatch, run::Outcome};
use nix::sys::signal::Signal;

use crate::checks::{Check, Drops, SOON, as_nobody, wait_until};

/// All checks.
pub(crate) const ALL: &[(&str, Check)] = &[
    ("explain/each_kind_once", each_kind_once),
    ("explain/needs_no_root", needs_no_root),
    ("explain/unknown_names", unknown_names),
    ("explain/hostile_input", hostile_input),
    ("explain/at_the_end_of_a_run", at_the_end_of_a_run),
];

/// Three lines of two kinds, and one that is none.
const LINES: &str = "\
07:30:01.000001 NO_SOCKET udp 10.0.0.7:5 > 10.0.0.1:9 len=8 if=lo class=refused at=udp_rcv+0x1
nothing that dropwatch prints
07:30:01.000002 TCP_CSUM tcp 10.0.0.7:5 > 10.0.0.1:9 len=8 if=lo class=drop at=tcp_v4_rcv+0x1
07:30:01.000003 NO_SOCKET tcp 10.0.0.8:6 > 10.0.0.1:9 len=8 if=lo class=refused at=tcp_v4_rcv+0x1
";

/// Runs `dropwatch explain` with these arguments and this input.
fn explain(mut command: Command, arguments: &[&str], input: &str) -> Result<Output> {
    let mut child = command
        .arg("explain")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting dropwatch explain")?;
    let mut pipe = child.stdin.take().context("a pipe to write to")?;
    // Beside reading: it prints while there are lines to read.
    thread::scope(|scope| {
        let writer = scope.spawn(move || pipe.write_all(input.as_bytes()));
        let output = child.wait_with_output().context("waiting for it")?;
        let written = writer.join().ok().context("the writer ended")?;
        written.context("writing lines")?;
        Ok(output)
    })
}

/// The first lines of the blocks: those that are not indented.
fn titles(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    let lines = text.lines();
    let titles = lines.filter(|line| !line.is_empty() && !line.starts_with(' '));
    titles.map(str::to_owned).collect()
}

fn each_kind_once(path: &Path) -> Result<Outcome> {
    let output = explain(Command::new(path), &["-"], LINES)?;
    ensure!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    ensure!(
        titles(&output.stdout) == ["NO_SOCKET", "TCP_CSUM"],
        "{output:?}"
    );
    // A kind that was asked for is known when its line comes.
    let output = explain(Command::new(path), &["TCP_CSUM", "-"], LINES)?;
    ensure!(
        titles(&output.stdout) == ["TCP_CSUM", "NO_SOCKET"],
        "{output:?}"
    );
    Ok(Outcome::Passed)
}

fn needs_no_root(path: &Path) -> Result<Outcome> {
    let (_folder, command) = as_nobody(path)?;
    let output = explain(command, &["NO_SOCKET"], "")?;
    ensure!(
        output.status.success() && titles(&output.stdout) == ["NO_SOCKET"],
        "{output:?}"
    );
    // Counters can be read by all.
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(text.contains("UdpNoPorts   now "), "{text}");
    Ok(Outcome::Passed)
}

fn unknown_names(path: &Path) -> Result<Outcome> {
    let output = explain(Command::new(path), &["NO_SOKET"], "")?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(2) && output.stdout.is_empty(),
        "{output:?}"
    );
    ensure!(
        error.lines().count() == 1 && error.contains("NO_SOCKET"),
        "{error}"
    );
    let output = explain(Command::new(path), &["-"], "nothing\n")?;
    ensure!(output.status.code() == Some(1), "{output:?}");
    Ok(Outcome::Passed)
}

/// More kinds than are kept, with what controls a terminal in them, a line without end, and nothing.
fn hostile_input(path: &Path) -> Result<Outcome> {
    let made_up = (0..2000).map(|number| {
        format!("1.5 NEW{number}\x1b[31m udp 10.0.0.7:5 > 10.0.0.1:9 len=8 class=drop at=f+0x1\n")
    });
    let input: String = made_up.chain(["x".repeat(3 << 20)]).collect();
    let output = explain(Command::new(path), &["-"], &input)?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success() && titles(&output.stdout).len() == 1000,
        "{} blocks, {told}",
        titles(&output.stdout).len()
    );
    ensure!(!output.stdout.contains(&0x1b), "a terminal would obey");
    ensure!(
        told.lines().count() == 1 && told.contains("more than 1000 kinds"),
        "{told}"
    );
    let output = explain(Command::new(path), &["-"], "")?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(1) && told.contains("standard input is empty"),
        "{output:?}"
    );
    Ok(Outcome::Passed)
}

fn at_the_end_of_a_run(path: &Path) -> Result<Outcome> {
    let drops = Drops::new()?;
    let mut command = drops.watched_by(path);
    command.arg("--explain");
    let mut dropwatch = Dropwatch::spawn_command(command)?;
    dropwatch.wait_ready()?;
    drops.make(3)?;
    wait_until(|| dropwatch.lines().len() >= 3)?;
    dropwatch.signal(Signal::SIGINT)?;
    let ended = dropwatch.wait(SOON)?;
    ended.expect_status(0)?;
    ensure!(
        ended.stdout.lines().count() == 3,
        "a line for each drop: {}",
        ended.stdout
    );
    let (account, explanation) = ended
        .stderr
        .split_once("\n\n")
        .context("no explanation behind the account")?;
    ensure!(account.contains("seen = 3 printed"), "{account}");
    let titles = titles(explanation.as_bytes());
    let [title] = titles.as_slice() else {
        anyhow::bail!("one block expected: {explanation}");
    };
    // Before 5.17 there is no reason, only the call site.
    ensure!(
        title.starts_with("NETFILTER_DROP") || title.starts_with("at nf_hook_slow"),
        "{title}"
    );
    Ok(Outcome::Passed)
}
