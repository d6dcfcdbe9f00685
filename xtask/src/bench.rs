//! `bench`: what dropwatch costs on this machine, beside what it may cost.
//!
//! Runs with and without a tracer take turns, so that whatever else the machine
//! does hits all of them alike; each figure is a median, with the extremes.

mod account;
mod filters;
mod flood;
mod latency;
mod machine;
mod report;
mod summary;
mod tracer;
mod work;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use xtask::{
    command, say,
    toolchain::{self, Toolchain},
};

use crate::{
    bench::{
        account::Account,
        filters::FilterSize,
        flood::{Flood, Generator},
        latency::Starts,
        machine::Machine,
        report::Report,
        tracer::{Sink, Tracer},
        work::WorkDir,
    },
    build,
};

/// Name of the processes whose drops are looked at, so that other traffic of
/// the machine does not count.
const COMM: &str = "dwflood";

/// How long to watch a tracer that has nothing to do.
const IDLE: Duration = Duration::from_secs(10);

/// A line with its stack, about.
const LINE_BYTES: u64 = 512;

/// Options of `cargo xtask bench`.
#[derive(Args)]
pub(crate) struct BenchOptions {
    /// Floods per way to trace.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// Datagrams per flood.
    #[arg(long, value_name = "N", default_value_t = 300_000, value_parser = clap::value_parser!(u32).range(1..))]
    packets: u32,

    /// Payload of a datagram.
    #[arg(long, value_name = "BYTES", default_value_t = 100)]
    size: u16,

    /// Measure this dropwatch instead of building one.
    #[arg(long, value_name = "FILE")]
    dropwatch: Option<PathBuf>,
}

/// A way to trace a flood.
struct Way {
    name: &'static str,
    flags: &'static [&'static str],
    /// Most nanoseconds that it should add to a drop, in the kernel.
    added_target: Option<f64>,
    /// Most nanoseconds of its own that it should take for a line.
    own_target: Option<f64>,
}

const NO_STACK: Way = Way {
    name: "--no-stack",
    flags: &["--comm", COMM, "--no-stack"],
    added_target: Some(500.0),
    own_target: Some(1000.0),
};
const DEFAULT: Way = Way {
    name: "default",
    flags: &["--comm", COMM],
    added_target: None,
    own_target: None,
};
const FILTERED: Way = Way {
    name: "filtered by --comm",
    flags: &["--comm", "dwother"],
    added_target: None,
    own_target: None,
};
const BY_REASON: Way = Way {
    name: "filtered by reason",
    // The reason decides first; the name only keeps out what is not the bench's.
    flags: &["--exclude-reason", "NO_SOCKET", "--comm", COMM],
    added_target: None,
    own_target: None,
};
const BY_PORT: Way = Way {
    name: "filtered by --port",
    flags: &["--port", "1", "--comm", COMM],
    added_target: None,
    own_target: None,
};

/// Everything that the report needs.
struct Figures {
    binary_bytes: u64,
    starts: Starts,
    /// Part of one processor that an idle tracer uses.
    idle: f64,
    /// A flood without a tracer, per round.
    untraced: Vec<Flood>,
    ways: Vec<WayFigures>,
    filters: Vec<FilterSize>,
}

/// What the floods under one way to trace showed.
struct WayFigures {
    way: &'static Way,
    /// One per round.
    traced: Vec<Traced>,
    /// Nanoseconds of a run of the eBPF program, as the kernel measures them.
    /// Measured apart, for measuring takes time of its own.
    program_ns: Option<f64>,
}

/// What one flood under a tracer showed.
struct Traced {
    flood: Flood,
    /// The tracer's own time on a processor.
    cpu: Duration,
    program_ns: Option<f64>,
    peak_kib: u64,
    account: Account,
}

