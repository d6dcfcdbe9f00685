//! Recordings: what `--write FILE.dwr` keeps is what `dropwatch replay` prints.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use dropwatch_tests::{
    dropwatch::{Account, Dropwatch, Ended},
    filters::{self, FILTERS, Stage},
    kernel::{self, Kernel},
    run::Outcome,
};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::checks::{Check, Drops, SOON, one_line_of_failure, wait_until};

/// All checks.
pub(crate) const ALL: &[(&str, Check)] = &[
    ("replay/text", |path| replays(path, &["--fields", "all"])),
    ("replay/boot_time", |path| {
        replays(path, &["-t", "boot", "--stack=3"])
    }),
    ("replay/delta", |path| {
        replays(path, &["-t", "delta", "--no-stack"])
    }),
    ("replay/json", |path| replays(path, &["-o", "json"])),
    ("replay/rotated", rotated),
    ("replay/killed", killed),
    ("replay/torn", torn),
    ("replay/reader_gone", reader_gone),
    ("replay/standard_input", standard_input),
    ("replay/recorded_again", recorded_again),
    ("replay/filters", filtered),
    ("replay/refused", refused),
    ("replay/into_itself", into_itself),
    ("replay/twice", twice),
];

/// What a replay has printed.
fn replay(path: &Path, args: &[&str], files: &[PathBuf]) -> Result<Ended> {
    let output = Command::new(path)
        .arg("replay")
        .args(args)
        .args(files)
        .env_remove("RUST_LOG")
        // The host that replays is somewhere else.
        .env("TZ", "Pacific/Auckland")
        .stdin(Stdio::null())
        .output()
        .context("running a replay")?;
    let text = |bytes| String::from_utf8(bytes).context("reading what a replay has printed");
    Ok(Ended {
        status: output.status,
        stdout: text(output.stdout)?,
        stderr: text(output.stderr)?,
    })
}

/// A folder with the recording of a run, and what the run printed.
struct Recorded {
    dir: TempDir,
    ended: Ended,
}

impl Recorded {
    /// Records so many drops.
    fn new(path: &Path, flags: &[&str], count: usize) -> Result<Self> {
        let drops = Drops::new()?;
        let dir = TempDir::new().context("making a folder")?;
        let mut command = drops.watched_by(path);
        command.env("TZ", "Asia/Kathmandu");
        command.arg("-w").arg(dir.path().join("x.dwr")).args(flags);
        let mut dropwatch = Dropwatch::spawn_command(command)?;
        dropwatch.wait_ready()?;
        drops.make(count)?;
        let ended = dropwatch.stop()?;
        ended.expect_status(0)?;
        Ok(Self { dir, ended })
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("x.dwr")
    }
}

/// Fails unless both have printed the same.
fn same(replayed: &Ended, live: &Ended) -> Result<()> {
    replayed.expect_status(0)?;
    ensure!(
        replayed.stdout == live.stdout,
        "live:\n{}replayed:\n{}",
        live.stdout,
        replayed.stdout
    );
    let accounts = [replayed, live].map(|ended| Account::find(&ended.stderr));
    let [replayed, live] = accounts;
    let (replayed, live) = (replayed?, live?);
    ensure!(replayed == live, "live: {live:?}, replayed: {replayed:?}");
    Ok(())
}

fn replays(path: &Path, flags: &[&str]) -> Result<Outcome> {
    let recorded = Recorded::new(path, flags, 50)?;
    // Callers are not a matter of the format.
    let flags: Vec<&str> = flags
        .iter()
        .copied()
        .filter(|flag| !flag.contains("stack"))
        .collect();
    let replayed = replay(path, &flags, &[recorded.file()])?;
    same(&replayed, &recorded.ended)?;
    ensure!(
        Account::find(&replayed.stderr)?.printed == 50,
        "50 drops were made: {}",
        replayed.stderr
    );
    Ok(Outcome::Passed)
}

