//! Services and slices. What of an object cannot be used is left out and named; the rest serves:
//! one bad address among five thousand must not freeze the others.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::api::networking::v1 as networking;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use seaway_model::labels::Labels;
use seaway_model::service::{
    AddressType, Endpoint, EndpointPort, ImportedSlice, IngressMode, LoadBalancerIngress, ServiceKind, ServicePort,
    TrafficDistribution, TrafficPolicy,
};
use seaway_model::{EndpointSlice, NodeName, PodRef, Protocol, Service};

use crate::InvalidObject;

/// `sessionAffinityConfig.clientIP.timeoutSeconds` as the API server would fill it in.
const DEFAULT_AFFINITY_SECONDS: i32 = 10_800;

/// Which annotations the network reads.
const ANNOTATION_DOMAINS: [&str; 4] =
    ["seaway.dev/", "service.cilium.io/", "service.kubernetes.io/", "external-dns.alpha.kubernetes.io/"];

/// Collects what is wrong with one object.
pub(super) struct Flaws {
    kind: &'static str,
    name: String,
    pub(super) found: Vec<InvalidObject>,
}

impl Flaws {
    pub(super) fn of(kind: &'static str, metadata: &ObjectMeta) -> Flaws {
        let name = metadata.name.as_deref().unwrap_or_default();
        let name = match metadata.namespace.as_deref() {
            Some(namespace) => format!("{namespace}/{name}"),
            None => name.to_owned(),
        };
        Flaws { kind, name, found: Vec::new() }
    }

    pub(super) fn add(&mut self, field: &'static str, value: impl ToString, reason: &str) {
        let (kind, name, value) = (self.kind, self.name.clone(), value.to_string());
        self.found.push(InvalidObject { kind, name, field, value, reason: reason.to_owned() });
    }

    pub(super) fn address(&mut self, field: &'static str, text: &str) -> Option<IpAddr> {
        let address = address(text);
        if address.is_none() {
            self.add(field, text, "is not an IP address; it is left out");
        }
        address
    }

    fn range(&mut self, field: &'static str, text: &str) -> Option<IpNet> {
        let range = range(text);
        if range.is_none() {
            self.add(field, text, "is not an address range; it is left out");
        }
        range
    }

    pub(super) fn port(&mut self, field: &'static str, number: i32) -> Option<u16> {
        let port = u16::try_from(number).ok().filter(|port| *port != 0);
        if port.is_none() {
            self.add(field, number, "is not a port; it is left out");
        }
        port
    }

    pub(super) fn protocol(&mut self, field: &'static str, text: Option<&str>) -> Option<Protocol> {
        match text {
            None | Some("TCP") => Some(Protocol::Tcp),
            Some("UDP") => Some(Protocol::Udp),
            Some("SCTP") => Some(Protocol::Sctp),
            Some(other) => {
                self.add(field, other, "is not a protocol that Services know; the port is left out");
                None
            }
        }
    }

    fn policy(&mut self, field: &'static str, text: Option<&str>) -> TrafficPolicy {
        match text {
            None | Some("" | "Cluster") => TrafficPolicy::Cluster,
            Some("Local") => TrafficPolicy::Local,
            Some(other) => {
                self.add(field, other, "is not known; it counts as Cluster");
                TrafficPolicy::Cluster
            }
        }
    }
}

pub(crate) fn service(object: &core::Service) -> (Service, Vec<InvalidObject>) {
    let mut flaws = Flaws::of("Service", &object.metadata);
    let empty = core::ServiceSpec::default();
    let spec = object.spec.as_ref().unwrap_or(&empty);
    let cluster_ips = match spec.cluster_ips.as_deref() {
        Some(several) if !several.is_empty() => several,
        _ => spec.cluster_ip.as_slice(),
    };
    let headless = cluster_ips.iter().any(|text| text == "None");
    let cluster_ips = cluster_ips.iter().filter(|text| !matches!(text.as_str(), "" | "None"));
    let external_ips = spec.external_ips.iter().flatten();
    let source_ranges = spec.load_balancer_source_ranges.iter().flatten();
    let (labels, annotations) = read_labels(&object.metadata);
    let converted = Service {
        uid: object.metadata.uid.clone().unwrap_or_default(),
        created_at_seconds: object.metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second()),
        kind: kind(&mut flaws, spec.type_.as_deref()),
        cluster_ips: cluster_ips.filter_map(|text| flaws.address("spec.clusterIPs", text)).collect(),
        headless,
        ports: spec.ports.iter().flatten().filter_map(|port| service_port(&mut flaws, port)).collect(),
        external_ips: external_ips.filter_map(|text| flaws.address("spec.externalIPs", text)).collect(),
        ingress: ingress(&mut flaws, object),
        load_balancer_class: spec.load_balancer_class.clone(),
        source_ranges: source_ranges
            .filter_map(|text| flaws.range("spec.loadBalancerSourceRanges", text.trim()))
            .collect(),
        affinity_timeout_seconds: affinity_timeout_seconds(spec),
        internal_policy: flaws.policy("spec.internalTrafficPolicy", spec.internal_traffic_policy.as_deref()),
        external_policy: flaws.policy("spec.externalTrafficPolicy", spec.external_traffic_policy.as_deref()),
        health_check_node_port: spec
            .health_check_node_port
            .filter(|port| *port != 0)
            .and_then(|port| flaws.port("spec.healthCheckNodePort", port)),
        publish_not_ready_addresses: spec.publish_not_ready_addresses.unwrap_or(false),
        traffic_distribution: match spec.traffic_distribution.as_deref() {
            Some("PreferClose" | "PreferSameZone") => TrafficDistribution::PreferSameZone,
            Some("PreferSameNode") => TrafficDistribution::PreferSameNode,
            // Later kinds show as hints of the slices, too.
            _ => TrafficDistribution::Any,
        },
        external_name: spec.external_name.clone().filter(|name| !name.is_empty()),
        labels,
        annotations,
    };
    (converted, flaws.found)
}

