//! One Service as DNS needs it: compact, because there may be 100,000 endpoints.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use seaway_model::Protocol;
use seaway_model::names::ServiceImport;
use seaway_model::service::{EndpointSlice, Service, ServiceKind, ServicePort};
use serde::{Deserialize, Serialize};

use crate::wire::OwnedName;

/// A Service and its endpoints.
#[derive(Debug, Clone)]
pub struct ServiceRecords {
    /// Labels `<service>.<namespace>` in wire form, lower case.
    pub key: Arc<[u8]>,
    /// The Service; none while only slices that name it are known.
    pub spec: Option<Arc<Spec>>,
    /// Its slices.
    pub slices: Box<[Arc<SliceRecords>]>,
    /// An address stands in more than one of them.
    pub repeats: bool,
}

/// What the Service object says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// What stands behind the name.
    pub target: Target,
    /// Its ports.
    pub ports: Box<[PortRecord]>,
    /// Endpoints that are not ready count too.
    pub publish_not_ready: bool,
    /// Where it is reached from outside, if that is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outside: Option<Box<Outside>>,
}

/// Where a Service is reached from outside: external addresses, and those of its load balancer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outside {
    /// Addresses.
    pub addresses: Box<[IpAddr]>,
    /// Name of the load balancer.
    pub name: Option<OwnedName>,
}

/// What stands behind the name of a Service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// Its own addresses.
    Addresses(Box<[IpAddr]>),
    /// Its endpoints.
    Headless,
    /// Another name.
    Name(OwnedName),
    /// Of type ExternalName with something that is no name.
    Nothing,
}

/// A port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortRecord {
    /// Lower case; empty without a name.
    pub name: Box<[u8]>,
    /// Protocol.
    pub protocol: Protocol,
    /// Number.
    pub port: u16,
}

/// The endpoints of one slice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SliceRecords {
    /// Ports with a number.
    pub ports: Box<[PortRecord]>,
    /// Endpoints with an address.
    pub endpoints: Box<[EndpointRecord]>,
    /// Host names of all endpoints, one after the other.
    text: Box<[u8]>,
    /// Zones that endpoints name, lower case.
    zones: Box<[Box<[u8]>]>,
    /// Labels of the cluster it comes from in wire form, lower case; empty for our own.
    #[serde(default)]
    pub cluster: Box<[u8]>,
}

/// One endpoint. Kept on disk as a list, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "KeptEndpoint", into = "KeptEndpoint")]
pub struct EndpointRecord {
    address: PackedAddress,
    ready: bool,
    /// Index into the slice's zones plus one; 0 without a zone.
    zone: u8,
    /// Octets of the host name; 0 without one.
    name_octets: u8,
    name_at: u32,
}

/// Address, readiness, zone, octets and place of the name.
#[derive(Serialize, Deserialize)]
struct KeptEndpoint(IpAddr, bool, u8, u8, u32);

/// An address without the padding of [`IpAddr`] inside a larger struct.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PackedAddress {
    V4([u8; 4]),
    V6([u8; 16]),
}

/// Labels that an endpoint's name takes when it has no host name: `10-1-2-3`, `fd00--1`.
pub const DASHED_OCTETS: usize = 40;

// === impl Spec ===

impl Spec {
    /// What the object says; `outside`: zones for addresses outside are served.
    #[must_use]
    pub fn of(service: &Service, outside: bool) -> Self {
        let target = match service.kind {
            ServiceKind::ExternalName => external_target(service.external_name.as_deref()),
            _ if service.headless => Target::Headless,
            _ => Target::Addresses(service.cluster_ips.as_slice().into()),
        };
        let outside = Some(service).filter(|_| outside).and_then(outside_of);
        let (ports, publish_not_ready) = (ports(&service.ports), service.publish_not_ready_addresses);
        Self { target, ports, publish_not_ready, outside }
    }

