//! Drops counted in groups: by what they are told apart, and how many each has.

mod keys;
mod texts;

use std::{
    cmp::Reverse,
    hash::{BuildHasher as _, BuildHasherDefault, Hash},
    mem,
};

use dropwatch_common::group::{GroupKey, by};
use hashbrown::HashTable;
use rustc_hash::{FxHashMap, FxHasher};

pub use self::texts::TextId;
use self::{
    keys::Keys,
    texts::{Texts, UNKNOWN_ID as UNKNOWN},
};
use crate::{format::write_dimension, record::DropRecord};

/// What drops are grouped by. The order is that of the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum)]
pub enum Dimension {
    /// The drop reason
    Reason,
    /// The call site
    At,
    /// The interface
    #[value(alias = "iface")]
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
    /// The class; each drop is then a record, for only dropwatch can tell it
    Class,
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
            Self::Class => "class",
        }
    }

    /// Whether the kernel side can tell groups apart by it.
    #[must_use]
    pub fn is_known_to_kernel(self) -> bool {
        self != Self::Class
    }

    /// The bit of the kernel side's `GROUP_BY`; none where it [can't tell](Self::is_known_to_kernel).
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
            Self::Class => 0,
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

/// A group, as of the last reading.
#[derive(Clone, Copy, Debug)]
pub struct Group<'a> {
    /// The numbers of its texts, one for each dimension of [`Groups::by`].
    pub values: &'a [TextId],
    /// Since the start.
    pub total: Counts,
    /// Since the reading before.
    pub recent: Counts,
}

/// Groups with the names of what the kernel side counts by number.
///
/// Everything is kept once, without a reference for each piece of it, so that 100,000 groups fit
/// into some ten megabytes. The counts are those of the last reading until the next one.
pub struct Groups {
    by: Vec<Dimension>,
    /// Most groups; what comes later is counted as others.
    limit: usize,
    texts: Texts,
    /// The values of all groups, one after the other, `by.len()` for each.
    values: Vec<TextId>,
    /// By the number of a group.
    counts: Vec<Reading>,
    /// The numbers of groups, by their values.
    index: HashTable<u32>,
    /// What the kernel side tells groups by.
    keys: Keys,
    /// By the number of a key.
    known: Vec<Known>,
    /// Drops whose group found no room.
    other: Reading,
    /// Those of them that the kernel side had counted at the last reading.
    no_group: Counts,
    /// What came in records since the last reading; `None` stands for the others.
    recorded: FxHashMap<Option<u32>, Counts>,
    /// Room to write a value in.
    text: Vec<u8>,
}

/// What is known of a key.
#[derive(Default)]
struct Known {
    /// Its group; `None` for others. It can become another one when a name is learned; what was
    /// counted until then stays where it was shown.
    group: Option<u32>,
    /// What the kernel side had counted at the last reading.
    last: Counts,
}

/// Totals since the start.
#[derive(Clone, Copy, Default)]
struct Reading {
    /// At the last reading.
    now: Counts,
    /// At the one before.
    before: Counts,
}

impl Groups {
    /// No groups yet, told apart by `by`; at most `limit` of them.
    ///
    /// The address space for all of them is taken at once, the memory as they come: a list that
    /// grows is in memory twice each time that it is moved.
    #[must_use]
    pub fn new(by: &[Dimension], limit: usize) -> Self {
        Self {
            by: by.to_vec(),
            limit,
            texts: Texts::new(),
            values: Vec::with_capacity(limit.saturating_mul(by.len())),
            counts: Vec::with_capacity(limit),
            index: HashTable::new(),
            keys: Keys::default(),
            known: Vec::with_capacity(limit),
            other: Reading::default(),
            no_group: Counts::default(),
            recorded: FxHashMap::default(),
            text: Vec::new(),
        }
    }

    /// Counts a drop that came in a record, from the next reading on.
    pub fn add(&mut self, record: &DropRecord<'_>) {
        let counts = Counts {
            drops: 1,
            packets: record.packets(),
            bytes: record.skb.map_or(0, |skb| u64::from(skb.len)),
        };
        let group = self.named(record);
        *self.recorded.entry(group).or_default() += counts;
    }

    /// Counts drops whose values are written already, a text for each dimension; from the next
    /// reading on. What is missing is not known.
    pub fn add_values(&mut self, values: &[&str], counts: Counts) {
        let mut values = values.iter();
        let group = self.group_of(|_, text| {
            let value = values.next().copied().unwrap_or(texts::UNKNOWN);
            text.extend_from_slice(value.as_bytes());
        });
        *self.recorded.entry(group).or_default() += counts;
    }

    /// Begins a reading: of what the kernel side has counted since the start, of which `no_group`
    /// is in no group. All its keys are to be added then, each of them once.
    pub fn begin_reading(&mut self, no_group: Counts) {
        for counts in self.counts.iter_mut().chain([&mut self.other]) {
            counts.before = counts.now;
        }
        self.other.now += no_group - self.no_group;
        self.no_group = no_group;
        for (group, counts) in mem::take(&mut self.recorded) {
            self.gain(group, counts);
        }
    }

    /// Whether the group of a key is known, and nothing more can be learned of it.
    /// If so, takes over what the kernel side has counted of it since the start.
    pub fn add_counted(&mut self, key: &GroupKey, counts: Counts) -> bool {
        let Some(key) = self.keys.find(key) else {
            return false;
        };
        let is_named = |group| {
            let mut values = self.by.iter().zip(self.values_of(group));
            !values.any(|(dimension, value)| dimension.is_learned_later() && *value == UNKNOWN)
        };
        let is_settled = self.known[key as usize].group.is_none_or(is_named);
        if is_settled {
            self.take_over(key, counts);
        }
        is_settled
    }

