//! What `dropwatch serve` exports has to be what was dropped: asked by a Prometheus, and sent to a
//! collector.

use std::{
    collections::BTreeSet,
    env, fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use dropwatch_tests::{
    dropwatch::Dropwatch,
    http::{self, Message},
    netns::Netns,
    run::Outcome,
    world::run_command,
};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    metrics::v1::{AggregationTemporality, metric::Data, number_data_point::Value},
};
use prost::Message as _;
use serde_json::Value as Json;
use tempfile::TempDir;

use crate::checks::{Check, Drops, SOON, wait_until};

/// All checks.
pub(crate) const ALL: &[(&str, Check)] = &[
    (
        "serve/prometheus_agrees_with_the_account",
        prometheus_agrees,
    ),
    ("serve/collector_agrees_with_the_account", collector_agrees),
    ("serve/answers", answers),
    ("serve/strangers_keep_nobody_out", strangers),
    ("serve/what_has_no_series_is_other", others),
    ("serve/classes", classes),
    ("serve/port_in_use", port_in_use),
    ("serve/each_address_is_told_and_answers", addresses),
    ("serve/dashboard_and_rules_ask_for_what_there_is", asked_for),
];

/// In namespaces of their own nobody else takes a port.
const DROPWATCH: u16 = 9466;
const PROMETHEUS: u16 = 9090;
const COLLECTOR: u16 = 4318;

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// A dropwatch that serves what is dropped in a namespace, and runs in it.
struct Served {
    drops: Drops,
    dropwatch: Dropwatch,
}

impl Served {
    /// Counts what netfilter drops, and no others, such as those of connections that are refused,
    /// unless a flag asks for them.
    fn start(path: &Path, flags: &[&str]) -> Result<Self> {
        let drops = Drops::new()?;
        let mut command = Command::new(path);
        command.args(["serve", "--netns", &drops.netns()]);
        command.args(["-r", "NETFILTER_DROP"]).args(flags);
        let netns = drops.namespace();
        let mut dropwatch = netns.run(|| Dropwatch::spawn_command(command))?;
        dropwatch.wait_ready()?;
        Ok(Self { drops, dropwatch })
    }

    fn netns(&self) -> &Netns {
        self.drops.namespace()
    }

    fn get(&self, path: &str, headers: &str) -> Result<Message> {
        http::get(self.netns(), local(DROPWATCH), path, headers)
    }

    /// As of now: requests of the same second have one text.
    fn metrics(&self) -> Result<String> {
        thread::sleep(Duration::from_millis(1010));
        let answer = self.get("/metrics", "")?;
        ensure!(answer.status()? == 200, "{}", answer.text());
        Ok(answer.text())
    }

    /// The sum of all series of a metric whose line has `part`.
    fn sum(&self, metric: &str, part: &str) -> Result<u64> {
        let metrics = self.metrics()?;
        let series = metrics.lines().filter(|line| {
            let name = line.split(['{', ' ']).next();
            name == Some(metric) && line.contains(part)
        });
        let values = series.map(|line| {
            let value = line
                .rsplit(' ')
                .next()
                .and_then(|value| value.parse::<u64>().ok());
            value.with_context(|| format!("no number: {line}"))
        });
        values.sum()
    }

    /// Ends it; returns how many drops its account has counted.
    fn stop(self) -> Result<u64> {
        let ended = self.dropwatch.stop()?;
        ended.expect_status(0)?;
        ensure!(ended.stdout.is_empty(), "{}", ended.stdout);
        ended.counted()
    }
}

/// A Prometheus in a namespace, ended on drop.
struct Prometheus<'a> {
    child: Child,
    netns: &'a Netns,
    dir: TempDir,
}

/// Debian's program, that `cargo xtask test` brings along, or an installed one.
pub(crate) fn prometheus_program(name: &str) -> PathBuf {
    let folder = env::var_os("DROPWATCH_PROMETHEUS").map(PathBuf::from);
    folder.map_or_else(|| name.into(), |folder| folder.join(name))
}

