//! `bench`: what dropwatch costs on this machine, beside the least that is
//! possible, beside others, and beside what it may cost.
//!
//! Runs without a tracer and with each of them take turns, so that whatever else
//! the machine does hits all of them alike; each figure is a median, with the
//! extremes.

mod account;
mod bpftrace;
mod figures;
mod filters;
mod flood;
mod latency;
mod machine;
mod report;
mod summary;
mod targets;
mod tracer;
mod tracers;
mod work;

use std::{
    fs,
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
        figures::{Figures, Session, TracerFigures},
        flood::Generator,
        latency::Starts,
        machine::Machine,
        report::Report,
        tracer::{Launch, Tracer},
        tracers::{ALL, DEFAULT, MANY_FLOWS, Programs, Spec},
        work::WorkDir,
    },
    build, workspace,
};

/// Name of the processes whose drops are looked at, so that other traffic of
/// the machine does not count.
const COMM: &str = "dwbench";

/// How long to watch a tracer that has nothing to do.
const IDLE: Duration = Duration::from_secs(10);

/// A drop with its stack takes less than this, by dropwatch and by bpftrace.
const RECORD_BYTES: u64 = 768;

/// Flows that some views have to keep apart.
const FLOWS: u32 = 100_000;

/// Time in which views look at their counts at least once more: their memory is most then.
const LOOKS: Duration = Duration::from_secs(2);

/// The kernel measures its programs in a flood of this part of the others' size.
const STATS_PART: u32 = 5;

/// Options of `cargo xtask bench`.
#[derive(Args)]
pub(crate) struct BenchOptions {
    /// Floods per tracer.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// Datagrams per flood.
    #[arg(long, value_name = "N", default_value_t = 300_000, value_parser = clap::value_parser!(u32).range(100..))]
    packets: u32,

    /// Datagrams of the flood of which none may be lost.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..))]
    flat_out: u32,

    /// Payload of a datagram.
    #[arg(long, value_name = "BYTES", default_value_t = 100)]
    size: u16,

    /// Measure this dropwatch instead of building one.
    #[arg(long, value_name = "FILE")]
    dropwatch: Option<PathBuf>,

    /// Where the report goes [default: docs/benchmarks.md of the project].
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// Measures everything, prints the report and writes it. Figures that miss their
/// target are no failure, for the machine may be busy; a broken account is.
pub(crate) fn bench(options: &BenchOptions) -> Result<ExitCode> {
    ensure!(
        command::is_root(),
        "measuring needs root: run `sudo -E cargo xtask bench`"
    );
    let toolchain = toolchain::ensure()?;
    let floor = build::release("dropwatch-floor", "floor", &toolchain)?;
    let programs = Programs::new(dropwatch(options, &toolchain)?, floor);
    let most = options.packets.max(options.flat_out);
    let work = WorkDir::new(u64::from(most) * RECORD_BYTES)?;
    let machine = Machine::new()?;
    let bench = Bench {
        options,
        programs: &programs,
        generator: Generator {
            binary: build::release("dropwatch-tests", "flood", &toolchain)?,
            cpu: machine.generator_cpu(),
            size: options.size,
        },
        tracer_cpu: machine.tracer_cpu(),
        work: &work,
    };
    let figures = bench.measure()?;
    let report = Report {
        options,
        machine: &machine,
        programs: &programs,
        figures: &figures,
    };
    let text = report.text()?;
    say::result(&text);
    let default = workspace::root().join("docs/benchmarks.md");
    let path = options.report.as_ref().unwrap_or(&default);
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    say::progress(format!("written to {}", path.display()));
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
    options: &'a BenchOptions,
    programs: &'a Programs,
    generator: Generator,
    tracer_cpu: usize,
    work: &'a WorkDir,
}

/// What a tracer is flooded with.
struct Floods {
    packets: u32,
    /// Destinations that take turns.
    flows: u32,
    /// Packets of a second flood, while the kernel measures its programs: that takes
    /// time of its own, so the first one's is not taken then.
    with_bpf_stats: Option<u32>,
}

impl Floods {
    fn one(packets: u32) -> Self {
        Self {
            packets,
            flows: 1,
            with_bpf_stats: None,
        }
    }
}

impl Bench<'_> {
    fn measure(&self) -> Result<Figures> {
        let binary_bytes = file_size(&self.programs.dropwatch)?;
        say::progress("starts and lone drops");
        let starts = Starts::measure(self.programs, self.work)?;
        say::progress(format!("nothing to do for {} s", IDLE.as_secs()));
        let idle = self.idle()?;
        let mut figures = Figures {
            binary_bytes,
            starts,
            idle,
            untraced: Vec::new(),
            tracers: ALL.iter().copied().map(TracerFigures::new).collect(),
            flat_out: None,
            many_flows: Vec::new(),
            filters: Vec::new(),
        };
        self.rounds(&mut figures)?;
        say::progress(format!("a flood of {} datagrams", self.options.flat_out));
        figures.flat_out = Some(self.session(&DEFAULT, &Floods::one(self.options.flat_out))?);
        figures.many_flows = self.many_flows()?;
        say::progress("filters");
        figures.filters = filters::measure(self.programs, self.work)?;
        Ok(figures)
    }

