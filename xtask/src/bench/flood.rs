//! The generator of drops, `tests/src/bin/flood.rs`.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::bench::COMM;

/// Sends floods of datagrams that the kernel drops.
pub(super) struct Generator {
    pub(super) binary: PathBuf,
    pub(super) cpu: usize,
    pub(super) size: u16,
}

/// What a flood is.
#[derive(Clone, Copy)]
pub(super) struct FloodKind {
    pub(super) packets: u32,
    /// Destinations that take turns.
    pub(super) flows: u32,
    /// Whether the kernel measures its eBPF programs meanwhile.
    pub(super) bpf_stats: bool,
}

/// A generator that is set up and waits for the word. Killed if it is dropped.
pub(super) struct PreparedFlood {
    process: Child,
    stdout: BufReader<ChildStdout>,
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
    /// Starts a generator, so that a tracer which is started later can find its
    /// process, and does not see how it is set up.
    pub(super) fn prepare(&self, kind: FloodKind) -> Result<PreparedFlood> {
        let mut command = Command::new(&self.binary);
        command
            .args([
                "--wait",
                "--comm",
                COMM,
                "--packets",
                &kind.packets.to_string(),
            ])
            .args(["--size", &self.size.to_string()])
            .args(["--flows", &kind.flows.to_string()])
            .args(["--cpu", &self.cpu.to_string()])
            .args(kind.bpf_stats.then_some("--bpf-stats"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut process = command.spawn().context("starting the generator")?;
        let stdout = process
            .stdout
            .take()
            .context("no output of the generator")?;
        let mut flood = PreparedFlood {
            process,
            stdout: BufReader::new(stdout),
        };
        let mut line = String::new();
        flood.stdout.read_line(&mut line)?;
        ensure!(line == "ready\n", "the generator is not ready: {line:?}");
        Ok(flood)
    }

    /// Sends one flood.
    pub(super) fn run(&self, kind: FloodKind) -> Result<Flood> {
        self.prepare(kind)?.go()
    }
}

impl PreparedFlood {
    /// The process that sends.
    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Lets the flood go and waits until all is sent.
    pub(super) fn go(mut self) -> Result<Flood> {
        let stdin = self.process.stdin.as_mut();
        let stdin = stdin.context("no input of the generator")?;
        stdin.write_all(b"go\n").context("starting the flood")?;
        let mut output = String::new();
        self.stdout.read_to_string(&mut output)?;
        let status = self.process.wait().context("waiting for the generator")?;
        ensure!(status.success(), "the generator failed: {output}");
        Flood::parse(&output)
    }
}

impl Drop for PreparedFlood {
    fn drop(&mut self) {
        // Both fail only if it has ended, as it has after `go`.
        self.process.kill().ok();
        self.process.wait().ok();
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
