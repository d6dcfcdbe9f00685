use super::prefers_open_metrics;

#[test]
fn who_names_open_metrics_gets_it() {
    let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,\
                      application/openmetrics-text;version=0.0.1;q=0.4,\
                      text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    for accept in [
        prometheus,
        "application/OpenMetrics-Text",
        "text/plain;q=0.5, application/openmetrics-text; q=0.5",
    ] {
        assert!(prefers_open_metrics(accept), "{accept}");
    }
    for accept in [
        "",
        "*/*",
        "text/plain",
        "text/plain;q=0.9,application/openmetrics-text;q=0.1",
        "application/openmetrics-text;q=0",
        "application/openmetrics-text;q=x",
        ";;;,,,q=",
    ] {
        assert!(!prefers_open_metrics(accept), "{accept}");
    }
}
