//! Answers `GET /metrics` and `GET /healthz`.
//!
//! A connection has one request and a few seconds, and there are few at a time: who holds them all
//! keeps nobody out, and costs no more.

mod connections;
mod renderings;

use std::{
    convert::Infallible,
    future::Future,
    io::{self, ErrorKind},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use http_body_util::{Either, Full};
use hyper::{
    Method, Request as HttpRequest, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderMap, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::prometheus_text;
use rustix::net::{
    Shutdown,
    sockopt::{set_socket_linger, set_socket_send_buffer_size},
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

use self::{
    connections::{Connections, Phase, Progress},
    renderings::{Format, Renderings, Text},
};
use super::Requests;

/// How long the head of a request may take.
const HEAD_TIME: Duration = Duration::from_secs(2);

/// How long a connection may last, slow readers included.
const CONNECTION_TIME: Duration = Duration::from_secs(20);

/// How long the session may take to answer: it looks at its buffer in between, a second at most.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// Most bytes of a request's head; what Prometheus sends is some hundred. The least that hyper
/// takes.
const MAX_HEAD: usize = 8 * 1024;

/// Bytes of an answer that the kernel keeps for a client; it takes twice as much memory.
const SEND_BUFFER: usize = 128 * 1024;

/// Pause after a connection could not be taken, for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// `Content-Type` of OpenMetrics, <https://prometheus.io/docs/specs/om/open_metrics_spec/>.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

/// Listens at an address of this host, for [`Server::serve`]. Has to be called in a runtime.
///
/// # Errors
/// The address is none of this host, or the port is taken.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    // Connections inherit these. The kernel would keep up to 4 MB for each client that does not
    // read, for minutes after the connection was closed.
    set_socket_send_buffer_size(&listener, SEND_BUFFER)?;
    set_socket_linger(&listener, Some(Duration::ZERO))?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// What is asked for, and by whom it is answered.
pub(crate) struct Server {
    requests: Requests,
    renderings: Renderings,
}

type Answer = Response<Either<Full<Bytes>, Text>>;

impl Server {
    /// The session is asked by `requests`.
    pub(crate) fn new(requests: Requests) -> Arc<Self> {
        Arc::new(Self {
            renderings: Renderings::new(requests.clone()),
            requests,
        })
    }

    /// Answers everybody who comes to `listener`; never ends by itself.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener) {
        let mut connections = Connections::default();
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let server = Arc::clone(&self);
                    let serve = |progress| server.serve_one(stream, progress);
                    connections.add(serve).await;
                }
                Err(error) => {
                    log::debug!("taking a connection: {error}");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn serve_one(self: Arc<Self>, stream: TcpStream, progress: Progress) {
        let service = service_fn(async |request| {
            progress.set(Phase::Asking);
            let answer = self.answer(&request).await;
            progress.set(Phase::Reading);
            Ok::<_, Infallible>(answer)
        });
        let mut connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME)
            .max_buf_size(MAX_HEAD)
            // Of a client that has nothing more to say, as nc -N.
            .half_close(true)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service);
        let all = async {
            match (&mut connection).await {
                Err(error) if !error.is_parse() => {
                    log::debug!("a request over the network: {error}");
                }
                // What was no request has its answer as well.
                _ => client_has_gone(&connection.into_parts().io.into_inner()).await,
            }
        };
        timeout(CONNECTION_TIME, all).await.ok();
    }

    async fn answer(&self, request: &HttpRequest<Incoming>) -> Answer {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut refusal = plain(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD only\n");
            refusal
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refusal;
        }
        match request.uri().path() {
            "/metrics" => self.metrics(request.headers()).await,
            "/healthz" => match in_time(self.requests.health()).await {
                Some(()) => plain(StatusCode::OK, "attached and reading drops\n"),
                None => not_reading(),
            },
            _ => plain(StatusCode::NOT_FOUND, "there are /metrics and /healthz\n"),
        }
    }

    async fn metrics(&self, headers: &HeaderMap) -> Answer {
        let accept = headers.get_all(ACCEPT).iter().flat_map(|it| it.to_str());
        let accept = accept.collect::<Vec<_>>().join(",");
        let (format, content_type) = if prefers_open_metrics(&accept) {
            (Format::OpenMetrics, OPEN_METRICS)
        } else {
            (Format::Text, prometheus_text::CONTENT_TYPE)
        };
        let text = async { self.renderings.get(format).await.transpose() };
        match in_time(text).await {
            Some(Ok(text)) => with_type(StatusCode::OK, Either::Right(text), content_type),
            Some(Err(error)) => plain(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("writing metrics: {error}\n"),
            ),
            None => not_reading(),
        }
    }
}

/// Waits until the client has all that was sent, and closes its end; what is not taken by then is
/// thrown away with the connection ([`listen`]).
async fn client_has_gone(stream: &TcpStream) {
    // It is over already if there was an answer.
    rustix::net::shutdown(stream, Shutdown::Write).ok();
    let mut rest = [0; 1024];
    while stream.readable().await.is_ok() {
        match stream.try_read(&mut rest) {
            Ok(1..) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => return,
        }
    }
}

async fn in_time<T>(answer: impl Future<Output = Option<T>>) -> Option<T> {
    timeout(ANSWER_TIME, answer).await.ok().flatten()
}

fn not_reading() -> Answer {
    let text = "drops are not being read\n";
    plain(StatusCode::SERVICE_UNAVAILABLE, text)
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    with_type(status, Either::Left(Full::new(text.into())), PLAIN)
}

fn with_type(
    status: StatusCode,
    text: Either<Full<Bytes>, Text>,
    content_type: &'static str,
) -> Answer {
    let mut response = Response::new(text);
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
