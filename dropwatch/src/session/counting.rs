//! Counts drops in groups: what the kernel side has counted by itself, and what
//! came in records.

use std::collections::VecDeque;

use anyhow::Result;

use crate::{
    account::Account,
    bpf::{KernelSide, StackReader},
    counters::Moved,
    enrich::{Enricher, group},
    format::{Format, Summary, TextFormat, TextOptions},
    groups::{Counts, Groups},
    output::{Output, Reader},
    record::{DropRecord, DropTime},
};

/// Most lines that wait to be shown; a view that does not keep up sees the latest.
const MAX_LINES: usize = 1024;

/// Lines of groups after which they are written: some that a pipe has room for. They need not wait
/// in memory until the last one of very many is there.
const LINES_AT_ONCE: u64 = 512;

/// What `dropwatch summary` and `top` do with what is counted.
pub(super) struct Counting {
    /// Drops that came in records.
    counted: u64,
    output: To,
}

/// Where it goes.
enum To {
    /// Groups are printed.
    Text(Box<dyn Summary>),
    /// Groups, and the lines of some packets, are shown live.
    Live {
        format: Box<TextFormat>,
        lines: VecDeque<String>,
    },
    /// Whoever wants groups asks for them.
    Nowhere,
}

impl Counting {
    /// Nothing yet; groups will be printed in `format`.
    pub(super) fn new(format: Box<dyn Summary>) -> Self {
        Self {
            counted: 0,
            output: To::Text(format),
        }
    }

    /// Nothing yet, for a live view.
    pub(super) fn live() -> Self {
        Self {
            counted: 0,
            output: To::Live {
                format: Box::new(TextFormat::new(&TextOptions::default())),
                lines: VecDeque::new(),
            },
        }
    }

    /// Nothing yet; groups are read and not shown.
    pub(super) fn silent() -> Self {
        Self {
            counted: 0,
            output: To::Nowhere,
        }
    }

    /// Counts a drop that came in a record.
    pub(super) fn add(&mut self, groups: &mut Groups, record: &DropRecord<'_>) {
        self.counted += 1;
        groups.add(record);
        self.show(record);
    }

    /// Keeps the line of a drop for a live view.
    pub(super) fn show(&mut self, record: &DropRecord<'_>) {
        if let To::Live { format, lines } = &mut self.output {
            if lines.len() >= MAX_LINES {
                lines.pop_front();
            }
            let mut line = Vec::new();
            format.write(record, &mut line);
            let line = String::from_utf8_lossy(&line);
            lines.push_back(line.trim_end().to_owned());
        }
    }

    /// The line of a packet that waits to be shown.
    pub(super) fn next_line(&mut self) -> Option<String> {
        match &mut self.output {
            To::Live { lines, .. } => lines.pop_front(),
            To::Text(_) | To::Nowhere => None,
        }
    }

    /// Drops that came in records.
    pub(super) fn counted(&self) -> u64 {
        self.counted
    }

    /// Prints the groups that have changed since the last reading, most drops first.
    ///
    /// # Errors
    /// Standard output can't be written to.
    pub(super) fn print(&mut self, groups: &Groups, output: &mut Output) -> Result<()> {
        let To::Text(format) = &mut self.output else {
            return Ok(());
        };
        let time = wall_clock();
        let mut flushed = Ok(Reader::Present);
        groups.for_each_changed(|values, counts| {
            output.add_line(|line| format.write(time, counts, values, line));
            if output.lines_pending().is_multiple_of(LINES_AT_ONCE) && flushed.is_ok() {
                flushed = output.flush();
            }
        });
        // Whoever flushes the last lines notices a reader that has gone.
        flushed.map(|_| ())
    }

    /// Prints the account, if the format has it among the groups.
    pub(super) fn print_account(
        &mut self,
        account: &Account,
        moved: Option<&[Moved]>,
        output: &mut Output,
    ) {
        if let To::Text(format) = &mut self.output {
            if let Some(moved) = moved {
                format.set_counters(moved);
            }
            output.add_last(|line| format.write_account(account, line));
        }
    }
}

/// Takes over what the kernel side has counted since the start.
///
/// # Errors
/// The kernel side's maps can't be read.
pub(super) fn read(
    groups: &mut Groups,
    kernel: &KernelSide,
    enricher: &mut Enricher,
    stacks: &StackReader,
) -> Result<()> {
    let counters = kernel.counters()?;
    groups.begin_reading(Counts {
        drops: counters.no_group,
        packets: counters.no_group_packets,
        bytes: counters.no_group_bytes,
    });
    kernel.groups.read(|key, counts| {
        if !groups.add_counted(key, counts) {
            let (event, packet) = group::parts(key);
            let record = enricher.enrich_group(&event, packet, |id| stacks.get(id));
            groups.add_named(key, &record, counts);
        }
    })
}

/// The time of a report.
fn wall_clock() -> DropTime {
    let now = jiff::Timestamp::now();
    DropTime {
        boot_ns: 0,
        unix_ns: i64::try_from(now.as_nanosecond()).unwrap_or(i64::MAX),
    }
}
