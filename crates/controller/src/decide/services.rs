//! What people should be told about Services: problems of the objects, and Services that nobody serves.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use seaway_model::{Diagnose, ServiceRef};
use seaway_services::plan::{FrontendKind, PlanChange, Reach, ServicePlan};
use seaway_services::{ServiceProblem, ServiceTable};

/// How long a Service may be without endpoints before somebody is told: a rollout that replaces
/// its only pod should say nothing.
const NO_ENDPOINTS_GRACE: Duration = Duration::from_secs(30);

const NO_ENDPOINTS: &str = "NoEndpoints";
const NOT_AS_WRITTEN: &str = "ServiceNotAsWritten";

/// A warning on a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServiceWarning {
    pub(crate) service: ServiceRef,
    pub(crate) reason: &'static str,
    pub(crate) note: String,
}

/// What was told already, and what waits. A new leader starts with none of it.
#[derive(Debug, Default)]
pub(crate) struct ServiceMemory {
    /// Services without endpoints, since when, and whether that was told.
    unserved: BTreeMap<ServiceRef, Unserved>,
    /// Problems that were told.
    told: BTreeMap<ServiceRef, BTreeSet<ServiceProblem>>,
    due: Vec<ServiceWarning>,
}

#[derive(Debug)]
struct Unserved {
    since: Duration,
    told: bool,
}

// === impl ServiceMemory ===

impl ServiceMemory {
    /// Takes note of what a batch changed.
    pub(crate) fn take(&mut self, changes: &[PlanChange], table: &mut ServiceTable, now: Duration) {
        for change in changes {
            match change {
                PlanChange::Set(plan) if is_unserved(plan) => {
                    self.unserved.entry(plan.service.clone()).or_insert(Unserved { since: now, told: false });
                }
                PlanChange::Set(plan) => drop(self.unserved.remove(&plan.service)),
                PlanChange::Remove(service) => drop(self.unserved.remove(service)),
            }
        }
        for (service, problems) in table.take_changed_problems() {
            self.take_problems(service, problems);
        }
    }

    fn take_problems(&mut self, service: ServiceRef, problems: Vec<ServiceProblem>) {
        let now: BTreeSet<ServiceProblem> = problems.into_iter().collect();
        let told = self.told.remove(&service).unwrap_or_default();
        for problem in now.difference(&told) {
            let note = format!("{}: {problem}. Fix: {}", problem.id(), problem.fix());
            self.due.push(ServiceWarning { service: service.clone(), reason: NOT_AS_WRITTEN, note });
        }
        if !now.is_empty() {
            self.told.insert(service, now);
        }
    }

    /// What should be told now; each is given once.
    pub(crate) fn due(&mut self, now: Duration) -> Vec<ServiceWarning> {
        let mut due = std::mem::take(&mut self.due);
        for (service, unserved) in &mut self.unserved {
            if !unserved.told && now >= unserved.since + NO_ENDPOINTS_GRACE {
                unserved.told = true;
                let note = "connections are refused: no endpoint of the Service is ready. Look whether its selector \
                            matches pods and whether they pass their readiness probes"
                    .to_owned();
                due.push(ServiceWarning { service: service.clone(), reason: NO_ENDPOINTS, note });
            }
        }
        due
    }
}

/// Whether every address of the Service inside the cluster refuses connections.
fn is_unserved(plan: &ServicePlan) -> bool {
    let mut inside = plan.frontends.iter().filter(|frontend| frontend.kind == FrontendKind::ClusterIp).peekable();
    inside.peek().is_some() && inside.all(|frontend| frontend.inside == Reach::Reject)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use seaway_model::Protocol;
    use seaway_services::plan::{Algorithm, Forwarding, Frontend, FrontendAddress};
    use seaway_services::{NodeView, Options};

    use super::*;

    fn plan(reach: Reach) -> PlanChange {
        let frontend = Frontend {
            at: FrontendAddress::Ip("10.96.0.9".parse().unwrap()),
            protocol: Protocol::Tcp,
            port: 80,
            kind: FrontendKind::ClusterIp,
            port_name: String::new(),
            inside: reach,
            outside: reach,
            source_ranges: Vec::new(),
            affinity_timeout_seconds: None,
            algorithm: Algorithm::Random,
            forwarding: Forwarding::Nat,
        };
        PlanChange::Set(Arc::new(ServicePlan {
            service: ServiceRef::new("shop", "web"),
            frontends: vec![frontend],
            sets: Vec::new(),
            terminating: Vec::new(),
            health_check: None,
        }))
    }

    #[test]
    fn an_unserved_service_is_told_once_after_its_grace_and_again_after_it_was_served() {
        let mut table = ServiceTable::new(NodeView::new("".into()), Options::default());
        let mut memory = ServiceMemory::default();
        let at = Duration::from_secs;
        memory.take(&[plan(Reach::Reject)], &mut table, at(0));
        assert!(memory.due(at(29)).is_empty(), "a rollout says nothing");
        memory.take(&[plan(Reach::Reject)], &mut table, at(29));
        assert_eq!(memory.due(at(30)).len(), 1, "a changed plan does not begin the grace again");
        assert!(memory.due(at(90)).is_empty());
        memory.take(&[plan(Reach::Backends { set: 0, hide_client: false })], &mut table, at(91));
        memory.take(&[plan(Reach::Reject)], &mut table, at(92));
        assert_eq!(memory.due(at(130)).len(), 1);
    }
}
