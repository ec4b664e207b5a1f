//! The most frequent of many, in bounded memory: the space-saving algorithm (Metwally,
//! Agrawal, El Abbadi 2005). With room for k, whatever makes up more than 1/k of what was
//! seen is there, no count is too low, and none too high by more than its `error`.

use std::collections::HashMap;
use std::hash::Hash;

/// One counted item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally<K> {
    /// What.
    pub key: K,
    /// How often, at most.
    pub count: u64,
    /// By how much that may be too high.
    pub error: u64,
}

/// The most frequent items.
#[derive(Debug, Clone)]
pub struct Sketch<K> {
    room: usize,
    tallies: Vec<Tally<K>>,
    places: HashMap<K, usize, foldhash::fast::RandomState>,
    total: u64,
}

// === impl Sketch ===

impl<K: Hash + Eq + Clone> Sketch<K> {
    /// Nothing seen; room for so many items, at least one.
    #[must_use]
    pub fn new(room: usize) -> Self {
        Self { room: room.max(1), tallies: Vec::new(), places: HashMap::default(), total: 0 }
    }

    /// Saw `key` so often.
    pub fn add<Q>(&mut self, key: &Q, weight: u64)
    where
        K: std::borrow::Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.total = self.total.saturating_add(weight);
        if let Some(tally) = self.places.get(key).and_then(|place| self.tallies.get_mut(*place)) {
            tally.count = tally.count.saturating_add(weight);
            return;
        }
        let owned = key.to_owned();
        if self.tallies.len() < self.room {
            self.places.insert(owned.clone(), self.tallies.len());
            self.tallies.push(Tally { key: owned, count: weight, error: 0 });
            return;
        }
        // The rarest gives way, and its count is what the new one may have had unseen.
        let rarest = self.tallies.iter_mut().enumerate().min_by_key(|(_, tally)| tally.count);
        if let Some((place, tally)) = rarest {
            self.places.remove::<K>(&tally.key);
            self.places.insert(owned.clone(), place);
            let error = tally.count;
            *tally = Tally { key: owned, count: error.saturating_add(weight), error };
        }
    }

    /// Everything seen, by weight.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// What is counted, in no order.
    #[must_use]
    pub fn tallies(&self) -> &[Tally<K>] {
        &self.tallies
    }
}

/// The most frequent of several sketches together, first those seen most.
#[must_use]
pub fn merged<'s, K: Hash + Eq + Clone + Ord + 's>(
    sketches: impl IntoIterator<Item = &'s Sketch<K>>,
    most: usize,
) -> Vec<Tally<K>> {
    let mut sums: HashMap<K, (u64, u64)> = HashMap::new();
    for tally in sketches.into_iter().flat_map(Sketch::tallies) {
        let (count, error) = sums.entry(tally.key.clone()).or_default();
        *count = count.saturating_add(tally.count);
        *error = error.saturating_add(tally.error);
    }
    let mut all: Vec<Tally<K>> = sums.into_iter().map(|(key, (count, error))| Tally { key, count, error }).collect();
    all.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.key.cmp(&b.key)));
    all.truncate(most);
    all
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn exact(seen: &[String]) -> HashMap<&str, u64> {
        let mut counts = HashMap::new();
        seen.iter().for_each(|key| *counts.entry(key.as_str()).or_default() += 1);
        counts
    }

    proptest! {
        #[test]
        fn what_is_frequent_is_there_and_counts_are_bounded(
            seen in proptest::collection::vec("[a-h]{1,2}", 0..400),
            room in 1usize..24,
        ) {
            let mut sketch = Sketch::<String>::new(room);
            seen.iter().for_each(|key| sketch.add(key.as_str(), 1));
            let exact = exact(&seen);
            prop_assert!(sketch.tallies().len() <= room);
            prop_assert_eq!(sketch.total(), seen.len() as u64);
            for tally in sketch.tallies() {
                let truth = exact[tally.key.as_str()];
                prop_assert!(tally.count >= truth && tally.count - tally.error <= truth, "{tally:?}, really {truth}");
                prop_assert!(tally.error <= seen.len() as u64 / room as u64);
            }
            for (key, truth) in exact {
                if truth > seen.len() as u64 / room as u64 {
                    prop_assert!(sketch.tallies().iter().any(|tally| tally.key == key), "{key} is missing");
                }
            }
        }
    }

    #[test]
    fn sketches_of_several_threads_are_one_list() {
        let (mut one, mut two) = (Sketch::<String>::new(4), Sketch::<String>::new(4));
        one.add("web", 3);
        two.add("web", 2);
        two.add("api", 4);
        let all = merged([&one, &two], 1);
        assert_eq!(all, [Tally { key: "web".to_owned(), count: 5, error: 0 }]);
    }
}
