//! A Service compiled for one node: plain values that the data path programs and people read.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use seaway_model::{NodeName, Protocol, ServiceRef};
use serde::{Deserialize, Serialize};

/// What must become of the data path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlanChange {
    /// The Service is like this now; its earlier frontends that are not in it are gone.
    Set(Arc<ServicePlan>),
    /// The Service has no frontends any more.
    Remove(ServiceRef),
}

/// What the data path must hold for one Service. No two plans in force claim the same
/// [`Frontend`] place (address, protocol, port); within one batch a place may move from one
/// Service to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicePlan {
    /// The Service.
    pub service: ServiceRef,
    /// Where clients reach it.
    pub frontends: Vec<Frontend>,
    /// Backends that frontends refer to by index.
    pub sets: Vec<BackendSet>,
    /// Endpoints that terminate, whether they serve or not, in order. One that is neither here nor among the
    /// backends any more is gone, and its pod with it: nothing else leaves a Service by way of terminating.
    pub terminating: Vec<SocketAddr>,
    /// `spec.healthCheckNodePort` and how many endpoints of this node are ready.
    pub health_check: Option<HealthCheck>,
}

/// One place where clients reach a Service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Frontend {
    /// Destination address.
    pub at: FrontendAddress,
    /// Protocol.
    pub protocol: Protocol,
    /// Destination port.
    pub port: u16,
    /// What kind of place it is.
    pub kind: FrontendKind,
    /// Name of the Service port; may be empty.
    pub port_name: String,
    /// For clients on this node: its pods, its host-network pods, its own processes.
    pub inside: Reach,
    /// For packets that arrive at this node from elsewhere. For a ClusterIP the same backends as `inside`.
    pub outside: Reach,
    /// Who may use it; empty: everyone. Only load balancer addresses have any. They hold for clients of
    /// this node as for all others. When a Service gives ranges of the other family only, they stand here and admit nobody.
    pub source_ranges: Vec<IpNet>,
    /// A client keeps its backend until it made no new connection for that long.
    pub affinity_timeout_seconds: Option<u32>,
    /// How a backend is chosen.
    pub algorithm: Algorithm,
    /// How packets from elsewhere go to a backend of another node, and how answers return.
    pub forwarding: Forwarding,
}

/// Destination address of a frontend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum FrontendAddress {
    /// This one.
    Ip(IpAddr),
    /// Each IPv4 address of this node that NodePorts are served on.
    NodeIpv4,
    /// Each IPv6 address of this node that NodePorts are served on.
    NodeIpv6,
}

/// What kind of place a frontend is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FrontendKind {
    /// `spec.clusterIPs`.
    ClusterIp,
    /// `spec.externalIPs`.
    ExternalIp,
    /// `status.loadBalancer.ingress` with `ipMode: VIP`.
    LoadBalancer,
    /// `spec.ports[].nodePort`.
    NodePort,
}

/// What becomes of a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "reach")]
pub enum Reach {
    /// It goes to a backend. The set is never empty.
    Backends {
        /// Index into [`ServicePlan::sets`].
        set: usize,
        /// Backends see an address of this node instead of the client's, unless the client is a pod of
        /// this node, whose address they can answer.
        hide_client: bool,
    },
    /// Refused: TCP reset or ICMP port unreachable. No endpoint exists.
    Reject,
    /// Dropped without a word: policy Local, and this node has no endpoint.
    Drop,
}

/// Backends of one family, in order of address and port, so that every node builds the same tables.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize)]
pub struct BackendSet {
    /// The backends; addresses with ports are unique.
    pub backends: Vec<Backend>,
}

/// Where a connection may go.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backend {
    /// Address.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
    /// Relative share, 1 unless an annotation says otherwise.
    pub weight: u16,
    /// Whether it runs on this node.
    pub local: bool,
    /// Node it runs on.
    pub node: Option<NodeName>,
}

/// How a backend is chosen for a new connection; IPVS's algorithms by annotation `seaway.dev/algorithm`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Algorithm {
    /// At random, by weight.
    #[default]
    Random,
    /// By a hash of the whole flow, equal on all nodes, with few changes when backends change.
    Maglev,
    /// By a hash of the client's address, equal on all nodes.
    SourceHash,
    /// One after the other, by weight.
    RoundRobin,
    /// The one with fewest connections of this node, by weight.
    LeastConnection,
}

/// How packets from elsewhere go to a backend of another node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Forwarding {
    /// Through this node in both directions.
    #[default]
    Nat,
    /// The backend's node answers the client directly and the client's address is kept. `hide_client`
    /// then says only what to do where that is not possible.
    DirectReturn,
}

/// A health check port for an outside load balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthCheck {
    /// `spec.healthCheckNodePort`.
    pub port: u16,
    /// Ready endpoints on this node; terminating ones do not count.
    pub local_ready_endpoints: u32,
}

// === impl FrontendAddress ===

impl FrontendAddress {
    /// Whether it is of IPv4.
    #[must_use]
    pub fn is_ipv4(&self) -> bool {
        match self {
            FrontendAddress::Ip(address) => address.is_ipv4(),
            FrontendAddress::NodeIpv4 => true,
            FrontendAddress::NodeIpv6 => false,
        }
    }
}

impl fmt::Display for FrontendAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrontendAddress::Ip(address) => address.fmt(f),
            FrontendAddress::NodeIpv4 => f.write_str("the nodes' IPv4 addresses"),
            FrontendAddress::NodeIpv6 => f.write_str("the nodes' IPv6 addresses"),
        }
    }
}

// === impl ServicePlan ===

impl ServicePlan {
    /// The backends that `reach` means; empty when it means none.
    #[must_use]
    pub fn backends(&self, reach: Reach) -> &[Backend] {
        match reach {
            Reach::Backends { set, .. } => self.sets.get(set).map(|set| set.backends.as_slice()).unwrap_or_default(),
            Reach::Reject | Reach::Drop => &[],
        }
    }
}
