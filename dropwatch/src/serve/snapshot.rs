//! What is exported: the metrics by name, as of one moment.
//!
//! Names and units follow <https://prometheus.io/docs/practices/naming/>, those of OTLP the
//! semantic conventions of OpenTelemetry.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet, prometheus_text, text},
    metrics::MetricType,
    registry::{Registry, Unit},
};

use crate::{
    account::Account,
    groups::{Counts, Dimension, Groups},
};

/// Stands for what found no room, under every label.
const OTHER: &str = "other";

/// Names and values that tell a series from others of its metric.
pub type Labels = Arc<[(&'static str, String)]>;

/// Everything that is exported, as of one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// When counting began.
    pub start: SystemTime,
    /// The moment.
    pub time: SystemTime,
    /// The metrics, in the order in which they are shown.
    pub metrics: Vec<Metric>,
}

/// A metric with its series.
#[derive(Clone, Debug)]
pub struct Metric {
    /// As OpenMetrics has it: without unit, and without `_total`.
    pub name: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// What the numbers are in, if it is no plain number.
    pub unit: Option<Unit>,
    /// What kind of numbers.
    pub values: Values,
}

/// The series of a metric.
#[derive(Clone, Debug)]
pub enum Values {
    /// Totals since the start, which only grow.
    Counter(Vec<(Labels, u64)>),
    /// One number of now.
    Gauge(f64),
    /// Always 1; the labels are what is told.
    Info(Labels),
}

/// What the session knows, from which metrics are made.
pub(crate) struct State<'a> {
    /// When counting began.
    pub(crate) start: SystemTime,
    /// Where every drop went.
    pub(crate) account: &'a Account,
    /// As of the reading just made.
    pub(crate) groups: &'a Groups,
    /// How long the reading took.
    pub(crate) duration: Duration,
    /// Most series of a metric.
    pub(crate) max_series: u32,
    /// Exports to a collector that were taken, and that failed; `None` if there is no collector.
    pub(crate) exports: Option<(u64, u64)>,
    /// The release of the kernel.
    pub(crate) kernel: &'a str,
}

/// The name of the label; `if` is what lines say for short.
#[must_use]
pub fn label(dimension: Dimension) -> &'static str {
    match dimension {
        Dimension::If => "iface",
        other => other.name(),
    }
}

impl Snapshot {
    /// Makes metrics of what the session knows.
    pub(crate) fn new(state: &State<'_>) -> Self {
        let series = series(state.groups);
        let mut metrics = Vec::from(counted(&series));
        metrics.extend(accounts(state.account));
        metrics.extend(state.exports.map(exports));
        // The others are always there.
        metrics.extend(sizes(series.len() - 1, state.max_series));
        metrics.extend(about(state));
        Self {
            start: state.start,
            time: SystemTime::now(),
            metrics,
        }
    }

    /// As OpenMetrics 1.0.0.
    ///
    /// # Errors
    /// None that a string makes.
    pub fn open_metrics(self: &Arc<Self>) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry())?;
        Ok(text)
    }

    /// As Prometheus' text format 0.0.4.
    ///
    /// # Errors
    /// None that a string makes.
    pub fn prometheus_text(self: &Arc<Self>) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_text::encode(&mut text, &self.registry())?;
        Ok(text)
    }

    fn registry(self: &Arc<Self>) -> Registry {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Arc::clone(self)));
        registry
    }
}

impl Metric {
    fn counter(name: &'static str, help: &'static str, series: Vec<(Labels, u64)>) -> Self {
        Self {
            name,
            help,
            unit: None,
            values: Values::Counter(series),
        }
    }

    fn gauge(name: &'static str, help: &'static str, value: f64) -> Self {
        Self {
            name,
            help,
            unit: None,
            values: Values::Gauge(value),
        }
    }
}

/// The groups with their labels, and at last those without a group, always.
fn series(groups: &Groups) -> Vec<(Labels, Counts)> {
    let names = || groups.by().iter().map(|by| label(*by));
    let of_groups = groups.groups().map(|group| {
        let values = group.values.iter().map(|id| groups.text(*id));
        (labels(names().zip(values)), group.total)
    });
    let others = labels(names().map(|name| (name, OTHER)));
    of_groups.chain([(others, groups.other())]).collect()
}

