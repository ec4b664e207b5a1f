//! What must hold of the generated arguments, whatever else changes.

use super::*;

fn settings() -> ClusterSettings {
    ClusterSettings {
        pod_cidrs: vec!["10.244.0.0/16".parse().unwrap(), "fd00:244::/48".parse().unwrap()],
        service_cidrs: vec!["10.96.0.0/16".parse().unwrap(), "fd00:96::/112".parse().unwrap()],
        cluster_domain: "cluster.local".into(),
        dns_addresses: vec!["10.96.0.10".parse().unwrap()],
        control_plane_addresses: vec!["172.31.0.10".parse().unwrap()],
        keys: "/etc/kubernetes/pki".into(),
        allocate_node_cidrs: true,
    }
}

fn node() -> NodeSettings {
    NodeSettings {
        name: "n2".into(),
        addresses: vec!["172.31.0.11".parse().unwrap(), "fd00:172:31::b".parse().unwrap()],
        labels: BTreeMap::from([("topology.kubernetes.io/zone".into(), "r1".into())]),
        taints: vec![Taint { key: "seaway.dev/agent-not-ready".into(), effect: "NoSchedule".into() }],
        cgroup_root: "/".into(),
        max_pods: 250,
    }
}

#[test]
fn the_api_server_authorizes_nodes_and_serves_both_families() {
    let argv = control_plane::api_server(Path::new("/bin/kube-apiserver"), &settings());
    assert_eq!(argv.first().unwrap(), "/bin/kube-apiserver");
    for wanted in [
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--service-cluster-ip-range=10.96.0.0/16,fd00:96::/112",
        "--advertise-address=172.31.0.10",
        "--kubelet-certificate-authority=/etc/kubernetes/pki/ca.crt",
    ] {
        assert!(argv.iter().any(|argument| argument == wanted), "{wanted}");
    }
    assert_eq!(settings().api_server_url(), "https://172.31.0.10:6443");
    let service: Vec<IpAddr> = settings().kubernetes_service_addresses();
    assert_eq!(service, ["10.96.0.1".parse::<IpAddr>().unwrap(), "fd00:96::1".parse().unwrap()]);
}

#[test]
fn the_kubelet_trusts_nobody_and_carries_the_taint() {
    let configuration = kubelet::configuration(&settings(), &node());
    assert_eq!(configuration["authentication"]["anonymous"]["enabled"], false);
    assert_eq!(configuration["authorization"]["mode"], "Webhook");
    assert_eq!(configuration["registerWithTaints"][0]["key"], "seaway.dev/agent-not-ready");
    assert_eq!(configuration["tlsCertFile"], "/etc/kubernetes/pki/kubelet-n2.crt");
    let argv = kubelet::arguments(Path::new("kubelet"), &node(), Path::new("/c"), Path::new("/k"));
    assert!(argv.contains(&"--node-ip=172.31.0.11,fd00:172:31::b".to_owned()));
    assert!(argv.contains(&"--node-labels=topology.kubernetes.io/zone=r1".to_owned()));
}

#[test]
fn node_ranges_are_cut_per_family_or_not_at_all() {
    let argv =
        |settings: &ClusterSettings| control_plane::controller_manager(Path::new("kcm"), settings, Path::new("/k"));
    let both = argv(&settings());
    assert!(both.contains(&"--cluster-cidr=10.244.0.0/16,fd00:244::/48".to_owned()));
    assert!(both.contains(&"--node-cidr-mask-size-ipv6=64".to_owned()));
    let none = argv(&ClusterSettings { allocate_node_cidrs: false, ..settings() });
    assert!(none.contains(&"--allocate-node-cidrs=false".to_owned()));
    assert!(!none.iter().any(|argument| argument.starts_with("--cluster-cidr")));
}

#[test]
fn addresses_outside_a_range_are_none() {
    assert_eq!(nth_address(&"10.0.0.0/31".parse().unwrap(), 2), None);
    assert_eq!(nth_address(&"fd00::/112".parse().unwrap(), 10), Some("fd00::a".parse().unwrap()));
}