impl<'a> Prometheus<'a> {
    fn start(netns: &'a Netns) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("dwt-").tempdir()?;
        let config = dir.path().join("prometheus.yml");
        let target = local(DROPWATCH);
        fs::write(
            &config,
            format!(
                "global: {{scrape_interval: 500ms}}\n\
                 scrape_configs:\n\
                 - job_name: dropwatch\n  static_configs:\n  - targets: ['{target}']\n"
            ),
        )?;
        let mut command = Command::new(prometheus_program("prometheus"));
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                dir.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={}", local(PROMETHEUS)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(dir.path().join("log"))?);
        let child = netns.run(|| command.spawn().context("starting prometheus"))?;
        let prometheus = Self { child, netns, dir };
        let is_ready = || {
            let answer = http::get(netns, local(PROMETHEUS), "/-/ready", "");
            answer.is_ok_and(|answer| answer.status().is_ok_and(|status| status == 200))
        };
        wait_until(is_ready).with_context(|| prometheus.log())?;
        Ok(prometheus)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// The answer to a query, by its HTTP API.
    fn query(&self, query: &str) -> Result<Json> {
        let escaped: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let path = format!("/api/v1/query?query={escaped}");
        let answer = http::get(self.netns, local(PROMETHEUS), &path, "")?;
        let answer: Json = serde_json::from_slice(&answer.body)?;
        ensure!(answer["status"] == "success", "{query}: {answer}");
        Ok(answer["data"]["result"].clone())
    }

    /// The value of the only series that a query finds; `None` if it finds none.
    fn value(&self, query: &str) -> Result<Option<u64>> {
        let result = self.query(query)?;
        match result.as_array().context("a list")?.as_slice() {
            [] => Ok(None),
            [one] => {
                let value = one["value"][1]
                    .as_str()
                    .and_then(|value| value.parse().ok());
                Ok(Some(value.with_context(|| format!("no number: {one}"))?))
            }
            more => bail!("{} series: {result}", more.len()),
        }
    }

    /// Waits until a query finds this number.
    fn expect(&self, query: &str, expected: u64) -> Result<()> {
        let mut last = None;
        wait_until(|| {
            last = self.value(query).ok().flatten();
            last == Some(expected)
        })
        .with_context(|| format!("{query} is {last:?}, not {expected}; {}", self.log()))
    }
}

impl Drop for Prometheus<'_> {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            self.child.wait().ok();
        }
    }
}

fn prometheus_agrees(path: &Path) -> Result<Outcome> {
    let served = Served::start(path, &["--by", "reason,if,netns"])?;
    let prometheus = Prometheus::start(served.netns())?;
    let netns = served.drops.netns();
    let series = format!(
        "dropwatch_drops_total{{reason=\"NETFILTER_DROP\",iface=\"lo\",netns=\"{netns}\"}}"
    );
    let mut total = 0;
    for burst in [1, 250, 1000] {
        served.drops.make(burst)?;
        total += burst as u64;
        prometheus.expect(&series, total)?;
    }
    for (query, expected) in [
        ("sum(dropwatch_drops_total)", total),
        ("sum(dropwatch_dropped_packets_total)", total),
        // 100 bytes of data, and the headers of UDP and IPv4.
        ("sum(dropwatch_dropped_bytes_total)", total * 128),
        ("dropwatch_accounted_total{term=\"counted\"}", total),
        ("dropwatch_accounted_total{term=\"lost\"}", 0),
        (
            "sum(dropwatch_seen_total) - sum(dropwatch_accounted_total)",
            0,
        ),
        ("dropwatch_series", 1),
        ("up", 1),
        ("count(dropwatch_build_info)", 1),
    ] {
        prometheus.expect(query, expected)?;
    }
    drop(prometheus);
    let counted = served.stop()?;
    ensure!(counted == total, "{counted} counted, {total} made");
    Ok(Outcome::Passed)
}

fn collector_agrees(path: &Path) -> Result<Outcome> {
    let url = format!("http://{}", local(COLLECTOR));
    let flags = [
        "--by",
        "reason,netns",
        "--otlp",
        &url,
        "--otlp-interval",
        "300ms",
    ];
    let served = Served::start(path, &flags)?;
    // Nobody listens yet: it is said once, and blocks nothing.
    let failed = || served.sum("dropwatch_otlp_exports_total", "failed");
    wait_until(|| failed().is_ok_and(|failed| failed >= 3))?;
    let warnings = |part: &str| served.dropwatch.stderr().matches(part).count();
    ensure!(
        warnings("exporting to") == 1,
        "{}",
        served.dropwatch.stderr()
    );
    served.drops.make(321)?;
    let collector = served
        .netns()
        .run(|| Ok(TcpListener::bind(local(COLLECTOR))?))?;
    wait_until(|| match http::take_request(&collector, SOON) {
        Ok(request) => exported_drops(&request, &served.drops.netns()).is_ok_and(|sum| sum == 321),
        Err(_) => false,
    })
    .context("waiting for 321 drops at the collector")?;
    wait_until(|| warnings("work again") == 1)?;
    drop(collector);
    ensure!(served.stop()? == 321, "321 drops were made");
    Ok(Outcome::Passed)
}

