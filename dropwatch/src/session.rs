//! One run: the loop over records, time, signals and the reader of the output.

mod counting;
mod live;
mod serving;

use std::{
    fmt::Write as _,
    fs::OpenOptions,
    io::IsTerminal as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use dropwatch_common::{config::RangeKind, event::present, limit::RateLimit};
use jiff::tz::TimeZone;
use rustix::{fs::OFlags, system::uname};
use tokio::{
    select,
    time::{Instant, Interval, MissedTickBehavior, interval, sleep, sleep_until},
};

use self::{
    counting::{Counting, read},
    serving::Serving,
};
use crate::{
    account::{Account, UserCounts},
    bpf::{self, KernelSide, LiveMaps, StackReader, Transport},
    btf::Btf,
    capture::{self, Capture},
    classify::Class,
    config::{Config, SummaryOptions, View, Write},
    counters::{Counters, Report, Wanted},
    decode::decode,
    enrich::{
        Enricher, Host,
        reason::{BTF_FOLDER, ReasonNames},
    },
    explain::Kinds,
    filter::{Filters, KernelFilters},
    format::{self, Format},
    groups::Groups,
    output::{self, Output, Reader, say},
    preflight,
    progress::Progress,
    recording::Recorder,
    sandbox,
    signals::Signals,
    source::{self, Sources},
    system::{PendingSymbols, System},
    top,
};

/// How often it is looked at what the names of `--netns` and `--container` stand
/// for.
const NAMES_INTERVAL: Duration = Duration::from_secs(1);

/// How often it is said at most that drops are being lost.
const LOSSES_INTERVAL: Duration = Duration::from_secs(1);

/// How often it is said on a terminal that nothing was printed.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// How often the account is given with `-v`.
const ACCOUNT_INTERVAL: Duration = Duration::from_secs(10);

/// How long the last lines may wait for a slow reader.
const LAST_LINES: Duration = Duration::from_secs(1);

/// How long a program that is just running needs at most.
const SETTLE: Duration = Duration::from_millis(1);

/// Traces until the user, the count, the time or the reader says stop, and returns
/// the account.
///
/// # Errors
/// Says what failed, on what, and what to do.
pub async fn run(config: &Config) -> Result<Account> {
    preflight::check_privileges()?;
    if matches!(config.view, View::Top(_)) {
        top::check()?;
    }
    let packets_to_stdout = config.write.as_ref().is_some_and(Write::is_to_stdout);
    ensure!(
        !packets_to_stdout || !std::io::stdout().is_terminal(),
        "--write -: standard output is a terminal; send it to a pipe or a file"
    );
    // What waits for a slow reader must not wait in the kernel's buffer, where it keeps out what
    // the file of `--write` has room for.
    let has_file = config.write.as_ref().is_some_and(|it| it.file.is_some());
    let output = Output::stdout(if has_file { config.buffer_size } else { 0 })?;
    // What can't be had is said before anything is attached.
    let serving = Serving::open(&config.view)?;
    let Tracing {
        filters,
        kernel,
        transport,
        stacks,
        mut enricher,
    } = start(config)?;
    let counters = start_counters(config, &filters, enricher.host())?;
    let capture = open_capture(config, &mut enricher)?;
    let signals = Signals::new()?;
    create_ready_file(config)?;
    // Before there are other threads: each has capabilities of its own.
    sandbox::enter(sandbox::Needs {
        namespaces: config.counters != Wanted::None,
        files: config
            .write
            .as_ref()
            .is_some_and(|write| write.rotation.is_some()),
    })?;

    enricher.set_sample(config.sample);
    enricher.prepare();
    let max_groups = match &config.view {
        View::Serve(options) => options.max_series,
        View::Lines { .. } | View::Summary(_) | View::Top(_) => kernel.groups.capacity,
    };
    let grouping = config.view.grouping();
    let by = grouping.map_or(&[][..], |grouping| &grouping.by);
    let session = Session {
        config,
        kernel,
        filters,
        last_warning: String::new(),
        lost_before: 0,
        transport,
        serving,
        losses: None,
        records: Records {
            stacks,
            enricher,
            output,
            has_given_up: false,
            tokens: Tokens {
                limit: config.rate_limit,
                full_ns: 0,
            },
            counts: UserCounts::default(),
            sink: Sink::new(config),
            capture,
            groups: Groups::new(by, max_groups as usize),
            kinds: config.explain.then(Kinds::new).transpose()?,
            counters,
        },
    };
    session.run(signals).await
}

/// Creates the file of `--write`, if there is one.
fn open_capture(config: &Config, enricher: &mut Enricher) -> Result<Option<Capture>> {
    let View::Lines { format, .. } = &config.view else {
        return Ok(None);
    };
    Capture::open(config.write.as_ref(), format, &[], || {
        let (reasons, subsystems) = capture::reasons_of(enricher.reasons());
        let about = capture::about_this_run(config.stack_depth);
        Recorder::new(about, TimeZone::system(), reasons, subsystems)
    })
}

/// All that it takes to get records of drops.
pub(crate) struct Tracing {
    /// The filters as the kernel side has them.
    pub(crate) filters: KernelFilters,
    /// The attached programs.
    pub(crate) kernel: KernelSide,
    /// Where their records come from.
    pub(crate) transport: Transport,
    /// Where their stacks are.
    pub(crate) stacks: StackReader,
    /// Gives names to what they say.
    pub(crate) enricher: Enricher,
}

/// Attaches what `config` asks for. Has to be called in a runtime.
///
/// # Errors
/// Says what failed, on what, and what to do.
pub(crate) fn start(config: &Config) -> Result<Tracing> {
    // First, for it takes a while, and its failure ends the run.
    let sources = config.source.as_ref().map(sources).transpose()?;
    let started = Instant::now();
    // Reading the symbols takes the kernel longer than all the rest.
    let symbols = PendingSymbols::start();

    let btf = Btf::load(config.kernel_btf.as_deref())?;
    let mut system = System::new(ReasonNames::new(&btf, Path::new(BTF_FOLDER)), symbols);
    let mut filters = config.filters.resolve(&mut system)?;
    for pid in &config.filters.pids {
        if !Path::new("/proc").join(pid.to_string()).exists() {
            log::warn!("--pid {pid}: there is no such process now");
        }
    }
    if !bpf::names_receiver(&btf) {
        filters.add(RangeKind::SocketReceive, system.socket_receive_functions());
        filters.add_if_given(RangeKind::SplitFunction, system.split_functions());
    }
    let (kernel, transport, stacks) = bpf::load(config, &filters, btf, &system.reasons)?;
    let (reasons, symbols, host) = system.into_names();
    log::info!(
        "attached {:.3} s after start, {} symbols",
        started.elapsed().as_secs_f64(),
        symbols.len()
    );
    let depth = config.stack_depth as usize;
    let mut enricher = Enricher::new(reasons, symbols, depth, host);
    if let Some(sources) = sources {
        enricher.set_sources(sources);
    }
    Ok(Tracing {
        filters,
        kernel,
        transport,
        stacks,
        enricher,
    })
}

/// The kernel's debug information.
fn sources(options: &source::Options) -> Result<Sources> {
    let started = Instant::now();
    let sources = Sources::new(options)?;
    let path = sources.vmlinux().context("--source")?;
    log::info!(
        "source lines by {}, opened in {:.3} s",
        path.display(),
        started.elapsed().as_secs_f64()
    );
    Ok(sources)
}

/// Reads the counters of losses, if they are wanted: of the namespaces that the user names, or of
/// all.
fn start_counters(
    config: &Config,
    filters: &KernelFilters,
    host: &mut Host,
) -> Result<Option<Counters>> {
    if config.counters == Wanted::None {
        return Ok(None);
    }
    let netns = filters.netns.iter();
    let mut named: Vec<(u32, Option<PathBuf>)> = netns
        .filter_map(|(name, inode)| {
            // Perhaps the only way to a namespace that neither has a name nor processes.
            let path = name.contains('/').then(|| PathBuf::from(name));
            Some(((*inode)?, path))
        })
        .collect();
    for name in &config.filters.containers {
        let namespaces = host.containers.find_container(name)?.namespaces;
        named.extend(namespaces.into_iter().map(|inode| (inode, None)));
    }
    let has_names = !config.filters.netns.is_empty() || !config.filters.containers.is_empty();
    Counters::start(host, has_names.then_some(&*named)).map(Some)
}

/// Prints the drop reasons of this kernel.
///
/// # Errors
/// The kernel's type information or standard output can't be used.
pub fn list_reasons(config: &Config) -> Result<()> {
    let btf = Btf::load(config.kernel_btf.as_deref())?;
    let mut reasons = ReasonNames::new(&btf, Path::new(BTF_FOLDER));
    ensure!(
        reasons.has_reasons(),
        "this kernel gives no drop reasons (5.17 and later do); go by the call site, at="
    );
    let mut text = String::new();
    for reason in reasons.all() {
        let subsystem = reason.subsystem.as_deref().unwrap_or("core");
        writeln!(text, "{:<8} {subsystem:<12} {}", reason.number, reason.name)?;
    }
    output::print(&text)?;
    Ok(())
}

fn create_ready_file(config: &Config) -> Result<()> {
    if let Some(path) = &config.ready_file {
        // In a folder that others share, a link would lead to where they want it to, and a pipe
        // would wait for its reader. What is in a file that is there stays.
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32)
            .open(path)
            .with_context(|| format!("creating --ready-file {}", path.display()))?;
    }
    Ok(())
}

