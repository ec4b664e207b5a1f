//! The API server: snapshots in, claims, records and events out.

use std::sync::Arc;
use std::time::Duration;

use seaway_kubeapi::{BlockClaims, Cluster, Events, NodeWriter, Severity, SnapshotWatch, Subject, WatchHealth};
use seaway_model::agent_api::Failure;
use seaway_model::{Diagnose, NodeName};
use tokio::sync::{mpsc, watch};

use crate::AgentError;
use crate::core::Handle;
use crate::decide::{Announcement, Input};
use crate::error::failure;
use crate::work::{ApiWork, Records};

/// Code of a problem that is listed and answers nobody.
const LISTED: u32 = 100;
/// Pause between two writes of the same record: a burst of pods costs one write per block.
const RECORD_PAUSE: Duration = Duration::from_secs(1);
/// Pause after a failed write.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// What the agent writes with.
#[derive(Clone)]
pub(crate) struct Pens {
    node: NodeName,
    claims: BlockClaims,
    writer: NodeWriter,
    events: Events,
}

// === impl Pens ===

impl Pens {
    /// For others who tell people something.
    pub(crate) fn events(&self) -> Events {
        self.events.clone()
    }

    pub(crate) fn new(cluster: &Cluster, node: &NodeName) -> Pens {
        Pens {
            node: node.clone(),
            claims: BlockClaims::new(cluster, node.clone()),
            writer: NodeWriter::new(cluster, node.clone()),
            events: Events::new(cluster, "seaway-agent", node.as_str()),
        }
    }

    /// Carries out the owner's wishes; each kind at most once at a time.
    pub(crate) async fn work(self, mut wishes: mpsc::Receiver<ApiWork>, owner: Handle) {
        while let Some(wish) = wishes.recv().await {
            let (pens, owner) = (self.clone(), owner.clone());
            // Claims must not wait for an event that the server is slow to take.
            tokio::spawn(async move {
                if let Some(input) = pens.carry_out(wish).await {
                    owner.outcome(input).await;
                }
            });
        }
    }

    async fn carry_out(&self, wish: ApiWork) -> Option<Input> {
        match wish {
            ApiWork::Claim { claim, candidates } => {
                let (outcome, taken) = match self.claims.claim_first(&claim.pool, &candidates).await {
                    Ok((block, taken)) => (Ok(block), taken),
                    Err(error) => (Err(logged(&error)), Vec::new()),
                };
                if let Ok(Some(block)) = &outcome {
                    tracing::info!(block = %block.cidr, pool = claim.pool, "claimed a block");
                }
                Some(Input::Claimed { claim, outcome, taken })
            }
            ApiWork::Release(block) => {
                let outcome = self.claims.release(&block).await.map_err(|error| logged(&error));
                Some(Input::Released { block, outcome })
            }
            ApiWork::Announce(announcement) => {
                self.announce(announcement).await;
                None
            }
            ApiWork::NodeReady => {
                self.node_ready().await;
                None
            }
        }
    }

    async fn announce(&self, announcement: Announcement) {
        let subject = match announcement.pod {
            Some((pod, uid)) => Subject::Pod(pod, uid),
            None => Subject::Node(self.node.clone()),
        };
        let written = self.events.emit(&subject, Severity::Warning, announcement.reason, &announcement.note).await;
        if let Err(error) = written {
            logged(&error);
        }
    }

    async fn node_ready(&self) {
        loop {
            let taint = self.writer.remove_taint().await;
            let outcome = match taint {
                Ok(_) => self.writer.set_network_available(true, "seaway-agent applied the node's network").await,
                Err(error) => Err(error),
            };
            match outcome {
                Ok(()) => return,
                Err(error) => {
                    logged(&error);
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    /// Writes the newest record of each block that changed.
    pub(crate) async fn record(self, records: watch::Sender<Records>) {
        let mut changed = records.subscribe();
        while changed.changed().await.is_ok() {
            let due: Records = records.borrow().clone();
            let mut failed = false;
            for (block, allocations) in due {
                if let Err(error) = self.claims.record(&block, &allocations).await {
                    // A block that is gone takes its record with it.
                    failed |= error.is_transient();
                    logged(&error);
                    if error.is_transient() {
                        continue;
                    }
                }
                records.send_if_modified(|kept| {
                    if kept.get(&block) == Some(&allocations) {
                        kept.remove(&block);
                    }
                    false
                });
            }
            if failed {
                tokio::time::sleep(RETRY_PAUSE).await;
                records.send_modify(|_| {});
            } else {
                tokio::time::sleep(RECORD_PAUSE).await;
            }
        }
    }
}

/// Passes snapshots and the watch's health on to the owner.
pub(crate) async fn follow(mut watched: SnapshotWatch, owner: Handle) {
    loop {
        tokio::select! {
            changed = watched.snapshots.changed() => {
                if changed.is_err() { return }
                let snapshot = Arc::clone(&watched.snapshots.borrow_and_update());
                owner.snapshot(snapshot).await;
            }
            changed = watched.health.changed() => {
                if changed.is_err() { return }
                let failures = watch_failures(&watched.health.borrow_and_update());
                owner.outcome(Input::Watch(failures)).await;
            }
        }
    }
}

pub(super) fn watch_failures(health: &WatchHealth) -> Vec<Failure> {
    let failing = health
        .failing
        .iter()
        .map(|(kind, reason)| failure(&AgentError::WatchFailing { kind, reason: reason.clone() }, LISTED));
    failing.chain(health.invalid.iter().map(|object| failure(object, LISTED))).collect()
}

pub(super) fn logged(error: &dyn Diagnose) -> Failure {
    let failure = failure(error, LISTED);
    tracing::warn!(id = failure.id, fix = failure.fix, "{}", failure.message);
    failure
}
