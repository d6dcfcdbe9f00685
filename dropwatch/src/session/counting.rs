//! Counts drops in groups: what the kernel side has counted by itself, and what
//! came in records.

use std::cmp::Reverse;

use anyhow::Result;

use crate::{
    account::Account,
    bpf::{KernelSide, StackReader},
    config::SummaryOptions,
    enrich::{Enricher, group},
    format::{self, Summary},
    groups::{Counts, Groups, Snapshot},
    output::Output,
    record::{DropRecord, DropTime},
};

/// What `dropwatch summary` has counted.
pub(super) struct Counting {
    groups: Groups,
    format: Box<dyn Summary>,
    /// Drops that came in records.
    counted: u64,
    /// What was printed so far, as the last snapshot had it.
    printed: Option<Snapshot>,
}

impl Counting {
    /// Nothing yet; there will be at most `max_groups` groups.
    pub(super) fn new(options: &SummaryOptions, max_groups: usize) -> Self {
        Self {
            groups: Groups::new(&options.by, max_groups),
            format: format::summary(options.format, options.interval.is_some()),
            counted: 0,
            printed: None,
        }
    }

    /// Counts a drop that came in a record.
    pub(super) fn add(&mut self, record: &DropRecord<'_>) {
        self.counted += 1;
        self.groups.add(record);
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

    /// Prints the groups that have changed since the last time, most drops first.
    pub(super) fn print(&mut self, output: &mut Output) {
        let now = self.groups.snapshot();
        let time = wall_clock();
        let mut changed = now.changes(self.printed.as_ref());
        changed.sort_by_key(|(_, counts)| Reverse(counts.drops));
        for (group, counts) in changed {
            let group = group.map(|group| (&*now.by, group));
            output.add_line(|line| self.format.write(time, counts, group, line));
        }
        self.printed = Some(now);
    }

    /// Prints the account, if the format has it among the groups.
    pub(super) fn print_account(&mut self, account: &Account, output: &mut Output) {
        output.add_line(|line| self.format.write_account(account, line));
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
