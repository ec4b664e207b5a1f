//! What the watches have said so far. Pure: changes in, snapshots out.

use std::collections::BTreeMap;

use ipnet::IpNet;
use seaway_model::{IpBlock, IpPool, Namespace, Node, NodeName, Pod, PodRef, Snapshot};

use super::WatchHealth;
use crate::InvalidObject;

/// Something one of the watches says.
#[derive(Debug)]
pub(super) enum Change {
    Node(Update<NodeName, Node>),
    Namespace(Update<String, Namespace>),
    Pool(Update<String, Result<IpPool, InvalidObject>>),
    Block(Update<String, Result<IpBlock, InvalidObject>>),
    Pod(Update<PodRef, Pod>),
}

/// Something the watch of one kind says.
#[derive(Debug)]
pub(super) enum Update<K, V> {
    /// A list begins.
    Begin,
    /// An object of the list.
    Listed(K, V),
    /// The list is complete: what was not in it is gone.
    End,
    /// Made or changed.
    Set(K, V),
    /// Deleted.
    Delete(K),
    /// The watch failed; it is tried again.
    Failed(String),
    /// The watch that failed works again, and nothing has changed meanwhile.
    Resumed,
}

/// All kinds.
#[derive(Debug)]
pub(super) struct Store {
    nodes: Kind<NodeName, Node>,
    namespaces: Kind<String, Namespace>,
    pools: Kind<String, Result<IpPool, InvalidObject>>,
    blocks: Kind<String, Result<IpBlock, InvalidObject>>,
    pods: Kind<PodRef, Pod>,
    /// Last usable form of every pool, also of those without a usable object now.
    last_good_pools: BTreeMap<String, IpPool>,
    wants_pods: bool,
}

/// The objects of one kind.
#[derive(Debug)]
struct Kind<K, V> {
    objects: BTreeMap<K, V>,
    listing: Option<BTreeMap<K, V>>,
    complete: bool,
    failure: Option<String>,
}

// === impl Kind ===

impl<K: Ord, V> Kind<K, V> {
    fn new() -> Self {
        Self { objects: BTreeMap::new(), listing: None, complete: false, failure: None }
    }

    fn apply(&mut self, update: Update<K, V>) {
        if let Update::Failed(reason) = update {
            self.failure = Some(reason);
            return;
        }
        match update {
            Update::Begin => {
                // Asking for a list says nothing yet of whether it will come.
                self.listing = Some(BTreeMap::new());
                return;
            }
            Update::Listed(key, value) => {
                self.listing.get_or_insert_default().insert(key, value);
            }
            Update::End => {
                self.objects = self.listing.take().unwrap_or_default();
                self.complete = true;
            }
            Update::Set(key, value) => {
                self.objects.insert(key, value);
            }
            Update::Delete(key) => {
                self.objects.remove(&key);
            }
            Update::Failed(_) | Update::Resumed => {}
        }
        self.failure = None;
    }
}

// === impl Store ===

impl Store {
    pub(super) fn new(wants_pods: bool) -> Self {
        Self {
            nodes: Kind::new(),
            namespaces: Kind::new(),
            pools: Kind::new(),
            blocks: Kind::new(),
            pods: Kind::new(),
            last_good_pools: BTreeMap::new(),
            wants_pods,
        }
    }

    pub(super) fn apply(&mut self, change: Change) {
        match change {
            Change::Node(update) => self.nodes.apply(update),
            Change::Namespace(update) => self.namespaces.apply(update),
            Change::Pod(update) => self.pods.apply(update),
            Change::Block(update) => {
                self.blocks.apply(update);
                self.keep_good_pools();
            }
            Change::Pool(update) => {
                self.pools.apply(update);
                self.keep_good_pools();
            }
        }
    }

    /// A pool without a usable object stays as it was: one that was spoiled until it is repaired, one that
    /// was deleted while nodes hold blocks of it. Without it nobody would know how to reach their pods.
    fn keep_good_pools(&mut self) {
        let good = self.pools.objects.iter().filter_map(|(name, pool)| Some((name.clone(), pool.clone().ok()?)));
        self.last_good_pools.extend(good);
        let (pools, blocks) = (&self.pools.objects, &self.blocks.objects);
        self.last_good_pools.retain(|name, pool| {
            let deleted = !pools.contains_key(name);
            pool.disabled |= deleted;
            !deleted || blocks.values().flatten().any(|block| block.pool == *name)
        });
    }

    fn deleted_in_use(&self) -> impl Iterator<Item = InvalidObject> {
        let deleted = self.last_good_pools.keys().filter(|name| !self.pools.objects.contains_key(*name));
        deleted.map(|name| InvalidObject {
            kind: "IPPool",
            name: name.clone(),
            field: "metadata.name",
            value: name.clone(),
            reason:
                "was deleted while nodes hold blocks of it; it gives no new addresses, and its pods stay reachable \
                     until the agents restart"
                    .to_owned(),
        })
    }