struct Session<'a> {
    config: &'a Config,
    kernel: KernelSide,
    /// The filters as the kernel side has them.
    filters: KernelFilters,
    /// What was last said of a name that can't be looked up.
    last_warning: String,
    /// Lost drops that were told of.
    lost_before: u64,
    transport: Transport,
    serving: Serving,
    /// What the counters of losses said at the end.
    losses: Option<Report>,
    records: Records,
}

impl Session<'_> {
    async fn run(mut self, mut signals: Signals) -> Result<Account> {
        self.serving.say_where();
        self.records.begin();
        let traced = match &self.config.view {
            View::Top(options) => self.watch(options, &mut signals).await,
            View::Lines { .. } | View::Summary(_) | View::Serve(_) => {
                self.trace(&mut signals).await
            }
        };
        self.records.end_counters();
        self.kernel.detach()?;
        let ended = match traced {
            Ok(Reader::Present) => self.drain_rest().await,
            ended => ended,
        };
        let ended = match ended {
            Ok(Reader::Present) => self.print_last().await,
            ended => ended,
        };
        let account = match ended {
            // Who asked for a few lines is not told of all that they have not read; of a file, or of
            // a terminal that was closed, everybody is.
            Ok(Reader::Gone) if !self.is_missed() => self.account(),
            Ok(Reader::Gone) => {
                self.give_up_rest().await?;
                self.report_end()
            }
            Ok(Reader::Present) => self.report_end(),
            Err(error) => {
                self.give_up_rest().await?;
                self.report_end()?;
                Err(error)
            }
        };
        let account = self.finish_capture(account);
        if let Some(kinds) = &self.records.kinds {
            kinds.tell();
        }
        account
    }

    /// Whether it matters what became of drops once nobody reads the lines.
    fn is_missed(&self) -> bool {
        self.records.capture.is_some() || self.records.output.is_terminal()
    }

    /// Ends the file of `--write`, and says what is in it.
    fn finish_capture(&mut self, ended: Result<Account>) -> Result<Account> {
        let account = match &ended {
            Ok(account) => *account,
            Err(_) => self.account()?,
        };
        let Some(capture) = &mut self.records.capture else {
            return ended;
        };
        let finished = capture.finish(&account);
        say(&capture.report());
        if let (Err(_), Err(error)) = (&ended, &finished) {
            // There is one error that ends the program.
            log::warn!("{error:#}");
        }
        ended.and_then(|account| finished.map(|()| account))
    }

    /// Counts as lost what the kernel side recorded until it was detached.
    async fn give_up_rest(&mut self) -> Result<()> {
        let deadline = Instant::now() + LAST_LINES;
        loop {
            self.give_up();
            // A processor may have been in the middle of a program.
            let in_flight = self.account()?.in_flight();
            if in_flight <= self.records.lines_pending().into() || Instant::now() >= deadline {
                return Ok(());
            }
            sleep(SETTLE).await;
        }
    }

    /// Prints what the kernel side recorded until it was detached.
    async fn drain_rest(&mut self) -> Result<Reader> {
        let deadline = Instant::now() + LAST_LINES;
        loop {
            if self.drain_until(deadline).await? == Reader::Gone {
                return Ok(Reader::Gone);
            }
            // A processor may have been in the middle of a program.
            if self.account()?.in_flight() <= 0 || Instant::now() >= deadline {
                return Ok(Reader::Present);
            }
            sleep(SETTLE).await;
        }
    }

    /// When the time is over. A time beyond what the clock can tell is no end.
    fn end(&self) -> Option<Instant> {
        let duration = self.config.duration;
        duration.and_then(|time| Instant::now().checked_add(time))
    }

    /// Whether filters have names that can come to stand for something else.
    fn has_names(&self) -> bool {
        let wanted = &self.config.filters;
        !wanted.containers.is_empty() || !wanted.netns.is_empty()
    }

    /// Prints lines until something says stop.
    async fn trace(&mut self, signals: &mut Signals) -> Result<Reader> {
        let end = self.end();
        let mut account_due = ticks(ACCOUNT_INTERVAL);
        account_due.tick().await;
        let mut names_due = ticks(NAMES_INTERVAL);
        let mut losses_due = ticks(LOSSES_INTERVAL);
        let has_names = self.has_names();
        let groups_interval = match &self.config.view {
            View::Summary(options) => options.interval,
            View::Lines { .. } | View::Top(_) | View::Serve(_) => None,
        };
        let mut groups_due = ticks(groups_interval.unwrap_or(Duration::MAX));
        groups_due.tick().await;
        // Of what others ask for nothing is printed.
        let mut progress = Progress::new().filter(|_| !self.serving.is_on());
        let mut progress_due = ticks(PROGRESS_INTERVAL);
        let mut diagnostics = self.kernel.diagnostics()?;
        let mut drained = 0;
        loop {
            let may_lose = self.may_lose();
            select! {
                biased;
                () = signals.any() => return Ok(Reader::Present),
                () = sleep_until(end.unwrap_or_else(Instant::now)), if end.is_some() => {
                    return Ok(Reader::Present);
                }
                // Nothing is written for those who ask over the network.
                result = self.records.output.reader_gone(), if !self.serving.is_on() => {
                    result?;
                    return Ok(Reader::Gone);
                }
                _ = account_due.tick(), if self.config.verbose => {
                    say(&self.account()?.settled());
                }
                _ = names_due.tick(), if has_names => self.follow_names(),
                // What is not printed now is in the next report.
                _ = groups_due.tick(), if groups_interval.is_some() && !self.records.output.is_full() => {
                    self.records.print_groups(&self.kernel)?;
                }
                _ = losses_due.tick(), if may_lose => self.warn_of_losses()?,
                _ = progress_due.tick(), if progress.is_some() => {
                    progress.iter().for_each(|progress| self.show_progress(progress));
                }
                request = self.serving.next_request() => self.answer(request)?,
                result = diagnostics.show() => result?,
                result = self.records.output.writable(), if self.records.output.is_pending() => result?,
                result = self.transport.wait(drained), if self.records.may_take() => result?,
            }
            drained = self.drain();
            if self.records.output.is_pending()
                && let Some(progress) = &mut progress
            {
                progress.pause();
            }
            if self.records.flush()? == Reader::Gone {
                return Ok(Reader::Gone);
            }
            if self.records.is_done() {
                return Ok(Reader::Present);
            }
        }
    }

    /// Says on a terminal that drops are being looked for, while there is nothing to print.
    fn show_progress(&self, progress: &Progress) {
        let lines = self.records.output.lines_written();
        match &self.config.view {
            View::Lines { .. } => progress.show("tracing", &format!("{lines} drops printed")),
            View::Summary(SummaryOptions { interval: None, .. }) => {
                progress.show("counting", "Ctrl-C prints the table");
            }
            View::Summary(_) => progress.show("counting", &format!("{lines} lines printed")),
            // It has the whole screen, or prints nothing at all.
            View::Top(_) | View::Serve(_) => {}
        }
    }

    /// Prints what waits, and gives up on a reader that takes no more of it
    /// until `deadline`.
    async fn drain_until(&mut self, deadline: Instant) -> Result<Reader> {
        loop {
            let was_full = !self.records.may_take();
            let drained = self.drain();
            if self.records.flush()? == Reader::Gone {
                return Ok(Reader::Gone);
            }
            if drained == 0 && !was_full && !self.records.output.is_pending() {
                return Ok(Reader::Present);
            }
            if self.records.output.is_pending() {
                select! {
                    result = self.records.output.writable() => result?,
                    () = sleep_until(deadline) => {
                        self.give_up();
                        return Ok(Reader::Present);
                    }
                }
            }
        }
    }

    fn drain(&mut self) -> usize {
        let filters = &self.config.filters;
        self.records
            .drain(&mut self.transport, filters, &mut self.kernel.live)
    }

    fn give_up(&mut self) {
        let filters = &self.config.filters;
        self.records
            .give_up(&mut self.transport, filters, &mut self.kernel.live);
    }

    /// Tells the kernel side what the names of `--netns` and `--container` stand
    /// for now. What can't be told stays as it was, and is no reason to end.
    fn follow_names(&mut self) {
        let mut filters = self.filters.clone();
        match self.look_up_names(&mut filters) {
            Ok(()) => self.filters = filters,
            Err(error) => {
                let error = format!("{error:#}");
                if self.last_warning != error {
                    log::warn!("keeping the filters as they were: {error}");
                    self.last_warning = error;
                }
            }
        }
    }

    fn look_up_names(&mut self, filters: &mut KernelFilters) -> Result<()> {
        let wanted = &self.config.filters;
        let host = self.records.enricher.host();
        host.refresh();
        if !wanted.netns.is_empty() {
            wanted.set_netns(filters, |name| host.resolve_netns(name))?;
        }
        if !wanted.containers.is_empty() {
            wanted.set_containers(filters, |name| host.containers.find_container(name))?;
        }
        self.kernel.live.update(filters)
    }

    /// Prints the last groups and, where it belongs there, the account.
    async fn print_last(&mut self) -> Result<Reader> {
        let mut account = self.account()?;
        match &self.config.view {
            View::Lines { .. } => {}
            View::Summary(_) => self.records.print_groups(&self.kernel)?,
            View::Top(_) | View::Serve(_) => return Ok(Reader::Present),
        }
        // Who gets to read the account has read the line that is partly out.
        account.printed += self.records.lines_pending();
        self.losses = self.records.report_counters(account.seen);
        self.records.print_account(&account, self.losses.as_ref());
        self.flush_until(Instant::now() + LAST_LINES).await
    }

    /// Writes what waits, as far as the reader takes it until `deadline`.
    async fn flush_until(&mut self, deadline: Instant) -> Result<Reader> {
        let output = &mut self.records.output;
        loop {
            if output.flush()? == Reader::Gone {
                return Ok(Reader::Gone);
            }
            if !output.is_pending() {
                return Ok(Reader::Present);
            }
            select! {
                result = output.writable() => result?,
                () = sleep_until(deadline) => return Ok(Reader::Present),
            }
        }
    }

    /// Whether drops may be lost: the kernel side has raised its flag, or output is full.
    fn may_lose(&self) -> bool {
        self.kernel.drops_lost.is_up() || self.records.output.is_full()
    }

    /// Says how many drops were lost since it was last said. The counters are not
    /// looked at while there can't be any: reading them is a system call during which
    /// the kernel skips probes.
    fn warn_of_losses(&mut self) -> Result<()> {
        if !self.may_lose() {
            return Ok(());
        }
        // First, for a drop that is lost from here on raises it again.
        self.kernel.drops_lost.take_down();
        let lost = self.account()?.lost;
        if lost > self.lost_before {
            let has_file = self.records.capture.is_some() && lost == self.records.counts.lost;
            let what = if has_file {
                "nobody reads their lines, but the file of --write has them"
            } else {
                "the reader is too slow; a larger --buffer-size, filters, --sample or --rate-limit \
                 help"
            };
            log::warn!(
                "{} drops lost in the last second, {lost} in all: {what}",
                lost - self.lost_before
            );
            self.lost_before = lost;
        }
        Ok(())
    }

    fn account(&self) -> Result<Account> {
        let user = self.records.counts_so_far();
        Ok(Account::new(
            self.kernel.counters()?,
            self.kernel.missed()?,
            user,
        ))
    }

    fn report_end(&mut self) -> Result<Account> {
        // Nobody has taken the rest of it.
        self.records.counts.lost += self.records.lines_pending();
        let counts = &self.records.counts;
        log::info!("{} records reached user space", counts.records);
        let account = self.account()?;
        say(&account);
        if counts.hidden() > 0 {
            say(&format_args!(
                "hidden by --hide-expected: {} teardown, {} expected",
                counts.hidden_teardown, counts.hidden_expected
            ));
        }
        if counts.packets != counts.lines {
            say(&format_args!(
                "{} packets on the wire in {} drops (GSO)",
                counts.packets, counts.lines
            ));
        }
        // A run that has failed has not looked at them yet.
        let losses = self.losses.take();
        let losses = losses.or_else(|| self.records.report_counters(account.seen));
        if let Some(losses) = losses {
            for line in losses.lines(self.config.counters) {
                say(&line);
            }
        }
        match self.kernel.skipped_probes()? {
            0 => {}
            skipped => log::warn!(
                "the kernel skipped {skipped} probe hits during other probes or bpf() calls on the same \
                 processor; drops among them are not in the account, use --hook tracepoint to see \
                 them"
            ),
        }
        Ok(account)
    }
}

