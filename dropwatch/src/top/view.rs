//! The rows as they are shown: which of them, and in which order.

use std::net::IpAddr;

use super::level::{Key, Row};
use crate::groups::Groups;

/// What rows can be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    /// Drops in the last interval.
    Drops,
    /// Packets on the wire in the last interval.
    Packets,
    /// Bytes in the last interval.
    Bytes,
    /// Drops since the start.
    Total,
    /// The value at this position.
    Value(usize),
}

/// The order of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sort {
    pub(super) column: Column,
    pub(super) descending: bool,
}

impl Sort {
    /// By a column: the greatest number first, texts from A to Z.
    pub(super) fn by(column: Column) -> Self {
        Self {
            column,
            descending: !matches!(column, Column::Value(_)),
        }
    }

    /// The same for a table with other value columns.
    pub(super) fn without_value(self) -> Self {
        match self.column {
            Column::Value(_) => Self::by(Column::Drops),
            _ => self,
        }
    }

    /// By the next column (or the one before) of a table with `values` value columns.
    pub(super) fn next(self, values: usize, backwards: bool) -> Self {
        let mut columns = vec![Column::Drops, Column::Packets, Column::Bytes, Column::Total];
        columns.extend((0..values).map(Column::Value));
        let here = columns.iter().position(|column| *column == self.column);
        let here = here.unwrap_or_default();
        let step = if backwards { columns.len() - 1 } else { 1 };
        let next = columns.get((here + step) % columns.len());
        Self::by(next.copied().unwrap_or(Column::Drops))
    }

    /// The numbers of those `rows` that `filter` lets through, in this order.
    pub(super) fn arrange(
        self,
        rows: &[Row],
        groups: &Groups,
        values: usize,
        filter: &str,
    ) -> Vec<u32> {
        let words: Vec<_> = filter.split_whitespace().collect();
        let texts = |row: &Row| row.key.into_iter().take(values).map(|id| groups.text(id));
        let fits = |row: &Row| {
            let has = |word: &&str| texts(row).any(|text| contains(text, word));
            words.iter().all(has)
        };
        // Numbers alone, for there may be very many.
        let mut shown: Vec<u32> = Vec::with_capacity(rows.len());
        shown.extend((0..rows.len() as u32).filter(|number| fits(&rows[*number as usize])));
        let parsed = self.parsed(rows, groups);
        shown.sort_unstable_by(|a, b| {
            let (a, b) = (*a as usize, *b as usize);
            let (one, other) = (&rows[a], &rows[b]);
            let order = match self.column {
                Column::Drops => one.recent.drops.cmp(&other.recent.drops),
                Column::Packets => one.recent.packets.cmp(&other.recent.packets),
                Column::Bytes => one.recent.bytes.cmp(&other.recent.bytes),
                Column::Total => one.total.cmp(&other.total),
                Column::Value(_) => parsed[a].cmp(&parsed[b]),
            };
            let order = if self.descending {
                order.reverse()
            } else {
                order
            };
            order
                .then_with(|| other.total.cmp(&one.total))
                .then_with(|| texts(one).cmp(texts(other)))
        });
        shown
    }

    /// What texts are compared by, for each row, if they are what is sorted by.
    fn parsed<'a>(self, rows: &[Row], groups: &'a Groups) -> Vec<SortKey<'a>> {
        let Column::Value(position) = self.column else {
            return Vec::new();
        };
        let text = |row: &Row| {
            let id = row.key.get(position).copied().unwrap_or_default();
            SortKey::of_text(groups.text(id))
        };
        rows.iter().map(text).collect()
    }
}

/// What texts are compared by: ports as numbers, addresses as addresses.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum SortKey<'a> {
    Number(u64),
    Address(IpAddr),
    Text(&'a str),
}

impl<'a> SortKey<'a> {
    fn of_text(text: &'a str) -> Self {
        if let Ok(number) = text.parse() {
            Self::Number(number)
        } else if let Ok(address) = text.parse() {
            Self::Address(address)
        } else {
            Self::Text(text)
        }
    }
}

/// Whether `text` has `word` in it, in capitals or not. Values are ASCII.
pub(super) fn contains(text: &str, word: &str) -> bool {
    let mut windows = text.as_bytes().windows(word.len().max(1));
    word.is_empty() || windows.any(|window| window.eq_ignore_ascii_case(word.as_bytes()))
}

/// Where `key` is in `order`.
pub(super) fn position(rows: &[Row], order: &[u32], key: &Key) -> Option<usize> {
    let same = |number: &u32| {
        rows.get(*number as usize)
            .is_some_and(|row| row.key == *key)
    };
    order.iter().position(same)
}

/// The window of rows that is shown: it moves as little as needed for the cursor to be in it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Window {
    pub(super) cursor: usize,
    pub(super) offset: usize,
}

impl Window {
    /// Moves the cursor by `distance`, within `len` rows.
    pub(super) fn moved(self, distance: isize, len: usize) -> Self {
        let cursor = self.cursor.saturating_add_signed(distance);
        Self {
            cursor: cursor.min(len.saturating_sub(1)),
            ..self
        }
    }

    /// Makes the cursor visible in a window of `height` of `len` rows.
    pub(super) fn fitted(self, height: usize, len: usize) -> Self {
        let cursor = self.cursor.min(len.saturating_sub(1));
        let latest = len.saturating_sub(height);
        let lowest = (cursor + 1).saturating_sub(height);
        Self {
            cursor,
            offset: self.offset.min(cursor).max(lowest).min(latest),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use super::*;

    #[test]
    fn words_are_found_in_capitals_or_not() {
        assert!(contains("NO_SOCKET", "sock"));
        assert!(contains("udp", "UDP"));
        assert!(contains("-", ""));
        assert!(!contains("", "x"));
        assert!(!contains("ab", "abc"));
        // Not cut in the middle of a character.
        assert!(!contains("ab", "é"));
    }

    #[test]
    fn texts_sort_by_what_they_are() {
        let sorted = |mut texts: Vec<&'static str>| {
            texts.sort_by(|a, b| match SortKey::of_text(a).cmp(&SortKey::of_text(b)) {
                Ordering::Equal => a.cmp(b),
                order => order,
            });
            texts
        };
        assert_eq!(
            sorted(vec!["443", "-", "53", "1024"]),
            ["53", "443", "1024", "-"]
        );
        assert_eq!(
            sorted(vec!["10.0.0.10", "::1", "10.0.0.9"]),
            ["10.0.0.9", "10.0.0.10", "::1"]
        );
    }

    #[test]
    fn the_window_follows_the_cursor() {
        let window = Window::default().moved(7, 10).fitted(5, 10);
        assert_eq!((window.cursor, window.offset), (7, 3));
        let window = window.moved(-2, 10).fitted(5, 10);
        assert_eq!((window.cursor, window.offset), (5, 3));
        let window = window.fitted(5, 2);
        assert_eq!((window.cursor, window.offset), (1, 0));
        let window = window.moved(isize::MIN, 2).fitted(0, 0);
        assert_eq!((window.cursor, window.offset), (0, 0));
    }
}
