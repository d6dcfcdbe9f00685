//! A running tracer, and what the kernel knows of it.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufRead as _, BufReader, Read as _, Seek as _},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use xtask::command;

use crate::bench::{
    COMM,
    account::Account,
    tracers::{Program, Programs, Ready, Records},
    work::WorkDir,
};

/// A dropwatch that is left behind by a killed xtask ends by itself.
const LIFETIME: &str = "120s";

/// How long a start may take.
const START_TIME: Duration = Duration::from_secs(30);

/// How often to look whether the tracer is ready: the precision of that time.
const READY_POLL: Duration = Duration::from_micros(500);

/// How long nothing must have been written for the tracer to be done.
const QUIET_TIME: Duration = Duration::from_millis(100);

/// perf enables its events shortly after it has begun to write, and does not say when.
const ENABLE_TIME: Duration = Duration::from_millis(500);

/// How a terminal of its own starts `dropwatch`: `script` takes one line for a shell.
const IN_TERMINAL: &str = r#"stty rows 50 cols 160; exec "$PROGRAM" $ARGS 2>"$STDERR""#;

/// Where the lines go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sink {
    /// To a file in memory, over what is in it.
    File,
    /// To this process.
    Pipe,
    /// To a terminal that nobody looks at.
    Terminal,
    /// There are none.
    Null,
}

/// What to start.
pub(super) struct Launch<'a> {
    pub(super) program: Program,
    pub(super) args: &'a [String],
    pub(super) sink: Sink,
}

/// A tracer that sees drops. Killed if it is dropped without being stopped.
pub(super) struct Tracer<'a> {
    /// The tracer, or what runs it in a terminal.
    process: Child,
    /// The tracer itself.
    pid: u32,
    program: Program,
    attached_after: Duration,
    /// The file that the lines go to, at the position where the tracer writes.
    lines: Option<File>,
    work: &'a WorkDir,
}

impl<'a> Tracer<'a> {
    /// Starts a tracer and waits until it sees drops.
    pub(super) fn start(
        launch: &Launch<'_>,
        programs: &Programs,
        work: &'a WorkDir,
    ) -> Result<Self> {
        work.clear()?;
        let lines = match launch.sink {
            Sink::File => Some(open(&work.stdout(), OpenOptions::new().write(true))?),
            _ => None,
        };
        let mut command = launch.command(programs, work)?;
        command
            // A terminal's program would end with its input.
            .stdin(match launch.sink {
                Sink::Terminal => Stdio::piped(),
                _ => Stdio::null(),
            })
            .stdout(match (&lines, launch.sink) {
                (Some(file), _) => file.try_clone().context("duplicating a file")?.into(),
                (None, Sink::Pipe) => Stdio::piped(),
                _ => Stdio::null(),
            })
            .stderr(open(
                &work.stderr(),
                OpenOptions::new().write(true).create(true).truncate(true),
            )?)
            .env_remove("RUST_LOG");
        let start = Instant::now();
        let process = command
            .spawn()
            .with_context(|| format!("starting {}", launch.program.name()))?;
        let mut tracer = Self {
            pid: process.id(),
            process,
            program: launch.program,
            attached_after: Duration::ZERO,
            lines,
            work,
        };
        tracer.wait_until_ready(start)?;
        tracer.attached_after = start.elapsed();
        if launch.sink == Sink::Terminal {
            tracer.pid = only_child(tracer.pid)?;
        }
        if let Ready::Data = launch.program.ready() {
            thread::sleep(ENABLE_TIME);
        }
        Ok(tracer)
    }

    fn wait_until_ready(&mut self, start: Instant) -> Result<()> {
        let name = self.program.name();
        while !self.is_ready() {
            let ended = self.process.try_wait().context("looking at the tracer")?;
            if let Some(status) = ended {
                bail!("{name} failed ({status}): {}", self.stderr()?.trim());
            }
            ensure!(
                start.elapsed() < START_TIME,
                "{name} is not ready after {} s",
                START_TIME.as_secs()
            );
            thread::sleep(READY_POLL);
        }
        Ok(())
    }

