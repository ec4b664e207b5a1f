//! What the kernel holds, as far as we know, and what a change of one Service takes. No effects.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use seaway_model::abi::services::{BackendKey, ConnectionsKey, MemberKey, Service, ServiceKey, SourceRangeKey};
use seaway_model::{Protocol, ServiceRef, abi};
use seaway_services::plan::{Backend, Frontend, Reach, ServicePlan};

use super::adoption::Leftovers;
use super::image::{self, AffinityGroup, Numbers, Programmed, Room, SetForm};
use super::tables::SetEntries;

/// A frontend in the kernel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placed {
    /// Number of the Service that has the place.
    pub(super) owner: u32,
    pub(super) value: Service,
}

/// All that was written.
#[derive(Default)]
pub(super) struct State {
    pub(super) services: BTreeMap<ServiceRef, Programmed>,
    pub(super) frontends: HashMap<ServiceKey, Placed>,
    /// What an earlier process left and nobody has asked for yet.
    pub(super) leftovers: Leftovers,
    /// Entries in the maps.
    pub(super) used: Room,
    /// Places of Services that did not fit: what an earlier process left there is their last good
    /// state.
    pub(super) refused_places: HashMap<ServiceRef, Vec<ServiceKey>>,
    /// All sets of all Services, by number.
    pub(super) live_sets: HashMap<u32, LiveSet>,
    last_owner: u32,
    last_set: u32,
    last_frontend: u32,
}

/// A set in the kernel.
#[derive(Debug)]
pub(super) struct LiveSet {
    plan: Arc<ServicePlan>,
    /// Index into the plan's sets.
    index: usize,
    form: SetForm,
}

/// Places that the Services of a batch ask for.
pub(super) type Claims<'a> = HashMap<ServiceKey, &'a ServiceRef>;

/// What it takes to change one Service.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) service: ServiceRef,
    /// How it will be; none: it goes.
    pub(super) programmed: Option<Programmed>,
    /// Sets to write before its frontends.
    pub(super) fresh_sets: SetEntries,
    /// Source ranges to write before its frontends.
    pub(super) fresh_ranges: Vec<SourceRangeKey>,
    /// Frontends to write.
    pub(super) frontends: Vec<(ServiceKey, Service)>,
    /// Frontends that are right already, left by an earlier process.
    pub(super) adopted: Vec<(ServiceKey, Service)>,
    /// Frontends to remove.
    pub(super) gone: Vec<ServiceKey>,
    /// Frontends that another Service of the batch takes over.
    pub(super) given_up: Vec<ServiceKey>,
    /// Sets to remove after all that.
    pub(super) old_sets: SetEntries,
    /// Source ranges to remove after all that.
    pub(super) old_ranges: Vec<SourceRangeKey>,
    /// Numbers of sets of an earlier process that are used on.
    pub(super) adopted_sets: Vec<u32>,
    /// Backends that leave a frontend whose connections have to be ended.
    pub(super) departures: Vec<ConnectionsKey>,
}

// === impl State ===

impl State {
    /// A state that begins with what an earlier process left.
    pub(super) fn over(leftovers: Leftovers, used: Room) -> Self {
        let (last_set, last_frontend) = (leftovers.largest_set(), leftovers.largest_frontend());
        Self { leftovers, used, last_set, last_frontend, ..Self::default() }
    }

    /// What it takes for a Service to be like `plan`; none: it is.
    pub(super) fn step_to(&mut self, plan: &Arc<ServicePlan>, claims: &Claims<'_>) -> Option<Step> {
        let before = self.services.get(&plan.service).cloned();
        if before.as_ref().is_some_and(|before| before.plan == *plan) {
            return None;
        }
        let owner = before.as_ref().map_or_else(|| next(&mut self.last_owner), |before| before.owner);
        let mut step = Step::of(plan.service.clone());
        let forms = image::forms(plan);
        let set_ids = self.number_sets(plan, &forms, before.as_ref(), &mut step);
        let mut ranges = HashSet::new();
        let affinity = self.number_affinity(plan, owner);
        for frontend in &plan.frontends {
            let affinity = image::affinity_group(frontend).and_then(|group| affinity.get(&group)).copied();
            self.place(frontend, owner, (plan, &set_ids, affinity.unwrap_or(0)), &mut ranges, &mut step);
        }
        if let Some(before) = &before {
            let kept: HashSet<ServiceKey> = plan.frontends.iter().map(image::service_key).collect();
            self.take_back(before, &kept, claims, &mut step);
            let unused = |id: &u32| !set_ids.contains(id);
            add_old_sets(before, unused, &mut step.old_sets);
            let old_ranges = self.source_ranges(before);
            step.old_ranges.extend(old_ranges.difference(&ranges));
            ranges = ranges.difference(&old_ranges).copied().collect();
            self.note_departures(before, Some(plan), &mut step);
        }
        step.fresh_ranges.extend(ranges);
        step.programmed = Some(Programmed { owner, plan: plan.clone(), forms, set_ids });
        Some(step)
    }

