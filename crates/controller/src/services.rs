//! Follows Services on the leader and warns on those that do not work as written.

use std::time::Duration;

use ipnet::IpNet;
use seaway_kubeapi::{Events, Severity, Subject, watch_services};
use seaway_model::Snapshot;
use seaway_services::{NodeView, Options, ServiceTable};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::decide::services::ServiceMemory;
use crate::tasks::{Controller, report};

/// How often waiting warnings are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

impl Controller {
    /// Warns; never ends by itself.
    pub(crate) async fn watch_over_services(&self, mut snapshots: watch::Receiver<std::sync::Arc<Snapshot>>) {
        let events = Events::new(&self.cluster, "seaway-controller", &self.config.identity);
        let started = Instant::now();
        let mut services = watch_services(&self.cluster);
        let mut table = ServiceTable::new(nowhere(&snapshots.borrow_and_update()), Options::default());
        let mut memory = ServiceMemory::default();
        loop {
            let changes = tokio::select! {
                changes = services.changes.recv() => match changes {
                    Some(changes) => table.apply(&changes),
                    None => return,
                },
                _ = snapshots.changed() => table.set_node(nowhere(&snapshots.borrow_and_update())),
                () = tokio::time::sleep(LOOK_EVERY) => Vec::new(),
            };
            memory.take(&changes, &mut table, started.elapsed());
            for warning in memory.due(started.elapsed()) {
                tracing::warn!(service = %warning.service, reason = warning.reason, "{}", warning.note);
                let subject = Subject::Service(warning.service);
                if let Err(error) = events.emit(&subject, Severity::Warning, warning.reason, &warning.note).await {
                    report("cannot write an event", &error);
                }
            }
        }
    }
}

/// The view of no node in particular.
fn nowhere(snapshot: &Snapshot) -> NodeView {
    let cluster_node_addresses = snapshot.nodes.values().flat_map(|node| node.addresses.iter().copied()).collect();
    // Which of the two sources of pods' addresses is used is each node's configuration.
    let of_nodes = snapshot.nodes.values().flat_map(|node| node.pod_cidrs.iter().copied());
    let of_pools = snapshot.pools.values().map(|pool| pool.cidr);
    let pod_ranges: Vec<IpNet> = of_pools.chain(snapshot.blocks.keys().copied()).chain(of_nodes).collect();
    NodeView { cluster_node_addresses, pod_ranges: IpNet::aggregate(&pod_ranges), ..NodeView::new("".into()) }
}
