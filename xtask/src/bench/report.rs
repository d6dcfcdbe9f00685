//! The text that a bench ends with, in Markdown.

use std::{fmt::Write as _, process::Command};

use anyhow::Result;
use xtask::command;

use crate::bench::{
    BenchOptions, COMM, STATS_PART,
    figures::{Figures, Metric, TracerFigures},
    machine::Machine,
    summary::Summary,
    targets::{self, Target},
    tracers::{ALL, MANY_FLOWS, Program, Programs},
};

/// What was measured how, and what is fair to know about it.
const METHOD: &str = "\
A generator with a network namespace of its own sends UDP datagrams to a closed port on
loopback as fast as it can; the kernel drops each of them. One processor generates and
drops, the tracer runs on another one. In each round there is a flood without a tracer,
then one under each tracer in turn. Each tracer looks at the generator's drops only, by
its name unless the table says otherwise (perf by its process; the two bare programs take
all there are), and writes to a file in memory that was filled before.

- **Kernel time added**: how much longer a datagram takes the generator than in the
  round's flood without a tracer; the medians of stretches of 100 datagrams.
- **Program**: a run of the eBPF program by the kernel's own count (`bpf_stats`), in a
  flood of its own, because counting takes time, too. What the kernel does around the
  program is not in it.
- **Own processor time**: the tracer's, in user and kernel mode, for each drop that it
  wrote. What was lost is in no line, but what was done for it counts.
- **Lost**: drops that the tracer should have written and that are not in its output.
  A drop that is lost is cheap: where much is lost, the kernel time is too good.
- **Peak memory**: of the process. The maps of eBPF programs are the kernel's memory.
- **Attach**: from the start of the process until drops are seen: dropwatch says so
  itself; of the others, the kernel knows the program's link; of perf, until it writes
  the first bytes of its file, shortly after which it counts.

The bare programs are the project's own (`floor/`): one returns at once, one asks for the
stack's id with the depth that dropwatch has by default. Ratios are taken round by
round; a round in which the other tracer seems to cost nothing is noise and gives none. Retis, pwru, nettrace and others are not measured, though they may be installed:
nobody has taught the bench to start them and to read what they lost.
";

/// All there is to tell.
pub(super) struct Report<'a> {
    pub(super) options: &'a BenchOptions,
    pub(super) machine: &'a Machine,
    pub(super) programs: &'a Programs,
    pub(super) figures: &'a Figures,
}

impl Report<'_> {
    /// The whole text.
    pub(super) fn text(&self) -> Result<String> {
        let date = command::output(Command::new("date").args(["--utc", "+%F"]))?;
        let mut text = format!(
            "# Benchmarks\n\nWritten by `{}` on {}; repeat it on your machine.\n\n",
            self.command(),
            date.trim()
        );
        writeln!(text, "- {}", self.machine.describe()?)?;
        for line in self.versions() {
            writeln!(text, "- {line}")?;
        }
        let figures = self.figures;
        let sections = [
            ("Aims", aims(&targets::targets(figures))),
            ("Tracers", tracers(figures)),
            ("Beside bpftrace", beside(figures)),
            ("More about dropwatch", more(figures)),
            ("How it is measured", METHOD.to_owned()),
            ("Commands", self.commands()),
        ];
        for (title, body) in sections {
            write!(text, "\n## {title}\n\n{body}")?;
        }
        Ok(text)
    }

    fn command(&self) -> String {
        let BenchOptions {
            rounds,
            packets,
            flat_out,
            size,
            ..
        } = self.options;
        format!(
            "cargo xtask bench --rounds {rounds} --packets {packets} --flat-out {flat_out} --size {size}"
        )
    }

    fn versions(&self) -> Vec<String> {
        let others = [Program::Dropwatch, Program::Bpftrace, Program::Perf];
        let version = |program: Program| match self.programs.version(program) {
            Ok(version) => version,
            Err(error) => format!("{}: {error:#}", program.name()),
        };
        others.map(version).into()
    }

    fn commands(&self) -> String {
        let BenchOptions { packets, size, .. } = self.options;
        let cpu = self.machine.generator_cpu();
        let mut text = format!(
            "The generator, and what it does while the kernel measures programs:\n\n\
             ```\n\
             flood --comm {COMM} --packets {packets} --size {size} --cpu {cpu}\n\
             flood --comm {COMM} --packets {} --size {size} --cpu {cpu} --bpf-stats\n\
             ```\n\n\
             The tracers, each kept on processor {} by `taskset` once it is attached. \
             PID is the generator's process.\n\n```\n",
            packets.div_ceil(STATS_PART),
            self.machine.tracer_cpu()
        );
        for spec in ALL.iter().copied().chain(&MANY_FLOWS) {
            text += &spec.shown();
            text.push('\n');
        }
        text + "```\n"
    }
}

