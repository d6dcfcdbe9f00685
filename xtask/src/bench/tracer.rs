//! A running dropwatch, and what the kernel knows of it.

use std::{
    fs::{self, File, OpenOptions},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use xtask::command;

use crate::bench::{account::Account, work::WorkDir};

/// A tracer that is left behind by a killed xtask ends by itself.
const LIFETIME: &str = "120s";

/// How long a start may take.
const START_TIME: Duration = Duration::from_secs(30);

/// How often to look whether the tracer is ready: the precision of that time.
const READY_POLL: Duration = Duration::from_micros(500);

/// How long nothing must have been written for the tracer to be done.
const QUIET_TIME: Duration = Duration::from_millis(100);

/// Where the lines go.
pub(super) enum Sink {
    /// To a file in memory, over what is in it.
    File,
    /// To this process.
    Pipe,
}

/// A dropwatch that sees drops. Killed if it is dropped without being stopped.
pub(super) struct Tracer<'a> {
    process: Child,
    attached_after: Duration,
    work: &'a WorkDir,
}

impl<'a> Tracer<'a> {
    /// Starts `dropwatch` and waits until it sees drops.
    pub(super) fn start(
        dropwatch: &Path,
        flags: &[&str],
        sink: Sink,
        work: &'a WorkDir,
    ) -> Result<Self> {
        work.clear()?;
        let mut command = Command::new(dropwatch);
        command
            .args(flags)
            .args(["--duration", LIFETIME, "--ready-file"])
            .arg(work.ready_file())
            .stdin(Stdio::null())
            .stdout(match sink {
                Sink::File => open(&work.stdout(), OpenOptions::new().write(true))?.into(),
                Sink::Pipe => Stdio::piped(),
            })
            .stderr(open(
                &work.stderr(),
                OpenOptions::new().write(true).create(true).truncate(true),
            )?)
            .env_remove("RUST_LOG");
        let start = Instant::now();
        let process = command
            .spawn()
            .with_context(|| format!("starting {}", dropwatch.display()))?;
        let mut tracer = Self {
            process,
            attached_after: Duration::ZERO,
            work,
        };
        tracer.wait_until_ready(start)?;
        tracer.attached_after = start.elapsed();
        Ok(tracer)
    }

    fn wait_until_ready(&mut self, start: Instant) -> Result<()> {
        let ready = self.work.ready_file();
        while !ready.exists() {
            let ended = self.process.try_wait().context("looking at dropwatch")?;
            if let Some(status) = ended {
                bail!("dropwatch failed ({status}): {}", self.stderr()?.trim());
            }
            ensure!(
                start.elapsed() < START_TIME,
                "dropwatch is not ready after {} s",
                START_TIME.as_secs()
            );
            thread::sleep(READY_POLL);
        }
        Ok(())
    }

    /// Time from the start of the process until it saw drops.
    pub(super) fn attached_after(&self) -> Duration {
        self.attached_after
    }

    /// The pipe with the lines.
    pub(super) fn take_stdout(&mut self) -> Result<ChildStdout> {
        let stdout = self.process.stdout.take();
        stdout.context("dropwatch's output does not go to a pipe")
    }

    /// Keeps the tracer on one processor.
    pub(super) fn pin(&mut self, cpu: usize) -> Result<()> {
        // The first look at all processes has a thread of its own, which must not end
        // between taskset's finding and pinning it.
        thread::sleep(QUIET_TIME);
        let mut taskset = Command::new("taskset");
        taskset.args(["--all-tasks", "--pid", "--cpu-list", &cpu.to_string()]);
        command::output(taskset.arg(self.process.id().to_string()))?;
        Ok(())
    }

    /// Waits until the lines of all drops so far are in the file.
    pub(super) fn wait_until_drained(&self) -> Result<()> {
        let written = || -> Result<u64> {
            let stdout = self.proc("fdinfo/1")?;
            field(&stdout, "pos:").context("no position in dropwatch's output")
        };
        let mut before = written()?;
        loop {
            thread::sleep(QUIET_TIME);
            let now = written()?;
            if now == before {
                return Ok(());
            }
            before = now;
        }
    }

