//! What is wrong with a Service. None of it disturbs anything else.

use std::net::IpAddr;

use ipnet::IpNet;
use seaway_model::{Diagnose, ErrorId, Protocol, ServiceRef, SliceRef};

use crate::plan::FrontendAddress;

/// Something of a Service that does not work as written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum ServiceProblem {
    /// Another Service has the place.
    #[error("Service {service}: {field}: {protocol} port {port} of {at} belongs to the older Service {owner}")]
    PlaceTaken {
        /// Which Service.
        service: ServiceRef,
        /// Field that claims it.
        field: &'static str,
        /// Address.
        at: FrontendAddress,
        /// Protocol.
        protocol: Protocol,
        /// Port.
        port: u16,
        /// Who has it.
        owner: ServiceRef,
    },
    /// The external IP is a node's.
    #[error("Service {service}: spec.externalIPs: {address} is the address of a node and is refused")]
    ExternalIpIsNode {
        /// Which Service.
        service: ServiceRef,
        /// Address.
        address: IpAddr,
    },
    /// The address is the ClusterIP of another Service.
    #[error("Service {service}: {field}: {address} is the ClusterIP of Service {owner} and is refused")]
    AddressIsClusterIp {
        /// Which Service.
        service: ServiceRef,
        /// Field that claims it.
        field: &'static str,
        /// Address.
        address: IpAddr,
        /// Whose ClusterIP it is.
        owner: ServiceRef,
    },
    /// The address is a pod's, or may become one's.
    #[error("Service {service}: {field}: {address} lies in the range {range} of pods and is refused")]
    AddressIsPods {
        /// Which Service.
        service: ServiceRef,
        /// Field that claims it.
        field: &'static str,
        /// Address.
        address: IpAddr,
        /// Range of a pool, a block or a node.
        range: IpNet,
    },
    /// The address has a meaning of its own on every host.
    #[error("Service {service}: {field}: {address} is loopback, link-local, multicast or unspecified and is refused")]
    UnusableAddress {
        /// Which Service.
        service: ServiceRef,
        /// Field that claims it.
        field: &'static str,
        /// Address.
        address: IpAddr,
    },
    /// The Service has no ClusterIP of the address's family, hence no endpoints of it.
    #[error(
        "Service {service}: {field}: {address} is of a family that spec.ipFamilies does not have; it is not served"
    )]
    FamilyMissing {
        /// Which Service.
        service: ServiceRef,
        /// Field that claims it.
        field: &'static str,
        /// Address.
        address: IpAddr,
    },
    /// A NodePort that the kernel may give to an outgoing connection.
    #[error(
        "Service {service}: spec.ports[].nodePort: {port} lies in this node's range of ephemeral ports {first}-{last}; \
         it is served, and outgoing connections with that port may suffer"
    )]
    NodePortIsEphemeral {
        /// Which Service.
        service: ServiceRef,
        /// The NodePort.
        port: u16,
        /// First port of `net.ipv4.ip_local_port_range`.
        first: u16,
        /// Last one.
        last: u16,
    },
    /// A Service port without a number.
    #[error("Service {service}: spec.ports[].port: port {name:?} is 0 and is not served")]
    PortIsZero {
        /// Which Service.
        service: ServiceRef,
        /// Name of the port.
        name: String,
    },
    /// A slice's port without a number.
    #[error("EndpointSlice {slice} of Service {service}: ports[].port: port {name:?} has no number and serves nothing")]
    SlicePortMissing {
        /// Which Service.
        service: ServiceRef,
        /// Which slice.
        slice: SliceRef,
        /// Name of the port.
        name: String,
    },
    /// Endpoints whose address cannot serve.
    #[error(
        "EndpointSlice {slice} of Service {service}: endpoints[].addresses: {count} of its endpoints, the first {}, \
         have an address that is loopback, link-local, multicast, unspecified or of another family; they get nothing",
        address.map_or_else(|| "without any address".to_owned(), |address| address.to_string())
    )]
    UnusableEndpoints {
        /// Which Service.
        service: ServiceRef,
        /// Which slice.
        slice: SliceRef,
        /// Address of the first.
        address: Option<IpAddr>,
        /// How many.
        count: usize,
    },
    /// An annotation that is not understood.
    #[error("Service {service}: metadata.annotations[{annotation}]: {value:?} is not understood and changes nothing")]
    UnknownAnnotationValue {
        /// Which Service.
        service: ServiceRef,
        /// Which annotation.
        annotation: &'static str,
        /// What it holds.
        value: String,
    },
    /// Source ranges were given, and none of them is of the address's family.
    #[error(
        "Service {service}: spec.loadBalancerSourceRanges: none is of the family of {address}, \
         so nobody reaches it there"
    )]
    NoSourceRangeOfFamily {
        /// Which Service.
        service: ServiceRef,
        /// The load balancer's address.
        address: IpAddr,
    },
}

