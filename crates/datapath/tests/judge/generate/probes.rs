//! Random questions about what is there, what was there, and what never was.

use std::net::IpAddr;

use seaway_model::{Protocol, Service};

use crate::random::Random;
use crate::world::addresses::{HERE, Kind, SECOND, address, loopback};
use crate::world::cluster::Cluster;
use crate::world::scenario::{Client, Probe};

/// So many questions about these states of the cluster, mostly the first.
pub(super) fn about(random: &mut Random, clusters: &[&Cluster], count: usize) -> Vec<Probe> {
    let services = |cluster: &Cluster| -> Vec<Service> {
        cluster.services.values().map(|service| service.as_ref().clone()).collect()
    };
    let states: Vec<Vec<Service>> = clusters.iter().map(|cluster| services(cluster)).collect();
    let mut probes = Vec::new();
    while probes.len() < count {
        let state = if random.percent(85) { &states[0] } else { random.one(&states) };
        let (to, port, protocol) = destination(random, state);
        let client = client(random, to);
        let probe = Probe { client, to, port, protocol };
        probes.push(probe);
        // The same client again: it may have to come to the same backend.
        if random.percent(15) && probes.len() < count {
            probes.push(probe);
        }
    }
    probes
}

fn client(random: &mut Random, to: IpAddr) -> Client {
    if to.is_loopback() {
        // What a pod sends there never leaves it.
        let stranger = Client::Elsewhere(Kind::Outside, random.small(1..17));
        return if random.percent(80) { Client::Process } else { stranger };
    }
    match random.within(0..20) {
        0..7 => Client::Pod(random.small(1..13)),
        7..10 => Client::Process,
        10..16 => Client::Elsewhere(Kind::Outside, random.small(1..17)),
        16..18 => Client::Elsewhere(Kind::Pod(2), random.small(1..13)),
        _ => Client::Elsewhere(Kind::Node, random.small(2..4)),
    }
}

fn destination(random: &mut Random, services: &[Service]) -> (IpAddr, u16, Protocol) {
    let ipv4 = random.percent(50);
    let any_port = |random: &mut Random| *random.one(&[53, 80, 443, 8080, 30000, 30005, 9]);
    if services.is_empty() || random.percent(6) {
        let number = random.small(1..60);
        let kind = *random.one(&[Kind::Service, Kind::Virtual, Kind::Node, Kind::Pod(HERE), Kind::Pod(2)]);
        let number = if kind == Kind::Node { *random.one(&[1, 2, SECOND]) } else { number };
        return (address(kind, number, ipv4), any_port(random), *random.one(&Protocol::ALL));
    }
    let service = random.one(services);
    let Some(port) = (!service.ports.is_empty()).then(|| random.one(&service.ports)) else {
        return (address(Kind::Service, 1, ipv4), any_port(random), Protocol::Tcp);
    };
    let mut places: Vec<(IpAddr, u16)> = service.cluster_ips.iter().map(|at| (*at, port.port)).collect();
    places.extend(service.external_ips.iter().map(|at| (*at, port.port)));
    places.extend(service.ingress.iter().filter_map(|one| one.address).map(|at| (at, port.port)));
    if let Some(node_port) = port.node_port {
        places.push((address(Kind::Node, HERE, ipv4), node_port));
        places.push((address(Kind::Node, *random.one(&[SECOND, 2]), ipv4), node_port));
        if random.percent(40) {
            places.push((loopback(ipv4), node_port));
        }
    }
    if places.is_empty() {
        places.push((address(Kind::Service, 61, ipv4), port.port));
    }
    let (to, number) = *random.one(&places);
    let number = if random.percent(6) { any_port(random) } else { number };
    let protocol = if random.percent(6) { *random.one(&Protocol::ALL) } else { port.protocol };
    // Nobody asks for these: no packet can carry them.
    let to = if to.is_unspecified() || to.is_multicast() { address(Kind::Virtual, 1, to.is_ipv4()) } else { to };
    (to, number, protocol)
}
