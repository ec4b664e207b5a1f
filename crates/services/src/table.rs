//! All Services of the cluster as one node sees them: changes in, changes of plans out.
//!
//! ```text
//! ServiceChange ─▶ entries (Service + slices, shared by Arc) ─▶ touched ─▶ compile ─▶ PlanChange
//!                  claims (who wants which place) ────────────▲
//! ```
//!
//! A batch costs what the Services it touches cost. Touched are those that changed, those whose
//! slices changed, and those that lose or win a place because another changed. Nothing is said
//! before everything was told once: half of the truth would refuse connections.

mod claims;
mod entry;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::ops::RangeInclusive;
use std::sync::Arc;

use seaway_model::{EndpointSlice, Service, ServiceChange, ServiceRef, SliceRef};

use crate::endpoints::NodeView;
use crate::plan::{PlanChange, ServicePlan};
use crate::problem::ServiceProblem;
use claims::{Claims, Footprint};
use entry::Entry;

pub(crate) use claims::{Place, Wish, addresses, field, has_family, is_served, wishes};

/// What is configured and does not change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Only Services with this value of label `service.kubernetes.io/service-proxy-name`; none: only
    /// those without the label.
    pub proxy_name: Option<String>,
    /// The node's `net.ipv4.ip_local_port_range`; NodePorts in it are reported.
    pub ephemeral_ports: RangeInclusive<u16>,
}

/// All Services and their plans.
#[derive(Debug)]
pub struct ServiceTable {
    pub(crate) options: Options,
    pub(crate) node: NodeView,
    entries: HashMap<Arc<ServiceRef>, Entry>,
    /// Which Service each slice belongs to.
    owners: HashMap<SliceRef, Arc<ServiceRef>>,
    claims: Claims,
    /// Services to compile; grows until everything was told once.
    touched: BTreeSet<Arc<ServiceRef>>,
    is_synced: bool,
    /// Services whose problems changed since somebody asked.
    changed_problems: BTreeSet<Arc<ServiceRef>>,
}

// === impl Options ===

impl Default for Options {
    /// The kernel's own range of ephemeral ports.
    fn default() -> Options {
        Options { proxy_name: None, ephemeral_ports: 32768..=60999 }
    }
}

// === impl ServiceTable ===

impl ServiceTable {
    /// An empty table for a node.
    #[must_use]
    pub fn new(node: NodeView, options: Options) -> ServiceTable {
        ServiceTable {
            options,
            node,
            entries: HashMap::new(),
            owners: HashMap::new(),
            claims: Claims::default(),
            touched: BTreeSet::new(),
            is_synced: false,
            changed_problems: BTreeSet::new(),
        }
    }

    /// Takes a batch of changes. Says nothing before [`ServiceChange::Synced`] came once. Services
    /// that give up places stand before those that take them.
    pub fn apply(&mut self, changes: &[ServiceChange]) -> Vec<PlanChange> {
        for change in changes {
            match change {
                ServiceChange::Service { of, now } => self.set_service(of, now.as_ref()),
                ServiceChange::Slice { of, now } => self.set_slice(of, now.as_ref()),
                ServiceChange::Synced => self.is_synced = true,
            }
        }
        self.recompile()
    }

    /// Takes what the node is now.
    pub fn set_node(&mut self, node: NodeView) -> Vec<PlanChange> {
        let before = std::mem::replace(&mut self.node, node);
        if (&before.name, &before.zone) != (&self.node.name, &self.node.zone) {
            self.touched.extend(self.entries.keys().cloned());
        }
        let changed = before.cluster_node_addresses.symmetric_difference(&self.node.cluster_node_addresses);
        for address in changed {
            self.touched.extend(self.claims.guests_of(address).cloned());
        }
        if before.pod_ranges != self.node.pod_ranges {
            for ranges in [&before.pod_ranges, &self.node.pod_ranges] {
                self.touched.extend(self.claims.guests_within(ranges).cloned());
            }
        }
        self.recompile()
    }

