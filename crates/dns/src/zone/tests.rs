use std::net::IpAddr;
use std::sync::Arc;

use seaway_model::feed::FeedChange;
use seaway_model::service::{
    AddressType, Endpoint, EndpointPort, EndpointSlice, Service, ServiceKind, ServicePort, TrafficDistribution,
    TrafficPolicy,
};
use seaway_model::{Labels, Namespace, NodeName, Pod, PodRef, Protocol, ServiceRef, SliceRef};

use super::*;

mod coredns_tables;
mod corner;
mod imports;
pub(crate) mod judge;
mod outside;

/// A Service to be told; reads as a sentence.
pub(crate) fn service(addresses: &[&str], ports: &[(&str, u16)]) -> Service {
    Service {
        uid: "uid".to_owned(),
        created_at_seconds: 0,
        kind: ServiceKind::ClusterIP,
        cluster_ips: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        headless: addresses.is_empty(),
        ports: ports
            .iter()
            .map(|(name, port)| ServicePort {
                name: (*name).to_owned(),
                protocol: Protocol::Tcp,
                port: *port,
                node_port: None,
                app_protocol: None,
            })
            .collect(),
        external_ips: Vec::new(),
        ingress: Vec::new(),
        load_balancer_class: None,
        source_ranges: Vec::new(),
        affinity_timeout_seconds: None,
        internal_policy: TrafficPolicy::Cluster,
        external_policy: TrafficPolicy::Cluster,
        health_check_node_port: None,
        publish_not_ready_addresses: false,
        traffic_distribution: TrafficDistribution::Any,
        external_name: None,
        labels: Labels::new(),
        annotations: Labels::new(),
    }
}

pub(crate) fn external(name: &str) -> Service {
    Service {
        kind: ServiceKind::ExternalName,
        headless: false,
        external_name: Some(name.to_owned()),
        ..service(&["0.0.0.0"], &[])
    }
}

pub(crate) fn endpoint(address: &str, hostname: Option<&str>) -> Endpoint {
    Endpoint {
        addresses: vec![address.parse().unwrap()],
        ready: true,
        serving: true,
        terminating: false,
        hostname: hostname.map(Into::into),
        node: None,
        zone: None,
        pod: None,
        zone_hints: Vec::new(),
        node_hints: Vec::new(),
    }
}

pub(crate) fn slice(service: &str, endpoints: Vec<Endpoint>, ports: &[(&str, u16)]) -> EndpointSlice {
    let v6 = endpoints.iter().any(|endpoint| endpoint.address().is_some_and(|a| a.is_ipv6()));
    EndpointSlice {
        imported: None,
        changed_at_milliseconds: None,
        service: Some(service.to_owned()),
        address_type: if v6 { AddressType::IPv6 } else { AddressType::IPv4 },
        ports: ports
            .iter()
            .map(|(name, port)| EndpointPort {
                name: (*name).to_owned(),
                protocol: Protocol::Tcp,
                port: Some(*port),
                app_protocol: None,
            })
            .collect(),
        endpoints,
    }
}

pub(crate) fn tell_service(of: &str, service: Service) -> FeedChange {
    FeedChange::Service { of: service_ref(of), now: Some(Arc::new(service)) }
}

pub(crate) fn tell_slice(name: &str, now: EndpointSlice) -> FeedChange {
    let (namespace, name) = name.split_once('/').unwrap();
    let of = SliceRef { namespace: namespace.to_owned(), name: name.to_owned() };
    FeedChange::Slice { of, now: Some(Arc::new(now)) }
}

pub(crate) fn tell_namespace(name: &str) -> FeedChange {
    FeedChange::Namespace { of: name.to_owned(), now: Some(Arc::new(Namespace::default())) }
}

pub(crate) fn tell_pod(of: &str, address: &str, node: &str) -> FeedChange {
    let addresses: Vec<IpAddr> = vec![address.parse().unwrap()];
    let pod = Pod { addresses, node: Some(NodeName::from(node)), ..Pod::default() };
    FeedChange::Pod { of: pod_ref(of), now: Some(Arc::new(pod)) }
}

pub(crate) fn begin() -> FeedChange {
    FeedChange::Begin { node: NodeName::from("n1") }
}

pub(crate) fn service_ref(of: &str) -> ServiceRef {
    let (namespace, name) = of.split_once('/').unwrap();
    ServiceRef::new(namespace, name)
}

pub(crate) fn pod_ref(of: &str) -> PodRef {
    let (namespace, name) = of.split_once('/').unwrap();
    PodRef { namespace: namespace.to_owned(), name: name.to_owned() }
}
