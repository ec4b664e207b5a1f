//! Random clusters and connections for judging data paths.
//!
//! A [`Case`] is what a node is told, batch by batch, and connections to try afterwards; the
//! reference says what must become of each. The same seed gives the same case everywhere. The
//! [`Ground`] holds the addresses that exist where the case is tried, so that packets can be real.
//! A case that fails shrinks to a small one, which serializes to be kept.

mod dice;
mod shrink;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use seaway_model::labels::Labels;
use seaway_model::service::{
    AddressType, Endpoint, EndpointPort, IngressMode, LoadBalancerIngress, ServiceKind, ServicePort,
    TrafficDistribution, TrafficPolicy,
};
use seaway_model::{EndpointSlice, NodeName, Protocol, Service, ServiceChange, ServiceRef, SliceRef};
use serde::{Deserialize, Serialize};

use crate::endpoints::NodeView;
use crate::plan::{PlanChange, ServicePlan};
use crate::reference::{Client, Destination, NodeFacts, Trace, trace};
use crate::table::{Options, ServiceTable};
use dice::Dice;

/// Addresses that exist where cases are tried. Each list holds both families or one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ground {
    /// The node that is judged.
    pub node: NodeName,
    /// What of it decides.
    pub facts: NodeFacts,
    /// Addresses of all nodes.
    pub node_addresses: Vec<IpAddr>,
    /// Addresses that backends have, each with its node.
    pub backends: Vec<(IpAddr, NodeName)>,
    /// Ports that each backend listens on.
    pub backend_ports: Vec<u16>,
    /// Addresses for ClusterIPs, from the facts' ranges.
    pub cluster_ips: Vec<IpAddr>,
    /// Addresses for load balancers and external IPs, which outside clients route to the node.
    pub virtual_addresses: Vec<IpAddr>,
    /// Clients of this node.
    pub inside_clients: Vec<IpAddr>,
    /// Clients elsewhere.
    pub outside_clients: Vec<IpAddr>,
    /// Protocols that can be tried.
    pub protocols: Vec<Protocol>,
}

/// A cluster and connections to try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Case {
    /// The node that is judged.
    pub node: NodeView,
    /// What of it decides.
    pub facts: NodeFacts,
    /// What it is told, in batches; the first ends with [`ServiceChange::Synced`].
    pub batches: Vec<Vec<ServiceChange>>,
    /// What is tried when it was told everything.
    pub attempts: Vec<Attempt>,
}

/// One connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// Who connects.
    pub client: Client,
    /// Where to.
    pub destination: Destination,
}

/// Services of a case: few, so that they get into each other's way.
const NAMES: [&str; 4] = ["a", "b", "c", "d"];
/// Slices of a case.
const SLICES: [&str; 6] = ["p", "q", "r", "s", "t", "u"];
const NODE_PORTS: [u16; 3] = [30080, 30081, 30082];
const SERVICE_PORTS: [u16; 3] = [80, 81, 443];
const ZONES: [&str; 2] = ["east", "west"];

// === impl Case ===

impl Case {
    /// The case of a seed.
    #[must_use]
    pub fn random(seed: u64, ground: &Ground) -> Case {
        let mut dice = Dice::new(seed);
        let node = NodeView {
            name: ground.node.clone(),
            zone: dice.one_in(2).then(|| "west".to_owned()),
            cluster_node_addresses: ground.node_addresses.iter().copied().collect(),
        };
        let mut batches = Vec::new();
        for number in 0..dice.between(1, 3) {
            let mut batch: Vec<ServiceChange> = (0..dice.between(1, 4)).map(|_| service(&mut dice, ground)).collect();
            batch.extend((0..dice.between(0, 5)).map(|_| slice(&mut dice, ground)));
            if number > 0 && dice.one_in(3) {
                let of = ServiceRef::new("shop", *dice.pick(&NAMES).unwrap_or(&"a"));
                batch.push(ServiceChange::Service { of, now: None });
            }
            if number == 0 {
                batch.push(ServiceChange::Synced);
            }
            batches.push(batch);
        }
        let mut case = Case { node, facts: ground.facts.clone(), batches, attempts: Vec::new() };
        case.attempts = attempts(&mut dice, ground, &case.plans());
        case
    }

    /// What the data path is told, batch by batch.
    #[must_use]
    pub fn changes(&self) -> Vec<Vec<PlanChange>> {
        let mut table = self.table();
        self.batches.iter().map(|batch| table.apply(batch)).collect()
    }

