//! The watch of Services and EndpointSlices: differences, as they come.
//!
//! Objects are reduced to the model as they arrive and kept once, behind an `Arc` that the receiver
//! shares. A list that comes again shows as the differences only. Endpoints objects are never read.

mod names;
mod store;

use std::sync::Arc;

use futures::stream::SelectAll;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, ResourceExt};
use seaway_model::{ServiceChange, ServiceRef, SliceRef};
use tokio::sync::{mpsc, watch as channel};

use super::batches::{self, WAITING_BATCHES};
use super::{WatchHealth, streams};
use crate::{Cluster, convert};
use store::{Change, Store};

/// Slices in one page of a list. A slice may hold a hundred endpoints (and up to a thousand), so that the
/// usual 500 would take tens of megabytes at a time.
const SLICES_PER_PAGE: u32 = 250;
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
    let task = tokio::spawn(batches::run(updates, Store::default(), sender, health_sender));
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

impl Drop for ServiceWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}
