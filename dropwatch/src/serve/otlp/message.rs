//! Metrics as OTLP has them. The names are those of Prometheus: what a collector makes of them for
//! Prometheus is what `/metrics` says.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    metrics::v1::{
        AggregationTemporality, Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
        metric::Data, number_data_point::Value,
    },
    resource::v1::Resource,
};
use prometheus_client::registry::Unit;

use crate::serve::snapshot::{self, Snapshot, Values};

const NAME: &str = "dropwatch";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The request for an export of `snapshot`, by the host of this name.
pub(super) fn request(snapshot: &Snapshot, host: &str) -> ExportMetricsServiceRequest {
    let attributes = [
        ("service.name", NAME),
        ("service.version", VERSION),
        ("service.instance.id", host),
        ("host.name", host),
    ];
    let metrics = snapshot.metrics.iter();
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource {
                attributes: attributes.map(|(key, value)| attribute(key, value)).into(),
                ..Resource::default()
            }),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(InstrumentationScope {
                    name: NAME.to_owned(),
                    version: VERSION.to_owned(),
                    ..InstrumentationScope::default()
                }),
                metrics: metrics.map(|metric| of(metric, snapshot)).collect(),
                ..ScopeMetrics::default()
            }],
            ..ResourceMetrics::default()
        }],
    }
}

fn of(metric: &snapshot::Metric, snapshot: &Snapshot) -> Metric {
    let point = |labels: &[(&str, String)], value| NumberDataPoint {
        attributes: labels
            .iter()
            .map(|(key, value)| attribute(key, value))
            .collect(),
        start_time_unix_nano: nanoseconds(snapshot.start),
        time_unix_nano: nanoseconds(snapshot.time),
        value: Some(value),
        ..NumberDataPoint::default()
    };
    let gauge = |point| {
        Data::Gauge(Gauge {
            data_points: vec![point],
        })
    };
    let data = match &metric.values {
        Values::Counter(series) => Data::Sum(Sum {
            data_points: series
                .iter()
                .map(|(labels, value)| {
                    let value = i64::try_from(*value).unwrap_or(i64::MAX);
                    point(labels, Value::AsInt(value))
                })
                .collect(),
            aggregation_temporality: AggregationTemporality::Cumulative.into(),
            is_monotonic: true,
        }),
        Values::Gauge(value) => gauge(point(&[], Value::AsDouble(*value))),
        Values::Info(labels) => gauge(point(labels, Value::AsInt(1))),
    };
    // Prometheus has the ending as part of the type, OTLP as part of the name.
    let ending = match metric.values {
        Values::Info(_) => "_info",
        Values::Counter(_) | Values::Gauge(_) => "",
    };
    Metric {
        name: format!("{}{ending}", metric.name),
        description: metric.help.to_owned(),
        // UCUM, <https://ucum.org>.
        unit: match &metric.unit {
            Some(Unit::Bytes) => "By",
            Some(Unit::Seconds) => "s",
            Some(_) | None => "",
        }
        .to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(any_value::Value::StringValue(value.to_owned())),
        }),
        ..KeyValue::default()
    }
}

/// Since 1970, as OTLP counts time.
fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