    /// What it takes for a Service to be gone; none: it is.
    pub(super) fn step_away(&mut self, service: &ServiceRef, claims: &Claims<'_>) -> Option<Step> {
        self.refused_places.remove(service);
        let before = self.services.get(service)?.clone();
        let mut step = Step::of(service.clone());
        self.take_back(&before, &HashSet::new(), claims, &mut step);
        add_old_sets(&before, |_| true, &mut step.old_sets);
        step.old_ranges.extend(self.source_ranges(&before));
        self.note_departures(&before, None, &mut step);
        Some(step)
    }

    /// Numbers of the plan's sets: of an equal set of the Service before, of an equal one that an
    /// earlier process left, or fresh ones.
    fn number_sets(
        &mut self,
        plan: &ServicePlan,
        forms: &[SetForm],
        before: Option<&Programmed>,
        step: &mut Step,
    ) -> Vec<u32> {
        let mut numbers: Vec<u32> = Vec::with_capacity(plan.sets.len());
        for (index, (set, form)) in plan.sets.iter().zip(forms).enumerate() {
            let known = before.into_iter().flat_map(|before| {
                let sets = before.plan.sets.iter().zip(&before.forms).zip(&before.set_ids);
                sets.filter(|((old, old_form), _)| (*old, *old_form) == (set, form)).map(|(_, id)| *id)
            });
            if let Some(id) = known.into_iter().find(|id| !numbers.contains(id)) {
                numbers.push(id);
                continue;
            }
            let users = plan.frontends.iter().filter(|frontend| uses(frontend, index));
            if let Some(id) = self.leftovers.equal_set(users, index, *form, &set.backends, &numbers) {
                step.adopted_sets.push(id);
                numbers.push(id);
                continue;
            }
            let id = self.fresh_set();
            step.fresh_sets.add(id, *form, set);
            numbers.push(id);
        }
        numbers
    }

