//! Objects as API servers send them.

use serde_json::json;

use super::*;

fn convert(spec: serde_json::Value) -> (Service, Vec<InvalidObject>) {
    let object = json!({
        "metadata": {
            "name": "web", "namespace": "shop", "uid": "u", "creationTimestamp": "1970-01-01T00:01:40Z",
            "labels": {"app": "web", "service.kubernetes.io/headless": ""},
            "annotations": {"seaway.dev/algorithm": "maglev", "kubectl.kubernetes.io/x": "long"},
        },
        "spec": spec,
    });
    service(&serde_json::from_value(object).unwrap())
}

#[test]
fn a_service_keeps_what_the_network_needs() {
    let (web, flaws) = convert(json!({
        "type": "LoadBalancer", "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1", "fd00::1"],
        "ports": [{"name": "http", "port": 80, "nodePort": 30080, "protocol": "TCP"}, {"name": "dns", "port": 53, "protocol": "UDP"}],
        "sessionAffinity": "ClientIP", "externalTrafficPolicy": "Local", "healthCheckNodePort": 32000,
        "loadBalancerSourceRanges": [" 10.0.0.1/8 "], "trafficDistribution": "PreferClose",
    }));
    assert_eq!(flaws, []);
    assert_eq!((web.created_at_seconds, web.kind, web.cluster_ips.len()), (100, ServiceKind::LoadBalancer, 2));
    assert_eq!((web.ports[0].node_port, web.ports[1].protocol), (Some(30080), Protocol::Udp));
    assert_eq!(web.affinity_timeout_seconds, Some(10_800));
    assert_eq!((web.external_policy, web.internal_policy), (TrafficPolicy::Local, TrafficPolicy::Cluster));
    assert_eq!(web.source_ranges, ["10.0.0.0/8".parse().unwrap()]);
    assert_eq!(web.traffic_distribution, TrafficDistribution::PreferSameZone);
    assert_eq!((web.labels.len(), web.annotations.len()), (1, 1));
}

#[test]
fn traffic_distribution_and_class_are_kept_and_node_ports_need_not_be_there() {
    for (text, expected) in [
        ("PreferClose", TrafficDistribution::PreferSameZone),
        ("PreferSameZone", TrafficDistribution::PreferSameZone),
        ("PreferSameNode", TrafficDistribution::PreferSameNode),
        ("PreferTheMoon", TrafficDistribution::Any),
    ] {
        let (web, flaws) = convert(json!({
            "type": "LoadBalancer", "clusterIP": "10.96.0.1", "trafficDistribution": text,
            "loadBalancerClass": "example.org/beam", "allocateLoadBalancerNodePorts": false, "ports": [{"port": 80}],
        }));
        assert_eq!((web.traffic_distribution, web.ports[0].node_port), (expected, None), "{text}");
        assert_eq!(web.load_balancer_class.as_deref(), Some("example.org/beam"));
        assert_eq!(flaws, []);
    }
}

#[test]
fn headless_and_named_services_have_no_address() {
    let (web, _) = convert(json!({"clusterIP": "None", "clusterIPs": ["None"]}));
    assert!(web.headless && web.cluster_ips.is_empty());
    let (web, _) = convert(json!({"type": "ExternalName", "externalName": "example.org"}));
    assert!(!web.headless && web.cluster_ips.is_empty());
    assert_eq!(web.external_name.as_deref(), Some("example.org"));
}

#[test]
fn what_is_wrong_is_left_out_and_named() {
    let (web, flaws) = convert(json!({
        "clusterIP": "10.96.0.1", "externalIPs": ["ten", "10.0.0.1"], "type": "Teleport",
        "externalTrafficPolicy": "Galaxy",
        "ports": [{"port": 0}, {"port": 70000}, {"port": 80, "protocol": "DCCP"}, {"port": 81}],
    }));
    assert_eq!((web.kind, web.external_ips.len(), web.ports.len()), (ServiceKind::ClusterIP, 1, 1));
    let fields: Vec<&str> = flaws.iter().map(|flaw| flaw.field).collect();
    let expected = [
        "spec.type",
        "spec.ports[].port",
        "spec.ports[].port",
        "spec.ports[].protocol",
        "spec.externalIPs",
        "spec.externalTrafficPolicy",
    ];
    assert_eq!(fields, expected);
    let text = "Service shop/web: spec.externalIPs \"ten\" is not an IP address; it is left out";
    assert_eq!(flaws[4].to_string(), text);
}

#[test]
fn leading_zeros_are_decimal() {
    for (text, expected) in [
        ("010.096.000.001", Some("10.96.0.1")),
        ("10.0.0.256", None),
        ("10.0.0", None),
        ("10.0.0.1.2", None),
        ("10.0.0.+1", None),
        ("10..0.1", None),
        ("::ffff:10.0.0.1", Some("10.0.0.1")),
        ("fd00::01", Some("fd00::1")),
    ] {
        assert_eq!(address(text), expected.map(|text| text.parse().unwrap()), "{text}");
    }
}

#[test]
fn load_balancers_without_a_known_mode_are_gone_through() {
    let object = json!({"metadata": {"name": "web"}, "spec": {}, "status": {"loadBalancer": {"ingress": [
        {"ip": "1.2.3.4"}, {"ip": "1.2.3.5", "ipMode": "Proxy"}, {"ip": "1.2.3.6", "ipMode": "Beam"}, {"hostname": "lb.example.org"},
    ]}}});
    let (web, flaws) = service(&serde_json::from_value(object).unwrap());
    let modes: Vec<_> = web.ingress.iter().map(|one| (one.address.is_some(), one.mode)).collect();
    let (vip, proxy) = (IngressMode::Vip, IngressMode::Proxy);
    assert_eq!(modes, [(true, vip), (true, proxy), (true, proxy), (false, vip)]);
    assert_eq!(flaws.len(), 1);
}

#[test]
fn conditions_that_are_not_set_count_as_the_api_says() {
    let object = json!({
        "metadata": {"name": "web-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}, {"name": "all"}],
        "endpoints": [
            {"addresses": ["10.0.0.1"]},
            {"addresses": ["10.0.0.2"], "conditions": {"ready": false, "terminating": true}, "nodeName": "n1",
             "targetRef": {"kind": "Pod", "name": "p"}, "hints": {"forZones": [{"name": "a"}], "forNodes": [{"name": "n1"}]}},
            {"addresses": ["nonsense"]},
        ],
    });
    let (slice, flaws) = slice(&serde_json::from_value(object).unwrap());
    let states: Vec<_> = slice.endpoints.iter().map(|one| (one.ready, one.serving, one.terminating)).collect();
    assert_eq!(states, [(true, true, false), (false, true, true), (true, true, false)]);
    assert_eq!(slice.service.as_deref(), Some("web"));
    assert_eq!((slice.ports[0].port, slice.ports[1].port), (Some(8080), None));
    let second = &slice.endpoints[1];
    assert_eq!(second.pod.as_ref().unwrap().to_string(), "shop/p");
    assert_eq!((second.zone_hints.len(), second.node_hints.len()), (1, 1));
    assert_eq!((slice.endpoints[2].address(), flaws.len()), (None, 1));
}
