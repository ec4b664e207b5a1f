//! CoreDNS, under the names kubeadm's users know: Deployment `coredns` and
//! Service `kube-dns` in `kube-system`, labelled `k8s-app: kube-dns`.

use std::net::IpAddr;

use serde_json::json;

use crate::image::Builtin;

const TEMPLATE: &str = include_str!("coredns.yaml");

/// The manifests. `addresses` are the Service's: one per family of the cluster,
/// the primary family's first.
pub fn manifests(cluster_domain: &str, addresses: &[IpAddr], replicas: u32) -> String {
    let first = addresses.first().map(|address| json!(address.to_string()));
    let families: Vec<_> = addresses.iter().map(|ip| if ip.is_ipv4() { "IPv4" } else { "IPv6" }).collect();
    let policy = if addresses.len() > 1 { "RequireDualStack" } else { "SingleStack" };
    let text: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
    TEMPLATE
        .replace("CLUSTER_DOMAIN", cluster_domain)
        .replace("REPLICAS", &replicas.to_string())
        .replace("image: IMAGE", &format!("image: {}", Builtin::CoreDns.reference()))
        .replace("FIRST_CLUSTER_IP", &first.unwrap_or_default().to_string())
        .replace("CLUSTER_IPS", &json!(text).to_string())
        .replace("IP_FAMILIES", &json!(families).to_string())
        .replace("IP_FAMILY_POLICY", policy)
}
