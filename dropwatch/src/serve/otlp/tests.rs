use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceResponse,
};
use prost::Message as _;

use super::{Options, check};

#[test]
fn urls() {
    let options = |url| Options::new(url, Duration::from_secs(1));
    let parts = |url| {
        let options = options(url).unwrap();
        (options.host, options.port, options.path)
    };
    let default = "/v1/metrics".to_owned();
    assert_eq!(
        parts("http://collector"),
        ("collector".to_owned(), 4318, default.clone())
    );
    assert_eq!(parts("http://[::1]:1/"), ("::1".to_owned(), 1, default));
    assert_eq!(
        parts("http://10.0.0.7:4318/otlp?a=b"),
        ("10.0.0.7".to_owned(), 4318, "/otlp?a=b".to_owned())
    );
    for url in [
        "",
        "collector:4318",
        "10.0.0.7",
        "ftp://a",
        "http://",
        "http://u:p@h",
        "http://a b",
        "http://h:x",
    ] {
        let error = options(url).unwrap_err().to_string();
        assert!(error.contains("--otlp takes"), "{url}: {error}");
    }
    let error = options("https://collector").unwrap_err().to_string();
    assert!(error.contains("https"), "{error}");
}

#[test]
fn a_collector_that_refuses_is_heard() {
    let answer = |rejected| {
        let partial = ExportMetricsPartialSuccess {
            rejected_data_points: rejected,
            error_message: "no\u{1b}[2J".to_owned(),
        };
        let answer = ExportMetricsServiceResponse {
            partial_success: Some(partial),
        };
        answer.encode_to_vec()
    };
    assert!(check(&answer(0)).is_ok());
    assert!(check(b"").is_ok() && check(b"{}").is_ok());
    let error = check(&answer(3)).unwrap_err().to_string();
    assert!(error.contains("3 of the numbers: no\\u{1b}[2J"), "{error}");
}
