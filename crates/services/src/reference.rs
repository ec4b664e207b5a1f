//! What becomes of a connection, read off the plans one after the other.
//!
//! This is the judge of the data paths and the answer to "where would this go": nothing here is
//! fast, nothing is indexed, and each rule stands alone in the order in which it counts:
//!
//! 1. A place with this very address, protocol and port.
//! 2. A NodePort, when the address is one that this node serves NodePorts on.
//! 3. A ClusterIP with a port or protocol that its Service does not have: refused.
//! 4. An address in a range of Services that no Service has: dropped.
//! 5. Anything else is not a matter of Services.

use std::net::IpAddr;

use ipnet::IpNet;
use seaway_model::{Protocol, ServiceRef};
use serde::{Deserialize, Serialize};

use crate::plan::{Algorithm, Backend, Forwarding, Frontend, FrontendAddress, FrontendKind, Reach, ServicePlan};

/// What of the node decides.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeFacts {
    /// Addresses of this node on which NodePorts are served.
    pub node_port_addresses: Vec<IpAddr>,
    /// NodePorts are served on loopback addresses too, for processes of the node.
    pub node_port_on_loopback: bool,
    /// Ranges of Service addresses.
    pub service_cidrs: Vec<IpNet>,
}

/// Who connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Client {
    /// A pod or process of this node; else its packets arrive from elsewhere.
    pub inside: bool,
    /// Its address, where it matters: source ranges admit nobody whose address is not known. A process
    /// of the node has the node's.
    pub address: Option<IpAddr>,
}

/// Where it connects to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Destination {
    /// Address.
    pub address: IpAddr,
    /// Protocol.
    pub protocol: Protocol,
    /// Port.
    pub port: u16,
}

/// What becomes of the connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trace {
    /// The place that decides, if one does.
    pub matched: Option<Matched>,
    /// What becomes of it.
    pub outcome: Outcome,
}

/// The place that decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Matched {
    /// Whose it is.
    pub service: ServiceRef,
    /// Its port's name.
    pub port_name: String,
    /// What kind of place.
    pub kind: FrontendKind,
}

/// What becomes of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "outcome")]
pub enum Outcome {
    /// It goes to one of these.
    #[serde(rename_all = "camelCase")]
    Backends {
        /// Where it may go.
        backends: Vec<Backend>,
        /// How one of them is chosen.
        algorithm: Algorithm,
        /// The backend sees the node instead of the client, unless the client is a pod of this node.
        hide_client: bool,
        /// A backend of another node answers the client directly.
        direct_return: bool,
        /// The client keeps its backend for that long.
        affinity_timeout_seconds: Option<u32>,
    },
    /// Refused: no endpoint exists.
    RejectNoEndpoints,
    /// Refused: the ClusterIP has no such port.
    RejectNoSuchPort,
    /// Dropped: policy Local, and this node has no endpoint.
    DropNoLocalEndpoints,
    /// Dropped: no Service has the address.
    DropUnassignedAddress,
    /// Dropped: the client is in no source range.
    DropOutsideSourceRanges,
    /// Not a matter of Services.
    Untouched,
}

/// What becomes of a connection, given all plans of the node.
pub fn trace<'a, P>(plans: P, node: &NodeFacts, client: Client, destination: Destination) -> Trace
where
    P: IntoIterator<Item = &'a ServicePlan> + Clone,
{
    let is_node_port_address = node.node_port_addresses.contains(&destination.address)
        || (node.node_port_on_loopback && client.inside && destination.address.is_loopback());
    let exact = |at: FrontendAddress| at == FrontendAddress::Ip(destination.address);
    let of_node = |at: FrontendAddress| {
        is_node_port_address
            && match at {
                FrontendAddress::Ip(_) => false,
                FrontendAddress::NodeIpv4 => destination.address.is_ipv4(),
                FrontendAddress::NodeIpv6 => destination.address.is_ipv6(),
            }
    };
    let found = find(plans.clone(), destination, &exact).or_else(|| find(plans.clone(), destination, &of_node));
    if let Some((plan, frontend)) = found {
        let matched =
            Matched { service: plan.service.clone(), port_name: frontend.port_name.clone(), kind: frontend.kind };
        return Trace { matched: Some(matched), outcome: at_frontend(plan, frontend, client) };
    }
    let mut frontends = plans.into_iter().flat_map(|plan| &plan.frontends);
    let outcome = if frontends.any(|one| one.kind == FrontendKind::ClusterIp && exact(one.at)) {
        Outcome::RejectNoSuchPort
    } else if node.service_cidrs.iter().any(|range| range.contains(&destination.address)) {
        Outcome::DropUnassignedAddress
    } else {
        Outcome::Untouched
    };
    Trace { matched: None, outcome }
}