// === impl ServiceProblem ===

impl ServiceProblem {
    /// The Service it is about.
    #[must_use]
    pub fn service(&self) -> &ServiceRef {
        match self {
            Self::PlaceTaken { service, .. }
            | Self::ExternalIpIsNode { service, .. }
            | Self::AddressIsClusterIp { service, .. }
            | Self::AddressIsPods { service, .. }
            | Self::UnusableAddress { service, .. }
            | Self::FamilyMissing { service, .. }
            | Self::NodePortIsEphemeral { service, .. }
            | Self::PortIsZero { service, .. }
            | Self::SlicePortMissing { service, .. }
            | Self::UnusableEndpoints { service, .. }
            | Self::UnknownAnnotationValue { service, .. }
            | Self::NoSourceRangeOfFamily { service, .. } => service,
        }
    }
}

impl Diagnose for ServiceProblem {
    fn id(&self) -> ErrorId {
        ErrorId(match self {
            Self::PlaceTaken { .. } => 1100,
            Self::ExternalIpIsNode { .. } => 1101,
            Self::AddressIsClusterIp { .. } => 1102,
            Self::UnusableAddress { .. } => 1103,
            Self::FamilyMissing { .. } => 1104,
            Self::NodePortIsEphemeral { .. } => 1105,
            Self::PortIsZero { .. } => 1106,
            Self::SlicePortMissing { .. } => 1107,
            Self::UnusableEndpoints { .. } => 1108,
            Self::UnknownAnnotationValue { .. } => 1109,
            Self::NoSourceRangeOfFamily { .. } => 1110,
            Self::AddressIsPods { .. } => 1111,
        })
    }

    fn fix(&self) -> String {
        match self {
            Self::PlaceTaken { owner, .. } => {
                format!("give one of the two another address or port, or delete {owner}: this one then takes the place at once")
            }
            Self::ExternalIpIsNode { .. } => {
                "use a NodePort to serve on node addresses, or an address that no node has".into()
            }
            Self::AddressIsClusterIp { .. } => {
                "take an address outside the Service ranges; find out who wrote this one, it would steal another Service's traffic".into()
            }
            Self::AddressIsPods { .. } => {
                "take an address outside the ranges of pods; find out who wrote this one, it would steal a pod's traffic".into()
            }
            Self::UnusableAddress { .. } => "take an address that is routed to the nodes".into(),
            Self::FamilyMissing { .. } => "set `spec.ipFamilyPolicy: PreferDualStack`, or remove the address".into(),
            Self::NodePortIsEphemeral { .. } => {
                "choose a NodePort outside that range, or add it to `net.ipv4.ip_local_reserved_ports` of the nodes".into()
            }
            Self::PortIsZero { .. } => "write a port from 1 to 65535".into(),
            Self::SlicePortMissing { .. } => "write the port's number into the slice; who made it is in its `managedFields`".into(),
            Self::UnusableEndpoints { .. } => "correct the slice; who made it is in its `managedFields`".into(),
            Self::UnknownAnnotationValue { .. } => "write one of the values that the annotation's reference lists".into(),
            Self::NoSourceRangeOfFamily { .. } => "add a range of that family, for example `::/0` to admit everyone".into(),
        }
    }
}
