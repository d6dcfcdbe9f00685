//! Drops counted in groups: by what they are told apart, and how many each has.

use std::{rc::Rc, time::Instant};

use dropwatch_common::group::{GroupKey, by};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::{account::Account, format::write_dimension, record::DropRecord};

/// What drops are grouped by. The order is that of the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum)]
pub enum Dimension {
    /// The drop reason
    Reason,
    /// The call site
    At,
    /// The interface
    If,
    /// The protocol
    Proto,
    /// The source address
    Saddr,
    /// The destination address
    Daddr,
    /// The destination port
    Dport,
    /// The task on the CPU
    Comm,
    /// The process that holds the packet's socket
    Owner,
    /// The network namespace
    Netns,
    /// The container
    Container,
    /// The stack
    Stack,
}

impl Dimension {
    /// The key of the token that lines have it under.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Reason => "reason",
            Self::At => "at",
            Self::If => "if",
            Self::Proto => "proto",
            Self::Saddr => "saddr",
            Self::Daddr => "daddr",
            Self::Dport => "dport",
            Self::Comm => "comm",
            Self::Owner => "owner",
            Self::Netns => "netns",
            Self::Container => "container",
            Self::Stack => "stack",
        }
    }

    /// The bit of the kernel side's `GROUP_BY`.
    #[must_use]
    pub fn bit(self) -> u32 {
        match self {
            Self::Reason => by::REASON,
            Self::At => by::LOCATION,
            Self::If => by::DEVICE,
            Self::Proto => by::PROTOCOL,
            Self::Saddr => by::SOURCE,
            Self::Daddr => by::DESTINATION,
            Self::Dport => by::DESTINATION_PORT,
            Self::Comm => by::COMM,
            Self::Owner => by::OWNER,
            Self::Netns => by::NETNS,
            Self::Container => by::CGROUP,
            Self::Stack => by::STACK,
        }
    }

    /// Whether the name of what the kernel counts can become known later.
    fn is_learned_later(self) -> bool {
        matches!(self, Self::Owner | Self::Netns | Self::Container)
    }
}

/// What is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Drops.
    pub drops: u64,
    /// Packets that they would have been on the wire.
    pub packets: u64,
    /// Bytes, `len=` of the lines.
    pub bytes: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.drops = self.drops.saturating_add(other.drops);
        self.packets = self.packets.saturating_add(other.packets);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

impl std::ops::Sub for Counts {
    type Output = Self;

    /// What was counted since `earlier`.
    fn sub(self, earlier: Self) -> Self {
        Self {
            drops: self.drops.saturating_sub(earlier.drops),
            packets: self.packets.saturating_sub(earlier.packets),
            bytes: self.bytes.saturating_sub(earlier.bytes),
        }
    }
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The text of each dimension of [`Snapshot::by`], without white space or
    /// control characters; `-` where it is not known.
    pub values: Rc<[Rc<str>]>,
    /// Totals since the start.
    pub counts: Counts,
}

/// All groups at a moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// What they are told apart by.
    pub by: Vec<Dimension>,
    /// The moment.
    pub at: Instant,
    /// The groups. Each keeps its place from snapshot to snapshot; new ones come
    /// last.
    pub groups: Vec<Group>,
    /// Drops whose group found no room.
    pub other: Counts,
    /// Where all drops went, as `1234 seen = 1000 counted + 234 filtered`.
    pub account: String,
}

impl Snapshot {
    /// The groups that have drops which `earlier` does not have, with what has been
    /// counted since; `None` stands for the others. All since the start if there is
    /// nothing earlier.
    #[must_use]
    pub fn changes(&self, earlier: Option<&Self>) -> Vec<(Option<&Group>, Counts)> {
        let before = |index| {
            earlier
                .and_then(|earlier| earlier.groups.get(index))
                .map_or(Counts::default(), |group: &Group| group.counts)
        };
        let groups = self
            .groups
            .iter()
            .enumerate()
            .map(|(index, group)| (Some(group), group.counts - before(index)));
        let other = self.other - earlier.map_or(Counts::default(), |earlier| earlier.other);
        groups
            .chain([(None, other)])
            .filter(|(_, counts)| counts.drops > 0)
            .collect()
    }
}

/// Groups with the names of what the kernel side counts by number.
pub struct Groups {
    by: Vec<Dimension>,
    /// Most groups; what comes later is counted as others.
    limit: usize,
    texts: FxHashSet<Rc<str>>,
    rows: Vec<Row>,
    /// Rows by their values.
    by_values: FxHashMap<Rc<[Rc<str>]>, usize>,
    /// By what the kernel side tells groups by.
    by_key: FxHashMap<GroupKey, Known>,
    /// Others, from records.
    other_recorded: Counts,
    /// Others, as the kernel side counts them.
    other_counted: Counts,
    /// Room to write a value in.
    text: Vec<u8>,
}