fn kind(flaws: &mut Flaws, text: Option<&str>) -> ServiceKind {
    match text {
        None | Some("" | "ClusterIP") => ServiceKind::ClusterIP,
        Some("NodePort") => ServiceKind::NodePort,
        Some("LoadBalancer") => ServiceKind::LoadBalancer,
        Some("ExternalName") => ServiceKind::ExternalName,
        Some(other) => {
            flaws.add("spec.type", other, "is not known; it counts as ClusterIP");
            ServiceKind::ClusterIP
        }
    }
}

fn service_port(flaws: &mut Flaws, port: &core::ServicePort) -> Option<ServicePort> {
    Some(ServicePort {
        name: port.name.clone().unwrap_or_default(),
        protocol: flaws.protocol("spec.ports[].protocol", port.protocol.as_deref())?,
        port: flaws.port("spec.ports[].port", port.port)?,
        node_port: port.node_port.filter(|port| *port != 0).and_then(|port| flaws.port("spec.ports[].nodePort", port)),
        app_protocol: port.app_protocol.clone(),
    })
}

fn ingress(flaws: &mut Flaws, object: &core::Service) -> Vec<LoadBalancerIngress> {
    let status = object.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let entries = status.and_then(|balancer| balancer.ingress.as_ref()).into_iter().flatten();
    let mut converted = Vec::new();
    for entry in entries {
        let mode = match entry.ip_mode.as_deref() {
            None | Some("" | "VIP") => IngressMode::Vip,
            Some("Proxy") => IngressMode::Proxy,
            Some(other) => {
                // Going through the load balancer is right for every mode, the short way only for one.
                flaws.add("status.loadBalancer.ingress[].ipMode", other, "is not known; it counts as Proxy");
                IngressMode::Proxy
            }
        };
        let text = entry.ip.as_deref().filter(|text| !text.is_empty());
        let address = text.and_then(|text| flaws.address("status.loadBalancer.ingress[].ip", text));
        converted.push(LoadBalancerIngress { address, hostname: entry.hostname.clone(), mode });
    }
    converted
}

fn affinity_timeout_seconds(spec: &core::ServiceSpec) -> Option<u32> {
    if spec.session_affinity.as_deref() != Some("ClientIP") {
        return None;
    }
    let config = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
    let seconds = config.and_then(|client| client.timeout_seconds).unwrap_or(DEFAULT_AFFINITY_SECONDS);
    u32::try_from(seconds).ok().filter(|seconds| *seconds > 0)
}

/// The annotations that the network reads.
pub(super) fn read_annotations(metadata: &ObjectMeta) -> Labels {
    read_labels(metadata).1
}

