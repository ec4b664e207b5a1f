//! Services in nftables: translated in hash maps of an own table, refused in another, written
//! over netlink only.
//!
//! Start at [`NftablesServices`], the backend, and [`ServiceGuard`], the part that refuses,
//! which serves any backend. `layout` says what the tables hold and why; `rules` what packets
//! meet; `elements` turns plans into elements; `tables` writes differences. Needs Linux 5.13
//! (`inet` tables that translate came with 5.2, deleting map elements by packets with 5.4,
//! ranges in concatenations with 5.6).

mod adopt;
mod audit;
mod batch;
mod classes;
mod connections;
mod elements;
mod guard;
mod kernel_tables;
mod layout;
mod rule;
mod rules;
mod tables;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Instant;

use seaway_services::plan::PlanChange;

use self::connections::{Connections, stale};
use self::tables::{Scope, Tables, Update};
use crate::kernel::setting::Settings;
use crate::services::ServiceUsage;
use crate::{DatapathError, DatapathErrors, Difference, ServiceDatapath, ServiceNode, ServiceReport};

/// With it, connections to 127.0.0.1 may be translated to other hosts.
const ROUTE_LOCALNET: &str = "net/ipv4/conf/all/route_localnet";

/// The nftables backend for Services.
#[derive(Debug)]
pub struct NftablesServices {
    tables: Tables,
    connections: Connections,
    settings: Settings,
    /// Whether the setting for NodePorts on loopback was changed by us.
    loopback_opened: bool,
}

/// What refuses packets to Services that nobody translated: no endpoint (rejected), no endpoint
/// on this node under policy Local (dropped), unknown port of a ClusterIP (rejected), unassigned
/// address of a Service range (dropped).
///
/// For a backend that translates before the host stack's filter hooks, at sockets or TC, and
/// leaves everything else to the host stack. Such a backend owns one and calls, in this order:
/// [`ServiceGuard::set_node`] with its own; for every batch [`ServiceGuard::apply`] *before* its
/// own maps change when endpoints vanish (a packet is then refused, not lost) and after it
/// otherwise (either order is correct in the end); [`ServiceGuard::synced`] when everything was
/// applied once; [`ServiceGuard::audit`] and [`ServiceGuard::uninstall`] with its own. All calls
/// must be made from inside the node's network namespace when the guard is opened, and from
/// anywhere later. What it holds survives the process; opening it again takes over.
#[derive(Debug)]
pub struct ServiceGuard {
    tables: Tables,
}

/// Removes what translates, and leaves what refuses: another backend has taken over. Connections
/// that were translated before stay so.
pub(super) fn remove_translation() -> Result<(), DatapathError> {
    Tables::new(Scope::Everything)?.remove_tables(&[layout::SERVICES_TABLE])
}

// === impl NftablesServices ===

impl NftablesServices {
    /// Connects to the calling thread's network namespace. The first [`ServiceDatapath::set_node`]
    /// makes the tables or takes over those of an earlier process. `settings_root` is where `/proc/sys` can be written.
    pub fn open(settings_root: PathBuf) -> Result<Self, DatapathError> {
        let settings = Settings::below(settings_root);
        let (tables, connections) = (Tables::new(Scope::Everything)?, Connections::open()?);
        Ok(Self { tables, connections, settings, loopback_opened: false })
    }
}

impl ServiceDatapath for NftablesServices {
    fn set_node(&mut self, node: &ServiceNode) -> Result<(), DatapathError> {
        if node.node_port_on_loopback && self.settings.read(ROUTE_LOCALNET)?.as_deref() == Some("0") {
            self.settings.write(ROUTE_LOCALNET, "1")?;
            self.loopback_opened = true;
        }
        self.tables.set_node(node)
    }

    fn apply(&mut self, changes: &[PlanChange]) -> Result<ServiceReport, DatapathError> {
        let (mut report, updates) = self.tables.apply(changes)?;
        let started = Instant::now();
        report.closed_connections = self.connections.close(&stale(&updates, &self.tables.node))?;
        report.closing = started.elapsed();
        Ok(report)
    }

    fn synced(&mut self) -> Result<ServiceReport, DatapathError> {
        let adopted = self.tables.leftover.is_some();
        let mut report = self.tables.forget_leftovers()?;
        if adopted {
            report.closed_connections = self.connections.reconcile(self.tables.services.values(), &self.tables.node)?;
        }
        Ok(report)
    }

    fn audit(&mut self) -> Result<Vec<Difference>, DatapathError> {
        self.tables.repair()
    }

    fn usage(&mut self) -> Result<ServiceUsage, DatapathError> {
        Ok(self.tables.usage())
    }

    fn uninstall(&mut self) -> Result<(), DatapathErrors> {
        let mut errors = DatapathErrors::default();
        errors.collect(self.tables.remove());
        if self.loopback_opened {
            errors.collect(self.settings.write(ROUTE_LOCALNET, "0"));
        }
        errors.into_result()
    }
}

// === impl ServiceGuard ===

impl ServiceGuard {
    /// Connects to the calling thread's network namespace. The first [`ServiceGuard::set_node`]
    /// makes the table or takes over that of an earlier process.
    pub fn open() -> Result<Self, DatapathError> {
        Ok(Self { tables: Tables::new(Scope::Guard)? })
    }

    /// Says what the node is: its NodePort addresses and the ranges of Service addresses.
    pub fn set_node(&mut self, node: &ServiceNode) -> Result<(), DatapathError> {
        self.tables.set_node(node)
    }

    /// Carries out the part of a batch that concerns refusing.
    pub fn apply(&mut self, changes: &[PlanChange]) -> Result<ServiceReport, DatapathError> {
        self.tables.apply(changes).map(|(report, _updates)| report)
    }

    /// Everything that exists was applied once.
    pub fn synced(&mut self) -> Result<ServiceReport, DatapathError> {
        self.tables.forget_leftovers()
    }

    /// Compares the kernel with what was applied, repairs, and says what differed.
    pub fn audit(&mut self) -> Result<Vec<Difference>, DatapathError> {
        self.tables.repair()
    }

    /// Removes the table.
    pub fn uninstall(&mut self) -> Result<(), DatapathError> {
        self.tables.remove()
    }
}

// === impl Tables ===

impl Tables {
    fn set_node(&mut self, node: &ServiceNode) -> Result<(), DatapathError> {
        if self.node_written.is_none() {
            self.install()?;
        }
        let before = std::mem::replace(&mut self.node, node.clone());
        let sources_changed = self.node_written.replace(()).is_none() || before.node_addresses != node.node_addresses;
        self.write_node(sources_changed)?;
        let moved = before.node_port_addresses != node.node_port_addresses
            || before.node_port_on_loopback != node.node_port_on_loopback;
        if moved {
            let same = |(service, programmed): (&_, &elements::Programmed)| Update {
                service: Clone::clone(service),
                old: Some(programmed.clone()),
                new: Some(programmed.clone()),
            };
            let updates = self.services.iter().map(same).collect();
            self.program(updates, &before)?;
        }
        Ok(())
    }

    fn usage(&self) -> ServiceUsage {
        let mut tables: Vec<(String, u64, u64)> =
            self.counts.iter().map(|(set, count)| (set.to_string(), *count, 0)).collect();
        tables.push(("services".to_owned(), u64::try_from(self.services.len()).unwrap_or(u64::MAX), 0));
        ServiceUsage { tables }
    }
}