/// The files of a run, in any order.
fn rotated(path: &Path) -> Result<Outcome> {
    let recorded = Recorded::new(path, &["--rotate", "4K"], 400)?;
    let files = fs::read_dir(recorded.dir.path()).context("looking for files")?;
    let mut files = files
        .map(|file| Ok(file?.path()))
        .collect::<Result<Vec<PathBuf>>>()?;
    ensure!(files.len() > 3, "not rotated: {files:?}");
    files.sort();
    same(&replay(path, &[], &files)?, &recorded.ended)?;
    files.reverse();
    same(&replay(path, &[], &files)?, &recorded.ended)?;
    // More files than shells let one have open.
    let output = Command::new("sh")
        .args(["-c", r#"ulimit -Sn 12; exec "$0" replay "$@" > /dev/null"#])
        .arg(path)
        .args(&files)
        .output()
        .context("running a shell")?;
    ensure!(
        output.status.success() && files.len() > 12,
        "{} files: {}",
        files.len(),
        String::from_utf8_lossy(&output.stderr)
    );
    // Nobody takes a part for the whole.
    let last = replay(path, &[], &files[files.len() - 1..])?;
    let account = Account::find(&last.stderr)?;
    account.check()?;
    ensure!(
        account.printed < 400
            && account.printed + account.lost >= 400
            && last.stderr.contains("are not in these files"),
        "a part was replayed: {}",
        last.stderr
    );
    Ok(Outcome::Passed)
}

fn killed(path: &Path) -> Result<Outcome> {
    let drops = Drops::new()?;
    let dir = TempDir::new().context("making a folder")?;
    let file = dir.path().join("x.dwr");
    let mut command = drops.watched_by(path);
    command.arg("-w").arg(&file);
    let mut dropwatch = Dropwatch::spawn_command(command)?;
    dropwatch.wait_ready()?;
    drops.make(20)?;
    wait_until(|| dropwatch.lines().len() >= 20)?;
    dropwatch.signal(Signal::SIGKILL)?;
    let live = dropwatch.wait(SOON)?;
    let replayed = replay(path, &["-t", "boot"], &[file])?;
    replayed.expect_status(0)?;
    ensure!(
        replayed.stdout.lines().count() == live.stdout.lines().count(),
        "live:\n{}replayed:\n{}",
        live.stdout,
        replayed.stdout
    );
    ensure!(
        replayed.stderr.contains("the account of the run on"),
        "no word of the missing account: {}",
        replayed.stderr
    );
    Ok(Outcome::Passed)
}

/// Wherever a file was cut: all that is whole, and a warning.
fn torn(path: &Path) -> Result<Outcome> {
    let recorded = Recorded::new(path, &[], 20)?;
    let whole = fs::read(recorded.file()).context("reading the recording")?;
    let mut most = 0;
    for len in (100..whole.len()).step_by(whole.len() / 50) {
        fs::write(recorded.file(), &whole[..len]).context("cutting the recording")?;
        let replayed = replay(path, &[], &[recorded.file()])?;
        replayed.expect_status(0)?;
        ensure!(
            recorded.ended.stdout.starts_with(&replayed.stdout),
            "cut at {len}:\n{}",
            replayed.stdout
        );
        ensure!(
            replayed.stdout.is_empty() || replayed.stdout.ends_with('\n'),
            "a part of a line: {}",
            replayed.stdout
        );
        let lines = replayed.stdout.lines().count();
        ensure!(lines >= most, "cut at {len}: {lines} lines, after {most}");
        most = lines;
        let has_warning = replayed.stderr.contains("bytes are cut off or damaged");
        ensure!(
            has_warning || replayed.stderr.contains("the account of the run"),
            "no word of the cut at {len}: {}",
            replayed.stderr
        );
    }
    ensure!(most >= 18, "only {most} of 20 drops, with nearly all there");
    Ok(Outcome::Passed)
}

fn reader_gone(path: &Path) -> Result<Outcome> {
    let recorded = Recorded::new(path, &[], 300)?;
    let shell = r#"{ "$0" replay "$1"; echo "status $?" >&2; } | head -1"#;
    let output = Command::new("sh")
        .args(["-c", shell])
        .arg(path)
        .arg(recorded.file())
        .output()
        .context("running a shell")?;
    let lines = String::from_utf8_lossy(&output.stdout).lines().count();
    let said = String::from_utf8_lossy(&output.stderr);
    // A pipe has room for some lines: then nobody notices.
    ensure!(
        lines == 1 && said.ends_with("status 0\n"),
        "{lines} lines, and: {said}"
    );
    Ok(Outcome::Passed)
}

fn standard_input(path: &Path) -> Result<Outcome> {
    let recorded = Recorded::new(path, &[], 5)?;
    let output = Command::new("sh")
        .args(["-c", r#"cat "$1" | "$0" replay - -c 3 --no-stack -t none"#])
        .arg(path)
        .arg(recorded.file())
        .output()
        .context("running a shell")?;
    let lines = String::from_utf8_lossy(&output.stdout);
    ensure!(
        lines.lines().count() == 3 && !lines.contains("stack="),
        "3 lines without stacks: {lines}"
    );
    Ok(Outcome::Passed)
}

/// A recording of a part of a recording.
fn recorded_again(path: &Path) -> Result<Outcome> {
    let recorded = Recorded::new(path, &["-o", "json"], 9)?;
    let again = recorded.dir.path().join("again.dwr");
    let flags = ["--reason", "*_DROP", "-o", "json", "-w"];
    let mut flags = flags.to_vec();
    let name = again.display().to_string();
    flags.push(&name);
    if Kernel::running()? < Kernel(5, 17) {
        flags.drain(..2);
    }
    same(&replay(path, &flags, &[recorded.file()])?, &recorded.ended)?;
    same(
        &replay(path, &["-o", "json"], std::slice::from_ref(&again))?,
        &recorded.ended,
    )?;
    // Only what replays may not be in both.
    let packets = recorded.dir.path().join("x.pcapng");
    let packets = packets.display().to_string();
    replay(path, &["-w", &packets], &[again])?.expect_status(0)?;
    let bytes = fs::read(&packets).context("reading packets")?;
    ensure!(bytes.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]), "not pcapng");
    Ok(Outcome::Passed)
}

/// A filter over a recording lets pass what it lets pass live: the table of the live filters.
fn filtered(path: &Path) -> Result<Outcome> {
    // What only a running host can tell.
    const OF_A_HOST: [&str; 2] = ["netns_path", "netns_pid"];
    let lacks = filters::MODULES
        .iter()
        .find(|module| !kernel::load_module(module));
    let mut stage = match (Stage::new(), lacks) {
        (Ok(stage), _) => stage,
        (Err(_), Some(module)) => {
            return Ok(Outcome::Ignored(format!("no kernel module {module}")));
        }
        (Err(error), None) => return Err(error),
    };
    let dir = TempDir::new().context("making a folder")?;
    let file = dir.path().join("x.dwr");
    let mut command = Command::new(path);
    command.arg("-w").arg(&file);
    let mut dropwatch = Dropwatch::spawn_command(command)?;
    dropwatch.wait_ready()?;
    let sent = stage.send().context("sending packets")?;
    let all = sent.iter().map(|sent| sent.count).sum::<usize>();
    wait_until(|| stage.count_own(&dropwatch.lines()) >= all)?;
    let live = dropwatch.stop()?;
    live.expect_status(0)?;
    let kernel = Kernel::running()?;
    let mut complaints = String::new();
    let mut compared = 0;
    for filter in FILTERS {
        if kernel < filter.since || OF_A_HOST.contains(&filter.name) {
            continue;
        }
        let flags = stage.fill_in(filter.flags);
        let flags: Vec<&str> = flags.split_whitespace().collect();
        let replayed = replay(path, &flags, std::slice::from_ref(&file))?;
        replayed.expect_status(0).with_context(|| filter.name)?;
        replayed.account().with_context(|| filter.name)?;
        let wrong = filter.complaints(&stage, &sent, &replayed.stdout);
        if !wrong.is_empty() {
            complaints += &format!("{} ({}):\n{wrong}", filter.name, filter.flags);
        }
        compared += 1;
    }
    ensure!(
        complaints.is_empty(),
        "{complaints}all lines:\n{}",
        live.stdout
    );
    ensure!(compared > 20, "only {compared} filters were compared");
    Ok(Outcome::Passed)
}

/// What is read is not replaced, whatever it is called and however it is read.
fn into_itself(path: &Path) -> Result<Outcome> {
    let recorded = Recorded::new(path, &[], 3)?;
    let file = recorded.file();
    let whole = fs::read(&file).context("reading the recording")?;
    let full = recorded.dir.path().join("y.dwr.1");
    fs::hard_link(&file, &full).context("linking to the recording")?;
    for (name, flags) in [
        ("x.dwr", ""),
        ("x.dwr", "--rotate=1M"),
        ("y.dwr", "--rotate=1M"),
    ] {
        for input in [r#"replay "$1""#, r#"replay - < "$1""#] {
            let output = Command::new("sh")
                .arg("-c")
                .arg(format!(r#""$0" {input} -w "$2" {flags}"#))
                .arg(path)
                .arg(&file)
                .arg(recorded.dir.path().join(name))
                .output()
                .context("running a shell")?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(
                output.status.code() == Some(1)
                    && said.lines().count() == 1
                    && said.contains("is being read"),
                "{input} -w {name} {flags}: {said}"
            );
        }
    }
    for file in [&file, &full] {
        ensure!(fs::read(file)? == whole, "{} was changed", file.display());
    }
    Ok(Outcome::Passed)
}

/// No drop is printed twice because a file was named twice.
fn twice(path: &Path) -> Result<Outcome> {
    let recorded = Recorded::new(path, &[], 3)?;
    let copy = recorded.dir.path().join("copy.dwr");
    fs::copy(recorded.file(), &copy).context("copying the recording")?;
    for other in [recorded.file(), copy] {
        let ended = replay(path, &[], &[recorded.file(), other])?;
        one_line_of_failure(&ended, &["are the same part of one recording"])?;
    }
    Ok(Outcome::Passed)
}

fn refused(path: &Path) -> Result<Outcome> {
    let recorded = Recorded::new(path, &[], 1)?;
    let file = recorded.file();
    let text = recorded.dir.path().join("lines");
    fs::write(&text, &recorded.ended.stdout).context("writing lines")?;
    let newer = recorded.dir.path().join("newer.dwr");
    // Of version 2, with its checksum.
    fs::write(
        &newer,
        b"\x89DWR\r\n\x1a\n\x02\0\0\0\xfa\xb6\xc7\x9awhatever",
    )
    .context("writing")?;
    let missing = recorded.dir.path().join("missing.dwr");
    for (flags, file, status, expected) in [
        (&[][..], &text, 1, "it is no recording"),
        (&[], &newer, 1, "version 2"),
        (&[], &missing, 1, "opening"),
        (&["--netns", "pid:1"], &file, 2, "inode numbers"),
        (&["-w", "-"], &file, 2, "--write"),
        (&["-r", "NOSUCH"], &file, 1, "the recorded kernel"),
        (&["--hook", "kprobe"], &file, 2, "--hook"),
    ] {
        let ended = replay(path, flags, std::slice::from_ref(file))?;
        ended.expect_status(status)?;
        ensure!(
            ended.stderr.contains(expected) && ended.stdout.is_empty(),
            "{flags:?}: {}",
            ended.stderr
        );
    }
    Ok(Outcome::Passed)
}
