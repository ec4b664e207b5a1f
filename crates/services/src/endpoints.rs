//! Which endpoints of one Service port serve, and why the others do not.
//!
//! The rules are those of kube-proxy: ready endpoints first, and when there are none the
//! terminating ones that still serve (KEP-1669), independently for policies Cluster and Local;
//! hints count when every ready endpoint has one and one is for us (KEP-2433, KEP-3015).

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use seaway_model::service::{AddressType, Endpoint};
use seaway_model::{EndpointSlice, NodeName, Protocol};
use serde::{Deserialize, Serialize};

/// What of the node and its cluster decides about Services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeView {
    /// Name of this node.
    pub name: NodeName,
    /// Its label `topology.kubernetes.io/zone`.
    pub zone: Option<String>,
    /// Addresses of all nodes of the cluster: none of them may be an external IP.
    pub cluster_node_addresses: BTreeSet<IpAddr>,
    /// Ranges of all pods: no external or load balancer address may be in one.
    pub pod_ranges: Vec<IpNet>,
}

/// What becomes of an endpoint under one traffic policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fate {
    /// It serves.
    Used,
    /// It serves although it terminates, because no endpoint is ready.
    UsedWhileTerminating,
    /// It is not ready.
    NotReady,
    /// It terminates, and others are ready.
    Terminating,
    /// It terminates and does not serve any more.
    TerminatingAndNotServing,
    /// It is meant for clients of other nodes, and one is meant for this node.
    OtherNode,
    /// It is meant for clients of other zones, and one is meant for this zone.
    OtherZone,
    /// Policy Local: it does not run on this node.
    NotOnThisNode,
    /// Its slice has no port with the Service port's name and protocol.
    NoSuchPort,
    /// Its address is not one that can serve: loopback, link-local, multicast, unspecified or none.
    UnusableAddress,
    /// Its address is not of its slice's family.
    WrongFamily,
    /// The same address and port is listed by an endpoint that is preferred.
    Duplicate,
}

/// An endpoint of one Service port.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate<'a> {
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
    pub(crate) ready: bool,
    /// Serves while it terminates: the second choice.
    pub(crate) lingering: bool,
    pub(crate) local: bool,
    pub(crate) endpoint: &'a Endpoint,
}

/// Which Service port endpoints are sought for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) port_name: &'a str,
    pub(crate) protocol: Protocol,
    pub(crate) ipv4: bool,
    /// All endpoints count as ready.
    pub(crate) publish_not_ready: bool,
}

/// How hints narrow the choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Topology {
    Everywhere,
    SameZone,
    SameNode,
}

/// The rules as they apply to one list of candidates.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choice<'a> {
    node: &'a NodeView,
    topology: Topology,
    any_ready: bool,
    any_local_ready: bool,
    /// Whether any endpoint of the cluster can serve: tells Reject from Drop.
    pub(crate) any: bool,
}

/// The endpoints of a Service port, unique and in order of address and port.
pub(crate) fn candidates<'a>(
    slices: impl Iterator<Item = &'a EndpointSlice>,
    wanted: Wanted<'_>,
    node: &NodeView,
) -> Vec<Candidate<'a>> {
    let mut found = Vec::new();
    for slice in slices.filter(|slice| is_of_family(slice, wanted.ipv4)) {
        for port in ports_of(slice, wanted) {
            let usable = slice.endpoints.iter().filter_map(|endpoint| candidate(endpoint, port, wanted, node));
            found.extend(usable);
        }
    }
    // One address may stand in two slices while it moves, or belong to a pod that terminates and to
    // its successor: the better one counts.
    found.sort_by_key(|one: &Candidate<'_>| {
        (one.address, one.port, one.endpoint.terminating, !one.ready, !one.lingering, !one.local)
    });
    found.dedup_by_key(|one| (one.address, one.port));
    found
}

pub(crate) fn is_of_family(slice: &EndpointSlice, ipv4: bool) -> bool {
    slice.address_type == if ipv4 { AddressType::IPv4 } else { AddressType::IPv6 }
}

/// Numbers under which a slice offers the wanted port. Named target ports differ from slice to slice.
pub(crate) fn ports_of(slice: &EndpointSlice, wanted: Wanted<'_>) -> impl Iterator<Item = u16> {
    let matching =
        slice.ports.iter().filter(move |port| port.name == wanted.port_name && port.protocol == wanted.protocol);
    matching.filter_map(|port| port.port).filter(|port| *port != 0)
}

/// Why an endpoint's address cannot serve, if so.
pub(crate) fn address_flaw(endpoint: &Endpoint, ipv4: bool) -> Option<Fate> {
    let Some(address) = endpoint.address() else { return Some(Fate::UnusableAddress) };
    if address.is_ipv4() != ipv4 {
        return Some(Fate::WrongFamily);
    }
    is_special(&address).then_some(Fate::UnusableAddress)
}

