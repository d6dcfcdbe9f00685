//! What dropwatch may cost at most, most of it beside others in the same run.

use crate::bench::{
    figures::{Figures, Metric},
    summary::Summary,
    tracers::{
        BPFTRACE, BPFTRACE_COUNT, BPFTRACE_STACK, DEFAULT, EMPTY, FILTERED, MANY_FLOWS, NO_STACK,
        STACK_ID, SUMMARY, Spec, TOP,
    },
};

/// A figure with the most that it should be.
pub(super) struct Target {
    pub(super) figure: String,
    pub(super) seen: Summary,
    pub(super) at_most: f64,
    pub(super) unit: &'static str,
}

/// A ratio that should not be exceeded.
struct RatioTarget {
    spec: &'static Spec,
    other: &'static Spec,
    metrics: &'static [Metric],
    at_most: f64,
}

/// The kernel's time, by the generator and by the kernel's own measure.
const KERNEL_TIME: &[Metric] = &[Metric::Added, Metric::Program];

const RATIOS: &[RatioTarget] = &[
    RatioTarget {
        spec: &NO_STACK,
        other: &BPFTRACE,
        metrics: KERNEL_TIME,
        at_most: 0.10,
    },
    RatioTarget {
        spec: &NO_STACK,
        other: &EMPTY,
        metrics: KERNEL_TIME,
        at_most: 3.0,
    },
    RatioTarget {
        spec: &DEFAULT,
        other: &STACK_ID,
        metrics: KERNEL_TIME,
        at_most: 1.15,
    },
    RatioTarget {
        spec: &NO_STACK,
        other: &BPFTRACE,
        metrics: &[Metric::Cpu],
        at_most: 0.10,
    },
    RatioTarget {
        spec: &DEFAULT,
        other: &BPFTRACE_STACK,
        metrics: &[Metric::Cpu],
        at_most: 0.10,
    },
    RatioTarget {
        spec: &FILTERED[0],
        other: &EMPTY,
        metrics: KERNEL_TIME,
        at_most: 1.5,
    },
    RatioTarget {
        spec: &FILTERED[1],
        other: &EMPTY,
        metrics: KERNEL_TIME,
        at_most: 1.5,
    },
    RatioTarget {
        spec: &FILTERED[2],
        other: &EMPTY,
        metrics: KERNEL_TIME,
        at_most: 1.5,
    },
    RatioTarget {
        spec: &SUMMARY,
        other: &BPFTRACE_COUNT,
        metrics: KERNEL_TIME,
        at_most: 1.5,
    },
    RatioTarget {
        spec: &TOP,
        other: &BPFTRACE_COUNT,
        metrics: KERNEL_TIME,
        at_most: 1.5,
    },
];

impl Target {
    /// Whether the median is low enough; `None` if nothing was measured, or less than
    /// nothing, which is noise.
    pub(super) fn is_met(&self) -> Option<bool> {
        let median = self.seen.median;
        (median >= 0.0).then_some(median <= self.at_most)
    }
}

impl Metric {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Added => "kernel time added per drop",
            Self::Program => "run of the eBPF program",
            Self::Cpu => "own processor time per line",
            Self::Memory => "peak memory",
            Self::Attach => "start to attached",
        }
    }
}

/// All targets, with what was seen.
pub(super) fn targets(figures: &Figures) -> Vec<Target> {
    let mut targets: Vec<_> = RATIOS
        .iter()
        .flat_map(|ratio| ratio.targets(figures))
        .collect();
    targets.extend(absolute(figures));
    targets
}

impl RatioTarget {
    fn targets(&self, figures: &Figures) -> impl Iterator<Item = Target> {
        self.metrics.iter().map(|metric| Target {
            figure: format!(
                "{}: {}, to {}",
                self.spec.name,
                metric.name(),
                self.other.name
            ),
            seen: figures.ratio(self.spec, self.other, *metric),
            at_most: self.at_most,
            unit: "x",
        })
    }
}

fn absolute(figures: &Figures) -> Vec<Target> {
    let starts = &figures.starts;
    let target = |figure: &str, seen, at_most, unit| Target {
        figure: figure.to_owned(),
        seen,
        at_most,
        unit,
    };
    let flat_out = figures.flat_out.as_ref();
    let packets = flat_out.map_or(0, |session| session.packets);
    let lost = flat_out.and_then(|session| session.lost);
    let mut targets = vec![
        target(
            &format!("dropwatch: lost of {packets} at full speed"),
            Summary::of(lost.map(|lost| lost as f64)),
            0.0,
            "drops",
        ),
        target(
            "dropwatch: peak memory",
            figures.metric(&DEFAULT, Metric::Memory),
            32.0,
            "MB",
        ),
        target(
            "dropwatch: start to attached",
            Summary::of_ms(&starts.attached),
            100.0,
            "ms",
        ),
        target(
            "dropwatch: lone drop to the pipe, the first after a start",
            Summary::of_ms(&starts.first_drops),
            1.0,
            "ms",
        ),
        target(
            "dropwatch: lone drop to the pipe, later ones",
            Summary::of_ms(&starts.later_drops),
            1.0,
            "ms",
        ),
    ];
    targets.extend(MANY_FLOWS.iter().map(|spec| {
        let sessions = figures.many_flows.iter();
        let peaks = sessions.filter(|(name, _)| *name == spec.name);
        target(
            &format!("{}: {}", spec.name, Metric::Memory.name()),
            Summary::of(peaks.map(|(_, session)| session.peak_mb())),
            64.0,
            "MB",
        )
    }));
    targets
}

#[cfg(test)]
mod tests {
    use super::targets;
    use crate::bench::{
        figures::example,
        tracers::{BPFTRACE, DEFAULT, NO_STACK, STACK_ID},
    };

    #[test]
    fn a_target_is_met_missed_or_not_measured() {
        let figures = example(&[
            (&NO_STACK, [5500.0, 6500.0], 1000),
            (&BPFTRACE, [11_000.0, 12_000.0], 1000),
            (&DEFAULT, [4900.0, 5900.0], 1000),
            (&STACK_ID, [9000.0, 9000.0], 0),
        ]);
        let targets = targets(&figures);
        let met = |part: &str| {
            let target = targets.iter().find(|target| target.figure.contains(part));
            target.unwrap().is_met()
        };
        assert_eq!(met("added per drop, to bpftrace, printf"), Some(true));
        assert_eq!(met("own processor time per line, to"), Some(false));
        assert_eq!(met("added per drop, to empty program"), None);
        assert_eq!(met("added per drop, to bare stack-id"), None);
        assert_eq!(met("the first after a start"), Some(false));
        assert_eq!(met("later ones"), Some(true));
        assert_eq!(met("top, 100,000 flows"), None);
        assert_eq!(met("lost of 1000"), Some(true));
    }
}
