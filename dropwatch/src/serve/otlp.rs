//! Sends counts to an OpenTelemetry collector: OTLP over HTTP as protobuf
//! (<https://opentelemetry.io/docs/specs/otlp/#otlphttp>).
//!
//! What is sent are totals since the start. An export that fails loses nothing that the next one
//! does not say, so nothing is kept for later, and a collector that is down costs one attempt in
//! each interval.

mod message;

use std::{
    net::{SocketAddr, ToSocketAddrs as _},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Request, Uri,
    body::Bytes,
    client::conn::http1,
    header::{CONTENT_TYPE, HOST, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use prost::Message as _;
use rustix::system::uname;
use tokio::{
    net::TcpStream,
    sync::oneshot,
    time::{MissedTickBehavior, interval, timeout},
};

use super::Requests;

/// The port that collectors listen at.
const DEFAULT_PORT: u16 = 4318;

/// Where a collector takes metrics, unless the URL has a path of its own.
const DEFAULT_PATH: &str = "/v1/metrics";

/// How long an export may take.
const EXPORT_TIME: Duration = Duration::from_secs(10);

/// Most bytes of a collector's answer that are read.
const MAX_ANSWER: usize = 64 * 1024;

/// Most characters of a collector's message that are printed.
const MAX_MESSAGE: usize = 200;

/// Where to send to, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// As it is connected to: without brackets.
    host: String,
    port: u16,
    /// As the header has it.
    authority: String,
    path: String,
    /// Time between two exports.
    interval: Duration,
}

impl Options {
    /// Takes the collector's URL apart.
    ///
    /// # Errors
    /// Says what a URL has to look like.
    pub fn new(url: &str, interval: Duration) -> Result<Self> {
        let advice = || {
            format!(
                "--otlp takes an address as http://10.0.0.7:4318, not '{}'",
                url.escape_debug()
            )
        };
        let uri: Uri = url.parse().with_context(advice)?;
        ensure!(
            uri.scheme_str() != Some("https"),
            "--otlp can't do https; send to a collector on this host or in its network by http, and \
             let it forward"
        );
        ensure!(uri.scheme_str() == Some("http"), advice());
        let authority = uri.authority().with_context(advice)?;
        let host = authority.host();
        ensure!(
            !host.is_empty() && !authority.as_str().contains('@'),
            advice()
        );
        Ok(Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: if authority.as_str() == host {
                DEFAULT_PORT
            } else {
                authority.port_u16().with_context(advice)?
            },
            authority: authority.to_string(),
            path: match uri.path_and_query().map(ToString::to_string) {
                Some(path) if path != "/" => path,
                _ => DEFAULT_PATH.to_owned(),
            },
            interval,
        })
    }
}

/// How many exports went well, and how many did not.
#[derive(Debug, Default)]
pub(crate) struct Exports {
    exported: AtomicU64,
    failed: AtomicU64,
}

impl Exports {
    /// Exports that were taken, and that failed.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let [exported, failed] =
            [&self.exported, &self.failed].map(|count| count.load(Ordering::Relaxed));
        (exported, failed)
    }
}

/// Exports in each interval until the session ends. Says once when it begins to fail, and once
/// when it is over.
pub(crate) async fn run(options: Options, requests: Requests, exports: Arc<Exports>) {
    let host = uname().nodename().to_string_lossy().into_owned();
    let mut ticks = interval(options.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut resolver = Resolver::default();
    let mut is_failing = false;
    loop {
        ticks.tick().await;
        let Some(snapshot) = requests.snapshot().await else {
            return;
        };
        let body = message::request(&snapshot, &host).encode_to_vec();
        let sent = timeout(EXPORT_TIME, send(&options, &mut resolver, body)).await;
        let sent = sent.context("no answer in time").flatten();
        match sent {
            Ok(()) => {
                exports.exported.fetch_add(1, Ordering::Relaxed);
                if is_failing {
                    log::warn!("exports to http://{} work again", options.authority);
                }
            }
            Err(ref error) => {
                exports.failed.fetch_add(1, Ordering::Relaxed);
                if !is_failing {
                    log::warn!(
                        "exporting to http://{}{}: {error:#}; it is tried again, and nothing is lost: \
                         totals are sent",
                        options.authority,
                        options.path
                    );
                }
            }
        }
        is_failing = sent.is_err();
    }
}

async fn send(options: &Options, resolver: &mut Resolver, body: Vec<u8>) -> Result<()> {
    let addresses = resolver.resolve(&options.host, options.port).await?;
    let stream = TcpStream::connect(&*addresses)
        .await
        .context("connecting")?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::post(&options.path)
        .header(HOST, &options.authority)
        .header(CONTENT_TYPE, "application/x-protobuf")
        .header(USER_AGENT, concat!("dropwatch/", env!("CARGO_PKG_VERSION")))
        .body(Full::new(Bytes::from(body)))?;
    let exchange = async {
        let response = sender.send_request(request).await.context("sending")?;
        let status = response.status();
        let answer = Limited::new(response.into_body(), MAX_ANSWER).collect();
        let answer = answer
            .await
            .map_or_else(|_| Bytes::new(), |body| body.to_bytes());
        ensure!(status.is_success(), "the collector answers {status}");
        anyhow::Ok(answer)
    };
    tokio::pin!(exchange);
    let answer = tokio::select! {
        answer = &mut exchange => answer?,
        // A collector may close it behind its answer, which then waits; if there is none, that is
        // what the exchange says.
        _ = connection => exchange.await?,
    };
    check(&answer)
}

/// Looks whether the collector has taken all of it.
fn check(answer: &[u8]) -> Result<()> {
    // Some answer with nothing, or with JSON.
    let answer = ExportMetricsServiceResponse::decode(answer).unwrap_or_default();
    match answer.partial_success {
        Some(partial) if partial.rejected_data_points != 0 => bail!(
            "the collector refuses {} of the numbers: {}",
            partial.rejected_data_points,
            partial
                .error_message
                .chars()
                .take(MAX_MESSAGE)
                .flat_map(char::escape_debug)
                .collect::<String>()
        ),
        _ => Ok(()),
    }
}

type Addresses = Vec<SocketAddr>;

/// Looks up names, on a thread of its own: the system's resolver can take its time, and at the end
/// nobody waits for it.
#[derive(Default)]
struct Resolver {
    /// A look-up that nobody has waited for to the end. There is one at a time.
    pending: Option<oneshot::Receiver<Result<Addresses>>>,
}

impl Resolver {
    async fn resolve(&mut self, host: &str, port: u16) -> Result<Addresses> {
        if let Ok(address) = host.parse() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        if self.pending.is_none() {
            let name = (host.to_owned(), port);
            let (sender, answer) = oneshot::channel();
            thread::Builder::new()
                .name("resolver".to_owned())
                .spawn(move || {
                    let found = name.to_socket_addrs().map(Iterator::collect);
                    drop(sender.send(found.context("looking up the collector's name")));
                })
                .context("starting a thread")?;
            self.pending = Some(answer);
        }
        let Some(pending) = &mut self.pending else {
            bail!("no look-up");
        };
        let answer = pending.await;
        self.pending = None;
        answer.context("the look-up of the collector's name")?
    }
}

#[cfg(test)]
#[path = "otlp/tests.rs"]
mod tests;
