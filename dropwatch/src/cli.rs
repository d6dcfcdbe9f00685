//! The command line. Doc comments are the help text.

use std::path::PathBuf;

use clap::{ArgAction, Parser};

use crate::{
    config::{BufferChoice, HookChoice},
    format::TimestampStyle,
};

/// Print one line for every packet that the Linux kernel drops.
///
/// The line says when, why (drop reason), which packet, where in the kernel
/// (call site and stack), and which process was running. It needs root, or the
/// capabilities CAP_BPF, CAP_PERFMON and CAP_SYSLOG. Press Ctrl-C to stop; the
/// account of all drops then goes to standard error.
#[derive(Clone, Debug, Parser)]
#[command(version, after_help = EXAMPLES, max_term_width = 100)]
pub struct Cli {
    /// Only drops while one of these processes is on the CPU
    ///
    /// Repeat the flag or separate several by commas. Drops on the receive path
    /// happen in whatever process was interrupted. The numbers are those of the
    /// host, not of a container.
    #[arg(
        long,
        value_name = "PID",
        value_delimiter = ',',
        help_heading = "Filter"
    )]
    pub pid: Vec<u32>,

    /// Only drops while a process (thread) of one of these names is on the CPU
    ///
    /// The kernel keeps the first 15 bytes of a name, so no more than that is
    /// compared. Repeat the flag or separate several by commas.
    #[arg(
        long,
        visible_alias = "pname",
        value_name = "NAME",
        value_delimiter = ',',
        help_heading = "Filter"
    )]
    pub comm: Vec<String>,

    /// What the first column shows
    #[arg(
        short,
        long,
        value_enum,
        value_name = "STYLE",
        default_value_t,
        help_heading = "Output"
    )]
    pub timestamp: TimestampStyle,

    /// Print more tokens: +skb (address of the packet), +ifindex, or all
    #[arg(
        long,
        value_name = "+FIELD,...",
        value_delimiter = ',',
        help_heading = "Output"
    )]
    pub fields: Vec<String>,

    /// Show at most this many callers [default: 16]
    #[arg(
        long,
        value_name = "N",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "16",
        conflicts_with = "no_stack",
        help_heading = "Output"
    )]
    pub stack: Option<u32>,

    /// Show no stack; the kernel then does not look at it at all
    #[arg(long, help_heading = "Output")]
    pub no_stack: bool,

    /// Stop after this many lines
    #[arg(short, long, value_name = "N", help_heading = "Capture")]
    pub count: Option<u64>,

    /// Stop after this time, as 10s, 5m or 1h30m
    #[arg(long, value_name = "TIME", help_heading = "Capture")]
    pub duration: Option<String>,

    /// How to see drops
    #[arg(long, value_enum, default_value_t, help_heading = "Capture")]
    pub hook: HookChoice,

    /// How records get from the kernel to dropwatch
    #[arg(long, value_enum, default_value_t, help_heading = "Capture")]
    pub buffer: BufferChoice,

    /// Take the kernel's type information from this file
    ///
    /// For kernels built without CONFIG_DEBUG_INFO_BTF. The file must be that
    /// of the running kernel.
    #[arg(long, value_name = "FILE", help_heading = "Capture")]
    pub kernel_btf: Option<PathBuf>,

    /// Create this file as soon as drops are seen
    #[arg(long, value_name = "FILE", help_heading = "Diagnostics")]
    pub ready_file: Option<PathBuf>,

    /// Say what is done and why, and give the account every 10 s; twice for
    /// more
    ///
    /// The environment variable RUST_LOG has the last word.
    #[arg(short, long, action = ArgAction::Count, help_heading = "Diagnostics")]
    pub verbose: u8,
}

const EXAMPLES: &str = "\
Examples:
  dropwatch                                   every drop
  dropwatch --comm curl                       drops while curl is running
  dropwatch | grep --line-buffered ' udp '    one protocol
  dropwatch | grep -m 1 ':443 '               until the first match
  dropwatch -c 100 --no-stack > drops.txt     the next hundred, without stacks

Exit status: 0 done (also when interrupted, or when the reader of the pipe has
gone), 1 failed, 2 wrong usage.";
