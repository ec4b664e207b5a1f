//! Arguments and configuration files of the Kubernetes programs, as pure
//! functions of [`ClusterSettings`].
//!
//! What deviates from the defaults does so for one of three reasons, and each
//! place says which: a lab is many nodes on one machine, a lab is thrown away,
//! or a lab should be ready at once.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;

pub mod containerd;
pub mod control_plane;
pub mod kubeconfig;
pub mod kubelet;

#[cfg(test)]
mod tests;

/// Port of the API server on its node.
pub const API_SERVER_PORT: u16 = 6443;

/// Where containerd listens inside each node.
pub const CONTAINERD_SOCKET: &str = "/run/containerd/containerd.sock";

/// What the cluster is like; the same for all nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterSettings {
    /// Ranges of pod addresses, at most one per family; the first is the primary family.
    pub pod_cidrs: Vec<IpNet>,
    /// Ranges of Service addresses, families in the same order.
    pub service_cidrs: Vec<IpNet>,
    /// `cluster.local`.
    pub cluster_domain: String,
    /// Address of the cluster DNS Service, written into every pod's resolv.conf.
    pub dns_addresses: Vec<IpAddr>,
    /// Addresses of the node that runs the control plane.
    pub control_plane_addresses: Vec<IpAddr>,
    /// Folder with the files of [`super::pki::issue`].
    pub keys: PathBuf,
    /// Whether the lab's nodes get `Node.spec.podCIDRs`.
    pub allocate_node_cidrs: bool,
}

/// What one node is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSettings {
    /// Name.
    pub name: String,
    /// Addresses on the underlay.
    pub addresses: Vec<IpAddr>,
    /// Labels at registration.
    pub labels: BTreeMap<String, String>,
    /// Taints at registration, as `key=value:effect` parts.
    pub taints: Vec<Taint>,
    /// Parent of all pods' cgroups, as the node sees it.
    pub cgroup_root: String,
    /// Pods the kubelet accepts.
    pub max_pods: u32,
}

/// A node taint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taint {
    /// Key.
    pub key: String,
    /// `NoSchedule`, `NoExecute`, `PreferNoSchedule`.
    pub effect: String,
}

// === impl ClusterSettings ===

impl ClusterSettings {
    /// URL of the API server for programs inside the lab.
    #[must_use]
    pub fn api_server_url(&self) -> String {
        let address = self.control_plane_addresses.first().copied().unwrap_or(IpAddr::from([127, 0, 0, 1]));
        format!("https://{}", std::net::SocketAddr::new(address, API_SERVER_PORT))
    }

    /// Addresses of the Service `kubernetes`: the first of each range.
    #[must_use]
    pub fn kubernetes_service_addresses(&self) -> Vec<IpAddr> {
        self.service_cidrs.iter().filter_map(|range| nth_address(range, 1)).collect()
    }

    fn key(&self, file: &str) -> String {
        self.keys.join(file).display().to_string()
    }
}

/// The `n`-th address of a range, when the range is that large.
#[must_use]
pub fn nth_address(range: &IpNet, n: u32) -> Option<IpAddr> {
    let address = match range.network() {
        IpAddr::V4(first) => IpAddr::from(u32::from(first).checked_add(n)?.to_be_bytes()),
        IpAddr::V6(first) => IpAddr::from(u128::from(first).checked_add(u128::from(n))?.to_be_bytes()),
    };
    range.contains(&address).then_some(address)
}

fn joined<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn program_and(program: &Path, arguments: Vec<String>) -> Vec<String> {
    std::iter::once(program.display().to_string()).chain(arguments).collect()
}