/// Ticks now and then once in each `period`; late ones are not made up for.
fn ticks(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// What becomes of records.
enum Sink {
    /// A line each.
    Lines {
        format: Box<dyn Format>,
        /// Lines that may still be printed.
        room: Option<u64>,
    },
    /// They are counted, as far as the kernel side does not count by itself.
    Groups(Box<Counting>),
}

impl Sink {
    fn new(config: &Config) -> Self {
        match &config.view {
            View::Lines { format, count } => Self::Lines {
                format: match &config.write {
                    Some(write) if write.is_to_stdout() => Box::new(capture::pcapng(write, format)),
                    _ => format::new(format),
                },
                room: *count,
            },
            View::Summary(options) => {
                let system = uname();
                let (name, release) = (system.nodename(), system.release());
                let host = format!(
                    "{} (Linux {})",
                    name.to_string_lossy(),
                    release.to_string_lossy()
                );
                let format = format::summary(options, config.stack_depth, host);
                Self::Groups(Box::new(Counting::new(format)))
            }
            View::Top(_) => Self::Groups(Box::new(Counting::live())),
            View::Serve(_) => Self::Groups(Box::new(Counting::silent())),
        }
    }
}

/// From records to lines or groups.
struct Records {
    stacks: StackReader,
    enricher: Enricher,
    output: Output,
    /// Whether no line is added any more: output has failed, or its reader is too slow for the last
    /// ones.
    has_given_up: bool,
    tokens: Tokens,
    counts: UserCounts,
    sink: Sink,
    /// The file of `--write`.
    capture: Option<Capture>,
    /// What is counted; none where each drop becomes a line.
    groups: Groups,
    /// Kinds of the drops that were printed; `None` without `--explain`.
    kinds: Option<Kinds>,
    /// The counters of losses; `None` if nobody wants them.
    counters: Option<Counters>,
}

impl Records {
    /// Adds what output begins with.
    fn begin(&mut self) {
        if let Sink::Lines { format, .. } = &mut self.sink {
            self.output.add_first(|line| format.write_head(line));
        }
    }

    /// Writes what waits: as much as its reader takes to standard output, and all to the file of
    /// `--write`, also if one of the two fails.
    fn flush(&mut self) -> Result<Reader> {
        let reader = self.output.flush();
        if let Some(capture) = &mut self.capture {
            capture.flush()?;
        }
        reader
    }

    /// Whether records can be taken: not while lines of others wait. Groups need no room, and the
    /// file of `--write` does not wait for who reads the lines.
    fn may_take(&self) -> bool {
        !matches!(self.sink, Sink::Lines { .. }) || self.capture.is_some() || self.has_room()
    }

    /// Whether one more line may wait.
    fn has_room(&self) -> bool {
        !self.has_given_up && !self.output.is_full()
    }

    /// Takes the records that wait, and returns their number.
    fn drain(
        &mut self,
        transport: &mut Transport,
        filters: &Filters,
        live: &mut LiveMaps,
    ) -> usize {
        if !self.may_take() {
            return 0;
        }
        self.enricher.begin_batch();
        if let Sink::Lines { format, .. } = &mut self.sink {
            format.set_width(self.output.terminal_width());
        }
        transport.drain(|bytes| self.take(bytes, filters, live))
    }

    fn take(&mut self, bytes: &[u8], filters: &Filters, live: &mut LiveMaps) {
        self.counts.records += 1;
        if self.is_done() {
            self.counts.limited += 1;
            return;
        }
        let Some(decoded) = decode(bytes) else {
            self.counts.lost += 1;
            log::warn!("lost a record of {} bytes that makes no sense", bytes.len());
            return;
        };
        if decoded.event.present & present::PROCESS_OPEN != 0 {
            let decision = self.enricher.decide(&decoded, filters);
            if let Some((socket, owner)) = decision.note
                && let Err(error) = live.set_owner(socket, &owner)
            {
                // The next drop of the socket comes here as well, and nothing else.
                log::debug!("{error:#}");
            }
            if !decision.matches {
                self.counts.filtered += 1;
                return;
            }
        }
        let is_example = decoded.event.present & present::EXAMPLE != 0;
        let has_room = self.has_room();
        let record = self.enricher.enrich(&decoded, |id| self.stacks.get(id));
        if let Sink::Groups(counting) = &mut self.sink
            && is_example
        {
            counting.show(&record);
            return;
        }
        if let (Sink::Lines { .. }, Some(counters)) = (&self.sink, &mut self.counters) {
            counters.note(&record);
        }
        match record.class {
            Class::Teardown if filters.hide_expected => self.counts.hidden_teardown += 1,
            Class::Expected if filters.hide_expected => self.counts.hidden_expected += 1,
            // The kernel side has let through all that it could not decide, and now and then
            // one too many.
            _ if !self.tokens.take(record.time.boot_ns) => self.counts.limited += 1,
            _ => match &mut self.sink {
                Sink::Lines { format, room } => {
                    *room = room.map(|room| room - 1);
                    if let Some(capture) = &mut self.capture {
                        capture.add(&record);
                        if !has_room {
                            self.counts.lost += 1;
                            return;
                        }
                    }
                    self.counts.lines += 1;
                    self.counts.packets += record.packets();
                    self.output.add_line(|line| format.write(&record, line));
                    if let Some(kinds) = &mut self.kinds {
                        kinds.note(&record);
                    }
                }
                Sink::Groups(counting) => counting.add(&mut self.groups, &record),
            },
        }
    }

    /// Reads the counters of losses for the last time.
    fn end_counters(&mut self) {
        if let Some(counters) = &mut self.counters {
            counters.end();
        }
    }

    /// What the counters of losses say of `seen` drops.
    fn report_counters(&self, seen: u64) -> Option<Report> {
        let groups = match self.sink {
            Sink::Lines { .. } => None,
            Sink::Groups(_) => Some(&self.groups),
        };
        Some(self.counters.as_ref()?.report(groups, seen))
    }

    /// Whether all lines that were asked for are there.
    fn is_done(&self) -> bool {
        matches!(self.sink, Sink::Lines { room: Some(0), .. })
    }

    /// Prints what was counted since the last time, the kernel side's part included.
    fn print_groups(&mut self, kernel: &KernelSide) -> Result<()> {
        self.read_groups(kernel)?;
        match &mut self.sink {
            Sink::Groups(counting) => counting.print(&self.groups, &mut self.output),
            Sink::Lines { .. } => Ok(()),
        }
    }

    /// Takes over what the kernel side has counted.
    fn read_groups(&mut self, kernel: &KernelSide) -> Result<()> {
        self.enricher.begin_batch();
        read(&mut self.groups, kernel, &mut self.enricher, &self.stacks)
    }

    /// The line of a packet that waits to be shown.
    fn next_line(&mut self) -> Option<String> {
        match &mut self.sink {
            Sink::Groups(counting) => counting.next_line(),
            Sink::Lines { .. } => None,
        }
    }

    /// Prints the account, if the format has it on standard output.
    fn print_account(&mut self, account: &Account, report: Option<&Report>) {
        let moved = report.map(|report| &*report.moved);
        match &mut self.sink {
            Sink::Lines { format, .. } => {
                if let Some(moved) = moved {
                    format.set_counters(moved);
                }
                self.output
                    .add_last(|line| format.write_account(account, line));
            }
            Sink::Groups(counting) => counting.print_account(account, moved, &mut self.output),
        }
    }

    /// Lines of drops that are not out, or not to the end.
    fn lines_pending(&self) -> u64 {
        match self.sink {
            Sink::Lines { .. } => self.output.lines_pending(),
            Sink::Groups(_) => 0,
        }
    }

    /// What became of the records until now.
    fn counts_so_far(&self) -> UserCounts {
        match &self.sink {
            Sink::Lines { .. } => UserCounts {
                printed: self.output.lines_written(),
                ..self.counts
            },
            Sink::Groups(counting) => UserCounts {
                counted: Some(counting.counted()),
                ..self.counts
            },
        }
    }

    /// Counts what can't be printed any more as lost. A line that is partly out stays; the file of
    /// `--write` gets all the same.
    fn give_up(&mut self, transport: &mut Transport, filters: &Filters, live: &mut LiveMaps) {
        self.has_given_up = true;
        if let Sink::Lines { .. } = self.sink {
            self.counts.lost += self.output.give_up();
        }
        if self.capture.is_some() {
            while self.drain(transport, filters, live) > 0 {}
            return;
        }
        let mut lost = 0;
        // The drop of an example is counted all the same.
        let is_lost = |bytes: &[u8]| {
            decode(bytes).is_none_or(|decoded| decoded.event.present & present::EXAMPLE == 0)
        };
        while transport.drain(|bytes| lost += u64::from(is_lost(bytes))) > 0 {}
        self.counts.lost += lost;
    }
}

/// The bucket of `--rate-limit`, if there is one.
struct Tokens {
    limit: Option<RateLimit>,
    /// When it is full again, in nanoseconds of `CLOCK_BOOTTIME`.
    full_ns: u64,
}

impl Tokens {
    /// Takes a token for a drop of the time `now_ns`; false if there is none.
    fn take(&mut self, now_ns: u64) -> bool {
        let full_ns = &mut self.full_ns;
        self.limit.is_none_or(|limit| limit.take(full_ns, now_ns))
    }
}