fn find<'a>(
    plans: impl IntoIterator<Item = &'a ServicePlan>,
    destination: Destination,
    is_at: &dyn Fn(FrontendAddress) -> bool,
) -> Option<(&'a ServicePlan, &'a Frontend)> {
    for plan in plans {
        for frontend in &plan.frontends {
            if frontend.protocol == destination.protocol && frontend.port == destination.port && is_at(frontend.at) {
                return Some((plan, frontend));
            }
        }
    }
    None
}

fn at_frontend(plan: &ServicePlan, frontend: &Frontend, client: Client) -> Outcome {
    // Wherever the client is: kube-proxy holds pods and processes of its node to them, too.
    let admitted = frontend.source_ranges.is_empty()
        || client.address.is_some_and(|address| frontend.source_ranges.iter().any(|range| range.contains(&address)));
    if !admitted {
        return Outcome::DropOutsideSourceRanges;
    }
    let reach = if client.inside { frontend.inside } else { frontend.outside };
    match reach {
        Reach::Reject => Outcome::RejectNoEndpoints,
        Reach::Drop => Outcome::DropNoLocalEndpoints,
        Reach::Backends { hide_client, .. } => Outcome::Backends {
            backends: plan.backends(reach).to_vec(),
            algorithm: frontend.algorithm,
            hide_client,
            direct_return: !client.inside && frontend.forwarding == Forwarding::DirectReturn,
            affinity_timeout_seconds: frontend.affinity_timeout_seconds,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{endpoint, ip, service, slice, table};
    use crate::table::ServiceTable;

    fn facts() -> NodeFacts {
        NodeFacts {
            node_port_addresses: vec![ip("192.0.2.1")],
            node_port_on_loopback: true,
            service_cidrs: vec!["10.96.0.0/16".parse().unwrap()],
        }
    }

    fn shop() -> ServiceTable {
        let web = service("web", &["10.96.0.1"])
            .node_port(30080)
            .load_balancer(&["203.0.113.1"])
            .externally_local()
            .with(|web| web.source_ranges = vec!["198.51.100.0/24".parse().unwrap()]);
        let slices = slice("web-1", "web", vec![endpoint("10.0.0.2", "there")]);
        table(vec![web.set(), slices, service("idle", &["10.96.0.2"]).set()])
    }

    fn outcome(table: &ServiceTable, from: Option<&str>, to: &str, port: u16, protocol: Protocol) -> String {
        let client = Client { inside: from.is_none(), address: from.map(ip) };
        let destination = Destination { address: ip(to), protocol, port };
        let plans: Vec<&ServicePlan> = table.plans().map(|plan| plan.as_ref()).collect();
        match trace(plans, &facts(), client, destination).outcome {
            Outcome::Backends { backends, hide_client, .. } => {
                format!("{}{}", backends[0].address, if hide_client { " hidden" } else { "" })
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn each_rule_counts_in_its_order() {
        let table = shop();
        let (friend, stranger) = (Some("198.51.100.7"), Some("203.0.113.77"));
        for (from, to, port, protocol, expected) in [
            (None, "10.96.0.1", 80, Protocol::Tcp, "10.0.0.2"),
            (stranger, "10.96.0.1", 80, Protocol::Tcp, "10.0.0.2 hidden"),
            (None, "10.96.0.1", 80, Protocol::Udp, "RejectNoSuchPort"),
            (None, "10.96.0.1", 81, Protocol::Tcp, "RejectNoSuchPort"),
            (None, "10.96.0.2", 80, Protocol::Tcp, "RejectNoEndpoints"),
            (None, "10.96.0.3", 80, Protocol::Tcp, "DropUnassignedAddress"),
            (None, "203.0.113.1", 80, Protocol::Tcp, "DropOutsideSourceRanges"),
            (friend, "203.0.113.1", 80, Protocol::Tcp, "DropNoLocalEndpoints"),
            (stranger, "203.0.113.1", 80, Protocol::Tcp, "DropOutsideSourceRanges"),
            (stranger, "203.0.113.1", 81, Protocol::Tcp, "Untouched"),
            (None, "192.0.2.1", 30080, Protocol::Tcp, "10.0.0.2"),
            (stranger, "192.0.2.1", 30080, Protocol::Tcp, "DropNoLocalEndpoints"),
            (None, "192.0.2.2", 30080, Protocol::Tcp, "Untouched"),
            (None, "127.0.0.1", 30080, Protocol::Tcp, "10.0.0.2"),
            (stranger, "127.0.0.1", 30080, Protocol::Tcp, "Untouched"),
            (None, "127.0.0.1", 80, Protocol::Tcp, "Untouched"),
        ] {
            assert_eq!(outcome(&table, from, to, port, protocol), expected, "{from:?} to {to}:{port} {protocol}");
        }
    }
}
