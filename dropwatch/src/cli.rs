//! The command line. Doc comments are the help text.

use std::{env, ffi::OsString, path::PathBuf};

use clap::{
    ArgAction, ColorChoice, CommandFactory as _, Parser,
    error::{ContextKind, ContextValue},
};

use crate::{
    config::{BufferChoice, HookChoice},
    format::TimestampStyle,
    groups::Dimension,
    output::Plain,
};

/// Print one line for every packet that the Linux kernel drops.
///
/// The line says when, why (drop reason), which packet, where in the kernel
/// (call site and stack), and which process. It needs root, or the
/// capabilities CAP_BPF, CAP_PERFMON and CAP_SYSLOG. Press Ctrl-C to stop; the
/// account of all drops then goes to standard error.
#[derive(Clone, Debug, Parser)]
#[command(
    version,
    bin_name = "dropwatch",
    after_help = EXAMPLES,
    max_term_width = 100,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    disable_version_flag = true,
    subcommand_help_heading = "Other views",
    override_usage = "dropwatch [OPTIONS]\n       dropwatch <COMMAND> [OPTIONS]"
)]
pub struct Cli {
    /// What to show in place of lines.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Without a command: lines.
    #[command(flatten)]
    pub lines: LineArgs,

    /// Color on the terminal; auto heeds NO_COLOR and CLICOLOR_FORCE
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "WHEN",
        default_value_t = ColorChoice::Auto,
        help_heading = "Output"
    )]
    pub color: ColorChoice,

    /// Print the version; with --verbose also what identifies the eBPF object
    #[arg(short = 'V', long)]
    pub version: bool,
}

impl Cli {
    /// Reads the program's command line; ends the program if it is wrong, or asks for help.
    #[must_use]
    pub fn read() -> Self {
        Self::parse_plainly(&env::args_os().collect::<Vec<_>>())
            .unwrap_or_else(|error| error.exit())
    }

    /// Parses a command line, the program's name first. Scripts hand on what others have named, so
    /// an error has nothing of it that could control a terminal.
    pub(crate) fn parse_plainly(words: &[OsString]) -> Result<Self, clap::Error> {
        Self::try_parse_from(words).map_err(|error| {
            let words = words.iter().map(|word| Plain(word.to_string_lossy()));
            let words = words.map(|word| word.to_string());
            clearer(Self::try_parse_from(words).err().unwrap_or(error))
        })
    }

    /// How often `-v` was given.
    #[must_use]
    pub fn verbosity(&self) -> u8 {
        match &self.command {
            None => self.lines.diagnostic.verbose,
            Some(Command::Summary(args)) => args.count.diagnostic.verbose,
            Some(Command::Top(args)) => args.count.diagnostic.verbose,
            Some(Command::Serve(args)) => args.count.diagnostic.verbose,
            Some(Command::Explain(_)) => 0,
            Some(Command::Replay(args)) => args.verbose,
            Some(Command::Doctor(args)) => args.verbose,
            Some(Command::Locate(args)) => args.verbose,
        }
    }
}

/// The error in better words where clap can't know what was meant.
fn clearer(error: clap::Error) -> clap::Error {
    // What is no flag and no flag's value.
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else {
        return error;
    };
    let is_behind = |flag: &str| {
        let before = error.get(ContextKind::PriorArg);
        before.is_some_and(|before| before.to_string().contains(flag))
    };
    let words = if word == "help" {
        "help is a flag: dropwatch --help, or dropwatch COMMAND --help".to_owned()
    } else if is_behind("--stack[") && word.parse::<u32>().is_ok() {
        format!("--stack takes its number behind =, write --stack={word}")
    } else {
        return error;
    };
    Cli::command().error(error.kind(), words)
}

/// A part of the command line as one text, any characters in it.
pub(crate) fn joined(words: impl Iterator<Item = OsString>) -> String {
    let words: Vec<String> = words
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    words.join(" ")
}

