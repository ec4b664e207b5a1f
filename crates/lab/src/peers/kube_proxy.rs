//! kube-proxy, as a program in each node's namespaces.

use std::path::Path;

use ipnet::IpNet;
use serde_json::json;

use crate::spec::ProxyMode;

/// Port of its metrics on the node's loopback.
pub const METRICS_PORT: u16 = 10249;

/// Lets the nodes' own identities do kube-proxy's work; kubeadm gives it to a
/// service account, but here it is no pod.
pub const MANIFEST: &str = r#"apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: lab:node-proxier
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: system:node-proxier
subjects:
- apiGroup: rbac.authorization.k8s.io
  kind: Group
  name: system:nodes
"#;

/// The configuration file (JSON, which is YAML as well).
pub fn configuration(node: &str, mode: ProxyMode, pod_ranges: &[IpNet], kubeconfig: &Path) -> String {
    let mode = match mode {
        ProxyMode::Nftables => "nftables",
        ProxyMode::Iptables => "iptables",
    };
    let cluster_cidr = pod_ranges.iter().map(IpNet::to_string).collect::<Vec<_>>().join(",");
    let configuration = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": kubeconfig},
        "hostnameOverride": node,
        "mode": mode,
        "clusterCIDR": cluster_cidr,
        "metricsBindAddress": format!("127.0.0.1:{METRICS_PORT}"),
        // The limits are the whole machine's, and not a node's to change.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    });
    format!("{configuration:#}\n")
}

/// The command line.
pub fn argv(program: &Path, configuration: &Path) -> Vec<String> {
    vec![program.display().to_string(), format!("--config={}", configuration.display())]
}
