use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use seaway_model::agent_api::AttachmentKey;
use seaway_model::{MacAddress, PodRef};
use seaway_routing::plan::{
    BlockRoute, LocalBlock, MasqueradePlan, NetworkPlan, TunnelPeer, TunnelPlan, Underlay, Via,
};

use super::*;
use crate::AttachedLink;
use crate::support::Backend;

const PEER_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn plan() -> NetworkPlan {
    let peer = TunnelPeer {
        node: "worker-2".into(),
        underlay_address: ip("192.0.2.2"),
        mac: PEER_MAC,
        next_hops: vec![ip("192.0.2.2")],
    };
    NetworkPlan {
        tunnel: Some(TunnelPlan {
            id: 83,
            port: 4789,
            local: ip("192.0.2.1"),
            mac: MacAddress([2, 0, 0, 0, 0, 1]),
            mtu_bytes: 1450,
            device_addresses: vec![net("10.83.0.0/32")],
            peers: vec![peer],
        }),
        routes: vec![
            BlockRoute {
                destination: net("10.83.1.0/26"),
                via: Via::Tunnel { next_hop: ip("192.0.2.2"), mac: PEER_MAC },
                mtu_bytes: 1450,
                cause: "node worker-2, block 10.83.1.0/26".into(),
            },
            BlockRoute {
                destination: net("fd83:2::/122"),
                via: Via::Direct { next_hop: ip("2001:db8::3") },
                mtu_bytes: 1500,
                cause: "node worker-3, block fd83:2::/122".into(),
            },
        ],
        local_blocks: vec![LocalBlock { cidr: net("10.83.0.0/26"), pool: "default".into() }],
        masquerade: MasqueradePlan {
            sources: vec![net("10.83.0.0/26")],
            except_destinations: vec![net("10.83.0.0/16")],
        },
        pod_mtu_bytes: 1450,
        trusted_tunnel_peers: vec![ip("192.0.2.2")],
    }
}

fn underlay() -> Underlay {
    Underlay {
        device: "eth0".into(),
        index: 2,
        mtu_bytes: 1500,
        addresses: vec![net("192.0.2.1/24")],
        path_mtus_bytes: BTreeMap::new(),
    }
}

fn pod() -> AttachedLink {
    AttachedLink {
        key: AttachmentKey { container_id: "c1".into(), interface: "eth0".into() },
        network: "seaway".into(),
        pod: Some(PodRef { namespace: "shop".into(), name: "web-0".into() }),
        pod_uid: None,
        addresses: vec![ip("10.83.0.5"), ip("fd83::5")],
        host_interface: "sw01234567".into(),
        host_index: 9,
        host_mac: MacAddress([2, 0, 0, 0, 0, 8]),
        pod_mac: MacAddress([2, 0, 0, 0, 0, 9]),
        mtu_bytes: 1450,
        endpoint_id: 9,
        shaped: false,
    }
}

fn lines(objects: &WantedObjects) -> Vec<String> {
    objects.iter().map(|(key, want)| format!("{key}: {} ({})", want.value, want.cause)).collect()
}

#[test]
fn a_node_s_objects_read_like_a_sentence() {
    let objects = network_objects(&plan(), Some(&underlay()), Backend::Nftables);
    let expected = [
        "setting net/ipv4/ip_forward: 1 (pods with IPv4 addresses)",
        "setting net/ipv6/conf/all/forwarding: 1 (pods with IPv6 addresses)",
        "device sw_vxlan: vxlan 83 port 4789 02:00:00:00:00:01 mtu 1450 local 192.0.2.1 up (pools with encapsulation vxlan or crossSubnet)",
        "setting net/ipv4/conf/sw_vxlan/rp_filter: 2 (pools with encapsulation vxlan or crossSubnet)",
        "address 10.83.0.0/32 on sw_vxlan: present (own block of 10.83.0.0/32)",
        "neighbor 192.0.2.2 on sw_vxlan: 02:00:00:00:00:02 (node worker-2, block 10.83.1.0/26)",
        "forwarding entry 02:00:00:00:00:02 on sw_vxlan: 192.0.2.2 (node worker-2)",
        "route 10.83.0.0/26: unreachable (block 10.83.0.0/26 of pool default)",
        "route 10.83.1.0/26: via 192.0.2.2 dev sw_vxlan mtu 1450 (node worker-2, block 10.83.1.0/26)",
        "route fd83:2::/122: via 2001:db8::3 dev eth0 mtu 1500 (node worker-3, block fd83:2::/122)",
        "nftables rules of table seaway: as made for the nftables backend (the agent's configuration)",
        "element 192.0.2.2 of nftables set tunnel_peers: present (nodes of the cluster)",
        "element 10.83.0.0/26 of nftables set masquerade_sources: present (block 10.83.0.0/26)",
        "element 10.83.0.0/16 of nftables set masquerade_exceptions: present (pools, nodes and configured ranges)",
    ];
    assert_eq!(lines(&objects), expected);
}

#[test]
fn only_the_ebpf_backend_has_fast_entries() {
    let fast = |backend| {
        let mut objects = network_objects(&plan(), Some(&underlay()), backend);
        objects.extend(pod_objects(&pod(), backend));
        let is_fast = |key: &&Key| {
            let map_entry = matches!(key, Key::FastRoute(_) | Key::FastEndpoint(_) | Key::FastLink(_));
            map_entry || matches!(key, Key::FastTunnel | Key::FastUnderlay(_))
        };
        objects.keys().filter(is_fast).count()
    };
    // Two remote blocks, one local; two pod addresses, a link, the node's own address;
    // programs on the tunnel and on the underlay.
    assert_eq!(fast(Backend::Ebpf), 9);
    assert_eq!(fast(Backend::Nftables), 0);
}

#[test]
fn a_pod_s_objects_name_the_pod() {
    let objects = pod_objects(&pod(), Backend::Nftables);
    assert!(objects.values().all(|want| want.cause == "pod shop/web-0"));
    let expected = Value::Route(RouteTarget::Device { device: "sw01234567".into(), next_hop: None, mtu_bytes: None });
    assert_eq!(objects.get(&Key::Route(net("fd83::5/128"))).map(|want| &want.value), Some(&expected));
    assert!(objects.contains_key(&Key::Element(NftSet::PodMacs, Element::LinkMac(9, pod().pod_mac))));
}

#[test]
fn audits_say_what_differed_and_whose_it_was() {
    let wanted = network_objects(&plan(), Some(&underlay()), Backend::Nftables);
    let mut actual: Objects = wanted.iter().map(|(key, want)| (key.clone(), want.value.clone())).collect();
    assert_eq!(diff(&wanted, &actual), []);
    actual.remove(&Key::Route(net("10.83.1.0/26")));
    actual.insert(Key::Forwarding(PEER_MAC), Value::Node(ip("192.0.2.77")));
    actual.insert(Key::Route(net("10.99.0.0/24")), Value::Route(RouteTarget::Unreachable));
    let found: Vec<String> =
        diff(&wanted, &actual).iter().map(|operation| operation.difference().to_string()).collect();
    assert_eq!(
        found,
        [
            "route 10.99.0.0/24 was left over (unreachable) (nothing asks for it)",
            "forwarding entry 02:00:00:00:00:02 on sw_vxlan was 192.0.2.77 instead of 192.0.2.2 (node worker-2)",
            "route 10.83.1.0/26 was missing (via 192.0.2.2 dev sw_vxlan mtu 1450) (node worker-2, block 10.83.1.0/26)",
        ]
    );
}
