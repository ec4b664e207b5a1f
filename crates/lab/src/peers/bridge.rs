//! The reference network: the `bridge` and `host-local` plugins on each node,
//! and routes on the nodes (and the router between racks) to each other's ranges.

use std::net::IpAddr;

use ipnet::IpNet;

use super::PeerNode;

/// The bridge on each node.
const BRIDGE: &str = "lab0";

/// Where a range is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The range.
    pub destination: IpNet,
    /// The next hop, on a connected subnet.
    pub via: IpAddr,
}

/// The node's network configuration.
pub fn conflist(node: &PeerNode, mtu_bytes: u32) -> String {
    super::conflist("bridge", super::bridge_plugin(BRIDGE, mtu_bytes, &node.pod_cidrs))
}

/// The routes of `node` to the pods of all other nodes: straight to those in its
/// subnet, by the router to the others.
pub fn routes(node: &PeerNode, nodes: &[PeerNode]) -> Vec<Route> {
    let others = nodes.iter().filter(|other| other.name != node.name);
    let ranges = others.flat_map(|other| other.pod_cidrs.iter().map(move |range| (other, range)));
    ranges
        .filter_map(|(other, range)| {
            let is_ipv4 = range.addr().is_ipv4();
            let address = address(other, is_ipv4)?;
            let is_near = node.addresses.iter().any(|own| own.contains(&address));
            let gateway = || node.gateways.iter().copied().find(|gateway| gateway.is_ipv4() == is_ipv4);
            let via = if is_near { Some(address) } else { gateway() }?;
            Some(Route { destination: *range, via })
        })
        .collect()
}

/// The routes of the router, which is connected to every rack.
pub fn router_routes(nodes: &[PeerNode]) -> Vec<Route> {
    let ranges = nodes.iter().flat_map(|node| node.pod_cidrs.iter().map(move |range| (node, range)));
    ranges
        .filter_map(|(node, range)| Some(Route { destination: *range, via: address(node, range.addr().is_ipv4())? }))
        .collect()
}

/// Rules for `nft -f -` on each node: pods that talk to the world outside of
/// the pod ranges do so with the node's address.
pub fn masquerade_rules(pod_ranges: &[IpNet]) -> String {
    let mut rules = String::from("table inet lab-bridge\nflush table inet lab-bridge\ntable inet lab-bridge {\n");
    rules.push_str("  chain postrouting {\n    type nat hook postrouting priority srcnat; policy accept;\n");
    for range in pod_ranges {
        let family = if range.addr().is_ipv4() { "ip" } else { "ip6" };
        rules.push_str(&format!("    {family} saddr {range} {family} daddr != {range} masquerade\n"));
    }
    rules.push_str("  }\n}\n");
    rules
}

fn address(node: &PeerNode, is_ipv4: bool) -> Option<IpAddr> {
    node.addresses.iter().map(IpNet::addr).find(|address| address.is_ipv4() == is_ipv4)
}

// === impl Route ===

impl Route {
    /// The `ip` command that makes or replaces it.
    pub fn argv(&self) -> Vec<String> {
        let Self { destination, via } = self;
        let family = if destination.addr().is_ipv4() { "-4" } else { "-6" };
        ["ip", family, "route", "replace", &destination.to_string(), "via", &via.to_string()].map(str::to_owned).into()
    }
}