    /// Takes over what the kernel side has counted since the start of a key whose names are
    /// those of `record`.
    pub fn add_named(&mut self, key: &GroupKey, record: &DropRecord<'_>, counts: Counts) {
        let key = self.keys.find(key).unwrap_or_else(|| {
            self.known.push(Known::default());
            self.keys.insert(key)
        });
        self.known[key as usize].group = self.named(record);
        self.take_over(key, counts);
    }

    /// What the groups are told apart by.
    #[must_use]
    pub fn by(&self) -> &[Dimension] {
        &self.by
    }

    /// A value's text, without white space or control characters; `-` where it is not known.
    #[must_use]
    pub fn text(&self, id: TextId) -> &str {
        self.texts.get(id)
    }

    /// The number of a text, if a group has had it.
    #[must_use]
    pub fn find(&self, text: &str) -> Option<TextId> {
        self.texts.find(text)
    }

    /// All groups that have drops. Each keeps its place; new ones come last.
    pub fn groups(&self) -> impl Iterator<Item = Group<'_>> {
        let all = (0..).zip(&self.counts).map(|(group, counts)| Group {
            values: self.values_of(group),
            total: counts.now,
            recent: counts.recent(),
        });
        all.filter(|group| group.total.drops > 0)
    }

    /// Drops that are in no group since the start.
    #[must_use]
    pub fn other(&self) -> Counts {
        self.other.now
    }

    /// All drops since the start, and since the reading before; those in no group included.
    #[must_use]
    pub fn totals(&self) -> (Counts, Counts) {
        let (mut total, mut recent) = (self.other.now, self.other.recent());
        for counts in &self.counts {
            total += counts.now;
            recent += counts.recent();
        }
        (total, recent)
    }

    /// Hands over what has drops since the reading before, with their counts, most of them first:
    /// the values of a group, or `None` for the others.
    pub fn for_each_changed(&self, mut handle: impl FnMut(Option<&[(Dimension, &str)]>, Counts)) {
        let of =
            |group: Option<u32>| group.map_or(&self.other, |group| &self.counts[group as usize]);
        let all = (0..self.counts.len() as u32).map(Some).chain([None]);
        // Numbers alone, for there may be very many.
        let mut changed: Vec<Option<u32>> = Vec::with_capacity(self.counts.len() + 1);
        changed.extend(all.filter(|group| of(*group).recent().drops > 0));
        changed.sort_unstable_by_key(|group| {
            let drops = of(*group).recent().drops;
            (Reverse(drops), group.is_none(), *group)
        });
        for group in changed {
            let values = group.map(|group| {
                let texts = self.values_of(group).iter().map(|id| self.text(*id));
                self.by.iter().copied().zip(texts).collect::<Vec<_>>()
            });
            handle(values.as_deref(), of(group).recent());
        }
    }

    /// Adds what a key has counted since the last reading to the group that it has now.
    fn take_over(&mut self, key: u32, counts: Counts) {
        let known = &mut self.known[key as usize];
        let gained = counts - known.last;
        known.last = counts;
        let group = known.group;
        self.gain(group, gained);
    }

    fn gain(&mut self, group: Option<u32>, counts: Counts) {
        let of = match group {
            Some(group) => &mut self.counts[group as usize],
            None => &mut self.other,
        };
        of.now += counts;
    }

    fn values_of(&self, group: u32) -> &[TextId] {
        values_of(&self.values, self.by.len(), group)
    }

    fn named(&mut self, record: &DropRecord<'_>) -> Option<u32> {
        self.group_of(|dimension, text| write_dimension(dimension, record, text))
    }

    /// The group with the values that `write` writes, if it has room. One without leaves nothing
    /// behind.
    fn group_of(&mut self, mut write: impl FnMut(Dimension, &mut Vec<u8>)) -> Option<u32> {
        let is_full = self.counts.len() >= self.limit;
        let width = self.by.len();
        let start = self.values.len();
        for dimension in &self.by {
            self.text.clear();
            write(*dimension, &mut self.text);
            let text = String::from_utf8_lossy(&self.text);
            let known = self.texts.find(&text);
            if is_full && known.is_none() {
                self.values.truncate(start);
                return None;
            }
            self.values
                .push(known.unwrap_or_else(|| self.texts.insert(&text)));
        }
        let (known, new) = self.values.split_at(start);
        let same = |other: &u32| values_of(known, width, *other) == new;
        let found = self.index.find(hash(new), same).copied();
        if found.is_some() || is_full {
            self.values.truncate(start);
            return found;
        }
        let group = self.counts.len() as u32;
        self.index.insert_unique(hash(new), group, |other| {
            hash(values_of(&self.values, width, *other))
        });
        self.counts.push(Reading::default());
        Some(group)
    }
}

impl Reading {
    fn recent(&self) -> Counts {
        self.now - self.before
    }
}

fn values_of(all: &[TextId], width: usize, group: u32) -> &[TextId] {
    let start = group as usize * width;
    all.get(start..start + width).unwrap_or_default()
}

/// For tables of numbers, whose entries lie elsewhere.
pub(crate) fn hash<T: Hash + ?Sized>(value: &T) -> u64 {
    BuildHasherDefault::<FxHasher>::default().hash_one(value)
}

#[cfg(test)]
#[path = "groups/tests.rs"]
mod tests;