    /// What an import says.
    #[must_use]
    pub fn of_import(import: &ServiceImport) -> Self {
        let target =
            if import.headless { Target::Headless } else { Target::Addresses(import.addresses.as_slice().into()) };
        Self { target, ports: ports(&import.ports), publish_not_ready: false, outside: None }
    }
}

fn ports(ports: &[ServicePort]) -> Box<[PortRecord]> {
    ports.iter().map(|port| PortRecord::new(&port.name, port.protocol, port.port)).collect()
}

fn outside_of(service: &Service) -> Option<Box<Outside>> {
    if service.kind == ServiceKind::ExternalName {
        return None;
    }
    let balancer = service.ingress.iter().filter_map(|ingress| ingress.address);
    let addresses: Box<[IpAddr]> = service.external_ips.iter().copied().chain(balancer).collect();
    let name = service.ingress.iter().find_map(|ingress| external_name(ingress.hostname.as_deref()));
    (!addresses.is_empty() || name.is_some()).then(|| Box::new(Outside { addresses, name }))
}

fn external_name(text: Option<&str>) -> Option<OwnedName> {
    text.filter(|text| !text.is_empty()).and_then(|text| OwnedName::parse(text).ok())
}

/// A name that looks like an address is a name all the same: Kubernetes says so of
/// `externalName`, and a CNAME can point nowhere else.
fn external_target(text: Option<&str>) -> Target {
    external_name(text).map_or(Target::Nothing, Target::Name)
}

// === impl PortRecord ===

impl PortRecord {
    fn new(name: &str, protocol: Protocol, port: u16) -> Self {
        Self { name: name.to_ascii_lowercase().into_bytes().into(), protocol, port }
    }

    /// Whether the labels `_port._protocol` without their underscores mean this port.
    #[must_use]
    pub fn is(&self, name: &[u8], protocol: &[u8]) -> bool {
        !self.name.is_empty() && *self.name == *name && protocol_label(self.protocol) == protocol
    }
}

/// The protocol as its label in a name spells it, without the underscore.
#[must_use]
pub fn protocol_label(protocol: Protocol) -> &'static [u8] {
    match protocol {
        Protocol::Tcp => b"tcp",
        Protocol::Udp => b"udp",
        Protocol::Sctp => b"sctp",
    }
}

// === impl SliceRecords ===

impl SliceRecords {
    /// What the object says; `pod_names`: endpoints without a host name are called as their pod.
    #[must_use]
    pub fn of(slice: &EndpointSlice, pod_names: bool) -> Self {
        let mut text = Vec::new();
        let mut zones: Vec<Box<[u8]>> = Vec::new();
        let mut endpoints = Vec::with_capacity(slice.endpoints.len());
        for endpoint in &slice.endpoints {
            let Some(address) = endpoint.address() else { continue };
            let pod = endpoint.pod.as_ref().filter(|_| pod_names).map(|pod| pod.name.as_str());
            let name = endpoint.hostname.as_deref().or(pod).filter(|name| is_label(name)).unwrap_or_default();
            let name_at = text.len() as u32;
            text.extend(name.bytes().map(|octet| octet.to_ascii_lowercase()));
            endpoints.push(EndpointRecord {
                address: PackedAddress::from(address),
                ready: endpoint.ready,
                zone: endpoint.zone.as_deref().map_or(0, |zone| intern(&mut zones, zone)),
                name_octets: name.len() as u8,
                name_at,
            });
        }
        let ports = slice.ports.iter().filter_map(|port| Some(PortRecord::new(&port.name, port.protocol, port.port?)));
        Self {
            ports: ports.collect(),
            endpoints: endpoints.into(),
            text: text.into(),
            zones: zones.into(),
            cluster: Box::default(),
        }
    }

    /// As [`SliceRecords::of`], for one that comes from another cluster; none when its id is no name.
    #[must_use]
    pub fn of_cluster(slice: &EndpointSlice, pod_names: bool, cluster: &str) -> Option<Self> {
        let name = OwnedName::parse(cluster).ok().filter(|name| name.labels() > 0)?;
        let labels = name.wire().get(..name.wire().len() - 1)?;
        Some(Self { cluster: labels.into(), ..Self::of(slice, pod_names) })
    }

