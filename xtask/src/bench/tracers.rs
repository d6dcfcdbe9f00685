//! The tracers that are set beside each other: one row each.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, anyhow, ensure};
use xtask::{apt, command};

use crate::bench::{COMM, bpftrace, tracer::Sink};

/// A tracer, as a flood meets it.
pub(super) struct Spec {
    /// What the report calls it.
    pub(super) name: &'static str,
    pub(super) program: Program,
    /// `{pid}` in them stands for the generator's process, `{data}` for a file.
    pub(super) args: &'static [&'static str],
    pub(super) sink: Sink,
    pub(super) records: Records,
    /// The tracer of another project that does the same.
    pub(super) beside: Option<&'static Spec>,
}

/// What a tracer is a way to start.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    Dropwatch,
    Floor,
    Bpftrace,
    Perf,
}

/// How a tracer's records are counted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Records {
    /// There are none: nothing is written for a single drop.
    None,
    /// Each holds the generator's name once.
    Lines,
    /// The tracer says how many samples it took.
    Samples,
}

/// How one knows that a tracer sees drops.
#[derive(Clone, Copy)]
pub(super) enum Ready {
    /// It creates a file.
    File,
    /// It holds a link of an eBPF program to what it is attached to.
    Link,
    /// It has begun to write its file.
    Data,
}

pub(super) const EMPTY: Spec = Spec {
    name: "empty program",
    program: Program::Floor,
    args: &["empty"],
    sink: Sink::Null,
    records: Records::None,
    beside: None,
};
pub(super) const STACK_ID: Spec = Spec {
    name: "bare stack-id program",
    args: &["stack_id"],
    ..EMPTY
};
pub(super) const DEFAULT: Spec = Spec {
    name: "dropwatch",
    program: Program::Dropwatch,
    args: &["--comm", COMM],
    sink: Sink::File,
    records: Records::Lines,
    beside: Some(&BPFTRACE_STACK),
};
pub(super) const NO_STACK: Spec = Spec {
    name: "dropwatch --no-stack",
    args: &["--comm", COMM, "--no-stack"],
    beside: Some(&BPFTRACE),
    ..DEFAULT
};
/// The filter that costs least, where the one by name looks at the packet's socket.
pub(super) const NO_STACK_NETNS: Spec = Spec {
    name: "dropwatch --no-stack, by --netns",
    args: &["--netns", "pid:{pid}", "--no-stack"],
    ..NO_STACK
};
/// All is turned down, by each kind of filter that there is in the kernel.
pub(super) const FILTERED: [Spec; 3] = [
    Spec {
        name: "dropwatch, all filtered by --comm",
        args: &["--comm", "dwother"],
        records: Records::None,
        beside: None,
        ..DEFAULT
    },
    Spec {
        name: "dropwatch, all filtered by --port",
        // The name only keeps out what is not the bench's.
        args: &["--port", "1", "--comm", COMM],
        records: Records::None,
        beside: None,
        ..DEFAULT
    },
    Spec {
        name: "dropwatch, all filtered by --exclude-reason",
        args: &["--exclude-reason", "NO_SOCKET", "--comm", COMM],
        records: Records::None,
        beside: None,
        ..DEFAULT
    },
];
pub(super) const SUMMARY: Spec = Spec {
    name: "dropwatch summary",
    args: &["summary", "--by", "reason", "--comm", COMM],
    records: Records::None,
    beside: Some(&BPFTRACE_COUNT),
    ..DEFAULT
};
pub(super) const TOP: Spec = Spec {
    name: "dropwatch top",
    args: &["top", "--by", "reason", "--comm", COMM],
    sink: Sink::Terminal,
    ..SUMMARY
};
/// Views that have to keep many flows apart, and look at them all each second.
pub(super) const MANY_FLOWS: [Spec; 2] = [
    Spec {
        name: "dropwatch summary, 100,000 flows",
        args: &[
            "summary",
            "--by",
            "saddr,daddr,dport",
            "--interval",
            "1s",
            "--comm",
            COMM,
        ],
        ..SUMMARY
    },
    Spec {
        name: "dropwatch top, 100,000 flows",
        args: &["top", "--by", "saddr,daddr,dport", "--comm", COMM],
        ..TOP
    },
];
pub(super) const BPFTRACE: Spec = Spec {
    name: "bpftrace, printf",
    program: Program::Bpftrace,
    args: &["-e", include_str!("scripts/lines.bt")],
    sink: Sink::File,
    records: Records::Lines,
    beside: None,
};
pub(super) const BPFTRACE_BUFFERED: Spec = Spec {
    name: "bpftrace -B full, printf",
    args: &["-B", "full", "-e", include_str!("scripts/lines.bt")],
    ..BPFTRACE
};
pub(super) const BPFTRACE_STACK: Spec = Spec {
    name: "bpftrace, printf with kstack(16)",
    args: &["-e", include_str!("scripts/stacks.bt")],
    ..BPFTRACE
};
pub(super) const BPFTRACE_COUNT: Spec = Spec {
    name: "bpftrace, count()",
    args: &["-e", include_str!("scripts/counts.bt")],
    records: Records::None,
    ..BPFTRACE
};
pub(super) const PERF: Spec = Spec {
    name: "perf record",
    program: Program::Perf,
    args: &[
        "record",
        "-e",
        "skb:kfree_skb",
        "-o",
        "{data}",
        "-p",
        "{pid}",
    ],
    sink: Sink::Null,
    records: Records::Samples,
    beside: Some(&BPFTRACE),
};
pub(super) const PERF_STACK: Spec = Spec {
    name: "perf record -g",
    args: &[
        "record",
        "-e",
        "skb:kfree_skb",
        "-g",
        "-o",
        "{data}",
        "-p",
        "{pid}",
    ],
    beside: Some(&BPFTRACE_STACK),
    ..PERF
};

