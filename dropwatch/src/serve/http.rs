//! Answers `GET /metrics` and `GET /healthz`.
//!
//! A connection has one request and a few seconds, and there are few connections at a time: who
//! holds them all keeps others out for that long, and costs no more.

use std::{convert::Infallible, future::Future, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{
    Method, Request as HttpRequest, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderMap, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::prometheus_text;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};

use super::Requests;

/// Most connections at a time; others wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 16;

/// How long the head of a request may take.
const HEAD_TIME: Duration = Duration::from_secs(5);

/// How long a connection may last, slow readers included.
const CONNECTION_TIME: Duration = Duration::from_secs(20);

/// How long the session may take to answer: it looks at its buffer in between, a second at most.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// Most bytes of a request's head; what Prometheus sends is some hundred. The least that hyper
/// takes.
const MAX_HEAD: usize = 8 * 1024;

/// Pause after a connection could not be taken, for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// `Content-Type` of OpenMetrics, <https://prometheus.io/docs/specs/om/open_metrics_spec/>.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

/// Answers everybody who comes to `listener`; never ends by itself.
pub(crate) async fn serve(listener: TcpListener, requests: Requests) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    while let Ok(place) = Arc::clone(&room).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let requests = requests.clone();
                tokio::spawn(async move {
                    let served = timeout(CONNECTION_TIME, serve_one(stream, requests)).await;
                    if let Ok(Err(error)) = served {
                        log::debug!("a request over the network: {error}");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                log::debug!("taking a connection: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_one(stream: TcpStream, requests: Requests) -> hyper::Result<()> {
    let service = service_fn(|request| {
        let requests = requests.clone();
        async move { Ok::<_, Infallible>(answer(&request, &requests).await) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MAX_HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

async fn answer(request: &HttpRequest<Incoming>, requests: &Requests) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refusal = plain(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD only\n");
        refusal
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    match request.uri().path() {
        "/metrics" => metrics(request.headers(), requests).await,
        "/healthz" => match in_time(requests.health()).await {
            Some(()) => plain(StatusCode::OK, "attached and reading drops\n"),
            None => not_reading(),
        },
        _ => plain(StatusCode::NOT_FOUND, "there are /metrics and /healthz\n"),
    }
}

async fn metrics(headers: &HeaderMap, requests: &Requests) -> Response<Full<Bytes>> {
    let Some(snapshot) = in_time(requests.snapshot()).await else {
        return not_reading();
    };
    let accept = headers.get_all(ACCEPT).iter().flat_map(|it| it.to_str());
    let accept = accept.collect::<Vec<_>>().join(",");
    let (text, content_type) = if prefers_open_metrics(&accept) {
        (snapshot.open_metrics(), OPEN_METRICS)
    } else {
        (snapshot.prometheus_text(), prometheus_text::CONTENT_TYPE)
    };
    match text {
        Ok(text) => with_type(StatusCode::OK, text, content_type),
        Err(error) => plain(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("writing metrics: {error}\n"),
        ),
    }
}

async fn in_time<T>(answer: impl Future<Output = Option<T>>) -> Option<T> {
    timeout(ANSWER_TIME, answer).await.ok().flatten()
}

fn not_reading() -> Response<Full<Bytes>> {
    let text = "drops are not being read\n";
    plain(StatusCode::SERVICE_UNAVAILABLE, text)
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    with_type(status, text, PLAIN)
}

fn with_type(
    status: StatusCode,
    text: impl Into<Bytes>,
    content_type: &'static str,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Whether an `Accept` header (RFC 9110, 12.5.1) likes OpenMetrics at least as much as plain text.
/// Who does not name it does not get it.
fn prefers_open_metrics(accept: &str) -> bool {
    let mut open_metrics = 0.0_f32;
    let mut text = 0.0_f32;
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| part.strip_prefix("q="));
        let weight = weight.map_or(1.0, |weight| weight.parse().unwrap_or(0.0));
        if kind.eq_ignore_ascii_case("application/openmetrics-text") {
            open_metrics = open_metrics.max(weight);
        } else if kind.eq_ignore_ascii_case("text/plain") {
            text = text.max(weight);
        }
    }
    open_metrics > 0.0 && open_metrics >= text
}

#[cfg(test)]
#[path = "http/tests.rs"]
mod tests;
