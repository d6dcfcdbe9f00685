use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream},
    sync::{Arc, mpsc::channel},
    thread,
    time::{Duration, Instant, SystemTime},
};

use tokio::{
    runtime::Builder,
    sync::{mpsc, oneshot},
};

use super::{
    HEAD_TIME, SEND_BUFFER, Server, connections::MAX_CONNECTIONS, listen, prefers_open_metrics,
};
use crate::serve::{
    Request, Requests,
    snapshot::{Metric, Snapshot, Values},
};

/// More than the sockets of a connection take.
const LARGE: usize = 4 << 20;

/// Nobody has to wait until the time of others runs out.
const AT_ONCE: Duration = Duration::from_secs(1);

/// A server whose answers have as many bytes as it is told, until it is dropped.
struct Served {
    address: SocketAddr,
    _stop: oneshot::Sender<()>,
}

impl Served {
    fn start(size: usize) -> Self {
        let (tell, address) = channel();
        let (stop, stopped) = oneshot::channel();
        thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (requests, asked) = Requests::channel();
                let listener = listen((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                tokio::spawn(Server::new(requests).serve(listener));
                tokio::spawn(answer(asked, size));
                stopped.await.unwrap_err();
            });
        });
        Self {
            address: address.recv().unwrap(),
            _stop: stop,
        }
    }

    fn ask(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(AT_ONCE * 10)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }

    /// Bytes that the kernel still keeps for clients, of each connection that has any: the fifth
    /// column (`proc_pid_net`(5)).
    fn unread(&self) -> Vec<usize> {
        // The address in the order of the processor.
        let address = u32::from_ne_bytes([127, 0, 0, 1]);
        let port = format!("{address:08X}:{:04X}", self.address.port());
        let sockets = fs::read_to_string("/proc/self/net/tcp").unwrap();
        let of_server = sockets.lines().filter_map(|line| {
            let mut columns = line.split_whitespace().skip(1);
            (columns.next()? == port).then_some(())?;
            let (queued, _) = columns.nth(2)?.split_once(':')?;
            usize::from_str_radix(queued, 16).ok()
        });
        of_server.filter(|queued| *queued > 0).collect()
    }

    /// Fails if the answer does not come at once.
    fn ask_for_health(&self) {
        let asked = Instant::now();
        let mut answer = String::new();
        let mut stream = self.ask("GET /healthz HTTP/1.0\r\n\r\n");
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
        assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
    }
}

/// Stands for the session.
async fn answer(mut asked: mpsc::Receiver<Request>, size: usize) {
    let snapshot = Arc::new(Snapshot {
        start: SystemTime::now(),
        time: SystemTime::now(),
        metrics: vec![Metric {
            name: "large",
            help: "A long label.",
            unit: None,
            values: Values::Info([("label", "x".repeat(size))].into()),
        }],
    });
    while let Some(request) = asked.recv().await {
        match request {
            Request::Health(sender) => drop(sender.send(())),
            Request::Snapshot(sender) => drop(sender.send(Arc::clone(&snapshot))),
        }
    }
}

#[test]
fn who_says_nothing_gives_way() {
    let served = Served::start(0);
    let requests = ["", "GET", "GET /metrics HTTP/1.1\r\nHost: x\r\n"];
    let silent = requests.iter().cycle().take(60);
    let _silent: Vec<_> = silent.map(|request| served.ask(request)).collect();
    for _ in 0..20 {
        served.ask_for_health();
    }
}

#[test]
fn who_does_not_read_gives_way() {
    let served = Served::start(LARGE);
    let slow = (0..40).map(|_| served.ask("GET /metrics HTTP/1.0\r\n\r\n"));
    let _slow: Vec<_> = slow.collect();
    served.ask_for_health();
    let kept = served.unread();
    assert!(kept.len() <= MAX_CONNECTIONS, "{kept:?}");
    assert!(kept.iter().all(|it| *it <= 2 * SEND_BUFFER), "{kept:?}");
}

#[test]
fn who_has_been_answered_has_time_to_read() {
    // More than is on its way at once, less than the kernel keeps.
    let served = Served::start(SEND_BUFFER);
    let mut slow = served.ask("GET /metrics HTTP/1.0\r\n\r\n");
    thread::sleep(AT_ONCE / 2);
    let mut answer = Vec::new();
    slow.read_to_end(&mut answer).unwrap();
    assert!(answer.len() > SEND_BUFFER, "{} bytes", answer.len());
}

#[test]
fn who_reads_gets_all_while_others_say_nothing() {
    let served = Served::start(LARGE);
    let mut reader = served.ask("GET /metrics HTTP/1.0\r\n\r\n");
    let mut answer = vec![0; 9];
    reader.read_exact(&mut answer).unwrap();
    let _silent: Vec<_> = (0..60).map(|_| served.ask("GET")).collect();
    served.ask_for_health();
    reader.read_to_end(&mut answer).unwrap();
    assert!(answer.len() > LARGE, "{} bytes", answer.len());
}

#[test]
fn who_has_said_all_is_answered() {
    let served = Served::start(1000);
    let mut client = served.ask("GET /metrics HTTP/1.0\r\n\r\n");
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert!(answer.len() > 1000, "{} bytes", answer.len());
}

#[test]
fn silence_has_an_end() {
    let served = Served::start(0);
    let asked = Instant::now();
    let mut silent = served.ask("GET");
    // Whatever it says, it is over.
    silent.read_to_end(&mut Vec::new()).ok();
    assert!(
        asked.elapsed() < HEAD_TIME + AT_ONCE,
        "{:?}",
        asked.elapsed()
    );
}

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
