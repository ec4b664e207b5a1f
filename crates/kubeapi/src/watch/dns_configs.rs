//! The watch of `DNSConfig` objects: all of them, whenever one changes. There are few.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, ResourceExt};
use seaway_model::DnsSpec;
use tokio::sync::watch as channel;

use super::store::Update;
use super::streams;
use crate::resources::dns_config::DNSConfig;
use crate::{Cluster, convert};

/// What the API server says of a kind that it does not know.
const NOT_DEFINED: &str = "404 page not found";

/// One `DNSConfig`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsConfigObject {
    /// Counts changes of its specification.
    pub generation: i64,
    /// What is written.
    pub spec: Arc<DnsSpec>,
    /// Its condition `Accepted`, when it has one.
    pub accepted: Option<crate::Accepted>,
}

/// All of them by name.
pub type DnsConfigObjects = BTreeMap<String, DnsConfigObject>;

/// A running watch; it ends when this is dropped.
#[derive(Debug)]
pub struct DnsConfigWatch {
    /// The objects; none before they were listed once. In a cluster without the definition there are none.
    pub objects: channel::Receiver<Option<Arc<DnsConfigObjects>>>,
    /// Why the watch fails now, if it does.
    pub failure: channel::Receiver<Option<String>>,
    task: tokio::task::JoinHandle<()>,
}

/// Watches all `DNSConfig` objects.
#[must_use]
pub fn watch_dns_configs(cluster: &Cluster) -> DnsConfigWatch {
    let (sender, objects) = channel::channel(None);
    let (failure_sender, failure) = channel::channel(None);
    let events = watcher(Api::<DNSConfig>::all(cluster.client.clone()), watcher::Config::default());
    let mut updates = streams::stream(
        events,
        |update: Update<String, DnsConfigObject>| update,
        |object: DNSConfig| (object.name_any(), reduced(object)),
    );
    let task = tokio::spawn(async move {
        let mut store = Store::default();
        while let Some(update) = updates.next().await {
            store.apply(update);
            failure_sender.send_if_modified(|known| {
                let changed = *known != store.failure;
                known.clone_from(&store.failure);
                changed
            });
            if store.complete {
                sender.send_if_modified(|known| {
                    let changed = known.as_deref() != Some(&store.objects);
                    if changed {
                        *known = Some(Arc::new(store.objects.clone()));
                    }
                    changed
                });
            }
        }
    });
    DnsConfigWatch { objects, failure, task }
}

fn reduced(object: DNSConfig) -> DnsConfigObject {
    let mut conditions = object.status.iter().flat_map(|status| &status.conditions);
    let accepted = conditions.find(|condition| condition.kind == crate::Accepted::CONDITION).map(Into::into);
    DnsConfigObject {
        generation: object.metadata.generation.unwrap_or_default(),
        accepted,
        spec: Arc::new(convert::dns_spec(object.spec)),
    }
}

/// What the watch has said so far.
#[derive(Debug, Default)]
struct Store {
    objects: DnsConfigObjects,
    listing: DnsConfigObjects,
    complete: bool,
    failure: Option<String>,
}

// === impl Store ===

impl Store {
    fn apply(&mut self, update: Update<String, DnsConfigObject>) {
        match update {
            // Asking for a list says nothing yet of whether it will come.
            Update::Begin => return self.listing.clear(),
            Update::Failed(reason) => {
                // Without the definition there can be no objects: nothing is to be waited for.
                self.complete |= !self.complete && reason.contains(NOT_DEFINED);
                self.failure = Some(reason);
                return;
            }
            Update::Listed(name, object) => drop(self.listing.insert(name, object)),
            Update::End => {
                self.objects = std::mem::take(&mut self.listing);
                self.complete = true;
            }
            Update::Set(name, object) => drop(self.objects.insert(name, object)),
            Update::Delete(name) => drop(self.objects.remove(&name)),
            Update::Resumed => {}
        }
        self.failure = None;
    }
}

impl Drop for DnsConfigWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object() -> DnsConfigObject {
        DnsConfigObject { generation: 1, spec: Arc::default(), accepted: None }
    }

    #[test]
    fn a_list_that_fails_forgets_nothing_and_one_that_ends_replaces_all() {
        let mut store = Store::default();
        store.apply(Update::Listed("a".into(), object()));
        assert!(!store.complete);
        store.apply(Update::End);
        store.apply(Update::Begin);
        store.apply(Update::Failed("cut".into()));
        assert!(store.objects.contains_key("a") && store.failure.is_some());
        store.apply(Update::Begin);
        store.apply(Update::Listed("b".into(), object()));
        store.apply(Update::End);
        assert_eq!(store.objects.keys().collect::<Vec<_>>(), ["b"]);
        assert_eq!(store.failure, None);
    }

    #[test]
    fn without_the_definition_there_are_no_objects() {
        let mut store = Store::default();
        store.apply(Update::Failed("ApiError: 404 page not found".into()));
        assert!(store.complete && store.objects.is_empty());
        let mut store = Store::default();
        store.apply(Update::Failed("403 forbidden".into()));
        assert!(!store.complete, "there may be some that nobody may see");
    }
}