/// Views other than lines.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Count drops in the kernel, by reason and call site or what --by says
    Summary(SummaryArgs),
    /// Watch drops by reason, call site and flow, on the full screen
    Top(TopArgs),
    /// Export counts to Prometheus or an OpenTelemetry collector
    Serve(ServeArgs),
    /// Say what a drop means, what moves with it, and what to do
    Explain(ExplainArgs),
    /// Say what this kernel lets dropwatch do, what is missing, and the remedy
    Doctor(DoctorArgs),
    /// Say where in the source a drop was, by the kernel's debug information
    Locate(LocateArgs),
    /// Print recorded drops as they were printed, or filter and format them anew
    Replay(ReplayArgs),
}

/// `dropwatch locate`
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = LOCATE_EXAMPLES, max_term_width = 100)]
pub struct LocateArgs {
    /// A frame as lines show it, a function, an address, a whole line, or - for lines on standard
    /// input
    #[arg(value_name = "FUNCTION+0xOFFSET|ADDRESS|LINE|-", required = true)]
    pub what: Vec<String>,

    /// How to print places
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t)]
    pub output: PlaceFormat,

    /// Of the kernel with this build id, in place of the running one
    #[arg(long, value_name = "HEX")]
    pub build_id: Option<String>,

    /// Where debug information comes from.
    #[command(flatten)]
    pub source: SourceArgs,

    /// Say what is done and why
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
}

/// How places in the source are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum PlaceFormat {
    /// A line for each frame, and for each function that was inlined there
    #[default]
    Text,
    /// A JSON object for each frame, one on a line
    Json,
}

/// Where debug information comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct SourceArgs {
    /// Take the kernel's debug information from this file, of the same build
    #[arg(long, value_name = "FILE")]
    pub vmlinux: Option<PathBuf>,

    /// Ask the servers of DEBUGINFOD_URLS for debug files that are not there
    #[arg(long)]
    pub debuginfod: bool,
}

/// `dropwatch explain`
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXPLAIN_EXAMPLES, max_term_width = 100)]
pub struct ExplainArgs {
    /// A drop reason (names with *, a subsystem), a function, a whole line, or - for lines on
    /// standard input; without it, all that can be explained is listed
    #[arg(value_name = "REASON|SYMBOL|LINE|-")]
    pub what: Vec<String>,
}

/// `dropwatch doctor`
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = DOCTOR_HELP, max_term_width = 100)]
pub struct DoctorArgs {
    /// How to print the report
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t)]
    pub output: ReportFormat,

    /// The hook to try, as when drops are traced
    #[arg(long, value_enum, default_value_t)]
    pub hook: HookChoice,

    /// The buffer to try, as when drops are traced
    #[arg(long, value_enum, default_value_t)]
    pub buffer: BufferChoice,

    /// Take the kernel's type information from this file
    #[arg(long, value_name = "FILE")]
    pub kernel_btf: Option<PathBuf>,

    /// Say what is done and why; twice for more
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
}

/// How a report is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ReportFormat {
    /// A line for each check and each field
    #[default]
    Text,
    /// One JSON object
    Json,
}

/// `dropwatch top`
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = TOP_KEYS, max_term_width = 100)]
pub struct TopArgs {
    /// Which drops to count.
    #[command(flatten)]
    pub filter: FilterArgs,

    /// What tells groups apart
    #[arg(
        long,
        value_enum,
        value_name = "WHAT,...",
        value_delimiter = ',',
        default_value = "reason,at,proto,saddr,daddr,dport",
        help_heading = "Output"
    )]
    pub by: Vec<Dimension>,

    /// Time between two looks at the counts, as 500ms, 1s or 5s
    #[arg(
        long,
        value_name = "TIME",
        default_value = "1s",
        help_heading = "Output"
    )]
    pub interval: String,

    /// How drops are counted.
    #[command(flatten)]
    pub count: CountArgs,
}

/// `dropwatch summary`
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = SUMMARY_EXAMPLES, max_term_width = 100)]
pub struct SummaryArgs {
    /// Which drops to count.
    #[command(flatten)]
    pub filter: FilterArgs,

