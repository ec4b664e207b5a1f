//! The Services' data path in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use seaway_model::ServiceRef;
use seaway_services::plan::{PlanChange, ServicePlan};

use crate::services::{Refusal, ServiceDatapath, ServiceNode, ServiceReport, ServiceUsage};
use crate::{DatapathError, DatapathErrors, Difference};

/// What the fake holds; shared, so that a test can look and interfere.
#[derive(Debug, Default)]
pub struct FakeServiceState {
    /// The node, as last told.
    pub node: Option<ServiceNode>,
    /// The plans in force.
    pub plans: BTreeMap<ServiceRef, Arc<ServicePlan>>,
    /// How many batches came.
    pub batches: usize,
    /// Whether `synced` was called.
    pub synced: bool,
    /// Frontends there is room for; none: any number.
    pub room: Option<usize>,
    /// The next batch fails.
    pub fail_next: bool,
}

/// A data path of Services in memory. Clones share their state, as agents share the kernel.
#[derive(Debug, Clone, Default)]
pub struct FakeServices {
    state: Arc<Mutex<FakeServiceState>>,
}

// === impl FakeServices ===

impl FakeServices {
    /// The state, for looking and interfering.
    pub fn state(&self) -> MutexGuard<'_, FakeServiceState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ServiceDatapath for FakeServices {
    fn set_node(&mut self, node: &ServiceNode) -> Result<(), DatapathError> {
        self.state().node = Some(node.clone());
        Ok(())
    }

    fn apply(&mut self, changes: &[PlanChange]) -> Result<ServiceReport, DatapathError> {
        let mut state = self.state();
        if std::mem::take(&mut state.fail_next) {
            return Err(DatapathError::Injected { step: "apply services" });
        }
        state.batches += 1;
        let mut report = ServiceReport::default();
        for change in changes {
            match change {
                PlanChange::Set(plan) => state.set(plan, &mut report),
                PlanChange::Remove(service) => {
                    state.plans.remove(service);
                }
            }
        }
        report.writes = changes.len() as u64;
        Ok(report)
    }

    fn synced(&mut self) -> Result<ServiceReport, DatapathError> {
        self.state().synced = true;
        Ok(ServiceReport::default())
    }

    fn audit(&mut self) -> Result<Vec<Difference>, DatapathError> {
        Ok(Vec::new())
    }

    fn usage(&mut self) -> Result<ServiceUsage, DatapathError> {
        let state = self.state();
        let limit = state.room.map_or(0, |room| room as u64);
        Ok(ServiceUsage { tables: vec![("frontends".to_owned(), state.frontends() as u64, limit)] })
    }

    fn uninstall(&mut self) -> Result<(), DatapathErrors> {
        *self.state() = FakeServiceState::default();
        Ok(())
    }
}

// === impl FakeServiceState ===

impl FakeServiceState {
    fn frontends(&self) -> usize {
        self.plans.values().map(|plan| plan.frontends.len()).sum()
    }

    fn set(&mut self, plan: &Arc<ServicePlan>, report: &mut ServiceReport) {
        let held = self.plans.get(&plan.service).map_or(0, |held| held.frontends.len());
        match self.room {
            Some(room) if self.frontends() - held + plan.frontends.len() > room => report.refused.push(Refusal {
                service: plan.service.clone(),
                table: "frontends".to_owned(),
                limit: room as u64,
            }),
            _ => {
                self.plans.insert(plan.service.clone(), Arc::clone(plan));
            }
        }
    }
}
