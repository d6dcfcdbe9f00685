//! The command line, validated.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum as _;
use dropwatch_common::{
    event::{HEADERS_LEN, MAX_SNAPLEN},
    limit::RateLimit,
};

use crate::{
    classify,
    cli::{
        CaptureArgs, Cli, Command, DiagnosticArgs, DoctorArgs, LineArgs, LinkType, LookArgs,
        OutputFormat, ReportFormat, ServeArgs, SourceArgs, SummaryArgs, SummaryFormat, TopArgs,
        WriteArgs,
    },
    color,
    counters::Wanted,
    filter::Filters,
    format::{ExtraField, LineFormat, TextOptions},
    groups::Dimension,
    serve::{listen, otlp},
    source,
};

/// Callers that a line shows unless the user says otherwise: enough to get from
/// a netfilter drop of a `connect` to the system call.
pub const DEFAULT_STACK_DEPTH: u32 = 16;

/// The same where stacks make a picture, which has to begin at the outermost caller: a datagram
/// that is dropped behind loopback or a veth has some 20, and what is on its way adds to that.
const DEFAULT_GRAPH_DEPTH: u32 = 64;

/// Most callers that can be asked for. The kernel unwinds 127 frames at most,
/// and some of them lie inside of the call site.
pub const MAX_STACK_DEPTH: u32 = 120;

/// Size of the buffer unless the user says otherwise.
pub(crate) const DEFAULT_BUFFER_SIZE: &str = "8M";

/// Bytes of each packet that are written unless the user says otherwise: more than a
/// page of linear data is rare.
pub(crate) const DEFAULT_SNAPLEN: u32 = 4096;

/// Least bytes after which a file is full.
const MIN_ROTATE: u64 = 4096;

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
    /// What to answer in place of tracing.
    pub question: Option<Question>,
    /// Whether to explain at the end what was printed.
    pub explain: bool,
    /// Where debug information comes from; `None` where call sites are not looked up in it.
    pub source: Option<source::Options>,
    /// Which counters of losses to tell of at the end.
    pub counters: Wanted,
    /// What to show.
    pub view: View,
    /// Most callers of a stack, 0 for no stacks.
    pub stack_depth: u32,
    /// Time after which to stop.
    pub duration: Option<Duration>,
    /// Hook to use.
    pub hook: HookChoice,
    /// Buffer to use.
    pub buffer: BufferChoice,
    /// Its size in bytes: a power of two, at least a page.
    pub buffer_size: u32,
    /// Most drops to print in a time.
    pub rate_limit: Option<RateLimit>,
    /// Of how many drops one is printed, at least 2.
    pub sample: Option<u32>,
    /// Where packets are written, and how.
    pub write: Option<Write>,
    /// Whether lost drops are a failure.
    pub fail_on_lost: bool,
    /// File with the kernel's BTF in place of the kernel's own.
    pub kernel_btf: Option<PathBuf>,
    /// File to create once drops are seen.
    pub ready_file: Option<PathBuf>,
    /// Whether to give the account while running.
    pub verbose: bool,
}

/// Where packets are written, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The file; `None` for standard output, where packets take the place of lines.
    pub file: Option<PathBuf>,
    /// Whether that is a recording.
    pub is_recording: bool,
    /// Most bytes of each packet.
    pub snaplen: u32,
    /// Whether all packets get a Linux cooked header in place of what they have.
    pub is_cooked: bool,
    /// When to begin a new file.
    pub rotation: Option<Rotation>,
}

/// When to begin a new file, and how many to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Bytes after which a file is full.
    pub size: u64,
    /// Most files, the one that is written included; `None` for all.
    pub keep: Option<u32>,
}

/// What a recording's name ends in.
const RECORDING: &str = "dwr";