    /// The plans in force at the end, in order of their Services.
    #[must_use]
    pub fn plans(&self) -> Vec<Arc<ServicePlan>> {
        let mut table = self.table();
        for batch in &self.batches {
            table.apply(batch);
        }
        let mut plans: Vec<Arc<ServicePlan>> = table.plans().cloned().collect();
        plans.sort_unstable_by(|one, other| one.service.cmp(&other.service));
        plans
    }

    /// What must become of each attempt.
    #[must_use]
    pub fn expected(&self) -> Vec<Trace> {
        let plans = self.plans();
        let plans: Vec<&ServicePlan> = plans.iter().map(Arc::as_ref).collect();
        let judge = |attempt: &Attempt| trace(plans.iter().copied(), &self.facts, attempt.client, attempt.destination);
        self.attempts.iter().map(judge).collect()
    }

    /// The smallest case found that still fails.
    #[must_use]
    pub fn shrink(self, fails: impl FnMut(&Case) -> bool) -> Case {
        shrink::shrink(self, fails)
    }

    fn table(&self) -> ServiceTable {
        ServiceTable::new(self.node.clone(), Options::default())
    }
}

fn service(dice: &mut Dice, ground: &Ground) -> ServiceChange {
    let of = ServiceRef::new("shop", *dice.pick(&NAMES).unwrap_or(&"a"));
    let kind = *dice
        .pick(&[ServiceKind::ClusterIP, ServiceKind::NodePort, ServiceKind::LoadBalancer])
        .unwrap_or(&ServiceKind::ClusterIP);
    let ports = (0..dice.between(1, 2)).map(|_| service_port(dice, ground)).collect();
    let several = |dice: &mut Dice, from: &[IpAddr], most| -> Vec<IpAddr> {
        (0..dice.between(0, most)).filter_map(|_| dice.pick(from).copied()).collect()
    };
    let source_ranges = if dice.one_in(4) {
        let allowed = several(dice, &ground.outside_clients, 2);
        allowed.into_iter().map(IpNet::from).collect()
    } else {
        Vec::new()
    };
    let ingress = several(dice, &ground.virtual_addresses, 2).into_iter().map(|address| LoadBalancerIngress {
        address: Some(address),
        hostname: None,
        mode: if dice.one_in(5) { IngressMode::Proxy } else { IngressMode::Vip },
    });
    let ingress = ingress.collect();
    let now = Service {
        uid: of.name.clone(),
        created_at_seconds: i64::try_from(dice.between(0, 2)).unwrap_or_default(),
        kind,
        cluster_ips: cluster_ips(dice, ground),
        headless: false,
        ports,
        external_ips: if dice.one_in(3) { several(dice, &ground.virtual_addresses, 2) } else { Vec::new() },
        ingress,
        load_balancer_class: None,
        source_ranges,
        affinity_timeout_seconds: dice.one_in(4).then_some(10_800),
        internal_policy: policy(dice),
        external_policy: policy(dice),
        health_check_node_port: None,
        publish_not_ready_addresses: dice.one_in(8),
        traffic_distribution: TrafficDistribution::Any,
        external_name: None,
        labels: Labels::new(),
        annotations: annotations(dice),
    };
    ServiceChange::Service { of, now: Some(Arc::new(now)) }
}

fn service_port(dice: &mut Dice, ground: &Ground) -> ServicePort {
    let protocol = dice.pick(&ground.protocols).copied().unwrap_or(Protocol::Tcp);
    let port = dice.pick(&SERVICE_PORTS).copied().unwrap_or(80);
    ServicePort {
        name: dice.pick(&["http", "other"]).copied().unwrap_or("http").to_owned(),
        protocol,
        port,
        node_port: if dice.one_in(5) { None } else { dice.pick(&NODE_PORTS).copied() },
        app_protocol: None,
    }
}

/// One address of a family or of both.
fn cluster_ips(dice: &mut Dice, ground: &Ground) -> Vec<IpAddr> {
    let mut of_family = |ipv4: bool| {
        let family: Vec<IpAddr> = ground.cluster_ips.iter().copied().filter(|ip| ip.is_ipv4() == ipv4).collect();
        dice.pick(&family).copied()
    };
    let (four, six) = (of_family(true), of_family(false));
    match dice.between(0, 3) {
        0 => four.or(six).into_iter().collect(),
        1 => six.or(four).into_iter().collect(),
        _ => four.into_iter().chain(six).collect(),
    }
}

fn policy(dice: &mut Dice) -> TrafficPolicy {
    if dice.one_in(3) { TrafficPolicy::Local } else { TrafficPolicy::Cluster }
}

fn annotations(dice: &mut Dice) -> Labels {
    let algorithms = ["random", "maglev", "source-hash", "round-robin", "least-connection"];
    let mut annotations = Labels::new();
    if let Some(algorithm) = dice.pick(&algorithms).filter(|_| dice.one_in(2)) {
        annotations.insert("seaway.dev/algorithm".to_owned(), (*algorithm).to_owned());
    }
    annotations
}