    /// What tells groups apart
    #[arg(
        long,
        value_enum,
        value_name = "WHAT,...",
        value_delimiter = ',',
        default_value = "reason,at",
        help_heading = "Output"
    )]
    pub by: Vec<Dimension>,

    /// Print what was counted in each such time, as 1s, 10s or 5m
    ///
    /// Without it there is one table, at the end.
    #[arg(long, value_name = "TIME", help_heading = "Output")]
    pub interval: Option<String>,

    /// How to print groups
    #[arg(
        short,
        long,
        value_enum,
        value_name = "FORMAT",
        default_value_t,
        help_heading = "Output"
    )]
    pub output: SummaryFormat,

    /// Most callers of a stack, only with --by stack [default: 16; folded, svg: 64]
    #[arg(long, value_name = "N", help_heading = "Output")]
    pub stack: Option<u32>,

    /// How drops are counted.
    #[command(flatten)]
    pub count: CountArgs,

    /// Which counters to tell of.
    #[command(flatten)]
    pub losses: LossArgs,
}

/// `dropwatch serve`
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = SERVE_HELP, max_term_width = 100)]
pub struct ServeArgs {
    /// Which drops to count.
    #[command(flatten)]
    pub filter: FilterArgs,

    /// What tells series apart: their labels
    ///
    /// All but stack. With class, each drop comes to dropwatch as a record, which costs
    /// more than counting.
    #[arg(
        long,
        value_enum,
        value_name = "WHAT,...",
        value_delimiter = ',',
        default_value = "reason,if",
        help_heading = "Export"
    )]
    pub by: Vec<Dimension>,

    /// Addresses to answer Prometheus at; everybody who can reach one may ask
    ///
    /// An IPv6 address is in brackets, as [fd00::1]:9466, an IPv4 address may be.
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        value_delimiter = ',',
        default_value = "127.0.0.1:9466",
        help_heading = "Export"
    )]
    pub listen: Vec<String>,

    /// Most series of a metric; what comes later is counted as other
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1000,
        help_heading = "Export"
    )]
    pub max_series: u32,

    /// Send counts to an OpenTelemetry collector, as http://10.0.0.7:4318
    ///
    /// OTLP over HTTP, as protobuf. https is not supported.
    #[arg(long, value_name = "URL", help_heading = "Export")]
    pub otlp: Option<String>,

    /// Time between two of these exports
    #[arg(
        long,
        value_name = "TIME",
        default_value = "60s",
        help_heading = "Export"
    )]
    pub otlp_interval: String,

    /// How drops are counted.
    #[command(flatten)]
    pub count: CountArgs,
}

/// What every view that counts takes.
#[derive(Clone, Debug, clap::Args)]
pub struct CountArgs {
    /// Most groups that are told apart; what comes later is counted as other
    ///
    /// By default as many as fit into 64 MiB of the kernel's memory: 131072 at most, 8192 if only
    /// reason and call site tell them apart.
    #[arg(long, value_name = "N", help_heading = "Capture")]
    pub max_groups: Option<u32>,

    /// How to capture.
    #[command(flatten)]
    pub capture: CaptureArgs,

    /// What else to say.
    #[command(flatten)]
    pub diagnostic: DiagnosticArgs,
}

/// How drops and groups are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum OutputFormat {
    /// A line for each
    #[default]
    Text,
    /// A JSON object for each, one on a line, and one for the account at the end
    Json,
}

/// How `dropwatch summary` prints groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum SummaryFormat {
    /// A line for each
    #[default]
    Text,
    /// A JSON object for each, one on a line, and one for the account at the end
    Json,
    /// With --by stack: a line for each stack, for flame graph tools
    Folded,
    /// With --by stack: a flame graph
    Svg,
}

/// `dropwatch` without a command.
#[derive(Clone, Debug, clap::Args)]
pub struct LineArgs {
    /// Which drops to print.
    #[command(flatten)]
    pub filter: FilterArgs,

    /// What lines look like.
    #[command(flatten)]
    pub look: LookArgs,

    /// Show where in the source the call site is, as source=FILE:LINE
    ///
    /// Needs the kernel's debug information. Inlined functions come first. The callers are
    /// for dropwatch locate.
    #[arg(long, help_heading = "Output")]
    pub source: bool,

    /// Where debug information comes from.
    #[command(flatten, next_help_heading = "Output")]
    pub source_from: SourceArgs,

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

