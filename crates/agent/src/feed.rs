//! What the agent knows, for the other daemons of its node: [`Feed`] holds the newest state and
//! passes changes on. See `seaway_model::feed` for what a follower reads.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use seaway_model::feed::FeedChange;
use seaway_model::service::{EndpointSlice, Service};
use seaway_model::{Namespace, Node, NodeName, Pod, PodRef, ServiceChange, ServiceRef, SliceRef, Snapshot};
use tokio::sync::broadcast;

/// Batches kept for a slow follower before it has to begin again.
const BATCHES_KEPT: usize = 1024;
/// Changes told in one line when a follower begins: bounds the memory of the copy.
const CHANGES_PER_LINE: usize = 512;

/// The hub between the watches and the followers. Clones share it.
#[derive(Clone)]
pub(crate) struct Feed {
    known: Arc<Mutex<Known>>,
    batches: broadcast::Sender<Arc<Vec<FeedChange>>>,
}

/// Everything there is. Objects are shared with whoever else holds them.
struct Known {
    node: NodeName,
    services: BTreeMap<ServiceRef, Arc<Service>>,
    slices: BTreeMap<SliceRef, Arc<EndpointSlice>>,
    pods: BTreeMap<PodRef, Arc<Pod>>,
    namespaces: BTreeMap<String, Arc<Namespace>>,
    nodes: BTreeMap<NodeName, Arc<Node>>,
    heard_services: bool,
    heard_snapshot: bool,
    told_synced: bool,
}

/// A follower's view: what to say first, then what comes.
pub(crate) struct Following {
    /// Lines to say before anything else.
    pub(crate) beginning: Vec<Vec<FeedChange>>,
    /// What happens after.
    pub(crate) batches: broadcast::Receiver<Arc<Vec<FeedChange>>>,
}

// === impl Feed ===

impl Feed {
    pub(crate) fn new(node: NodeName) -> Feed {
        let known = Known {
            node,
            services: BTreeMap::new(),
            slices: BTreeMap::new(),
            pods: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            nodes: BTreeMap::new(),
            heard_services: false,
            heard_snapshot: false,
            told_synced: false,
        };
        Feed { known: Arc::new(Mutex::new(known)), batches: broadcast::channel(BATCHES_KEPT).0 }
    }

    /// Takes note of Services and slices, and tells the followers.
    pub(crate) fn services(&self, changes: &[ServiceChange]) {
        self.tell(|known| {
            changes.iter().for_each(|change| known.service(change));
            changes.iter().cloned().filter_map(FeedChange::of_service).collect()
        });
    }

    /// Takes note of the rest of the cluster, and tells the followers what differs.
    pub(crate) fn snapshot(&self, snapshot: &Snapshot) {
        self.tell(|known| {
            known.heard_snapshot |= snapshot.generation > 0;
            let mut changes = Vec::new();
            take_over(&mut known.pods, &snapshot.pods, |of, now| changes.push(FeedChange::Pod { of, now }));
            take_over(&mut known.namespaces, &snapshot.namespaces, |of, now| {
                changes.push(FeedChange::Namespace { of, now });
            });
            take_over(&mut known.nodes, &snapshot.nodes, |of, now| changes.push(FeedChange::Node { of, now }));
            changes
        });
    }

    /// Everything there is, and then what changes.
    pub(crate) fn follow(&self) -> Following {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock: nothing is missed, nothing told twice.
        Following { beginning: known.everything(), batches: self.batches.subscribe() }
    }

    fn tell(&self, note: impl FnOnce(&mut Known) -> Vec<FeedChange>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changes = note(&mut known);
        if known.is_complete() && !known.told_synced {
            known.told_synced = true;
            changes.push(FeedChange::Synced);
        }
        if !changes.is_empty() {
            // Nobody follows: nobody is told.
            let _ = self.batches.send(Arc::new(changes));
        }
    }
}

// === impl Known ===

impl Known {
    fn is_complete(&self) -> bool {
        self.heard_services && self.heard_snapshot
    }

    fn service(&mut self, change: &ServiceChange) {
        match change {
            ServiceChange::Service { of, now: Some(now) } => {
                self.services.insert(of.clone(), Arc::clone(now));
            }
            ServiceChange::Service { of, now: None } => {
                self.services.remove(of);
            }
            ServiceChange::Slice { of, now: Some(now) } => {
                self.slices.insert(of.clone(), Arc::clone(now));
            }
            ServiceChange::Slice { of, now: None } => {
                self.slices.remove(of);
            }
            ServiceChange::Synced => self.heard_services = true,
        }
    }

    fn everything(&self) -> Vec<Vec<FeedChange>> {
        let mut all = vec![FeedChange::Begin { node: self.node.clone() }];
        all.extend(self.nodes.iter().map(|(of, now)| FeedChange::Node { of: of.clone(), now: Some(Arc::clone(now)) }));
        let namespaces = self.namespaces.iter();
        all.extend(namespaces.map(|(of, now)| FeedChange::Namespace { of: of.clone(), now: Some(Arc::clone(now)) }));
        all.extend(self.pods.iter().map(|(of, now)| FeedChange::Pod { of: of.clone(), now: Some(Arc::clone(now)) }));
        let services = self.services.iter();
        all.extend(services.map(|(of, now)| FeedChange::Service { of: of.clone(), now: Some(Arc::clone(now)) }));
        all.extend(
            self.slices.iter().map(|(of, now)| FeedChange::Slice { of: of.clone(), now: Some(Arc::clone(now)) }),
        );
        if self.is_complete() {
            all.push(FeedChange::Synced);
        }
        all.chunks(CHANGES_PER_LINE).map(<[FeedChange]>::to_vec).collect()
    }
}

/// Makes `known` equal to `now` and says each difference.
fn take_over<K: Ord + Clone, V: Clone + PartialEq>(
    known: &mut BTreeMap<K, Arc<V>>,
    now: &BTreeMap<K, V>,
    mut say: impl FnMut(K, Option<Arc<V>>),
) {
    let gone: Vec<K> = known.keys().filter(|key| !now.contains_key(*key)).cloned().collect();
    for key in gone {
        known.remove(&key);
        say(key, None);
    }
    for (key, value) in now {
        if known.get(key).is_none_or(|held| **held != *value) {
            let value = Arc::new(value.clone());
            known.insert(key.clone(), Arc::clone(&value));
            say(key.clone(), Some(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(generation: u64, namespaces: &[&str]) -> Snapshot {
        let namespaces = namespaces.iter().map(|name| ((*name).to_owned(), Namespace::default())).collect();
        Snapshot { generation, namespaces, ..Snapshot::default() }
    }

    fn flat(following: &Following) -> Vec<FeedChange> {
        following.beginning.iter().flatten().cloned().collect()
    }

    #[test]
    fn a_follower_hears_everything_once_and_synced_when_both_watches_have_told() {
        let feed = Feed::new("n1".into());
        feed.snapshot(&snapshot(1, &["shop"]));
        let mut early = feed.follow();
        assert_eq!(flat(&early).len(), 2, "begin and the namespace; not synced yet");
        feed.services(&[ServiceChange::Synced]);
        assert_eq!(*early.batches.try_recv().unwrap(), [FeedChange::Synced]);
        feed.snapshot(&snapshot(2, &["bank"]));
        let told = early.batches.try_recv().unwrap();
        assert_eq!(told.len(), 2, "one went, one came: {told:?}");
        let late = feed.follow();
        assert_eq!(flat(&late).last(), Some(&FeedChange::Synced));
        assert!(early.batches.try_recv().is_err(), "an unchanged snapshot says nothing");
    }
}
