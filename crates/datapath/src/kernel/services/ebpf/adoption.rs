//! What an earlier process left in the maps. Frontends and sets that are still right are used
//! on as they are; the rest goes when everything that exists was applied once.

use std::collections::{HashMap, HashSet};

use seaway_model::abi::services::{self, Backend as Slot, BackendKey, Service, ServiceKey, SourceRangeKey};
use seaway_services::plan::{Backend, Frontend, Reach};

use super::image::{self, Room, SetForm};
use super::slot_table;
use super::tables::Tables;
use crate::kernel::bpf::BpfError;

/// Entries that nobody has asked for yet.
#[derive(Debug, Default)]
pub(super) struct Leftovers {
    frontends: HashMap<ServiceKey, Service>,
    sets: HashMap<u32, HashMap<u32, Slot>>,
    largest_set: u32,
    largest_frontend: u32,
}

// === impl Leftovers ===

impl Leftovers {
    /// Reads the maps.
    pub(super) fn read(tables: &Tables) -> Result<(Self, Room), BpfError> {
        let frontends: HashMap<_, _> = tables.services.entries()?.into_iter().collect();
        let mut sets: HashMap<u32, HashMap<u32, Slot>> = HashMap::new();
        let backends = tables.backends.entries()?;
        let members = tables.members.entries()?;
        let (slot_tables, turns) = (tables.slot_tables.keys(), tables.turns.keys());
        let used = Room {
            frontends: frontends.len() as u64,
            backends: backends.len() as u64,
            members: members.len() as u64,
            slot_tables: slot_tables.len() as u64,
            turns: turns.len() as u64,
            source_ranges: tables.source_ranges.keys().len() as u64,
        };
        for (BackendKey { set, slot }, backend) in backends {
            sets.entry(set).or_default().insert(slot, backend);
        }
        // A process that was killed may have begun a set without having written its backends.
        let numbers =
            sets.keys().copied().chain(members.iter().map(|(key, _)| key.set)).chain(slot_tables).chain(turns);
        let largest_set = numbers.max().unwrap_or(0);
        let largest_frontend = frontends.values().map(|service| service.id.max(service.affinity_id)).max().unwrap_or(0);
        Ok((Self { frontends, sets, largest_set, largest_frontend }, used))
    }

    pub(super) fn largest_set(&self) -> u32 {
        self.largest_set
    }

    pub(super) fn largest_frontend(&self) -> u32 {
        self.largest_frontend
    }

    /// A frontend that is left.
    pub(super) fn frontend(&self, key: &ServiceKey) -> Option<Service> {
        self.frontends.get(key).copied()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frontends.is_empty() && self.sets.is_empty()
    }

    /// Whether every frontend has its sets, and there is any: programs that find these maps serve
    /// what those of the earlier process served.
    pub(super) fn is_whole(&self) -> bool {
        let has =
            |set: u32, count: u32| count == 0 || self.sets.get(&set).is_some_and(|set| set.len() == count as usize);
        let is_whole =
            |left: &Service| has(left.inside_set, left.inside_count) && has(left.outside_set, left.outside_count);
        !self.frontends.is_empty() && self.frontends.values().all(is_whole)
    }

    pub(super) fn forget_frontend(&mut self, key: &ServiceKey) {
        self.frontends.remove(key);
    }

    pub(super) fn has_set(&self, id: u32) -> bool {
        self.sets.contains_key(&id)
    }

    pub(super) fn forget_set(&mut self, id: u32) {
        self.sets.remove(&id);
    }

