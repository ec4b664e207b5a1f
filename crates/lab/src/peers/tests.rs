use serde_json::Value;

use super::*;
use crate::spec::ProxyMode;

fn node(number: u8, rack: u8) -> PeerNode {
    PeerNode {
        name: format!("n{number}"),
        addresses: vec![
            format!("172.31.{rack}.{number}/24").parse().unwrap(),
            format!("fd00:172:31:{rack}::{number}/64").parse().unwrap(),
        ],
        gateways: vec![format!("172.31.{rack}.1").parse().unwrap(), format!("fd00:172:31:{rack}::1").parse().unwrap()],
        pod_cidrs: vec![
            format!("10.244.{number}.0/24").parse().unwrap(),
            format!("fd00:244:0:{number}::/64").parse().unwrap(),
        ],
    }
}

fn ranges() -> Vec<IpNet> {
    vec!["10.244.0.0/16".parse().unwrap(), "fd00:244::/48".parse().unwrap()]
}

#[test]
fn routes_go_straight_in_a_rack_and_by_the_router_between_racks() {
    let nodes = [node(1, 0), node(2, 0), node(3, 1)];
    let lines: Vec<String> = bridge::routes(&nodes[0], &nodes).iter().map(|route| route.argv().join(" ")).collect();
    assert_eq!(
        lines,
        [
            "ip -4 route replace 10.244.2.0/24 via 172.31.0.2",
            "ip -6 route replace fd00:244:0:2::/64 via fd00:172:31::2",
            "ip -4 route replace 10.244.3.0/24 via 172.31.0.1",
            "ip -6 route replace fd00:244:0:3::/64 via fd00:172:31::1",
        ]
    );
    let router: Vec<String> = bridge::router_routes(&nodes).iter().map(|route| route.via.to_string()).collect();
    assert_eq!(
        router,
        ["172.31.0.1", "fd00:172:31::1", "172.31.0.2", "fd00:172:31::2", "172.31.1.3", "fd00:172:31:1::3"]
    );
}

#[test]
fn the_bridge_hands_out_both_families() {
    let conflist: Value = serde_json::from_str(&bridge::conflist(&node(1, 0), 1500)).unwrap();
    assert_eq!(conflist.pointer("/plugins/0/mtu").unwrap(), 1500);
    assert_eq!(conflist.pointer("/plugins/0/ipam/ranges/0/0/subnet").unwrap(), "10.244.1.0/24");
    assert_eq!(conflist.pointer("/plugins/0/ipam/ranges/1/0/subnet").unwrap(), "fd00:244:0:1::/64");
    let rules = bridge::masquerade_rules(&ranges());
    assert!(rules.contains("ip6 saddr fd00:244::/48 ip6 daddr != fd00:244::/48 masquerade"), "{rules}");
}

#[test]
fn flannel_s_subnet_file_becomes_a_bridge() {
    let written = "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\n\
        FLANNEL_IPV6_NETWORK=fd00:244::/48\nFLANNEL_IPV6_SUBNET=fd00:244:0:1::1/64\n\
        FLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";
    let conflist: Value = serde_json::from_str(&flannel::conflist(written).unwrap()).unwrap();
    assert_eq!(conflist.pointer("/plugins/0/mtu").unwrap(), 1450);
    assert_eq!(conflist.pointer("/plugins/0/ipam/ranges/0/0/subnet").unwrap(), "10.244.1.0/24");
    assert_eq!(conflist.pointer("/plugins/0/ipam/ranges/1/0/subnet").unwrap(), "fd00:244:0:1::/64");
    for (text, problem) in [
        ("FLANNEL_MTU=1450\n", "FLANNEL_SUBNET is missing"),
        ("FLANNEL_SUBNET=10.244.1.1/24\n", "FLANNEL_MTU is missing"),
        ("FLANNEL_MTU=big\n", "FLANNEL_MTU is not a number"),
        ("FLANNEL_MTU=1450\nFLANNEL_SUBNET=x\n", "FLANNEL_SUBNET is not a subnet"),
    ] {
        assert_eq!(flannel::conflist(text).unwrap_err().problem, problem);
    }
    let network: Value = serde_json::from_str(&flannel::network_file(&ranges())).unwrap();
    assert_eq!(network["IPv6Network"], "fd00:244::/48");
    assert_eq!(network["EnableIPv4"], true);
}

#[test]
fn the_service_has_an_address_of_each_family() {
    let addresses = ["10.96.0.10".parse().unwrap(), "fd00:96::a".parse().unwrap()];
    let text = coredns::manifests("cluster.local", &addresses, 2);
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    let of_kind = |kind: &str| documents.iter().find(|document| document["kind"] == kind).unwrap();
    let service = &of_kind("Service")["spec"];
    assert_eq!(service["clusterIP"], "10.96.0.10");
    assert_eq!(service["clusterIPs"], serde_json::json!(["10.96.0.10", "fd00:96::a"]));
    assert_eq!(service["ipFamilies"], serde_json::json!(["IPv4", "IPv6"]));
    assert_eq!(service["ipFamilyPolicy"], "RequireDualStack");
    assert_eq!(of_kind("Deployment")["spec"]["replicas"], 2);
    assert!(of_kind("ConfigMap")["data"]["Corefile"].as_str().unwrap().contains("kubernetes cluster.local in-addr"));
    let single = coredns::manifests("lab.test", &addresses[1..], 1);
    assert!(single.contains("ipFamilyPolicy: SingleStack") && single.contains("clusterIP: \"fd00:96::a\""), "{single}");
}

#[test]
fn manifests_and_files_are_well_formed() {
    for text in [flannel::MANIFEST, kube_proxy::MANIFEST] {
        let documents: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
        assert!(documents.iter().all(|document| document["kind"].is_string()));
    }
    let file = kube_proxy::configuration("n1", ProxyMode::Nftables, &ranges(), "/etc/k".as_ref());
    let configuration: Value = serde_json::from_str(&file).unwrap();
    assert_eq!(configuration["clusterCIDR"], "10.244.0.0/16,fd00:244::/48");
    assert_eq!(configuration["mode"], "nftables");
}