/// Whether an address has a meaning of its own on every host, so that no traffic may be sent there.
pub(crate) fn is_special(address: &IpAddr) -> bool {
    let special = |address: &std::net::Ipv4Addr| address.is_link_local() || address.is_broadcast();
    address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || match address {
            IpAddr::V4(address) => special(address),
            IpAddr::V6(address) => address.is_unicast_link_local() || address.to_ipv4_mapped().is_some(),
        }
}

pub(crate) fn candidate<'a>(
    endpoint: &'a Endpoint,
    port: u16,
    wanted: Wanted<'_>,
    node: &NodeView,
) -> Option<Candidate<'a>> {
    if address_flaw(endpoint, wanted.ipv4).is_some() {
        return None;
    }
    let ready = endpoint.ready || wanted.publish_not_ready;
    Some(Candidate {
        address: endpoint.address()?,
        port,
        ready,
        lingering: !ready && endpoint.serving && endpoint.terminating,
        local: endpoint.node.as_ref() == Some(&node.name),
        endpoint,
    })
}

// === impl NodeView ===

impl NodeView {
    /// A node of which nothing is known but its name.
    #[must_use]
    pub fn new(name: NodeName) -> NodeView {
        NodeView { name, zone: None, cluster_node_addresses: BTreeSet::new(), pod_ranges: Vec::new() }
    }
}

// === impl Fate ===

impl Fate {
    /// Whether the endpoint gets connections.
    #[must_use]
    pub fn is_used(self) -> bool {
        matches!(self, Fate::Used | Fate::UsedWhileTerminating)
    }
}

// === impl Choice ===

impl<'a> Choice<'a> {
    pub(crate) fn new(candidates: &[Candidate<'_>], node: &'a NodeView) -> Choice<'a> {
        let any_ready = candidates.iter().any(|one| one.ready);
        Choice {
            node,
            topology: topology(candidates, node),
            any_ready,
            any_local_ready: candidates.iter().any(|one| one.ready && one.local),
            any: any_ready || candidates.iter().any(|one| one.lingering),
        }
    }

    /// What becomes of a candidate under policy Cluster.
    pub(crate) fn cluster(&self, one: &Candidate<'_>) -> Fate {
        if let Some(fate) = state_fate(one, self.any_ready) {
            return fate;
        }
        match self.topology {
            Topology::SameNode if !is_for_node(one.endpoint, &self.node.name) => Fate::OtherNode,
            Topology::SameZone if !is_for_zone(one.endpoint, self.node.zone.as_deref()) => Fate::OtherZone,
            _ => Fate::Used,
        }
    }

    /// What becomes of a candidate under policy Local. Hints mean nothing there.
    pub(crate) fn local(&self, one: &Candidate<'_>) -> Fate {
        if !one.local {
            return Fate::NotOnThisNode;
        }
        state_fate(one, self.any_local_ready).unwrap_or(Fate::Used)
    }
}

/// The fate of a candidate by its conditions alone; none: it is ready.
fn state_fate(one: &Candidate<'_>, others_ready: bool) -> Option<Fate> {
    match (one.ready, one.lingering) {
        (true, _) => None,
        (false, true) if others_ready => Some(Fate::Terminating),
        (false, true) => Some(Fate::UsedWhileTerminating),
        (false, false) if one.endpoint.terminating => Some(Fate::TerminatingAndNotServing),
        (false, false) => Some(Fate::NotReady),
    }
}

fn topology(candidates: &[Candidate<'_>], node: &NodeView) -> Topology {
    let ready = || candidates.iter().filter(|one| one.ready).map(|one| one.endpoint);
    let all_and_one =
        |has: fn(&Endpoint) -> bool, is_ours: &dyn Fn(&Endpoint) -> bool| ready().all(has) && ready().any(is_ours);
    if all_and_one(|one| !one.node_hints.is_empty(), &|one| is_for_node(one, &node.name)) {
        Topology::SameNode
    } else if all_and_one(|one| !one.zone_hints.is_empty(), &|one| is_for_zone(one, node.zone.as_deref())) {
        Topology::SameZone
    } else {
        Topology::Everywhere
    }
}

fn is_for_node(endpoint: &Endpoint, node: &NodeName) -> bool {
    endpoint.node_hints.contains(node)
}

fn is_for_zone(endpoint: &Endpoint, zone: Option<&str>) -> bool {
    zone.is_some_and(|zone| endpoint.zone_hints.iter().any(|hint| hint.as_ref() == zone))
}

#[cfg(test)]
mod tests;
