//! The data path in memory: what agents and tests of agents run against.

mod services;

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use seaway_model::abi;
use seaway_model::agent_api::AttachmentKey;
use seaway_routing::plan::NetworkPlan;

pub use services::{FakeServiceState, FakeServices};

use crate::link::{host_interface_name, sorted};
use crate::{ApplyReport, AttachedLink, Counters, Datapath, DatapathError, DatapathErrors, Difference, PodLink};

/// What the fake holds; shared, so that a test can look and interfere while an agent
/// owns the [`FakeDatapath`].
#[derive(Debug, Default)]
pub struct FakeState {
    /// Attached links.
    pub links: BTreeMap<AttachmentKey, AttachedLink>,
    /// The plan last applied.
    pub plan: Option<NetworkPlan>,
    /// How often `apply` was called.
    pub applied: usize,
    /// Events for the next `drain_events`.
    pub events: Vec<abi::Event>,
    /// What the next `audit` reports.
    pub differences: Vec<Difference>,
    /// What `counters` says.
    pub counters: Counters,
    /// The next call of this name (`apply`, `attach_pod`, …) fails.
    pub fail_next: Option<&'static str>,
    next_index: u32,
}

/// A data path in memory. Clones share their state, as agents share the kernel.
#[derive(Debug, Clone, Default)]
pub struct FakeDatapath {
    state: Arc<Mutex<FakeState>>,
}

// === impl FakeState ===

impl FakeState {
    fn fault(&mut self, step: &'static str) -> Result<(), DatapathError> {
        if self.fail_next == Some(step) {
            self.fail_next = None;
            return Err(DatapathError::Injected { step });
        }
        Ok(())
    }
}

// === impl FakeDatapath ===

impl FakeDatapath {
    /// The state, for looking and interfering.
    pub fn state(&self) -> MutexGuard<'_, FakeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Datapath for FakeDatapath {
    fn apply(&mut self, plan: &NetworkPlan) -> Result<ApplyReport, DatapathError> {
        let mut state = self.state();
        state.fault("apply")?;
        state.applied += 1;
        let operations =
            if state.plan.as_ref() == Some(plan) { Vec::new() } else { vec!["replace the plan".to_owned()] };
        state.plan = Some(plan.clone());
        Ok(ApplyReport { operations, xdp: None })
    }

    fn attach_pod(&mut self, _netns: BorrowedFd<'_>, wanted: &PodLink) -> Result<AttachedLink, DatapathError> {
        let mut state = self.state();
        state.fault("attach_pod")?;
        if state.links.contains_key(&wanted.key) {
            return Err(DatapathError::InterfaceExists {
                interface: wanted.key.interface.to_string(),
                container: wanted.key.container_id.to_string(),
            });
        }
        state.next_index += 1;
        let index = state.next_index;
        let link = AttachedLink {
            key: wanted.key.clone(),
            network: wanted.network.clone(),
            pod: wanted.pod.clone(),
            pod_uid: wanted.pod_uid.clone(),
            addresses: sorted(&wanted.addresses),
            host_interface: host_interface_name(&wanted.key),
            host_index: index,
            host_mac: wanted.host_mac(),
            pod_mac: wanted.pod_mac(),
            mtu_bytes: wanted.mtu_bytes,
            endpoint_id: index,
            shaped: wanted.shaped,
        };
        state.links.insert(wanted.key.clone(), link.clone());
        Ok(link)
    }

    fn detach_pod(&mut self, key: &AttachmentKey, _netns: Option<BorrowedFd<'_>>) -> Result<(), DatapathError> {
        let mut state = self.state();
        state.fault("detach_pod")?;
        state.links.remove(key);
        Ok(())
    }

    fn check_pod(&mut self, _netns: BorrowedFd<'_>, wanted: &PodLink) -> Result<(), DatapathError> {
        let mut state = self.state();
        state.fault("check_pod")?;
        let problem = match state.links.get(&wanted.key) {
            Some(link) if link.is_for(wanted) => return Ok(()),
            Some(_) => "the link has other addresses or another MAC",
            None => "the link is gone",
        };
        Err(DatapathError::LinkChanged { container: wanted.key.container_id.to_string(), problem: problem.to_owned() })
    }

    fn adopt(&mut self) -> Result<Vec<AttachedLink>, DatapathError> {
        let mut state = self.state();
        state.fault("adopt")?;
        Ok(state.links.values().cloned().collect())
    }

    fn audit(&mut self, plan: &NetworkPlan) -> Result<Vec<Difference>, DatapathError> {
        let mut state = self.state();
        state.fault("audit")?;
        state.plan = Some(plan.clone());
        Ok(std::mem::take(&mut state.differences))
    }

    fn drain_events(&mut self, sink: &mut dyn FnMut(&abi::Event)) -> Result<(), DatapathError> {
        let events = {
            let mut state = self.state();
            state.fault("drain_events")?;
            std::mem::take(&mut state.events)
        };
        events.iter().for_each(sink);
        Ok(())
    }

    fn counters(&mut self) -> Result<Counters, DatapathError> {
        let mut state = self.state();
        state.fault("counters")?;
        Ok(state.counters.clone())
    }

    fn uninstall(&mut self) -> Result<(), DatapathErrors> {
        let mut state = self.state();
        state.links.clear();
        state.plan = None;
        Ok(())
    }
}
