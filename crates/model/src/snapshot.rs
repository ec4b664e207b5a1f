//! What the cluster wants, at one moment. Immutable: `kubeapi` builds a new one
//! for each change and everybody else only reads.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::ids::{NodeName, PodRef};
use crate::labels::Labels;
use crate::pool::{IpBlock, IpPool};

/// The cluster as this daemon sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// Grows by one with each change.
    pub generation: u64,
    /// All nodes.
    pub nodes: BTreeMap<NodeName, Node>,
    /// All namespaces.
    pub namespaces: BTreeMap<String, Namespace>,
    /// Valid pools by name.
    pub pools: BTreeMap<String, IpPool>,
    /// Blocks of all nodes, by range.
    pub blocks: BTreeMap<IpNet, IpBlock>,
    /// Pods of this node (all pods in daemons that ask for them).
    pub pods: BTreeMap<PodRef, Pod>,
}

/// A node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// `InternalIP` addresses, in the order of the object: at most one per family is used.
    pub addresses: Vec<IpAddr>,
    /// `spec.podCIDRs`, for the alternative address source.
    pub pod_cidrs: Vec<IpNet>,
    /// Labels.
    pub labels: Labels,
    /// The cluster autoscaler is about to remove it.
    #[serde(default)]
    pub leaving: bool,
}

/// A namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Namespace {
    /// Labels.
    pub labels: Labels,
}

/// A pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pod {
    /// Unique id of the object.
    pub uid: String,
    /// Labels.
    pub labels: Labels,
    /// Node it is bound to.
    pub node: Option<NodeName>,
    /// Addresses from its status.
    pub addresses: Vec<IpAddr>,
    /// Shares the node's network namespace.
    pub host_network: bool,
}

impl Node {
    /// The node's address of the family of `like`.
    #[must_use]
    pub fn address_like(&self, like: &IpAddr) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|a| a.is_ipv4() == like.is_ipv4())
    }
}

/// Something changed among all pods of the cluster. A stream of them begins with everything there
/// is, then [`PodChange::Synced`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodChange {
    /// A pod was made or changed; without one: deleted. Of each its node and addresses alone.
    Pod {
        /// Which.
        of: PodRef,
        /// What it is now.
        now: Option<Arc<Pod>>,
    },
    /// Everything that exists has been told once.
    Synced,
}
