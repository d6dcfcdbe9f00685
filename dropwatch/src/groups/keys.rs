//! The kernel side's keys by number.

use dropwatch_common::group::GroupKey;
use hashbrown::HashTable;

use super::hash;

const WORDS: usize = size_of::<GroupKey>() / size_of::<u64>();

type Words = [u64; WORDS];

/// Keys, of which only the words are kept in which any two of them differ. These are few, for
/// what is not grouped by is zero, and much of the rest is the same in all drops of a host.
#[derive(Default)]
pub(super) struct Keys {
    /// What the keys have in common, and the rest of the first one.
    first: Words,
    /// The places of the words that are kept, in ascending order.
    kept: Vec<usize>,
    /// These words of all keys, one key after the other.
    words: Vec<u64>,
    index: HashTable<u32>,
}

impl Keys {
    /// The number of `key`, if it is there.
    pub(super) fn find(&self, key: &GroupKey) -> Option<u32> {
        let key = words_of(key);
        if self.new_places(&key).next().is_some() {
            return None;
        }
        let mut room = Words::default();
        let kept = self.pick(&key, &mut room);
        let same = |other: &u32| kept_of(&self.words, self.kept.len(), *other) == kept;
        self.index.find(hash(kept), same).copied()
    }

    /// Adds a key that is not there, and returns its number, which is that of keys before it.
    pub(super) fn insert(&mut self, key: &GroupKey) -> u32 {
        let key = words_of(key);
        let number = self.index.len() as u32;
        if number == 0 {
            self.first = key;
        }
        let new_places: Vec<usize> = self.new_places(&key).collect();
        if !new_places.is_empty() {
            self.keep_also(&new_places);
        }
        let mut room = Words::default();
        let kept = self.pick(&key, &mut room);
        self.words.extend_from_slice(kept);
        self.enter(number);
        number
    }

    /// The places of words in which `key` differs from all keys.
    fn new_places(&self, key: &Words) -> impl Iterator<Item = usize> {
        let differs = move |place: &usize| key[*place] != self.first[*place];
        (0..WORDS)
            .filter(differs)
            .filter(|place| !self.kept.contains(place))
    }

    /// Keeps more words of each key. That is done a few times only: once for a word.
    fn keep_also(&mut self, places: &[usize]) {
        let (before, words) = (self.kept.clone(), std::mem::take(&mut self.words));
        self.kept.extend_from_slice(places);
        self.kept.sort_unstable();
        let keys = self.index.len() as u32;
        self.index.clear();
        self.words.reserve(keys as usize * self.kept.len());
        for number in 0..keys {
            let mut key = self.first;
            let kept = kept_of(&words, before.len(), number);
            for (place, word) in before.iter().zip(kept) {
                key[*place] = *word;
            }
            self.words.extend(self.kept.iter().map(|place| key[*place]));
            self.enter(number);
        }
    }

    fn enter(&mut self, number: u32) {
        let hash_of = |other: &u32| hash(kept_of(&self.words, self.kept.len(), *other));
        self.index.insert_unique(hash_of(&number), number, hash_of);
    }

    /// The words of `key` that are kept, in `room`.
    fn pick<'a>(&self, key: &Words, room: &'a mut Words) -> &'a [u64] {
        for (word, place) in room.iter_mut().zip(&self.kept) {
            *word = key[*place];
        }
        &room[..self.kept.len()]
    }
}

fn words_of(key: &GroupKey) -> Words {
    zerocopy::transmute!(*key)
}

fn kept_of(all: &[u64], width: usize, number: u32) -> &[u64] {
    let start = number as usize * width;
    all.get(start..start + width).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use dropwatch_common::group::ShortKey;
    use proptest::prelude::*;
    use zerocopy::FromZeros as _;

    use super::*;

    /// Keys that differ in few words, or in many.
    fn any_key() -> impl Strategy<Value = GroupKey> {
        let place = prop_oneof![4 => 2..5_usize, 1 => 0..WORDS];
        let changes = prop::collection::vec((place, 0..4_u64), 0..4);
        changes.prop_map(|changes| {
            let mut words = Words::new_zeroed();
            for (place, word) in changes {
                words[place] = word << 31;
            }
            zerocopy::transmute!(words)
        })
    }

    proptest! {
        #[test]
        fn each_key_has_a_number_of_its_own(all in prop::collection::vec(any_key(), 0..80)) {
            let mut keys = Keys::default();
            let mut numbers: HashMap<GroupKey, u32> = HashMap::new();
            for key in &all {
                prop_assert_eq!(keys.find(key), numbers.get(key).copied());
                if !numbers.contains_key(key) {
                    let number = keys.insert(key);
                    prop_assert_eq!(number as usize, numbers.len());
                    numbers.insert(*key, number);
                }
            }
            for (key, number) in &numbers {
                prop_assert_eq!(keys.find(key), Some(*number));
            }
        }
    }

    #[test]
    fn words_that_are_the_same_in_all_keys_are_not_kept() {
        let mut keys = Keys::default();
        for port in 0..100 {
            keys.insert(&GroupKey {
                short: ShortKey {
                    location: 7,
                    destination_port: port,
                    ..ShortKey::default()
                },
                ..GroupKey::default()
            });
        }
        assert_eq!(keys.words.len(), 100);
    }
}