    fn is_ready(&self) -> bool {
        match self.program.ready() {
            Ready::File => self.work.ready_file().exists(),
            Ready::Link => self
                .files("fdinfo")
                .filter_map(|file| fs::read_to_string(file).ok())
                .any(|info| info.lines().any(|line| line.starts_with("link_type:"))),
            Ready::Data => fs::metadata(self.work.data()).is_ok_and(|data| data.len() > 0),
        }
    }

    /// The entries of a folder of the process in /proc. Those that can't be
    /// listed have been closed in the meantime.
    fn files(&self, folder: &str) -> impl Iterator<Item = PathBuf> {
        let entries = fs::read_dir(format!("/proc/{}/{folder}", self.pid));
        entries.into_iter().flatten().flatten().map(|e| e.path())
    }

    /// Time from the start of the process until it saw drops.
    pub(super) fn attached_after(&self) -> Duration {
        self.attached_after
    }

    /// The pipe with the lines.
    pub(super) fn take_stdout(&mut self) -> Result<ChildStdout> {
        let stdout = self.process.stdout.take();
        stdout.context("the tracer's output does not go to a pipe")
    }

    /// Keeps the tracer on one processor.
    pub(super) fn pin(&mut self, cpu: usize) -> Result<()> {
        // The first look at all processes has a thread of its own, which must not end
        // between taskset's finding and pinning it.
        thread::sleep(QUIET_TIME);
        let mut taskset = Command::new("taskset");
        taskset.args(["--all-tasks", "--pid", "--cpu-list", &cpu.to_string()]);
        command::output(taskset.arg(self.pid.to_string()))?;
        Ok(())
    }

    /// Waits until the tracer has nothing left to write.
    pub(super) fn wait_until_drained(&self) -> Result<()> {
        let mut before = self.written()?;
        loop {
            thread::sleep(QUIET_TIME);
            let now = self.written()?;
            if now == before {
                return Ok(());
            }
            before = now;
        }
    }

    /// How far the output has been written.
    fn written(&self) -> Result<u64> {
        match self.lines.as_ref() {
            // The position belongs to the open file, which the tracer shares.
            Some(mut file) => file
                .stream_position()
                .context("looking how far the tracer has written"),
            // There is none before the tracer has something to write.
            None => Ok(fs::metadata(self.work.data()).map_or(0, |data| data.len())),
        }
    }

    /// Time that the tracer has spent on a processor, in user and kernel mode.
    pub(super) fn cpu_time(&self) -> Result<Duration> {
        // What `stat` calls utime and stime, but in nanoseconds, not in ticks of
        // 10 ms; one file for each thread.
        let mut ns = 0;
        for task in self.files("task") {
            let schedstat = fs::read_to_string(task.join("schedstat")).unwrap_or_default();
            ns += first_number(&schedstat).unwrap_or(0);
        }
        ensure!(ns > 0, "no run time of the tracer in /proc");
        Ok(Duration::from_nanos(ns))
    }

    /// The most memory that the tracer has had so far.
    pub(super) fn peak_memory_kib(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.pid);
        let status = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
        field(&status, "VmHWM:").context("no peak memory in the tracer's status")
    }

    /// How often its eBPF programs have run while the kernel measured them.
    pub(super) fn program_runs(&self) -> ProgramRuns {
        let mut runs = ProgramRuns::default();
        for file in self.files("fdinfo") {
            let info = fs::read_to_string(file).unwrap_or_default();
            if let (Some(ns), Some(count)) =
                (field(&info, "run_time_ns:"), field(&info, "run_cnt:"))
            {
                runs.ns += ns;
                runs.count += count;
            }
        }
        runs
    }

    /// Ends the tracer as a user would, and returns what it has to show.
    pub(super) fn stop(mut self, records: Records) -> Result<Shown> {
        let (signal, number) = self.program.end_signal();
        // A shell's kill is on every machine, the program is not.
        let mut kill = Command::new("sh");
        kill.args(["-c", &format!("kill -{signal} {}", self.pid)]);
        command::output(&mut kill)?;
        let status = self.process.wait().context("waiting for the tracer")?;
        let stderr = self.stderr()?;
        let name = self.program.name();
        ensure!(
            has_ended_well(status, number),
            "{name} failed ({status}): {stderr}"
        );
        let account = match self.program {
            Program::Dropwatch => Some(Account::last(&stderr)?),
            _ => None,
        };
        let records = match records {
            Records::None => None,
            Records::Lines => Some(self.count_lines()?),
            Records::Samples => Some(samples(&stderr).context("perf counts no samples")?),
        };
        Ok(Shown { account, records })
    }

    fn count_lines(&self) -> Result<u64> {
        let file = File::open(self.work.stdout()).context("opening the tracer's output")?;
        count_records(file.take(self.written()?))
    }

    pub(super) fn stderr(&self) -> Result<String> {
        fs::read_to_string(self.work.stderr()).context("reading the tracer's standard error")
    }
}