impl Write {
    /// Validates the flags; `None` without `--write`.
    ///
    /// # Errors
    /// Names the flag whose value makes no sense, and what would.
    pub(crate) fn new(args: WriteArgs) -> Result<Option<Self>> {
        let WriteArgs {
            write,
            snaplen,
            link_type,
            rotate,
            keep,
        } = args;
        let Some(path) = write else {
            return Ok(None);
        };
        ensure!(!path.as_os_str().is_empty(), "--write takes a file, or -");
        let is_recording = path
            .extension()
            .is_some_and(|it| it.eq_ignore_ascii_case(RECORDING));
        let (least, usual) = match is_recording {
            // What lines are made of.
            true => (HEADERS_LEN as u32, HEADERS_LEN as u32),
            false => (1, DEFAULT_SNAPLEN),
        };
        let snaplen = snaplen.unwrap_or(usual);
        ensure!(
            (least..=MAX_SNAPLEN as u32).contains(&snaplen),
            "--snaplen takes {least} to {MAX_SNAPLEN} bytes, not {snaplen}"
        );
        ensure!(
            !is_recording || link_type == LinkType::Auto,
            "--link-type is for packets; {} is a recording",
            path.display()
        );
        ensure!(
            keep != Some(0),
            "--keep takes at least 1, the file that is written"
        );
        let file = (path.as_os_str() != "-").then_some(path);
        let rotation = rotate.as_deref().map(parse_rotate).transpose()?;
        ensure!(
            file.is_some() || rotation.is_none(),
            "--rotate takes a file: --write FILE"
        );
        Ok(Some(Self {
            is_cooked: match link_type {
                LinkType::Auto => file.is_none(),
                LinkType::Exact => false,
                LinkType::Cooked => true,
            },
            file,
            is_recording,
            snaplen,
            rotation: rotation.map(|size| Rotation { size, keep }),
        }))
    }

    /// Whether packets take the place of lines.
    #[must_use]
    pub fn is_to_stdout(&self) -> bool {
        self.file.is_none()
    }
}

/// What can be asked without tracing drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// The kernel's drop reasons.
    Reasons,
    /// Where packets can be seen to go.
    Hooks,
    /// Whether dropwatch can run here.
    Doctor(ReportFormat),
}

/// What is shown of the drops.
#[derive(Clone, Debug)]
pub enum View {
    /// A line for each.
    Lines {
        /// What the lines look like.
        format: LineFormat,
        /// Lines after which to stop.
        count: Option<u64>,
    },
    /// How many there are in each group.
    Summary(SummaryOptions),
    /// The same, live, on the full screen.
    Top(TopOptions),
    /// The same, for those who ask over the network.
    Serve(ServeOptions),
}

impl View {
    /// How drops are grouped; `None` where each becomes a line.
    #[must_use]
    pub fn grouping(&self) -> Option<&Grouping> {
        match self {
            Self::Lines { .. } => None,
            Self::Summary(options) => Some(&options.grouping),
            Self::Top(options) => Some(&options.grouping),
            Self::Serve(options) => Some(&options.grouping),
        }
    }
}

/// Most groups that can be asked for: each takes some hundred bytes of the kernel's memory, and
/// some dozen more on each processor.
const MAX_GROUPS: u32 = 1 << 20;

/// Most series of a metric: what a server takes from one host with every scrape has its limits.
const MAX_SERIES: u32 = 100_000;

/// Shortest time between two looks at the counts.
const MIN_INTERVAL: Duration = Duration::from_millis(10);

/// How drops are grouped.
#[derive(Clone, Debug)]
pub struct Grouping {
    /// What tells groups apart: each once, in the order of the columns.
    pub by: Vec<Dimension>,
    /// Most groups; `None` for as many as the memory for them allows.
    pub max_groups: Option<u32>,
}

impl Grouping {
    fn new(mut by: Vec<Dimension>, max_groups: Option<u32>) -> Result<Self> {
        by.sort_unstable();
        by.dedup();
        ensure!(
            max_groups.is_none_or(|groups| (1..=MAX_GROUPS).contains(&groups)),
            "--max-groups takes 1 to {MAX_GROUPS}"
        );
        Ok(Self { by, max_groups })
    }

    /// Whether the kernel side can tell the groups apart by itself.
    fn is_known_to_kernel(&self) -> bool {
        self.by.iter().all(|by| by.is_known_to_kernel())
    }

    /// Callers that it takes to tell groups apart, `depth` of them if the stack does: without
    /// need nobody looks at the stack.
    fn stack_depth(&self, depth: u32) -> u32 {
        if self.by.contains(&Dimension::Stack) {
            depth
        } else if self.by.contains(&Dimension::Class) {
            classify::NEAR as u32
        } else {
            0
        }
    }
}

/// What the live view looks like.
#[derive(Clone, Debug)]
pub struct TopOptions {
    /// How drops are grouped.
    pub grouping: Grouping,
    /// Time between two looks at the counts.
    pub interval: Duration,
}

/// What is exported, and to whom.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// How drops are grouped. The kernel side may have more groups than there are series, for
    /// several of them can have one name.
    pub grouping: Grouping,
    /// Most series of a metric.
    pub max_series: u32,
    /// Where to listen.
    pub listen: Vec<SocketAddr>,
    /// Where to send to.
    pub otlp: Option<otlp::Options>,
}