    fn rounds(&self, figures: &mut Figures) -> Result<()> {
        for tracer in &mut figures.tracers {
            if let Err(reason) = self.programs.check(tracer.spec) {
                let reason = format!("{reason:#}");
                say::progress(format!("left out: {}: {reason}", tracer.spec.name));
                tracer.left_out = Some(reason);
            }
        }
        let rounds = self.options.rounds;
        let packets = self.options.packets;
        for round in 1..=rounds {
            say::progress(format!("floods, round {round} of {rounds}"));
            let untraced = self.generator.start(1)?.flood(packets)?;
            figures.untraced.push(untraced);
            let measured = figures.tracers.iter_mut();
            for tracer in measured.filter(|tracer| tracer.left_out.is_none()) {
                let is_ebpf = tracer.spec.program.is_ebpf();
                let floods = Floods {
                    with_bpf_stats: is_ebpf.then(|| packets.div_ceil(STATS_PART)),
                    ..Floods::one(packets)
                };
                tracer.sessions.push(self.session(tracer.spec, &floods)?);
            }
        }
        Ok(())
    }

    fn many_flows(&self) -> Result<Vec<(&'static str, Session)>> {
        let floods = Floods {
            flows: FLOWS,
            ..Floods::one(self.options.packets.max(2 * FLOWS))
        };
        let specs = MANY_FLOWS.iter();
        let there = specs.filter(|spec| self.programs.check(spec).is_ok());
        let sessions = there.map(|spec| {
            say::progress(spec.name);
            Ok((spec.name, self.session(spec, &floods)?))
        });
        sessions.collect()
    }

    /// Starts a tracer, floods it and stops it.
    fn session(&self, spec: &Spec, floods: &Floods) -> Result<Session> {
        let trace = || -> Result<Session> {
            let mut generator = self.generator.start(floods.flows)?;
            let mut tracer = self.start(spec, generator.pid())?;
            // After the start, which may use all processors as it does for a user.
            tracer.pin(self.tracer_cpu)?;
            let cpu = tracer.cpu_time()?;
            let flood = generator.flood(floods.packets)?;
            tracer.wait_until_drained()?;
            if floods.flows > 1 {
                thread::sleep(LOOKS);
            }
            let runs = tracer.program_runs();
            if let Some(packets) = floods.with_bpf_stats {
                generator.flood_with_bpf_stats(packets)?;
                tracer.wait_until_drained()?;
            }
            let session = Session {
                flood,
                packets: u64::from(floods.packets) + u64::from(floods.with_bpf_stats.unwrap_or(0)),
                cpu: tracer.cpu_time()?.saturating_sub(cpu),
                program_ns: tracer.program_runs().ns_per_run_since(&runs),
                peak_kib: tracer.peak_memory_kib()?,
                attached: tracer.attached_after(),
                records: None,
                lost: None,
            };
            session.ended(&tracer.stop(spec.records)?)
        };
        trace().with_context(|| format!("a flood under {}", spec.name))
    }

    fn start(&self, spec: &Spec, generator: u32) -> Result<Tracer<'_>> {
        let launch = Launch {
            program: spec.program,
            args: &spec.arguments(generator, &self.work.data()),
            sink: spec.sink,
        };
        Tracer::start(&launch, self.programs, self.work)
    }

    /// Part of one processor that dropwatch uses while nothing is dropped.
    fn idle(&self) -> Result<f64> {
        let tracer = self.start(&DEFAULT, 0)?;
        let before = tracer.cpu_time()?;
        thread::sleep(IDLE);
        let used = tracer.cpu_time()?.saturating_sub(before);
        tracer.stop(tracers::Records::None)?;
        Ok(used.as_secs_f64() / IDLE.as_secs_f64())
    }
}

fn file_size(path: &Path) -> Result<u64> {
    let metadata = path
        .metadata()
        .with_context(|| format!("looking at {}", path.display()))?;
    Ok(metadata.len())
}
