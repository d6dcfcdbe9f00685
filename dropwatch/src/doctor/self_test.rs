//! Makes one drop where nobody else makes any, and looks whether it comes back as it should.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustix::thread::CapabilitySet;
use tokio::time::timeout;

use super::{Finding, Machine};
use crate::{
    config::{Config, View},
    decode::decode,
    format::{self, LineFormat, TextOptions, TimestampStyle},
    output,
    packet::{Addresses, Part, Protocol},
    private_netns::PrivateNetns,
    record::DropRecord,
    session::{self, Tracing},
};

/// Where the datagram goes: nobody can listen there.
const CLOSED: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9);

/// How long a drop may take to come back; it takes a millisecond.
const PATIENCE: Duration = Duration::from_secs(1);

/// How many drops are made: the kernel may lose one if something else runs the program on the
/// same processor.
const ATTEMPTS: usize = 5;

/// `IPPROTO_UDP`, `include/uapi/linux/in.h`.
const UDP: u8 = 17;

/// Starts as any run does, and makes a drop.
pub(super) fn run(machine: &Machine<'_>) -> Finding {
    if !machine.capabilities.contains(CapabilitySet::SYS_ADMIN) {
        return Finding::unknown(
            "skipped: making a network namespace needs CAP_SYS_ADMIN",
            "run it as root to see a drop come back",
        );
    }
    let netns = match PrivateNetns::new() {
        Ok(netns) => netns,
        Err(error) => {
            return Finding::unknown(
                format!("skipped: {error:#}"),
                "take a kernel with CONFIG_NET_NS, outside of a container that forbids it",
            );
        }
    };
    let has_reasons = machine.reasons().is_some_and(|it| it.has_reasons());
    match see_drop(machine.config, &netns, has_reasons) {
        Ok(seen) => Finding::ok(seen),
        Err(error) => {
            if log::log_enabled!(log::Level::Debug) {
                // The report has each finding on one line.
                output::say_error(&error);
            }
            Finding::fails(
                format!("{error:#}"),
                "report it, with all of this report and what `dropwatch doctor -vv` says",
            )
        }
    }
}

fn see_drop(config: &Config, netns: &PrivateNetns, has_reasons: bool) -> Result<String> {
    let mut config = config.clone();
    config.filters.netns = vec![netns.inode.to_string()];
    config.view = View::Lines {
        format: LineFormat::Text(TextOptions::default()),
        count: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    runtime.block_on(async {
        let mut tracing = session::start(&config)?;
        let attached: Vec<String> = tracing
            .kernel
            .attached()
            .map(|(point, program)| format!("{} ({program})", point.target))
            .collect();
        let expected = Expected {
            netns,
            reason: has_reasons.then_some("NO_SOCKET"),
        };
        let (line, after) = expected.provoke(&mut tracing).await?;
        tracing.kernel.detach()?;
        let milliseconds = after.as_secs_f64() * 1000.0;
        Ok(format!(
            "attached to {}; a drop came back after {milliseconds:.1} ms: {line}",
            attached.join(", ")
        ))
    })
}

/// What the drop's record has to say.
struct Expected<'a> {
    netns: &'a PrivateNetns,
    reason: Option<&'a str>,
}

impl Expected<'_> {
    /// Makes drops until one comes back; gives its line, and how long it took.
    async fn provoke(&self, tracing: &mut Tracing) -> Result<(String, Duration)> {
        for _ in 0..ATTEMPTS {
            let sent = Instant::now();
            self.netns.send(CLOSED)?;
            if let Ok(line) = timeout(PATIENCE, self.wait(tracing)).await {
                return Ok((line?, sent.elapsed()));
            }
        }
        let counters = tracing.kernel.counters()?;
        anyhow::bail!(
            "attached, but none of {ATTEMPTS} drops came back (the kernel side has seen {}, turned \
             down {}, lost {})",
            counters.seen,
            counters.filtered,
            counters.lost
        )
    }

    /// The line of the first record that is about the datagram.
    async fn wait(&self, tracing: &mut Tracing) -> Result<String> {
        let mut drained = 0;
        loop {
            tracing.transport.wait(drained).await?;
            let Tracing {
                enricher, stacks, ..
            } = tracing;
            enricher.begin_batch();
            let mut found = None;
            drained = tracing.transport.drain(|bytes| {
                let Some(decoded) = decode(bytes) else {
                    found.get_or_insert_with(|| Err(anyhow::anyhow!("a record makes no sense")));
                    return;
                };
                let record = enricher.enrich(&decoded, |id| stacks.get(id));
                if self.is_about_it(&record) {
                    found.get_or_insert_with(|| self.check(&record).map(|()| line_of(&record)));
                }
            });
            if let Some(found) = found {
                return found;
            }
        }
    }

    fn is_about_it(&self, record: &DropRecord<'_>) -> bool {
        let tuple = &record.packet.tuple;
        let ports = (self.netns.source.port(), CLOSED.port());
        tuple.protocol == Protocol::Ip(UDP) && tuple.ports == Part::Known(ports)
    }

    /// Whether all that the kernel has to know of this drop is right.
    fn check(&self, record: &DropRecord<'_>) -> Result<()> {
        let wrong =
            |what: &str| format!("a drop came back with a wrong {what}: {}", line_of(record));
        let addresses = Addresses {
            source: self.netns.source.ip(),
            destination: CLOSED.ip(),
        };
        ensure!(
            record.packet.tuple.addresses == Some(addresses),
            wrong("address")
        );
        ensure!(record.reason == self.reason, wrong("reason"));
        let netns = record.netns.context(wrong("namespace"))?;
        ensure!(
            u64::from(netns.inode) == self.netns.inode,
            wrong("namespace")
        );
        let device = record.device.context(wrong("interface"))?;
        ensure!(device.name == b"lo", wrong("interface"));
        ensure!(record.location != "-", wrong("call site"));
        Ok(())
    }
}

/// The drop as a run prints it, without the time.
fn line_of(record: &DropRecord<'_>) -> String {
    let mut format = format::new(&LineFormat::Text(TextOptions {
        timestamp: TimestampStyle::None,
        ..TextOptions::default()
    }));
    let mut line = Vec::new();
    format.write(record, &mut line);
    String::from_utf8_lossy(&line).trim_end().to_owned()
}
