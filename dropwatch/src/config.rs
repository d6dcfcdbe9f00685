//! The command line, validated.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum as _;

use crate::{
    cli::Cli,
    filter::Filters,
    format::{ExtraField, TextOptions},
};

/// Callers that a line shows unless the user says otherwise: enough to get from
/// a netfilter drop of a `connect` to the system call.
pub const DEFAULT_STACK_DEPTH: u32 = 16;

/// Most callers that can be asked for. The kernel unwinds 127 frames at most,
/// and some of them lie inside of the call site.
pub const MAX_STACK_DEPTH: u32 = 120;

/// How to see drops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum HookChoice {
    /// The best that this kernel has
    #[default]
    Auto,
    /// The tracepoint skb:kfree_skb
    Tracepoint,
    /// Probes on the functions that free packets
    Kprobe,
}

/// How records get to user space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum BufferChoice {
    /// The ring buffer, which every kernel from 5.8 on has
    #[default]
    Auto,
    /// One ring buffer for all processors
    Ring,
    /// One perf buffer per processor
    Perf,
}

/// What the user asked for, validated.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which drops to print.
    pub filters: Filters,
    /// Whether to list the kernel's drop reasons and end.
    pub list_reasons: bool,
    /// What the lines look like.
    pub text: TextOptions,
    /// Most callers of a stack, 0 for no stacks.
    pub stack_depth: u32,
    /// Lines after which to stop.
    pub count: Option<u64>,
    /// Time after which to stop.
    pub duration: Option<Duration>,
    /// Hook to use.
    pub hook: HookChoice,
    /// Buffer to use.
    pub buffer: BufferChoice,
    /// File with the kernel's BTF in place of the kernel's own.
    pub kernel_btf: Option<PathBuf>,
    /// File to create once drops are seen.
    pub ready_file: Option<PathBuf>,
    /// Whether to give the account while running.
    pub verbose: bool,
}

impl Config {
    /// Validates a command line.
    ///
    /// # Errors
    /// Names the flag whose value makes no sense, and what would.
    pub fn new(cli: Cli) -> Result<Self> {
        let Cli {
            filter,
            timestamp,
            fields,
            stack,
            no_stack,
            count,
            duration,
            hook,
            buffer,
            kernel_btf,
            list_reasons,
            ready_file,
            verbose,
        } = cli;
        ensure!(count != Some(0), "--count takes at least 1");
        let stack_depth = match (no_stack, stack) {
            (true, _) => 0,
            (false, depth) => depth.unwrap_or(DEFAULT_STACK_DEPTH),
        };
        ensure!(
            no_stack || (1..=MAX_STACK_DEPTH).contains(&stack_depth),
            "--stack takes 1 to {MAX_STACK_DEPTH} callers, not {stack_depth}; for none give \
             --no-stack"
        );
        Ok(Self {
            filters: Filters::new(filter)?,
            list_reasons,
            text: TextOptions {
                timestamp,
                fields: extra_fields(&fields)?,
                width: None,
            },
            stack_depth,
            count,
            duration: duration.as_deref().map(parse_duration).transpose()?,
            hook,
            buffer,
            kernel_btf,
            ready_file,
            verbose: verbose > 0,
        })
    }
}

fn extra_fields(names: &[String]) -> Result<Vec<ExtraField>> {
    let mut fields = Vec::new();
    for name in names {
        let name = name.strip_prefix('+').unwrap_or(name);
        if name == "all" {
            fields.extend_from_slice(ExtraField::value_variants());
            continue;
        }
        match ExtraField::from_str(name, false) {
            Ok(field) => fields.push(field),
            Err(_) => bail!(
                "--fields knows no '{}'; it takes all, {}",
                name.escape_debug(),
                ExtraField::value_variants()
                    .iter()
                    .filter_map(|field| Some(format!("+{}", field.to_possible_value()?.get_name())))
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        }
    }
    Ok(fields)
}

fn parse_duration(text: &str) -> Result<Duration> {
    let advice = || {
        format!(
            "--duration takes a time as 10s, 5m or 1h30m, not '{}'",
            text.escape_debug()
        )
    };
    let duration: jiff::SignedDuration = text.parse().with_context(advice)?;
    let duration = Duration::try_from(duration).with_context(advice)?;
    ensure!(!duration.is_zero(), "--duration takes more than no time");
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn config(arguments: &[&str]) -> Result<Config> {
        let cli = Cli::try_parse_from(["dropwatch"].iter().chain(arguments))?;
        Config::new(cli)
    }

    #[test]
    fn the_definition_is_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn defaults() {
        let config = config(&[]).unwrap();
        assert!(config.filters.pids.is_empty() && config.filters.comms.is_empty());
        assert_eq!(config.stack_depth, DEFAULT_STACK_DEPTH);
        assert_eq!(config.hook, HookChoice::Auto);
        assert_eq!(config.buffer, BufferChoice::Auto);
        assert_eq!((config.count, config.duration), (None, None));
    }

    #[test]
    fn values() {
        let stack_depth = |arguments: &[&str]| config(arguments).unwrap().stack_depth;
        assert_eq!(stack_depth(&["--stack"]), 16);
        assert_eq!(stack_depth(&["--stack=3"]), 3);
        assert_eq!(stack_depth(&["--no-stack"]), 0);
        let duration = |text| config(&["--duration", text]).unwrap().duration;
        assert_eq!(duration("10s"), Some(Duration::from_secs(10)));
        assert_eq!(duration("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        let fields = |text| config(&["--fields", text]).unwrap().text.fields;
        assert_eq!(fields("+skb"), [ExtraField::Skb]);
        assert_eq!(fields("all").len(), ExtraField::value_variants().len());
    }

    #[test]
    fn wrong_values_name_the_flag() {
        let cases: &[(&[&str], &str)] = &[
            (&["--pid", "x"], "--pid"),
            (&["--pid", "-1"], "-1"),
            (&["--comm", ""], "--comm"),
            (&["--count", "0"], "--count"),
            (&["--count", "many"], "--count"),
            (&["--stack=0"], "--no-stack"),
            (&["--stack=121"], "120"),
            (&["--stack=4", "--no-stack"], "--no-stack"),
            (&["--duration", "soon"], "--duration"),
            (&["--duration", "-3s"], "-3"),
            (&["--duration", "0s"], "--duration"),
            (&["--hook", "uprobe"], "tracepoint"),
            (&["--buffer", "pipe"], "perf"),
            (&["--timestamp", "x"], "delta"),
            (&["--fields", "+nothing"], "+skb"),
            (&["--no-such-flag"], "--no-such-flag"),
            (&["extra"], "extra"),
        ];
        for (arguments, expected) in cases {
            let error = config(arguments).unwrap_err();
            assert!(
                error.to_string().contains(expected),
                "{arguments:?} gave: {error}"
            );
        }
    }
}
