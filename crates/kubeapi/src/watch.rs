//! Watches that become snapshots.
//!
//! ```text
//! nodes ─┐                    one task
//! namespaces ─┤  ┌───────────────────────────────────┐   watch channel
//! pools ─┼──▶ Store ── quiet for 5 ms ──▶ Snapshot n ──────▶ readers
//! blocks ─┤  └───────────────────────────────────┘
//! pods ─┘
//! ```
//!
//! Objects are stripped to what the model holds as they arrive. When the API
//! is gone the last snapshot stays; when it is back the lists replace it.

mod batches;
mod dns_configs;
mod known;
mod names;
mod pods;
mod service_ranges;
mod services;
mod store;
mod streams;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use seaway_model::{NodeName, Snapshot};
use tokio::sync::watch as channel;
use tokio::time::Instant;

use crate::{Cluster, InvalidObject};
use store::Store;

pub use dns_configs::{DnsConfigObject, DnsConfigObjects, DnsConfigWatch, watch_dns_configs};
pub use names::{NameKinds, NameWatch, watch_names};
pub use pods::{PodWatch, watch_pods};
pub use service_ranges::{ServiceRanges, watch_service_ranges};
pub use services::{ServiceWatch, watch_services};

/// A burst (a rollout, a list) is over when nothing came for that long.
const QUIET: Duration = Duration::from_millis(5);
/// An endless burst must not hold changes back.
const LONGEST_BURST: Duration = Duration::from_millis(50);

/// Which pods a daemon wants to see.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum PodScope {
    /// None.
    #[default]
    None,
    /// Those bound to one node.
    OfNode(NodeName),
    /// All.
    All,
}

/// A running watch; it ends when this is dropped.
#[derive(Debug)]
pub struct SnapshotWatch {
    /// The newest snapshot. Generation 0 is the empty one before everything was listed once.
    pub snapshots: channel::Receiver<Arc<Snapshot>>,
    /// What is wrong with the watch or with single objects.
    pub health: channel::Receiver<Arc<WatchHealth>>,
    task: tokio::task::JoinHandle<()>,
}

/// How well the snapshot follows the API.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WatchHealth {
    /// Watches that fail now: kind and reason. The snapshot holds the last good state of these kinds.
    pub failing: std::collections::BTreeMap<&'static str, String>,
    /// Objects that cannot be used.
    pub invalid: Vec<InvalidObject>,
}

/// Watches the objects a daemon needs.
#[must_use]
pub fn watch(cluster: &Cluster, pods: PodScope) -> SnapshotWatch {
    let (snapshot_sender, snapshots) = channel::channel(Arc::new(Snapshot::default()));
    let (health_sender, health) = channel::channel(Arc::new(WatchHealth::default()));
    let changes = streams::changes(cluster, &pods);
    let store = Store::new(pods != PodScope::None);
    let task = tokio::spawn(run(changes, store, snapshot_sender, health_sender));
    SnapshotWatch { snapshots, health, task }
}

async fn run(
    mut changes: streams::Changes,
    mut store: Store,
    snapshots: channel::Sender<Arc<Snapshot>>,
    health: channel::Sender<Arc<WatchHealth>>,
) {
    while let Some(change) = changes.next().await {
        store.apply(change);
        let deadline = Instant::now() + LONGEST_BURST;
        while let Ok(Some(change)) = tokio::time::timeout_at(deadline.min(Instant::now() + QUIET), changes.next()).await
        {
            store.apply(change);
            if Instant::now() >= deadline {
                break;
            }
        }
        publish(&store, &snapshots, &health);
    }
}

fn publish(store: &Store, snapshots: &channel::Sender<Arc<Snapshot>>, health: &channel::Sender<Arc<WatchHealth>>) {
    let now = store.health();
    health.send_if_modified(|current| {
        let changed = **current != now;
        if changed {
            *current = Arc::new(now);
        }
        changed
    });
    if !store.is_complete() {
        return;
    }
    snapshots.send_if_modified(|current| {
        let next = store.snapshot(current.generation);
        let changed = current.generation == 0 || **current != next;
        if changed {
            *current = Arc::new(Snapshot { generation: current.generation + 1, ..next });
        }
        changed
    });
}

// === impl SnapshotWatch ===

impl SnapshotWatch {
    /// Whether everything was listed at least once.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.snapshots.borrow().generation > 0
    }

    /// Waits until everything was listed once and gives the first snapshot, or the newest.
    pub async fn ready(&mut self) -> Arc<Snapshot> {
        let newest =
            self.snapshots.wait_for(|snapshot| snapshot.generation > 0).await.map(|newest| Arc::clone(&newest));
        match newest {
            Ok(snapshot) => snapshot,
            // The task never ends by itself; if it panicked there will be no snapshot.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for SnapshotWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}
