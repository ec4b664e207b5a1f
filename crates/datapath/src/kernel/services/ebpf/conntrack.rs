//! Translated connections, as packets left them: removing those whose backend is gone or whose
//! time has passed.
//!
//! The programs take an entry past its time for absent; removing it makes room, and keeps the
//! counts that least-connection and the removal go by true. The programs count connections by
//! backend, so that the departure of one without any costs a look-up.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use libbpf_rs::MapHandle;
use seaway_model::abi;
use seaway_model::abi::conntrack::{
    CONNTRACK_BACKEND_DONE, CONNTRACK_BETWEEN_PODS, CONNTRACK_CLIENT_DONE, CONNTRACK_COUNTED, CONNTRACK_DIRECT_RETURN,
    CONNTRACK_FORWARD, CONNTRACK_REPLIED, CONNTRACK_RESET, ConntrackEntry, ConntrackKey, TRANSLATED_POD_SLOTS,
};
use seaway_model::abi::services::ConnectionsKey;

use super::map::{Map, Position};
use crate::kernel::bpf::BpfError;
use crate::services::ServiceNode;

const UDP: u32 = 17;
const NANOS_PER_SECOND: u64 = 1_000_000_000;
/// Each reads some thousand entries.
const STEPS_AT_ONCE: usize = 8;
/// In `sw_translated_pods`: the last walk saw no connection between pods.
const POD_IN_DOUBT: u64 = 2;
/// Lifetimes of silent connections; the programs' (`bpf/include/conntrack.h`).
const OPENING_SECONDS: u64 = 60;
const HALF_CLOSED_SECONDS: u64 = 120;
const CLOSED_SECONDS: u64 = 60;
const ESTABLISHED_SECONDS: u64 = 8 * 3600;
const UDP_UNANSWERED_SECONDS: u64 = 30;
const UDP_ANSWERED_SECONDS: u64 = 120;

/// The maps that packets of Services write.
pub(in crate::kernel) struct Conntrack {
    entries: Map<ConntrackKey, ConntrackEntry>,
    flows: Map<ConnectionsKey, u64>,
    translated_pods: Map<u32, u64>,
    peer_nodes: Map<[u8; 16], u8>,
}

/// How far a walk over all connections has come.
#[derive(Default)]
pub(super) struct Walk {
    position: Position,
    /// Backends of connections, as far as the walk has come.
    backends: HashSet<ConnectionsKey>,
    /// How many they are.
    connections: u64,
    /// How many there were in the walk before.
    pub(super) connections_before: u64,
    /// Whether there was a connection between pods.
    between_pods: bool,
    /// Backends without connections in the walk before, and their counts at its end.
    unused: HashMap<ConnectionsKey, u64>,
}

// === impl Conntrack ===

impl Conntrack {
    /// Opens the maps that the programs for packets use; none: there are no such programs.
    pub(super) fn open(maps_dir: &Path) -> Result<Option<Self>, BpfError> {
        if !maps_dir.join("sw_conntrack").exists() {
            return Ok(None);
        }
        Ok(Some(Self {
            entries: Map::new("sw_conntrack", open(maps_dir, "sw_conntrack")?)?,
            flows: Map::new("sw_backend_flows", open(maps_dir, "sw_backend_flows")?)?,
            translated_pods: Map::new("sw_translated_pods", open(maps_dir, "sw_translated_pods")?)?,
            peer_nodes: Map::new("sw_peer_nodes", open(maps_dir, "sw_peer_nodes")?)?,
        }))
    }

    /// Connections it may hold.
    pub(super) fn limit(&self) -> u64 {
        self.entries.limit() / 2
    }

    /// All entries: two for a connection, one where another node answers directly.
    #[cfg(test)]
    pub(in crate::kernel) fn entries(&self) -> Result<Vec<(ConntrackKey, ConntrackEntry)>, BpfError> {
        self.entries.entries()
    }

    /// Writes an entry, as if packets had.
    #[cfg(test)]
    pub(in crate::kernel) fn put(&self, key: &ConntrackKey, entry: &ConntrackEntry) -> Result<(), BpfError> {
        self.entries.put(key, entry)
    }

