//! The Services' maps, and the entries of sets of backends.

use std::collections::BTreeMap;

use bytemuck::Pod;
use libbpf_rs::MapHandle;
use seaway_model::abi;
use seaway_model::abi::services::{
    Affinity, AffinityKey, Backend, BackendKey, ConnectedSocket, ConnectionsKey, MemberKey, Service, ServiceKey,
    ServiceNode, SlotTable, SocketNamespaces, SourceRangeKey,
};
use seaway_services::plan;

use super::image::{self, Room, SetForm};
use super::map::Map;
use super::slot_table;
use crate::kernel::bpf::BpfError;

/// The maps that we write.
pub(super) struct Tables {
    pub(super) services: Map<ServiceKey, Service>,
    pub(super) backends: Map<BackendKey, Backend>,
    pub(super) members: Map<MemberKey, u32>,
    pub(super) slot_tables: Map<u32, SlotTable>,
    pub(super) turns: Map<u32, u64>,
    pub(super) connections: Map<ConnectionsKey, i64>,
    pub(super) source_ranges: Map<SourceRangeKey, u8>,
    pub(super) node_port_ips: Map<[u8; 16], u8>,
    pub(super) node: Map<u32, ServiceNode>,
    pub(super) sockets: Map<u64, ConnectedSocket>,
    pub(super) affinity: Map<AffinityKey, Affinity>,
    pub(super) socket_namespaces: Map<ConnectionsKey, SocketNamespaces>,
}

/// Entries of sets of backends, to be written or removed together.
#[derive(Debug, Default)]
pub(super) struct SetEntries {
    backends: (Vec<BackendKey>, Vec<Backend>),
    members: (Vec<MemberKey>, Vec<u32>),
    slot_tables: (Vec<u32>, Vec<SlotTable>),
    turns: (Vec<u32>, Vec<u64>),
}

// === impl Tables ===

impl Tables {
    /// Takes the maps by their names.
    pub(super) fn take(maps: &mut BTreeMap<String, MapHandle>) -> Result<Self, BpfError> {
        fn take<K: Pod, V: Pod>(
            maps: &mut BTreeMap<String, MapHandle>,
            name: &'static str,
        ) -> Result<Map<K, V>, BpfError> {
            let missing = || BpfError::MissingPart { what: "map", name: name.to_owned() };
            Map::new(name, maps.remove(name).ok_or_else(missing)?)
        }
        Ok(Self {
            services: take(maps, "sw_services")?,
            backends: take(maps, "sw_backends")?,
            members: take(maps, "sw_members")?,
            slot_tables: take(maps, "sw_slot_tables")?,
            turns: take(maps, "sw_turns")?,
            connections: take(maps, "sw_connections")?,
            source_ranges: take(maps, "sw_source_ranges")?,
            node_port_ips: take(maps, "sw_node_port_ips")?,
            node: take(maps, "sw_service_node")?,
            sockets: take(maps, "sw_sockets")?,
            affinity: take(maps, "sw_affinity")?,
            socket_namespaces: take(maps, "sw_socket_namespaces")?,
        })
    }

    /// What the maps may hold, by name, in the order of [`Room::by_table`].
    pub(super) fn limits(&self) -> [(&'static str, u64); 6] {
        [
            (self.services.name(), self.services.limit()),
            (self.backends.name(), self.backends.limit()),
            (self.members.name(), self.members.limit()),
            (self.slot_tables.name(), self.slot_tables.limit()),
            (self.turns.name(), self.turns.limit()),
            (self.source_ranges.name(), self.source_ranges.limit()),
        ]
    }
}

// === impl SetEntries ===

impl SetEntries {
    /// Adds a whole set.
    pub(super) fn add(&mut self, id: u32, form: SetForm, set: &plan::BackendSet) {
        self.add_keys(id, form, &set.backends);
        let slots = slot_table::slots(&set.backends);
        if form.members {
            let positions = (0u32..).take(slots.len());
            self.members.1.extend(positions);
        }
        self.backends.1.extend(slots);
        self.slot_tables.1.extend(image::slot_table(form, set));
        self.turns.1.extend(form.turns.then_some(0));
    }

    /// Adds the keys of a set alone, to remove it.
    pub(super) fn add_keys(&mut self, id: u32, form: SetForm, backends: &[plan::Backend]) {
        self.backends.0.extend((0u32..).take(backends.len()).map(|slot| BackendKey { set: id, slot }));
        if form.members {
            self.members.0.extend(backends.iter().map(|backend| member_key(id, backend)));
        }
        self.slot_tables.0.extend(slot_table::is_needed(form, backends).then_some(id));
        self.turns.0.extend(form.turns.then_some(id));
    }

    /// Adds all of another.
    pub(super) fn append(&mut self, mut other: Self) {
        self.backends.0.append(&mut other.backends.0);
        self.backends.1.append(&mut other.backends.1);
        self.members.0.append(&mut other.members.0);
        self.members.1.append(&mut other.members.1);
        self.slot_tables.0.append(&mut other.slot_tables.0);
        self.slot_tables.1.append(&mut other.slot_tables.1);
        self.turns.0.append(&mut other.turns.0);
        self.turns.1.append(&mut other.turns.1);
    }

    /// Writes everything; backends last, for they make a set usable.
    pub(super) fn write(&self, tables: &Tables) -> Result<u64, BpfError> {
        tables.members.put_all(&self.members.0, &self.members.1)?;
        tables.slot_tables.put_all(&self.slot_tables.0, &self.slot_tables.1)?;
        tables.turns.put_all(&self.turns.0, &self.turns.1)?;
        tables.backends.put_all(&self.backends.0, &self.backends.1)?;
        Ok(self.room().total())
    }

    /// Removes everything; what is not there does not matter.
    pub(super) fn remove(&self, tables: &Tables) -> Result<u64, BpfError> {
        let mut removed = tables.backends.remove_all(&self.backends.0)?;
        removed += tables.members.remove_all(&self.members.0)?;
        removed += tables.slot_tables.remove_all(&self.slot_tables.0)?;
        Ok(removed + tables.turns.remove_all(&self.turns.0)?)
    }

    /// How many entries there are.
    pub(super) fn room(&self) -> Room {
        Room {
            backends: self.backends.0.len() as u64,
            members: self.members.0.len() as u64,
            slot_tables: self.slot_tables.0.len() as u64,
            turns: self.turns.0.len() as u64,
            ..Room::default()
        }
    }
}

/// The key that says whether a backend belongs to a set.
pub(super) fn member_key(set: u32, backend: &plan::Backend) -> MemberKey {
    MemberKey { set, port: backend.port.to_be(), pad: 0, address: abi::map_address(backend.address) }
}