/// The sum of the drops of an export, all of which have to be of this namespace.
fn exported_drops(request: &Message, netns: &str) -> Result<i64> {
    ensure!(
        request.head.starts_with("POST /v1/metrics HTTP/1.1\r\n"),
        "{}",
        request.head
    );
    ensure!(
        request.head.contains("application/x-protobuf"),
        "{}",
        request.head
    );
    let export = ExportMetricsServiceRequest::decode(&*request.body)?;
    let metrics = export
        .resource_metrics
        .iter()
        .flat_map(|it| &it.scope_metrics);
    let mut metrics = metrics.flat_map(|it| &it.metrics);
    let drops = metrics.find(|metric| metric.name == "dropwatch_drops");
    let Some(Data::Sum(sum)) = drops.and_then(|metric| metric.data.as_ref()) else {
        bail!("no sum of drops in {export:?}");
    };
    ensure!(sum.is_monotonic, "totals only grow");
    ensure!(
        sum.aggregation_temporality == i32::from(AggregationTemporality::Cumulative),
        "totals since the start"
    );
    let mut total = 0;
    for point in &sum.data_points {
        let Some(Value::AsInt(value)) = point.value else {
            bail!("no number: {point:?}");
        };
        let labels = format!("{:?}", point.attributes);
        ensure!(value == 0 || labels.contains(netns), "{labels}");
        ensure!(
            point.start_time_unix_nano < point.time_unix_nano,
            "{point:?}"
        );
        total += value;
    }
    Ok(total)
}

fn answers(path: &Path) -> Result<Outcome> {
    let served = Served::start(path, &[])?;
    served.drops.make(3)?;
    let health = served.get("/healthz", "")?;
    ensure!(
        health.status()? == 200 && health.text().contains("reading"),
        "{health:?}"
    );
    for (target, status) in [("/", 404), ("/metrics/", 404), ("/metrics?a=b", 200)] {
        let answer = served.get(target, "")?;
        ensure!(answer.status()? == status, "{target}: {answer:?}");
    }
    let text = served.get("/metrics", "Accept: */*\r\n")?;
    ensure!(
        text.head.contains("text/plain; version=0.0.4"),
        "{}",
        text.head
    );
    let open = served.get("/metrics", "Accept: application/openmetrics-text\r\n")?;
    ensure!(
        open.head
            .contains("application/openmetrics-text; version=1.0.0"),
        "{}",
        open.head
    );
    ensure!(open.text().ends_with("# EOF\n"), "{}", open.text());
    let send = |request: &str| http::exchange(served.netns(), local(DROPWATCH), request.as_bytes());
    let head = send("HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n")?;
    ensure!(head.status()? == 200 && head.body.is_empty(), "{head:?}");
    let post = send("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")?;
    ensure!(
        post.status()? == 405 && post.head.contains("GET, HEAD"),
        "{post:?}"
    );
    ensure!(
        served.sum("dropwatch_drops_total", "NETFILTER_DROP")? == 3,
        "3 drops"
    );
    ensure!(served.stop()? == 3, "3 drops");
    Ok(Outcome::Passed)
}