/// How groups are made and printed.
#[derive(Clone, Debug)]
pub struct SummaryOptions {
    /// How drops are grouped.
    pub grouping: Grouping,
    /// How often to print them; `None` for once, at the end.
    pub interval: Option<Duration>,
    /// How to print them.
    pub format: SummaryFormat,
}

impl Config {
    /// Validates a command line.
    ///
    /// # Errors
    /// Names the flag whose value makes no sense, and what would.
    pub fn new(cli: Cli) -> Result<Self> {
        match cli.command {
            None => Self::for_lines(cli.lines),
            Some(Command::Summary(args)) => Self::for_summary(args),
            Some(Command::Top(args)) => Self::for_top(args),
            Some(Command::Serve(args)) => Self::for_serve(args),
            Some(Command::Explain(_) | Command::Locate(_) | Command::Replay(_)) => {
                bail!("this captures nothing")
            }
            Some(Command::Doctor(args)) => Self::for_doctor(args),
        }
    }

    fn for_doctor(args: DoctorArgs) -> Result<Self> {
        let DoctorArgs {
            output,
            hook,
            buffer,
            kernel_btf,
            verbose,
        } = args;
        let capture = CaptureArgs {
            duration: None,
            hook,
            buffer,
            buffer_size: DEFAULT_BUFFER_SIZE.to_owned(),
            fail_on_lost: false,
            kernel_btf,
        };
        let diagnostic = DiagnosticArgs {
            ready_file: None,
            verbose,
        };
        Ok(Self {
            question: Some(Question::Doctor(output)),
            stack_depth: DEFAULT_STACK_DEPTH,
            ..Self::capturing(Filters::default(), capture, diagnostic)?
        })
    }

    fn for_top(args: TopArgs) -> Result<Self> {
        let TopArgs {
            filter,
            by,
            interval,
            count,
        } = args;
        let grouping = Grouping::new(by, count.max_groups)?;
        Ok(Self {
            stack_depth: grouping.stack_depth(DEFAULT_STACK_DEPTH),
            view: View::Top(TopOptions {
                grouping,
                interval: parse_interval(&interval)?,
            }),
            ..Self::capturing(Filters::new(filter)?, count.capture, count.diagnostic)?
        })
    }

    fn for_serve(args: ServeArgs) -> Result<Self> {
        let ServeArgs {
            filter,
            by,
            listen,
            max_series,
            otlp,
            otlp_interval,
            count,
        } = args;
        ensure!(
            !by.contains(&Dimension::Stack),
            "serve has no --by stack: a stack is too long for a label; dropwatch summary has it"
        );
        ensure!(
            (1..=MAX_SERIES).contains(&max_series),
            "--max-series takes 1 to {MAX_SERIES}"
        );
        let listen = listen.iter().map(|text| listen::address(text));
        let grouping = Grouping::new(by, count.max_groups)?;
        let interval = parse_time("--otlp-interval", &otlp_interval)?;
        let otlp = otlp.map(|url| otlp::Options::new(&url, interval));
        Ok(Self {
            stack_depth: grouping.stack_depth(0),
            view: View::Serve(ServeOptions {
                grouping,
                max_series,
                listen: listen.collect::<Result<_>>()?,
                otlp: otlp.transpose()?,
            }),
            ..Self::capturing(Filters::new(filter)?, count.capture, count.diagnostic)?
        })
    }

    fn for_summary(args: SummaryArgs) -> Result<Self> {
        let SummaryArgs {
            filter,
            by,
            interval,
            output,
            stack,
            count,
            losses,
        } = args;
        let is_graph = matches!(output, SummaryFormat::Folded | SummaryFormat::Svg);
        let mut by = by;
        let shows_stacks = by.contains(&Dimension::Stack);
        ensure!(
            stack.is_none() || shows_stacks,
            "--stack is for stacks; add --by stack, or --by reason,stack"
        );
        if is_graph {
            ensure!(
                shows_stacks,
                "--output folded and svg show stacks; add --by stack, or --by reason,stack"
            );
            ensure!(
                interval.is_none(),
                "--output folded and svg are written once, at the end, so --interval can't be \
                 given; --duration ends by itself"
            );
            // The frame below the callers.
            by.push(Dimension::At);
        }
        let filters = Filters::new(filter)?;
        let grouping = Grouping::new(by, count.max_groups)?;
        let default = match is_graph {
            true => DEFAULT_GRAPH_DEPTH,
            false => DEFAULT_STACK_DEPTH,
        };
        let stack = stack.unwrap_or(default);
        ensure!(
            (1..=MAX_STACK_DEPTH).contains(&stack),
            "--stack takes 1 to {MAX_STACK_DEPTH} callers, not {stack}"
        );
        let interval = interval.as_deref();
        Ok(Self {
            counters: match losses.counters {
                true => Wanted::All,
                // What filters turn down would be unexplained.
                false if filters == Filters::default() => Wanted::Unexplained,
                false => Wanted::None,
            },
            stack_depth: grouping.stack_depth(stack),
            view: View::Summary(SummaryOptions {
                grouping,
                interval: interval.map(parse_interval).transpose()?,
                format: output,
            }),
            ..Self::capturing(filters, count.capture, count.diagnostic)?
        })
    }