/// All tracers, in the order in which they take their turns.
pub(super) const ALL: &[&Spec] = &[
    &EMPTY,
    &STACK_ID,
    &NO_STACK,
    &NO_STACK_NETNS,
    &DEFAULT,
    &FILTERED[0],
    &FILTERED[1],
    &FILTERED[2],
    &SUMMARY,
    &TOP,
    &BPFTRACE,
    &BPFTRACE_BUFFERED,
    &BPFTRACE_STACK,
    &BPFTRACE_COUNT,
    &PERF,
    &PERF_STACK,
];

impl Program {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Dropwatch => "dropwatch",
            Self::Floor => "floor",
            Self::Bpftrace => "bpftrace",
            Self::Perf => "perf",
        }
    }

    pub(super) fn ready(self) -> Ready {
        match self {
            Self::Dropwatch => Ready::File,
            Self::Floor | Self::Bpftrace => Ready::Link,
            Self::Perf => Ready::Data,
        }
    }

    /// The signal that ends it, and its number.
    pub(super) fn end_signal(self) -> (&'static str, i32) {
        match self {
            Self::Dropwatch | Self::Floor => ("TERM", 15),
            Self::Bpftrace | Self::Perf => ("INT", 2),
        }
    }

    pub(super) fn is_ebpf(self) -> bool {
        self != Self::Perf
    }
}

/// Where the programs are.
pub(super) struct Programs {
    pub(super) dropwatch: PathBuf,
    pub(super) floor: PathBuf,
    /// The words that a command starts with, or why there are none.
    bpftrace: Result<Vec<PathBuf>>,
    perf: Result<Vec<PathBuf>>,
}

impl Programs {
    /// Brings what is not the project's own, if it can be had.
    pub(super) fn new(dropwatch: PathBuf, floor: PathBuf) -> Self {
        Self {
            dropwatch,
            floor,
            bpftrace: bpftrace::command_words(),
            perf: perf().map(|perf| vec![perf]),
        }
    }

    /// The command that starts `program`, without its arguments.
    pub(super) fn command(&self, program: Program) -> Result<Command> {
        let others = match program {
            Program::Dropwatch => return Ok(Command::new(&self.dropwatch)),
            Program::Floor => return Ok(tied_to_this(&self.floor)),
            Program::Bpftrace => &self.bpftrace,
            Program::Perf => &self.perf,
        };
        let words = others.as_ref().map_err(|error| anyhow!("{error:#}"))?;
        Ok(with_tracefs(words))
    }

