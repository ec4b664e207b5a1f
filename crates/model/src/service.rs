//! Services and their endpoints, as the Kubernetes API has them (`v1.Service`,
//! `discovery.k8s.io/v1.EndpointSlice`), reduced to what the network needs.
//!
//! They travel as [`ServiceChange`]s and not in the snapshot: a cluster may have
//! hundreds of thousands of endpoints, and one changed slice must cost what that
//! slice costs.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::ids::{NodeName, PodRef};
use crate::labels::Labels;

/// A Service as people name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServiceRef {
    /// Namespace of the Service.
    pub namespace: String,
    /// Name of the Service.
    pub name: String,
}

/// An EndpointSlice as people name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SliceRef {
    /// Namespace of the slice.
    pub namespace: String,
    /// Name of the slice.
    pub name: String,
}

/// Something changed among Services and slices. A stream of them begins with everything there
/// is, then [`ServiceChange::Synced`]; a list that comes again later shows as differences only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "camelCase")]
pub enum ServiceChange {
    /// A Service was made or changed; without one: deleted.
    Service {
        /// Which.
        of: ServiceRef,
        /// What it is now.
        now: Option<Arc<Service>>,
    },
    /// A slice was made or changed; without one: deleted.
    Slice {
        /// Which.
        of: SliceRef,
        /// What it is now.
        now: Option<Arc<EndpointSlice>>,
    },
    /// Everything that exists has been told once.
    Synced,
}

/// Transport protocol of a Service port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// A Service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// Unique id of the object: another one under the same name is another Service.
    pub uid: String,
    /// Seconds since 1970 when it was created: who comes first keeps an address both claim.
    pub created_at_seconds: i64,
    /// `spec.type`.
    pub kind: ServiceKind,
    /// `spec.clusterIPs`; empty for headless Services and those of type ExternalName.
    pub cluster_ips: Vec<IpAddr>,
    /// `spec.clusterIP: None`.
    pub headless: bool,
    /// `spec.ports`.
    pub ports: Vec<ServicePort>,
    /// `spec.externalIPs`.
    pub external_ips: Vec<IpAddr>,
    /// `status.loadBalancer.ingress`.
    pub ingress: Vec<LoadBalancerIngress>,
    /// `spec.loadBalancerClass`.
    pub load_balancer_class: Option<String>,
    /// `spec.loadBalancerSourceRanges`; empty: everyone.
    pub source_ranges: Vec<IpNet>,
    /// `spec.sessionAffinity: ClientIP` with its timeout; none: no affinity.
    pub affinity_timeout_seconds: Option<u32>,
    /// `spec.internalTrafficPolicy`.
    pub internal_policy: TrafficPolicy,
    /// `spec.externalTrafficPolicy`.
    pub external_policy: TrafficPolicy,
    /// `spec.healthCheckNodePort`.
    pub health_check_node_port: Option<u16>,
    /// `spec.publishNotReadyAddresses`.
    pub publish_not_ready_addresses: bool,
    /// `spec.trafficDistribution`.
    pub traffic_distribution: TrafficDistribution,
    /// `spec.externalName`.
    pub external_name: Option<String>,
    /// Labels `service.kubernetes.io/…` and annotations of domains we read (`seaway.dev/…`,
    /// `service.cilium.io/…`, `service.kubernetes.io/…`, `external-dns.alpha.kubernetes.io/…`); all
    /// others are left out.
    pub labels: Labels,
    /// See `labels`.
    pub annotations: Labels,
}

/// `spec.type` of a Service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceKind {
    /// An address inside the cluster, or none when headless.
    #[default]
    ClusterIP,
    /// And a port on every node.
    NodePort,
    /// And an address given by a load balancer.
    LoadBalancer,
    /// A name elsewhere.
    ExternalName,
}

/// One port of a Service.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicePort {
    /// `name`; empty when the Service has one port without a name. Slices name theirs alike.
    pub name: String,
    /// `protocol`.
    pub protocol: Protocol,
    /// `port`.
    pub port: u16,
    /// `nodePort`.
    pub node_port: Option<u16>,
    /// `appProtocol`.
    pub app_protocol: Option<String>,
}

/// One entry of `status.loadBalancer.ingress`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadBalancerIngress {
    /// `ip`; none when the load balancer is known by name only.
    pub address: Option<IpAddr>,
    /// `hostname`.
    pub hostname: Option<String>,
    /// `ipMode`.
    pub mode: IngressMode,
}