    /// What clients of each Service port are remembered under: what its places had, here or with an
    /// earlier process, so that nobody is forgotten; else a fresh number.
    fn number_affinity<'a>(&mut self, plan: &'a ServicePlan, owner: u32) -> HashMap<AffinityGroup<'a>, u32> {
        let mut numbers = HashMap::new();
        for frontend in &plan.frontends {
            let Some(group) = image::affinity_group(frontend) else { continue };
            let key = image::service_key(frontend);
            let placed = self.frontends.get(&key).filter(|placed| placed.owner == owner).map(|placed| placed.value);
            let left = || self.leftovers.frontend(&key).filter(|_| !self.frontends.contains_key(&key));
            let known = placed.or_else(left).map(|value| value.affinity_id).filter(|number| *number != 0);
            // Two ports that shared a number once would overwrite each other's clients.
            let is_free = |number: &u32| !numbers.values().any(|taken| taken == number);
            if let Some(number) = known.filter(is_free) {
                numbers.entry(group).or_insert(number);
            }
        }
        for group in plan.frontends.iter().filter_map(image::affinity_group) {
            numbers.entry(group).or_insert_with(|| next(&mut self.last_frontend));
        }
        numbers
    }

    /// Decides on the value of one frontend.
    fn place(
        &mut self,
        frontend: &Frontend,
        owner: u32,
        (plan, set_ids, affinity): (&ServicePlan, &[u32], u32),
        ranges: &mut HashSet<SourceRangeKey>,
        step: &mut Step,
    ) {
        let key = image::service_key(frontend);
        let placed = self.frontends.get(&key);
        let left = self.leftovers.frontend(&key);
        let id = match (placed, left) {
            (Some(placed), _) if placed.owner == owner => placed.value.id,
            (None, Some(left)) => left.id,
            _ => next(&mut self.last_frontend),
        };
        let value = image::service_value(frontend, Numbers { frontend: id, affinity }, plan, set_ids);
        ranges.extend(image::source_range_keys(frontend, id));
        if placed.is_none() && left == Some(value) {
            step.adopted.push((key, value));
        } else if placed.map(|placed| placed.value) != Some(value) {
            step.frontends.push((key, value));
        }
    }

    /// Frontends that the Service had and has no more.
    fn take_back(&self, before: &Programmed, kept: &HashSet<ServiceKey>, claims: &Claims<'_>, step: &mut Step) {
        for key in before.plan.frontends.iter().map(image::service_key) {
            let is_ours = self.frontends.get(&key).is_some_and(|placed| placed.owner == before.owner);
            if kept.contains(&key) || !is_ours {
                continue;
            }
            match claims.get(&key) {
                Some(claimant) if **claimant != step.service => step.given_up.push(key),
                _ => step.gone.push(key),
            }
        }
    }

    /// Backends whose connections end: for UDP those that frontends had for clients of this node and
    /// have no more, for TCP those that are gone altogether.
    fn note_departures(&self, before: &Programmed, after: Option<&ServicePlan>, step: &mut Step) {
        let dead = dead_endpoints(&before.plan, after);
        for frontend in &before.plan.frontends {
            let key = image::service_key(frontend);
            let placed = self.frontends.get(&key).filter(|placed| placed.owner == before.owner);
            let (Some(placed), had) = (placed, before.plan.backends(frontend.inside)) else { continue };
            if frontend.protocol != Protocol::Udp {
                let dead = dead.iter().filter(|at| at.is_ipv4() == frontend.at.is_ipv4());
                step.departures.extend(dead.map(|at| image::connections_key(placed.value.id, *at)));
                continue;
            }
            let now = after.and_then(|plan| {
                plan.frontends.iter().find(|now| image::service_key(now) == key).map(|now| plan.backends(now.inside))
            });
            let now = now.unwrap_or_default();
            if had == now {
                continue;
            }
            let kept: HashSet<_> = now.iter().map(|backend| (backend.address, backend.port)).collect();
            let gone = had.iter().filter(|backend| !kept.contains(&(backend.address, backend.port)));
            let key = |backend: &_| image::connections_key(placed.value.id, image::socket_address(backend));
            step.departures.extend(gone.map(key));
        }
    }

    fn source_ranges(&self, programmed: &Programmed) -> HashSet<SourceRangeKey> {
        let mut keys = HashSet::new();
        for frontend in &programmed.plan.frontends {
            if let Some(placed) = self.frontends.get(&image::service_key(frontend)) {
                keys.extend(image::source_range_keys(frontend, placed.value.id));
            }
        }
        keys
    }

    /// Takes note that a step did not fit.
    pub(super) fn refused(&mut self, step: &Step) {
        let places = step.frontends.iter().map(|(key, _)| *key).collect();
        self.refused_places.insert(step.service.clone(), places);
    }

    /// Takes note that a step was carried out.
    pub(super) fn done(&mut self, step: Step) {
        self.refused_places.remove(&step.service);
        for key in &step.gone {
            self.frontends.remove(key);
        }
        let owner = step.programmed.as_ref().map_or(0, |programmed| programmed.owner);
        for (key, value) in step.frontends.iter().chain(&step.adopted) {
            self.leftovers.forget_frontend(key);
            self.frontends.insert(*key, Placed { owner, value: *value });
        }
        for id in &step.adopted_sets {
            self.leftovers.forget_set(*id);
        }
        if let Some(before) = self.services.get(&step.service) {
            for id in &before.set_ids {
                self.live_sets.remove(id);
            }
        }
        match step.programmed {
            Some(programmed) => {
                self.live_sets.extend(live_sets(&programmed));
                self.services.insert(step.service, programmed)
            }
            None => self.services.remove(&step.service),
        };
    }

    /// How many of a step's frontends are new to the kernel.
    pub(super) fn new_places(&self, step: &Step) -> u64 {
        let is_new = |key: &ServiceKey| !self.frontends.contains_key(key) && self.leftovers.frontend(key).is_none();
        step.frontends.iter().filter(|(key, _)| is_new(key)).count() as u64
    }

    /// Whether a slot belongs to a set in use, or to one that an earlier process left.
    pub(super) fn has_slot(&self, key: &BackendKey) -> bool {
        let is_in = |set: &LiveSet| set.backends().len() > key.slot as usize;
        self.live_sets.get(&key.set).is_some_and(is_in) || self.leftovers.has_set(key.set)
    }

    /// The same of a member.
    pub(super) fn has_member(&self, key: &MemberKey) -> bool {
        let at = (abi::unmap_address(key.address), u16::from_be(key.port));
        let is_in = |set: &LiveSet| {
            // They are in order of address and port.
            set.form.members && set.backends().binary_search_by_key(&at, |one| (one.address, one.port)).is_ok()
        };
        self.live_sets.get(&key.set).is_some_and(is_in) || self.leftovers.has_set(key.set)
    }

    /// A number that no set has. They come again after four billion revisions.
    fn fresh_set(&mut self) -> u32 {
        loop {
            let id = next(&mut self.last_set);
            if !self.live_sets.contains_key(&id) && !self.leftovers.has_set(id) {
                return id;
            }
        }
    }
}