    /// Whether every kind was listed once.
    pub(super) fn is_complete(&self) -> bool {
        self.nodes.complete
            && self.namespaces.complete
            && self.pools.complete
            && self.blocks.complete
            && (self.pods.complete || !self.wants_pods)
    }

    pub(super) fn snapshot(&self, generation: u64) -> Snapshot {
        let blocks = self.blocks.objects.values().flatten();
        let blocks: BTreeMap<IpNet, IpBlock> = blocks.map(|block| (block.cidr, block.clone())).collect();
        Snapshot {
            generation,
            nodes: self.nodes.objects.clone(),
            namespaces: self.namespaces.objects.clone(),
            pools: self.last_good_pools.clone(),
            blocks,
            pods: self.pods.objects.clone(),
        }
    }

    pub(super) fn health(&self) -> WatchHealth {
        let failures = [
            ("nodes", &self.nodes.failure),
            ("namespaces", &self.namespaces.failure),
            ("ippools", &self.pools.failure),
            ("ipblocks", &self.blocks.failure),
            ("pods", &self.pods.failure),
        ];
        let pools = self.pools.objects.values().filter_map(|pool| pool.as_ref().err());
        let blocks = self.blocks.objects.values().filter_map(|block| block.as_ref().err());
        WatchHealth {
            failing: failures.into_iter().filter_map(|(kind, reason)| Some((kind, reason.clone()?))).collect(),
            invalid: pools.chain(blocks).cloned().chain(self.deleted_in_use()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(cidr: &str) -> IpPool {
        IpPool::new("p", cidr.parse().unwrap(), 26)
    }

    fn listed() -> Store {
        let mut store = Store::new(false);
        for change in [
            Change::Node(Update::Begin),
            Change::Node(Update::Listed("a".into(), Node::default())),
            Change::Node(Update::End),
            Change::Namespace(Update::End),
            Change::Pool(Update::End),
        ] {
            store.apply(change);
            assert!(!store.is_complete());
        }
        store.apply(Change::Block(Update::End));
        store
    }

    #[test]
    fn a_store_is_complete_when_every_kind_was_listed() {
        let store = listed();
        assert!(store.is_complete());
        assert_eq!(store.snapshot(3).nodes.len(), 1);
    }

    #[test]
    fn a_failed_watch_keeps_what_it_knew_and_a_new_list_replaces_it() {
        let mut store = listed();
        store.apply(Change::Node(Update::Failed("connection refused".into())));
        store.apply(Change::Node(Update::Begin));
        assert_eq!(store.health().failing["nodes"], "connection refused");
        assert_eq!(store.snapshot(1).nodes.len(), 1);
        store.apply(Change::Node(Update::Listed("b".into(), Node::default())));
        assert_eq!(store.snapshot(1).nodes.keys().next().unwrap().as_str(), "a");
        store.apply(Change::Node(Update::End));
        assert_eq!(store.snapshot(1).nodes.keys().next().unwrap().as_str(), "b");
        assert_eq!(store.health(), WatchHealth::default());
    }

    #[test]
    fn a_pool_that_becomes_unusable_stays_as_it_was() {
        let mut store = listed();
        store.apply(Change::Pool(Update::Set("p".into(), Ok(pool("10.0.0.0/16")))));
        let bad = InvalidObject {
            kind: "IPPool",
            name: "p".into(),
            field: "spec.cidr",
            value: "x".into(),
            reason: "is not a CIDR".into(),
        };
        store.apply(Change::Pool(Update::Set("p".into(), Err(bad.clone()))));
        assert_eq!(store.snapshot(1).pools["p"], pool("10.0.0.0/16"));
        assert_eq!(store.health().invalid, [bad]);
        store.apply(Change::Pool(Update::Delete("p".into())));
        assert!(store.snapshot(1).pools.is_empty() && store.health().invalid.is_empty());
    }

    #[test]
    fn a_pool_deleted_while_in_use_stays_for_the_pods_it_has() {
        let mut store = listed();
        store.apply(Change::Pool(Update::Set("p".into(), Ok(pool("10.0.0.0/16")))));
        let block = IpBlock { cidr: "10.0.0.0/26".parse().unwrap(), pool: "p".into(), node: "a".into() };
        store.apply(Change::Block(Update::Set("b".into(), Ok(block))));
        store.apply(Change::Pool(Update::Delete("p".into())));
        assert!(store.snapshot(1).pools["p"].disabled);
        assert!(store.health().invalid[0].to_string().contains("IPPool p"));
        store.apply(Change::Block(Update::Delete("b".into())));
        assert!(store.snapshot(1).pools.is_empty() && store.health().invalid.is_empty());
    }
}
