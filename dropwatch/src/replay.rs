//! `dropwatch replay`: recorded drops, filtered and printed once more.

mod input;
mod runs;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use jiff::tz::{Offset, TimeZone};

use self::{
    input::{Input, Next},
    runs::{Fate, Runs},
};
use crate::{
    capture::{self, Capture, FileId},
    cli::ReplayArgs,
    config::{Write, line_format, stack_depth},
    explain::Kinds,
    filter::{Filters, RecordFilters, Verdict},
    format::{self, Format, LineFormat},
    output::{self, Reader, terminal_width},
    record::{DropRecord, Stack},
    recording::{About, Recorder},
};

/// Bytes of lines after which they are written.
const LINES_AT_ONCE: usize = 64 << 10;

/// A replay that was asked for, validated.
#[derive(Debug)]
pub struct Replay {
    files: Vec<PathBuf>,
    filters: Filters,
    format: LineFormat,
    /// Most callers that are shown, 0 for none; `None` for all that were recorded.
    stack_depth: Option<u32>,
    count: Option<u64>,
    write: Option<Write>,
    explain: bool,
}

impl Replay {
    /// Validates a command line.
    ///
    /// # Errors
    /// Names the flag whose value makes no sense, and what would.
    pub fn new(args: ReplayArgs) -> Result<Self> {
        let ReplayArgs {
            files,
            filter,
            look,
            stack,
            no_stack,
            count,
            write,
            explain,
            verbose: _,
        } = args;
        ensure!(count != Some(0), "--count takes at least 1");
        let filters = Filters::new(filter)?;
        RecordFilters::new(&filters)?;
        let write = Write::new(write)?;
        ensure!(
            !write.as_ref().is_some_and(Write::is_to_stdout),
            "--write takes a file; replay has lines for standard output"
        );
        Ok(Self {
            files,
            filters,
            format: line_format(look)?,
            stack_depth: stack_depth(no_stack, stack)?,
            count,
            write,
            explain,
        })
    }

    /// Prints the recorded drops that the filters keep, and gives the account.
    ///
    /// # Errors
    /// Says which file can't be read, and why; or that output can't be written.
    pub fn run(self) -> Result<()> {
        let filters = RecordFilters::new(&self.filters)?;
        let mut inputs = input::open(&self.files)?
            .into_iter()
            .map(|input| Ok((input, RecordFilters::new(&self.filters)?)))
            .collect::<Result<Vec<_>>>()?;
        let read: Vec<_> = inputs.iter().flat_map(|(input, _)| input.files()).collect();
        self.warn_of_stacks(&filters, &inputs);
        let mut printer = Printer {
            capture: None,
            format: format::new(&self.format),
            utc_offset_s: None,
            lines: Vec::new(),
            room: self.count,
            kinds: self.explain.then(Kinds::new).transpose()?,
            stack_depth: self.stack_depth,
        };
        let mut runs = Runs::default();
        // A recording begins with what was read until then.
        find_drops(&mut inputs, &mut printer, &mut runs)?;
        printer.capture = self.open_capture(&inputs, &read)?;
        let ended = print_all(&mut inputs, &mut printer, &mut runs)?;
        for (input, _) in &inputs {
            runs.add_damage(input);
        }
        let account = runs.account(ended == Ended::Whole);
        let written = match &mut printer.capture {
            Some(capture) => {
                capture.finish(&account)?;
                Some(capture.report())
            }
            None => None,
        };
        if ended == Ended::NoReader {
            return Ok(());
        }
        printer.format.write_account(&account, &mut printer.lines);
        if printer.flush()? == Reader::Gone {
            return Ok(());
        }
        runs.report(&account, ended == Ended::Whole);
        if let Some(written) = written {
            output::say(&written);
        }
        if let Some(kinds) = &printer.kinds {
            kinds.tell();
        }
        Ok(())
    }

    /// Creates the file of `--write`, if there is one; none of `read` is replaced. A recording tells
    /// of the first host.
    fn open_capture(
        &self,
        inputs: &[(Input, RecordFilters<'_>)],
        read: &[FileId],
    ) -> Result<Option<Capture>> {
        Capture::open(self.write.as_ref(), &self.format, read, || {
            let mut about = capture::about_this_run(0);
            let (mut reasons, mut subsystems) = (Vec::new(), Vec::new());
            if let Some((input, _)) = inputs.first() {
                (reasons, subsystems) = input.reasons();
                let first = input.about().cloned().unwrap_or_default();
                about = About {
                    run: about.run,
                    section: 0,
                    recorded: 0,
                    flags: format!("{} ({})", first.flags, about.flags),
                    ..first
                };
            }
            Recorder::new(about, TimeZone::UTC, reasons, subsystems)
        })
    }

    /// Says what can't be shown or looked at, for it was not recorded.
    fn warn_of_stacks(&self, filters: &RecordFilters<'_>, inputs: &[(Input, RecordFilters<'_>)]) {
        for (input, _) in inputs {
            let Some(about) = input.about() else {
                continue;
            };
            let recorded = about.stack_depth;
            if filters.by_stack() {
                log::warn!(
                    "{}: --stack-func looks at the call site and the {recorded} callers that were \
                     recorded at most",
                    input.name()
                );
            }
            if let Some(depth) = self.stack_depth.filter(|depth| *depth > recorded) {
                log::warn!(
                    "{}: {recorded} callers were recorded at most, not {depth}",
                    input.name()
                );
            }
        }
    }
}

/// How a replay has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// All was read.
    Whole,
    /// All lines that were asked for are there.
    Early,
    /// Nobody reads on.
    NoReader,
}

