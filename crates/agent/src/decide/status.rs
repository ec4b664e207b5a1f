//! What the agent says about itself, and when the node becomes ready.

use std::collections::BTreeSet;
use std::time::Duration;

use seaway_model::agent_api::{AttachmentKey, EndpointStatus, Failure, NodeStatus};
use seaway_model::{ContainerId, InterfaceName, Labels};
use seaway_routing::ipam::AllocationRequest;

use super::{Action, Readiness, State, Troubles};
use crate::error::{LIMITED, NOT_AVAILABLE, ipam_failure};

/// Pause before the CNI configuration is written again after it failed.
const WRITE_RETRY: Duration = Duration::from_secs(5);

impl State {
    /// Why an ADD would fail now, as CNI STATUS says it; none: it would succeed.
    pub(super) fn availability(&self, now: Duration) -> Option<Failure> {
        if let Some(failure) = self.missing_for_add() {
            return Some(Failure { cni_code: NOT_AVAILABLE, ..failure });
        }
        if let Some(failure) = &self.troubles.apply {
            // The kernel does not look as it should: that concerns all pods.
            return Some(Failure { cni_code: LIMITED, ..failure.clone() });
        }
        self.would_not_allocate(now).map(|failure| Failure { cni_code: NOT_AVAILABLE, ..failure })
    }

    /// Tries an allocation on a copy.
    fn would_not_allocate(&self, now: Duration) -> Option<Failure> {
        // No runtime uses a name with a space.
        let key =
            AttachmentKey { container_id: ContainerId("status probe".into()), interface: InterfaceName("-".into()) };
        let namespace_labels = Labels::default();
        let request = AllocationRequest {
            key: &key,
            network: "",
            pod: None,
            namespace_labels: &namespace_labels,
            requested: &[],
        };
        self.ipam.clone().allocate(request, now).err().map(|error| ipam_failure(&error))
    }

    /// What keeps new pods from this node; empty: ready.
    #[must_use]
    pub fn blocking_problems(&self, now: Duration) -> Vec<String> {
        let mut problems: Vec<String> = self.availability(now).iter().map(ToString::to_string).collect();
        if problems.is_empty() && self.readiness != Readiness::Ready {
            problems.push("the CNI configuration is not written yet".into());
        }
        problems
    }

    /// Everything for `seaway status`.
    #[must_use]
    pub fn node_status(&self, now: Duration) -> NodeStatus {
        let problems = self.blocking_problems(now);
        let warnings = self.troubles.lines().into_iter().filter(|line| !problems.contains(line)).collect();
        NodeStatus {
            node: self.settings.node.clone(),
            version: self.settings.version.clone(),
            backend: self.settings.backend.clone(),
            backend_reason: self.settings.backend_reason.clone(),
            applied_generation: self.applied.unwrap_or_default(),
            endpoints: self.endpoints.len(),
            blocks: self.ipam.block_status(),
            remote_nodes: self.remote_nodes(),
            xdp: self.xdp.clone(),
            pod_mtu_bytes: self.plan.as_ref().map(|plan| plan.pod_mtu_bytes).unwrap_or_default(),
            problems,
            warnings,
        }
    }

    fn remote_nodes(&self) -> usize {
        let (Some(snapshot), Some(plan)) = (&self.snapshot, &self.plan) else { return 0 };
        let reached = plan.routes.iter().filter_map(|route| snapshot.blocks.get(&route.destination));
        reached.map(|block| &block.node).collect::<BTreeSet<_>>().len()
    }

    pub(super) fn endpoint_status(&self) -> Vec<EndpointStatus> {
        self.endpoints
            .values()
            .map(|link| EndpointStatus {
                key: link.key.clone(),
                pod: link.pod.clone(),
                host_interface: link.host_interface.clone(),
                addresses: link.addresses.clone(),
                mac: link.pod_mac,
            })
            .collect()
    }

    /// The CNI configuration is written last: a runtime that sees it may send an ADD at once.
    pub(super) fn become_ready(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let due = match self.readiness {
            Readiness::Waiting => true,
            Readiness::Retry(at) => now >= at,
            Readiness::Writing | Readiness::Ready => false,
        };
        if due && self.availability(now).is_none() {
            self.readiness = Readiness::Writing;
            actions.push(Action::BecomeReady);
        }
    }

    pub(super) fn written(&mut self, outcome: Result<Vec<Failure>, Failure>, now: Duration) {
        match outcome {
            Ok(warnings) => {
                self.readiness = Readiness::Ready;
                self.troubles.configuration = warnings;
            }
            Err(failure) => {
                self.readiness = Readiness::Retry(now + WRITE_RETRY);
                self.troubles.configuration = vec![failure];
            }
        }
    }
}

// === impl Troubles ===

impl Troubles {
    fn lines(&self) -> Vec<String> {
        self.underlay
            .iter()
            .chain(&self.apply)
            .chain(&self.watch)
            .chain(&self.service_watch)
            .chain(&self.name_watch)
            .chain(&self.services)
            .chain(&self.plan)
            .chain(&self.addresses)
            .chain(&self.adopted)
            .chain(self.claims.values())
            .chain(&self.configuration)
            .chain(&self.audit)
            .chain(&self.path_mtus)
            .map(ToString::to_string)
            .collect()
    }
}