    /// Fails with the reason if a tracer can't be had here.
    pub(super) fn check(&self, spec: &Spec) -> Result<()> {
        let mut command = self.command(spec.program)?;
        if let (Program::Dropwatch, Some(verb)) = (spec.program, spec.verb()) {
            let output = command.args([verb, "--help"]).output();
            let output = output.with_context(|| format!("asking dropwatch for {verb}"))?;
            ensure!(output.status.success(), "this dropwatch has no {verb}");
        }
        Ok(())
    }

    /// What `program` calls its version, if it is there.
    pub(super) fn version(&self, program: Program) -> Result<String> {
        let said = command::output(self.command(program)?.arg("--version"))?;
        Ok(said.lines().next().unwrap_or_default().to_owned())
    }
}

impl Spec {
    /// The subcommand, if the arguments start with one.
    fn verb(&self) -> Option<&'static str> {
        let first = self.args.first()?;
        (!first.starts_with('-')).then_some(*first)
    }

    /// The command as a person would type it.
    pub(super) fn shown(&self) -> String {
        let quoted = |arg: String| match arg.contains('\n') {
            true => format!("'\n{arg}'"),
            false => arg,
        };
        let args = self.with_placeholders("PID", "FILE").map(quoted);
        let words = std::iter::once(self.program.name().to_owned()).chain(args);
        words.collect::<Vec<_>>().join(" ")
    }

    /// The arguments, with what the placeholders stand for.
    pub(super) fn arguments(&self, generator: u32, data: &Path) -> Vec<String> {
        let (pid, data) = (generator.to_string(), data.display().to_string());
        self.with_placeholders(&pid, &data).collect()
    }

    fn with_placeholders(&self, pid: &str, data: &str) -> impl Iterator<Item = String> {
        let args = self.args.iter();
        args.map(move |arg| arg.replace("{pid}", pid).replace("{data}", data))
    }
}

/// A command that does not outlive this process. dropwatch has a flag for that.
fn tied_to_this(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// `words` as a command that finds the kernel's table of tracepoints: mounted, where
/// it is not, in a mount namespace that goes with the command.
fn with_tracefs(words: &[PathBuf]) -> Command {
    const MOUNT: &str = "test -e /sys/kernel/tracing/events || \
        mount -t tracefs tracefs /sys/kernel/tracing && exec \"$@\"";
    let mut command = tied_to_this(Path::new("unshare"));
    command
        .args(["--mount", "sh", "-c", MOUNT, "sh"])
        .args(words);
    command
}

fn perf() -> Result<PathBuf> {
    if let Some(perf) = command::find("perf") {
        return Ok(perf);
    }
    apt::install(&["linux-perf"])?;
    command::find("perf").context("no perf")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{ALL, DEFAULT, MANY_FLOWS, NO_STACK_NETNS, PERF, SUMMARY};

    #[test]
    fn every_tracer_has_a_name_of_its_own() {
        let all = ALL.iter().copied().chain(&MANY_FLOWS);
        let mut names: Vec<_> = all.map(|spec| spec.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn what_a_tracer_is_set_beside_is_measured_too() {
        for spec in ALL {
            if let Some(beside) = spec.beside {
                assert!(ALL.iter().any(|other| other.name == beside.name));
            }
        }
    }

    #[test]
    fn placeholders() {
        let shown = "perf record -e skb:kfree_skb -o FILE -p PID";
        assert_eq!(PERF.shown(), shown);
        let args = PERF.arguments(7, Path::new("/tmp/x"));
        assert_eq!(args.join(" "), "record -e skb:kfree_skb -o /tmp/x -p 7");
        let args = NO_STACK_NETNS.arguments(7, Path::new("/tmp/x"));
        assert_eq!(args.join(" "), "--netns pid:7 --no-stack");
    }

    #[test]
    fn verbs() {
        assert_eq!(SUMMARY.verb(), Some("summary"));
        assert_eq!(DEFAULT.verb(), None);
    }
}
