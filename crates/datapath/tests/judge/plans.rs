//! Judges the pure core: the plans of a table that saw every change must say what the objects say.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use seaway_model::{ServiceChange, ServiceRef};
use seaway_services::plan::{PlanChange, Reach, ServicePlan};
use seaway_services::{Options, ServiceTable, reference};

use crate::court::{Disagreement, Judge};
use crate::expected::Expected;
use crate::oracle;
use crate::world::cluster::Cluster;
use crate::world::scenario::Scenario;

/// The pure core.
#[derive(Debug)]
pub(crate) struct Plans;

/// What the data path holds when it does what it is told.
pub(crate) type Held = BTreeMap<ServiceRef, Arc<ServicePlan>>;

// === impl Plans ===

impl Judge for Plans {
    fn name(&self) -> &'static str {
        "plans"
    }

    fn play(&mut self, scenario: &Scenario) -> Result<u64, Disagreement> {
        let mut table = ServiceTable::new(scenario.node.view(), Options::default());
        let mut cluster = Cluster::default();
        let mut held = Held::new();
        let mut cases = 0;
        for (number, round) in scenario.rounds.iter().enumerate() {
            let wrong = |probe, what: String| Disagreement { round: number, probe, what };
            let changes = table.apply(&round.changes);
            cluster.apply(&round.changes);
            take(&mut held, &changes).map_err(|what| wrong(None, what))?;
            check(&table, &held).map_err(|what| wrong(None, what))?;
            check_against_fresh(scenario, &cluster, &table, &held).map_err(|what| wrong(None, what))?;
            let facts = scenario.node.facts();
            let plans: Vec<&ServicePlan> = held.values().map(Arc::as_ref).collect();
            for probe in &round.probes {
                let traced =
                    reference::trace(plans.iter().copied(), &facts, probe.reference_client(), probe.destination());
                let (is, should) = (Expected::from(&traced.outcome), oracle::expected(&cluster, &scenario.node, probe));
                if is != should && table.is_synced() {
                    return Err(wrong(Some(*probe), format!("the objects say {should:?}, the plans {is:?}")));
                }
                cases += 1;
            }
        }
        Ok(cases)
    }
}

/// Carries out changes of plans; a place must be free when it is taken, at the end of the batch.
pub(crate) fn take(held: &mut Held, changes: &[PlanChange]) -> Result<(), String> {
    for change in changes {
        match change {
            PlanChange::Set(plan) => drop(held.insert(plan.service.clone(), Arc::clone(plan))),
            PlanChange::Remove(service) => {
                held.remove(service).ok_or_else(|| format!("{service} is removed and was not there"))?;
            }
        }
    }
    Ok(())
}

/// What holds of plans whatever the Services are.
fn check(table: &ServiceTable, held: &Held) -> Result<(), String> {
    let in_force: Held = table.plans().map(|plan| (plan.service.clone(), Arc::clone(plan))).collect();
    if in_force != *held {
        return Err(format!("told {held:?}, in force {in_force:?}"));
    }
    let mut places = HashSet::new();
    for plan in held.values() {
        let service = &plan.service;
        let mut used = BTreeSet::new();
        for frontend in &plan.frontends {
            if !places.insert((frontend.at, frontend.protocol, frontend.port)) {
                return Err(format!("{service}: a place is served twice: {frontend:?}"));
            }
            for reach in [frontend.inside, frontend.outside] {
                let Reach::Backends { set, .. } = reach else { continue };
                used.insert(set);
                let set = plan.sets.get(set).ok_or_else(|| format!("{service}: no set {set}"))?;
                if set.backends.iter().any(|one| one.address.is_ipv4() != frontend.at.is_ipv4()) {
                    return Err(format!("{service}: a backend of the other family: {frontend:?}"));
                }
            }
        }
        if used.len() != plan.sets.len() {
            return Err(format!("{service}: a set that nobody uses: {plan:?}"));
        }
        for set in &plan.sets {
            let is_ordered = set.backends.is_sorted_by_key(|one| (one.address, one.port));
            let unique: BTreeSet<_> = set.backends.iter().map(|one| (one.address, one.port)).collect();
            if !is_ordered || unique.len() != set.backends.len() || set.backends.is_empty() {
                return Err(format!("{service}: a set is empty, unordered or repeats itself: {set:?}"));
            }
        }
    }
    Ok(())
}

/// A table that learns everything at once holds the same plans.
fn check_against_fresh(
    scenario: &Scenario,
    cluster: &Cluster,
    table: &ServiceTable,
    held: &Held,
) -> Result<(), String> {
    if !table.is_synced() {
        return Ok(());
    }
    let mut fresh = ServiceTable::new(scenario.node.view(), Options::default());
    let told = [cluster.all(), vec![ServiceChange::Synced]].concat();
    let mut anew = Held::new();
    take(&mut anew, &fresh.apply(&told))?;
    match held == &anew {
        true => Ok(()),
        false => Err(format!("after changes {held:?}, told at once {anew:?}")),
    }
}
