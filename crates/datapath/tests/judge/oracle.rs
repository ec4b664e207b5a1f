//! What becomes of a packet, said straight from the objects: no plans, no indexes, no history.
//!
//! Written after kube-proxy's documentation and KEPs and apart from the code it judges; the two
//! have only the words in common.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use seaway_model::service::{AddressType, Endpoint, IngressMode, ServiceKind, ServicePort, TrafficPolicy};
use seaway_model::{Service, ServiceRef};

use crate::expected::Expected;
use crate::world::addresses::pod_ranges;
use crate::world::cluster::Cluster;
use crate::world::scenario::{JudgedNode, NODE_NAME, Probe};

/// How a client reaches a Service port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Cluster,
    Balancer,
    External,
    NodePort,
}

/// An endpoint that could serve.
#[derive(Debug, Clone)]
struct Server {
    at: SocketAddr,
    ready: bool,
    /// Not ready, serves, terminates.
    lingers: bool,
    endpoint: Endpoint,
}

/// What becomes of a packet.
pub(crate) fn expected(cluster: &Cluster, node: &JudgedNode, probe: &Probe) -> Expected {
    if let Some((name, way, port)) = owner(cluster, node, probe) {
        return at_port(cluster, node, probe, (name, way, port));
    }
    let facts = node.facts();
    let is_cluster_ip = |(name, service): (&ServiceRef, &Service)| {
        let asks_there = Probe { protocol: probe.protocol, ..*probe };
        is_ours(service)
            && service.cluster_ips.contains(&probe.to)
            && service.ports.iter().filter(|port| port.port != 0).any(|port| {
                let there = Probe { port: port.port, protocol: port.protocol, ..asks_there };
                owner(cluster, node, &there).is_some_and(|(owner, way, _)| owner == name && way == Way::Cluster)
            })
    };
    if cluster.services.iter().any(|(name, service)| is_cluster_ip((name, service))) {
        return Expected::Refused;
    }
    if facts.service_cidrs.iter().any(|range| range.contains(&probe.to)) {
        return Expected::Silence;
    }
    Expected::Untouched
}

/// ExternalName, headless, and those of another proxy are nothing to us.
fn is_ours(service: &Service) -> bool {
    service.kind != ServiceKind::ExternalName
        && !service.headless
        && !service.cluster_ips.is_empty()
        && !service.labels.contains_key("service.kubernetes.io/service-proxy-name")
        && !service.labels.contains_key("service.kubernetes.io/headless")
}

/// Who serves the place that a packet goes to: of all that rightfully claim it, the oldest.
fn owner<'a>(cluster: &'a Cluster, node: &JudgedNode, probe: &Probe) -> Option<(&'a ServiceRef, Way, &'a ServicePort)> {
    let by_age = |ways: &[Way]| {
        let claims = cluster.services.iter().filter(|(_, service)| is_ours(service)).filter_map(|(name, service)| {
            let mut claims = ways.iter().flat_map(|way| service.ports.iter().map(move |port| (*way, port)));
            let (way, port) =
                claims.find(|(way, port)| claims_it(cluster, node, probe, (name, service), *way, port))?;
            Some(((service.created_at_seconds, name), way, port))
        });
        claims.min_by_key(|(age, ..)| *age).map(|((_, name), way, port)| (name, way, port))
    };
    by_age(&[Way::Cluster, Way::Balancer, Way::External]).or_else(|| by_age(&[Way::NodePort]))
}

fn claims_it(
    cluster: &Cluster,
    node: &JudgedNode,
    probe: &Probe,
    (name, service): (&ServiceRef, &Service),
    way: Way,
    port: &ServicePort,
) -> bool {
    let number = if way == Way::NodePort { port.node_port.unwrap_or(0) } else { port.port };
    if port.protocol != probe.protocol || number != probe.port || number == 0 || port.port == 0 {
        return false;
    }
    let has_family = service.cluster_ips.iter().any(|ip| ip.is_ipv4() == probe.to.is_ipv4());
    let of_another =
        cluster.services.iter().any(|(other, theirs)| other != name && theirs.cluster_ips.contains(&probe.to));
    let is_pods = pod_ranges().iter().any(|range| range.contains(&probe.to));
    let may_be_virtual = has_family && !of_another && !is_unusable(probe.to) && !is_pods;
    match way {
        Way::Cluster => service.cluster_ips.contains(&probe.to),
        Way::Balancer => {
            let vips = service.ingress.iter().filter(|one| one.mode == IngressMode::Vip);
            service.kind == ServiceKind::LoadBalancer
                && may_be_virtual
                && vips.filter_map(|one| one.address).any(|address| address == probe.to)
        }
        Way::External => {
            let is_node = node.settings().cluster_node_addresses.contains(&probe.to);
            service.external_ips.contains(&probe.to) && may_be_virtual && !is_node
        }
        Way::NodePort => {
            let settings = node.settings();
            let on_loopback = settings.node_port_on_loopback && probe.client.is_inside() && probe.to.is_loopback();
            matches!(service.kind, ServiceKind::NodePort | ServiceKind::LoadBalancer)
                && has_family
                && (settings.node_port_addresses.contains(&probe.to) || on_loopback)
        }
    }
}