/// Measures everything and prints the table. Figures that miss their target
/// are no failure, for the machine may be busy; a broken account is.
pub(crate) fn bench(options: &BenchOptions) -> Result<ExitCode> {
    ensure!(
        command::is_root(),
        "measuring needs root: run `sudo -E cargo xtask bench`"
    );
    let toolchain = toolchain::ensure()?;
    let work = WorkDir::new(u64::from(options.packets) * LINE_BYTES)?;
    let machine = Machine::new()?;
    let bench = Bench {
        dropwatch: dropwatch(options, &toolchain)?,
        generator: Generator {
            binary: build::release("dropwatch-tests", "flood", &toolchain)?,
            cpu: machine.generator_cpu(),
            packets: options.packets,
            size: options.size,
        },
        tracer_cpu: machine.tracer_cpu(),
        work: &work,
    };
    let figures = bench.measure(options.rounds)?;
    Report {
        options,
        machine: &machine,
        figures: &figures,
    }
    .print()?;
    Ok(ExitCode::SUCCESS)
}

fn dropwatch(options: &BenchOptions, toolchain: &Toolchain) -> Result<PathBuf> {
    match &options.dropwatch {
        Some(binary) => std::path::absolute(binary).context("making --dropwatch absolute"),
        None => build::release("dropwatch", "dropwatch", toolchain),
    }
}

/// What the measurements work with.
struct Bench<'a> {
    dropwatch: PathBuf,
    generator: Generator,
    tracer_cpu: usize,
    work: &'a WorkDir,
}

impl WayFigures {
    fn new(way: &'static Way) -> Self {
        Self {
            way,
            traced: Vec::new(),
            program_ns: None,
        }
    }
}

impl Bench<'_> {
    fn measure(&self, rounds: u32) -> Result<Figures> {
        let binary_bytes = file_size(&self.dropwatch)?;
        say::progress("starts and lone drops");
        let starts = Starts::measure(&self.dropwatch, self.work)?;
        say::progress(format!("nothing to do for {} s", IDLE.as_secs()));
        let idle = self.idle()?;
        let (untraced, ways) = self.floods(rounds)?;
        say::progress("filters");
        let filters = filters::measure(&self.dropwatch, self.work)?;
        Ok(Figures {
            filters,
            binary_bytes,
            starts,
            idle,
            untraced,
            ways,
        })
    }

    fn floods(&self, rounds: u32) -> Result<(Vec<Flood>, Vec<WayFigures>)> {
        let mut untraced = Vec::new();
        let all = [&NO_STACK, &DEFAULT, &FILTERED, &BY_REASON, &BY_PORT];
        let mut ways = all.map(WayFigures::new);
        for round in 1..=rounds {
            say::progress(format!("floods, round {round} of {rounds}"));
            untraced.push(self.generator.run(false)?);
            for figures in &mut ways {
                figures.traced.push(self.traced(figures.way, false)?);
            }
        }
        say::progress("floods while the kernel measures the eBPF program");
        for figures in &mut ways {
            figures.program_ns = self.traced(figures.way, true)?.program_ns;
        }
        Ok((untraced, ways.into()))
    }

    /// Starts a tracer, floods it, and stops it.
    fn traced(&self, way: &Way, bpf_stats: bool) -> Result<Traced> {
        let trace = || -> Result<Traced> {
            let mut tracer = Tracer::start(&self.dropwatch, way.flags, Sink::File, self.work)?;
            // After the start, which may use all processors as it does for a user.
            tracer.pin(self.tracer_cpu)?;
            let (cpu, runs) = (tracer.cpu_time()?, tracer.program_runs()?);
            let flood = self.generator.run(bpf_stats)?;
            tracer.wait_until_drained()?;
            Ok(Traced {
                cpu: tracer.cpu_time()?.saturating_sub(cpu),
                program_ns: tracer.program_runs()?.ns_per_run_since(&runs),
                peak_kib: tracer.peak_memory_kib()?,
                account: tracer.stop()?,
                flood,
            })
        };
        trace().with_context(|| format!("tracing a flood, {}", way.name))
    }

    /// Part of one processor that a tracer uses while nothing is dropped.
    fn idle(&self) -> Result<f64> {
        let tracer = Tracer::start(&self.dropwatch, DEFAULT.flags, Sink::File, self.work)?;
        let before = tracer.cpu_time()?;
        thread::sleep(IDLE);
        let used = tracer.cpu_time()?.saturating_sub(before);
        tracer.stop()?;
        Ok(used.as_secs_f64() / IDLE.as_secs_f64())
    }
}

fn file_size(path: &Path) -> Result<u64> {
    let metadata = path
        .metadata()
        .with_context(|| format!("looking at {}", path.display()))?;
    Ok(metadata.len())
}
