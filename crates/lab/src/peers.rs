//! The projects Seaway is compared with, and that stand in for parts it does
//! not have yet: reference plugins, flannel, kube-proxy, CoreDNS.
//!
//! Everything here is computed, nothing is started: argument vectors, files and
//! manifests as values, for the cluster to put in place.

pub mod bridge;
pub mod coredns;
pub mod flannel;
pub mod kube_proxy;

use std::net::IpAddr;

use ipnet::IpNet;

/// Where Debian's `containernetworking-plugins` puts the reference plugins.
pub const REFERENCE_PLUGIN_DIRECTORY: &str = "/usr/lib/cni";

/// The reference plugins the peers' networks call; they belong in a node's
/// `/opt/cni/bin`.
pub const REFERENCE_PLUGINS: [&str; 5] = ["bandwidth", "bridge", "host-local", "loopback", "portmap"];

/// The network configuration file of a peer, in a node's `/etc/cni/net.d`.
pub const CONFLIST_FILE: &str = "10-lab.conflist";

/// A node as the peers see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerNode {
    /// Its name.
    pub name: String,
    /// Its own addresses, with the length of their subnets.
    pub addresses: Vec<IpNet>,
    /// The router's addresses in its subnet.
    pub gateways: Vec<IpAddr>,
    /// The ranges Kubernetes gave it for its pods.
    pub pod_cidrs: Vec<IpNet>,
}

/// The chain every peer's network ends in: `bridge`, then hostPort and
/// bandwidth limits.
fn conflist(name: &str, bridge: serde_json::Value) -> String {
    let conflist = serde_json::json!({
        // Debian 12 ships plugins that know 1.0.0 and not yet 1.1.0.
        "cniVersion": "1.0.0",
        "name": name,
        "plugins": [
            bridge,
            {"type": "portmap", "capabilities": {"portMappings": true}},
            {"type": "bandwidth", "capabilities": {"bandwidth": true}},
        ],
    });
    format!("{conflist:#}\n")
}

/// The `bridge` plugin with `host-local` addresses from these ranges.
fn bridge_plugin(bridge: &str, mtu_bytes: u32, ranges: &[IpNet]) -> serde_json::Value {
    let ranges: Vec<_> = ranges.iter().map(|range| serde_json::json!([{"subnet": range.to_string()}])).collect();
    serde_json::json!({
        "type": "bridge",
        "bridge": bridge,
        "isDefaultGateway": true,
        "hairpinMode": true,
        // The plugin would masquerade whatever leaves the node's own range, pod
        // to pod between nodes included; the masquerade rule is made elsewhere.
        "ipMasq": false,
        "mtu": mtu_bytes,
        "ipam": {"type": "host-local", "ranges": ranges},
    })
}

#[cfg(test)]
mod tests;