    /// Tells the programs which other nodes may hand packets over. Returns how many entries were
    /// written.
    pub(super) fn set_node(&self, node: &ServiceNode) -> Result<u64, BpfError> {
        let peers = node.cluster_node_addresses.iter().filter(|address| !node.node_addresses.contains(address));
        let wanted: HashSet<[u8; 16]> = peers.map(|address| abi::map_address(*address)).collect();
        let present: HashSet<_> = self.peer_nodes.entries()?.into_iter().map(|(address, _)| address).collect();
        let missing: Vec<_> = wanted.difference(&present).copied().collect();
        let unwanted: Vec<_> = present.difference(&wanted).copied().collect();
        self.peer_nodes.put_all(&missing, &vec![1; missing.len()])?;
        self.peer_nodes.remove_all(&unwanted)?;
        Ok((missing.len() + unwanted.len()) as u64)
    }

    /// Removes what must not go on with backends that left their frontends: UDP, which has no end
    /// of its own, and connections that nobody has answered. Returns how many.
    pub(super) fn remove(
        &self,
        departures: &[ConnectionsKey],
        counts: &Map<ConnectionsKey, i64>,
    ) -> Result<u64, BpfError> {
        let mut used = HashSet::new();
        for departure in departures {
            if self.flows.get(departure)?.is_some_and(|flows| flows > 0) {
                used.insert(*departure);
            }
        }
        if used.is_empty() {
            return Ok(0);
        }
        let mut position = Position::default();
        let mut removed = 0;
        while !position.is_at_end() {
            let entries = self.entries.next_entries(&mut position)?;
            let goes = |(key, entry): &&(ConntrackKey, ConntrackEntry)| {
                entry.flags & CONNTRACK_FORWARD != 0
                    && used.contains(&backend_of(entry))
                    && (key.protocol == UDP || entry.flags & CONNTRACK_REPLIED == 0)
            };
            let gone: Vec<_> = entries.iter().filter(goes).collect();
            self.forget(&gone, counts)?;
            removed += gone.len() as u64;
        }
        let rest: Vec<_> = used.into_iter().collect();
        self.flows.remove_all(&rest)?;
        Ok(removed)
    }

    /// Removes connections past their time, some ten thousands at a time at most. Returns how many.
    pub(super) fn sweep(&self, walk: &mut Walk, counts: &Map<ConnectionsKey, i64>) -> Result<u64, BpfError> {
        let (mut removed, now_nanos) = (0, now_nanos());
        for _ in 0..STEPS_AT_ONCE {
            removed += self.sweep_step(walk, now_nanos, counts)?;
            if walk.position == Position::default() {
                break;
            }
        }
        Ok(removed)
    }

    /// Goes on with a walk over all connections; it starts anew after the last.
    fn sweep_step(&self, walk: &mut Walk, now_nanos: u64, counts: &Map<ConnectionsKey, i64>) -> Result<u64, BpfError> {
        let entries = self.entries.next_entries(&mut walk.position)?;
        let forward = entries.iter().filter(|(_, entry)| entry.flags & CONNTRACK_FORWARD != 0);
        let (live, past): (Vec<&_>, Vec<&_>) = forward.partition(|(key, entry)| is_alive(key, entry, now_nanos));
        walk.connections += live.len() as u64;
        walk.between_pods |= live.iter().any(|(_, entry)| entry.flags & CONNTRACK_BETWEEN_PODS != 0);
        walk.backends.extend(live.iter().map(|(_, entry)| backend_of(entry)));
        self.forget(&past, counts)?;
        if walk.position.is_at_end() {
            walk.position = Position::default();
            self.finish(walk)?;
        }
        Ok(past.len() as u64)
    }

