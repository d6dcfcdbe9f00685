//! One run: the loop over records, time, signals and the reader of the output.

use std::{fs, io::Write as _, path::Path, thread, time::Duration};

use anyhow::{Context as _, Result, anyhow};
use tokio::{
    select,
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until},
};

use crate::{
    account::{Account, UserCounts},
    bpf::{self, KernelSide, StackReader, Transport},
    btf::Btf,
    config::Config,
    decode::decode,
    enrich::{
        Enricher,
        reason::{BTF_FOLDER, ReasonNames},
        symbol::{HIDDEN_WARNING, KALLSYMS, MODULES, Symbols},
    },
    format::{self, Format},
    output::{Output, Reader},
    preflight,
};

/// How often the account is given with `-v`.
const ACCOUNT_INTERVAL: Duration = Duration::from_secs(10);

/// How long the last lines may wait for a slow reader.
const LAST_LINES: Duration = Duration::from_secs(1);

/// How long a program that is just running needs at most.
const SETTLE: Duration = Duration::from_millis(1);

/// Traces until the user, the count, the time or the reader says stop.
///
/// # Errors
/// Says what failed, on what, and what to do.
pub async fn run(config: &Config) -> Result<()> {
    let started = Instant::now();
    preflight::check_privileges()?;
    let output = Output::stdout()?;
    let signals = Signals::new()?;
    // Reading the symbols takes the kernel longer than all the rest.
    let symbols = thread::spawn(|| Symbols::load(Path::new(KALLSYMS), Path::new(MODULES)));

    let btf = Btf::load(config.kernel_btf.as_deref())?;
    let reasons = ReasonNames::new(&btf, Path::new(BTF_FOLDER));
    let format = format::new(&config.text);
    let (kernel, transport, stacks) = bpf::load(config, &btf, &reasons)?;
    drop(btf);
    let symbols = usable_symbols(symbols.join());
    log::info!(
        "attached {:.3} s after start, {} symbols",
        started.elapsed().as_secs_f64(),
        symbols.len()
    );
    create_ready_file(config)?;

    let session = Session {
        config,
        kernel,
        transport,
        lines: Lines {
            stacks,
            enricher: Enricher::new(reasons, symbols, config.stack_depth as usize),
            format,
            output,
            room: config.count,
            counts: UserCounts::default(),
        },
    };
    session.run(signals).await
}

/// The symbols, or none and a warning: addresses are better than nothing.
fn usable_symbols(loaded: thread::Result<Result<Symbols>>) -> Symbols {
    match loaded.unwrap_or_else(|_panic| Err(anyhow!("reading {KALLSYMS} failed"))) {
        Ok(symbols) => {
            if symbols.hidden() {
                log::warn!("{HIDDEN_WARNING}");
            }
            symbols
        }
        Err(error) => {
            log::warn!("{error:#}; call sites and stacks are printed as addresses");
            Symbols::none()
        }
    }
}

fn create_ready_file(config: &Config) -> Result<()> {
    if let Some(path) = &config.ready_file {
        fs::write(path, "").with_context(|| format!("creating --ready-file {}", path.display()))?;
    }
    Ok(())
}

/// The signals that end a run. A hang-up is left to what it does by itself: it
/// ends the process, or does not after `nohup`.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let listen = |kind| signal(kind).context("listening for signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    async fn any(&mut self) {
        select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

struct Session<'a> {
    config: &'a Config,
    kernel: KernelSide,
    transport: Transport,
    lines: Lines,
}

