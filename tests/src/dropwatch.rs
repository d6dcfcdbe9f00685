//! A dropwatch process: start it, read what it writes, stop it, check its account.

use std::{
    ffi::OsStr,
    fs::{self, File, Permissions},
    os::unix::{fs::PermissionsExt as _, process::ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use crate::wait;

/// How long a start may take: loading and verifying is slow on an emulated CPU.
const READY_WITHIN: Duration = Duration::from_secs(180);
/// How long an end may take.
const STOP_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// A running dropwatch with its output in files.
#[derive(Debug)]
pub struct Dropwatch {
    child: Child,
    // Removed with its files when this is dropped.
    dir: TempDir,
}

/// What is left of a dropwatch that has ended.
#[derive(Debug)]
pub struct Ended {
    /// How it ended.
    pub status: ExitStatus,
    /// All of its standard output.
    pub stdout: String,
    /// All of its standard error.
    pub stderr: String,
}

impl Dropwatch {
    /// Starts `binary` with `args` and does not wait.
    pub fn spawn<A: AsRef<OsStr>>(binary: &Path, args: &[A]) -> Result<Self> {
        let mut command = Command::new(binary);
        command.args(args);
        Self::spawn_command(command)
    }

    /// Starts a prepared command; its output goes to files, a `--ready-file` is added.
    pub fn spawn_command(command: Command) -> Result<Self> {
        Self::spawn_to(command, |stdout| {
            Ok(File::create(stdout).context("creating stdout")?.into())
        })
    }

    /// The same with standard output as a pipe.
    pub fn spawn_piped(command: Command) -> Result<(Self, ChildStdout)> {
        let mut dropwatch = Self::spawn_to(command, |_| Ok(Stdio::piped()))?;
        let stdout = dropwatch
            .child
            .stdout
            .take()
            .context("the pipe to read from")?;
        Ok((dropwatch, stdout))
    }

    /// The same with a device as standard output that has no room for anything.
    pub fn spawn_full(command: Command) -> Result<Self> {
        Self::spawn_to(command, |_| {
            let full = File::options().write(true).open("/dev/full");
            Ok(full.context("opening /dev/full")?.into())
        })
    }

    fn spawn_to(mut command: Command, stdout: impl Fn(PathBuf) -> Result<Stdio>) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("dwt-")
            .tempdir()
            .context("making a folder for output")?;
        // It may run as another user.
        fs::set_permissions(dir.path(), Permissions::from_mode(0o777))
            .context("opening the folder")?;
        command
            .arg("--ready-file")
            .arg(dir.path().join("ready"))
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(stdout(dir.path().join("stdout"))?)
            .stderr(File::create(dir.path().join("stderr")).context("creating stderr")?);
        let child = command
            .spawn()
            .with_context(|| format!("starting {command:?}"))?;
        Ok(Self { child, dir })
    }

    /// Starts `binary` and waits until it is attached.
    pub fn start<A: AsRef<OsStr>>(binary: &Path, args: &[A]) -> Result<Self> {
        let mut dropwatch = Self::spawn(binary, args)?;
        dropwatch.wait_ready()?;
        Ok(dropwatch)
    }

    /// Waits until it has said that it is attached.
    pub fn wait_ready(&mut self) -> Result<()> {
        let ready = self.dir.path().join("ready");
        let deadline = Instant::now() + READY_WITHIN;
        while !ready.exists() {
            if let Some(status) = self.child.try_wait().context("waiting for dropwatch")? {
                bail!(
                    "dropwatch ended before it was ready ({status}): {}",
                    self.stderr()
                );
            }
            ensure!(
                Instant::now() < deadline,
                "dropwatch was not ready in time: {}",
                self.stderr()
            );
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The whole lines on standard output so far.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let text = self.read("stdout");
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(str::to_owned).collect()
    }

    /// Standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.read("stderr")
    }

    fn read(&self, name: &str) -> String {
        fs::read(self.path(name))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).context("a process id")?;
        kill(Pid::from_raw(pid), signal).with_context(|| format!("sending {signal} to dropwatch"))
    }

    /// Stops it for a while, and waits until it has stopped; `SIGCONT` lets it go on.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)?;
        wait::until("stopping dropwatch", STOP_WITHIN, || {
            Ok(self.status()?.contains("\nState:\tT"))
        })
    }

    /// Memory that it uses, in KiB.
    pub fn resident_kib(&self) -> Result<u64> {
        let status = self.status()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        kib.context("no VmRSS of dropwatch")
    }

    /// What the kernel says of it.
    fn status(&self) -> Result<String> {
        let path = format!("/proc/{}/status", self.pid());
        fs::read_to_string(&path).with_context(|| format!("reading {path}"))
    }

    /// Interrupts it and waits for the end.
    pub fn stop(self) -> Result<Ended> {
        self.signal(Signal::SIGINT)?;
        self.wait(STOP_WITHIN)
    }

    /// Waits for an end that it comes to by itself.
    pub fn wait(mut self, within: Duration) -> Result<Ended> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().context("waiting for dropwatch")? {
                return Ok(Ended {
                    status,
                    stdout: self.read("stdout"),
                    stderr: self.stderr(),
                });
            }
            ensure!(
                Instant::now() < deadline,
                "dropwatch did not end within {within:?}: {}",
                self.stderr()
            );
            thread::sleep(POLL);
        }
    }
}

