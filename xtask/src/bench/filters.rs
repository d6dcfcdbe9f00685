//! What filters cost: the instructions that the verifier leaves of the program.

use anyhow::{Context, Result};

use crate::bench::{
    COMM,
    tracer::{Launch, Sink, Tracer},
    tracers::{Program, Programs, Records},
    work::WorkDir,
};

/// Filters, each by itself. They start nothing that prints: `--comm` keeps out
/// what is not the bench's.
const FILTERS: &[&[&str]] = &[
    &[],
    &["--iface", "lo"],
    &["--exclude-iface", "lo"],
    &["--netns", "4026531840"],
    &["--addr", "192.0.2.0/24"],
    &["--port", "9"],
    &["--proto", "udp"],
    &["-4"],
    &["--reason", "NO_SOCKET"],
    &["--exclude-reason", "NO_SOCKET"],
    &["--func", "udp_*"],
    &["--stack-func", "udp_*"],
    &["--mark", "1/1"],
    &["--len", "0-100"],
    &["--cgroup", "/"],
];

/// Instructions of the program with a filter.
pub(super) struct FilterSize {
    /// The flags.
    pub(super) flags: String,
    /// After verification.
    pub(super) instructions: f64,
}

/// Loads the program with each filter; the first one is without any.
pub(super) fn measure(programs: &Programs, work: &WorkDir) -> Result<Vec<FilterSize>> {
    let sizes = FILTERS.iter().map(|flags| {
        let name = flags.join(" ");
        let instructions = instructions(programs, flags, work)
            .with_context(|| format!("loading the program with the filter '{name}'"))?;
        Ok(FilterSize {
            flags: name,
            instructions,
        })
    });
    sizes.collect()
}

fn instructions(programs: &Programs, flags: &[&str], work: &WorkDir) -> Result<f64> {
    let own = ["-v", "--no-stack", "--comm", COMM];
    let flags = own.iter().chain(flags).map(|flag| (*flag).to_owned());
    let launch = Launch {
        program: Program::Dropwatch,
        args: &flags.collect::<Vec<_>>(),
        sink: Sink::File,
    };
    let tracer = Tracer::start(&launch, programs, work)?;
    let said = tracer.stderr()?;
    tracer.stop(Records::None)?;
    let words: Vec<&str> = said.split([' ', ',', '\n']).collect();
    let unit = words.iter().position(|word| *word == "instructions");
    let number = unit.and_then(|unit| words.get(unit.checked_sub(1)?)?.parse().ok());
    number.with_context(|| format!("dropwatch does not say how many instructions: {said}"))
}
