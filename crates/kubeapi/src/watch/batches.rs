//! Differences in batches: what the watches of many objects tell, as it comes.
//!
//! ```text
//! watches ─▶ store ── quiet for 1 ms ──▶ batch ──▶ bounded channel
//!                                          └─ the receiver is busy: the batch grows ─┘
//! ```

use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, Stream, StreamExt};
use tokio::sync::{mpsc, watch as channel};
use tokio::time::Instant;

use super::WatchHealth;

/// A change is passed on when nothing came for that long: a Service and its slices, or the slices of a
/// rollout, come within it.
const QUIET: Duration = Duration::from_millis(1);
/// An endless burst must not hold changes back.
const LONGEST_BURST: Duration = Duration::from_millis(20);
/// Changes in one batch: the first list of a large cluster comes in parts of bounded size.
const LARGEST_BATCH: usize = 4096;
/// Batches that wait. More would only hide that the receiver is slow; changes then gather in one batch.
pub(super) const WAITING_BATCHES: usize = 2;

/// Keeps what the watches told, and knows what of it is new.
pub(super) trait Differences: Send {
    /// What a watch says.
    type Update: Send;
    /// What is new.
    type Change: Send;

    /// Takes what a watch says and adds what is new to the batch.
    fn apply(&mut self, update: Self::Update, batch: &mut Vec<Self::Change>);

    /// Watches that fail and objects that cannot be used.
    fn health(&self) -> WatchHealth;

    /// Whether `health` would say the same; cheaper.
    fn is_as_healthy_as(&self, health: &WatchHealth) -> bool {
        self.health() == *health
    }
}

/// Passes batches on until the receiver is gone.
pub(super) async fn run<D, U>(
    mut updates: U,
    mut store: D,
    sender: mpsc::Sender<Vec<D::Change>>,
    health: channel::Sender<Arc<WatchHealth>>,
) where
    D: Differences,
    U: Stream<Item = D::Update> + Unpin + Send,
{
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
async fn gather<D: Differences>(
    updates: &mut (impl Stream<Item = D::Update> + Unpin),
    store: &mut D,
    batch: &mut Vec<D::Change>,
) {
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
async fn hand_over<D: Differences>(
    updates: &mut (impl Stream<Item = D::Update> + Unpin),
    store: &mut D,
    mut batch: Vec<D::Change>,
    sender: &mpsc::Sender<Vec<D::Change>>,
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

fn publish_health(store: &impl Differences, health: &channel::Sender<Arc<WatchHealth>>) {
    health.send_if_modified(|current| {
        let changed = !store.is_as_healthy_as(current);
        if changed {
            *current = Arc::new(store.health());
        }
        changed
    });
}
