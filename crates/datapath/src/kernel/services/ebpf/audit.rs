//! Compares the maps with what was applied, and repairs.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use bytemuck::Pod;
use seaway_model::abi::services::{BackendKey, MemberKey, ServiceKey, SourceRangeKey};
use seaway_model::{Protocol, abi};

use super::image;
use super::map::Map;
use super::slot_table;
use super::state::State;
use super::tables::{Tables, member_key};
use crate::Difference;
use crate::kernel::bpf::BpfError;

/// Repairs every map that [`super::EbpfServices`] writes, and says what differed.
pub(super) fn audit(tables: &Tables, state: &State) -> Result<Vec<Difference>, BpfError> {
    let owners: HashMap<u32, String> =
        state.services.iter().map(|(service, programmed)| (programmed.owner, format!("service {service}"))).collect();
    let mut findings = Findings { differences: Vec::new() };
    // Backends before frontends: a repaired frontend must find its set.
    audit_sets(tables, state, &mut findings)?;
    let frontends = state.frontends.iter().map(|(key, placed)| {
        let cause = owners.get(&placed.owner).cloned().unwrap_or_default();
        (*key, (placed.value, cause))
    });
    let known_elsewhere = |key: &ServiceKey| state.leftovers.frontend(key).is_some();
    findings.repair(&tables.services, frontends.collect(), name_frontend, known_elsewhere)?;
    audit_ranges(tables, state, &mut findings)?;
    Ok(findings.differences)
}

fn audit_sets(tables: &Tables, state: &State, findings: &mut Findings) -> Result<(), BpfError> {
    let (mut backends, mut members) = (HashMap::new(), HashMap::new());
    let (mut slot_tables, mut turns) = (HashMap::new(), HashSet::new());
    for (service, programmed) in &state.services {
        let cause = format!("service {service}");
        let sets = programmed.plan.sets.iter().zip(&programmed.forms).zip(&programmed.set_ids);
        for ((set, form), id) in sets {
            for (slot, value) in (0u32..).zip(slot_table::slots(&set.backends)) {
                backends.insert(BackendKey { set: *id, slot }, (value, cause.clone()));
            }
            if form.members {
                let keys = set.backends.iter().map(|backend| member_key(*id, backend));
                members.extend(keys.zip(0u32..).map(|(key, slot)| (key, (slot, cause.clone()))));
            }
            if let Some(table) = image::slot_table(*form, set) {
                slot_tables.insert(*id, (table, cause.clone()));
            }
            turns.extend(form.turns.then_some(*id));
        }
    }
    let left = |set: u32| state.leftovers.has_set(set);
    findings.repair(&tables.members, members, name_member, |key| left(key.set))?;
    for (id, (table, cause)) in slot_tables {
        if tables.slot_tables.get(&id)? != Some(table) {
            tables.slot_tables.put(&id, &table)?;
            findings.note(format!("slot table of set {id} differed"), cause);
        }
    }
    // Turns move; only their presence is ours.
    for id in turns {
        if tables.turns.get(&id)?.is_none() {
            tables.turns.put(&id, &0)?;
            findings.note(format!("turns of set {id} were missing"), "round robin".to_owned());
        }
    }
    findings.repair(&tables.backends, backends, name_backend, |key| left(key.set))
}

fn audit_ranges(tables: &Tables, state: &State, findings: &mut Findings) -> Result<(), BpfError> {
    let mut wanted: HashSet<SourceRangeKey> = HashSet::new();
    for programmed in state.services.values() {
        for frontend in &programmed.plan.frontends {
            let placed =
                state.frontends.get(&image::service_key(frontend)).filter(|placed| placed.owner == programmed.owner);
            wanted.extend(placed.map(|placed| image::source_range_keys(frontend, placed.value.id)).unwrap_or_default());
        }
    }
    let present: HashSet<SourceRangeKey> = tables.source_ranges.keys().into_iter().collect();
    let missing: Vec<_> = wanted.difference(&present).copied().collect();
    let unwanted: Vec<_> = present.difference(&wanted).copied().collect();
    tables.source_ranges.put_all(&missing, &vec![1; missing.len()])?;
    // What an earlier process left is not ours to judge before all is applied.
    if state.leftovers.is_empty() {
        tables.source_ranges.remove_all(&unwanted)?;
    }
    for key in missing {
        findings.note(format!("a source range of frontend {} was missing", key.service_id), "load balancer".to_owned());
    }
    Ok(())
}

/// What was found.
struct Findings {
    differences: Vec<Difference>,
}

// === impl Findings ===

impl Findings {
    fn note(&mut self, what: String, cause: String) {
        self.differences.push(Difference { what, cause });
    }

    /// Makes a map hold what is wanted, but for entries that someone else answers for.
    fn repair<K: Pod + Eq + std::hash::Hash, V: Pod + PartialEq>(
        &mut self,
        map: &Map<K, V>,
        mut wanted: HashMap<K, (V, String)>,
        name: impl Fn(&K) -> String,
        known_elsewhere: impl Fn(&K) -> bool,
    ) -> Result<(), BpfError> {
        let mut strange = Vec::new();
        for (key, value) in map.entries()? {
            match wanted.get(&key) {
                Some((right, _)) if *right == value => drop(wanted.remove(&key)),
                Some((right, cause)) => {
                    map.put(&key, right)?;
                    self.note(format!("{} was changed", name(&key)), cause.clone());
                    wanted.remove(&key);
                }
                None if known_elsewhere(&key) => {}
                None => strange.push(key),
            }
        }
        for (key, (value, cause)) in wanted {
            // An entry that comes twice while it is read was removed from the list at first.
            if map.get(&key)? != Some(value) {
                map.put(&key, &value)?;
                self.note(format!("{} was missing", name(&key)), cause);
            }
        }
        strange.retain(|key| map.get(key).is_ok_and(|value| value.is_some()));
        map.remove_all(&strange)?;
        for key in strange {
            self.note(format!("{} was not asked for", name(&key)), "nobody".to_owned());
        }
        Ok(())
    }
}

fn name_frontend(key: &ServiceKey) -> String {
    let protocol =
        Protocol::from_number(key.protocol).map_or_else(|| key.protocol.to_string(), |known| known.to_string());
    let port = u16::from_be(key.port);
    match abi::unmap_address(key.address) {
        address if address.is_unspecified() => {
            format!("node port {port}/{protocol} of {}", if address.is_ipv4() { "IPv4" } else { "IPv6" })
        }
        IpAddr::V4(address) => format!("frontend {address}:{port}/{protocol}"),
        IpAddr::V6(address) => format!("frontend [{address}]:{port}/{protocol}"),
    }
}

fn name_backend(key: &BackendKey) -> String {
    format!("backend {} of set {}", key.slot, key.set)
}

fn name_member(key: &MemberKey) -> String {
    format!("member {} port {} of set {}", abi::unmap_address(key.address), u16::from_be(key.port), key.set)
}
