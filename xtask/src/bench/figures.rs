//! What was measured.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::bench::{
    filters::FilterSize, flood::Flood, latency::Starts, summary::Summary, tracer::Shown,
    tracers::Spec,
};

/// Everything that the report needs.
pub(super) struct Figures {
    pub(super) binary_bytes: u64,
    pub(super) starts: Starts,
    /// Part of one processor that an idle dropwatch uses.
    pub(super) idle: f64,
    /// A flood without a tracer, per round.
    pub(super) untraced: Vec<Flood>,
    pub(super) tracers: Vec<TracerFigures>,
    /// The flood of which none may be lost.
    pub(super) flat_out: Option<Session>,
    /// A flood of many flows, by the name of the tracer that kept them apart.
    pub(super) many_flows: Vec<(&'static str, Session)>,
    pub(super) filters: Vec<FilterSize>,
}

/// What the floods under one tracer showed.
pub(super) struct TracerFigures {
    pub(super) spec: &'static Spec,
    /// One per round.
    pub(super) sessions: Vec<Session>,
    /// Why there are none.
    pub(super) left_out: Option<String>,
}

/// What one run of a tracer showed.
pub(super) struct Session {
    pub(super) flood: Flood,
    /// Datagrams that the kernel dropped.
    pub(super) packets: u64,
    /// The tracer's own time on a processor.
    pub(super) cpu: Duration,
    /// Nanoseconds of a run of its eBPF program, as the kernel measures them.
    pub(super) program_ns: Option<f64>,
    pub(super) peak_kib: u64,
    /// From the start of the process until it saw drops.
    pub(super) attached: Duration,
    /// Drops that it wrote something about.
    pub(super) records: Option<u64>,
    /// Drops that it should have written something about, and did not.
    pub(super) lost: Option<u64>,
}

/// A figure of a tracer that others have, too. All are costs: less is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Metric {
    /// Nanoseconds that a drop takes the generator longer than without a tracer.
    Added,
    /// Nanoseconds of a run of the eBPF program, by `bpf_stats`.
    Program,
    /// Nanoseconds of the tracer's own processor time for a record.
    Cpu,
    /// Megabytes.
    Memory,
    /// Milliseconds from start to attached.
    Attach,
}

impl Session {
    /// The session, with what the tracer had to show at its end.
    pub(super) fn ended(mut self, shown: &Shown) -> Result<Self> {
        if let (Some(account), Some(records)) = (&shown.account, shown.records) {
            ensure!(
                account.printed == records,
                "dropwatch says that it printed {} lines, but there are {records}",
                account.printed
            );
        }
        self.records = shown.records;
        let missing = shown.records.map(|n| self.packets.saturating_sub(n));
        self.lost = missing.or(shown.account.as_ref().map(|account| account.lost));
        Ok(self)
    }

    fn metric(&self, metric: Metric, untraced: &Flood) -> Option<f64> {
        match metric {
            Metric::Added => Some(self.flood.median_ns - untraced.median_ns),
            Metric::Program => self.program_ns,
            Metric::Cpu => {
                let records = self.records.filter(|records| *records > 0)?;
                Some(self.cpu.as_secs_f64() * 1e9 / records as f64)
            }
            Metric::Memory => Some(self.peak_mb()),
            Metric::Attach => Some(self.attached.as_secs_f64() * 1e3),
        }
    }

    pub(super) fn peak_mb(&self) -> f64 {
        self.peak_kib as f64 * 1024.0 / 1e6
    }
}

impl TracerFigures {
    pub(super) fn new(spec: &'static Spec) -> Self {
        Self {
            spec,
            sessions: Vec::new(),
            left_out: None,
        }
    }

    /// Percent of the drops that were lost.
    pub(super) fn lost_percent(&self) -> Summary {
        let lost = |session: &Session| Some(session.lost? as f64 * 100.0 / session.packets as f64);
        Summary::of(self.sessions.iter().filter_map(lost))
    }

    /// The figure of each round, `None` where there is none.
    fn rounds(&self, metric: Metric, untraced: &[Flood]) -> Vec<Option<f64>> {
        let rounds = self.sessions.iter().zip(untraced);
        let figures = rounds.map(|(session, untraced)| session.metric(metric, untraced));
        figures.collect()
    }
}

impl Figures {
    pub(super) fn tracer(&self, spec: &Spec) -> Option<&TracerFigures> {
        let mut tracers = self.tracers.iter();
        tracers.find(|tracer| tracer.spec.name == spec.name)
    }

    /// One figure of a tracer over all rounds; without any, "not a number".
    pub(super) fn metric(&self, spec: &Spec, metric: Metric) -> Summary {
        Summary::of(self.rounds(spec, metric).into_iter().flatten())
    }

