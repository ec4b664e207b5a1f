//! Address pools and the blocks nodes take from them.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::agent_api::AttachmentKey;
use crate::ids::{NodeName, PodRef};
use crate::labels::LabelSelector;

/// How packets of a pool travel between nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Encapsulation {
    /// Always in VXLAN (RFC 7348).
    #[default]
    Vxlan,
    /// Never: the nodes are neighbors, or the fabric knows the routes.
    None,
    /// VXLAN only where the next node is not on a subnet of this node.
    CrossSubnet,
}

/// A range of pod addresses (`IPPool`), already validated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IpPool {
    /// Object name.
    pub name: String,
    /// The range; one family.
    pub cidr: IpNet,
    /// Prefix length of the blocks the range is split into.
    pub block_prefix_length: u8,
    /// How its packets travel.
    pub encapsulation: Encapsulation,
    /// Nodes that may take blocks; empty: all.
    pub node_selector: LabelSelector,
    /// Namespaces whose pods get addresses from it; empty: all.
    pub namespace_selector: LabelSelector,
    /// Whether traffic that leaves the cluster gets the node's address.
    pub masquerade: bool,
    /// No new addresses; those in use stay. So it is with a pool that is being deleted.
    pub disabled: bool,
}

// === impl IpPool ===

impl IpPool {
    /// A pool whose other fields have their defaults: VXLAN, for all nodes and namespaces, masqueraded.
    #[must_use]
    pub fn new(name: impl Into<String>, cidr: IpNet, block_prefix_length: u8) -> Self {
        Self {
            name: name.into(),
            cidr,
            block_prefix_length,
            encapsulation: Encapsulation::default(),
            node_selector: LabelSelector::default(),
            namespace_selector: LabelSelector::default(),
            masquerade: true,
            disabled: false,
        }
    }
}

/// A block of a pool, taken by a node (`IPBlock`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IpBlock {
    /// The block's range.
    pub cidr: IpNet,
    /// Name of its pool.
    pub pool: String,
    /// Node that owns it.
    pub node: NodeName,
}

/// An address of a block that a pod holds, as the API records it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockAllocation {
    /// The address.
    pub address: IpAddr,
    /// Who holds it.
    #[serde(flatten)]
    pub key: AttachmentKey,
    /// The pod, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodRef>,
}
