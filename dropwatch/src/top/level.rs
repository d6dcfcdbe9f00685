//! What one level of the view shows: which groups, put together by what, and their last minute.

use std::time::{Duration, Instant};

use hashbrown::HashTable;
use rustc_hash::FxHashMap;

use super::view::Sort;
use crate::groups::{Counts, Dimension, Groups, TextId, hash};

/// The dimensions that make a flow, in the order of their columns.
const FLOW: [Dimension; 4] = [
    Dimension::Proto,
    Dimension::Saddr,
    Dimension::Daddr,
    Dimension::Dport,
];

/// The values of a row, one for each column and then zeros.
pub(super) type Key = [TextId; FLOW.len()];

/// What the rows of a level have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grouping {
    /// Value of one dimension.
    One(Dimension),
    /// Protocol, addresses and port, as far as the groups have them.
    Flow,
    /// Nothing: the last packets themselves.
    Packets,
}

/// The way down with Enter: why, where, between whom, which packets.
const WAY_DOWN: [Grouping; 4] = [
    Grouping::One(Dimension::Reason),
    Grouping::One(Dimension::At),
    Grouping::Flow,
    Grouping::Packets,
];

impl Grouping {
    /// As the choice and the path name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::One(dimension) => dimension.name(),
            Self::Flow => "flow",
            Self::Packets => "packets",
        }
    }

    /// The columns that rows have, of those that the groups have.
    pub(super) fn columns(self, by: &[Dimension]) -> Vec<Dimension> {
        let wanted = match &self {
            Self::One(dimension) => std::slice::from_ref(dimension),
            Self::Flow => FLOW.as_slice(),
            Self::Packets => &[],
        };
        let there = wanted.iter().filter(|dimension| by.contains(dimension));
        there.copied().collect()
    }

    /// All groupings of groups by `by`, the way down first.
    pub(super) fn choices(by: &[Dimension]) -> Vec<Self> {
        let mut choices = WAY_DOWN.to_vec();
        for dimension in by {
            if !choices.contains(&Self::One(*dimension)) {
                choices.push(Self::One(*dimension));
            }
        }
        choices.retain(|choice| *choice == Self::Packets || !choice.columns(by).is_empty());
        // Last, for it is no grouping.
        choices.retain(|choice| *choice != Self::Packets);
        choices.push(Self::Packets);
        choices
    }

    /// Whether `scope` already says which value each of the columns has.
    pub(super) fn is_settled(self, by: &[Dimension], scope: &Scope) -> bool {
        let columns = self.columns(by);
        self != Self::Packets && columns.iter().all(|column| scope.has(*column))
    }

    /// Where Enter leads from here: the first on the way down that `scope` leaves open.
    pub(super) fn below(by: &[Dimension], scope: &Scope) -> Self {
        let mut ways = WAY_DOWN.into_iter();
        let open = ways.find(|way| !way.is_settled(by, scope));
        open.unwrap_or(Self::Packets)
    }
}

/// The values that the groups of a level all have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Scope(pub(super) Vec<(Dimension, Box<str>)>);

impl Scope {
    pub(super) fn has(&self, dimension: Dimension) -> bool {
        self.0.iter().any(|(known, _)| *known == dimension)
    }
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) key: Key,
    /// Drops since the start.
    pub(super) total: u64,
    /// Since the reading before.
    pub(super) recent: Counts,
}

/// A level: the first one, or what Enter has opened.
#[derive(Clone, Debug)]
pub(super) struct Level {
    pub(super) grouping: Grouping,
    pub(super) scope: Scope,
    /// How many entries of `scope` the levels above have as well.
    pub(super) inherited: usize,
    pub(super) sort: Sort,
    pub(super) filter: String,
    /// The row that was moved to, which then stays selected; none: the first, whichever it is.
    pub(super) selected: Option<Key>,
    pub(super) history: History,
    /// Widths that the value columns have had: they grow only, or the screen would not stand still.
    pub(super) widths: [u16; FLOW.len()],
}

impl Level {
    pub(super) fn new(grouping: Grouping, scope: Scope, inherited: usize, sort: Sort) -> Self {
        Self {
            grouping,
            scope,
            inherited,
            sort,
            filter: String::new(),
            selected: None,
            history: History::default(),
            widths: [0; FLOW.len()],
        }
    }

    /// Puts the groups that are in scope together.
    pub(super) fn rows(&self, groups: &Groups) -> Vec<Row> {
        let mut rows = Vec::new();
        let by = groups.by();
        let position = |wanted| by.iter().position(|dimension| *dimension == wanted);
        let mut wanted = Vec::new();
        for (dimension, text) in &self.scope.0 {
            match (position(*dimension), groups.find(text)) {
                (Some(position), Some(id)) => wanted.push((position, id)),
                _ => return rows,
            }
        }
        let columns = self.grouping.columns(by);
        let columns: Vec<_> = columns.into_iter().filter_map(position).collect();
        if columns.is_empty() {
            return rows;
        }
        // The numbers of rows, by their keys.
        let mut places: HashTable<u32> = HashTable::new();
        let all = groups.groups();
        // At once, for a list that grows is in memory twice each time that it is moved.
        rows.reserve_exact(all.size_hint().1.unwrap_or_default());
        for group in all {
            if !wanted
                .iter()
                .all(|(position, id)| group.values.get(*position) == Some(id))
            {
                continue;
            }
            let mut key = Key::default();
            for (place, position) in key.iter_mut().zip(&columns) {
                *place = group.values.get(*position).copied().unwrap_or_default();
            }
            let key_of = |place: &u32| rows.get(*place as usize).map(|row| row.key);
            let place = places.entry(
                hash(&key),
                |place| key_of(place) == Some(key),
                |place| hash(&key_of(place).unwrap_or_default()),
            );
            let place = *place.or_insert(rows.len() as u32).get() as usize;
            match rows.get_mut(place) {
                None => rows.push(Row {
                    key,
                    total: group.total.drops,
                    recent: group.recent,
                }),
                Some(row) => {
                    row.total = row.total.saturating_add(group.total.drops);
                    row.recent += group.recent;
                }
            }
        }
        rows.shrink_to_fit();
        rows
    }
}

