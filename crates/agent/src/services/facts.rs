//! What the data path of Services must know of this node, from the snapshot and the configuration.

use std::borrow::Cow;
use std::net::IpAddr;

use ipnet::IpNet;
use seaway_datapath::ServiceNode;
use seaway_model::Snapshot;
use seaway_routing::ipam::with_node_pod_cidrs;
use seaway_runtime::config::{NodePodCidrs, NodePortAddresses, Services};
use seaway_services::NodeView;
use seaway_services::reference::NodeFacts;

use crate::decide::Settings;

/// Well-known label of a node's zone.
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// Facts for both sides: what Services mean here, and how packets are carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) view: NodeView,
    pub(crate) node: ServiceNode,
    /// The node is about to be removed: outside load balancers should stop using it (KEP-3836).
    pub(crate) leaving: bool,
}

impl Facts {
    /// Whether packets from this address start on this node.
    pub(crate) fn is_inside(&self, address: &IpAddr) -> bool {
        let node = &self.node;
        address.is_loopback()
            || node.node_addresses.contains(address)
            || node.local_pod_cidrs.iter().any(|range| range.contains(address))
    }

    /// What decides of a packet.
    pub(crate) fn for_reference(&self) -> NodeFacts {
        NodeFacts {
            node_port_addresses: self.node.node_port_addresses.clone(),
            node_port_on_loopback: self.node.node_port_on_loopback,
            service_cidrs: self.node.service_cidrs.clone(),
        }
    }
}

/// Gathers the facts; none before the node is in the snapshot.
pub(crate) fn facts(
    snapshot: &Snapshot,
    settings: &Settings,
    services: &Services,
    service_cidrs: &[IpNet],
    host_addresses: impl FnOnce() -> Vec<IpAddr>,
) -> Option<Facts> {
    let this = snapshot.nodes.get(&settings.node)?;
    let blocks = match settings.node_pod_cidrs {
        Some(NodePodCidrs { encapsulation, masquerade }) => {
            Cow::Owned(with_node_pod_cidrs(snapshot, encapsulation, masquerade).blocks)
        }
        None => Cow::Borrowed(&snapshot.blocks),
    };
    let pools = snapshot.pools.values().map(|pool| pool.cidr);
    let pod_cidrs: Vec<IpNet> = pools.chain(blocks.values().map(|block| block.cidr)).collect();
    let local = blocks.values().filter(|block| block.node == settings.node);
    let cluster_node_addresses = snapshot.nodes.values().flat_map(|node| node.addresses.iter().copied());
    Some(Facts {
        view: NodeView {
            name: settings.node.clone(),
            zone: this.labels.get(ZONE_LABEL).cloned(),
            cluster_node_addresses: cluster_node_addresses.clone().collect(),
            pod_ranges: IpNet::aggregate(&pod_cidrs),
        },
        node: ServiceNode {
            node_port_addresses: node_port_addresses(services, &this.addresses, host_addresses),
            node_port_on_loopback: services.node_port_on_loopback,
            node_addresses: this.addresses.clone(),
            cluster_node_addresses: cluster_node_addresses.collect(),
            service_cidrs: service_cidrs.to_vec(),
            pod_cidrs: IpNet::aggregate(&pod_cidrs),
            local_pod_cidrs: local.map(|block| block.cidr).collect(),
        },
        leaving: this.leaving,
    })
}

fn node_port_addresses(
    services: &Services,
    own: &[IpAddr],
    host_addresses: impl FnOnce() -> Vec<IpAddr>,
) -> Vec<IpAddr> {
    match &services.node_port_addresses {
        NodePortAddresses::Primary => own.to_vec(),
        NodePortAddresses::Ranges(ranges) => {
            let inside = |address: &IpAddr| ranges.iter().any(|range| range.contains(address));
            host_addresses().into_iter().filter(inside).collect()
        }
    }
}
