//! What is to be done in the kernel and what could not be done yet. Pure.

use std::collections::{BTreeMap, BTreeSet};

use seaway_datapath::services::Refusal;
use seaway_model::ServiceRef;
use seaway_services::plan::PlanChange;

/// Plans on their way into the kernel.
#[derive(Debug, Default)]
pub(super) struct Programming {
    /// Newest plan of each Service that the kernel does not hold yet.
    due: BTreeMap<ServiceRef, PlanChange>,
    /// Services that did not fit; they wait for room.
    refused: BTreeMap<ServiceRef, (PlanChange, Refusal)>,
    /// Services whose refusal was told.
    announced: BTreeSet<ServiceRef>,
}

/// What came of a batch that went to the kernel.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Refusals that nobody was told of yet.
    pub(super) newly_refused: Vec<Refusal>,
}

// === impl Programming ===

impl Programming {
    /// Adds newer plans. Room may have come, so those that did not fit are tried again when
    /// anything goes away.
    pub(super) fn add(&mut self, changes: Vec<PlanChange>) {
        let room = changes.iter().any(|change| matches!(change, PlanChange::Remove(_)));
        for change in changes {
            let service = service_of(&change).clone();
            self.refused.remove(&service);
            self.due.insert(service, change);
        }
        if room {
            self.retry_refused();
        }
    }

    /// Tries again what did not fit.
    pub(super) fn retry_refused(&mut self) {
        for (service, (change, _)) in std::mem::take(&mut self.refused) {
            self.due.entry(service).or_insert(change);
        }
    }

    /// The batch that is due. It stays due until [`Programming::done`].
    pub(super) fn batch(&self) -> Vec<PlanChange> {
        self.due.values().cloned().collect()
    }

    /// Whether nothing is due.
    pub(super) fn is_empty(&self) -> bool {
        self.due.is_empty()
    }

    /// The batch is in the kernel, but for what it refused.
    pub(super) fn done(&mut self, refused: Vec<Refusal>) -> Outcome {
        let mut due = std::mem::take(&mut self.due);
        let mut outcome = Outcome::default();
        for refusal in refused {
            let Some(change) = due.remove(&refusal.service) else { continue };
            if self.announced.insert(refusal.service.clone()) {
                outcome.newly_refused.push(refusal.clone());
            }
            self.refused.insert(refusal.service.clone(), (change, refusal));
        }
        self.announced.retain(|service| self.refused.contains_key(service));
        outcome
    }

    /// What does not fit now.
    pub(super) fn refusals(&self) -> impl Iterator<Item = &Refusal> {
        self.refused.values().map(|(_, refusal)| refusal)
    }
}

fn service_of(change: &PlanChange) -> &ServiceRef {
    match change {
        PlanChange::Set(plan) => &plan.service,
        PlanChange::Remove(service) => service,
    }
}