    /// Show no stack; the kernel then looks at it for --stack-func alone
    #[arg(long, help_heading = "Output")]
    pub no_stack: bool,

    /// Stop after this many lines
    #[arg(short, long, value_name = "N", help_heading = "Capture")]
    pub count: Option<u64>,

    /// Print at most so many drops a second; N/m a minute, N/h an hour
    ///
    /// On average: so many at once, if there were none for as long. Of the drops that
    /// the filters keep; the others are counted as limited, and most of their cost
    /// is saved.
    #[arg(long, value_name = "N[/s|m|h]", help_heading = "Capture")]
    pub rate_limit: Option<String>,

    /// Print one of N drops, and sample=N on each line
    ///
    /// Of the drops that the filters keep, on each processor the first and then every
    /// Nth; the others are counted as sampled out, and most of their cost is saved.
    #[arg(long, value_name = "N", help_heading = "Capture")]
    pub sample: Option<u32>,

    /// Where packets go.
    #[command(flatten)]
    pub write: WriteArgs,

    /// How to capture.
    #[command(flatten)]
    pub capture: CaptureArgs,

    /// Explain each kind of drop that was printed, at the end, on standard error
    ///
    /// As dropwatch explain does, with the present values of this host.
    #[arg(long, help_heading = "Diagnostics")]
    pub explain: bool,

    /// Print the drop reasons of this kernel, by subsystem and number, and end
    #[arg(long, help_heading = "Diagnostics")]
    pub list_reasons: bool,

    /// Print the tracepoints and functions of this kernel that see packets go, which of
    /// them dropwatch uses, and end
    #[arg(long, conflicts_with = "list_reasons", help_heading = "Diagnostics")]
    pub list_hooks: bool,

    /// What else to say.
    #[command(flatten)]
    pub diagnostic: DiagnosticArgs,

    /// Which counters to tell of.
    #[command(flatten)]
    pub losses: LossArgs,
}

/// `dropwatch replay`
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = REPLAY_EXAMPLES,
    max_term_width = 100,
    // Standard output has the lines.
    mut_arg("write", |write| write.value_name("FILE").help(REPLAY_WRITE).long_help(None))
)]
pub struct ReplayArgs {
    /// Recordings (dropwatch -w FILE.dwr), or - for one on standard input
    ///
    /// The files of a run are put in their order, those of several runs are joined by time.
    #[arg(value_name = "FILE|-", required = true)]
    pub files: Vec<PathBuf>,

    /// Which drops to print.
    #[command(flatten)]
    pub filter: FilterArgs,

    /// What lines look like.
    #[command(flatten)]
    pub look: LookArgs,

    /// Show at most this many callers [default: all that were recorded]
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

    /// Show no stack
    #[arg(long, help_heading = "Output")]
    pub no_stack: bool,

    /// Stop after this many lines
    #[arg(short, long, value_name = "N", help_heading = "Output")]
    pub count: Option<u64>,

    /// Where packets go.
    #[command(flatten)]
    pub write: WriteArgs,

    /// Explain each kind of drop that was printed, at the end, on standard error
    ///
    /// As dropwatch explain does, with the present values of this host, not of the one
    /// that recorded.
    #[arg(long, help_heading = "Diagnostics")]
    pub explain: bool,

    /// Say what is done and why; twice for more
    #[arg(short, long, action = ArgAction::Count, help_heading = "Diagnostics")]
    pub verbose: u8,
}

/// What lines look like, live and recorded.
#[derive(Clone, Debug, clap::Args)]
pub struct LookArgs {
    /// How to print drops
    ///
    /// JSON has every field, and the time in UTC and since boot. docs/schema.json
    /// describes it.
    #[arg(
        short,
        long,
        value_enum,
        value_name = "FORMAT",
        default_value_t,
        help_heading = "Output"
    )]
    pub output: OutputFormat,

    /// What the first column shows [default: local]
    #[arg(short, long, value_enum, value_name = "STYLE", help_heading = "Output")]
    pub timestamp: Option<TimestampStyle>,

    /// Print more tokens, as +mark,+hash, or all
    ///
    /// gso, seq, ack, win, ttl, ipopt, ext, mac, ifindex, iif, queue, dir, mark,
    /// prio, hash, state, unit, skb. They come in a fixed order.
    #[arg(
        long,
        value_name = "+FIELD,...",
        value_delimiter = ',',
        help_heading = "Output"
    )]
    pub fields: Vec<String>,
}