fn at_port(
    cluster: &Cluster,
    node: &JudgedNode,
    probe: &Probe,
    (name, way, port): (&ServiceRef, Way, &ServicePort),
) -> Expected {
    let service = &cluster.services[name];
    let inside = probe.client.is_inside();
    if way == Way::Balancer && !is_admitted(service, probe.from()) {
        return Expected::Silence;
    }
    let policy = if way == Way::Cluster { service.internal_policy } else { service.external_policy };
    // Clients of the node have Cluster semantics on addresses that are reached from outside.
    let is_local = policy == TrafficPolicy::Local && (way == Way::Cluster || !inside);
    let servers = servers(cluster, name, port, probe.to.is_ipv4());
    if !servers.iter().any(|server| server.ready || server.lingers) {
        return Expected::Refused;
    }
    let to = if is_local { on_this_node(&servers) } else { anywhere(&servers, node) };
    if to.is_empty() {
        return Expected::Silence;
    }
    let hidden = !inside && policy == TrafficPolicy::Cluster;
    let direct = !inside
        && way != Way::Cluster
        && service.annotations.get("seaway.dev/forwarding").is_some_and(|value| value == "dsr");
    Expected::Backends { to, hidden, sticky: service.affinity_timeout_seconds.is_some(), direct }
}

fn is_admitted(service: &Service, client: IpAddr) -> bool {
    let ranges = &service.source_ranges;
    let everyone = |range: &&seaway_model::IpNet| range.prefix_len() == 0 && range.addr().is_ipv4() == client.is_ipv4();
    ranges.is_empty() || ranges.iter().any(|range| everyone(&range) || range.contains(&client))
}

/// The endpoints of a port, each address once: the best of those that list it.
fn servers(cluster: &Cluster, name: &ServiceRef, port: &ServicePort, ipv4: bool) -> Vec<Server> {
    let publishes = cluster.services[name].publish_not_ready_addresses;
    let family = if ipv4 { AddressType::IPv4 } else { AddressType::IPv6 };
    let mut all: Vec<Server> = Vec::new();
    for (of, slice) in &cluster.slices {
        let belongs = of.namespace == name.namespace && slice.service.as_ref() == Some(&name.name);
        if !belongs || slice.address_type != family {
            continue;
        }
        let numbers = slice.ports.iter().filter(|one| one.name == port.name && one.protocol == port.protocol);
        for number in numbers.filter_map(|one| one.port).filter(|number| *number != 0) {
            for endpoint in &slice.endpoints {
                let Some(address) = endpoint.addresses.first().filter(|ip| ip.is_ipv4() == ipv4) else { continue };
                if is_unusable(*address) {
                    continue;
                }
                let ready = endpoint.ready || publishes;
                let lingers = !ready && endpoint.serving && endpoint.terminating;
                let at = SocketAddr::new(*address, number);
                all.push(Server { at, ready, lingers, endpoint: endpoint.clone() });
            }
        }
    }
    let rank = |server: &Server| {
        let is_here = is_here(server);
        (server.endpoint.terminating, !server.ready, !server.lingers, !is_here)
    };
    let mut best: Vec<Server> = Vec::new();
    for server in all {
        match best.iter_mut().find(|known| known.at == server.at) {
            Some(known) if rank(&server) < rank(known) => *known = server,
            Some(_) => {}
            None => best.push(server),
        }
    }
    best
}

fn is_here(server: &Server) -> bool {
    server.endpoint.node.as_ref().is_some_and(|node| node.as_str() == NODE_NAME)
}

/// Ready ones; when there are none, those that still serve (KEP-1669).
fn first_choice(servers: &[Server]) -> Vec<&Server> {
    let ready: Vec<&Server> = servers.iter().filter(|server| server.ready).collect();
    if ready.is_empty() { servers.iter().filter(|server| server.lingers).collect() } else { ready }
}

fn on_this_node(servers: &[Server]) -> BTreeSet<SocketAddr> {
    let here: Vec<Server> = servers.iter().filter(|server| is_here(server)).cloned().collect();
    first_choice(&here).into_iter().map(|server| server.at).collect()
}

/// Hints count when every ready endpoint has one and one of them is for us (KEP-2433, KEP-3015).
fn anywhere(servers: &[Server], node: &JudgedNode) -> BTreeSet<SocketAddr> {
    let chosen = first_choice(servers);
    let addresses = |of: Vec<&Server>| of.into_iter().map(|server| server.at).collect();
    if chosen.iter().any(|server| !server.ready) {
        return addresses(chosen);
    }
    let for_node = |server: &&Server| server.endpoint.node_hints.iter().any(|hint| hint.as_str() == NODE_NAME);
    let for_zone = |server: &&Server| {
        node.zone.as_deref().is_some_and(|zone| server.endpoint.zone_hints.iter().any(|hint| hint.as_ref() == zone))
    };
    let near: Vec<&Server> = chosen.iter().copied().filter(for_node).collect();
    if !near.is_empty() && chosen.iter().all(|server| !server.endpoint.node_hints.is_empty()) {
        return addresses(near);
    }
    let near: Vec<&Server> = chosen.iter().copied().filter(for_zone).collect();
    if !near.is_empty() && chosen.iter().all(|server| !server.endpoint.zone_hints.is_empty()) {
        return addresses(near);
    }
    addresses(chosen)
}

/// Addresses that mean something else on every host.
fn is_unusable(address: IpAddr) -> bool {
    let general = address.is_loopback() || address.is_unspecified() || address.is_multicast();
    general
        || match address {
            IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
            IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.to_ipv4_mapped().is_some(),
        }
}