/// Columns of a row's last minute.
pub(super) const STEPS: usize = 20;

/// How long a column stands for.
const STEP: Duration = Duration::from_secs(3);

/// Rows whose last minute is kept: more than anyone looks through.
const MOST_HISTORIES: usize = 1024;

/// Drops of the last minute, for the rows that had most of them.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    /// Where steps are counted from.
    epoch: Option<Instant>,
    /// The number of the last step.
    step: u64,
    /// Seconds of each step that were looked at; the last one is the newest.
    covered: [f32; STEPS],
    /// Drops in each step.
    drops: FxHashMap<Key, [f32; STEPS]>,
}

impl History {
    /// Whether nothing was recorded yet.
    pub(super) fn is_empty(&self) -> bool {
        self.epoch.is_none()
    }

    /// Adds what `rows` gained between two moments.
    pub(super) fn record(&mut self, from: Instant, to: Instant, rows: &[Row]) {
        let epoch = *self.epoch.get_or_insert(from);
        self.advance(to.saturating_duration_since(epoch));
        let from = from.saturating_duration_since(epoch).as_secs_f32();
        let to = to.saturating_duration_since(epoch).as_secs_f32();
        if to <= from {
            return;
        }
        // A long interval between readings is spread over the steps it covers.
        let mut parts = [0.0_f32; STEPS];
        for (age, part) in parts.iter_mut().rev().enumerate() {
            let Some(step) = self.step.checked_sub(age as u64) else {
                break;
            };
            let start = step as f32 * STEP.as_secs_f32();
            let end = start + STEP.as_secs_f32();
            *part = (to.min(end) - from.max(start)).max(0.0);
        }
        for (covered, part) in self.covered.iter_mut().zip(parts) {
            *covered += part;
        }
        for row in most_active(rows) {
            let steps = self.drops.entry(row.key).or_default();
            for (drops, part) in steps.iter_mut().zip(parts) {
                *drops += row.recent.drops as f32 * part / (to - from);
            }
        }
        self.forget_least();
    }

    /// Moves on to the step in which `time` since the epoch lies.
    fn advance(&mut self, time: Duration) {
        let step = time.as_secs() / STEP.as_secs();
        let ahead = step.saturating_sub(self.step);
        self.step = self.step.max(step);
        let ahead = usize::try_from(ahead).unwrap_or(STEPS).min(STEPS);
        if ahead == 0 {
            return;
        }
        let shift = |steps: &mut [f32; STEPS]| {
            steps.rotate_left(ahead);
            steps
                .iter_mut()
                .rev()
                .take(ahead)
                .for_each(|step| *step = 0.0);
        };
        shift(&mut self.covered);
        self.drops.values_mut().for_each(shift);
        self.drops
            .retain(|_, steps| steps.iter().any(|drops| *drops > 0.0));
    }

    fn forget_least(&mut self) {
        if self.drops.len() <= MOST_HISTORIES {
            return;
        }
        let mut sums: Vec<f32> = self
            .drops
            .values()
            .map(|steps| steps.iter().sum())
            .collect();
        let (_, least, _) =
            sums.select_nth_unstable_by(self.drops.len() - MOST_HISTORIES, f32::total_cmp);
        let least = *least;
        let mut room = MOST_HISTORIES;
        self.drops.retain(|_, steps| {
            let stays = room > 0 && steps.iter().sum::<f32>() >= least;
            room -= usize::from(stays);
            stays
        });
    }

    /// Drops per second in each step, the newest last.
    pub(super) fn rates(&self, key: &Key) -> [f32; STEPS] {
        let mut rates = [0.0; STEPS];
        let Some(steps) = self.drops.get(key) else {
            return rates;
        };
        for ((rate, drops), covered) in rates.iter_mut().zip(steps).zip(self.covered) {
            if covered > 0.0 {
                *rate = drops / covered;
            }
        }
        rates
    }
}

/// The rows that gained most, of those that gained anything.
fn most_active(rows: &[Row]) -> Vec<&Row> {
    let mut active: Vec<_> = rows.iter().filter(|row| row.recent.drops > 0).collect();
    if active.len() > MOST_HISTORIES {
        active
            .select_nth_unstable_by_key(MOST_HISTORIES, |row| std::cmp::Reverse(row.recent.drops));
        active.truncate(MOST_HISTORIES);
    }
    active
}
