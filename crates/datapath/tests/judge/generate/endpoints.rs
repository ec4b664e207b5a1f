//! Random EndpointSlices.

use std::net::IpAddr;
use std::sync::Arc;

use seaway_model::service::{AddressType, Endpoint, EndpointPort};
use seaway_model::{EndpointSlice, NodeName, PodRef, Service, ServiceChange, SliceRef};

use super::services::named;
use crate::random::Random;
use crate::world::addresses::{Kind, address};

const TARGETS: [u16; 3] = [8080, 8081, 9090];
const ZONES: [&str; 3] = ["west", "east", "north"];
const NODES: [&str; 3] = ["node-1", "node-2", "node-3"];

/// How a slice hints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hints {
    None,
    Zones,
    Nodes,
    /// Both, here and there.
    Some,
}

/// The name of a slice of a Service.
pub(super) fn slice_named(number: u8, which: u8) -> SliceRef {
    SliceRef { namespace: "shop".into(), name: format!("service-{number}-{which}") }
}

/// The slices of a Service: up to two of each family.
pub(super) fn slices(random: &mut Random, number: u8, service: &Service) -> Vec<ServiceChange> {
    let mut changes = Vec::new();
    let hints = *random.one(&[Hints::None, Hints::None, Hints::None, Hints::Zones, Hints::Nodes, Hints::Some]);
    for which in 0..4 {
        if random.percent(70) {
            let now = slice(random, number, service, which, hints);
            changes.push(ServiceChange::Slice { of: slice_named(number, which), now: Some(Arc::new(now)) });
        }
    }
    changes
}

/// One of them, anew.
pub(super) fn changed_slice(random: &mut Random, number: u8, service: &Service) -> ServiceChange {
    let which = random.small(0..4);
    let hints = *random.one(&[Hints::None, Hints::Zones, Hints::Nodes, Hints::Some]);
    let now = slice(random, number, service, which, hints);
    ServiceChange::Slice { of: slice_named(number, which), now: Some(Arc::new(now)) }
}

fn slice(random: &mut Random, number: u8, service: &Service, which: u8, hints: Hints) -> EndpointSlice {
    let ipv4 = which.is_multiple_of(2);
    let count = if random.percent(15) { 0 } else { random.small(1..6) };
    EndpointSlice {
        imported: None,
        service: Some(named(number).name).filter(|_| !random.percent(2)),
        address_type: match random.within(0..60) {
            0 => AddressType::Name,
            _ if ipv4 => AddressType::IPv4,
            _ => AddressType::IPv6,
        },
        ports: service.ports.iter().filter_map(|port| endpoint_port(random, port)).collect(),
        endpoints: (0..count).map(|_| endpoint(random, ipv4, hints)).collect(),
        changed_at_milliseconds: None,
    }
}

fn endpoint_port(random: &mut Random, port: &seaway_model::service::ServicePort) -> Option<EndpointPort> {
    if random.percent(4) {
        return None;
    }
    let number = if random.percent(2) { None } else { Some(*random.one(&TARGETS)) };
    Some(EndpointPort { name: port.name.clone(), protocol: port.protocol, port: number, app_protocol: None })
}

/// A ready endpoint.
pub(crate) fn plain_endpoint(address: IpAddr, node: Option<&str>) -> Endpoint {
    Endpoint {
        addresses: vec![address],
        ready: true,
        serving: true,
        terminating: false,
        hostname: None,
        node: node.map(NodeName::from),
        zone: None,
        pod: None,
        zone_hints: Vec::new(),
        node_hints: Vec::new(),
    }
}

fn endpoint(random: &mut Random, ipv4: bool, hints: Hints) -> Endpoint {
    let node = *random.one(&[1, 1, 2, 3]);
    let number = random.small(1..7);
    let name = NODES[usize::from(node - 1)];
    let (address, node) = match random.within(0..40) {
        0..3 => (address(Kind::Node, node, ipv4), Some(name)),
        3..5 => (address(Kind::Outside, 200 + number, ipv4), None),
        5 => (address(Kind::Pod(node), number, !ipv4), Some(name)),
        6 => (unusable(random, ipv4), Some(name)),
        _ => (address(Kind::Pod(node), number, ipv4), Some(name)),
    };
    let mut endpoint = plain_endpoint(address, node);
    endpoint.pod = Some(PodRef { namespace: "shop".into(), name: format!("pod-{number}") });
    endpoint.zone = Some((*random.one(&ZONES)).into());
    set_conditions(random, &mut endpoint);
    let is_hinted = |of: Hints, random: &mut Random| hints == of || (hints == Hints::Some && random.percent(50));
    if is_hinted(Hints::Zones, random) {
        endpoint.zone_hints = vec![(*random.one(&ZONES)).into()];
    }
    if is_hinted(Hints::Nodes, random) {
        endpoint.node_hints = vec![NodeName::from(*random.one(&NODES))];
    }
    endpoint
}

/// Other conditions for an endpoint.
pub(super) fn set_conditions(random: &mut Random, endpoint: &mut Endpoint) {
    let (ready, serving, terminating) = match random.within(0..20) {
        0..13 => (true, true, false),
        13..15 => (false, false, false),
        15..18 => (false, true, true),
        18 => (false, false, true),
        _ => (false, true, false),
    };
    (endpoint.ready, endpoint.serving, endpoint.terminating) = (ready, serving, terminating);
}

fn unusable(random: &mut Random, ipv4: bool) -> IpAddr {
    let texts = if ipv4 { ["127.0.0.1", "169.254.1.9", "224.0.0.1"] } else { ["::1", "fe80::9", "ff02::1"] };
    random.one(&texts).parse().expect("an address")
}