/// `ipMode` of a load balancer's address (KEP-1860).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum IngressMode {
    /// Packets arrive at the node with this destination; clients in the cluster take the short way.
    #[default]
    #[serde(rename = "VIP")]
    Vip,
    /// The load balancer delivers to a node or pod address; clients in the cluster must go through it.
    Proxy,
}

/// Which endpoints may serve: all, or only those of the node that sees the packet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TrafficPolicy {
    /// All.
    #[default]
    Cluster,
    /// Those of this node.
    Local,
}

/// `spec.trafficDistribution`. `PreferClose` is the older name of `PreferSameZone` (KEP-3015).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TrafficDistribution {
    /// No preference.
    #[default]
    Any,
    /// Endpoints hinted for the client's zone.
    PreferSameZone,
    /// Endpoints hinted for the client's node, then for its zone.
    PreferSameNode,
}

/// Address family of a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AddressType {
    /// IPv4 addresses.
    IPv4,
    /// IPv6 addresses.
    IPv6,
    /// Names, which nothing in the data path understands.
    #[serde(rename = "FQDN")]
    Name,
}

/// An EndpointSlice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointSlice {
    /// Label `kubernetes.io/service-name`; a slice without it belongs to nobody.
    pub service: Option<String>,
    /// `addressType`.
    pub address_type: AddressType,
    /// `ports`; a port without a number means all ports and serves nothing here.
    pub ports: Vec<EndpointPort>,
    /// `endpoints`.
    pub endpoints: Vec<Endpoint>,
    /// When the pod or Service changed that made the slice change, in milliseconds since 1970:
    /// annotation `endpoints.kubernetes.io/last-change-trigger-time`.
    #[serde(default)]
    pub changed_at_milliseconds: Option<i64>,
    /// Of a Service of another cluster (KEP-1645); may be set beside `service`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<Box<ImportedSlice>>,
}

/// Where the endpoints of an imported Service come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImportedSlice {
    /// Label `multicluster.kubernetes.io/service-name`: the import, in the slice's namespace.
    pub service: String,
    /// Label `multicluster.kubernetes.io/source-cluster`: the cluster's id; empty when it is not told.
    pub cluster: String,
}

/// One port of a slice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointPort {
    /// Name of the Service port it belongs to; empty when that has none.
    pub name: String,
    /// Protocol.
    pub protocol: Protocol,
    /// Number, which may differ from slice to slice: that is how named target ports show.
    pub port: Option<u16>,
    /// `appProtocol`.
    pub app_protocol: Option<String>,
}

/// One endpoint of a slice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// `addresses`; consumers use the first (API: "all are assumed to be fungible").
    pub addresses: Vec<IpAddr>,
    /// `conditions.ready`; unset counts as true.
    pub ready: bool,
    /// `conditions.serving`; unset counts as true.
    pub serving: bool,
    /// `conditions.terminating`.
    pub terminating: bool,
    /// `hostname`.
    pub hostname: Option<Box<str>>,
    /// `nodeName`.
    pub node: Option<NodeName>,
    /// `zone`. Like the node's name, endpoints share its text.
    pub zone: Option<Arc<str>>,
    /// `targetRef`, when it is a Pod.
    pub pod: Option<PodRef>,
    /// `hints.forZones`.
    pub zone_hints: Vec<Box<str>>,
    /// `hints.forNodes`.
    pub node_hints: Vec<NodeName>,
}

// === impl ServiceRef ===

impl ServiceRef {
    /// The Service with this namespace and name.
    #[must_use]
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> ServiceRef {
        ServiceRef { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ServiceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

// === impl SliceRef ===

impl fmt::Display for SliceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

// === impl Protocol ===

impl Protocol {
    /// All.
    pub const ALL: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

    /// IANA's number, as in the IP header.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }

    /// The protocol with this number in the IP header.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Protocol> {
        match number {
            6 => Some(Protocol::Tcp),
            17 => Some(Protocol::Udp),
            132 => Some(Protocol::Sctp),
            _ => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
            Protocol::Sctp => "SCTP",
        })
    }
}

// === impl Endpoint ===

impl Endpoint {
    /// The address that is used.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.addresses.first().copied()
    }
}
