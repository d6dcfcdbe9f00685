//! What dropwatch does as a program: pipes, signals, exit status, messages, the account.

use std::{
    collections::HashSet,
    fs::{self, Permissions},
    io::{BufRead as _, BufReader, Read as _},
    os::unix::{
        fs::PermissionsExt as _,
        process::{CommandExt as _, ExitStatusExt as _},
    },
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use dropwatch_tests::{
    dropwatch::{Account, Dropwatch, Ended},
    kernel::has_kprobes,
    netns::Netns,
    run::Outcome,
    traffic::{self, v4},
    world::run_command,
};
use nix::sys::signal::Signal;
use tempfile::TempDir;

/// A check of the program at a path.
pub(crate) type Check = fn(&Path) -> Result<Outcome>;

/// All checks.
pub(crate) const ALL: &[(&str, Check)] = &[
    ("pipe/closed_reader_ends_it", closed_reader_ends_it),
    ("pipe/head_gets_its_line", head_gets_its_line),
    ("pipe/lone_line_is_delivered", lone_line_is_delivered),
    ("end/interrupt", |path| ends_by(path, Signal::SIGINT)),
    ("end/terminate", |path| ends_by(path, Signal::SIGTERM)),
    ("end/hangup", |path| hung_up(path, "--default-signal=HUP")),
    ("end/hangup_ignored", |path| {
        hung_up(path, "--ignore-signal=HUP")
    }),
    ("end/while_starting", ends_while_starting),
    ("end/duration", ends_after_duration),
    ("end/kill_leaves_nothing", kill_leaves_nothing),
    ("account/slow_reader", account_with_slow_reader),
    ("account/losses_are_told", losses_are_told),
    ("refused/usage", refuses_bad_usage),
    ("refused/not_root", refuses_without_capabilities),
    ("refused/kprobe", refuses_kprobe_without_kprobes),
    ("refused/btf_missing", |path| refuses_btf(path, None)),
    ("refused/btf_empty", |path| refuses_btf(path, Some(0))),
    ("refused/btf_truncated", |path| {
        refuses_btf(path, Some(1000))
    }),
];

/// For whatever has to happen "at once", on a machine that may be busy.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// Drops of the slow reader's flood.
const FLOOD: usize = 20_000;

fn closed_reader_ends_it(path: &Path) -> Result<Outcome> {
    let quiet = Drops::new()?;
    let (mut dropwatch, output) = Dropwatch::spawn_piped(quiet.watched_by(path))?;
    dropwatch.wait_ready()?;
    let mut output = BufReader::new(output);
    quiet.make(1)?;
    let mut line = String::new();
    output
        .read_line(&mut line)
        .context("reading the first line")?;
    quiet.recognise(&line)?;
    // From here on there is no drop that it could notice the closed pipe by.
    drop(output);
    ends_without_a_word(dropwatch)
}

/// Waits for the end of a dropwatch whose reader has gone.
pub(crate) fn ends_without_a_word(dropwatch: Dropwatch) -> Result<Outcome> {
    let ended = dropwatch.wait(SOON)?;
    ended.expect_status(0)?;
    ensure!(
        ended.stderr.is_empty(),
        "it was to say nothing: {}",
        ended.stderr
    );
    Ok(Outcome::Passed)
}

/// A reader of one line; and the exit status of dropwatch, which a pipe would hide. Should the pipe
/// not end dropwatch, a flag has to: it must not go on for ever behind the shell.
pub(crate) const STATUS_INTO_HEAD: &str = r#"{ "$0" "$@"; echo "status $?" >&2; } | head -1"#;

fn head_gets_its_line(path: &Path) -> Result<Outcome> {
    let drops = Drops::new()?;
    let pipeline = drops.watched_in_shell(path, STATUS_INTO_HEAD, &["--duration", "60s"])?;
    drops.make(5)?;
    let ended = pipeline.wait(SOON)?;
    ended.expect_status(0)?;
    ensure!(
        ended.stderr == "status 0\n",
        "it was to say nothing and end with 0: {}",
        ended.stderr
    );
    ensure!(
        ended.stdout.lines().count() == 1,
        "one line expected: {}",
        ended.stdout
    );
    drops.recognise(&ended.stdout)?;
    Ok(Outcome::Passed)
}

fn lone_line_is_delivered(path: &Path) -> Result<Outcome> {
    let drops = Drops::new()?;
    let mut dropwatch = Dropwatch::spawn_command(drops.watched_by(path))?;
    dropwatch.wait_ready()?;
    for number in 1..=3 {
        // Long enough for the reader to have gone to sleep.
        thread::sleep(Duration::from_millis(300));
        drops.make(1)?;
        wait_until(|| dropwatch.lines().len() >= number)
            .with_context(|| format!("waiting for line {number}"))?;
    }
    let ended = dropwatch.stop()?;
    ended.expect_status(0)?;
    let account = ended.account()?;
    ensure!(account.printed == 3, "3 drops were made: {account:?}");
    Ok(Outcome::Passed)
}

fn ends_by(path: &Path, signal: Signal) -> Result<Outcome> {
    let drops = Drops::new()?;
    let mut dropwatch = Dropwatch::spawn_command(drops.watched_by(path))?;
    dropwatch.wait_ready()?;
    drops.make(7)?;
    // No wait for the lines: what the kernel has seen by now has to come out.
    dropwatch.signal(signal)?;
    let ended = dropwatch.wait(SOON)?;
    ended.expect_status(0)?;
    let account = ended.account()?;
    ensure!(
        account.printed + account.lost == 7,
        "7 drops were made: {account:?}"
    );
    ensure!(
        account.lost == 0,
        "a handful of drops must not be lost: {account:?}"
    );
    Ok(Outcome::Passed)
}

/// A hang-up ends a run in order, but not one whose starter ignores it, as nohup does.
fn hung_up(path: &Path, disposition: &str) -> Result<Outcome> {
    let drops = Drops::new()?;
    let watched = drops.watched_by(path);
    // This test may have been started either way.
    let mut command = Command::new("env");
    command.arg(disposition);
    command.arg(watched.get_program()).args(watched.get_args());
    let mut dropwatch = Dropwatch::spawn_command(command)?;
    dropwatch.wait_ready()?;
    drops.make(3)?;
    dropwatch.signal(Signal::SIGHUP)?;
    let ended = if disposition.starts_with("--ignore") {
        drops.make(4)?;
        wait_until(|| dropwatch.lines().len() >= 7)?;
        dropwatch.stop()?
    } else {
        dropwatch.wait(SOON)?
    };
    ended.expect_status(0)?;
    let account = ended.account()?;
    let made = if disposition.starts_with("--ignore") {
        7
    } else {
        3
    };
    ensure!(
        account.printed == made,
        "{made} drops were made: {account:?}"
    );
    Ok(Outcome::Passed)
}

/// Nothing that a start waits for keeps Ctrl-C from ending it.
fn ends_while_starting(path: &Path) -> Result<Outcome> {
    let dir = tempfile::tempdir().context("making a folder")?;
    let pipe = dir.path().join("btf");
    run_command(&format!("mkfifo {}", pipe.display()))?;
    // This test may have been started in the background of a shell, which ignores the signal.
    let mut command = Command::new("env");
    command.arg("--default-signal=INT").arg(path);
    command.arg("--kernel-btf").arg(pipe);
    let mut dropwatch = Dropwatch::spawn_command(command)?;
    thread::sleep(Duration::from_millis(500));
    ensure!(
        dropwatch.is_running(),
        "it did not wait: {}",
        dropwatch.stderr()
    );
    dropwatch.signal(Signal::SIGINT)?;
    let ended = dropwatch.wait(SOON)?;
    ensure!(
        ended.status.signal() == Some(Signal::SIGINT as i32),
        "{ended:?}"
    );
    Ok(Outcome::Passed)
}

fn ends_after_duration(path: &Path) -> Result<Outcome> {
    let started = Instant::now();
    let mut dropwatch = Dropwatch::spawn(path, &["--duration", "1s"])?;
    dropwatch.wait_ready()?;
    let ended = dropwatch.wait(SOON)?;
    ended.expect_status(0)?;
    ensure!(
        started.elapsed() >= Duration::from_secs(1),
        "it ended after {:?}",
        started.elapsed()
    );
    ended.account()?;
    Ok(Outcome::Passed)
}

fn kill_leaves_nothing(path: &Path) -> Result<Outcome> {
    let before = programs()?;
    let mut dropwatch = Dropwatch::spawn(path, &["--pid", "1"])?;
    dropwatch.wait_ready()?;
    let own: HashSet<String> = programs()?.difference(&before).cloned().collect();
    dropwatch.signal(Signal::SIGKILL)?;
    dropwatch.wait(SOON)?;
    if own.is_empty() {
        return Ok(Outcome::Ignored(
            "this kernel does not list eBPF programs in kallsyms".to_owned(),
        ));
    }
    // The kernel unloads them when it finds the time.
    wait_until(|| programs().is_ok_and(|left| left.is_disjoint(&own)))
        .with_context(|| format!("waiting for {own:?} to go"))?;
    Ok(Outcome::Passed)
}

/// The compiled eBPF programs that the kernel holds, address and name.
pub(crate) fn programs() -> Result<HashSet<String>> {
    let symbols = fs::read_to_string("/proc/kallsyms").context("reading /proc/kallsyms")?;
    Ok(symbols
        .lines()
        .filter(|line| line.contains(" bpf_prog_") && line.ends_with("[bpf]"))
        .map(str::to_owned)
        .collect())
}

fn account_with_slow_reader(path: &Path) -> Result<Outcome> {
    let drops = Drops::new()?;
    let (mut dropwatch, mut output) = Dropwatch::spawn_piped(drops.watched_by(path))?;
    dropwatch.wait_ready()?;
    drops.make(FLOOD)?;
    // Nobody reads yet: the pipe is full, and dropwatch waits.
    thread::sleep(Duration::from_secs(1));
    let reader = thread::spawn(move || {
        let mut text = String::new();
        output.read_to_string(&mut text).map(|_| text)
    });
    dropwatch.signal(Signal::SIGINT)?;
    let ended = dropwatch.wait(SOON)?;
    ended.expect_status(0)?;
    let text = reader.join().ok().context("reading the lines")??;
    let account = Account::find(&ended.stderr)?;
    account.check()?;
    let lines = text.lines().count() as u64;
    ensure!(account.printed == lines, "{lines} lines, but {account:?}");
    ensure!(
        account.printed + account.lost == FLOOD as u64,
        "{FLOOD} drops were made, but {account:?}"
    );
    for line in text.lines() {
        drops.recognise(line)?;
    }
    Ok(Outcome::Passed)
}

/// While drops are lost, a line says how many, each second at most; and none does when that is
/// over.
fn losses_are_told(path: &Path) -> Result<Outcome> {
    const FOR: Duration = Duration::from_millis(3500);
    const SECOND: Duration = Duration::from_secs(1);
    let drops = Drops::new()?;
    let mut command = drops.watched_by(path);
    // Also without records of what others drop, which would be lost as well.
    command.args(["--buffer-size", "1", "--netns", &drops.netns()]);
    let (mut dropwatch, output) = Dropwatch::spawn_piped(command)?;
    dropwatch.wait_ready()?;
    let start = Instant::now();
    let mut losses = Losses::default();
    while start.elapsed() < FOR {
        // Nobody reads, so these are lost as soon as pipe and dropwatch are full.
        drops.make(500)?;
        losses.look(&dropwatch)?;
    }
    // What was lost since the last line is still to be told.
    thread::sleep(2 * SECOND);
    losses.look(&dropwatch)?;
    let told = losses.told.clone();
    thread::sleep(2 * SECOND);
    losses.look(&dropwatch)?;
    ensure!(losses.told == told, "it goes on: {losses:?}");
    ensure!(losses.told.len() >= 2, "too few lines: {losses:?}");
    for pair in losses.seen.windows(2) {
        // Less than a second, for this side does not always look at once.
        ensure!(pair[1] - pair[0] >= SECOND / 2, "too often: {losses:?}");
    }
    let seconds = start.elapsed().as_secs() as usize;
    ensure!(losses.told.len() <= seconds, "too often: {losses:?}");
    dropwatch.signal(Signal::SIGTERM)?;
    drop(output);
    dropwatch.wait(SOON)?;
    Ok(Outcome::Passed)
}

/// What dropwatch says of lost drops while it runs.
#[derive(Debug, Default)]
struct Losses {
    /// Lost since the last line, and in all.
    told: Vec<(u64, u64)>,
    /// When a line was first seen.
    seen: Vec<Instant>,
}

impl Losses {
    /// Looks for new lines, of which there may be only such, and which have to add up.
    fn look(&mut self, dropwatch: &Dropwatch) -> Result<()> {
        let parse = |line: &str| {
            let (lost, rest) = line
                .strip_prefix("dropwatch: warning: ")?
                .split_once(" drops lost in the last second, ")?;
            let (all, _) = rest.split_once(" in all: ")?;
            Some((lost.parse().ok()?, all.parse().ok()?))
        };
        let text = dropwatch.stderr();
        let told: Option<Vec<(u64, u64)>> = text.lines().map(parse).collect();
        self.told = told.with_context(|| format!("something else was said:\n{text}"))?;
        let mut sum = 0;
        for (lost, all) in &self.told {
            sum += lost;
            ensure!(*lost > 0 && *all == sum, "it does not add up: {self:?}");
        }
        self.seen.resize_with(self.told.len(), Instant::now);
        Ok(())
    }
}

fn refuses_bad_usage(path: &Path) -> Result<Outcome> {
    for args in [
        ["--hook", "magic"],
        ["--buffer", "bucket"],
        ["--duration", "soon"],
        ["--count", "many"],
        ["--count", "0"],
        ["--pid", "init"],
        ["--buffer-size", "0"],
        ["--buffer-size", "4G"],
        ["--rate-limit", "0"],
        ["--rate-limit", "5/day"],
        ["--sample", "0"],
        ["--stack=deep", "--no-stack"],
        ["--no-such-flag", "x"],
    ] {
        let ended = Dropwatch::spawn(path, &args)?.wait(SOON)?;
        ended
            .expect_status(2)
            .with_context(|| format!("{args:?}"))?;
        ensure!(
            ended.stdout.is_empty() && !ended.stderr.is_empty(),
            "{args:?}: {ended:?}"
        );
    }
    Ok(Outcome::Passed)
}

fn refuses_without_capabilities(path: &Path) -> Result<Outcome> {
    let (_dir, command) = as_nobody(path)?;
    let ended = Dropwatch::spawn_command(command)?.wait(SOON)?;
    one_line_of_failure(&ended, &["CAP_BPF", "CAP_PERFMON"])
}

/// The program run by a user who may do nothing, from a folder that has to be kept until it ends.
pub(crate) fn as_nobody(path: &Path) -> Result<(TempDir, Command)> {
    // A copy, for nobody may not even reach the original.
    let dir = tempfile::tempdir().context("making a folder")?;
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755))
        .context("opening the folder to all")?;
    let copy = dir.path().join("dropwatch");
    fs::copy(path, &copy).context("copying dropwatch")?;
    fs::set_permissions(&copy, Permissions::from_mode(0o755)).context("opening the copy to all")?;
    let mut command = Command::new(&copy);
    command.uid(65534).gid(65534);
    Ok((dir, command))
}