fn aims(targets: &[Target]) -> String {
    let rows = targets.iter().map(|target| {
        let met = match target.is_met() {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "can't tell",
        };
        vec![
            target.figure.clone(),
            with_unit(target.seen, target.unit),
            format!("{} {}", target.at_most, target.unit),
            met.to_owned(),
        ]
    });
    let note = "Medians, with the least and the most that was seen; the median decides.\n\n";
    note.to_owned() + &table(&["figure", "seen", "at most", "met"], rows)
}

fn tracers(figures: &Figures) -> String {
    let untraced = figures.untraced.iter().map(|flood| flood.median_ns);
    let mean = figures.untraced.iter().map(|flood| flood.mean_ns);
    let mut text = format!(
        "Without a tracer, a datagram takes {}, with all interruptions {}.\n\n",
        with_unit(Summary::of(untraced), "ns"),
        with_unit(Summary::of(mean), "ns")
    );
    let measured = |tracer: &&TracerFigures| tracer.left_out.is_none();
    let rows = figures.tracers.iter().filter(measured).map(|tracer| {
        let metric = |metric| spread(figures.metric(tracer.spec, metric));
        vec![
            tracer.spec.name.to_owned(),
            metric(Metric::Added),
            metric(Metric::Program),
            metric(Metric::Cpu),
            spread(tracer.lost_percent()),
            metric(Metric::Memory),
            metric(Metric::Attach),
        ]
    });
    text += &table(
        &[
            "tracer",
            "kernel time added per drop, ns",
            "program, ns",
            "own processor time per line, ns",
            "lost, %",
            "peak memory, MB",
            "attach, ms",
        ],
        rows,
    );
    let left_out = figures.tracers.iter().filter_map(|tracer| {
        let reason = tracer.left_out.as_ref()?;
        Some(format!("\nLeft out: {}: {reason}.\n", tracer.spec.name))
    });
    text.extend(left_out);
    text
}

fn beside(figures: &Figures) -> String {
    let metrics = [
        Metric::Added,
        Metric::Program,
        Metric::Cpu,
        Metric::Memory,
        Metric::Attach,
    ];
    let rows = figures.tracers.iter().filter_map(|tracer| {
        let other = tracer.spec.beside.filter(|_| tracer.left_out.is_none())?;
        let ratio = |metric| spread(figures.ratio(tracer.spec, other, metric));
        let names = [tracer.spec.name, other.name].map(str::to_owned);
        Some(names.into_iter().chain(metrics.map(ratio)).collect())
    });
    let names = ["tracer", "beside"];
    let titles: Vec<_> = names.into_iter().chain(metrics.map(Metric::name)).collect();
    let note = "Each figure divided by the other tracer's.\n\n";
    note.to_owned() + &table(&titles, rows)
}

