//! The watch of all pods of the cluster, reduced to who has which address: differences, as they come.
//! Pods that ended are not asked for.

use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use kube::Api;
use kube::runtime::watcher::{self, watcher};
use seaway_model::{Pod, PodChange, PodRef};
use tokio::sync::{mpsc, watch as channel};

use super::batches::{self, Differences, WAITING_BATCHES};
use super::known::{Converted, Known};
use super::store::Update;
use super::{WatchHealth, streams};
use crate::{Cluster, convert};

/// A running watch; it ends when this is dropped.
#[derive(Debug)]
pub struct PodWatch {
    /// Changes, in order.
    pub changes: mpsc::Receiver<Vec<PodChange>>,
    /// What is wrong with the watch.
    pub health: channel::Receiver<Arc<WatchHealth>>,
    task: tokio::task::JoinHandle<()>,
}

type Told = Update<PodRef, Converted<Pod>>;

#[derive(Debug, Default)]
struct Store {
    pods: Known<PodRef, Pod>,
    was_synced: bool,
}

/// Watches all pods that have not ended.
#[must_use]
pub fn watch_pods(cluster: &Cluster) -> PodWatch {
    let (sender, changes) = mpsc::channel(WAITING_BATCHES);
    let (health_sender, health) = channel::channel(Arc::new(WatchHealth::default()));
    let selected = watcher::Config::default().fields("status.phase!=Succeeded,status.phase!=Failed");
    let pods = watcher(Api::<core::Pod>::all(cluster.client.clone()), selected);
    let updates = streams::stream(
        pods,
        |update: Told| update,
        |object: core::Pod| {
            let (name, pod) = convert::address_holder(&object);
            (name, (pod, Vec::new()))
        },
    );
    let task = tokio::spawn(batches::run(updates, Store::default(), sender, health_sender));
    PodWatch { changes, health, task }
}

impl Differences for Store {
    type Update = Told;
    type Change = PodChange;

    fn apply(&mut self, update: Told, batch: &mut Vec<PodChange>) {
        self.pods.apply(update, |of, now| PodChange::Pod { of, now }, batch);
        if !self.was_synced && self.pods.complete {
            self.was_synced = true;
            batch.push(PodChange::Synced);
        }
    }

    fn health(&self) -> WatchHealth {
        let failing = self.pods.failure.iter().map(|reason| ("all pods", reason.clone())).collect();
        WatchHealth { failing, invalid: Vec::new() }
    }
}

impl Drop for PodWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(name: &str, address: &str) -> Told {
        let of = PodRef { namespace: "shop".into(), name: name.into() };
        Update::Listed(of, (Pod { addresses: vec![address.parse().unwrap()], ..Pod::default() }, Vec::new()))
    }

    fn told(store: &mut Store, updates: Vec<Told>) -> Vec<PodChange> {
        let mut batch = Vec::new();
        updates.into_iter().for_each(|update| store.apply(update, &mut batch));
        batch
    }

    #[test]
    fn a_list_that_comes_again_shows_as_differences() {
        let mut store = Store::default();
        let first = vec![Update::Begin, listed("a", "10.1.0.1"), listed("b", "10.1.0.2"), Update::End];
        let first = told(&mut store, first);
        assert_eq!((first.len(), first.last()), (3, Some(&PodChange::Synced)));
        let again = told(&mut store, vec![Update::Begin, listed("b", "10.1.0.2"), Update::End]);
        let [PodChange::Pod { of, now: None }] = again.as_slice() else { panic!("{again:?}") };
        assert_eq!(of.name, "a");
    }
}