    /// Host name of an endpoint of this slice, lower case; empty without one.
    #[must_use]
    pub fn name(&self, endpoint: &EndpointRecord) -> &[u8] {
        let from = endpoint.name_at as usize;
        self.text.get(from..from + usize::from(endpoint.name_octets)).unwrap_or_default()
    }

    /// Zone of an endpoint of this slice, lower case; empty without one.
    #[must_use]
    pub fn zone(&self, endpoint: &EndpointRecord) -> &[u8] {
        let index = usize::from(endpoint.zone).checked_sub(1);
        index.and_then(|index| self.zones.get(index)).map_or(&[], |zone| zone)
    }
}

fn is_label(name: &str) -> bool {
    !name.is_empty() && name.len() <= 63 && !name.contains('.')
}

/// Number of a zone in the list plus one; 0 when the list is full, which takes 255 zones in one slice.
fn intern(zones: &mut Vec<Box<[u8]>>, zone: &str) -> u8 {
    let zone = zone.to_ascii_lowercase();
    let known = zones.iter().position(|known| **known == *zone.as_bytes());
    let index = known.unwrap_or_else(|| {
        zones.push(zone.into_bytes().into());
        zones.len() - 1
    });
    u8::try_from(index + 1).unwrap_or(0)
}

// === impl EndpointRecord ===

impl EndpointRecord {
    /// Its address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        match self.address {
            PackedAddress::V4(octets) => Ipv4Addr::from(octets).into(),
            PackedAddress::V6(octets) => Ipv6Addr::from(octets).into(),
        }
    }

    /// Whether it may be given out.
    #[must_use]
    pub fn shown(&self, spec: &Spec) -> bool {
        self.ready || spec.publish_not_ready
    }

    /// Whether it has a host name of its own.
    #[must_use]
    pub fn named(&self) -> bool {
        self.name_octets > 0
    }
}

impl From<KeptEndpoint> for EndpointRecord {
    fn from(KeptEndpoint(address, ready, zone, name_octets, name_at): KeptEndpoint) -> Self {
        Self { address: address.into(), ready, zone, name_octets, name_at }
    }
}

impl From<EndpointRecord> for KeptEndpoint {
    fn from(kept: EndpointRecord) -> Self {
        Self(kept.address(), kept.ready, kept.zone, kept.name_octets, kept.name_at)
    }
}

impl From<IpAddr> for PackedAddress {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::V4(address.octets()),
            IpAddr::V6(address) => Self::V6(address.octets()),
        }
    }
}

/// Writes the label of an endpoint without a host name: its address with dashes.
pub fn dashed(address: IpAddr, into: &mut [u8; DASHED_OCTETS]) -> &[u8] {
    use std::io::Write;
    let mut rest: &mut [u8] = into;
    let before = rest.len();
    // Forty octets hold every address (39 at most), so this cannot fail.
    let _ = match address {
        IpAddr::V4(address) => write!(rest, "{address}"),
        IpAddr::V6(address) => write!(rest, "{address}"),
    };
    let length = before - rest.len();
    let label = into.get_mut(..length).unwrap_or_default();
    for octet in label.iter_mut() {
        if matches!(octet, b'.' | b':') {
            *octet = b'-';
        }
    }
    label
}

/// Reads such a label.
#[must_use]
pub fn undashed(label: &[u8]) -> Option<IpAddr> {
    let mut space = [0; DASHED_OCTETS - 1];
    let text = space.get_mut(..label.len())?;
    let mut spell = |separator| {
        for (to, from) in text.iter_mut().zip(label) {
            *to = if *from == b'-' { separator } else { *from };
        }
        std::str::from_utf8(text).ok()?.parse::<IpAddr>().ok()
    };
    let v4 = spell(b'.').filter(IpAddr::is_ipv4);
    v4.or_else(|| spell(b':').filter(IpAddr::is_ipv6))
}
