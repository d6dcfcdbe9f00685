//! The generator of drops, `tests/src/bin/flood.rs`.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::bench::COMM;

/// Sends floods of datagrams that the kernel drops.
pub(super) struct Generator {
    pub(super) binary: PathBuf,
    pub(super) cpu: usize,
    pub(super) size: u16,
}

/// A generator that is set up and waits for floods to send. Killed if it is dropped.
pub(super) struct RunningGenerator {
    process: Child,
    stdin: ChildStdin,
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
    /// Starts a generator that sends to `flows` destinations in turn.
    ///
    /// A tracer that is started later finds its process and its namespace, and does
    /// not see how they are set up.
    pub(super) fn start(&self, flows: u32) -> Result<RunningGenerator> {
        let mut command = Command::new(&self.binary);
        command
            .args(["--wait", "--comm", COMM])
            .args(["--size", &self.size.to_string()])
            .args(["--flows", &flows.to_string()])
            .args(["--cpu", &self.cpu.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut process = command.spawn().context("starting the generator")?;
        let stdin = process.stdin.take().context("no input of the generator")?;
        let stdout = process
            .stdout
            .take()
            .context("no output of the generator")?;
        let mut generator = RunningGenerator {
            process,
            stdin,
            stdout: BufReader::new(stdout),
        };
        let line = generator.answer()?;
        ensure!(line == "ready\n", "the generator is not ready: {line:?}");
        Ok(generator)
    }
}

impl RunningGenerator {
    /// The process that sends.
    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Sends a flood and waits until it is over.
    pub(super) fn flood(&mut self, packets: u32) -> Result<Flood> {
        self.send(&format!("{packets}\n"))
    }

    /// The same while the kernel measures its eBPF programs.
    pub(super) fn flood_with_bpf_stats(&mut self, packets: u32) -> Result<Flood> {
        self.send(&format!("{packets} bpf-stats\n"))
    }

    fn send(&mut self, flood: &str) -> Result<Flood> {
        let written = self.stdin.write_all(flood.as_bytes());
        written.context("starting a flood")?;
        Flood::parse(&self.answer()?)
    }

    fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        let read = self.stdout.read_line(&mut line);
        read.context("reading what the generator says")?;
        Ok(line)
    }
}

impl Drop for RunningGenerator {
    fn drop(&mut self) {
        // Both fail only if it has ended.
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