impl Drop for Dropwatch {
    fn drop(&mut self) {
        // Only on the way out of a failure: `wait` has reaped it otherwise.
        if self.is_running() && self.child.kill().is_ok() {
            self.child.wait().ok();
        }
    }
}

impl Ended {
    /// Fails unless it ended with this exit status.
    pub fn expect_status(&self, want: i32) -> Result<()> {
        match (self.status.code(), self.status.signal()) {
            (Some(code), _) if code == want => Ok(()),
            (code, signal) => Err(anyhow!(
                "exit status {want} expected, got {code:?} (signal {signal:?}); standard error:\n{}",
                self.stderr
            )),
        }
    }

    /// The account, checked: it adds up, and it counts the lines that were printed.
    pub fn account(&self) -> Result<Account> {
        let account = Account::find(&self.stderr)?;
        account.check()?;
        let lines = self.stdout.lines().count() as u64;
        ensure!(
            account.printed == lines,
            "{lines} lines, but the account says: {account:?}"
        );
        Ok(account)
    }

    /// The account of a summary, checked: how many drops were counted, of which it has lost none.
    pub fn counted(&self) -> Result<u64> {
        let account = Account::find(&self.stderr)?;
        account.check()?;
        ensure!(account.lost == 0, "drops were lost: {account:?}");
        Ok(account.counted)
    }

    /// How many records came out of the buffer: with `-v`, the line
    /// `dropwatch: 7 records reached user space`.
    pub fn records(&self) -> Result<u64> {
        let count = self.stderr.lines().rev().find_map(|line| {
            line.strip_prefix("dropwatch: ")?
                .strip_suffix(" records reached user space")
        });
        number(
            count.with_context(|| {
                format!("no count of records on standard error:\n{}", self.stderr)
            })?,
        )
    }

    /// The file that packets were written to: the line `dropwatch: 7 packets in FILE`.
    #[must_use]
    pub fn packets_file(&self) -> Option<PathBuf> {
        self.stderr.lines().rev().find_map(|line| {
            let (_, file) = line
                .strip_prefix("dropwatch: ")?
                .split_once(" packets in ")?;
            // Behind it are the files before it.
            Some(file.split(" and ").next()?.into())
        })
    }

    /// Whether the kernel skipped probe hits, says the closing warning. What was dropped then has
    /// no line and is not in the account.
    #[must_use]
    pub fn skipped_probes(&self) -> bool {
        self.stderr
            .contains("dropwatch: warning: the kernel skipped ")
    }

    /// Packets on the wire, and the drops that stand for them: the line
    /// `dropwatch: 20 packets on the wire in 4 drops (GSO)`, `None` without it.
    pub fn segments(&self) -> Result<Option<(u64, u64)>> {
        let parts = self.stderr.lines().rev().find_map(|line| {
            line.strip_prefix("dropwatch: ")?
                .strip_suffix(" drops (GSO)")?
                .split_once(" packets on the wire in ")
        });
        parts
            .map(|(packets, drops)| Ok((number(packets)?, number(drops)?)))
            .transpose()
    }
}

/// The line `dropwatch: 1234 seen = 1000 printed + 230 filtered + 4 lost`; terms may be left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Drops that the kernel side saw.
    pub seen: u64,
    /// Lines.
    pub printed: u64,
    /// Counted in groups.
    pub counted: u64,
    /// Kept back by a filter.
    pub filtered: u64,
    /// Kept back as expected, by `--hide-expected`.
    pub hidden: u64,
    /// Left out by `--sample`.
    pub sampled_out: u64,
    /// Kept back by a limit.
    pub limited: u64,
    /// No room in the buffer.
    pub lost: u64,
}

