//! Caches that do not grow for ever.

use std::hash::Hash;

use rustc_hash::FxHashMap;

/// Most entries of a cache. What names are kept for is far less on most hosts.
pub(super) const CACHE_LIMIT: usize = 16 * 1024;

/// Adds an entry to a cache. One that is full is emptied first: to find out what
/// was used last would cost more than to fill it again.
pub(super) fn insert_bounded<K: Eq + Hash, V>(cache: &mut FxHashMap<K, V>, key: K, value: V) {
    if cache.len() >= CACHE_LIMIT {
        cache.clear();
    }
    cache.insert(key, value);
}
