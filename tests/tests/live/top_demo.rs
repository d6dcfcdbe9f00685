//! This test program as a live view of drops that are made up: for trying the view out, and for tests
//! of how it treats the terminal.
//!
//! Run the test program under the name `top-demo`, or with this word as its first argument, and then
//! the number of flows and what happens in the end.

use std::{
    env,
    io::Write as _,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use dropwatch::{
    classify::Class,
    groups::{Counts, Dimension, Groups},
    signals::Signals,
    top::{self, Options, Source, Update},
};
use tokio::time::{Interval, MissedTickBehavior, interval};

/// The word that makes this program the view.
pub(crate) const NAME: &str = "top-demo";

/// Time between readings.
const INTERVAL: Duration = Duration::from_millis(500);

/// Acts as the view if this program was told to.
pub(crate) fn act() -> Option<ExitCode> {
    let mut args = env::args().skip(1);
    if args.next()? != NAME {
        return None;
    }
    let args: Vec<String> = args.collect();
    Some(match show(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell if standard error is closed.
            drop(writeln!(std::io::stderr(), "{NAME}: {error:#}"));
            ExitCode::FAILURE
        }
    })
}

fn show(args: &[String]) -> Result<()> {
    let flows = args.first().map_or(Ok(40), |number| number.parse());
    let panics = args.get(1).is_some_and(|word| word == "panic");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let started = Instant::now();
    let options = Options {
        host: "lab".to_owned(),
        kernel: "6.18.0".to_owned(),
        filters: "--exclude-iface eth9".to_owned(),
        interval: INTERVAL,
        started,
        color: env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
    };
    runtime.block_on(async {
        let mut source = MadeUp {
            flows: flows.context("the number of flows")?,
            panics,
            ticks: 0,
            groups: Groups::new(BY, 1 << 20),
            interval: interval(INTERVAL),
            line: 0,
        };
        source
            .interval
            .set_missed_tick_behavior(MissedTickBehavior::Delay);
        top::run(&mut source, options, &mut Signals::new()?).await
    })
}

/// Drops by a rule: the same ones each time.
struct MadeUp {
    flows: u64,
    groups: Groups,
    /// Whether it panics at the third reading.
    panics: bool,
    ticks: u64,
    interval: Interval,
    /// Lines since the last reading.
    line: u64,
}

/// Reason, call site, interface, protocol, port and class of what is dropped.
const KINDS: &[(&str, &str, &str, &str, &str, Class)] = &[
    (
        "NO_SOCKET",
        "__udp4_lib_rcv+0x517",
        "eth0",
        "udp",
        "9",
        Class::Refused,
    ),
    (
        "NETFILTER_DROP",
        "nft_do_chain+0x3e8[nf_tables]",
        "lo",
        "tcp",
        "443",
        Class::Drop,
    ),
    (
        "SOCKET_RCVBUFF",
        "udp_queue_rcv_one_skb+0x409",
        "eth0",
        "udp",
        "53",
        Class::Drop,
    ),
    (
        "TCP_OLD_DATA",
        "tcp_validate_incoming_and_everything_else_a_long_name_has.constprop.0+0x1a2b",
        "eth1",
        "tcp",
        "8080",
        Class::Expected,
    ),
    (
        "openvswitch:LAST_ACTION",
        "ovs_dp_process_packet+0x9c[openvswitch]",
        "ovs-system",
        "icmp",
        "-",
        Class::Drop,
    ),
    (
        "QUEUE_PURGE",
        "skb_queue_purge_reason+0xd5",
        "-",
        "netlink",
        "-",
        Class::Teardown,
    ),
];

const BY: &[Dimension] = &[
    Dimension::Reason,
    Dimension::At,
    Dimension::If,
    Dimension::Proto,
    Dimension::Saddr,
    Dimension::Daddr,
    Dimension::Dport,
    Dimension::Comm,
    Dimension::Owner,
    Dimension::Netns,
];

impl MadeUp {
    /// Counts what was dropped since the last reading, and returns the account.
    fn read(&mut self) -> String {
        for flow in 0..self.flows {
            self.count(flow);
        }
        self.groups.begin_reading(Counts::default());
        let drops = self.groups.totals().0.drops;
        format!("{} seen = {drops} printed + {} lost", drops + 4, 4)
    }

    fn count(&mut self, flow: u64) {
        let kind = KINDS[flow as usize % KINDS.len()];
        let (reason, at, interface, protocol, port, _) = kind;
        let values = [
            reason,
            at,
            interface,
            protocol,
            &saddr(flow),
            "10.0.0.1",
            port,
            "swapper/1",
            &format!("worker[{}]", 1000 + flow % 300),
            "4026531840",
        ];
        let before = match self.ticks {
            1 => Counts::default(),
            ticks => total(flow, ticks - 1),
        };
        let counts = total(flow, self.ticks) - before;
        self.groups.add_values(&values, counts);
    }

    fn line(&self) -> String {
        let flow = (self.ticks * 3 + self.line) % self.flows;
        let (reason, at, interface, protocol, port, class) = KINDS[flow as usize % KINDS.len()];
        let (source, class) = (saddr(flow), class.as_str());
        let (source, destination) = match port {
            "-" => (source, "10.0.0.1".to_owned()),
            _ => (format!("{source}:40000"), format!("10.0.0.1:{port}")),
        };
        format!(
            "07:30:{:02}.345678 {reason} {protocol} {source} > {destination} len=68 if={interface} \
             class={class} at={at} pid=0 comm=swapper/1 owner=worker[{}] netns=4026531840 \
             stack=udp_unicast_rcv_skb+0x75,__udp4_lib_rcv+0x517,ip_protocol_deliver_rcu+0xd8\n",
            self.ticks % 60,
            1000 + flow % 300,
        )
    }
}

/// What has been dropped of a flow until a tick.
fn total(flow: u64, ticks: u64) -> Counts {
    // Some flows come in bursts.
    let bursts = ticks / 20 * 20 + (ticks % 20).min(4 + flow % 16);
    let drops = 1 + bursts * (1000 / (flow + 1)) + bursts;
    Counts {
        drops,
        packets: drops * 3 / 2,
        bytes: drops * 1400,
    }
}

fn saddr(flow: u64) -> String {
    match flow % 7 {
        6 => format!("2001:db8:1:2:3:4:{:x}:{:x}", flow >> 16, flow & 0xffff),
        _ => format!("10.{}.{}.{}", flow >> 16, flow >> 8 & 0xff, flow & 0xff),
    }
}

impl Source for MadeUp {
    async fn next(&mut self) -> Result<Option<Update>> {
        if self.ticks > 0 && self.line < 3 {
            let line = self.line();
            self.line += 1;
            return Ok(Some(Update::Packet(line)));
        }
        self.interval.tick().await;
        self.ticks += 1;
        self.line = 0;
        assert!(!self.panics || self.ticks < 3, "told to panic");
        let account = self.read();
        Ok(Some(Update::Counts {
            at: Instant::now(),
            account,
        }))
    }

    fn groups(&self) -> &Groups {
        &self.groups
    }
}