    /// A set that is left at one of the frontends that use set `index` of a plan, has these
    /// backends and this form, and is not among those taken.
    pub(super) fn equal_set<'a>(
        &self,
        mut users: impl Iterator<Item = &'a Frontend>,
        index: usize,
        form: SetForm,
        backends: &[Backend],
        taken: &[u32],
    ) -> Option<u32> {
        if self.sets.is_empty() {
            return None;
        }
        let candidates = |frontend: &Frontend| {
            let left = self.frontend(&image::service_key(frontend)).filter(|left| form_of(left) == form);
            let sides = [
                (frontend.inside, left.map(|left| left.inside_set)),
                (frontend.outside, left.map(|left| left.outside_set)),
            ];
            let used =
                sides.into_iter().filter(|(reach, _)| matches!(reach, Reach::Backends { set, .. } if *set == index));
            used.filter_map(|(_, id)| id).collect::<Vec<_>>()
        };
        let wanted = slot_table::slots(backends);
        let is_equal = |id: &u32| {
            let same = |set: &HashMap<u32, Slot>| {
                set.len() == wanted.len() && (0u32..).zip(&wanted).all(|(slot, wanted)| set.get(&slot) == Some(wanted))
            };
            !taken.contains(id) && self.sets.get(id).is_some_and(same)
        };
        users.find_map(|frontend| candidates(frontend).into_iter().find(is_equal))
    }

    /// Numbers of the frontends that are left.
    pub(super) fn frontend_numbers(&self) -> HashSet<u32> {
        self.frontends.values().map(|left| left.id).collect()
    }

    /// Removes what is left, but for the places `kept`, and what belongs to no set in use.
    /// Returns how many entries went.
    pub(super) fn sweep(
        &mut self,
        tables: &Tables,
        live_sets: &HashSet<u32>,
        live_frontends: &HashSet<u32>,
        kept: &HashSet<ServiceKey>,
    ) -> Result<Room, BpfError> {
        let (spared, gone): (HashMap<_, _>, HashMap<_, _>) =
            std::mem::take(&mut self.frontends).into_iter().partition(|(key, _)| kept.contains(key));
        self.frontends = spared;
        let left: Vec<ServiceKey> = gone.into_keys().collect();
        let named = self.frontends.values().flat_map(|left| [left.inside_set, left.outside_set]);
        let live_sets: HashSet<u32> = live_sets.iter().copied().chain(named).collect();
        let live_frontends: HashSet<u32> = live_frontends.union(&self.frontend_numbers()).copied().collect();
        let is_dead = |set: &u32| !live_sets.contains(set);
        let members: Vec<_> = tables.members.entries()?.into_iter().map(|(key, _)| key).collect();
        let members: Vec<_> = members.into_iter().filter(|key| is_dead(&key.set)).collect();
        let backends: Vec<_> = tables.backends.entries()?.into_iter().map(|(key, _)| key).collect();
        let backends: Vec<_> = backends.into_iter().filter(|key| is_dead(&key.set)).collect();
        let slot_tables: Vec<_> = tables.slot_tables.keys().into_iter().filter(is_dead).collect();
        let turns: Vec<_> = tables.turns.keys().into_iter().filter(is_dead).collect();
        let ranges: Vec<SourceRangeKey> = tables.source_ranges.keys();
        let ranges: Vec<_> = ranges.into_iter().filter(|key| !live_frontends.contains(&key.service_id)).collect();
        let removed = Room {
            frontends: tables.services.remove_all(&left)?,
            backends: tables.backends.remove_all(&backends)?,
            members: tables.members.remove_all(&members)?,
            slot_tables: tables.slot_tables.remove_all(&slot_tables)?,
            turns: tables.turns.remove_all(&turns)?,
            source_ranges: tables.source_ranges.remove_all(&ranges)?,
        };
        self.sets.retain(|set, _| live_sets.contains(set));
        Ok(removed)
    }
}

/// The form that a frontend's own flags ask of its sets; other frontends of the Service may ask
/// for more, and then the set is written anew.
fn form_of(service: &Service) -> SetForm {
    let algorithm = service.flags >> services::SERVICE_ALGORITHM_SHIFT & services::SERVICE_FIELD_MASK;
    SetForm {
        members: service.flags & services::SERVICE_MEMBERS != 0,
        hashes: matches!(algorithm, services::ALGORITHM_MAGLEV | services::ALGORITHM_SOURCE_HASH),
        turns: algorithm == services::ALGORITHM_ROUND_ROBIN,
    }
}