/// How packets are written to a file.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Packets")]
pub struct WriteArgs {
    /// Write the packets to this file, for Wireshark (pcapng); - for standard output,
    /// in place of lines; a FILE.dwr is a recording, for dropwatch replay
    ///
    /// Packets have their line as a comment. A file of that name is replaced.
    #[arg(short, long, value_name = "FILE|-")]
    pub write: Option<PathBuf>,

    /// Most bytes of each packet that are written [default: 4096; of a recording 144,
    /// which lines are made of]
    ///
    /// What lies in page fragments is never read, so that large packets are often
    /// shorter.
    #[arg(short, long, value_name = "BYTES", requires = "write")]
    pub snaplen: Option<u32>,

    /// What the packets start with
    #[arg(
        long,
        value_enum,
        value_name = "WHAT",
        default_value_t,
        requires = "write"
    )]
    pub link_type: LinkType,

    /// Begin a new file when this one has so many bytes, as 100M; full ones become
    /// FILE.1, FILE.2 and so on
    #[arg(long, value_name = "SIZE", requires = "write")]
    pub rotate: Option<String>,

    /// Keep so many files, the one that is written included, and remove the oldest
    #[arg(long, value_name = "N", requires = "rotate")]
    pub keep: Option<u32>,
}

/// What packets in a file start with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LinkType {
    /// What is best for where they go: exact for a file, cooked for standard output
    #[default]
    Auto,
    /// What they have: an Ethernet header or, where there is none, the IP header
    Exact,
    /// All a Linux cooked header, so that programs that take one link type only
    /// (tcpdump) can read them; the destination's MAC address is lost
    Cooked,
}

/// How drops are captured.
#[derive(Clone, Debug, clap::Args)]
pub struct CaptureArgs {
    /// Stop after this time, as 10s, 5m or 1h30m
    #[arg(long, value_name = "TIME", help_heading = "Capture")]
    pub duration: Option<String>,

    /// How to see drops
    #[arg(long, value_enum, default_value_t, help_heading = "Capture")]
    pub hook: HookChoice,

    /// How records get from the kernel to dropwatch
    #[arg(long, value_enum, default_value_t, help_heading = "Capture")]
    pub buffer: BufferChoice,

    /// Size of the buffer, as 8M, 512K or 4096
    ///
    /// Rounded up to a power of two. With --buffer perf, all processors share it
    /// out, down to a page each. When it is full, drops are lost, and counted.
    #[arg(
        long,
        value_name = "SIZE",
        default_value = crate::config::DEFAULT_BUFFER_SIZE,
        help_heading = "Capture"
    )]
    pub buffer_size: String,

    /// End with exit status 3 if drops were lost
    #[arg(long, help_heading = "Capture")]
    pub fail_on_lost: bool,

    /// Take the kernel's type information from this file
    ///
    /// For kernels built without CONFIG_DEBUG_INFO_BTF. The file must be that
    /// of the running kernel.
    #[arg(long, value_name = "FILE", help_heading = "Capture")]
    pub kernel_btf: Option<PathBuf>,
}

/// Losses without a packet.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct LossArgs {
    /// At the end, the kernel's counters of losses that moved, on standard error
    ///
    /// Beside the drops that explain them; what stays unexplained was lost without a packet that
    /// could be seen. summary tells of unexplained ones without being asked, if there are no filters.
    #[arg(long, help_heading = "Diagnostics")]
    pub counters: bool,
}

/// What dropwatch says of itself.
#[derive(Clone, Debug, clap::Args)]
pub struct DiagnosticArgs {
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

/// Which drops to print: within a flag any of its values, between flags all.
///
/// Every list repeats the flag or separates values by commas. All of them but
/// `hide_expected` are decided in the kernel.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Filter")]
pub struct FilterArgs {
    /// Only drops of these processes
    ///
    /// A drop is a process's if the process holds the packet's socket. Where the
    /// packet has no socket, the process on the CPU counts. The numbers are those
    /// of the host, not of a container.
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pub pid: Vec<u32>,

