//! Sends UDP datagrams to a closed port on the loopback device of a network namespace of its own,
//! so that the kernel drops each of them, and tells how long one took: needs root and `ip`.
#![expect(
    clippy::print_stdout,
    reason = "the result is what this program is for"
)]

use std::{
    fs::{self, File},
    io,
    net::{Ipv4Addr, UdpSocket},
    os::{fd::OwnedFd, unix::fs::MetadataExt as _},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use dropwatch_tests::{bpf, world::run_command};
use nix::{
    libc,
    sched::{CloneFlags, CpuSet, sched_setaffinity, unshare},
    unistd::Pid,
};

const USAGE: &str = "\
usage: flood [OPTIONS]
  --packets N    how many datagrams [default: 300000]
  --size BYTES   payload of each [default: 100]
  --flows N      send to that many addresses in turn [default: 1]
  --cpu N        the processor to send from [default: 0]
  --comm NAME    the name of this process [default: dwflood]
  --wait         send a flood for each line of standard input, PACKETS or PACKETS bpf-stats
  --bpf-stats    make the kernel measure eBPF programs meanwhile";

/// Where nobody listens: `discard`, and the namespace is empty.
const CLOSED_PORT: u16 = 9;

/// Addresses of the loopback network behind its first one, less its broadcast address.
const MAX_FLOWS: u32 = (1 << 24) - 2;

/// Packets between two looks at the clock: about as long as a tracer sleeps between two looks at
/// its buffer, and short enough for most to pass without another process on the processor.
const CHUNK: u32 = 100;

/// `BPF_ENABLE_STATS` of `enum bpf_cmd`, `include/uapi/linux/bpf.h`.
const BPF_ENABLE_STATS: libc::c_long = 32;

struct Options {
    packets: u32,
    size: usize,
    flows: u32,
    cpu: usize,
    /// What the kernel calls this process: dropwatch's `--comm` selects its drops.
    comm: String,
    wait: bool,
    bpf_stats: bool,
}

/// Time of the whole send loop, and of its undisturbed part.
struct Timing {
    /// All of the time, whatever else the processor did in it.
    mean_ns: f64,
    /// The median over the chunks, which tells the cost also on a machine that others use.
    median_ns: f64,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("flood: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let options = options(std::env::args().skip(1))?;
    // One CPU, one thread: the kernel then receives where it sent, under this name.
    pin(options.cpu)?;
    let netns = enter_own_netns()?;
    fs::write("/proc/self/comm", &options.comm).context("setting the name of this process")?;
    if !options.wait {
        return flood(&options, options.packets, options.bpf_stats, netns);
    }
    println!("ready");
    for line in io::stdin().lines() {
        let line = line.context("reading standard input")?;
        let (packets, bpf_stats) = match line.split_once(' ') {
            Some((packets, "bpf-stats")) => (packets, true),
            _ => (line.as_str(), false),
        };
        let packets = packets.parse().context("a line that is no flood")?;
        flood(&options, packets, bpf_stats, netns)?;
    }
    Ok(())
}

/// Sends a flood and tells how long it took.
fn flood(options: &Options, packets: u32, bpf_stats: bool, netns: u64) -> Result<()> {
    // The kernel measures until this is closed, so there is nothing to put back.
    let stats = bpf_stats.then(enable_bpf_stats).transpose()?;
    let timing = send(packets, options.size, options.flows)?;
    drop(stats);
    println!(
        "packets={packets} ns_per_packet={:.1} median_ns_per_packet={:.1} netns={netns}",
        timing.mean_ns, timing.median_ns
    );
    Ok(())
}

fn options(mut args: impl Iterator<Item = String>) -> Result<Options> {
    let mut options = Options {
        packets: 300_000,
        size: 100,
        flows: 1,
        cpu: 0,
        comm: "dwflood".to_owned(),
        wait: false,
        bpf_stats: false,
    };
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap_or_default();
        let mut number = || -> Result<u32> {
            let value = value();
            value
                .parse()
                .with_context(|| format!("{arg} needs a number, not {value:?}\n{USAGE}"))
        };
        match arg.as_str() {
            "--packets" => options.packets = number()?,
            "--size" => options.size = number()? as usize,
            "--flows" => options.flows = number()?,
            "--cpu" => options.cpu = number()? as usize,
            "--comm" => options.comm = value(),
            "--wait" => options.wait = true,
            "--bpf-stats" => options.bpf_stats = true,
            _ => bail!("unknown option {arg}\n{USAGE}"),
        }
    }
    ensure!(options.packets > 0, "--packets must be at least 1");
    ensure!(
        (1..=MAX_FLOWS).contains(&options.flows),
        "--flows must be from 1 to {MAX_FLOWS}"
    );
    Ok(options)
}

fn pin(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set))
        .with_context(|| format!("pinning to processor {cpu}"))
}

/// Moves into a new namespace with its loopback device up; returns its inode number.
fn enter_own_netns() -> Result<u64> {
    unshare(CloneFlags::CLONE_NEWNET).context("making a network namespace")?;
    run_command("ip link set lo up")?;
    let netns = File::open("/proc/self/ns/net").and_then(|file| file.metadata());
    Ok(netns.context("reading /proc/self/ns/net")?.ino())
}

fn enable_bpf_stats() -> Result<OwnedFd> {
    // The whole of `union bpf_attr` as this command knows it: `enable_stats.type`, in which 0 is
    // BPF_STATS_RUN_TIME.
    let mut attr: u32 = 0;
    // SAFETY: it takes this number and returns a descriptor.
    let stats = unsafe { bpf::open(BPF_ENABLE_STATS, &mut attr) };
    stats.context("making the kernel measure eBPF programs")
}

fn send(packets: u32, size: usize, flows: u32) -> Result<Timing> {
    // Not connected: the ICMP errors that come back would make every other send fail.
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("binding a UDP socket")?;
    let payload = vec![0_u8; size];
    let mut chunk_ns = Vec::with_capacity(packets.div_ceil(CHUNK) as usize);
    let (mut left, mut flow) = (packets, 0);
    let start = Instant::now();
    let mut chunk_start = start;
    while left > 0 {
        let count = left.min(CHUNK);
        for _ in 0..count {
            let address = Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() + flow);
            socket
                .send_to(&payload, (address, CLOSED_PORT))
                .context("sending a datagram")?;
            flow = if flow + 1 < flows { flow + 1 } else { 0 };
        }
        left -= count;
        let now = Instant::now();
        chunk_ns.push(ns_per_packet(now - chunk_start, count));
        chunk_start = now;
    }
    Ok(Timing {
        mean_ns: ns_per_packet(start.elapsed(), packets),
        median_ns: median(chunk_ns),
    })
}

fn ns_per_packet(time: Duration, packets: u32) -> f64 {
    time.as_secs_f64() * 1e9 / f64::from(packets)
}

/// The middle of `values`, 0 if there are none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