    /// Time that the tracer has spent on a processor, in user and kernel mode.
    pub(super) fn cpu_time(&self) -> Result<Duration> {
        // What `stat` calls utime and stime, but in nanoseconds, not in ticks of
        // 10 ms. It is that of the first thread, the only one of a tracer that
        // has started.
        let schedstat = self.proc("schedstat")?;
        let ns = schedstat.split(' ').next().and_then(|ns| ns.parse().ok());
        ns.map(Duration::from_nanos)
            .with_context(|| format!("no run time in schedstat: {schedstat:?}"))
    }

    /// The most memory that the tracer has had so far.
    pub(super) fn peak_memory_kib(&self) -> Result<u64> {
        let status = self.proc("status")?;
        field(&status, "VmHWM:").context("no peak memory in dropwatch's status")
    }

    /// How often its eBPF programs have run while the kernel measured them.
    pub(super) fn program_runs(&self) -> Result<ProgramRuns> {
        let fdinfo = PathBuf::from(format!("/proc/{}/fdinfo", self.process.id()));
        let entries = fs::read_dir(&fdinfo).context("listing dropwatch's files")?;
        let mut runs = ProgramRuns::default();
        for entry in entries {
            let path = entry.context("listing dropwatch's files")?.path();
            // It may have been closed in the meantime.
            let info = fs::read_to_string(path).unwrap_or_default();
            if let (Some(ns), Some(count)) =
                (field(&info, "run_time_ns:"), field(&info, "run_cnt:"))
            {
                runs.ns += ns;
                runs.count += count;
            }
        }
        Ok(runs)
    }

    /// Ends the tracer as a user would, and returns its account.
    pub(super) fn stop(mut self) -> Result<Account> {
        // A shell's kill is on every machine, the program is not.
        let mut kill = Command::new("sh");
        kill.args(["-c", "kill -TERM \"$0\"", &self.process.id().to_string()]);
        command::output(&mut kill)?;
        let status = self.process.wait().context("waiting for dropwatch")?;
        let stderr = self.stderr()?;
        ensure!(status.success(), "dropwatch failed ({status}): {stderr}");
        Account::last(&stderr)
    }

    pub(super) fn stderr(&self) -> Result<String> {
        fs::read_to_string(self.work.stderr()).context("reading dropwatch's standard error")
    }

    fn proc(&self, name: &str) -> Result<String> {
        let path = format!("/proc/{}/{name}", self.process.id());
        fs::read_to_string(&path).with_context(|| format!("reading {path}"))
    }
}

impl Drop for Tracer<'_> {
    fn drop(&mut self) {
        // Both fail only if it has ended, as it has after `stop`.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Runs of eBPF programs, while the kernel measured them.
#[derive(Default)]
pub(super) struct ProgramRuns {
    ns: u64,
    count: u64,
}

impl ProgramRuns {
    /// Nanoseconds of a run after `earlier`, if there was one.
    pub(super) fn ns_per_run_since(&self, earlier: &Self) -> Option<f64> {
        let count = self.count - earlier.count;
        (count > 0).then(|| (self.ns - earlier.ns) as f64 / count as f64)
    }
}

fn open(path: &Path, options: &OpenOptions) -> Result<File> {
    let file = options.open(path);
    file.with_context(|| format!("opening {}", path.display()))
}

/// The number behind `key` in a file of /proc.
fn field(text: &str, key: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(key))?;
    value.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{ProgramRuns, field};

    #[test]
    fn fields_of_proc_files() {
        let status = "VmPeak:\t  142616 kB\nVmHWM:\t   29532 kB\n";
        assert_eq!(field(status, "VmHWM:"), Some(29532));
        assert_eq!(field(status, "VmSwap:"), None);
    }

    #[test]
    fn time_of_a_run() {
        let runs = |ns, count| ProgramRuns { ns, count };
        assert_eq!(runs(900, 5).ns_per_run_since(&runs(100, 1)), Some(200.0));
        assert_eq!(runs(100, 1).ns_per_run_since(&runs(100, 1)), None);
    }
}