    /// One figure of a tracer to the same one of another, round by round.
    ///
    /// A round in which the other's is not above zero, as it can be where noise hides
    /// what it costs, says nothing.
    pub(super) fn ratio(&self, spec: &Spec, other: &Spec, metric: Metric) -> Summary {
        let (ours, theirs) = (self.rounds(spec, metric), self.rounds(other, metric));
        let pairs = ours.into_iter().zip(theirs);
        let ratio = |(ours, theirs): (Option<f64>, Option<f64>)| {
            let theirs = theirs.filter(|theirs| *theirs > 0.0)?;
            Some(ours? / theirs)
        };
        Summary::of(pairs.filter_map(ratio))
    }

    fn rounds(&self, spec: &Spec, metric: Metric) -> Vec<Option<f64>> {
        let tracer = self.tracer(spec);
        tracer.map_or_else(Vec::new, |tracer| tracer.rounds(metric, &self.untraced))
    }
}

/// Made-up figures: two rounds of the tracers that are given, with the kernel
/// time that a drop takes and the records that there are of a thousand drops.
#[cfg(test)]
pub(super) fn example(tracers: &[(&'static Spec, [f64; 2], u64)]) -> Figures {
    let flood = |ns| Flood {
        mean_ns: ns + 500.0,
        median_ns: ns,
    };
    let session = |ns, records| {
        let session = Session {
            flood: flood(ns),
            packets: 1000,
            cpu: Duration::from_micros(2000),
            program_ns: Some(ns / 2.0),
            peak_kib: 30_000,
            attached: Duration::from_millis(90),
            records: None,
            lost: None,
        };
        let shown = Shown {
            account: None,
            records: Some(records),
        };
        session.ended(&shown).unwrap()
    };
    let tracers = tracers.iter().map(|(spec, ns, records)| TracerFigures {
        sessions: ns.iter().map(|ns| session(*ns, *records)).collect(),
        ..TracerFigures::new(spec)
    });
    Figures {
        binary_bytes: 5_000_000,
        starts: Starts {
            attached: vec![Duration::from_millis(90)],
            first_drops: vec![Duration::from_micros(1500)],
            later_drops: vec![Duration::from_micros(200)],
        },
        idle: 0.0,
        untraced: vec![flood(5000.0), flood(6000.0)],
        tracers: tracers.collect(),
        flat_out: Some(session(6000.0, 1000)),
        many_flows: Vec::new(),
        filters: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Metric, example};
    use crate::bench::{
        account::Account,
        summary::Summary,
        tracer::Shown,
        tracers::{BPFTRACE, EMPTY, NO_STACK, PERF},
    };

    fn summary(median: f64, min: f64, max: f64) -> Summary {
        Summary { median, min, max }
    }

    #[test]
    fn each_round_is_set_beside_its_own() {
        let figures = example(&[
            (&NO_STACK, [5500.0, 6700.0], 1000),
            (&BPFTRACE, [10_000.0, 13_000.0], 500),
        ]);
        let added = figures.metric(&NO_STACK, Metric::Added);
        assert_eq!(added, summary(600.0, 500.0, 700.0));
        let ratio = figures.ratio(&NO_STACK, &BPFTRACE, Metric::Added);
        assert_eq!(ratio, summary(0.1, 0.1, 0.1));
        // Of what was printed, not of what there was to print.
        let cpu = figures.metric(&BPFTRACE, Metric::Cpu);
        assert_eq!(cpu, summary(4000.0, 4000.0, 4000.0));
        let lost = figures.tracer(&BPFTRACE).unwrap().lost_percent();
        assert_eq!(lost, summary(50.0, 50.0, 50.0));
    }

    #[test]
    fn what_was_not_measured_is_no_number() {
        let figures = example(&[(&EMPTY, [5000.0, 6000.0], 0)]);
        assert!(figures.metric(&PERF, Metric::Added).median.is_nan());
        assert!(figures.metric(&EMPTY, Metric::Cpu).median.is_nan());
        let ratio = figures.ratio(&EMPTY, &PERF, Metric::Added);
        assert!(ratio.median.is_nan());
    }

    #[test]
    fn rounds_that_noise_has_spoiled_give_no_ratio() {
        let figures = example(&[
            (&NO_STACK, [5500.0, 6500.0], 1000),
            (&EMPTY, [4900.0, 6250.0], 0),
        ]);
        let ratio = figures.ratio(&NO_STACK, &EMPTY, Metric::Added);
        assert_eq!(ratio, summary(2.0, 2.0, 2.0));
    }

    #[test]
    fn an_account_that_lines_contradict_is_refused() {
        let mut figures = example(&[(&NO_STACK, [5500.0, 6700.0], 1000)]);
        let session = figures.tracers.remove(0).sessions.remove(0);
        let shown = Shown {
            account: Some(Account {
                printed: 1000,
                lost: 0,
            }),
            records: Some(999),
        };
        assert!(session.ended(&shown).is_err());
    }
}
