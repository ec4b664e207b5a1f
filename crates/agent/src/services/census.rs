//! Totals over all plans, kept up with each change: one changed Service costs one look-up. Pure.

use std::collections::BTreeMap;

use seaway_model::ServiceRef;
use seaway_services::plan::{FrontendKind, PlanChange, Reach, ServicePlan};

use super::health::{HealthPorts, PortHealth};
use super::metrics::NoLocalEndpoints;

/// What is counted of the Services in force.
#[derive(Debug, Default)]
pub(super) struct Census {
    services: usize,
    ports: HealthPorts,
    no_local: NoLocalEndpoints,
    /// What each Service adds to the totals.
    shares: BTreeMap<ServiceRef, Share>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Share {
    port: Option<u16>,
    drops_inside: bool,
    drops_outside: bool,
}

// === impl Census ===

impl Census {
    /// Takes note of changes; says whether health check ports changed.
    pub(super) fn add(&mut self, changes: &[PlanChange]) -> bool {
        let mut ports_changed = false;
        for change in changes {
            match change {
                PlanChange::Set(plan) => {
                    ports_changed |= self.remove(&plan.service);
                    ports_changed |= self.insert(plan);
                }
                PlanChange::Remove(service) => ports_changed |= self.remove(service),
            }
        }
        ports_changed
    }

    fn insert(&mut self, plan: &ServicePlan) -> bool {
        let mut share = Share { port: plan.health_check.map(|check| check.port), ..Share::default() };
        for frontend in &plan.frontends {
            match frontend.kind {
                FrontendKind::ClusterIp => share.drops_inside |= frontend.inside == Reach::Drop,
                _ => share.drops_outside |= frontend.outside == Reach::Drop,
            }
        }
        self.services += 1;
        self.no_local.internal += usize::from(share.drops_inside);
        self.no_local.external += usize::from(share.drops_outside);
        if let Some(check) = plan.health_check {
            let health =
                PortHealth { service: plan.service.clone(), local_ready_endpoints: check.local_ready_endpoints };
            self.ports.insert(check.port, health);
        }
        self.shares.insert(plan.service.clone(), share);
        share.port.is_some()
    }

    fn remove(&mut self, service: &ServiceRef) -> bool {
        let Some(share) = self.shares.remove(service) else { return false };
        self.services -= 1;
        self.no_local.internal -= usize::from(share.drops_inside);
        self.no_local.external -= usize::from(share.drops_outside);
        let Some(port) = share.port else { return false };
        // Another Service may have taken the port over meanwhile.
        let is_its = self.ports.get(&port).is_some_and(|health| health.service == *service);
        if is_its {
            self.ports.remove(&port);
        }
        is_its
    }

    pub(super) fn services(&self) -> usize {
        self.services
    }

    pub(super) fn ports(&self) -> &HealthPorts {
        &self.ports
    }

    pub(super) fn no_local(&self) -> NoLocalEndpoints {
        self.no_local
    }
}