impl Session<'_> {
    async fn run(mut self, mut signals: Signals) -> Result<()> {
        let traced = self.trace(&mut signals).await;
        self.kernel.detach()?;
        let ended = match traced {
            Ok(Reader::Present) => self.drain_rest().await,
            ended => ended,
        };
        match ended {
            Ok(Reader::Gone) => Ok(()),
            Ok(Reader::Present) => self.report_end(),
            Err(error) => {
                self.lines.give_up(&mut self.transport)?;
                self.report_end()?;
                Err(error)
            }
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

    /// Prints lines until something says stop.
    async fn trace(&mut self, signals: &mut Signals) -> Result<Reader> {
        // A time beyond what the clock can tell is no end.
        let end = self
            .config
            .duration
            .and_then(|time| Instant::now().checked_add(time));
        let mut account_due = interval(ACCOUNT_INTERVAL);
        account_due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        account_due.tick().await;
        let mut diagnostics = self.kernel.diagnostics()?;
        let mut drained = 0;
        loop {
            select! {
                biased;
                () = signals.any() => return Ok(Reader::Present),
                () = sleep_until(end.unwrap_or_else(Instant::now)), if end.is_some() => {
                    return Ok(Reader::Present);
                }
                result = self.lines.output.reader_gone() => {
                    result?;
                    return Ok(Reader::Gone);
                }
                _ = account_due.tick(), if self.config.verbose => {
                    report(&self.account()?.settled());
                }
                result = diagnostics.show() => result?,
                result = self.lines.output.writable(), if self.lines.output.is_pending() => result?,
                result = self.transport.wait(drained), if !self.lines.output.is_full() => result?,
            }
            drained = self.lines.drain(&mut self.transport)?;
            if self.lines.output.flush()? == Reader::Gone {
                return Ok(Reader::Gone);
            }
            if self.lines.room == Some(0) {
                return Ok(Reader::Present);
            }
        }
    }

    /// Prints what waits, and gives up on a reader that takes no more of it
    /// until `deadline`.
    async fn drain_until(&mut self, deadline: Instant) -> Result<Reader> {
        loop {
            let was_full = self.lines.output.is_full();
            let drained = self.lines.drain(&mut self.transport)?;
            if self.lines.output.flush()? == Reader::Gone {
                return Ok(Reader::Gone);
            }
            if drained == 0 && !was_full && !self.lines.output.is_pending() {
                return Ok(Reader::Present);
            }
            if self.lines.output.is_pending() {
                select! {
                    result = self.lines.output.writable() => result?,
                    () = sleep_until(deadline) => {
                        self.lines.give_up(&mut self.transport)?;
                        return Ok(Reader::Present);
                    }
                }
            }
        }
    }

    fn account(&self) -> Result<Account> {
        let user = UserCounts {
            printed: self.lines.output.lines_written(),
            ..self.lines.counts
        };
        Ok(Account::new(
            self.kernel.counters()?,
            self.kernel.missed()?,
            user,
        ))
    }

    fn report_end(&self) -> Result<()> {
        report(&self.account()?);
        match self.kernel.skipped_probes()? {
            0 => {}
            skipped => log::warn!(
                "the kernel skipped {skipped} probe hits inside of other probes; drops among them \
                 are not in the account, use --hook tracepoint to see them"
            ),
        }
        Ok(())
    }
}

fn report(account: &Account) {
    // Nobody is left to tell if standard error is closed.
    drop(writeln!(std::io::stderr(), "dropwatch: {account}"));
}

/// From records to lines.
struct Lines {
    stacks: StackReader,
    enricher: Enricher,
    format: Box<dyn Format>,
    output: Output,
    /// Lines that may still be printed.
    room: Option<u64>,
    counts: UserCounts,
}

impl Lines {
    /// Makes lines of the records that wait, and returns their number.
    fn drain(&mut self, transport: &mut Transport) -> Result<usize> {
        if self.output.is_full() {
            return Ok(0);
        }
        self.enricher.begin_batch();
        self.format.set_width(self.output.terminal_width());
        transport.drain(|bytes| {
            self.line(bytes);
            Ok(())
        })
    }

    fn line(&mut self, bytes: &[u8]) {
        if self.room == Some(0) {
            self.counts.limited += 1;
            return;
        }
        let Some(decoded) = decode(bytes) else {
            self.counts.lost += 1;
            log::warn!("lost a record of {} bytes that makes no sense", bytes.len());
            return;
        };
        let record = self.enricher.enrich(&decoded, |id| self.stacks.get(id));
        self.output
            .add_line(|line| self.format.write(&record, line));
        self.room = self.room.map(|room| room - 1);
    }

    /// Counts what can't be written any more as lost.
    fn give_up(&mut self, transport: &mut Transport) -> Result<()> {
        let mut lost = self.output.lines_pending();
        while transport.drain(|_| {
            lost += 1;
            Ok(())
        })? > 0
        {}
        self.counts.lost += lost;
        Ok(())
    }
}