impl Account {
    /// Finds the last account on standard error.
    pub fn find(stderr: &str) -> Result<Self> {
        let line = stderr.lines().rev().find(|line| line.contains(" seen = "));
        Self::parse(line.with_context(|| format!("no account on standard error:\n{stderr}"))?)
    }

    /// Parses an account line.
    pub fn parse(line: &str) -> Result<Self> {
        let terms = line
            .strip_prefix("dropwatch: ")
            .with_context(|| format!("not an account: {line:?}"))?;
        let (seen, parts) = terms
            .split_once(" seen = ")
            .with_context(|| format!("not an account: {line:?}"))?;
        let mut account = Self {
            seen: number(seen)?,
            ..Self::default()
        };
        for part in parts.split(" + ") {
            let (count, what) = part
                .split_once(' ')
                .with_context(|| format!("not a term: {part:?}"))?;
            let field = match what {
                "printed" => &mut account.printed,
                "counted" => &mut account.counted,
                "filtered" => &mut account.filtered,
                "hidden" => &mut account.hidden,
                "sampled out" => &mut account.sampled_out,
                "limited" => &mut account.limited,
                "lost" => &mut account.lost,
                _ => bail!("an unknown term: {part:?}"),
            };
            *field = number(count)?;
        }
        Ok(account)
    }

    /// The drops that no filter turned down: those of the generator, if that has a namespace
    /// which is filtered for.
    #[must_use]
    pub fn passed(&self) -> u64 {
        self.printed + self.counted + self.hidden + self.sampled_out + self.limited + self.lost
    }

    /// Fails unless the terms add up to what was seen.
    pub fn check(&self) -> Result<()> {
        let sum = self.filtered + self.passed();
        ensure!(self.seen == sum, "the account does not add up: {self:?}");
        Ok(())
    }
}

fn number(text: &str) -> Result<u64> {
    text.parse()
        .with_context(|| format!("not a number: {text:?}"))
}

#[cfg(test)]
mod tests {
    use std::process::ExitStatus;

    use super::{Account, Ended};

    #[test]
    fn accounts() {
        let stderr = "warning\ndropwatch: 1234 seen = 1000 printed + 230 filtered + 4 lost\n";
        let account = Account::find(stderr).expect("an account");
        assert_eq!(
            (
                account.seen,
                account.printed,
                account.filtered,
                account.lost
            ),
            (1234, 1000, 230, 4)
        );
        assert!(account.check().is_ok());
        assert!(Account { lost: 5, ..account }.check().is_err());
        let limited =
            Account::parse("dropwatch: 3 seen = 1 printed + 0 filtered + 2 limited + 0 lost");
        assert!(limited.is_ok_and(|account| account.limited == 2 && account.check().is_ok()));
        let sampled = Account::parse("dropwatch: 9 seen = 1 printed + 3 filtered + 5 sampled out");
        assert!(sampled.is_ok_and(|account| account.passed() == 6 && account.check().is_ok()));
        let hidden = Account::parse("dropwatch: 3 seen = 1 printed + 2 hidden");
        assert!(hidden.is_ok_and(|account| account.hidden == 2 && account.check().is_ok()));
    }

    #[test]
    fn counts_beside_the_account() {
        let ended = |stderr: &str| Ended {
            status: ExitStatus::default(),
            stdout: String::new(),
            stderr: stderr.to_owned(),
        };
        let said = ended(
            "dropwatch: 4 seen = 4 printed\n\
             dropwatch: 20 packets on the wire in 4 drops (GSO)\n\
             dropwatch: 7 records reached user space\n",
        );
        assert_eq!(said.records().ok(), Some(7));
        assert_eq!(said.segments().ok(), Some(Some((20, 4))));
        assert!(!said.skipped_probes());
        assert!(
            ended("dropwatch: warning: the kernel skipped 2 probe hits during other\n")
                .skipped_probes()
        );
        let silent = ended("dropwatch: 4 seen = 4 printed\n");
        assert!(silent.records().is_err());
        assert_eq!(silent.segments().ok(), Some(None));
        assert!(
            ended("dropwatch: x packets on the wire in 4 drops (GSO)\n")
                .segments()
                .is_err()
        );
    }

    #[test]
    fn what_is_no_account() {
        for line in [
            "",
            "dropwatch: 1 seen",
            "1 seen = 1 printed",
            "dropwatch: x seen = 1 printed",
        ] {
            assert!(Account::parse(line).is_err(), "{line}");
        }
        assert!(Account::parse("dropwatch: 1 seen = 1 guessed").is_err());
    }
}
