//! The table that a bench ends with.

use anyhow::Result;
use xtask::say;

use crate::bench::{
    BenchOptions, Figures, Traced, WayFigures, filters::FilterSize, flood::Flood, machine::Machine,
    summary::Summary,
};

/// All there is to tell.
pub(super) struct Report<'a> {
    pub(super) options: &'a BenchOptions,
    pub(super) machine: &'a Machine,
    pub(super) figures: &'a Figures,
}

/// One line of the table.
struct Row {
    figure: String,
    unit: &'static str,
    value: Summary,
    /// What the figure should be at most.
    target: Option<f64>,
}

impl Row {
    fn new(figure: impl Into<String>, unit: &'static str, value: Summary) -> Self {
        Self {
            figure: figure.into(),
            unit,
            value,
            target: None,
        }
    }

    fn at_most(self, target: f64) -> Self {
        self.at_most_if(Some(target))
    }

    fn at_most_if(self, target: Option<f64>) -> Self {
        Self { target, ..self }
    }

    fn print(&self) {
        let Summary { median, min, max } = self.value;
        let target = self.target.map(|target| format!("<= {target}"));
        say::result(format!(
            "{:<52} {:>9} {:>9} .. {:<9} {:<5} {}",
            self.figure,
            number(median),
            number(min),
            number(max),
            self.unit,
            target.as_deref().unwrap_or("-"),
        ));
    }
}

impl Report<'_> {
    /// Writes the table to standard output.
    pub(super) fn print(&self) -> Result<()> {
        let options = self.options;
        say::result(self.machine.describe()?);
        say::result(format!(
            "floods of {} UDP datagrams of {} bytes to a closed port on loopback, {} rounds",
            options.packets, options.size, options.rounds
        ));
        say::result(format!(
            "generator on processor {}, tracer on processor {}, tracepoint as the kernel has it",
            self.machine.generator_cpu(),
            self.machine.tracer_cpu()
        ));
        say::result("");
        say::result(format!(
            "{:<52} {:>9} {:>9} .. {:<9} {:<5} target",
            "figure", "median", "min", "max", "unit"
        ));
        let kinds = [
            self.starts(),
            self.resources(),
            self.kernel_time(),
            self.own_time(),
            self.filters(),
        ];
        for row in kinds.iter().flatten() {
            row.print();
        }
        Ok(())
    }

    fn starts(&self) -> Vec<Row> {
        let starts = &self.figures.starts;
        vec![
            Row::new("start to attached", "ms", Summary::of_ms(&starts.attached)).at_most(300.0),
            Row::new(
                "lone drop to the pipe, first after a start",
                "ms",
                Summary::of_ms(&starts.first_drops),
            )
            .at_most(1.0),
            Row::new(
                "lone drop to the pipe, later ones",
                "ms",
                Summary::of_ms(&starts.later_drops),
            )
            .at_most(1.0),
        ]
    }

    fn resources(&self) -> Vec<Row> {
        let figures = self.figures;
        let megabytes = figures.binary_bytes as f64 / 1e6;
        let mut rows = vec![
            Row::new("size of the binary", "MB", Summary::of([megabytes])).at_most(12.0),
            Row::new(
                "processor time while nothing is dropped",
                "%",
                Summary::of([figures.idle * 100.0]),
            ),
        ];
        rows.extend(figures.ways.iter().map(|way| {
            let peak = way.summary(|traced| traced.peak_kib as f64 * 1024.0 / 1e6);
            way.row("peak memory", "MB", peak).at_most(40.0)
        }));
        rows.extend(figures.ways.iter().map(|way| {
            let lost = way.summary(|traced| traced.account.lost as f64);
            way.row("lost", "drops", lost).at_most(0.0)
        }));
        rows
    }

    fn kernel_time(&self) -> Vec<Row> {
        let Figures { untraced, ways, .. } = self.figures;
        let without = Summary::of(untraced.iter().map(|flood| flood.median_ns));
        let mut rows = vec![Row::new("a packet without a tracer", "ns", without)];
        rows.extend(ways.iter().map(|way| {
            let added = way.beside(untraced, |with, without| with.median_ns - without.median_ns);
            let row = way.row("added per drop", "ns", added);
            row.at_most_if(way.way.added_target)
        }));
        rows.extend(ways.iter().map(|way| {
            let added = way.beside(untraced, |with, without| with.mean_ns - without.mean_ns);
            way.row("added per drop, interruptions included", "ns", added)
        }));
        rows.extend(ways.iter().map(|way| {
            let ratio = way.beside(untraced, |with, without| with.median_ns / without.median_ns);
            way.row("a packet, traced to untraced", "x", ratio)
        }));
        rows.extend(ways.iter().map(|way| {
            let program = Summary::of(way.program_ns);
            way.row("a run of the eBPF program, by bpf_stats", "ns", program)
        }));
        rows
    }

    /// Instructions of the eBPF program, and what each filter adds to them: one
    /// that is off adds none.
    fn filters(&self) -> Vec<Row> {
        let filters = self.figures.filters.iter();
        let row = |filter: &FilterSize| {
            let figure = format!("eBPF program, {}", filter.flags);
            let instructions = Summary::of([filter.instructions]);
            Row::new(figure.trim_end_matches(", "), "insns", instructions)
        };
        filters.map(row).collect()
    }

    fn own_time(&self) -> Vec<Row> {
        let printing = self.figures.ways.iter().filter(|way| way.prints());
        let rows = printing.map(|way| {
            let per_line = way
                .summary(|traced| traced.cpu.as_secs_f64() * 1e9 / traced.account.printed as f64);
            let row = way.row("own processor time per line", "ns", per_line);
            row.at_most_if(way.way.own_target)
        });
        rows.collect()
    }
}

impl WayFigures {
    fn row(&self, figure: &str, unit: &'static str, value: Summary) -> Row {
        Row::new(format!("{figure}, {}", self.way.name), unit, value)
    }

    fn prints(&self) -> bool {
        self.traced.iter().all(|traced| traced.account.printed > 0)
    }

    fn summary(&self, value: impl Fn(&Traced) -> f64) -> Summary {
        Summary::of(self.traced.iter().map(value))
    }

    /// Sets each flood beside the one without a tracer in the same round.
    fn beside(&self, untraced: &[Flood], value: impl Fn(&Flood, &Flood) -> f64) -> Summary {
        let floods = self.traced.iter().map(|traced| &traced.flood);
        Summary::of(
            floods
                .zip(untraced)
                .map(|(with, without)| value(with, without)),
        )
    }
}

/// `value` with as many digits as say something.
fn number(value: f64) -> String {
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
    use super::number;

    #[test]
    fn digits() {
        let cases = [
            (0.0, "0"),
            (0.034, "0.03"),
            (-3.456, "-3.46"),
            (29.53, "29.5"),
            (5200.4, "5200"),
            (f64::NAN, "NaN"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
    }
}