    /// A configuration without anything that a view can choose.
    fn capturing(
        filters: Filters,
        capture: CaptureArgs,
        diagnostic: DiagnosticArgs,
    ) -> Result<Self> {
        let CaptureArgs {
            duration,
            hook,
            buffer,
            buffer_size,
            fail_on_lost,
            kernel_btf,
        } = capture;
        let duration = duration.as_deref();
        Ok(Self {
            filters,
            question: None,
            explain: false,
            source: None,
            counters: Wanted::None,
            view: View::Lines {
                format: LineFormat::Text(TextOptions::default()),
                count: None,
            },
            stack_depth: 0,
            duration: duration
                .map(|text| parse_time("--duration", text))
                .transpose()?,
            hook,
            buffer,
            buffer_size: parse_buffer_size(&buffer_size)?,
            rate_limit: None,
            sample: None,
            write: None,
            fail_on_lost,
            kernel_btf,
            ready_file: diagnostic.ready_file,
            verbose: diagnostic.verbose > 0,
        })
    }

    fn for_lines(args: LineArgs) -> Result<Self> {
        let LineArgs {
            filter,
            look,
            stack,
            no_stack,
            count,
            rate_limit,
            sample,
            write,
            capture,
            explain,
            list_reasons,
            list_hooks,
            diagnostic,
            source,
            source_from,
            losses,
        } = args;
        ensure!(
            sample != Some(0),
            "--sample takes at least 1, which prints every drop"
        );
        ensure!(
            source || source_from == SourceArgs::default(),
            "--vmlinux and --debuginfod say where --source looks; give that, too"
        );
        ensure!(count != Some(0), "--count takes at least 1");
        let stack_depth = stack_depth(no_stack, stack)?.unwrap_or(DEFAULT_STACK_DEPTH);
        let write = Write::new(write)?;
        ensure!(
            !source || !write.as_ref().is_some_and(|write| write.is_recording),
            "--source is not recorded; leave it out, and pipe what replay prints into \
             dropwatch locate -"
        );
        ensure!(
            look.output == OutputFormat::Text || !write.as_ref().is_some_and(Write::is_to_stdout),
            "--write - writes packets in place of lines: leave --output json out, or give a file",
        );
        Ok(Self {
            write,
            question: match (list_reasons, list_hooks) {
                (true, _) => Some(Question::Reasons),
                (false, true) => Some(Question::Hooks),
                (false, false) => None,
            },
            explain,
            source: source.then_some(source::Options {
                vmlinux: source_from.vmlinux,
                build_id: None,
                debuginfod: source_from.debuginfod,
            }),
            counters: match losses.counters {
                true => Wanted::All,
                false => Wanted::None,
            },
            view: View::Lines {
                format: line_format(look)?,
                count,
            },
            stack_depth,
            rate_limit: rate_limit.as_deref().map(parse_rate).transpose()?,
            sample: sample.filter(|of| *of > 1),
            ..Self::capturing(Filters::new(filter)?, capture, diagnostic)?
        })
    }

    /// What the kernel side tells groups apart by, the bits of
    /// [`by`](dropwatch_common::group::by); 0 where each drop becomes a record.
    ///
    /// Only user space knows the class of a drop.
    #[must_use]
    pub fn group_by(&self) -> u32 {
        match self.view.grouping() {
            Some(grouping) if !self.filters.hide_expected && grouping.is_known_to_kernel() => {
                grouping.by.iter().fold(0, |bits, by| bits | by.bit())
            }
            Some(_) | None => 0,
        }
    }

    /// What the kernel side limits. It does not know which drops `--hide-expected`
    /// hides, and a token for one of them would be missing for another one: then all
    /// come to user space.
    pub fn kernel_rate_limit(&self) -> Option<RateLimit> {
        self.rate_limit.filter(|_| !self.filters.hide_expected)
    }
}