    /// Only drops of processes of these names
    ///
    /// As for --pid; where the process is on the CPU, the name of the thread
    /// counts as well. The kernel keeps the first 15 bytes of a name, so no more
    /// than that is compared.
    #[arg(
        long,
        visible_alias = "pname",
        value_name = "NAME",
        value_delimiter = ','
    )]
    pub comm: Vec<String>,

    /// Only packets of these interfaces, the ones that lines show as if=
    #[arg(short, long, value_name = "NAME", value_delimiter = ',')]
    pub iface: Vec<String>,

    /// No packets of these interfaces
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub exclude_iface: Vec<String>,

    /// Only this network namespace: a path, a name, an inode number, or pid:N
    #[arg(long, value_name = "NAMESPACE", value_delimiter = ',')]
    pub netns: Vec<String>,

    /// Only packets from or to these addresses or networks, as 10.0.0.0/8
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub addr: Vec<String>,

    /// Only packets from these addresses or networks
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub saddr: Vec<String>,

    /// Only packets to these addresses or networks
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub daddr: Vec<String>,

    /// Only packets from or to these ports, as 443 or 8000-8100
    #[arg(
        long,
        value_name = "N|A-B",
        value_delimiter = ',',
        allow_hyphen_values = true
    )]
    pub port: Vec<String>,

    /// Only packets from these ports
    #[arg(
        long,
        value_name = "N|A-B",
        value_delimiter = ',',
        allow_hyphen_values = true
    )]
    pub sport: Vec<String>,

    /// Only packets to these ports
    #[arg(
        long,
        value_name = "N|A-B",
        value_delimiter = ',',
        allow_hyphen_values = true
    )]
    pub dport: Vec<String>,

    /// Only these IP protocols and ethertypes, by the name that lines show or the
    /// number of an IP protocol
    #[arg(long, value_name = "PROTOCOL", value_delimiter = ',')]
    pub proto: Vec<String>,

    /// Only IPv4
    #[arg(short = '4', long)]
    pub ipv4: bool,

    /// Only IPv6
    #[arg(short = '6', long)]
    pub ipv6: bool,

    /// Only these drop reasons: names with *, a subsystem, or numbers
    #[arg(short, long, value_name = "REASON", value_delimiter = ',')]
    pub reason: Vec<String>,

    /// Not these drop reasons
    #[arg(long, value_name = "REASON", value_delimiter = ',')]
    pub exclude_reason: Vec<String>,

    /// Only drops at call sites in these functions, names with *
    #[arg(long, value_name = "FUNCTION", value_delimiter = ',')]
    pub func: Vec<String>,

    /// No drops at call sites in these functions
    #[arg(long, value_name = "FUNCTION", value_delimiter = ',')]
    pub exclude_func: Vec<String>,

    /// Only drops with one of these functions anywhere in the stack
    ///
    /// The call site and all of its callers count, also those that the line does
    /// not show, and with --no-stack.
    #[arg(long, value_name = "FUNCTION", value_delimiter = ',')]
    pub stack_func: Vec<String>,

    /// Only packets whose mark is this value, or has it under a mask
    #[arg(
        long,
        value_name = "VALUE[/MASK]",
        value_delimiter = ',',
        allow_hyphen_values = true
    )]
    pub mark: Vec<String>,

    /// Only packets of this many bytes, the number that lines show as len=
    #[arg(
        long,
        value_name = "N|A-B",
        value_delimiter = ',',
        allow_hyphen_values = true
    )]
    pub len: Vec<String>,

    /// Only packets of this container: its name, or the start of its id
    ///
    /// By the packet's socket or, where it has none, by its network namespace.
    #[arg(long, value_name = "NAME|ID", value_delimiter = ',')]
    pub container: Vec<String>,

    /// Only packets of this control group and those below it
    ///
    /// By the packet's socket or, where it has none, by the task on the CPU.
    #[arg(long, value_name = "PATH", value_delimiter = ',')]
    pub cgroup: Vec<String>,

    /// Hide drops of the classes teardown and expected
    ///
    /// Sockets that close with unread packets, duplicates, frames for others,
    /// and the like. The account says how many were hidden.
    #[arg(long)]
    pub hide_expected: bool,
}

