//! From snapshots to the plan, and comparing the kernel with it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use seaway_datapath::Difference;
use seaway_model::Snapshot;
use seaway_model::agent_api::{Answer, Failure};
use seaway_routing::ipam::with_node_pod_cidrs;
use seaway_routing::plan::{Underlay, network_plan, plan_problems, usable_pool_names};
use seaway_runtime::config::NodePodCidrs;

use super::{Action, RequestId, State, reply};
use crate::error::AgentError;
use crate::error::{agent_failure, failure, ipam_failure};

/// Code of a problem that is listed and answers nobody.
const LISTED: u32 = 100;

impl State {
    pub(super) fn take_snapshot(&mut self, snapshot: &Arc<Snapshot>, now: Duration, actions: &mut Vec<Action>) {
        let before = self.node_addresses();
        self.snapshot = Some(match self.settings.node_pod_cidrs {
            Some(NodePodCidrs { encapsulation, masquerade }) => {
                Arc::new(with_node_pod_cidrs(snapshot, encapsulation, masquerade))
            }
            None => Arc::clone(snapshot),
        });
        let addresses = self.node_addresses();
        if self.underlay.is_none() || before != addresses {
            // The plan waits for the answer, which comes before anything else.
            actions.push(Action::FindUnderlay { addresses });
        } else {
            self.replan(now, actions);
        }
    }

    pub(super) fn take_underlay(
        &mut self,
        outcome: Result<Underlay, Failure>,
        now: Duration,
        actions: &mut Vec<Action>,
    ) {
        match outcome {
            Ok(mut underlay) => {
                self.troubles.underlay = None;
                if let Some(known) = self.underlay.take() {
                    underlay.path_mtus_bytes = known.path_mtus_bytes;
                }
                self.underlay = Some(underlay);
            }
            Err(failure) => self.troubles.underlay = Some(failure),
        }
        self.replan(now, actions);
    }

    /// The kernel is told by routers, and forgets again; nobody tells us.
    pub(super) fn look_at_path_mtus(&self, actions: &mut Vec<Action>) {
        let tunnel = self.plan.as_deref().and_then(|plan| plan.tunnel.as_ref());
        if tunnel.is_some_and(|tunnel| !tunnel.peers.is_empty()) {
            actions.push(Action::FindPathMtus);
        }
    }

    pub(super) fn take_path_mtus(
        &mut self,
        outcome: Result<BTreeMap<IpAddr, u32>, Failure>,
        now: Duration,
        actions: &mut Vec<Action>,
    ) {
        let Some(underlay) = &mut self.underlay else { return };
        // Without an answer the last one is the best there is.
        self.troubles.path_mtus = outcome.as_ref().err().cloned();
        let Ok(mut path_mtus_bytes) = outcome else { return };
        let peers: BTreeSet<IpAddr> = self.plan.iter().flat_map(|plan| plan.trusted_tunnel_peers.clone()).collect();
        path_mtus_bytes.retain(|address, _| peers.contains(address));
        if underlay.path_mtus_bytes != path_mtus_bytes {
            underlay.path_mtus_bytes = path_mtus_bytes;
            self.replan(now, actions);
        }
    }

    /// Applies a new plan when it differs from the last one, or that one failed.
    fn replan(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let (Some(snapshot), Some(underlay)) = (self.snapshot.clone(), self.underlay.clone()) else { return };
        let settings = &self.settings;
        let usable = usable_pool_names(&snapshot, &underlay, &settings.options);
        let lost = self.ipam.update(&snapshot, &usable, now);
        self.troubles.addresses = lost.iter().map(ipam_failure).collect();
        let problems = plan_problems(&snapshot, &settings.node, &underlay, &settings.options);
        self.troubles.plan = problems.iter().map(|problem| failure(problem, LISTED)).collect();
        let Ok(plan) = network_plan(&snapshot, &settings.node, &underlay, &settings.options) else {
            // Among the problems already; the last plan stays in force.
            return;
        };
        let unchanged = self.plan.as_deref() == Some(&plan);
        if unchanged && self.applied.is_some() && self.troubles.apply.is_none() {
            self.applied = Some(snapshot.generation);
            return;
        }
        let plan = Arc::new(plan);
        self.plan = Some(Arc::clone(&plan));
        actions.push(Action::Apply { plan, generation: snapshot.generation });
    }

    pub(super) fn take_applied(&mut self, generation: u64, outcome: Result<Option<String>, Failure>) {
        match outcome {
            Ok(xdp) => {
                self.applied = Some(generation);
                self.xdp = xdp;
                self.troubles.apply = None;
            }
            Err(failure) => self.troubles.apply = Some(failure),
        }
    }

    /// The underlay may have changed without the API knowing: another MTU, a
    /// renamed or replaced device.
    pub(super) fn audit_due(&mut self, actions: &mut Vec<Action>) {
        if self.snapshot.is_some() {
            actions.push(Action::FindUnderlay { addresses: self.node_addresses() });
        }
        if let Some(plan) = &self.plan {
            actions.push(Action::Audit { id: None, plan: Arc::clone(plan) });
        }
    }

    pub(super) fn audited(
        &mut self,
        id: Option<RequestId>,
        outcome: Result<Vec<Difference>, Failure>,
        actions: &mut Vec<Action>,
    ) {
        self.troubles.audit = outcome.as_ref().err().cloned();
        if outcome.is_ok() {
            // An audit repairs all that an apply may have left undone.
            self.troubles.apply = None;
            self.applied = self.applied.max(self.snapshot.as_ref().map(|snapshot| snapshot.generation));
        }
        if let Some(id) = id {
            let lines = |found: Vec<Difference>| found.iter().map(ToString::to_string).collect();
            actions.push(reply(id, outcome.map(|found| Answer::Audited { differences: lines(found) })));
        }
    }

    fn node_addresses(&self) -> Vec<std::net::IpAddr> {
        let node = self.snapshot.as_ref().and_then(|snapshot| snapshot.nodes.get(&self.settings.node));
        node.map(|node| node.addresses.clone()).unwrap_or_default()
    }

    /// What has to happen before the first ADD can succeed.
    pub(super) fn missing_for_add(&self) -> Option<Failure> {
        let waiting_for = match (&self.snapshot, &self.underlay, self.applied) {
            (None, ..) => "the cluster's objects from the API server",
            (_, None, _) => "a device of this node that holds its InternalIP",
            (_, _, None) => "the first plan to be applied",
            _ => return None,
        };
        let known = self.troubles.underlay.clone().or_else(|| self.troubles.apply.clone());
        Some(known.unwrap_or_else(|| agent_failure(&AgentError::NotReady { waiting_for })))
    }
}