fn counted(series: &[(Labels, Counts)]) -> [Metric; 3] {
    let of = |count: fn(&Counts) -> u64| {
        let values = series.iter();
        values
            .map(|(labels, counts)| (Arc::clone(labels), count(counts)))
            .collect()
    };
    [
        Metric::counter(
            "dropwatch_drops",
            "Drops, by what --by says; other: those beyond --max-series and --max-groups.",
            of(|counts| counts.drops),
        ),
        Metric::counter(
            "dropwatch_dropped_packets",
            "Packets that the drops would have been on the wire.",
            of(|counts| counts.packets),
        ),
        Metric {
            unit: Some(Unit::Bytes),
            ..Metric::counter(
                "dropwatch_dropped",
                "Bytes of the dropped packets, len= of the lines.",
                of(|counts| counts.bytes),
            )
        },
    ]
}

fn accounts(account: &Account) -> [Metric; 2] {
    let Account {
        seen,
        printed: _,
        counted,
        hidden,
        filtered,
        sampled_out,
        limited,
        lost,
    } = *account;
    let terms = [
        ("counted", counted.unwrap_or_default()),
        ("hidden", hidden),
        ("filtered", filtered),
        ("sampled_out", sampled_out),
        ("limited", limited),
        ("lost", lost),
    ];
    [
        Metric::counter(
            "dropwatch_seen",
            "Drops that the kernel reported.",
            vec![(labels([]), seen)],
        ),
        Metric::counter(
            "dropwatch_accounted",
            "What became of them; the terms add up to those seen.",
            terms
                .map(|(term, count)| (labels([("term", term)]), count))
                .into(),
        ),
    ]
}

fn exports((exported, failed): (u64, u64)) -> Metric {
    let results = [("ok", exported), ("failed", failed)];
    Metric::counter(
        "dropwatch_otlp_exports",
        "Exports to the OpenTelemetry collector.",
        results
            .map(|(result, count)| (labels([("result", result)]), count))
            .into(),
    )
}

fn sizes(series: usize, limit: u32) -> [Metric; 2] {
    [
        Metric::gauge(
            "dropwatch_series",
            "Series of each metric of drops, the one of the others not included.",
            series as f64,
        ),
        Metric::gauge(
            "dropwatch_series_limit",
            "Most of these series, --max-series.",
            limit.into(),
        ),
    ]
}

fn about(state: &State<'_>) -> [Metric; 3] {
    let since_epoch = state.start.duration_since(UNIX_EPOCH).unwrap_or_default();
    [
        Metric {
            unit: Some(Unit::Seconds),
            ..Metric::gauge(
                "process_start_time",
                "When counting began, since 1970.",
                since_epoch.as_secs_f64(),
            )
        },
        Metric {
            unit: Some(Unit::Seconds),
            ..Metric::gauge(
                "dropwatch_scrape_duration",
                "How long it took to read the counts.",
                state.duration.as_secs_f64(),
            )
        },
        Metric {
            name: "dropwatch_build",
            help: "Version of dropwatch, and the kernel that it runs on.",
            unit: None,
            values: Values::Info(labels([
                ("version", env!("CARGO_PKG_VERSION")),
                ("kernel", state.kernel),
            ])),
        },
    ]
}

fn labels<'a>(pairs: impl IntoIterator<Item = (&'static str, &'a str)>) -> Labels {
    let pairs = pairs.into_iter();
    pairs
        .map(|(name, value)| (name, value.to_owned()))
        .collect()
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for metric in &self.metrics {
            let kind = match metric.values {
                Values::Counter(_) => MetricType::Counter,
                Values::Gauge(_) => MetricType::Gauge,
                Values::Info(_) => MetricType::Info,
            };
            let unit = metric.unit.as_ref();
            let mut values = encoder.encode_descriptor(metric.name, metric.help, unit, kind)?;
            match &metric.values {
                Values::Counter(series) => {
                    for (labels, value) in series {
                        let labels = &**labels;
                        let mut values = values.encode_family(&labels)?;
                        values.encode_counter::<NoLabelSet, _, u64>(value, None)?;
                    }
                }
                Values::Gauge(value) => values.encode_gauge(value)?,
                Values::Info(labels) => values.encode_info(&&**labels)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "snapshot/tests.rs"]
mod tests;
