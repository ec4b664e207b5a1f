//! A course of events and what is asked in it; every judge plays the same ones.

use std::net::IpAddr;

use seaway_datapath::ServiceNode;
use seaway_model::{NodeName, Protocol, ServiceChange};
use seaway_services::NodeView;
use seaway_services::reference::{self, Destination, NodeFacts};
use serde::{Deserialize, Serialize};

use super::addresses::{HERE, Kind, SECOND, address, local_pod_ranges, pod_ranges, service_ranges};

/// Name of the judged node.
pub(crate) const NODE_NAME: &str = "node-1";

/// Rounds of changes, each with questions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Scenario {
    /// What this is about, for people.
    pub(crate) about: String,
    /// The judged node.
    pub(crate) node: JudgedNode,
    /// One after the other.
    pub(crate) rounds: Vec<Round>,
}

/// The judged node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct JudgedNode {
    /// Its zone.
    pub(crate) zone: Option<String>,
    /// NodePorts are served on its second address, too.
    pub(crate) serves_second_address: bool,
    /// And on loopback addresses.
    pub(crate) serves_loopback: bool,
}

/// Changes that come at once, and what is asked after them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Round {
    /// What changes.
    pub(crate) changes: Vec<ServiceChange>,
    /// What is asked then.
    pub(crate) probes: Vec<Probe>,
}

/// One question: where does this packet go?
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Probe {
    /// Who sends it.
    pub(crate) client: Client,
    /// Where to: address.
    pub(crate) to: IpAddr,
    /// Where to: port.
    pub(crate) port: u16,
    /// Transport protocol.
    pub(crate) protocol: Protocol,
}

/// Who sends a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Client {
    /// A pod of the judged node.
    Pod(u8),
    /// A process of the judged node, or a pod with its network.
    Process,
    /// What lives elsewhere, which is never something of the judged node.
    Elsewhere(Kind, u8),
}

// === impl JudgedNode ===

impl JudgedNode {
    /// As the pure core sees it.
    pub(crate) fn view(&self) -> NodeView {
        NodeView {
            name: NodeName::from(NODE_NAME),
            zone: self.zone.clone(),
            cluster_node_addresses: cluster_nodes().into_iter().collect(),
            pod_ranges: pod_ranges(),
        }
    }

    /// As the reference sees it.
    pub(crate) fn facts(&self) -> NodeFacts {
        NodeFacts {
            node_port_addresses: self.node_port_addresses(),
            node_port_on_loopback: self.serves_loopback,
            service_cidrs: service_ranges(),
        }
    }

    /// As the data path sees it.
    pub(crate) fn settings(&self) -> ServiceNode {
        ServiceNode {
            node_port_addresses: self.node_port_addresses(),
            node_port_on_loopback: self.serves_loopback,
            node_addresses: [true, false].map(|ipv4| address(Kind::Node, HERE, ipv4)).to_vec(),
            cluster_node_addresses: cluster_nodes(),
            service_cidrs: service_ranges(),
            pod_cidrs: pod_ranges(),
            local_pod_cidrs: local_pod_ranges(),
        }
    }

    fn node_port_addresses(&self) -> Vec<IpAddr> {
        let numbers: &[u8] = if self.serves_second_address { &[HERE, SECOND] } else { &[HERE] };
        numbers.iter().flat_map(|number| [true, false].map(|ipv4| address(Kind::Node, *number, ipv4))).collect()
    }
}

fn cluster_nodes() -> Vec<IpAddr> {
    (1..=3).flat_map(|number| [true, false].map(|ipv4| address(Kind::Node, number, ipv4))).collect()
}

// === impl Client ===

impl Client {
    /// Its address of a family. A process that calls loopback has the loopback address.
    pub(crate) fn address(self, to: IpAddr) -> IpAddr {
        match self {
            Client::Pod(number) => address(Kind::Pod(HERE), number, to.is_ipv4()),
            Client::Process if to.is_loopback() => to,
            Client::Process => address(Kind::Node, HERE, to.is_ipv4()),
            Client::Elsewhere(kind, number) => address(kind, number, to.is_ipv4()),
        }
    }

    /// Whether it is on the judged node.
    pub(crate) fn is_inside(self) -> bool {
        !matches!(self, Client::Elsewhere(..))
    }
}

// === impl Probe ===

impl Probe {
    /// The client's address.
    pub(crate) fn from(&self) -> IpAddr {
        self.client.address(self.to)
    }

    /// The client, for the reference.
    pub(crate) fn reference_client(&self) -> reference::Client {
        reference::Client { inside: self.client.is_inside(), address: Some(self.from()) }
    }

    /// Where it goes, for the reference.
    pub(crate) fn destination(&self) -> Destination {
        Destination { address: self.to, protocol: self.protocol, port: self.port }
    }
}
