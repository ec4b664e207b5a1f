//! flannel with VXLAN: one daemon per node, subnets from the nodes' pod ranges.
//!
//! flannel's own CNI plugin only turns `subnet.env` into a configuration for the
//! `bridge` plugin; [`conflist`] does the same once per node.

use std::path::Path;

use ipnet::IpNet;
use serde_json::json;

/// Where the daemon reads what network it makes, in the node.
pub const NETWORK_FILE: &str = "/etc/kube-flannel/net-conf.json";
/// Where the daemon says what it made, in the node.
pub const SUBNET_FILE: &str = "/run/flannel/subnet.env";
/// flannel's documented defaults for Linux.
const VXLAN_ID: u32 = 1;
const VXLAN_PORT: u16 = 8472;

/// What lets a node's own identity do flannel's work. Since the node authorizer
/// looks at selectors, a kubelet may list no other nodes; flannel must.
pub const MANIFEST: &str = r#"apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: flannel
rules:
- apiGroups: [""]
  resources: [nodes]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [nodes/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [get]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: flannel
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: flannel
subjects:
- apiGroup: rbac.authorization.k8s.io
  kind: Group
  name: system:nodes
"#;

/// `subnet.env` does not say what a network configuration needs.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("flannel's {SUBNET_FILE}: {problem}")]
pub struct SubnetFileError {
    /// The variable and what is wrong with it.
    pub problem: String,
}

/// Content of [`NETWORK_FILE`].
pub fn network_file(pod_ranges: &[IpNet]) -> String {
    let mut network = json!({
        "EnableIPv4": false,
        "EnableNFTables": false,
        "Backend": {"Type": "vxlan", "VNI": VXLAN_ID, "Port": VXLAN_PORT},
    });
    if let Some(fields) = network.as_object_mut() {
        for range in pod_ranges {
            let (enable, network) =
                if range.addr().is_ipv4() { ("EnableIPv4", "Network") } else { ("EnableIPv6", "IPv6Network") };
            fields.insert(enable.to_owned(), json!(true));
            fields.insert(network.to_owned(), json!(range.to_string()));
        }
    }
    format!("{network:#}\n")
}

/// The daemon's command line; its environment is [`environment`].
pub fn argv(program: &Path, kubeconfig: &Path, interface: &str) -> Vec<String> {
    vec![
        program.display().to_string(),
        "--kube-subnet-mgr".to_owned(),
        format!("--kubeconfig-file={}", kubeconfig.display()),
        format!("--net-config-path={NETWORK_FILE}"),
        format!("--subnet-file={SUBNET_FILE}"),
        format!("--iface={interface}"),
        "--ip-masq".to_owned(),
        "--healthz-port=0".to_owned(),
    ]
}

/// The daemon finds its node by this.
pub fn environment(node: &str) -> Vec<(String, String)> {
    vec![("NODE_NAME".to_owned(), node.to_owned())]
}

/// The node's network configuration, from what the daemon wrote to
/// [`SUBNET_FILE`].
pub fn conflist(subnet_file: &str) -> Result<String, SubnetFileError> {
    let value = |name: &str| subnet_file.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let wrong = |name: &str, problem: &str| SubnetFileError { problem: format!("{name} {problem}") };
    let mtu_bytes = value("FLANNEL_MTU").ok_or_else(|| wrong("FLANNEL_MTU", "is missing"))?;
    let mtu_bytes: u32 = mtu_bytes.parse().map_err(|_| wrong("FLANNEL_MTU", "is not a number"))?;
    let mut ranges = Vec::new();
    for name in ["FLANNEL_SUBNET", "FLANNEL_IPV6_SUBNET"] {
        if let Some(subnet) = value(name) {
            // The daemon writes the gateway's address in the subnet.
            let subnet: IpNet = subnet.parse().map_err(|_| wrong(name, "is not a subnet"))?;
            ranges.push(subnet.trunc());
        }
    }
    if ranges.is_empty() {
        return Err(wrong("FLANNEL_SUBNET", "is missing"));
    }
    Ok(super::conflist("cbr0", super::bridge_plugin("cni0", mtu_bytes, &ranges)))
}
