//! Who must reach whom. Pure.

use std::net::{IpAddr, SocketAddr};

use super::{Check, Kind, Place, Question};

/// Port of the test pods that answers HTTP.
pub const HTTP_PORT: u16 = 8080;
/// Port of the test pods that answers datagrams.
pub const UDP_PORT: u16 = 8081;
/// Port every node listens on: the kubelet's.
const NODE_PORT_OPEN: u16 = 10250;
/// Enough octets to need many full packets in each direction.
const LARGE_BYTES: usize = 64 * 1024;

/// What the plan is made from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Topology {
    /// The nodes.
    pub nodes: Vec<TestNode>,
    /// The test pods that run.
    pub pods: Vec<TestPod>,
    /// The Service before the pods; none: Services are not tested.
    pub service: Option<TestService>,
    /// Cluster DNS; empty: not tested.
    pub dns: Vec<IpAddr>,
    /// Where the listener outside listens.
    pub outside: Vec<SocketAddr>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestNode {
    /// Name.
    pub name: String,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
}

/// A test pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestPod {
    /// Name.
    pub name: String,
    /// Unique id.
    pub uid: String,
    /// Node.
    pub node: String,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
}

/// The Service before all test pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestService {
    /// DNS name.
    pub name: String,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
    /// Port opened on each node.
    pub node_port: u16,
}

/// All checks; the first pod of each node asks.
#[must_use]
pub fn checks(topology: &Topology) -> Vec<Check> {
    let mut checks = Vec::new();
    for node in &topology.nodes {
        if let Some(pod) = topology.pods.iter().find(|pod| pod.node == node.name) {
            from_pod(topology, pod, node, &mut checks);
        }
        let from = Place::Node { node: node.name.clone() };
        for pod in one_pod_per_node(topology) {
            to_pod(&from, pod, Kind::NodeToPod, &mut checks);
        }
    }
    from_outside(topology, &mut checks);
    checks
}

fn from_pod(topology: &Topology, pod: &TestPod, node: &TestNode, checks: &mut Vec<Check>) {
    let from = Place::Pod { node: pod.node.clone(), pod: pod.name.clone() };
    for other in topology.pods.iter().filter(|other| other.name != pod.name && other.node == pod.node) {
        to_pod(&from, other, Kind::SameNodeTcp, checks);
        to_pod(&from, other, Kind::SameNodeUdp, checks);
    }
    for other in one_pod_per_node(topology).filter(|other| other.node != pod.node) {
        for kind in [Kind::CrossNodeTcp, Kind::CrossNodeUdp, Kind::CrossNodeLarge] {
            to_pod(&from, other, kind, checks);
        }
    }
    for other in &topology.nodes {
        for address in &other.addresses {
            let target = (*address, NODE_PORT_OPEN).into();
            checks.push(check(Kind::PodToNode, &from, Some(&other.name), target, Question::Accept));
        }
    }
    if let Some(service) = &topology.service {
        for address in &service.addresses {
            let question = Question::TcpName(topology.pods.iter().map(|pod| pod.name.clone()).collect());
            checks.push(check(Kind::ClusterIp, &from, None, (*address, HTTP_PORT).into(), question));
        }
        for server in &topology.dns {
            // The answer over each family is that family's address.
            if let Some(expected) = service.addresses.iter().find(|address| address.is_ipv4() == server.is_ipv4()) {
                let question = Question::DnsName(service.name.clone(), *expected);
                checks.push(check(Kind::Dns, &from, None, (*server, 53).into(), question));
            }
        }
    }
    for target in &topology.outside {
        let question = Question::SeenAs(node.addresses.clone());
        checks.push(check(Kind::PodToOutside, &from, None, *target, question));
    }
}

fn from_outside(topology: &Topology, checks: &mut Vec<Check>) {
    let Some(service) = &topology.service else { return };
    for node in &topology.nodes {
        for address in &node.addresses {
            if service.addresses.iter().any(|own| own.is_ipv4() == address.is_ipv4()) {
                let question = Question::TcpName(topology.pods.iter().map(|pod| pod.name.clone()).collect());
                let target = (*address, service.node_port).into();
                checks.push(check(Kind::NodePort, &Place::Outside, Some(&node.name), target, question));
            }
        }
    }
}

fn to_pod(from: &Place, pod: &TestPod, kind: Kind, checks: &mut Vec<Check>) {
    for address in &pod.addresses {
        let names = vec![pod.name.clone()];
        let (port, question) = match kind {
            Kind::SameNodeUdp | Kind::CrossNodeUdp => (UDP_PORT, Question::UdpName(names)),
            Kind::CrossNodeLarge => (HTTP_PORT, Question::Echo(LARGE_BYTES)),
            _ => (HTTP_PORT, Question::TcpName(names)),
        };
        checks.push(check(kind, from, Some(&pod.node), (*address, port).into(), question));
    }
}

fn check(kind: Kind, from: &Place, to_node: Option<&str>, target: SocketAddr, question: Question) -> Check {
    Check { kind, ipv6: target.is_ipv6(), from: from.clone(), to_node: to_node.map(str::to_owned), target, question }
}

/// The last pod of each node answers, so that same-node checks have two ends.
fn one_pod_per_node(topology: &Topology) -> impl Iterator<Item = &TestPod> {
    topology.nodes.iter().filter_map(|node| topology.pods.iter().rfind(|pod| pod.node == node.name))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn two_dual_stack_nodes_check_every_direction_in_both_families() {
        let addresses =
            |n: u8| vec![IpAddr::from([10, 0, 0, n]), IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(n)])];
        let pod = |name: &str, node: &str, n| TestPod {
            name: name.into(),
            uid: name.into(),
            node: node.into(),
            addresses: addresses(n),
        };
        let topology = Topology {
            nodes: ["n1", "n2"].map(|name| TestNode { name: name.into(), addresses: addresses(1) }).into(),
            pods: vec![pod("a1", "n1", 11), pod("b1", "n1", 12), pod("a2", "n2", 21), pod("b2", "n2", 22)],
            service: Some(TestService { name: "probe".into(), addresses: addresses(96), node_port: 30000 }),
            dns: addresses(97),
            outside: addresses(200).into_iter().map(|address| (address, 9).into()).collect(),
        };
        let mut counts: BTreeMap<Kind, usize> = BTreeMap::new();
        for check in checks(&topology) {
            *counts.entry(check.kind).or_default() += 1;
        }
        let found: Vec<_> = counts.into_iter().collect();
        assert_eq!(
            found,
            [
                (Kind::SameNodeTcp, 4),
                (Kind::SameNodeUdp, 4),
                (Kind::CrossNodeTcp, 4),
                (Kind::CrossNodeUdp, 4),
                (Kind::CrossNodeLarge, 4),
                (Kind::NodeToPod, 8),
                (Kind::PodToNode, 8),
                (Kind::ClusterIp, 4),
                (Kind::Dns, 4),
                (Kind::NodePort, 4),
                (Kind::PodToOutside, 4),
            ]
        );
    }
}
