//! What `--output json` does as a program.

use std::{
    io::Read as _,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use dropwatch_tests::{
    dropwatch::{Account, Dropwatch},
    run::Outcome,
};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::checks::{Check, Drops, SOON, STATUS_INTO_HEAD};

/// All checks.
pub(crate) const ALL: &[(&str, Check)] = &[
    ("json/drops_and_the_account", drops_and_the_account),
    ("json/ends_by_itself", ends_by_itself),
    ("json/jq", jq),
    ("json/head", head),
    (
        "json/late_reader_gets_the_account",
        late_reader_gets_the_account,
    ),
];

fn watched_by(path: &Path, drops: &Drops, flags: &[&str]) -> Command {
    let mut command = drops.watched_by(path);
    command.args(["--output", "json"]).args(flags);
    command
}

/// The drops among the objects, and the account, which has to be the last one, to add up, to count
/// them, and to say what standard error says.
fn read(stdout: &str, stderr: &str) -> Result<(Vec<Value>, Account)> {
    let mut objects = stdout
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<Vec<Value>, _>>()
        .context("reading an object")?;
    let last = objects.pop().context("there is no object")?;
    ensure!(
        last["schema"] == 1 && last["type"] == "account",
        "not the account: {last}"
    );
    let count = |key: &str| {
        last[key]
            .as_u64()
            .with_context(|| format!("no {key}: {last}"))
    };
    let account = Account {
        seen: count("seen")?,
        printed: count("printed")?,
        counted: 0,
        filtered: count("filtered")?,
        hidden: count("hidden")?,
        sampled_out: count("sampled_out")?,
        limited: count("limited")?,
        lost: count("lost")?,
    };
    account.check()?;
    ensure!(
        account.printed == objects.len() as u64,
        "{} drops, {account:?}",
        objects.len()
    );
    let said = Account::find(stderr)?;
    ensure!(account == said, "{account:?}, but standard error: {said:?}");
    Ok((objects, account))
}

/// Fails unless the object is about one of these drops. Others are never shown.
fn recognise(object: &Value, drops: &Drops) -> Result<()> {
    let is_own = object["schema"] == 1
        && object["type"] == "drop"
        && object["proto"] == "udp"
        && [&object["saddr"], &object["daddr"]] == ["127.0.0.1"; 2]
        && [&object["sport"], &object["dport"]] == [40500, 9]
        && object["netns_inode"]
            .as_u64()
            .map(|inode| inode.to_string())
            == Some(drops.netns())
        && object["owner_pid"] == std::process::id();
    ensure!(is_own, "another drop, in spite of --pid, or a wrong value");
    Ok(())
}

fn drops_and_the_account(path: &Path) -> Result<Outcome> {
    let drops = Drops::new()?;
    let mut dropwatch = Dropwatch::spawn_command(watched_by(path, &drops, &[]))?;
    dropwatch.wait_ready()?;
    drops.make(7)?;
    let ended = dropwatch.stop()?;
    ended.expect_status(0)?;
    let (objects, account) = read(&ended.stdout, &ended.stderr)?;
    ensure!(
        account.passed() == 7 && account.lost == 0,
        "7 drops were made: {account:?}"
    );
    for object in &objects {
        recognise(object, &drops)?;
        // A field that text has only if asked for.
        ensure!(
            object["dir"] == "local",
            "not by loopback: {}",
            object["dir"]
        );
        ensure!(
            object["ttl"] == 64 && object["len"] == 128,
            "numbers: {object}"
        );
        let stack = object["stack"].as_array().context("no stack")?;
        let is_frame = |frame: &Value| frame.as_str().is_some_and(|frame| frame.contains("+0x"));
        ensure!(stack.iter().any(is_frame), "no functions: {stack:?}");
    }
    Ok(Outcome::Passed)
}

fn ends_by_itself(path: &Path) -> Result<Outcome> {
    let drops = Drops::new()?;
    for (flags, made, printed) in [
        (&["--count", "2"][..], 5, 2),
        (&["--duration", "1s"], 5, 5),
        (&["--sample", "5", "--duration", "1s"], 0, 0),
    ] {
        let mut dropwatch = Dropwatch::spawn_command(watched_by(path, &drops, flags))?;
        dropwatch.wait_ready()?;
        drops.make(made)?;
        let ended = dropwatch.wait(SOON)?;
        ended.expect_status(0)?;
        let (_, account) = read(&ended.stdout, &ended.stderr)?;
        ensure!(account.printed == printed, "{flags:?}: {account:?}");
    }
    Ok(Outcome::Passed)
}

fn jq(path: &Path) -> Result<Outcome> {
    let is_there = Command::new("jq")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    if !is_there.is_ok_and(|status| status.success()) {
        return Ok(Outcome::Ignored("there is no jq here".to_owned()));
    }
    let drops = Drops::new()?;
    let into_jq = r#""$0" "$@" | jq -r '[.type, .saddr, .dport // .printed] | @tsv'"#;
    let pipeline = drops.watched_in_shell(path, into_jq, &["-o", "json", "--count", "3"])?;
    drops.make(3)?;
    let ended = pipeline.wait(SOON)?;
    ended.expect_status(0)?;
    let expected = format!("{}account\t\t3\n", "drop\t127.0.0.1\t9\n".repeat(3));
    ensure!(
        ended.stdout == expected,
        "not {expected:?}: {:?}",
        ended.stdout
    );
    Ok(Outcome::Passed)
}

/// A reader that goes away gets no account, and nobody is told.
fn head(path: &Path) -> Result<Outcome> {
    let drops = Drops::new()?;
    let flags = ["-o", "json", "--duration", "60s"];
    let pipeline = drops.watched_in_shell(path, STATUS_INTO_HEAD, &flags)?;
    drops.make(5)?;
    let ended = pipeline.wait(SOON)?;
    ended.expect_status(0)?;
    ensure!(
        ended.stderr == "status 0\n",
        "it was to say nothing: {}",
        ended.stderr
    );
    let object = serde_json::from_str(&ended.stdout).context("reading an object")?;
    recognise(&object, &drops)?;
    Ok(Outcome::Passed)
}

/// The reader comes back after the lines were given up: what it gets then is whole lines and an
/// account that is true.
fn late_reader_gets_the_account(path: &Path) -> Result<Outcome> {
    const FLOOD: usize = 20_000;
    let drops = Drops::new()?;
    let (mut dropwatch, mut output) = Dropwatch::spawn_piped(watched_by(path, &drops, &[]))?;
    dropwatch.wait_ready()?;
    drops.make(FLOOD)?;
    dropwatch.signal(Signal::SIGINT)?;
    // The last lines wait for a second, and then the account for another one.
    thread::sleep(Duration::from_millis(1500));
    let reader = thread::spawn(move || {
        let mut text = String::new();
        output.read_to_string(&mut text).map(|_| text)
    });
    let ended = dropwatch.wait(SOON)?;
    ended.expect_status(0)?;
    let text = reader.join().ok().context("reading the objects")??;
    let (objects, account) = read(&text, &ended.stderr)?;
    ensure!(
        account.passed() == FLOOD as u64 && account.lost > 0 && account.printed > 0,
        "{FLOOD} drops were made, and the reader was late: {account:?}"
    );
    objects
        .iter()
        .try_for_each(|object| recognise(object, &drops))?;
    Ok(Outcome::Passed)
}
