//! The kubelet's configuration file and arguments.

use std::path::Path;

use serde_json::{Value, json};

use super::super::pki;
use super::{CONTAINERD_SOCKET, ClusterSettings, NodeSettings, joined, program_and};

/// Arguments; most settings are in [`configuration`].
#[must_use]
pub fn arguments(program: &Path, node: &NodeSettings, configuration: &Path, kubeconfig: &Path) -> Vec<String> {
    let mut arguments = vec![
        format!("--config={}", configuration.display()),
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--hostname-override={}", node.name),
        format!("--node-ip={}", joined(&node.addresses)),
    ];
    if !node.labels.is_empty() {
        let labels: Vec<_> = node.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        arguments.push(format!("--node-labels={}", labels.join(",")));
    }
    program_and(program, arguments)
}

/// `KubeletConfiguration` (kubelet.config.k8s.io/v1beta1), as JSON, which the kubelet reads as YAML.
#[must_use]
pub fn configuration(settings: &ClusterSettings, node: &NodeSettings) -> Value {
    let taints: Vec<_> = node.taints.iter().map(|t| json!({ "key": t.key, "effect": t.effect })).collect();
    let endpoint = format!("unix://{CONTAINERD_SOCKET}");
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": { "enabled": false },
            "webhook": { "enabled": true },
            "x509": { "clientCAFile": settings.key("ca.crt") },
        },
        "authorization": { "mode": "Webhook" },
        "tlsCertFile": settings.key(&format!("{}.crt", pki::kubelet_server(&node.name))),
        "tlsPrivateKeyFile": settings.key(&format!("{}.key", pki::kubelet_server(&node.name))),
        "rotateCertificates": false,
        "clusterDomain": settings.cluster_domain,
        "clusterDNS": settings.dns_addresses,
        "resolvConf": "/etc/resolv.conf",
        "containerRuntimeEndpoint": endpoint,
        "imageServiceEndpoint": endpoint,
        "registerWithTaints": taints,
        "maxPods": node.max_pods,
        // Many nodes on one machine: all hierarchies below the node's own
        // cgroup, none of the machine's limits enforced, neither its swap nor
        // its nearly full disk a reason to refuse pods.
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": node.cgroup_root,
        "enforceNodeAllocatable": [],
        "failCgroupV1": false,
        "failSwapOn": false,
        "memorySwap": {},
        "oomScoreAdj": 0,
        "localStorageCapacityIsolation": false,
        "evictionHard": {
            "imagefs.available": "0%",
            "imagefs.inodesFree": "0%",
            "memory.available": "0%",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "pid.available": "0%",
        },
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "makeIPTablesUtilChains": false,
        "shutdownGracePeriod": "0s",
        // Ready at once.
        "serializeImagePulls": false,
        "nodeStatusUpdateFrequency": "2s",
        "configMapAndSecretChangeDetectionStrategy": "Watch",
        "enableProfilingHandler": false,
        // A power-cycled or frozen node is noticed within the controller
        // manager's default grace period; the lease is renewed four times in it.
        "nodeLeaseDurationSeconds": 40,
        "runtimeRequestTimeout": "2m",
        "logging": { "verbosity": 1 },
    })
}
