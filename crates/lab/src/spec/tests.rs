//! What the specification takes and what it refuses.

use seaway_model::Diagnose;

use super::*;

fn refusal(text: &str) -> (u16, String) {
    let error = LabSpec::parse(text).expect("parses").validate().expect_err("is refused");
    (error.id().0, error.to_string())
}

#[test]
fn an_empty_file_is_the_default_lab() {
    let spec = LabSpec::parse("").unwrap();
    assert_eq!(spec, LabSpec::default());
    spec.validate().unwrap();
    assert_eq!(
        spec.dns_addresses(),
        ["10.96.0.10".parse::<std::net::IpAddr>().unwrap(), "fd00:96::a".parse().unwrap()]
    );
}

#[test]
fn every_field_can_be_written() {
    let spec = LabSpec::parse(
        "name: two\nnodes: 4\nracks: 2\nlinkMtuBytes: 9000\nfamilies: ipv4\nunderlay: {ipv4: 10.9.0.0/16}\n\
         nodeLabels: {n2: {disk: ssd}}\npodCidrs: [10.10.0.0/16]\nserviceCidrs: [10.11.0.0/16]\n\
         network: bridge\n\
         seaway: {backend: ebpf, nodeBackends: {n2: nftables}, encapsulation: crossSubnet, ipam: nodePodCIDRs}\nservices: kube-proxy:iptables\ndns: none\n",
    )
    .unwrap();
    spec.validate().unwrap();
    assert_eq!(spec.services, ServicesChoice::KubeProxy(ProxyMode::Iptables));
    assert_eq!(spec.pod_ranges(), ["10.10.0.0/16".parse::<IpNet>().unwrap()]);
}

#[test]
fn an_unknown_field_is_named() {
    assert!(LabSpec::parse("nodez: 3").unwrap_err().contains("nodez"));
    assert!(LabSpec::parse("network: calico").unwrap_err().contains("calico"));
}

#[test]
fn refusals_name_the_field() {
    for (text, id, field) in [
        ("nodes: 0", 933, "nodes"),
        ("nodes: 2\nracks: 3", 933, "racks"),
        ("name: Über", 932, "name"),
        ("name: -a", 932, "name"),
        ("linkMtuBytes: 1200", 934, "linkMtuBytes"),
        ("linkMtuBytes: 100", 933, "linkMtuBytes"),
        ("podCidrs: [10.96.0.0/12, 'fd00:244::/48']", 937, "serviceCidrs"),
        ("podCidrs: [172.31.0.0/20, 'fd00:244::/48']", 937, "podCidrs"),
        ("podCidrs: [10.244.0.0/26, 'fd00:244::/48']", 935, "podCidrs"),
        ("podCidrs: [10.244.0.1/16, 'fd00:244::/48']", 940, "podCidrs"),
        ("podCidrs: [10.244.0.0/16]", 938, "podCidrs"),
        ("families: ipv6\npodCidrs: [10.244.0.0/16]", 938, "podCidrs"),
        ("serviceCidrs: [10.96.0.0/16, 'fd00:96::/64']", 936, "serviceCidrs"),
        ("nodeLabels: {n4: {a: b}}", 939, "nodeLabels"),
        ("seaway: {nodeBackends: {n4: ebpf}}", 939, "seaway.nodeBackends"),
        ("nodeLabels: {n02: {a: b}}", 939, "nodeLabels"),
        ("racks: 3\nunderlay: {ipv4: 172.31.0.0/23}", 935, "underlay.ipv4"),
    ] {
        let (found, message) = refusal(text);
        assert_eq!(found, id, "{text}: {message}");
        assert!(message.starts_with(field), "{text}: {message}");
    }
}

#[test]
fn a_spec_survives_being_written_and_read() {
    let spec = LabSpec { racks: 2, ..LabSpec::default() };
    let text = serde_json::to_string(&spec).unwrap();
    assert_eq!(serde_json::from_str::<LabSpec>(&text).unwrap(), spec);
}
