//! Services in eBPF: sockets of this node are connected to backends directly, packets from
//! elsewhere are translated where they enter.
//!
//! Start at [`EbpfServices`]. Pure: `image` (a plan in the maps' terms), `slot_table`
//! (choice), `state` (what a change takes). Effects: `writer` (a batch), `adoption`
//! (what an earlier process left), `audit`, `sockets` (programs on the cgroup root), `closing`
//! (connected sockets whose backend is gone).
#![allow(unsafe_code, reason = "calls into libbpf and libc that no crate wraps; each with its proof")]

mod adoption;
mod audit;
mod closing;
mod conntrack;
mod image;
mod map;
mod node;
mod slot_table;
mod sockets;
mod state;
mod tables;
#[cfg(test)]
pub(in crate::kernel) mod tests;
mod writer;

#[cfg(test)]
pub(in crate::kernel) use self::sockets::can_set_error;

use std::path::PathBuf;
use std::time::Instant;

use seaway_model::abi::services::{ConnectionsKey, SocketSettings};
use seaway_services::plan::PlanChange;

use self::adoption::Leftovers;
use self::closing::Namespaces;
use self::conntrack::{Conntrack, Walk};
use self::sockets::SocketPrograms;
use self::state::State;
use self::tables::Tables;
use self::writer::Writer;
use crate::kernel::bpf::object::{self, EmbeddedObject, ObjectConfig};
use crate::kernel::bpf::{self, BpfError};
use crate::kernel::services::nftables::{self, ServiceGuard};
use crate::services::{AuditStep, ServiceDatapath, ServiceNode, ServiceReport, ServiceUsage};
use crate::{DatapathError, DatapathErrors, Difference, Options};

/// An unconnected UDP socket that was silent for that long may get another backend; as long as
/// the host's connection tracking keeps a UDP stream.
const UDP_IDLE_SECONDS: u32 = 120;

/// The Services' data path of the node in whose network namespace it was opened.
pub struct EbpfServices {
    tables: Tables,
    programs: SocketPrograms,
    state: State,
    /// Refuses and drops what sockets and packets have left untranslated.
    guard: ServiceGuard,
    host_netns_cookie: u64,
    namespaces: Namespaces,
    maps_dir: PathBuf,
    /// Where the search for connections past their time is.
    walk: Walk,
    /// Where the audit is.
    audit: audit::Walk,
    /// Programs of an earlier version run on old maps until everything was applied to the new.
    attach_when_synced: bool,
}

// === impl EbpfServices ===

impl EbpfServices {
    /// Loads the programs for sockets and takes over what an earlier run left.
    pub fn open(options: &Options) -> Result<Self, DatapathError> {
        Self::open_with(options, sockets::can_set_error())
    }

    fn open_with(options: &Options, can_set_error: bool) -> Result<Self, DatapathError> {
        let (maps_dir, links_dir) = (bpf::maps_dir(&options.pin_dir), bpf::links_dir(&options.pin_dir));
        bpf::prepare_folder(&maps_dir)?;
        bpf::prepare_folder(&links_dir)?;
        let settings = SocketSettings { can_set_error: can_set_error.into(), udp_idle_seconds: UDP_IDLE_SECONDS };
        let max_entries = options.fast_path.max_entries();
        let config = ObjectConfig { settings: bytemuck::bytes_of(&settings), max_entries: &max_entries };
        // A kernel that can load neither is better explained by the first.
        let mut loaded = object::load(&maps_dir, EmbeddedObject::Sockets, &config)
            .or_else(|error| object::load(&maps_dir, EmbeddedObject::OldSockets, &config).map_err(|_| error))?;
        let tables = Tables::take(&mut loaded.maps)?;
        let programs = SocketPrograms::new(links_dir, &options.cgroup_root, loaded.programs)?;
        let (leftovers, used) = Leftovers::read(&tables)?;
        let attach_when_synced = programs.are_attached() && !leftovers.is_whole();
        if !attach_when_synced {
            programs.attach()?;
        }
        let own =
            node::netns_cookie().and_then(|cookie| Ok((cookie, Namespaces::new(cookie, options.netns_dir.clone())?)));
        let (host_netns_cookie, namespaces) = own.map_err(|source| DatapathError::Kernel {
            operation: "read",
            object: "the node's network namespace".to_owned(),
            source,
        })?;
        let state = State::over(leftovers, used);
        let guard = ServiceGuard::open()?;
        Ok(Self {
            tables,
            programs,
            state,
            guard,
            host_netns_cookie,
            namespaces,
            maps_dir,
            walk: Walk::default(),
            audit: audit::Walk::default(),
            attach_when_synced,
        })
    }

    /// Takes the programs for sockets away, whichever version left them. Needs nothing loaded.
    pub fn detach(options: &Options) -> Result<(), BpfError> {
        sockets::detach_all(&bpf::links_dir(&options.pin_dir))
    }
}

impl ServiceDatapath for EbpfServices {
    fn set_node(&mut self, node: &ServiceNode) -> Result<(), DatapathError> {
        node::write(&self.tables, node, self.host_netns_cookie)?;
        if let Some(conntrack) = self.conntrack()? {
            conntrack.set_node(node)?;
        }
        self.guard.set_node(node)
    }

    fn apply(&mut self, changes: &[PlanChange]) -> Result<ServiceReport, DatapathError> {
        // First, so that what loses its last endpoint is refused, not lost.
        self.guard.apply(changes)?;
        let (mut report, departures) = Writer::new(&self.tables, &mut self.state).apply(changes)?;
        let started = Instant::now();
        report.closed_connections += self.close_sockets(&departures);
        if let Some(conntrack) = self.conntrack()? {
            report.closed_connections += conntrack.remove(&departures, &self.tables.connections)?;
        }
        report.closing = started.elapsed();
        Ok(report)
    }

