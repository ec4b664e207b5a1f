//! Compares the maps with what was applied, and repairs, a bounded part at a time: changes of
//! Services go on between the parts.

use std::collections::HashSet;
use std::fmt::Display;
use std::mem;
use std::net::IpAddr;
use std::ops::Bound;

use bytemuck::Pod;
use seaway_model::abi::services::{BackendKey, MemberKey, ServiceKey, SourceRangeKey};
use seaway_model::{Protocol, ServiceRef, abi};

use super::image::{self, Programmed};
use super::map::{Map, Position};
use super::slot_table;
use super::state::State;
use super::tables::{Tables, member_key};
use crate::Difference;
use crate::kernel::bpf::BpfError;

/// Entries that one part compares; that of one Service may be larger.
const ENTRIES_AT_ONCE: usize = 8192;

/// How far an audit has come.
#[derive(Debug, Default)]
pub(super) enum Walk {
    /// What Services ask for, up to this one.
    #[default]
    Start,
    After(ServiceRef),
    /// What nobody asked for, by map.
    Frontends(Position),
    Members(Position),
    Backends(Position),
    Ranges,
    /// Everything was compared.
    End,
}

/// Compares and repairs the next part, and says what differed.
pub(super) fn step(tables: &Tables, state: &State, walk: &mut Walk) -> Result<Vec<Difference>, BpfError> {
    let mut findings = Findings { differences: Vec::new() };
    *walk = match mem::take(walk) {
        Walk::Start => audit_services(tables, state, Bound::Unbounded, &mut findings)?,
        Walk::After(service) => audit_services(tables, state, Bound::Excluded(&service), &mut findings)?,
        Walk::Frontends(mut position) => {
            let is_known =
                |key: &ServiceKey| state.frontends.contains_key(key) || state.leftovers.frontend(key).is_some();
            match findings.remove_strange(&tables.services, &mut position, name_frontend, is_known)? {
                true => Walk::Members(Position::default()),
                false => Walk::Frontends(position),
            }
        }
        Walk::Members(mut position) => {
            let is_known = |key: &MemberKey| state.has_member(key);
            match findings.remove_strange(&tables.members, &mut position, name_member, is_known)? {
                true => Walk::Backends(Position::default()),
                false => Walk::Members(position),
            }
        }
        Walk::Backends(mut position) => {
            let is_known = |key: &BackendKey| state.has_slot(key);
            match findings.remove_strange(&tables.backends, &mut position, name_backend, is_known)? {
                true => Walk::Ranges,
                false => Walk::Backends(position),
            }
        }
        Walk::Ranges | Walk::End => {
            audit_ranges(tables, state, &mut findings)?;
            Walk::End
        }
    };
    Ok(findings.differences)
}

fn audit_services(
    tables: &Tables,
    state: &State,
    from: Bound<&ServiceRef>,
    findings: &mut Findings,
) -> Result<Walk, BpfError> {
    let mut compared = 0;
    for (service, programmed) in state.services.range::<ServiceRef, _>((from, Bound::Unbounded)) {
        let cause = format!("service {service}");
        compared += audit_sets(tables, programmed, &cause, findings)?;
        // Backends before frontends: a repaired frontend must find its set.
        for key in programmed.plan.frontends.iter().map(image::service_key) {
            let placed = state.frontends.get(&key).filter(|placed| placed.owner == programmed.owner);
            if let Some(placed) = placed {
                findings.ensure(&tables.services, key, placed.value, name_frontend, &cause)?;
                compared += 1;
            }
        }
        if compared >= ENTRIES_AT_ONCE {
            return Ok(Walk::After(service.clone()));
        }
    }
    Ok(Walk::Frontends(Position::default()))
}

/// Returns how many entries were compared.
fn audit_sets(
    tables: &Tables,
    programmed: &Programmed,
    cause: &str,
    findings: &mut Findings,
) -> Result<usize, BpfError> {
    let mut compared = 0;
    for ((set, form), id) in programmed.plan.sets.iter().zip(&programmed.forms).zip(&programmed.set_ids) {
        if form.members {
            for (key, slot) in set.backends.iter().map(|backend| member_key(*id, backend)).zip(0u32..) {
                findings.ensure(&tables.members, key, slot, name_member, cause)?;
            }
        }
        if let Some(table) = image::slot_table(*form, set) {
            findings.ensure(&tables.slot_tables, *id, table, |id| format!("slot table of set {id}"), cause)?;
        }
        // Turns move; only their presence is ours.
        if form.turns && tables.turns.get(id)?.is_none() {
            tables.turns.put(id, &0)?;
            findings.note(format!("turns of set {id} were missing"), cause.to_owned());
        }
        for (slot, value) in (0u32..).zip(slot_table::slots(&set.backends)) {
            findings.ensure(&tables.backends, BackendKey { set: *id, slot }, value, name_backend, cause)?;
        }
        compared += set.backends.len();
    }
    Ok(compared)
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

    /// Makes a map hold an entry.
    fn ensure<K: Pod, V: Pod + PartialEq, N: Display>(
        &mut self,
        map: &Map<K, V>,
        key: K,
        wanted: V,
        name: impl Fn(&K) -> N,
        cause: &str,
    ) -> Result<(), BpfError> {
        let found = map.get(&key)?;
        if found == Some(wanted) {
            return Ok(());
        }
        map.put(&key, &wanted)?;
        let how = if found.is_some() { "changed" } else { "missing" };
        self.note(format!("{} was {how}", name(&key)), cause.to_owned());
        Ok(())
    }

    /// Removes the next entries that nobody asked for. Returns whether these were the last.
    fn remove_strange<K: Pod, V: Pod>(
        &mut self,
        map: &Map<K, V>,
        position: &mut Position,
        name: impl Fn(&K) -> String,
        is_known: impl Fn(&K) -> bool,
    ) -> Result<bool, BpfError> {
        let mut strange: Vec<K> = map.next_entries(position)?.into_iter().map(|(key, _)| key).collect();
        strange.retain(|key| !is_known(key));
        // What was removed while the list was read may stand in it.
        strange.retain(|key| map.get(key).is_ok_and(|value| value.is_some()));
        map.remove_all(&strange)?;
        for key in strange {
            self.note(format!("{} was not asked for", name(&key)), "nobody".to_owned());
        }
        Ok(position.is_at_end())
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