fn more(figures: &Figures) -> String {
    let megabytes = figures.binary_bytes as f64 / 1e6;
    let mut rows = vec![
        vec![
            "size of the static binary".to_owned(),
            format!("{} MB", number(megabytes)),
        ],
        vec![
            "processor time while nothing is dropped".to_owned(),
            format!("{} %", number(figures.idle * 100.0)),
        ],
    ];
    rows.extend(figures.filters.iter().map(|filter| {
        let figure = format!("eBPF program, {}", filter.flags);
        vec![
            figure.trim_end_matches(", ").to_owned(),
            format!("{} instructions", number(filter.instructions)),
        ]
    }));
    table(&["figure", "seen"], rows.into_iter())
}

/// A table in Markdown.
fn table(titles: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let titles: Vec<_> = titles.iter().map(|title| (*title).to_owned()).collect();
    let rule = vec!["---".to_owned(); titles.len()];
    let head = line(&titles) + &line(&rule);
    rows.fold(head, |text, row| text + &line(&row))
}

/// Median and extremes; only the number if they are the same.
fn spread(summary: Summary) -> String {
    let [median, min, max] = [summary.median, summary.min, summary.max].map(number);
    if min == max {
        return median;
    }
    format!("{median} ({min} to {max})")
}

fn with_unit(summary: Summary, unit: &str) -> String {
    match spread(summary).split_once(" (") {
        Some((median, range)) => format!("{median} {unit} ({range}"),
        None if summary.median.is_nan() => "-".to_owned(),
        None => format!("{} {unit}", number(summary.median)),
    }
}

/// `value` with as many digits as say something; `-` for what is no number.
fn number(value: f64) -> String {
    if value.is_nan() {
        return "-".to_owned();
    }
    let digits = match value.abs() {
        0.0 => 0,
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::{aims, beside, number, spread, tracers, with_unit};
    use crate::bench::{
        figures::example,
        summary::Summary,
        targets::targets,
        tracers::{BPFTRACE, NO_STACK, SUMMARY},
    };

    #[test]
    fn digits() {
        let cases = [
            (0.0, "0"),
            (0.034, "0.03"),
            (-3.456, "-3.46"),
            (29.53, "29.5"),
            (5200.4, "5200"),
            (f64::NAN, "-"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn summaries() {
        let summary = Summary::of([1.0, 2.0, 4.0]);
        assert_eq!(spread(summary), "2.00 (1.00 to 4.00)");
        assert_eq!(with_unit(summary, "ms"), "2.00 ms (1.00 to 4.00)");
        assert_eq!(with_unit(Summary::of([0.0]), "drops"), "0 drops");
        assert_eq!(with_unit(Summary::of([]), "ms"), "-");
    }

    #[test]
    fn tables() {
        let mut figures = example(&[
            (&NO_STACK, [5500.0, 6500.0], 1000),
            (&SUMMARY, [5500.0, 6500.0], 0),
            (&BPFTRACE, [11_000.0, 12_000.0], 900),
        ]);
        figures.tracers[1].left_out = Some("this dropwatch has no summary".to_owned());
        let text = tracers(&figures);
        let row = "| dropwatch --no-stack | 500 | 3000 (2750 to 3250) | 2000 | 0 | 30.7 | 90.0 |\n";
        assert!(text.contains(row), "{text}");
        let left_out = "\nLeft out: dropwatch summary: this dropwatch has no summary.\n";
        assert!(text.ends_with(left_out), "{text}");
        let lines = beside(&figures);
        let row = "| dropwatch --no-stack | bpftrace, printf | 0.08 | 0.52 (0.50 to 0.54) | 0.90 | 1.00 | 1.00 |\n";
        assert!(lines.ends_with(row), "{lines}");
        let text = aims(&targets(&figures));
        let rows = [
            "added per drop, to bpftrace, printf | 0.08 x | 0.1 x | yes |\n",
            "per line, to bpftrace, printf | 0.90 x | 0.1 x | **no** |\n",
            "100,000 flows: peak memory | - | 64 MB | can't tell |\n",
        ];
        for row in rows {
            assert!(text.contains(row), "{text}");
        }
    }
}
