//! A map that many threads read without waiting while one writes: parts that are
//! replaced whole. A change copies one part, which holds a few dozen entries.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use arc_swap::ArcSwap;
use foldhash::fast::FixedState;

/// With 10,000 entries a part has about ten, with 100,000 about a hundred: small enough to copy.
const PARTS: usize = 1024;

type Part<K, V> = HashMap<K, V, FixedState>;

/// A map in parts.
#[derive(Debug)]
pub struct Sharded<K, V> {
    parts: Box<[ArcSwap<Part<K, V>>]>,
    hasher: FixedState,
}

impl<K: Hash + Eq + Clone, V: Clone> Sharded<K, V> {
    /// An empty map.
    #[must_use]
    pub fn new() -> Self {
        let empty = Arc::new(Part::with_hasher(FixedState::default()));
        Self {
            parts: (0..PARTS).map(|_| ArcSwap::new(Arc::clone(&empty))).collect(),
            hasher: FixedState::with_seed(0x5345_4157_4159),
        }
    }

    fn number<Q: Hash + ?Sized>(&self, key: &Q) -> usize {
        self.hasher.hash_one(key) as usize % PARTS
    }

    /// Looks up a key; `read` sees the value without copying it.
    #[inline]
    pub fn with<Q, R>(&self, key: &Q, read: impl FnOnce(&V) -> R) -> Option<R>
    where
        K: std::borrow::Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.parts.get(self.number(key))?.load().get(key).map(read)
    }

    /// Whether there is such a key.
    pub fn contains<Q>(&self, key: &Q) -> bool
    where
        K: std::borrow::Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.with(key, |_| ()).is_some()
    }

    /// Keys of all entries that `wanted` picks; looks at each.
    pub fn keys_where(&self, wanted: impl Fn(&K, &V) -> bool) -> Vec<K> {
        let mut keys = Vec::new();
        for part in &self.parts {
            keys.extend(part.load().iter().filter(|(key, value)| wanted(key, value)).map(|(key, _)| key.clone()));
        }
        keys
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.load().len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sets or removes many keys; each part is replaced once. Only one thread may write.
    pub fn update(&self, changes: impl IntoIterator<Item = (K, Option<V>)>) {
        let mut by_part: HashMap<usize, Vec<(K, Option<V>)>> = HashMap::new();
        for (key, value) in changes {
            by_part.entry(self.number(&key)).or_default().push((key, value));
        }
        for (number, changes) in by_part {
            let Some(part) = self.parts.get(number) else { continue };
            let mut next = Part::clone(&part.load());
            for (key, value) in changes {
                match value {
                    Some(value) => next.insert(key, value),
                    None => next.remove(&key),
                };
            }
            next.shrink_to_fit();
            part.store(Arc::new(next));
        }
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Default for Sharded<K, V> {
    fn default() -> Self {
        Self::new()
    }
}