/// Most callers that were asked for, 0 for none; `None` for what is usual.
pub(crate) fn stack_depth(no_stack: bool, stack: Option<u32>) -> Result<Option<u32>> {
    if no_stack {
        return Ok(Some(0));
    }
    if let Some(depth) = stack {
        ensure!(
            (1..=MAX_STACK_DEPTH).contains(&depth),
            "--stack takes 1 to {MAX_STACK_DEPTH} callers, not {depth}; for none give --no-stack"
        );
    }
    Ok(stack)
}

/// What lines look like.
pub(crate) fn line_format(args: LookArgs) -> Result<LineFormat> {
    let LookArgs {
        output,
        timestamp,
        fields,
    } = args;
    let fields = extra_fields(&fields)?;
    match output {
        OutputFormat::Text => Ok(LineFormat::Text(TextOptions {
            timestamp: timestamp.unwrap_or_default(),
            fields,
            width: None,
            color: color::is_wanted(),
        })),
        OutputFormat::Json => {
            ensure!(
                timestamp.is_none(),
                "--timestamp is for text; --output json has the time in UTC and since boot"
            );
            // Whichever fields were asked for, they are among those that JSON has.
            Ok(LineFormat::Json)
        }
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

/// Largest buffer: the kernel takes its size as a power of two in 32 bits.
const MAX_BUFFER_SIZE: u32 = 1 << 31;

/// Bytes, as `4096`, `512K`, `8M` or `1G`.
fn parse_size(text: &str) -> Option<u64> {
    let split = text.len() - usize::from(text.ends_with(|it: char| "KkMmGg".contains(it)));
    let (digits, unit) = text.split_at(split);
    let factor = match unit {
        "" => 1,
        "K" | "k" => 1 << 10,
        "M" | "m" => 1 << 20,
        _ => 1 << 30,
    };
    parse_number(digits).and_then(|number| number.checked_mul(factor))
}

fn parse_rotate(text: &str) -> Result<u64> {
    // As the bytes of a disk are often written, and 100MB is near enough to 100M.
    let size = text.strip_suffix(['B', 'b']).unwrap_or(text);
    parse_size(size)
        .filter(|size| *size >= MIN_ROTATE)
        .with_context(|| {
            format!(
                "--rotate takes a size from 4K on, as 100M or 1G, not '{}'",
                text.escape_debug()
            )
        })
}

/// Size in bytes, rounded up to what the kernel takes: a power of two of pages.
fn parse_buffer_size(text: &str) -> Result<u32> {
    let bytes = parse_size(text)
        .filter(|bytes| (1..=u64::from(MAX_BUFFER_SIZE)).contains(bytes))
        .with_context(|| {
            format!(
                "--buffer-size takes a size up to 2G, as 8M, 512K or 4096, not '{}'",
                text.escape_debug()
            )
        })?;
    let page = rustix::param::page_size() as u32;
    let size = (bytes as u32).max(page).next_power_of_two();
    if u64::from(size) != bytes {
        log::info!("--buffer-size {text}: rounded up to {size} bytes");
    }
    Ok(size)
}

/// `N`, `N/s`, `N/m`, `N/h`.
fn parse_rate(text: &str) -> Result<RateLimit> {
    let (count, unit) = text.split_once('/').unwrap_or((text, "s"));
    let seconds = match unit {
        "s" => Some(1),
        "m" => Some(60),
        "h" => Some(60 * 60),
        _ => None,
    };
    let count = parse_number(count).and_then(|count| u32::try_from(count).ok());
    match (count.filter(|count| *count > 0), seconds) {
        (Some(count), Some(seconds)) => Ok(RateLimit::new(count, seconds * NANOS_PER_SECOND)),
        _ => bail!(
            "--rate-limit takes a number of drops from 1 on, as 100, 100/s, 20/m or 5/h, not '{}'",
            text.escape_debug()
        ),
    }
}

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Digits and nothing else: no sign, no white space.
fn parse_number(digits: &str) -> Option<u64> {
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_number)
}

fn parse_interval(text: &str) -> Result<Duration> {
    let interval = parse_time("--interval", text)?;
    ensure!(
        interval >= MIN_INTERVAL,
        "--interval takes {} ms at least",
        MIN_INTERVAL.as_millis()
    );
    Ok(interval)
}

fn parse_time(flag: &str, text: &str) -> Result<Duration> {
    let advice = || {
        format!(
            "{flag} takes a time as 10s, 5m or 1h30m, not '{}'",
            text.escape_debug()
        )
    };
    let duration: jiff::SignedDuration = text.parse().with_context(advice)?;
    let duration = Duration::try_from(duration).with_context(advice)?;
    ensure!(!duration.is_zero(), "{flag} takes more than no time");
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use dropwatch_common::group::by;

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
    fn what_clap_can_not_know_is_said_in_better_words() {
        for (arguments, expected) in [
            (&["--stack", "4"][..], "write --stack=4\n"),
            (&["--no-stack", "--stack", "4"], "write --stack=4\n"),
            (&["help"], "help is a flag: dropwatch --help,"),
            (&["help", "summary"], "help is a flag: dropwatch --help,"),
            // As clap has it.
            (&["--no-stack", "4"], "cannot be used with '--no-stack'"),
            (&["--stack", "x"], "the subcommand 'x' cannot be used"),
            (&["sumary"], "'summary'"),
        ] {
            let words = ["dropwatch"].iter().chain(arguments);
            let words: Vec<_> = words.map(Into::into).collect();
            let error = Cli::parse_plainly(&words).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            let error = error.to_string();
            assert!(error.contains(expected), "{arguments:?}: {error}");
        }
        // What others have named.
        for word in ["--\x1b[31m\u{202e}x", "\x1b]0;x\x07", "--buffer=\nx\r"] {
            let error = Cli::parse_plainly(&["dropwatch", word].map(Into::into)).unwrap_err();
            let error = error.render().to_string();
            let raw = ["\x1b", "\u{202e}", "\x07", "\r", "\nx"];
            assert!(
                error.contains('\\') && raw.iter().all(|it| !error.contains(it)),
                "{error:?}"
            );
        }
        // Whatever name it is called by.
        let error = Cli::try_parse_from(["/tmp/other", "summary", "--foo"]).unwrap_err();
        assert!(
            error.to_string().contains("Usage: dropwatch summary "),
            "{error}"
        );
    }

    #[test]
    fn replay_offers_no_packets_on_standard_output() {
        let error = config(&["replay", "--help"]).unwrap_err().to_string();
        let (_, after) = error.split_once("--write <").unwrap();
        let (help, _) = after.split_once("--snaplen").unwrap();
        assert!(
            help.starts_with("FILE>")
                && help.contains("pcapng")
                && !help.contains("standard output"),
            "{help}"
        );
    }

    #[test]
    fn defaults() {
        let config = config(&[]).unwrap();
        assert!(config.filters.pids.is_empty() && config.filters.comms.is_empty());
        assert_eq!(config.stack_depth, DEFAULT_STACK_DEPTH);
        assert_eq!(config.hook, HookChoice::Auto);
        assert_eq!(config.buffer, BufferChoice::Auto);
        assert_eq!(config.duration, None);
        assert!(matches!(config.view, View::Lines { count: None, .. }));
        assert_eq!(config.group_by(), 0);
        assert_eq!(config.buffer_size, 8 << 20);
        assert_eq!((config.rate_limit, config.sample), (None, None));
    }

    #[test]
    fn buffer_sizes() {
        let size = |text: &str| config(&["--buffer-size", text]).unwrap().buffer_size;
        let page = rustix::param::page_size() as u32;
        assert_eq!(size("1"), page);
        assert_eq!(size(&page.to_string()), page);
        assert_eq!(size(&(page + 1).to_string()), 2 * page);
        assert_eq!(size("512K"), 512 << 10);
        assert_eq!(size("3m"), 4 << 20);
        assert_eq!(size("2G"), MAX_BUFFER_SIZE);
    }

    #[test]
    fn rates_and_samples() {
        let rate = |text| config(&["--rate-limit", text]).unwrap().rate_limit;
        let second = NANOS_PER_SECOND;
        assert_eq!(rate("100"), Some(RateLimit::new(100, second)));
        assert_eq!(rate("100/s"), rate("100"));
        assert_eq!(rate("20/m"), Some(RateLimit::new(20, 60 * second)));
        assert_eq!(rate("5/h"), Some(RateLimit::new(5, 3600 * second)));
        let sample = |text| config(&["--sample", text]).unwrap().sample;
        assert_eq!((sample("1"), sample("10")), (None, Some(10)));
    }

    #[test]
    fn packets() {
        let write = |arguments: &[&str]| config(arguments).unwrap().write;
        assert_eq!(write(&[]), None);
        let to_file = Write {
            file: Some("x".into()),
            is_recording: false,
            snaplen: DEFAULT_SNAPLEN,
            is_cooked: false,
            rotation: None,
        };
        assert_eq!(write(&["-w", "x"]), Some(to_file.clone()));
        let to_stdout = write(&["-w", "-", "-s", "96"]).unwrap();
        assert!(to_stdout.is_to_stdout() && to_stdout.is_cooked);
        assert_eq!(to_stdout.snaplen, 96);
        let exact = write(&["-w", "-", "--link-type", "exact"]).unwrap();
        assert!(!exact.is_cooked);
        let rotation = |arguments: &[&str]| {
            let write = write(&[&["-w", "x"], arguments].concat()).unwrap();
            write.rotation.map(|it| (it.size, it.keep))
        };
        assert_eq!(rotation(&["--rotate", "100MB"]), Some((100 << 20, None)));
        assert_eq!(
            rotation(&["--rotate", "4K", "--keep", "10"]),
            Some((4096, Some(10)))
        );
        assert_eq!(write(&["-w", "x", "-o", "json"]), Some(to_file));
        let recording = write(&["-w", "x.dwr"]).unwrap();
        assert!(recording.is_recording && recording.snaplen == HEADERS_LEN as u32);
        assert_eq!(write(&["-w", "x.DWR", "-s", "1500"]).unwrap().snaplen, 1500);
    }

    #[test]
    fn what_is_hidden_later_takes_no_token_in_the_kernel() {
        let limit = ["--rate-limit", "10", "--hide-expected"];
        assert!(config(&limit[..2]).unwrap().kernel_rate_limit().is_some());
        let hides = config(&limit).unwrap();
        assert!(hides.rate_limit.is_some() && hides.kernel_rate_limit().is_none());
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
        let fields = |text| match config(&["--fields", text]).unwrap().view {
            View::Lines {
                format: LineFormat::Text(text),
                ..
            } => text.fields,
            _ => panic!("lines of text were asked for"),
        };
        assert_eq!(fields("+skb"), [ExtraField::Skb]);
        assert_eq!(fields("all").len(), ExtraField::value_variants().len());
    }

    #[test]
    fn json_has_every_field() {
        for arguments in [&["-o", "json"][..], &["-o", "json", "--fields", "+mark"]] {
            let View::Lines { format, .. } = config(arguments).unwrap().view else {
                panic!("lines were asked for");
            };
            let all = ExtraField::value_variants();
            assert!(all.iter().all(|field| format.shows(*field)));
        }
    }

    #[test]
    fn questions() {
        let question = |arguments: &[&str]| config(arguments).unwrap().question;
        assert_eq!(question(&[]), None);
        assert_eq!(question(&["--list-reasons"]), Some(Question::Reasons));
        assert_eq!(question(&["--list-hooks"]), Some(Question::Hooks));
        let doctor = |format| Some(Question::Doctor(format));
        assert_eq!(question(&["doctor"]), doctor(ReportFormat::Text));
        assert_eq!(question(&["doctor", "-ojson"]), doctor(ReportFormat::Json));
        let tried = config(&["doctor", "--hook", "kprobe", "--buffer", "perf"]).unwrap();
        assert_eq!(tried.hook, HookChoice::Kprobe);
        assert_eq!(tried.buffer, BufferChoice::Perf);
    }

    #[test]
    fn summaries() {
        let summary = |arguments: &[&str]| {
            let config = config(&[&["summary"], arguments].concat()).unwrap();
            match config.view.clone() {
                View::Summary(options) => (config, options),
                View::Lines { .. } | View::Top(_) | View::Serve(_) => {
                    panic!("a summary was asked for")
                }
            }
        };
        let (config, options) = summary(&[]);
        assert_eq!(options.grouping.by, [Dimension::Reason, Dimension::At]);
        assert_eq!(config.group_by(), by::REASON | by::LOCATION);
        assert_eq!(config.stack_depth, 0);
        assert_eq!(
            (options.interval, options.grouping.max_groups),
            (None, None)
        );
        let (config, options) = summary(&["--by", "stack,dport,stack", "--interval", "10s"]);
        assert_eq!(options.grouping.by, [Dimension::Dport, Dimension::Stack]);
        assert_eq!(config.stack_depth, DEFAULT_STACK_DEPTH);
        assert_eq!(options.interval, Some(Duration::from_secs(10)));
        let (config, options) = summary(&["--by", "reason,stack", "-o", "svg"]);
        assert_eq!(
            options.grouping.by,
            [Dimension::Reason, Dimension::At, Dimension::Stack]
        );
        assert_eq!(config.stack_depth, DEFAULT_GRAPH_DEPTH);
        let (config, _) = summary(&["--by", "stack", "-o", "folded", "--stack", "7"]);
        assert_eq!(config.stack_depth, 7);
        let (config, _) = summary(&["--hide-expected"]);
        assert_eq!(config.group_by(), 0, "only user space knows classes");
    }

    #[test]
    fn classes_come_as_records_with_their_callers() {
        let served = |by| {
            let config = config(&["serve", "--by", by]).unwrap();
            (config.group_by(), config.stack_depth)
        };
        assert_eq!(served("reason,iface"), (by::REASON | by::DEVICE, 0));
        assert_eq!(served("reason,class"), (0, classify::NEAR as u32));
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
            (&["-o", "json", "--fields", "+nothing"], "+skb"),
            (&["-o", "json", "-t", "boot"], "--timestamp"),
            (&["-o", "xml"], "json"),
            (&["--source", "-w", "x.dwr"], "locate"),
            (&["--buffer-size", "0"], "--buffer-size"),
            (&["--buffer-size", ""], "--buffer-size"),
            (&["--buffer-size", "M"], "--buffer-size"),
            (&["--buffer-size", "8T"], "512K"),
            (&["--buffer-size", "8€"], "8€"),
            (&["--buffer-size", "+8M"], "+8M"),
            (&["--buffer-size", "3G"], "2G"),
            (&["--buffer-size", "99999999999999999999G"], "2G"),
            (&["--buffer-size", "17179869185G"], "2G"),
            (&["--rate-limit", "0"], "--rate-limit"),
            (&["--rate-limit", "10/d"], "20/m"),
            (&["--rate-limit", "10/"], "--rate-limit"),
            (&["--rate-limit", "4294967296"], "--rate-limit"),
            (&["--sample", "0"], "--sample"),
            (&["-w", ""], "--write"),
            (&["-s", "100"], "--write"),
            (&["-w", "x", "-s", "0"], "--snaplen"),
            (&["-w", "x", "-s", "16385"], "16384"),
            (&["-w", "x.dwr", "-s", "100"], "144"),
            (&["-w", "x.dwr", "--link-type", "exact"], "--link-type"),
            (&["-w", "x", "--rotate", "4095"], "--rotate"),
            (&["-w", "x", "--rotate", "many"], "100M"),
            (&["-w", "x", "--keep", "2"], "--rotate"),
            (&["-w", "x", "--rotate", "1M", "--keep", "0"], "--keep"),
            (&["-w", "-", "--rotate", "1M"], "--rotate"),
            (&["-w", "-", "-o", "json"], "--output"),
            (&["summary", "-w", "x"], "-w"),
            (&["--sample", "x"], "--sample"),
            (&["--no-such-flag"], "--no-such-flag"),
            (&["extra"], "extra"),
            (&["summary", "--by", "nothing"], "reason"),
            (&["summary", "--interval", "0s"], "--interval"),
            (&["summary", "--max-groups", "0"], "--max-groups"),
            (&["summary", "--by", "stack", "--stack", "0"], "1 to 120"),
            (&["summary", "--stack", "5"], "--by stack"),
            (&["summary", "-o", "folded"], "--by stack"),
            (&["summary", "--by", "reason", "-o", "svg"], "--by stack"),
            (
                &["summary", "--by", "stack", "-o", "svg", "--interval", "1s"],
                "--interval",
            ),
            (&["-o", "svg"], "svg"),
            (&["top", "--interval", "soon"], "--interval"),
            (&["top", "--interval", "9ms"], "--interval takes 10 ms"),
            (&["summary", "--interval", "1ns"], "--interval takes 10 ms"),
            (&["summary", "--max-groups", "1048577"], "1 to 1048576"),
            (&["top", "--max-groups", "0"], "--max-groups"),
            (&["top", "-c", "1"], "-c"),
            (&["summary", "-c", "1"], "-c"),
            (&["serve", "--by", "stack"], "dropwatch summary"),
            (&["serve", "--max-series", "0"], "--max-series"),
            (&["serve", "--max-series", "100001"], "100000"),
            (&["serve", "--listen", "9466"], "127.0.0.1:9466"),
            (&["serve", "--listen", "[::1]:1,::1:2"], "brackets"),
            (&["serve", "--otlp", "https://a"], "https"),
            (&["serve", "--otlp-interval", "0s"], "--otlp-interval"),
            (&["--pid", "1", "summary"], "summary"),
            (&["--list-hooks", "--list-reasons"], "--list-reasons"),
            (&["doctor", "--pid", "1"], "--pid"),
            (&["doctor", "-o", "xml"], "json"),
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
