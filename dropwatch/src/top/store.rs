//! The groups of the latest snapshot in compact form: each text is kept once and stands in the
//! groups as a number, so that 100,000 groups fit into a few megabytes.

use std::{
    hash::{BuildHasher as _, BuildHasherDefault},
    time::{Duration, Instant},
};

use hashbrown::{HashTable, hash_table::Entry};
use rustc_hash::FxHasher;

use crate::groups::{Counts, Dimension, Group, Snapshot};

/// A text's number in [`Texts`].
pub(super) type TextId = u32;

/// What is not known, as everywhere.
const UNKNOWN: &str = "-";

/// The groups of the latest snapshot, and what they gained since the one before.
pub(super) struct Store {
    by: Vec<Dimension>,
    texts: Texts,
    /// The values of all groups, one after the other, `by.len()` for each.
    values: Vec<TextId>,
    counters: Vec<Counters>,
    /// From the hash of a group's values to its number.
    index: HashTable<u32>,
    /// The number of the snapshot.
    round: u32,
    at: Instant,
    interval: Duration,
    other: Counts,
    other_before: Counts,
    account: String,
}

/// What is known of one group beside its values.
#[derive(Clone, Copy)]
struct Counters {
    now: Counts,
    before: Counts,
    round: u32,
}

/// A group as the view looks at it.
#[derive(Clone, Copy)]
pub(super) struct GroupRef<'a> {
    /// One for each dimension.
    pub(super) values: &'a [TextId],
    /// Since the start.
    pub(super) total: Counts,
    /// Since the snapshot before.
    pub(super) recent: Counts,
}

impl Store {
    /// No groups, counting from `started` on.
    pub(super) fn new(started: Instant) -> Self {
        Self {
            by: Vec::new(),
            texts: Texts::default(),
            values: Vec::new(),
            counters: Vec::new(),
            index: HashTable::new(),
            round: 0,
            at: started,
            interval: Duration::ZERO,
            other: Counts::default(),
            other_before: Counts::default(),
            account: String::new(),
        }
    }

    /// Takes a snapshot, piece by piece, so that it is not held in two forms. `shown` are the texts on
    /// the screen, which stay there even if their groups have gone.
    pub(super) fn update(&mut self, snapshot: Snapshot, shown: impl IntoIterator<Item = TextId>) {
        let Snapshot {
            by,
            at,
            groups,
            other,
            account,
        } = snapshot;
        if by != self.by {
            *self = Self {
                by,
                at: self.at,
                ..Self::new(self.at)
            };
        }
        self.round = self.round.wrapping_add(1);
        self.interval = at.saturating_duration_since(self.at);
        self.at = at;
        self.other_before = self.other;
        self.other = other;
        self.account = account;
        for group in groups {
            self.add(&group);
        }
        if self
            .counters
            .iter()
            .any(|counters| counters.round != self.round)
        {
            self.forget_gone(shown);
        }
    }

    fn add(&mut self, group: &Group) {
        let width = self.by.len();
        let start = self.values.len();
        for position in 0..width {
            let text = group.values.get(position).map_or(UNKNOWN, AsRef::as_ref);
            self.values.push(self.texts.intern(text));
        }
        let (known, new) = self.values.split_at(start);
        let found = self.index.entry(
            hash(new),
            |&other| values_of(known, width, other) == new,
            |&other| hash(values_of(known, width, other)),
        );
        match found {
            Entry::Occupied(entry) => {
                let number = *entry.get() as usize;
                self.values.truncate(start);
                if let Some(counters) = self.counters.get_mut(number) {
                    counters.renew(group, self.round);
                }
            }
            Entry::Vacant(entry) => {
                entry.insert(self.counters.len() as u32);
                self.counters.push(Counters {
                    now: group.counts,
                    before: Counts::default(),
                    round: self.round,
                });
            }
        }
    }

