//! The watch of Services and EndpointSlices: differences, as they come.
//!
//! ```text
//! services ───────┐                              ┌─ the receiver is busy: the batch grows ─┐
//! endpointslices ─┼─▶ Store ── quiet for 1 ms ──▶│ Vec<ServiceChange> ──▶ bounded channel   │
//! ```
//!
//! Objects are reduced to the model as they arrive and kept once, behind an `Arc` that the receiver
//! shares. A list that comes again shows as the differences only. Endpoints objects are never read.

mod store;

use std::sync::Arc;
use std::time::Duration;

use futures::stream::SelectAll;
use futures::{FutureExt, StreamExt};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, ResourceExt};
use seaway_model::{ServiceChange, ServiceRef, SliceRef};
use tokio::sync::{mpsc, watch as channel};
use tokio::time::Instant;

use super::{WatchHealth, streams};
use crate::{Cluster, convert};
use store::{Change, Store};

/// A change is passed on when nothing came for that long: a Service and its slices, or the slices of a
/// rollout, come within it.
const QUIET: Duration = Duration::from_millis(1);
/// An endless burst must not hold changes back.
const LONGEST_BURST: Duration = Duration::from_millis(20);
/// Changes in one batch: the first list of a large cluster comes in parts of bounded size.
const LARGEST_BATCH: usize = 4096;
/// Slices in one page of a list. A slice may hold a hundred endpoints (and up to a thousand), so that the
/// usual 500 would take tens of megabytes at a time.
const SLICES_PER_PAGE: u32 = 250;
/// Batches that wait. More would only hide that the receiver is slow; changes then gather in one batch.
const WAITING_BATCHES: usize = 2;

/// A running watch; it ends when this is dropped.
#[derive(Debug)]
pub struct ServiceWatch {
    /// Changes, in order.
    pub changes: mpsc::Receiver<Vec<ServiceChange>>,
    /// What is wrong with the watch or with single objects.
    pub health: channel::Receiver<Arc<WatchHealth>>,
    task: tokio::task::JoinHandle<()>,
}

/// Watches all Services and EndpointSlices.
#[must_use]
pub fn watch_services(cluster: &Cluster) -> ServiceWatch {
    let (sender, changes) = mpsc::channel(WAITING_BATCHES);
    let (health_sender, health) = channel::channel(Arc::new(WatchHealth::default()));
    let updates = updates(cluster);
    let task = tokio::spawn(run(updates, sender, health_sender));
    ServiceWatch { changes, health, task }
}

type Updates = SelectAll<futures::stream::BoxStream<'static, Change>>;

fn updates(cluster: &Cluster) -> Updates {
    let client = || cluster.client.clone();
    let mut all = SelectAll::new();
    let services = watcher(Api::<core::Service>::all(client()), watcher::Config::default());
    all.push(streams::stream(services, Change::Service, |object: core::Service| {
        let name = ServiceRef { namespace: object.namespace().unwrap_or_default(), name: object.name_any() };
        (name, convert::service(&object))
    }));
    let paged = watcher::Config::default().page_size(SLICES_PER_PAGE);
    let slices = watcher(Api::<discovery::EndpointSlice>::all(client()), paged);
    all.push(streams::stream(slices, Change::Slice, |object: discovery::EndpointSlice| {
        let name = SliceRef { namespace: object.namespace().unwrap_or_default(), name: object.name_any() };
        (name, convert::slice(&object))
    }));
    all
}

async fn run(
    mut updates: Updates,
    sender: mpsc::Sender<Vec<ServiceChange>>,
    health: channel::Sender<Arc<WatchHealth>>,
) {
    let mut store = Store::default();
    while let Some(update) = updates.next().await {
        let mut batch = Vec::new();
        store.apply(update, &mut batch);
        gather(&mut updates, &mut store, &mut batch).await;
        publish_health(&store, &health);
        if !batch.is_empty() && !hand_over(&mut updates, &mut store, batch, &sender).await {
            return;
        }
    }
}

/// Takes what belongs to the same burst.
async fn gather(updates: &mut Updates, store: &mut Store, batch: &mut Vec<ServiceChange>) {
    let deadline = Instant::now() + LONGEST_BURST;
    while batch.len() < LARGEST_BATCH {
        // The timer has a resolution of a millisecond, so what is there already is taken without it.
        let next = match updates.next().now_or_never() {
            Some(next) => next,
            None => {
                let limit = deadline.min(Instant::now() + QUIET);
                tokio::time::timeout_at(limit, updates.next()).await.unwrap_or_default()
            }
        };
        let Some(update) = next else { return };
        store.apply(update, batch);
        if Instant::now() >= deadline {
            return;
        }
    }
}

/// Gives the batch to the receiver and takes more while it is busy; false when it is gone.
async fn hand_over(
    updates: &mut Updates,
    store: &mut Store,
    mut batch: Vec<ServiceChange>,
    sender: &mpsc::Sender<Vec<ServiceChange>>,
) -> bool {
    loop {
        tokio::select! {
            biased;
            permit = sender.reserve() => {
                let Ok(permit) = permit else { return false };
                permit.send(batch);
                return true;
            }
            Some(update) = updates.next(), if batch.len() < LARGEST_BATCH => store.apply(update, &mut batch),
        }
    }
}

fn publish_health(store: &Store, health: &channel::Sender<Arc<WatchHealth>>) {
    health.send_if_modified(|current| {
        let changed = !store.is_as_healthy_as(current);
        if changed {
            *current = Arc::new(store.health());
        }
        changed
    });
}

impl Drop for ServiceWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}