    /// Removes both directions; those that were counted and have not ended count no more.
    fn forget(
        &self,
        forward: &[&(ConntrackKey, ConntrackEntry)],
        counts: &Map<ConnectionsKey, i64>,
    ) -> Result<(), BpfError> {
        let counted = |entry: &&ConntrackEntry| entry.flags & CONNTRACK_COUNTED != 0 && !is_closed(entry.flags);
        for entry in forward.iter().map(|(_, entry)| entry).filter(counted) {
            let backend = backend_of(entry);
            if let Some(count) = counts.get(&backend)? {
                counts.put(&backend, &count.saturating_sub(1))?;
            }
        }
        let two_way = forward.iter().filter(|(_, entry)| entry.flags & CONNTRACK_DIRECT_RETURN == 0);
        let mut keys: Vec<_> = two_way.map(|(key, entry)| other_key(key, entry)).collect();
        keys.extend(forward.iter().map(|(key, _)| *key));
        self.entries.remove_all(&keys).map(drop)
    }

    /// What two whole walks have shown: backends and pods without connections are forgotten. One
    /// walk may have missed what began behind its back.
    fn finish(&self, walk: &mut Walk) -> Result<(), BpfError> {
        let seen = std::mem::take(&mut walk.backends);
        let unused: HashMap<_, _> =
            self.flows.entries()?.into_iter().filter(|(backend, _)| !seen.contains(backend)).collect();
        let still = |(backend, flows): &(&ConnectionsKey, &u64)| walk.unused.get(*backend) == Some(*flows);
        let forgotten: Vec<_> = unused.iter().filter(still).map(|(backend, _)| *backend).collect();
        self.flows.remove_all(&forgotten)?;
        walk.unused = unused;
        walk.connections_before = std::mem::take(&mut walk.connections);
        let between_pods = std::mem::take(&mut walk.between_pods);
        for slot in (0..TRANSLATED_POD_SLOTS).filter(|_| !between_pods) {
            match self.translated_pods.get(&slot)? {
                Some(POD_IN_DOUBT) => self.translated_pods.put(&slot, &0)?,
                Some(1..) => self.translated_pods.put(&slot, &POD_IN_DOUBT)?,
                _ => {}
            }
        }
        Ok(())
    }
}

fn open(maps_dir: &Path, name: &str) -> Result<MapHandle, BpfError> {
    MapHandle::from_pinned_path(maps_dir.join(name)).map_err(|error| BpfError::Map {
        operation: "open",
        map: name.to_owned(),
        reason: format!("{error:#}"),
    })
}

/// The key of the other direction.
fn other_key(key: &ConntrackKey, entry: &ConntrackEntry) -> ConntrackKey {
    ConntrackKey {
        source: entry.destination,
        destination: entry.source,
        source_port: entry.destination_port,
        destination_port: entry.source_port,
        protocol: key.protocol,
    }
}

/// The backend of the entry of the forward direction, as it is counted.
fn backend_of(entry: &ConntrackEntry) -> ConnectionsKey {
    ConnectionsKey { service_id: entry.service_id, port: entry.destination_port, pad: 0, address: entry.destination }
}

fn is_closed(flags: u32) -> bool {
    let done = CONNTRACK_CLIENT_DONE | CONNTRACK_BACKEND_DONE;
    flags & CONNTRACK_RESET != 0 || flags & done == done
}

fn lifetime_seconds(protocol: u32, flags: u32) -> u64 {
    let replied = flags & CONNTRACK_REPLIED != 0;
    match protocol {
        UDP if replied => UDP_ANSWERED_SECONDS,
        UDP => UDP_UNANSWERED_SECONDS,
        _ if is_closed(flags) => CLOSED_SECONDS,
        _ if flags & (CONNTRACK_CLIENT_DONE | CONNTRACK_BACKEND_DONE) != 0 => HALF_CLOSED_SECONDS,
        _ if replied => ESTABLISHED_SECONDS,
        _ => OPENING_SECONDS,
    }
}

fn is_alive(key: &ConntrackKey, entry: &ConntrackEntry, now_nanos: u64) -> bool {
    let silent_seconds = now_nanos.saturating_sub(entry.last_seen_nanos) / NANOS_PER_SECOND;
    silent_seconds < lifetime_seconds(key.protocol, entry.flags)
}

/// The clock of the programs, `bpf_ktime_get_ns`.
fn now_nanos() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live `timespec`, which the call fills.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    let [seconds, nanos] = [now.tv_sec, now.tv_nsec].map(|part| u64::try_from(part).unwrap_or_default());
    seconds.saturating_mul(NANOS_PER_SECOND).saturating_add(nanos)
}