fn read_labels(metadata: &ObjectMeta) -> (Labels, Labels) {
    let kept = |all: &Option<Labels>, domains: &[&str]| -> Labels {
        let read = |key: &String| domains.iter().any(|domain| key.starts_with(domain));
        let all = all.iter().flatten().filter(|(key, _)| read(key));
        all.map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    (kept(&metadata.labels, &["service.kubernetes.io/"]), kept(&metadata.annotations, &ANNOTATION_DOMAINS))
}

pub(crate) fn slice(object: &discovery::EndpointSlice) -> (EndpointSlice, Vec<InvalidObject>) {
    let mut flaws = Flaws::of("EndpointSlice", &object.metadata);
    let owner = object.metadata.labels.as_ref().and_then(|labels| labels.get("kubernetes.io/service-name"));
    let address_type = match object.address_type.as_str() {
        "IPv4" => AddressType::IPv4,
        "IPv6" => AddressType::IPv6,
        "FQDN" => AddressType::Name,
        other => {
            flaws.add("addressType", other, "is not known; the slice serves nothing");
            AddressType::Name
        }
    };
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    let converted = EndpointSlice {
        service: owner.filter(|name| !name.is_empty()).cloned(),
        address_type,
        ports: object.ports.iter().flatten().filter_map(|port| endpoint_port(&mut flaws, port)).collect(),
        endpoints: object
            .endpoints
            .iter()
            .flatten()
            .map(|one| endpoint(&mut flaws, one, address_type, namespace))
            .collect(),
        changed_at_milliseconds: changed_at(object),
        imported: imported(&object.metadata).map(Box::new),
    };
    (converted, flaws.found)
}

/// The labels of a slice that was made for endpoints of another cluster (KEP-1645).
fn imported(metadata: &ObjectMeta) -> Option<ImportedSlice> {
    let labels = metadata.labels.as_ref()?;
    let service = labels.get("multicluster.kubernetes.io/service-name").filter(|name| !name.is_empty())?;
    let cluster = labels.get("multicluster.kubernetes.io/source-cluster");
    Some(ImportedSlice { service: service.clone(), cluster: cluster.cloned().unwrap_or_default() })
}

/// A time that cannot be read is none: it only feeds a metric.
fn changed_at(object: &discovery::EndpointSlice) -> Option<i64> {
    let text = object.metadata.annotations.as_ref()?.get("endpoints.kubernetes.io/last-change-trigger-time")?;
    let time = serde_json::from_value::<MicroTime>(text.as_str().into()).ok()?;
    Some(time.0.as_millisecond())
}

fn endpoint_port(flaws: &mut Flaws, port: &discovery::EndpointPort) -> Option<EndpointPort> {
    Some(EndpointPort {
        name: port.name.clone().unwrap_or_default(),
        protocol: flaws.protocol("ports[].protocol", port.protocol.as_deref())?,
        port: port.port.and_then(|number| flaws.port("ports[].port", number)),
        app_protocol: port.app_protocol.clone(),
    })
}

fn endpoint(flaws: &mut Flaws, one: &discovery::Endpoint, kind: AddressType, namespace: &str) -> Endpoint {
    let texts: &[String] = if kind == AddressType::Name { &[] } else { &one.addresses };
    let conditions = one.conditions.as_ref();
    let hints = one.hints.as_ref();
    let zones = hints.and_then(|hints| hints.for_zones.as_ref()).into_iter().flatten();
    let nodes = hints.and_then(|hints| hints.for_nodes.as_ref()).into_iter().flatten();
    let pod = one.target_ref.as_ref().filter(|target| target.kind.as_deref() == Some("Pod"));
    Endpoint {
        addresses: texts.iter().filter_map(|text| flaws.address("endpoints[].addresses", text)).collect(),
        ready: conditions.and_then(|conditions| conditions.ready).unwrap_or(true),
        serving: conditions.and_then(|conditions| conditions.serving).unwrap_or(true),
        terminating: conditions.and_then(|conditions| conditions.terminating).unwrap_or(false),
        hostname: one.hostname.as_deref().filter(|name| !name.is_empty()).map(Into::into),
        node: one.node_name.as_deref().map(NodeName::from),
        zone: one.zone.as_deref().map(Into::into),
        pod: pod.map(|target| PodRef {
            namespace: target.namespace.clone().unwrap_or_else(|| namespace.to_owned()),
            name: target.name.clone().unwrap_or_default(),
        }),
        zone_hints: zones.map(|hint| hint.name.as_str().into()).collect(),
        node_hints: nodes.map(|hint| NodeName::from(hint.name.as_str())).collect(),
    }
}

pub(crate) fn service_ranges(object: &networking::ServiceCIDR) -> (Vec<IpNet>, Vec<InvalidObject>) {
    let mut flaws = Flaws::of("ServiceCIDR", &object.metadata);
    let texts = object.spec.as_ref().and_then(|spec| spec.cidrs.as_ref()).into_iter().flatten();
    let ranges = texts.filter_map(|text| flaws.range("spec.cidrs", text)).collect();
    (ranges, flaws.found)
}

/// An address as Kubernetes reads it: numbers with leading zeros are decimal (CVE-2021-29923), and an
/// IPv4-mapped IPv6 address is IPv4.
fn address(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    let mut octets = [0u8; 4];
    let mut numbers = text.split('.');
    for octet in &mut octets {
        let number = numbers.next().filter(|number| number.bytes().all(|digit| digit.is_ascii_digit()))?;
        *octet = number.parse().ok()?;
    }
    numbers.next().is_none().then(|| IpAddr::V4(Ipv4Addr::from(octets)))
}

/// A range; bits to the right of its prefix are cleared, as Kubernetes does.
fn range(text: &str) -> Option<IpNet> {
    let (base, length) = text.split_once('/')?;
    Some(IpNet::new(address(base)?, length.parse().ok()?).ok()?.trunc())
}

#[cfg(test)]
mod tests;
