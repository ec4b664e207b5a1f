//! The watch of `ServiceCIDR` objects: where the addresses of Services come from.
//!
//! Servers before Kubernetes 1.33 may not have them; the configured ranges then stand in.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use ipnet::IpNet;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, ResourceExt};
use tokio::sync::watch as channel;

use super::store::Update;
use super::streams;
use crate::{Cluster, convert};

/// A server that lacks the kind gets it with an upgrade, which takes the connection down anyway.
const ABSENT_PAUSE: Duration = Duration::from_secs(600);

/// A running watch; it ends when this is dropped.
#[derive(Debug)]
pub struct ServiceRanges {
    /// The ranges, sorted. The configured ones until the API says others.
    pub ranges: channel::Receiver<Vec<IpNet>>,
    task: tokio::task::JoinHandle<()>,
}

type Ranges = Update<String, Vec<IpNet>>;

/// Watches the ranges of Service addresses.
#[must_use]
pub fn watch_service_ranges(cluster: &Cluster, configured: Vec<IpNet>) -> ServiceRanges {
    let (sender, ranges) = channel::channel(configured.clone());
    let task = tokio::spawn(run(cluster.clone(), configured, sender));
    ServiceRanges { ranges, task }
}

async fn run(cluster: Cluster, configured: Vec<IpNet>, sender: channel::Sender<Vec<IpNet>>) {
    loop {
        let objects = watcher(Api::<ServiceCIDR>::all(cluster.client.clone()), watcher::Config::default());
        let mut updates = streams::stream(
            objects,
            |update: Ranges| update,
            |object: ServiceCIDR| {
                let (ranges, flaws) = convert::service_ranges(&object);
                for flaw in flaws {
                    tracing::warn!(error = %flaw, "part of an object cannot be used");
                }
                (object.name_any(), ranges)
            },
        );
        let mut known: BTreeMap<String, Vec<IpNet>> = BTreeMap::new();
        let mut listing = None;
        while let Some(update) = updates.next().await {
            match update {
                Update::Begin => listing = Some(BTreeMap::new()),
                Update::Listed(name, ranges) => drop(listing.get_or_insert_default().insert(name, ranges)),
                Update::End => known = listing.take().unwrap_or_default(),
                Update::Set(name, ranges) => drop(known.insert(name, ranges)),
                Update::Delete(name) => drop(known.remove(&name)),
                Update::Failed(reason) if is_absent(&reason) => break,
                Update::Failed(_) | Update::Resumed => {}
            }
            if listing.is_none() {
                publish(&known, &configured, &sender);
            }
        }
        drop(updates);
        tokio::time::sleep(ABSENT_PAUSE).await;
    }
}

/// Whether the server does not know the kind.
pub(super) fn is_absent(reason: &str) -> bool {
    reason.contains("could not find the requested resource") || reason.contains("404 page not found")
}

fn publish(known: &BTreeMap<String, Vec<IpNet>>, configured: &[IpNet], sender: &channel::Sender<Vec<IpNet>>) {
    let mut ranges: Vec<IpNet> = known.values().flatten().copied().collect();
    if ranges.is_empty() {
        ranges = configured.to_vec();
    }
    ranges.sort_unstable();
    ranges.dedup();
    sender.send_if_modified(|current| {
        let changed = *current != ranges;
        if changed {
            *current = ranges;
        }
        changed
    });
}

impl Drop for ServiceRanges {
    fn drop(&mut self) {
        self.task.abort();
    }
}