const TOP_KEYS: &str = "\
Keys: arrows and Enter go from reasons to call sites, flows and packets, Esc goes
back, / filters, < > r sort, Space pauses, ? shows all keys, q quits.

The kernel counts, as for summary; of each group and processor it sends a packet
each second. The account goes to standard error at the end.";

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  dropwatch explain TCP_LISTEN_OVERFLOW
  dropwatch explain __udp4_lib_rcv+0x4bc
  grep 10.0.0.7 drops.txt | dropwatch explain -     each kind of drop once
  dropwatch explain | grep -i arp                   what there is

Counters, settings and queues are those of the network namespace that it runs in.
It needs no privileges.";

const LOCATE_EXAMPLES: &str = "\
Examples:
  dropwatch locate nft_do_chain+0x3e8[nf_tables] __udp4_lib_rcv+0x4bc
  grep 10.0.0.7 drops.txt | dropwatch locate -     each different stack once
  dropwatch locate --debuginfod __udp4_lib_rcv+0x4bc

An offset is where a call returns to, as in lines and stacks: the call before it is
shown. Inlined functions come first. A debug file of another build is refused.
It needs no privileges, but to name addresses.

Exit status: 0 if any place was found, 1 if not.";

const DOCTOR_HELP: &str = "\
Runs without root, too, and says then what could not be looked at. With root it loads
the programs as any run does, sends itself a packet to a closed port in a network
namespace of its own, and looks whether the drop comes back.

Exit status: 0 if dropwatch can run here, 1 if it can't.";

const SERVE_HELP: &str = "\
Examples:
  dropwatch serve                               http://127.0.0.1:9466/metrics
  dropwatch serve --by reason,if,netns --max-series 500
  dropwatch serve --otlp http://10.0.0.7:4318 --otlp-interval 15s

/metrics has the counts, as OpenMetrics or Prometheus' text, /healthz says whether drops are
being read. The kernel counts, as for summary. docs/fleet.md tells what to choose.";

const REPLAY_WRITE: &str = "Write the packets to this file, for Wireshark (pcapng), each with its line \
    as a comment; a FILE.dwr is a recording again. A file of that name is replaced";

const REPLAY_EXAMPLES: &str = "\
Examples:
  dropwatch -w drops.dwr                         record, and print as ever
  dropwatch replay drops.dwr                     the same lines again, on any machine
  dropwatch replay drops.dwr.* drops.dwr --port 443 -o json
  zcat drops.dwr.gz | dropwatch replay - --hide-expected --fields +mark

Filters mean what they mean live; --netns takes names and inode numbers. Local time is
that of the host that recorded. The account at the end is that of the run, with what
these filters turned down. It needs no privileges and nothing of that host.";

const SUMMARY_EXAMPLES: &str = "\
Examples:
  dropwatch summary                             until Ctrl-C, by reason and call site
  dropwatch summary --by reason,daddr,dport --interval 1s
  dropwatch summary --by owner --duration 10s -o json | jq .
  dropwatch summary --by reason,stack -o svg > drops.svg

The kernel counts; no record of each drop is made. Groups that only dropwatch can
tell apart come as records: --hide-expected, --pid and --comm of sockets that are
new, and --by owner before 6.11. Each group is a line; most drops first.";

const EXAMPLES: &str = "\
Examples:
  dropwatch                                   every drop
  dropwatch --comm curl                       drops of curl's packets
  dropwatch --port 443 --addr 10.0.0.0/8      one service, one network
  dropwatch -r 'TCP_*' --hide-expected        by reason, without the noise
  dropwatch | grep -m 1 ':443 '               until the first match
  dropwatch -c 100 --no-stack > drops.txt     the next hundred, without stacks
  dropwatch -o json | jq -r .saddr            for programs
  dropwatch -w - | wireshark -k -i -          the packets themselves

Exit status: 0 done (also when interrupted, or when the reader of the pipe has
gone), 1 failed, 2 wrong usage, 3 drops were lost (only with --fail-on-lost).";
