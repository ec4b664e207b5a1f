//! Services of the cluster: changes and ranges in, Events out.

use seaway_kubeapi::{Events, ServiceRanges, ServiceWatch, Severity, Subject};
use seaway_model::{Diagnose, NodeName};

use super::cluster::{logged, watch_failures};
use crate::AgentError;
use crate::core::Handle;
use crate::decide::Input;
use crate::services::ServiceNotices;

/// Passes changes of Services on, and says when they cannot be followed.
pub(crate) async fn follow_services(mut watched: ServiceWatch, agent: Handle) {
    loop {
        tokio::select! {
            changes = watched.changes.recv() => match changes {
                Some(changes) => agent.service_changes(changes).await,
                None => return,
            },
            changed = watched.health.changed() => {
                if changed.is_err() { return }
                let failures = watch_failures(&watched.health.borrow_and_update());
                agent.outcome(Input::ServiceWatch(failures)).await;
            }
        }
    }
}

/// Passes the ranges of Service addresses on.
pub(crate) async fn follow_service_ranges(mut watched: ServiceRanges, agent: Handle) {
    loop {
        let ranges = watched.ranges.borrow_and_update().clone();
        agent.service_cidrs(ranges).await;
        if watched.ranges.changed().await.is_err() {
            return;
        }
    }
}

/// Tells people what the Services' side wants them to know.
pub(crate) async fn tell_service_notices(mut notices: ServiceNotices, events: Events, node: NodeName, agent: Handle) {
    loop {
        tokio::select! {
            refusal = notices.refusals.recv() => {
                let Some(refusal) = refusal else { return };
                let (service, table, limit) = (refusal.service, refusal.table, refusal.limit);
                let error = AgentError::ServiceRefused { service: service.clone(), table, limit };
                let note = format!("{}: {error} on node {node}; fix: {}", error.id(), error.fix());
                let subjects = [Subject::Service(service), Subject::Node(node.clone())];
                for subject in subjects {
                    if let Err(error) = events.emit(&subject, Severity::Warning, "ServiceTableFull", &note).await {
                        logged(&error);
                    }
                }
            }
            changed = notices.troubles.changed() => {
                if changed.is_err() { return }
                let troubles = notices.troubles.borrow_and_update().clone();
                agent.outcome(Input::ServiceTroubles(troubles)).await;
            }
        }
    }
}
