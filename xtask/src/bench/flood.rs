//! The generator of drops, `tests/src/bin/flood.rs`.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result};
use xtask::command;

/// Sends a flood of datagrams that the kernel drops.
pub(super) struct Generator {
    pub(super) binary: PathBuf,
    pub(super) cpu: usize,
    pub(super) packets: u32,
    pub(super) size: u16,
}

/// Nanoseconds that the generator took for a packet.
#[derive(Debug, PartialEq)]
pub(super) struct Flood {
    /// All of its time, also what other processes took from it.
    pub(super) mean_ns: f64,
    /// The median over short stretches of the flood.
    pub(super) median_ns: f64,
}

impl Generator {
    /// Sends one flood; the kernel measures its eBPF programs meanwhile if
    /// `bpf_stats` says so.
    pub(super) fn run(&self, bpf_stats: bool) -> Result<Flood> {
        let mut flood = Command::new(&self.binary);
        flood
            .args(["--packets", &self.packets.to_string()])
            .args(["--size", &self.size.to_string()])
            .args(["--cpu", &self.cpu.to_string()])
            .args(bpf_stats.then_some("--bpf-stats"));
        Flood::parse(&command::output(&mut flood)?)
    }
}

impl Flood {
    fn parse(output: &str) -> Result<Self> {
        let value = |key: &str| -> Result<f64> {
            let mut words = output.split_whitespace();
            words
                .find_map(|word| word.strip_prefix(key)?.strip_prefix('=')?.parse().ok())
                .with_context(|| format!("the generator did not say {key}: {output:?}"))
        };
        Ok(Self {
            mean_ns: value("ns_per_packet")?,
            median_ns: value("median_ns_per_packet")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Flood;

    #[test]
    fn parses_the_generators_line() {
        let line = "packets=10 ns_per_packet=5200.5 median_ns_per_packet=5100.0 netns=4026532000\n";
        let flood = Flood {
            mean_ns: 5200.5,
            median_ns: 5100.0,
        };
        assert_eq!(Flood::parse(line).unwrap(), flood);
        assert!(Flood::parse("packets=10").is_err());
    }
}
