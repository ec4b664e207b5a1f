//! What a node's data path can be told about Services. Two implementations, eBPF and nftables,
//! equal in meaning; [`crate::fake`] has a third, in memory.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use seaway_model::{Protocol, ServiceRef};
use seaway_services::plan::PlanChange;

use crate::{DatapathError, DatapathErrors, Difference};

/// What of the node itself the Services' data path needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceNode {
    /// Addresses of this node on which NodePorts are served, as `nodePortAddresses` chose.
    pub node_port_addresses: Vec<IpAddr>,
    /// Serve NodePorts on loopback addresses too.
    pub node_port_on_loopback: bool,
    /// The node's own addresses: at most one of each family is what backends see instead of a client.
    pub node_addresses: Vec<IpAddr>,
    /// `InternalIP`s of all nodes of the cluster, this one included.
    pub cluster_node_addresses: Vec<IpAddr>,
    /// Ranges of Service addresses (`ServiceCIDR` objects): what is unassigned in them is dropped.
    pub service_cidrs: Vec<IpNet>,
    /// Ranges of all pods: clients there are in the cluster.
    pub pod_cidrs: Vec<IpNet>,
    /// Ranges of the pods of this node.
    pub local_pod_cidrs: Vec<IpNet>,
}

/// The Services' side of a node's data path. Synchronous; what it was told survives its process
/// in the kernel.
pub trait ServiceDatapath: Send {
    /// Says what the node is. Called before the first [`ServiceDatapath::apply`] and on changes.
    fn set_node(&mut self, node: &ServiceNode) -> Result<(), DatapathError>;

    /// Carries out a batch. Each Service changes at one moment: a client sees its old backends or
    /// its new ones. When a map is full, nothing of the Services that do not fit is changed, all
    /// others are, and the report names them.
    fn apply(&mut self, changes: &[PlanChange]) -> Result<ServiceReport, DatapathError>;

    /// Everything that exists was applied once: what an earlier process left and nobody asked for goes.
    fn synced(&mut self) -> Result<ServiceReport, DatapathError>;

    /// Compares the kernel with what was applied, repairs, and says what differed.
    fn audit(&mut self) -> Result<Vec<Difference>, DatapathError>;

    /// The same in parts, so that changes can go in between. After the last it starts anew.
    fn audit_step(&mut self) -> Result<AuditStep, DatapathError> {
        Ok(AuditStep { differences: self.audit()?, is_last: true })
    }

    /// How full the maps are and what they did.
    fn usage(&mut self) -> Result<ServiceUsage, DatapathError>;

    /// Removes everything of ours for Services from the kernel.
    fn uninstall(&mut self) -> Result<(), DatapathErrors>;
}

/// A part of an audit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditStep {
    /// What differed and was repaired.
    pub differences: Vec<Difference>,
    /// Everything was compared.
    pub is_last: bool,
}

/// What a batch did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceReport {
    /// Services that did not fit and stay as they were, each with the table that is full.
    pub refused: Vec<Refusal>,
    /// Entries of connection tracking that were removed because their backend is gone.
    pub closed_connections: u64,
    /// How long it took to find and end them.
    pub closing: Duration,
    /// Kernel objects written and removed, for people and metrics.
    pub writes: u64,
}

/// A Service that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Which.
    pub service: ServiceRef,
    /// The table that is full and its size.
    pub table: String,
    /// Entries it may hold.
    pub limit: u64,
}

/// How full the tables are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceUsage {
    /// Per table: name, entries, limit (0: none).
    pub tables: Vec<(String, u64, u64)>,
}

/// A place that clients reach, as the kernel sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Destination; none: the node's NodePort addresses of the family.
    pub address: Option<IpAddr>,
    /// IPv4 or IPv6.
    pub ipv4: bool,
    /// Protocol.
    pub protocol: Protocol,
    /// Port.
    pub port: u16,
}
