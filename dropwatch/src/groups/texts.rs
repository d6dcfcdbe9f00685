//! Texts by number, each of them once, in one piece of memory.

use hashbrown::HashTable;

use super::hash;

/// A text's number. It never comes to stand for another text.
pub type TextId = u32;

/// What is not known, as everywhere.
pub(super) const UNKNOWN: &str = "-";

/// The number of [`UNKNOWN`].
pub(super) const UNKNOWN_ID: TextId = 0;

pub(super) struct Texts {
    /// One behind the other.
    all: String,
    /// Where each ends.
    ends: Vec<usize>,
    index: HashTable<TextId>,
}

impl Texts {
    /// [`UNKNOWN`] alone.
    pub(super) fn new() -> Self {
        let mut texts = Self {
            all: String::new(),
            ends: Vec::new(),
            index: HashTable::new(),
        };
        texts.insert(UNKNOWN);
        texts
    }

    pub(super) fn get(&self, id: TextId) -> &str {
        text(&self.all, &self.ends, id)
    }

    pub(super) fn find(&self, text: &str) -> Option<TextId> {
        let same = |id: &TextId| self.get(*id) == text;
        self.index.find(hash(text), same).copied()
    }

    /// Adds a text that is not there.
    pub(super) fn insert(&mut self, new: &str) -> TextId {
        let id = self.ends.len() as TextId;
        self.all.push_str(new);
        self.ends.push(self.all.len());
        let (all, ends) = (&self.all, &self.ends);
        self.index
            .insert_unique(hash(new), id, |other| hash(text(all, ends, *other)));
        id
    }
}

fn text<'a>(all: &'a str, ends: &[usize], id: TextId) -> &'a str {
    let id = id as usize;
    let start = id.checked_sub(1).and_then(|before| ends.get(before));
    let end = ends.get(id).copied().unwrap_or_default();
    all.get(start.copied().unwrap_or_default()..end)
        .unwrap_or(UNKNOWN)
}