fn strangers(path: &Path) -> Result<Outcome> {
    let served = Served::start(path, &[])?;
    let huge = format!(
        "GET /metrics HTTP/1.1\r\nA: {}\r\n\r\n",
        "a".repeat(1 << 20)
    );
    let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(1000));
    let garbage: Vec<u8> = (0..100_000_u32)
        .map(|it| ((it * 7919) >> 5) as u8)
        .collect();
    for request in [
        huge.as_bytes(),
        many.as_bytes(),
        &garbage,
        b"\r\n\r\n",
        b"GET",
    ] {
        let netns = served.netns();
        let mut stream = http::connect(netns, local(DROPWATCH))?;
        std::io::Write::write_all(&mut stream, request).ok();
        stream.shutdown(std::net::Shutdown::Write).ok();
        let mut answer = Vec::new();
        std::io::Read::read_to_end(&mut stream, &mut answer).ok();
        ensure!(
            !answer.starts_with(b"HTTP/1.1 200"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
    // More than there is room for, all silent: the time of none has to run out.
    let silent = (0..100).map(|_| http::connect(served.netns(), local(DROPWATCH)));
    let silent: Vec<_> = silent.collect::<Result<_>>()?;
    let asked = Instant::now();
    let health = served.get("/healthz", "")?;
    ensure!(health.status()? == 200, "{health:?}");
    ensure!(
        asked.elapsed() < Duration::from_secs(1),
        "{:?}",
        asked.elapsed()
    );
    drop(silent);
    served.stop()?;
    Ok(Outcome::Passed)
}

fn others(path: &Path) -> Result<Outcome> {
    let served = Served::start(
        path,
        &["-r", "NO_SOCKET", "--by", "dport", "--max-series", "2"],
    )?;
    served.drops.make_at(20..22, 5)?;
    // These have their series now.
    served.metrics()?;
    served.drops.make_at(22..30, 5)?;
    let sum = |part| served.sum("dropwatch_drops_total", part);
    ensure!(sum("")? == 50, "{}", served.metrics()?);
    ensure!(sum("other")? == 40, "{}", served.metrics()?);
    ensure!(
        served.metrics()?.contains("dropwatch_series 2.0\n"),
        "{}",
        served.metrics()?
    );
    ensure!(served.stop()? == 50, "50 drops");
    Ok(Outcome::Passed)
}

fn classes(path: &Path) -> Result<Outcome> {
    let served = Served::start(path, &["-r", "NO_SOCKET", "--by", "class,reason"])?;
    served.drops.make(30)?;
    served.drops.make_at(20..21, 12)?;
    let sum = |part| served.sum("dropwatch_drops_total", part);
    wait_until(|| sum("").is_ok_and(|sum| sum == 42))?;
    ensure!(
        sum("{reason=\"NETFILTER_DROP\",class=\"drop\"}")? == 30,
        "{}",
        served.metrics()?
    );
    ensure!(
        sum("{reason=\"NO_SOCKET\",class=\"refused\"}")? == 12,
        "{}",
        served.metrics()?
    );
    ensure!(served.stop()? == 42, "42 drops");
    Ok(Outcome::Passed)
}

fn port_in_use(path: &Path) -> Result<Outcome> {
    let netns = Netns::new()?;
    let ended = netns.run(|| {
        run_command("ip link set lo up")?;
        let _taken = TcpListener::bind(local(DROPWATCH))?;
        Dropwatch::spawn(path, &["serve"])?.wait(Duration::from_secs(30))
    })?;
    ended.expect_status(1)?;
    ensure!(ended.stderr.contains("--listen"), "{}", ended.stderr);
    ensure!(ended.stderr.lines().count() == 1, "{}", ended.stderr);
    Ok(Outcome::Passed)
}

/// IPv6, and IPv4 in brackets, among them.
fn addresses(path: &Path) -> Result<Outcome> {
    let served = Served::start(path, &["--listen", "[127.0.0.1]:9466,[::1]:9467"])?;
    for address in ["127.0.0.1:9466", "[::1]:9467"] {
        let line = format!("dropwatch: answering at http://{address}/metrics\n");
        let told = || served.dropwatch.stderr().matches(&line).count();
        wait_until(|| told() > 0).with_context(|| served.dropwatch.stderr())?;
        ensure!(told() == 1, "{}", served.dropwatch.stderr());
        let answer = http::get(served.netns(), address.parse()?, "/metrics", "")?;
        ensure!(answer.status()? == 200, "{address}: {answer:?}");
    }
    served.stop()?;
    Ok(Outcome::Passed)
}

/// Names of metrics in a text: words that begin as ours do.
fn names_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|it: char| !it.is_ascii_alphanumeric() && it != '_');
    let own = words.filter(|word| word.starts_with("dropwatch_"));
    own.map(str::to_owned).collect()
}

fn asked_for(path: &Path) -> Result<Outcome> {
    let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging");
    let read = |file: &str| {
        let path = packaging.join(file);
        fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
    };
    let url = format!("http://{}", local(COLLECTOR));
    let served = Served::start(path, &["--otlp", &url])?;
    let exported = names_in(&served.metrics()?);
    let dashboard: Json = serde_json::from_str(&read("grafana/dropwatch.json")?)?;
    let panels = dashboard["panels"].as_array().context("panels")?;
    let mut queries: Vec<String> = Vec::new();
    for target in panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array())
        .flatten()
    {
        queries.push(target["expr"].as_str().context("an expression")?.to_owned());
    }
    let variables = dashboard["templating"]["list"].to_string();
    ensure!(queries.len() >= panels.len(), "a query for each panel");
    let rules = read("prometheus/dropwatch.rules.yml")?;
    let asked = names_in(&format!("{} {variables} {rules}", queries.join(" ")));
    ensure!(asked.len() > 5, "{asked:?}");
    let unknown: Vec<_> = asked.difference(&exported).collect();
    ensure!(
        unknown.is_empty(),
        "not exported: {unknown:?}, but {exported:?}"
    );
    // Prometheus can read what the panels ask for.
    let prometheus = Prometheus::start(served.netns())?;
    for query in queries {
        let query = query
            .replace("$__rate_interval", "1m")
            .replace("$__range", "1h")
            .replace("$instance", ".*")
            .replace("$reason", ".*");
        prometheus.query(&query)?;
    }
    drop(prometheus);
    served.stop()?;
    Ok(Outcome::Passed)
}