impl Drop for Tracer<'_> {
    fn drop(&mut self) {
        // Both fail only if it has ended, as it has after `stop`. What runs in a
        // terminal ends with the terminal.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

impl Launch<'_> {
    fn command(&self, programs: &Programs, work: &WorkDir) -> Result<Command> {
        let mut args = self.args.to_vec();
        if self.program == Program::Dropwatch {
            args.extend(["--duration", LIFETIME, "--ready-file"].map(str::to_owned));
            args.push(work.ready_file().display().to_string());
        }
        if self.sink == Sink::Terminal {
            let mut script = Command::new("script");
            script
                .args(["--quiet", "--command", IN_TERMINAL, "/dev/null"])
                .env("SHELL", "/bin/sh")
                .env("PROGRAM", &programs.dropwatch)
                .env("ARGS", args.join(" "))
                .env("STDERR", work.stderr());
            return Ok(script);
        }
        let mut command = programs.command(self.program)?;
        command.args(args);
        Ok(command)
    }
}

/// What a tracer has to show at its end.
pub(super) struct Shown {
    /// dropwatch's own account.
    pub(super) account: Option<Account>,
    /// The drops that it wrote something about.
    pub(super) records: Option<u64>,
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

/// The only process that `pid` has started.
fn only_child(pid: u32) -> Result<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let children = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let child = children.trim().parse();
    child.with_context(|| format!("one child is expected in {path}, there is {children:?}"))
}

/// Whether a process ended by itself, or by the signal that it was sent.
fn has_ended_well(status: ExitStatus, signal: i32) -> bool {
    status.success() || status.signal() == Some(signal)
}

/// How many lines are about the generator's drops.
fn count_records(text: impl std::io::Read) -> Result<u64> {
    let mut reader = BufReader::with_capacity(1 << 20, text);
    let mark = format!("comm={COMM} ");
    let (mut line, mut count) = (Vec::new(), 0);
    while reader.read_until(b'\n', &mut line)? > 0 {
        // Line ends are spaces, too.
        line.last_mut().into_iter().for_each(|end| *end = b' ');
        count += u64::from(String::from_utf8_lossy(&line).contains(&mark));
        line.clear();
    }
    Ok(count)
}

/// The samples in perf's `[ perf record: Captured and wrote 1 MB FILE (12 samples) ]`.
fn samples(stderr: &str) -> Option<u64> {
    let (before, _) = stderr.split_once(" samples) ]")?;
    before.rsplit('(').next()?.parse().ok()
}

/// The number behind `key` in a file of /proc.
fn field(text: &str, key: &str) -> Option<u64> {
    first_number(text.lines().find_map(|line| line.strip_prefix(key))?)
}

fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{ProgramRuns, count_records, field, samples};

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

    #[test]
    fn records_are_counted_not_lines() {
        let text = "\n12:00 pid=1 comm=dwbench netns=1 stack=\n\tudp_rcv+1\n\
                    12:00 pid=1 comm=dwbench\n12:00 pid=2 comm=dwbenching x\n12:00 comm=dwben";
        assert_eq!(count_records(text.as_bytes()).unwrap(), 2);
    }

    #[test]
    fn perfs_samples() {
        let said = "[ perf record: Woken up 113 times to write data ]\n\
                    [ perf record: Captured and wrote 28.234 MB /x (y)/p (100001 samples) ]\n";
        assert_eq!(samples(said), Some(100_001));
        assert_eq!(
            samples("[ perf record: Captured and wrote 0.001 MB p ]"),
            None
        );
    }
}
