//! Counts drops in groups: what the kernel side has counted by itself, and what
//! came in records.

use std::{cmp::Reverse, collections::VecDeque};

use anyhow::Result;

use crate::{
    account::Account,
    bpf::{KernelSide, StackReader},
    config::Grouping,
    enrich::{Enricher, group},
    format::{Format, Summary, TextFormat, TextOptions},
    groups::{Counts, Groups, Snapshot},
    output::Output,
    record::{DropRecord, DropTime},
};

/// Most lines that wait to be shown; a view that does not keep up sees the latest.
const MAX_LINES: usize = 1024;

/// What `dropwatch summary` and `top` have counted.
pub(super) struct Counting {
    groups: Groups,
    /// Drops that came in records.
    counted: u64,
    output: To,
}

/// Where it goes.
enum To {
    /// Groups are printed.
    Text {
        format: Box<dyn Summary>,
        /// What was printed so far, as the last snapshot had it.
        printed: Option<Snapshot>,
    },
    /// Groups, and the lines of some packets, are shown live.
    Live {
        format: Box<TextFormat>,
        lines: VecDeque<String>,
    },
}

impl Counting {
    /// Nothing yet; there will be at most `max_groups` groups, printed in `format`.
    pub(super) fn new(grouping: &Grouping, max_groups: usize, format: Box<dyn Summary>) -> Self {
        Self {
            groups: Groups::new(&grouping.by, max_groups),
            counted: 0,
            output: To::Text {
                format,
                printed: None,
            },
        }
    }

    /// As [`Counting::new`], for a live view.
    pub(super) fn live(grouping: &Grouping, max_groups: usize) -> Self {
        Self {
            groups: Groups::new(&grouping.by, max_groups),
            counted: 0,
            output: To::Live {
                format: Box::new(TextFormat::new(&TextOptions::default())),
                lines: VecDeque::new(),
            },
        }
    }

    /// Counts a drop that came in a record.
    pub(super) fn add(&mut self, record: &DropRecord<'_>) {
        self.counted += 1;
        self.groups.add(record);
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
            To::Text { .. } => None,
        }
    }

    /// Drops that came in records.
    pub(super) fn counted(&self) -> u64 {
        self.counted
    }

    /// Takes over what the kernel side has counted since the start.
    pub(super) fn read(
        &mut self,
        kernel: &KernelSide,
        enricher: &mut Enricher,
        stacks: &StackReader,
    ) -> Result<()> {
        let counters = kernel.counters()?;
        self.groups.begin_reading(Counts {
            drops: counters.no_group,
            packets: counters.no_group_packets,
            bytes: counters.no_group_bytes,
        });
        kernel.groups.read(|key, counts| {
            if !self.groups.add_counted(key, counts) {
                let (event, packet) = group::parts(key);
                let record = enricher.enrich_group(&event, packet, |id| stacks.get(id));
                self.groups.add_named(key, &record, counts);
            }
        })
    }

    /// What was counted since the start.
    pub(super) fn snapshot(&self, account: &Account) -> Snapshot {
        self.groups.snapshot(account)
    }

    /// Prints the groups that have changed since the last time, most drops first.
    pub(super) fn print(&mut self, now: Snapshot, output: &mut Output) {
        let To::Text { format, printed } = &mut self.output else {
            return;
        };
        let time = wall_clock();
        let mut changed = now.changes(printed.as_ref());
        changed.sort_by_key(|(_, counts)| Reverse(counts.drops));
        for (group, counts) in changed {
            let group = group.map(|group| (&*now.by, group));
            output.add_line(|line| format.write(time, counts, group, line));
        }
        *printed = Some(now);
    }

    /// Prints the account, if the format has it among the groups.
    pub(super) fn print_account(&mut self, account: &Account, output: &mut Output) {
        if let To::Text { format, .. } = &mut self.output {
            output.add_line(|line| format.write_account(account, line));
        }
    }
}

/// The time of a report.
fn wall_clock() -> DropTime {
    let now = jiff::Timestamp::now();
    DropTime {
        boot_ns: 0,
        unix_ns: i64::try_from(now.as_nanosecond()).unwrap_or(i64::MAX),
    }
}
