//! The machine that the figures are true for.

use std::{fs, thread};

use anyhow::{Context, Result};

/// What a reader of the figures wants to know of the machine.
pub(super) struct Machine {
    kernel: String,
    processor: String,
    processors: usize,
    is_virtual: bool,
    load_before: String,
}

impl Machine {
    pub(super) fn new() -> Result<Self> {
        let cpuinfo = read("/proc/cpuinfo")?;
        Ok(Self {
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            processor: processor_model(&cpuinfo),
            is_virtual: is_virtual(&cpuinfo),
            processors: thread::available_parallelism()
                .context("counting processors")?
                .get(),
            load_before: load()?,
        })
    }

    /// The processor that floods are sent from.
    pub(super) fn generator_cpu(&self) -> usize {
        self.processors - 1
    }

    /// The processor that the tracer runs on: another one, if there is one.
    pub(super) fn tracer_cpu(&self) -> usize {
        self.generator_cpu().saturating_sub(1)
    }

    /// Kernel, processors, and how busy others keep the machine.
    pub(super) fn describe(&self) -> Result<String> {
        Ok(format!(
            "kernel {}, {} x {}{}, load {} before and {} after",
            release(&self.kernel),
            self.processors,
            self.processor,
            if self.is_virtual {
                " (virtual machine)"
            } else {
                ""
            },
            self.load_before,
            load()?
        ))
    }
}

fn processor_model(cpuinfo: &str) -> String {
    let mut lines = cpuinfo.lines();
    lines
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or(std::env::consts::ARCH, |(_, model)| model)
        .to_owned()
}

/// The processor's flag tells guests that they are.
fn is_virtual(cpuinfo: &str) -> bool {
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags"));
    flags.is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor"))
}

/// The version of the kernel, without the name that its builder gave it.
fn release(kernel: &str) -> &str {
    kernel.split('-').next().unwrap_or(kernel)
}

/// Processes that wanted to run, on average of the last minute.
fn load() -> Result<String> {
    let averages = read("/proc/loadavg")?;
    Ok(averages.split(' ').next().unwrap_or("-").to_owned())
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {path}"))
}