    /// Drops groups that the snapshot does not have, and texts that nobody needs any more.
    fn forget_gone(&mut self, shown: impl IntoIterator<Item = TextId>) {
        let width = self.by.len();
        let values = std::mem::take(&mut self.values);
        let counters = std::mem::take(&mut self.counters);
        self.index.clear();
        let mut used = vec![false; self.texts.len()];
        let mut mark = |id: TextId| {
            if let Some(used) = used.get_mut(id as usize) {
                *used = true;
            }
        };
        shown.into_iter().for_each(&mut mark);
        for (number, counters) in counters.into_iter().enumerate() {
            if counters.round != self.round {
                continue;
            }
            let kept = values_of(&values, width, number as u32);
            kept.iter().copied().for_each(&mut mark);
            let place = self.counters.len() as u32;
            self.values.extend_from_slice(kept);
            self.counters.push(counters);
            let all = &self.values;
            self.index.insert_unique(hash(kept), place, |&other| {
                hash(values_of(all, width, other))
            });
        }
        self.texts.retain(&used);
    }

    /// What the groups' values are.
    pub(super) fn by(&self) -> &[Dimension] {
        &self.by
    }

    /// When the counts were read.
    pub(super) fn at(&self) -> Instant {
        self.at
    }

    /// The time between the last two snapshots.
    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    /// Drops that are in no group.
    pub(super) fn other(&self) -> Counts {
        self.other
    }

    /// All drops since the start, and since the snapshot before; those in no group included.
    pub(super) fn totals(&self) -> (Counts, Counts) {
        let mut total = self.other;
        let mut recent = self.other - self.other_before;
        for group in self.groups() {
            total += group.total;
            recent += group.recent;
        }
        (total, recent)
    }

    /// Where all drops went.
    pub(super) fn account(&self) -> &str {
        &self.account
    }

    /// A value's text.
    pub(super) fn text(&self, id: TextId) -> &str {
        self.texts.get(id)
    }

    /// The number of a text, if any group has it.
    pub(super) fn find(&self, text: &str) -> Option<TextId> {
        self.texts.find(text)
    }

    /// All groups.
    pub(super) fn groups(&self) -> impl Iterator<Item = GroupRef<'_>> {
        let width = self.by.len();
        let all = self.counters.iter().enumerate();
        all.map(move |(number, counters)| GroupRef {
            values: values_of(&self.values, width, number as u32),
            total: counters.now,
            recent: counters.now - counters.before,
        })
    }
}

impl Counters {
    /// Takes the counts of the snapshot `round`; two groups of one snapshot whose values have the
    /// same texts are one.
    fn renew(&mut self, group: &Group, round: u32) {
        if self.round == round {
            self.now += group.counts;
        } else {
            self.before = self.now;
            self.now = group.counts;
            self.round = round;
        }
    }
}

fn values_of(all: &[TextId], width: usize, number: u32) -> &[TextId] {
    let start = number as usize * width;
    all.get(start..start + width).unwrap_or_default()
}

fn hash<T: std::hash::Hash + ?Sized>(value: &T) -> u64 {
    BuildHasherDefault::<FxHasher>::default().hash_one(value)
}

/// Texts by number, each of them once.
#[derive(Default)]
struct Texts {
    /// `None` where a number is free.
    texts: Vec<Option<Box<str>>>,
    free: Vec<TextId>,
    index: HashTable<TextId>,
}

impl Texts {
    fn len(&self) -> usize {
        self.texts.len()
    }

    fn get(&self, id: TextId) -> &str {
        let text = self.texts.get(id as usize);
        text.and_then(|text| text.as_deref()).unwrap_or(UNKNOWN)
    }

    fn find(&self, text: &str) -> Option<TextId> {
        let same = |&id: &TextId| self.get(id) == text;
        self.index.find(hash(text), same).copied()
    }

    fn intern(&mut self, text: &str) -> TextId {
        if let Some(id) = self.find(text) {
            return id;
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.texts.push(None);
            self.texts.len() as TextId - 1
        });
        if let Some(place) = self.texts.get_mut(id as usize) {
            *place = Some(text.into());
        }
        let texts = &self.texts;
        self.index.insert_unique(hash(text), id, |&other| {
            hash(
                texts
                    .get(other as usize)
                    .and_then(Option::as_deref)
                    .unwrap_or(UNKNOWN),
            )
        });
        id
    }

    /// Frees the numbers of texts that are not `used`.
    fn retain(&mut self, used: &[bool]) {
        let is_used = |id: TextId| used.get(id as usize).copied().unwrap_or(true);
        self.index.retain(|id| is_used(*id));
        for (id, text) in self.texts.iter_mut().enumerate() {
            if text.is_some() && !is_used(id as TextId) {
                *text = None;
                self.free.push(id as TextId);
            }
        }
    }
}