fn refuses_kprobe_without_kprobes(path: &Path) -> Result<Outcome> {
    if has_kprobes() {
        return Ok(Outcome::Ignored("this kernel has kprobes".to_owned()));
    }
    let ended = Dropwatch::spawn(path, &["--hook", "kprobe"])?.wait(SOON)?;
    one_line_of_failure(&ended, &["kprobe", "--hook tracepoint"])
}

/// A BTF file that is not there, or only its first bytes.
fn refuses_btf(path: &Path, length: Option<usize>) -> Result<Outcome> {
    let dir = tempfile::tempdir().context("making a folder")?;
    let file = dir.path().join("btf");
    if let Some(length) = length {
        let whole = fs::read("/sys/kernel/btf/vmlinux").context("reading the kernel's BTF")?;
        fs::write(&file, &whole[..length]).context("writing a part of it")?;
    }
    let ended = Dropwatch::spawn(path, &["--kernel-btf".as_ref(), file.as_os_str()])?.wait(SOON)?;
    one_line_of_failure(&ended, &[&file.to_string_lossy()])
}

pub(crate) fn one_line_of_failure(ended: &Ended, words: &[&str]) -> Result<Outcome> {
    ended.expect_status(1)?;
    ensure!(
        ended.stdout.is_empty(),
        "nothing belongs on standard output: {}",
        ended.stdout
    );
    ensure!(
        ended.stderr.lines().count() == 1,
        "one line expected:\n{}",
        ended.stderr
    );
    for word in words {
        ensure!(
            ended.stderr.contains(word),
            "{word:?} is missing: {}",
            ended.stderr
        );
    }
    Ok(Outcome::Passed)
}