/// What is known of a key.
struct Known {
    /// Its row; `None` for others.
    row: Option<usize>,
    /// What the kernel side had counted as of the last reading.
    last: Counts,
    /// The part of it that stays with the rows of before: a drop that was shown
    /// under one name is not shown again when another one is learned.
    settled: Counts,
}

struct Row {
    values: Rc<[Rc<str>]>,
    /// What came in records, and what keys had counted that have other rows now;
    /// since the start.
    recorded: Counts,
    /// What the kernel side has counted, as of the last reading.
    counted: Counts,
}

impl Groups {
    /// No groups yet, told apart by `by`; at most `limit` of them.
    #[must_use]
    pub fn new(by: &[Dimension], limit: usize) -> Self {
        Self {
            by: by.to_vec(),
            limit,
            texts: FxHashSet::default(),
            rows: Vec::new(),
            by_values: FxHashMap::default(),
            by_key: FxHashMap::default(),
            other_recorded: Counts::default(),
            other_counted: Counts::default(),
            text: Vec::new(),
        }
    }

    /// Counts a drop that came in a record.
    pub fn add(&mut self, record: &DropRecord<'_>) {
        let counts = Counts {
            drops: 1,
            packets: record.packets(),
            bytes: record.skb.map_or(0, |skb| u64::from(skb.len)),
        };
        match self.row_of(record) {
            Some(row) => self.rows[row].recorded += counts,
            None => self.other_recorded += counts,
        }
    }

    /// To be called before the kernel side's counts are taken over, all of them:
    /// those of the last time no longer count.
    pub fn begin_reading(&mut self, no_group: Counts) {
        self.rows
            .iter_mut()
            .for_each(|row| row.counted = Counts::default());
        self.other_counted = no_group;
    }

    /// Whether the row of a key is known, and nothing more can be learned of it.
    /// If so, adds to it what the kernel side has counted.
    pub fn add_counted(&mut self, key: &GroupKey, counts: Counts) -> bool {
        let Some(known) = self.by_key.get_mut(key) else {
            return false;
        };
        let Some(row) = known.row else {
            self.other_counted += counts - known.settled;
            return true;
        };
        let mut values = self.by.iter().zip(self.rows[row].values.iter());
        if values.any(|(dimension, value)| dimension.is_learned_later() && &**value == "-") {
            return false;
        }
        known.last = counts;
        self.rows[row].counted += counts - known.settled;
        true
    }

    /// Adds what the kernel side has counted of a key whose names are those of
    /// `record`.
    pub fn add_named(&mut self, key: &GroupKey, record: &DropRecord<'_>, counts: Counts) {
        let row = self.row_of(record);
        let known = self.by_key.entry(*key).or_insert(Known {
            row,
            last: Counts::default(),
            settled: Counts::default(),
        });
        if known.row != row
            && let Some(before) = known.row
        {
            self.rows[before].recorded += known.last - known.settled;
            known.settled = known.last;
            known.row = row;
        }
        known.last = counts;
        let counts = counts - known.settled;
        match row {
            Some(row) => self.rows[row].counted += counts,
            None => self.other_counted += counts,
        }
    }

    /// The groups as they are now, and the account with them.
    #[must_use]
    pub fn snapshot(&self, account: &Account) -> Snapshot {
        let mut other = self.other_recorded;
        other += self.other_counted;
        let groups = self.rows.iter().map(|row| {
            let mut counts = row.recorded;
            counts += row.counted;
            Group {
                values: Rc::clone(&row.values),
                counts,
            }
        });
        Snapshot {
            by: self.by.clone(),
            at: Instant::now(),
            groups: groups.collect(),
            other,
            account: account.to_string(),
        }
    }

    fn row_of(&mut self, record: &DropRecord<'_>) -> Option<usize> {
        let values: Rc<[Rc<str>]> = (0..self.by.len())
            .map(|place| self.value(self.by[place], record))
            .collect();
        if let Some(row) = self.by_values.get(&values) {
            return Some(*row);
        }
        if self.rows.len() >= self.limit {
            return None;
        }
        let row = self.rows.len();
        self.by_values.insert(Rc::clone(&values), row);
        self.rows.push(Row {
            values,
            recorded: Counts::default(),
            counted: Counts::default(),
        });
        Some(row)
    }

    /// The text of a value; equal ones share their memory.
    fn value(&mut self, dimension: Dimension, record: &DropRecord<'_>) -> Rc<str> {
        self.text.clear();
        write_dimension(dimension, record, &mut self.text);
        let text = String::from_utf8_lossy(&self.text);
        if let Some(known) = self.texts.get(&*text) {
            return Rc::clone(known);
        }
        let new: Rc<str> = text.into();
        self.texts.insert(Rc::clone(&new));
        new
    }
}

#[cfg(test)]
#[path = "groups/tests.rs"]
mod tests;