fn live_sets(programmed: &Programmed) -> impl Iterator<Item = (u32, LiveSet)> {
    let sets = programmed.set_ids.iter().zip(&programmed.forms).enumerate();
    sets.map(|(index, (id, form))| (*id, LiveSet { plan: Arc::clone(&programmed.plan), index, form: *form }))
}

// === impl LiveSet ===

impl LiveSet {
    fn backends(&self) -> &[Backend] {
        self.plan.sets.get(self.index).map(|set| set.backends.as_slice()).unwrap_or_default()
    }
}

// === impl Step ===

impl Step {
    fn of(service: ServiceRef) -> Self {
        Self {
            service,
            programmed: None,
            fresh_sets: SetEntries::default(),
            fresh_ranges: Vec::new(),
            frontends: Vec::new(),
            adopted: Vec::new(),
            gone: Vec::new(),
            given_up: Vec::new(),
            old_sets: SetEntries::default(),
            old_ranges: Vec::new(),
            adopted_sets: Vec::new(),
            departures: Vec::new(),
        }
    }

    /// Entries that are written before any is removed.
    pub(super) fn room(&self, new_places: u64) -> Room {
        let fresh = Room { frontends: new_places, source_ranges: self.fresh_ranges.len() as u64, ..Room::default() };
        fresh.plus(&self.fresh_sets.room())
    }

    /// Entries that are removed at the end.
    pub(super) fn freed(&self) -> Room {
        let gone =
            Room { frontends: self.gone.len() as u64, source_ranges: self.old_ranges.len() as u64, ..Room::default() };
        gone.plus(&self.old_sets.room())
    }
}

/// Endpoints that terminated and are listed no more. Those of a Service that goes as a whole are not
/// among them: its pods may live on.
fn dead_endpoints(before: &ServicePlan, after: Option<&ServicePlan>) -> Vec<SocketAddr> {
    let Some(after) = after.filter(|_| !before.terminating.is_empty()) else { return Vec::new() };
    let mut listed: HashSet<SocketAddr> = after.terminating.iter().copied().collect();
    listed.extend(after.sets.iter().flat_map(|set| &set.backends).map(image::socket_address));
    before.terminating.iter().copied().filter(|at| !listed.contains(at)).collect()
}

fn uses(frontend: &Frontend, index: usize) -> bool {
    [frontend.inside, frontend.outside]
        .iter()
        .any(|reach| matches!(reach, Reach::Backends { set, .. } if *set == index))
}

fn add_old_sets(before: &Programmed, unused: impl Fn(&u32) -> bool, old: &mut SetEntries) {
    for ((set, form), id) in before.plan.sets.iter().zip(&before.forms).zip(&before.set_ids) {
        if unused(id) {
            old.add_keys(*id, *form, &set.backends);
        }
    }
}

/// The number after the last; never 0, which means none.
fn next(last: &mut u32) -> u32 {
    *last = last.checked_add(1).unwrap_or(1);
    *last
}
