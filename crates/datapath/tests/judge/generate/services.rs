//! Random Services.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use seaway_model::service::{IngressMode, LoadBalancerIngress, ServiceKind, ServicePort, TrafficPolicy};
use seaway_model::{Protocol, Service, ServiceChange, ServiceRef};

use super::endpoints;
use crate::random::Random;
use crate::world::addresses::{HERE, Kind, SECOND, address, range};

const PORTS: [u16; 4] = [53, 80, 443, 8080];
const ALGORITHMS: [&str; 5] = ["random", "maglev", "source-hash", "round-robin", "least-connection"];
const WEIGHTS: [&str; 3] = ["node/node-1=3", "node/node-2=2,zone/east=5", "pod/pod-1=7"];
const RANGES: [&str; 10] = [
    "198.51.100.0/29",
    "198.51.100.8/29",
    "10.83.1.0/29",
    "10.83.0.0/16",
    "192.0.2.0/24",
    "2001:db8:9::/125",
    "2001:db8:9::8/125",
    "fd83::/48",
    "0.0.0.0/0",
    "::/0",
];

/// The name of a number.
pub(super) fn named(number: u8) -> ServiceRef {
    ServiceRef::new("shop", format!("service-{number}"))
}

/// A Service and its slices.
pub(super) fn with_slices(random: &mut Random, number: u8) -> Vec<ServiceChange> {
    let service = service(random, number);
    let mut changes = endpoints::slices(random, number, &service);
    let at = if random.percent(50) { 0 } else { changes.len() };
    changes.insert(at, ServiceChange::Service { of: named(number), now: Some(Arc::new(service)) });
    changes
}

/// A ClusterIP Service that asks for nothing special.
pub(crate) fn plain_service(cluster_ips: Vec<IpAddr>) -> Service {
    Service {
        uid: "uid".to_owned(),
        created_at_seconds: 1,
        kind: ServiceKind::ClusterIP,
        cluster_ips,
        headless: false,
        ports: Vec::new(),
        external_ips: Vec::new(),
        ingress: Vec::new(),
        load_balancer_class: None,
        source_ranges: Vec::new(),
        affinity_timeout_seconds: None,
        internal_policy: TrafficPolicy::Cluster,
        external_policy: TrafficPolicy::Cluster,
        health_check_node_port: None,
        publish_not_ready_addresses: false,
        traffic_distribution: Default::default(),
        external_name: None,
        labels: Default::default(),
        annotations: Default::default(),
    }
}

/// A Service of this number.
pub(super) fn service(random: &mut Random, number: u8) -> Service {
    let cluster_ips = cluster_ips(random, number);
    let mut service = plain_service(cluster_ips);
    service.uid = format!("uid-{number}-{}", random.within(0..1000));
    service.created_at_seconds = i64::from(random.small(1..6));
    service.kind = *random.one(&[
        ServiceKind::ClusterIP,
        ServiceKind::ClusterIP,
        ServiceKind::NodePort,
        ServiceKind::NodePort,
        ServiceKind::LoadBalancer,
        ServiceKind::LoadBalancer,
        ServiceKind::LoadBalancer,
    ]);
    service.ports = ports(random, service.kind);
    if random.percent(25) {
        service.external_ips = (0..random.small(1..3)).map(|_| virtual_address(random)).collect();
    }
    if service.kind == ServiceKind::LoadBalancer {
        service.ingress = (0..random.small(0..4)).map(|_| ingress(random)).collect();
        service.health_check_node_port = random.percent(20).then_some(32000);
    }
    if random.percent(30) {
        service.source_ranges = (0..random.small(1..3)).map(|_| source_range(random)).collect();
    }
    service.affinity_timeout_seconds = random.percent(20).then(|| *random.one(&[600, 10800]));
    let policy = |random: &mut Random| if random.percent(35) { TrafficPolicy::Local } else { TrafficPolicy::Cluster };
    service.internal_policy = policy(random);
    service.external_policy = policy(random);
    service.publish_not_ready_addresses = random.percent(10);
    odd(random, &mut service);
    service
}

/// What few Services have.
fn odd(random: &mut Random, service: &mut Service) {
    if random.percent(30) {
        service.annotations.insert("seaway.dev/algorithm".into(), (*random.one(&ALGORITHMS)).into());
    }
    if random.percent(15) {
        service.annotations.insert("seaway.dev/weights".into(), (*random.one(&WEIGHTS)).into());
    }
    if random.percent(10) {
        service.annotations.insert("seaway.dev/forwarding".into(), "dsr".into());
    }
    match random.within(0..50) {
        0 => {
            service.headless = true;
            service.cluster_ips.clear();
        }
        1 => {
            service.kind = ServiceKind::ExternalName;
            service.cluster_ips.clear();
        }
        2 => drop(service.labels.insert("service.kubernetes.io/service-proxy-name".into(), "other".into())),
        3 => drop(service.labels.insert("service.kubernetes.io/headless".into(), String::new())),
        _ => {}
    }
}

fn cluster_ips(random: &mut Random, number: u8) -> Vec<IpAddr> {
    // Now and then another number: two Services that claim one address, or a changed address.
    let number = if random.percent(5) { random.small(1..60) } else { number };
    let (v4, v6) = (address(Kind::Service, number, true), address(Kind::Service, number, false));
    match random.within(0..4) {
        0 => vec![v4],
        1 => vec![v6],
        2 => vec![v4, v6],
        _ => vec![v6, v4],
    }
}

fn ports(random: &mut Random, kind: ServiceKind) -> Vec<ServicePort> {
    let count = random.small(1..4);
    let mut ports: Vec<ServicePort> = Vec::new();
    for index in 0..count {
        let protocol = *random.one(&[Protocol::Tcp, Protocol::Tcp, Protocol::Udp, Protocol::Udp, Protocol::Sctp]);
        let port = *random.one(&PORTS);
        if ports.iter().any(|known| (known.protocol, known.port) == (protocol, port)) {
            continue;
        }
        let has_node_port = kind != ServiceKind::ClusterIP && random.percent(85);
        let node_port = has_node_port.then(|| 30000 + u16::from(random.small(0..20)));
        let name = if count == 1 { String::new() } else { format!("port-{index}") };
        ports.push(ServicePort { name, protocol, port, node_port, app_protocol: None });
    }
    ports
}

fn ingress(random: &mut Random) -> LoadBalancerIngress {
    let is_named = random.percent(5);
    LoadBalancerIngress {
        address: (!is_named).then(|| virtual_address(random)),
        hostname: is_named.then(|| "shop.example".to_owned()),
        mode: if random.percent(10) { IngressMode::Proxy } else { IngressMode::Vip },
    }
}

/// An external IP or a load balancer's address; some are ones that must be refused.
fn virtual_address(random: &mut Random) -> IpAddr {
    let ipv4 = random.percent(60);
    match random.within(0..40) {
        0 => address(Kind::Node, random.small(1..4), ipv4),
        1 => address(Kind::Node, SECOND, ipv4),
        2 => address(Kind::Service, random.small(1..40), ipv4),
        3 => address(Kind::Pod(HERE), random.small(1..7), ipv4),
        4 => address(Kind::Outside, random.small(1..16), ipv4),
        5 => *random.one(
            &["127.0.0.1", "169.254.7.7", "::1", "224.0.0.9", "0.0.0.0"].map(|text| text.parse().expect("an address")),
        ),
        _ => address(Kind::Virtual, random.small(1..24), ipv4),
    }
}

fn source_range(random: &mut Random) -> IpNet {
    range(random.one::<&str>(&RANGES))
}
