use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use super::{Snapshot, State, Values};
use crate::{
    account::Account,
    groups::{Counts, Dimension, Groups},
};

fn counts(drops: u64) -> Counts {
    Counts {
        drops,
        packets: drops * 2,
        bytes: drops * 100,
    }
}

fn snapshot(groups: &Groups) -> Arc<Snapshot> {
    let account = Account {
        seen: 12,
        counted: Some(10),
        lost: 2,
        ..Account::default()
    };
    Arc::new(Snapshot::new(&State {
        start: UNIX_EPOCH + Duration::from_millis(1_500),
        account: &account,
        groups,
        duration: Duration::from_micros(250),
        max_series: 2,
        exports: Some((3, 1)),
        kernel: "6.1.0",
    }))
}

fn groups() -> Groups {
    let mut groups = Groups::new(&[Dimension::Reason, Dimension::If], 2);
    groups.add_values(&["NO_SOCKET", "lo"], counts(5));
    // What a line would never show either: names are escaped before they get here.
    groups.add_values(&["NO_SOCKET", r#"a"b\x0a"#], counts(3));
    groups.add_values(&["TCP_CSUM", "eth0"], counts(2));
    groups.begin_reading(Counts::default());
    groups
}

#[test]
fn prometheus_text() {
    let text = snapshot(&groups()).prometheus_text().unwrap();
    let expected = r#"# HELP dropwatch_drops_total Drops, by what --by says; other: those beyond --max-series and --max-groups.
# TYPE dropwatch_drops_total counter
dropwatch_drops_total{reason="NO_SOCKET",iface="lo"} 5
dropwatch_drops_total{reason="NO_SOCKET",iface="a\"b\\x0a"} 3
dropwatch_drops_total{reason="other",iface="other"} 2
"#;
    assert!(text.starts_with(expected), "{text}");
    for line in [
        r#"dropwatch_dropped_packets_total{reason="NO_SOCKET",iface="lo"} 10"#,
        "# TYPE dropwatch_dropped_bytes_total counter",
        r#"dropwatch_dropped_bytes_total{reason="other",iface="other"} 200"#,
        "dropwatch_seen_total 12",
        r#"dropwatch_accounted_total{term="counted"} 10"#,
        r#"dropwatch_accounted_total{term="lost"} 2"#,
        r#"dropwatch_accounted_total{term="sampled_out"} 0"#,
        "dropwatch_series 2.0",
        "dropwatch_series_limit 2.0",
        r#"dropwatch_otlp_exports_total{result="failed"} 1"#,
        "process_start_time_seconds 1.5",
        "dropwatch_scrape_duration_seconds 0.00025",
        concat!(
            r#"dropwatch_build_info{version=""#,
            env!("CARGO_PKG_VERSION"),
            r#"",kernel="6.1.0"} 1"#
        ),
    ] {
        assert!(text.lines().any(|it| it == line), "no {line} in {text}");
    }
}

#[test]
fn open_metrics_names_the_family_without_total_and_has_an_end() {
    let text = snapshot(&groups()).open_metrics().unwrap();
    assert!(text.contains("# TYPE dropwatch_drops counter\n"), "{text}");
    assert!(
        text.contains("# UNIT dropwatch_dropped_bytes bytes\n"),
        "{text}"
    );
    assert!(text.contains("# TYPE dropwatch_build info\n"), "{text}");
    assert!(text.ends_with("# EOF\n"), "{text}");
}

#[test]
fn the_others_are_there_from_the_start() {
    let empty = Groups::new(&[Dimension::Netns], 2);
    let text = snapshot(&empty).prometheus_text().unwrap();
    assert!(
        text.contains("dropwatch_drops_total{netns=\"other\"} 0\n"),
        "{text}"
    );
    assert!(text.contains("dropwatch_series 0.0\n"), "{text}");
}

#[test]
fn every_drop_is_in_one_series() {
    let snapshot = snapshot(&groups());
    let Values::Counter(drops) = &snapshot.metrics[0].values else {
        panic!("drops are counted");
    };
    assert_eq!(drops.iter().map(|(_, drops)| drops).sum::<u64>(), 10);
}

#[test]
fn totals_never_fall() {
    let mut groups = groups();
    let totals = |groups: &Groups| {
        let snapshot = snapshot(groups);
        let Values::Counter(drops) = &snapshot.metrics[0].values else {
            panic!("drops are counted");
        };
        drops.clone()
    };
    let before = totals(&groups);
    groups.add_values(&["NO_SOCKET", "lo"], counts(1));
    groups.add_values(&["NEW", "lo"], counts(1));
    groups.begin_reading(Counts::default());
    let after = totals(&groups);
    for (labels, drops) in before {
        let now = after.iter().find(|(other, _)| *other == labels).unwrap().1;
        assert!(now >= drops, "{labels:?}");
    }
    assert_eq!(after.iter().map(|(_, drops)| drops).sum::<u64>(), 12);
}