/// Reads all inputs, the earliest drop first.
fn print_all(
    inputs: &mut [(Input, RecordFilters<'_>)],
    printer: &mut Printer,
    runs: &mut Runs,
) -> Result<Ended> {
    loop {
        if find_drops(inputs, printer, runs)? == Reader::Gone {
            return Ok(Ended::NoReader);
        }
        let waiting = inputs
            .iter_mut()
            .filter(|(input, _)| input.time().is_some());
        let Some((input, filters)) = waiting.min_by_key(|(input, _)| input.time()) else {
            return Ok(Ended::Whole);
        };
        input.update(filters)?;
        if let Some(step) = input.clock_step() {
            log::warn!("{}: {step}", input.name());
        }
        if let Some(record) = input.record() {
            let fate = printer.take(&record, filters, input.utc_offset_s());
            runs.count(input.run(), fate, record.packets());
        }
        input.done();
        if printer.room == Some(0) {
            return Ok(match printer.flush()? {
                Reader::Gone => Ended::NoReader,
                Reader::Present => Ended::Early,
            });
        }
        if printer.lines.len() >= LINES_AT_ONCE && printer.flush()? == Reader::Gone {
            return Ok(Ended::NoReader);
        }
    }
}

/// Goes on until it is known of each input which drop comes next.
fn find_drops(
    inputs: &mut [(Input, RecordFilters<'_>)],
    printer: &mut Printer,
    runs: &mut Runs,
) -> Result<Reader> {
    for (input, _) in inputs {
        while !input.is_ready() {
            // What is there is seen before anything is waited for.
            if input.needs_bytes() && printer.flush()? == Reader::Gone {
                return Ok(Reader::Gone);
            }
            match input.go_on()? {
                Next::Account(run, tally) => runs.add_tally(run, tally),
                Next::Section => {
                    if let Some(about) = input.about() {
                        runs.add(about);
                    }
                }
                Next::Other => {}
            }
        }
    }
    Ok(Reader::Present)
}

/// From records to lines on standard output.
struct Printer {
    format: Box<dyn Format>,
    /// The file of `--write`.
    capture: Option<Capture>,
    /// Local time that the format was told, in seconds from UTC.
    utc_offset_s: Option<i32>,
    /// Lines that wait.
    lines: Vec<u8>,
    /// Lines that may still be printed.
    room: Option<u64>,
    /// Kinds of the drops that were printed; `None` without `--explain`.
    kinds: Option<Kinds>,
    stack_depth: Option<u32>,
}

impl Printer {
    /// Prints a drop, if the filters keep it.
    fn take(
        &mut self,
        record: &DropRecord<'_>,
        filters: &RecordFilters<'_>,
        utc_offset_s: i32,
    ) -> Fate {
        match filters.judge(record) {
            Verdict::Filter => return Fate::Filtered,
            Verdict::Hide => return Fate::Hidden,
            Verdict::Keep => {}
        }
        if self.utc_offset_s != Some(utc_offset_s) {
            self.utc_offset_s = Some(utc_offset_s);
            // An offset that is out of range is nobody's.
            let offset = Offset::from_seconds(utc_offset_s).unwrap_or(Offset::UTC);
            let zone = TimeZone::fixed(offset);
            if let Some(capture) = &mut self.capture {
                capture.set_zone(zone.clone());
            }
            self.format.set_zone(zone);
        }
        let record = DropRecord {
            stack: shown_stack(record.stack, self.stack_depth),
            ..*record
        };
        if self.lines.is_empty() {
            self.format.set_width(terminal_width());
        }
        self.format.write(&record, &mut self.lines);
        if let Some(capture) = &mut self.capture {
            capture.add(&record);
        }
        if let Some(kinds) = &mut self.kinds {
            kinds.note(&record);
        }
        self.room = self.room.map(|room| room - 1);
        Fate::Printed
    }

    /// Writes what waits: lines first, so that a full disk takes none of them.
    fn flush(&mut self) -> Result<Reader> {
        let reader = output::print(&self.lines);
        self.lines.clear();
        if let Some(capture) = &mut self.capture {
            capture.flush()?;
        }
        reader
    }
}

/// At most so many callers of a stack.
fn shown_stack(stack: Option<Stack<'_>>, depth: Option<u32>) -> Option<Stack<'_>> {
    match (depth, stack?) {
        (Some(0), _) => None,
        (Some(depth), Stack::Callers(callers)) => {
            let mut commas = callers.match_indices(',');
            let end = commas.nth(depth as usize - 1).map(|(end, _)| end);
            let shown = end.and_then(|end| callers.get(..end));
            Some(Stack::Callers(shown.unwrap_or(callers)))
        }
        (_, stack) => Some(stack),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_are_cut() {
        let shown = |depth| match shown_stack(Some(Stack::Callers("a+0x1,b+0x2,c+0x3")), depth) {
            Some(Stack::Callers(callers)) => callers,
            Some(Stack::Unknown) => "-",
            None => "",
        };
        assert_eq!(shown(None), "a+0x1,b+0x2,c+0x3");
        assert_eq!(shown(Some(0)), "");
        assert_eq!(shown(Some(1)), "a+0x1");
        assert_eq!(shown(Some(2)), "a+0x1,b+0x2");
        assert_eq!(shown(Some(3)), "a+0x1,b+0x2,c+0x3");
        assert_eq!(shown(Some(9)), "a+0x1,b+0x2,c+0x3");
        assert_eq!(
            shown_stack(Some(Stack::Unknown), Some(1)),
            Some(Stack::Unknown)
        );
        assert_eq!(shown_stack(None, Some(1)), None);
    }
}
