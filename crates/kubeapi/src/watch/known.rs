//! The objects of one kind as the API told them last, and what of an update is new.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use super::store::Update;
use crate::InvalidObject;

/// An object and what of it cannot be used.
pub(super) type Converted<V> = (V, Vec<InvalidObject>);

/// The objects of one kind.
#[derive(Debug)]
pub(super) struct Known<K, V> {
    /// Each with the list that had it last.
    objects: HashMap<K, (u64, Arc<V>)>,
    pub(super) invalid: BTreeMap<K, Vec<InvalidObject>>,
    /// Counts lists.
    list: u64,
    /// Listed once.
    pub(super) complete: bool,
    /// Why the watch fails now.
    pub(super) failure: Option<String>,
}

// === impl Known ===

impl<K, V> Default for Known<K, V> {
    fn default() -> Self {
        Known { objects: HashMap::new(), invalid: BTreeMap::new(), list: 0, complete: false, failure: None }
    }
}

impl<K: Clone + Eq + Hash + Ord, V: PartialEq> Known<K, V> {
    /// Takes an update and adds what is new to the batch.
    pub(super) fn apply<C>(
        &mut self,
        update: Update<K, Converted<V>>,
        tell: impl Fn(K, Option<Arc<V>>) -> C,
        batch: &mut Vec<C>,
    ) {
        match update {
            Update::Failed(reason) => {
                self.failure = Some(reason);
                return;
            }
            Update::Begin => {
                // Asking for a list says nothing yet of whether it will come.
                self.list += 1;
                return;
            }
            Update::Listed(key, converted) | Update::Set(key, converted) => {
                batch.extend(self.set(key, converted).map(|(key, now)| tell(key, Some(now))));
            }
            Update::End => {
                let gone = self.objects.iter().filter(|(_, (list, _))| *list != self.list);
                let gone: Vec<K> = gone.map(|(key, _)| key.clone()).collect();
                for key in gone {
                    self.remove(&key);
                    batch.push(tell(key, None));
                }
                self.complete = true;
            }
            Update::Delete(key) => {
                if self.remove(&key) {
                    batch.push(tell(key, None));
                }
            }
            Update::Resumed => {}
        }
        self.failure = None;
    }

    /// What is new, if anything.
    fn set(&mut self, key: K, (now, flaws): Converted<V>) -> Option<(K, Arc<V>)> {
        if flaws.is_empty() {
            self.invalid.remove(&key);
        } else {
            self.invalid.insert(key.clone(), flaws);
        }
        if let Some((list, known)) = self.objects.get_mut(&key) {
            *list = self.list;
            if **known == now {
                return None;
            }
            *known = Arc::new(now);
            return Some((key, Arc::clone(known)));
        }
        let now = Arc::new(now);
        self.objects.insert(key.clone(), (self.list, Arc::clone(&now)));
        Some((key, now))
    }

    fn remove(&mut self, key: &K) -> bool {
        self.invalid.remove(key);
        self.objects.remove(key).is_some()
    }
}