    fn synced(&mut self) -> Result<ServiceReport, DatapathError> {
        let live_frontends = self.state.frontends.values().map(|placed| placed.value.id).collect();
        let kept = self.state.refused_places.values().flatten().copied().collect();
        let live_sets = self.state.live_sets.keys().copied().collect();
        let removed = self.state.leftovers.sweep(&self.tables, &live_sets, &live_frontends, &kept)?;
        self.state.used = self.state.used.minus(&removed);
        self.guard.synced()?;
        // First the new, then the old: somebody translates at every moment.
        if self.attach_when_synced {
            self.programs.attach()?;
            self.attach_when_synced = false;
        }
        nftables::remove_translation()?;
        // Backends that went while no agent lived.
        let strays = closing::strays(&self.tables, &self.state)?;
        let closed_connections = self.close_sockets(&strays);
        Ok(ServiceReport { writes: removed.total(), closed_connections, ..ServiceReport::default() })
    }

    fn audit(&mut self) -> Result<Vec<Difference>, DatapathError> {
        self.audit = audit::Walk::default();
        let mut differences = Vec::new();
        loop {
            let mut step = self.audit_step()?;
            differences.append(&mut step.differences);
            if step.is_last {
                return Ok(differences);
            }
        }
    }

    fn audit_step(&mut self) -> Result<AuditStep, DatapathError> {
        let mut walk = std::mem::take(&mut self.audit);
        let mut differences = audit::step(&self.tables, &self.state, &mut walk)?;
        let is_last = matches!(walk, audit::Walk::End);
        if is_last {
            differences.extend(self.audit_programs()?);
        } else {
            self.audit = walk;
        }
        Ok(AuditStep { differences, is_last })
    }

    fn usage(&mut self) -> Result<ServiceUsage, DatapathError> {
        let limits = self.tables.limits().into_iter().zip(self.state.used.by_table());
        let mut tables: Vec<_> = limits.map(|((name, limit), used)| (name.to_owned(), used, limit)).collect();
        if let Some(conntrack) = self.conntrack()? {
            tables.push(("sw_conntrack".to_owned(), self.walk.connections_before, conntrack.limit()));
        }
        Ok(ServiceUsage { tables })
    }

    fn uninstall(&mut self) -> Result<(), DatapathErrors> {
        let mut errors = DatapathErrors::default();
        // Connected sockets stay connected to their backends. The maps stay, empty: the programs
        // for packets use them as long as the fast path is there, and remove them with it.
        errors.collect(self.programs.detach().map_err(DatapathError::from));
        errors.collect(self.empty_maps().map_err(DatapathError::from));
        errors.collect(self.guard.uninstall());
        errors.into_result()
    }
}

impl EbpfServices {
    /// The rest of an audit: programs, the guard, what sockets and packets left.
    fn audit_programs(&mut self) -> Result<Vec<Difference>, DatapathError> {
        let mut differences = Vec::new();
        let missing = self.programs.missing()?;
        if !missing.is_empty() && !self.attach_when_synced {
            self.programs.attach()?;
        }
        differences.extend(missing.into_iter().map(|program| Difference {
            what: format!("program {program} was not on the cgroup root"),
            cause: "Services for sockets of this node".to_owned(),
        }));
        differences.extend(self.guard.audit()?);
        // Sockets that were connected in the moment in which their backend went.
        let strays = closing::strays(&self.tables, &self.state)?;
        self.close_sockets(&strays);
        closing::forget_connections(&self.tables, &self.state)?;
        if let Some(conntrack) = self.conntrack()? {
            conntrack.sweep(&mut self.walk, &self.tables.connections)?;
        }
        Ok(differences)
    }

    /// Connections that packets left; none: no programs for packets are loaded.
    pub(in crate::kernel) fn conntrack(&self) -> Result<Option<Conntrack>, BpfError> {
        Conntrack::open(&self.maps_dir)
    }

    /// Closes sockets of backends that have left their frontends. Returns how many.
    fn close_sockets(&mut self, gone: &[ConnectionsKey]) -> u64 {
        // Datagrams of a socket that cannot be closed get lost; no reason to fail.
        self.namespaces.close(&self.tables, gone).unwrap_or_else(|error| {
            tracing::warn!(%error, "sockets of backends that are gone could not be closed");
            0
        })
    }

    fn empty_maps(&mut self) -> Result<(), BpfError> {
        fn keys<K: bytemuck::Pod, V: bytemuck::Pod>(map: &map::Map<K, V>) -> Result<Vec<K>, BpfError> {
            Ok(map.entries()?.into_iter().map(|(key, _)| key).collect())
        }
        self.tables.services.remove_all(&keys(&self.tables.services)?)?;
        self.tables.backends.remove_all(&keys(&self.tables.backends)?)?;
        self.tables.members.remove_all(&keys(&self.tables.members)?)?;
        self.tables.slot_tables.remove_all(&self.tables.slot_tables.keys())?;
        self.tables.turns.remove_all(&self.tables.turns.keys())?;
        self.tables.connections.remove_all(&self.tables.connections.keys())?;
        self.tables.source_ranges.remove_all(&self.tables.source_ranges.keys())?;
        self.tables.socket_namespaces.remove_all(&self.tables.socket_namespaces.keys())?;
        self.tables.node_port_ips.remove_all(&self.tables.node_port_ips.keys())?;
        self.tables.sockets.remove_all(&keys(&self.tables.sockets)?)?;
        self.tables.affinity.remove_all(&keys(&self.tables.affinity)?)?;
        self.state = State::default();
        Ok(())
    }
}