    /// Whether everything that exists was told once.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.is_synced
    }

    /// The plans in force, in no order.
    pub fn plans(&self) -> impl Iterator<Item = &Arc<ServicePlan>> {
        self.entries.values().filter_map(|entry| entry.plan.as_ref())
    }

    /// The plan of a Service.
    #[must_use]
    pub fn plan(&self, service: &ServiceRef) -> Option<&Arc<ServicePlan>> {
        self.entries.get(service)?.plan.as_ref()
    }

    /// Everything that is wrong now, in no order.
    pub fn problems(&self) -> impl Iterator<Item = &ServiceProblem> {
        self.entries.values().flat_map(|entry| entry.problems.iter())
    }

    /// The Services whose problems changed since the last call, with what they are now.
    pub fn take_changed_problems(&mut self) -> Vec<(ServiceRef, Vec<ServiceProblem>)> {
        let changed = std::mem::take(&mut self.changed_problems);
        let now = |service: Arc<ServiceRef>| {
            let problems = self.entries.get(&service).map(|entry| entry.problems.to_vec()).unwrap_or_default();
            (service.as_ref().clone(), problems)
        };
        changed.into_iter().map(now).collect()
    }

    /// How many Services exist, served or not.
    #[must_use]
    pub fn service_count(&self) -> usize {
        self.entries.values().filter(|entry| entry.service.is_some()).count()
    }

    /// The Services there are, in order.
    #[must_use]
    pub fn services(&self) -> Vec<(&ServiceRef, &Arc<Service>)> {
        let mut all: Vec<_> =
            self.entries.iter().filter_map(|(name, entry)| Some((name.as_ref(), entry.service.as_ref()?))).collect();
        all.sort_unstable_by_key(|(name, _)| *name);
        all
    }

    pub(crate) fn service(&self, name: &ServiceRef) -> Option<&Service> {
        self.entries.get(name)?.service.as_deref()
    }

    pub(crate) fn slices(&self, name: &ServiceRef) -> impl Iterator<Item = (&str, &EndpointSlice)> {
        let slices = self.entries.get(name).map(|entry| entry.slices.as_slice()).unwrap_or_default();
        slices.iter().map(|(name, slice)| (name.as_ref(), slice.as_ref()))
    }

    pub(crate) fn problems_of(&self, name: &ServiceRef) -> &[ServiceProblem] {
        self.entries.get(name).map(|entry| entry.problems.as_ref()).unwrap_or_default()
    }

    fn set_service(&mut self, of: &ServiceRef, now: Option<&Arc<Service>>) {
        let Some(key) = self.key(of, now.is_some()) else { return };
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let before = Footprint::of(entry.service.as_deref(), &self.options);
        let after = Footprint::of(now.map(Arc::as_ref), &self.options);
        entry.service = now.cloned();
        if before != after {
            self.touched.extend(self.claims.affected(&before).cloned());
            self.claims.remove(&key, &before);
            self.claims.add(&key, &after);
            self.touched.extend(self.claims.affected(&after).cloned());
        }
        self.touched.insert(key);
    }

    fn set_slice(&mut self, of: &SliceRef, now: Option<&Arc<EndpointSlice>>) {
        let owner = now.and_then(|slice| slice.service.as_ref());
        let owner = owner.map(|name| ServiceRef { namespace: of.namespace.clone(), name: name.clone() });
        let before = self.owners.get(of).cloned();
        if let Some(before) = before.filter(|before| Some(before.as_ref()) != owner.as_ref()) {
            self.owners.remove(of);
            if let Some(entry) = self.entries.get_mut(&before) {
                entry.set_slice(&of.name, None);
            }
            self.touched.insert(before);
        }
        let Some(key) = owner.and_then(|owner| self.key(&owner, true)) else { return };
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.set_slice(&of.name, now.cloned());
        }
        if !self.owners.contains_key(of) {
            self.owners.insert(of.clone(), Arc::clone(&key));
        }
        self.touched.insert(key);
    }

    /// The shared name of a Service, with an entry for it when `make`.
    fn key(&mut self, of: &ServiceRef, make: bool) -> Option<Arc<ServiceRef>> {
        if let Some((key, _)) = self.entries.get_key_value(of) {
            return Some(Arc::clone(key));
        }
        if !make {
            return None;
        }
        let key = Arc::new(of.clone());
        self.entries.insert(Arc::clone(&key), Entry::default());
        Some(key)
    }

    fn recompile(&mut self) -> Vec<PlanChange> {
        if !self.is_synced {
            return Vec::new();
        }
        let touched = std::mem::take(&mut self.touched);
        let mut removed = Vec::new();
        let mut giving = Vec::new();
        let mut others = Vec::new();
        for name in touched {
            let (plan, problems) = self.compile(&name);
            let Some(entry) = self.entries.get_mut(&name) else { continue };
            if *entry.problems != *problems {
                entry.problems = problems.into_boxed_slice();
                self.changed_problems.insert(Arc::clone(&name));
            }
            let before = entry.plan.take();
            match (before, plan) {
                (Some(before), Some(plan)) if *before == plan => entry.plan = Some(before),
                (before, Some(plan)) => {
                    let plan = Arc::new(plan);
                    entry.plan = Some(Arc::clone(&plan));
                    let gives = before.is_some_and(|before| gives_up_places(&before, &plan));
                    if gives { &mut giving } else { &mut others }.push(PlanChange::Set(plan));
                }
                (Some(_), None) => removed.push(PlanChange::Remove(name.as_ref().clone())),
                (None, None) => {}
            }
            if entry.is_empty() {
                self.entries.remove(&name);
            }
        }
        removed.append(&mut giving);
        removed.append(&mut others);
        removed
    }

    fn compile(&self, name: &ServiceRef) -> (Option<ServicePlan>, Vec<ServiceProblem>) {
        let Some(entry) = self.entries.get(name) else { return (None, Vec::new()) };
        let Some(service) = entry.service.as_deref().filter(|service| is_served(service, &self.options)) else {
            return (None, Vec::new());
        };
        let mut problems = Vec::new();
        let mut granted = wishes(service, &self.options);
        granted.retain(|wish| {
            let look_up = |other: &ServiceRef| self.service(other);
            let objection = self.claims.objection((name, service), wish, &self.node, look_up, &self.options);
            let is_granted = objection.is_none();
            problems.extend(objection);
            is_granted
        });
        entry::flaws(name, service, &entry.slices, &self.options, &mut problems);
        problems.sort_unstable();
        problems.dedup();
        let slices: Vec<&EndpointSlice> = entry.slices.iter().map(|(_, slice)| slice.as_ref()).collect();
        let sources = crate::compile::Sources { name, service, slices: &slices };
        (crate::compile::compile(sources, &granted, &self.node), problems)
    }
}

fn gives_up_places(before: &ServicePlan, now: &ServicePlan) -> bool {
    let places = |plan: &ServicePlan| -> BTreeSet<Place> {
        plan.frontends.iter().map(|one| Place { at: one.at, protocol: one.protocol, port: one.port }).collect()
    };
    !places(before).is_subset(&places(now))
}