fn slice(dice: &mut Dice, ground: &Ground) -> ServiceChange {
    let of = SliceRef { namespace: "shop".to_owned(), name: (*dice.pick(&SLICES).unwrap_or(&"p")).to_owned() };
    if dice.one_in(8) {
        return ServiceChange::Slice { of, now: None };
    }
    let ipv4 = ground.backends.iter().any(|(ip, _)| ip.is_ipv4())
        && (dice.one_in(2) || !ground.backends.iter().any(|(ip, _)| ip.is_ipv6()));
    let backends: Vec<&(IpAddr, NodeName)> = ground.backends.iter().filter(|(ip, _)| ip.is_ipv4() == ipv4).collect();
    let hinted = dice.one_in(3);
    let endpoints: Vec<Endpoint> = (0..dice.between(0, 4))
        .filter_map(|_| {
            let (address, node) = *dice.pick(&backends)?;
            Some(endpoint(dice, *address, node, hinted))
        })
        .collect();
    let mut ports = Vec::new();
    for name in ["http", "other"] {
        for protocol in &ground.protocols {
            let port = dice.pick(&ground.backend_ports).copied();
            if !dice.one_in(6) {
                ports.push(EndpointPort { name: name.to_owned(), protocol: *protocol, port, app_protocol: None });
            }
        }
    }
    let now = EndpointSlice {
        service: dice.pick(&NAMES).map(|name| (*name).to_owned()),
        address_type: if ipv4 { AddressType::IPv4 } else { AddressType::IPv6 },
        ports,
        endpoints,
        changed_at_milliseconds: None,
    };
    ServiceChange::Slice { of, now: Some(Arc::new(now)) }
}

fn endpoint(dice: &mut Dice, address: IpAddr, node: &NodeName, hinted: bool) -> Endpoint {
    // Mostly ready: four endpoints of which one is ready are more telling than four dead ones.
    let (ready, serving, terminating) = match dice.between(0, 7) {
        0 => (false, false, false),
        1 => (false, true, true),
        2 => (false, false, true),
        _ => (true, true, false),
    };
    let zones = if hinted { dice.pick(&ZONES).map(|zone| (*zone).into()).into_iter().collect() } else { Vec::new() };
    let node_hints = if hinted && dice.one_in(3) { vec![node.clone()] } else { Vec::new() };
    Endpoint {
        addresses: vec![address],
        ready,
        serving,
        terminating,
        hostname: None,
        node: Some(node.clone()),
        zone: None,
        pod: None,
        zone_hints: zones,
        node_hints,
    }
}

/// Connections to every place of the plans from either side, and to places beside them.
fn attempts(dice: &mut Dice, ground: &Ground, plans: &[Arc<ServicePlan>]) -> Vec<Attempt> {
    let mut destinations: Vec<Destination> = Vec::new();
    for frontend in plans.iter().flat_map(|plan| &plan.frontends) {
        let address = match frontend.at {
            crate::FrontendAddress::Ip(address) => Some(address),
            of_node => {
                let family = ground.facts.node_port_addresses.iter().filter(|ip| ip.is_ipv4() == of_node.is_ipv4());
                dice.pick(&family.copied().collect::<Vec<_>>()).copied()
            }
        };
        let (protocol, port) = (frontend.protocol, frontend.port);
        destinations.extend(address.map(|address| Destination { address, protocol, port }));
    }
    let all = [&ground.cluster_ips, &ground.virtual_addresses, &ground.facts.node_port_addresses];
    let ports: Vec<u16> = SERVICE_PORTS.into_iter().chain(NODE_PORTS).collect();
    for _ in 0..4 {
        let address = dice.pick(&all).and_then(|list| dice.pick(list)).copied();
        let (protocol, port) = (dice.pick(&ground.protocols).copied(), dice.pick(&ports).copied());
        if let (Some(address), Some(protocol), Some(port)) = (address, protocol, port) {
            destinations.push(Destination { address, protocol, port });
        }
    }
    let mut attempts = Vec::new();
    for destination in destinations {
        for (inside, clients) in [(true, &ground.inside_clients), (false, &ground.outside_clients)] {
            let family = clients.iter().copied().filter(|ip| ip.is_ipv4() == destination.address.is_ipv4());
            let Some(address) = dice.pick(&family.collect::<Vec<_>>()).copied() else { continue };
            attempts.push(Attempt { client: Client { inside, address: Some(address) }, destination });
        }
    }
    attempts
}