/// Drops that only this process makes, so that `--pid` keeps out those of the machine.
///
/// An output rule drops them while the sender is on the CPU.
pub(crate) struct Drops(Netns);

impl Drops {
    pub(crate) fn new() -> Result<Self> {
        let netns = Netns::new()?;
        netns.run(|| {
            [
                "ip link set lo up",
                "nft add table ip t",
                "nft add chain ip t o '{ type filter hook output priority 0 ; }'",
                "nft add rule ip t o udp dport 9 drop",
            ]
            .into_iter()
            .try_for_each(run_command)
        })?;
        Ok(Self(netns))
    }

    /// The namespace that they are made in.
    pub(crate) fn namespace(&self) -> &Netns {
        &self.0
    }

    pub(crate) fn make(&self, count: usize) -> Result<()> {
        self.make_at(9..10, count)
    }

    /// Sends `count` datagrams to each of the ports, where nobody listens.
    pub(crate) fn make_at(&self, ports: std::ops::Range<u16>, count: usize) -> Result<()> {
        self.0.run(|| {
            ports.clone().try_for_each(|port| {
                let local = |port| v4([127, 0, 0, 1], port);
                traffic::udp(local(40500), local(port), count, 100).map(drop)
            })
        })
    }

    /// Does something where these drops are made.
    pub(crate) fn within<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.0.run(work)
    }

    /// Inode number of the namespace.
    pub(crate) fn netns(&self) -> String {
        self.0.inode().to_string()
    }

    /// A path to the namespace.
    pub(crate) fn path(&self) -> String {
        self.0.path().to_string_lossy().into_owned()
    }

    /// Starts a summary of these drops, with `flags`.
    pub(crate) fn summary(&self, path: &Path, flags: &[&str]) -> Result<Dropwatch> {
        let netns = self.netns();
        let args = [&["summary", "--netns", &netns], flags].concat();
        Dropwatch::spawn(path, &args)
    }

    /// Flags that keep out those of the machine.
    pub(crate) fn filter(&self) -> [String; 2] {
        ["--pid".to_owned(), std::process::id().to_string()]
    }

    /// Starts a shell with a pipeline in which `"$0" "$@"` is dropwatch with `flags`, and waits
    /// until it watches these drops.
    pub(crate) fn watched_in_shell(
        &self,
        path: &Path,
        pipeline: &str,
        flags: &[&str],
    ) -> Result<Dropwatch> {
        let mut shell = Command::new("sh");
        shell.args(["-c", pipeline]).arg(path).args(self.filter());
        shell.args(flags);
        let mut pipeline = Dropwatch::spawn_command(shell)?;
        pipeline.wait_ready()?;
        Ok(pipeline)
    }

    /// What watches these drops.
    pub(crate) fn watched_by(&self, path: &Path) -> Command {
        let mut command = Command::new(path);
        command.args(self.filter());
        command
    }

    /// Fails unless the line is about one of these drops. Others are never shown: they may be of
    /// anybody on this machine.
    fn recognise(&self, line: &str) -> Result<()> {
        let own = line.contains(" udp 127.0.0.1:40500 > 127.0.0.1:9 ")
            && line.contains(&format!(" netns={}", self.0.inode()));
        ensure!(own, "a line of another drop, in spite of --pid");
        Ok(())
    }
}

pub(crate) fn wait_until(mut done: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + SOON;
    while !done() {
        ensure!(Instant::now() < deadline, "not within {SOON:?}");
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
