//! Tables over plans of small clusters.

use seaway_model::Diagnose;

use super::*;

pub(super) fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

pub(super) fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(super) fn pool(name: &str, cidr: &str, block: u8, encapsulation: Encapsulation) -> IpPool {
    IpPool { encapsulation, ..IpPool::new(name, net(cidr), block) }
}

pub(super) fn underlay(mtu_bytes: u32) -> Underlay {
    let addresses = vec![net("172.18.0.1/24"), net("fd00:18::1/64")];
    Underlay { device: "eth0".into(), index: 2, mtu_bytes, addresses, path_mtus_bytes: BTreeMap::new() }
}

pub(super) fn options() -> NetworkOptions {
    NetworkOptions {
        vxlan_port: 4789,
        vxlan_id: 83,
        non_masquerade: vec![net("192.0.2.0/24")],
        mtu_bytes: None,
        service_cidrs: vec![net("10.96.0.0/16"), net("fd00:96::/112")],
    }
}

/// Three nodes: `a` and `b` share a subnet, `c` is elsewhere; one block each per family.
fn cluster(encapsulation: Encapsulation) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for (name, v4, v6) in
        [("a", "172.18.0.1", "fd00:18::1"), ("b", "172.18.0.2", "fd00:18::2"), ("c", "172.19.0.3", "fd00:19::3")]
    {
        let node = Node { addresses: vec![address(v4), address(v6)], ..Node::default() };
        snapshot.nodes.insert(name.into(), node);
    }
    for pool in [pool("four", "10.244.0.0/16", 26, encapsulation), pool("six", "fd00:244::/64", 122, encapsulation)] {
        snapshot.pools.insert(pool.name.clone(), pool);
    }
    for (cidr, pool, node) in [
        ("10.244.0.0/26", "four", "a"),
        ("10.244.0.64/26", "four", "b"),
        ("10.244.0.128/26", "four", "c"),
        ("fd00:244::/122", "six", "a"),
        ("fd00:244::40/122", "six", "b"),
        ("fd00:244::80/122", "six", "c"),
    ] {
        add_block(&mut snapshot, cidr, pool, node);
    }
    snapshot
}

fn add_block(snapshot: &mut Snapshot, cidr: &str, pool: &str, node: &str) {
    snapshot.blocks.insert(net(cidr), IpBlock { cidr: net(cidr), pool: pool.into(), node: node.into() });
}

fn plan(snapshot: &Snapshot) -> NetworkPlan {
    network_plan(snapshot, &"a".into(), &underlay(1500), &options()).unwrap()
}

fn problem_ids(snapshot: &Snapshot) -> Vec<u16> {
    plan_problems(snapshot, &"a".into(), &underlay(1500), &options()).iter().map(|p| p.id().0).collect()
}

fn vias(plan: &NetworkPlan) -> Vec<(String, bool)> {
    plan.routes.iter().map(|r| (r.destination.to_string(), matches!(r.via, Via::Tunnel { .. }))).collect()
}

#[test]
fn vxlan_pools_route_every_block_through_the_tunnel() {
    let plan = plan(&cluster(Encapsulation::Vxlan));
    let tunnel = plan.tunnel.as_ref().unwrap();
    assert_eq!((tunnel.local, tunnel.mtu_bytes, plan.pod_mtu_bytes), (address("172.18.0.1"), 1450, 1450));
    assert_eq!(tunnel.device_addresses, [net("10.244.0.0/32"), net("fd00:244::/128")]);
    assert_eq!(plan.trusted_tunnel_peers, [address("172.18.0.2"), address("172.19.0.3")]);
    assert_eq!(tunnel.peers[1].next_hops, [address("172.19.0.3"), address("fd00:19::3")]);
    assert_eq!(plan.routes.len(), 4);
    let route = &plan.routes[0];
    assert_eq!(route.destination, net("10.244.0.64/26"));
    assert_eq!(route.via, Via::Tunnel { next_hop: address("172.18.0.2"), mac: tunnel_mac(address("172.18.0.2")) });
    assert_eq!(route.mtu_bytes, 1450);
    assert!(route.cause.contains("10.244.0.64/26 of node b"), "{}", route.cause);
}

#[test]
fn a_narrow_way_makes_the_routes_through_the_tunnel_smaller() {
    let snapshot = cluster(Encapsulation::CrossSubnet);
    let planned = |told: &[(&str, u32)]| {
        let mut underlay = underlay(1500);
        underlay.path_mtus_bytes = told.iter().map(|(to, mtu_bytes)| (address(to), *mtu_bytes)).collect();
        let plan = network_plan(&snapshot, &"a".into(), &underlay, &options()).unwrap();
        // Of b, which is in the same subnet, and of c.
        (plan.routes.iter().map(|route| route.mtu_bytes).collect::<Vec<_>>(), plan.pod_mtu_bytes)
    };
    assert_eq!(planned(&[]), (vec![1500, 1450, 1500, 1450], 1450));
    assert_eq!(planned(&[("172.19.0.3", 1400)]), (vec![1500, 1350, 1500, 1350], 1450));
    // Routers tell pods themselves what does not fit without a tunnel.
    assert_eq!(planned(&[("172.18.0.2", 1400)]), (vec![1500, 1450, 1500, 1450], 1450));
    // Never larger, and never less than the family allows.
    assert_eq!(planned(&[("172.19.0.3", 9000)]), (vec![1500, 1450, 1500, 1450], 1450));
    assert_eq!(planned(&[("172.19.0.3", 40)]), (vec![1500, 576, 1500, 1280], 1450));
}

#[test]
fn direct_pools_need_no_tunnel_and_leave_distant_nodes_to_the_fabric() {
    let plan = plan(&cluster(Encapsulation::None));
    assert_eq!(plan.tunnel, None);
    assert_eq!(plan.pod_mtu_bytes, 1500);
    assert!(plan.trusted_tunnel_peers.is_empty());
    let destinations: Vec<_> = plan.routes.iter().map(|r| (r.destination, r.via)).collect();
    assert_eq!(
        destinations,
        [
            (net("10.244.0.64/26"), Via::Direct { next_hop: address("172.18.0.2") }),
            (net("fd00:244::40/122"), Via::Direct { next_hop: address("fd00:18::2") }),
        ]
    );
}

#[test]
fn cross_subnet_pools_tunnel_only_to_other_subnets() {
    let plan = plan(&cluster(Encapsulation::CrossSubnet));
    let expected =
        [("10.244.0.64/26", false), ("10.244.0.128/26", true), ("fd00:244::40/122", false), ("fd00:244::80/122", true)];
    assert_eq!(vias(&plan), expected.map(|(cidr, tunneled)| (cidr.to_owned(), tunneled)));
    assert_eq!(plan.routes[0].mtu_bytes, 1500);
    assert_eq!(plan.routes[1].mtu_bytes, 1450);
    assert_eq!(plan.pod_mtu_bytes, 1450);
}

#[test]
fn ipv6_underlays_cost_twenty_bytes_more() {
    let mut snapshot = cluster(Encapsulation::Vxlan);
    for node in snapshot.nodes.values_mut() {
        node.addresses.retain(IpAddr::is_ipv6);
    }
    let plan = plan(&snapshot);
    let tunnel = plan.tunnel.unwrap();
    assert_eq!((tunnel.local, plan.pod_mtu_bytes), (address("fd00:18::1"), 1430));
    assert_eq!(tunnel.peers[0].next_hops, [address("fd00:18::2")]);
}

#[test]
fn ipv6_blocks_of_ipv4_nodes_use_a_link_local_next_hop_made_from_the_ipv4_address() {
    let mut snapshot = cluster(Encapsulation::Vxlan);
    for node in snapshot.nodes.values_mut() {
        node.addresses.retain(IpAddr::is_ipv4);
    }
    let plan = plan(&snapshot);
    let hop = address("fe80::ac12:2");
    assert_eq!(plan.tunnel.unwrap().peers[0].next_hops, [address("172.18.0.2"), hop]);
    assert!(plan.routes.iter().any(|r| matches!(r.via, Via::Tunnel { next_hop, .. } if next_hop == hop)));
}

#[test]
fn masquerading_spares_pools_nodes_and_configured_ranges() {
    let mut snapshot = cluster(Encapsulation::Vxlan);
    snapshot.pools.get_mut("six").unwrap().masquerade = false;
    let masquerade = plan(&snapshot).masquerade;
    assert_eq!(masquerade.sources, [net("10.244.0.0/26")]);
    for inside in ["10.244.255.1", "172.18.0.2", "172.19.0.3", "192.0.2.7", "fd00:244::1", "fd00:19::3"] {
        assert!(masquerade.except_destinations.iter().any(|n| n.contains(&address(inside))), "{inside}");
    }
    assert!(!masquerade.except_destinations.iter().any(|n| n.contains(&address("172.18.0.9"))));
}

#[test]
fn mtu_is_the_one_asked_for_and_refused_when_ipv6_cannot_live_with_it() {
    let snapshot = cluster(Encapsulation::Vxlan);
    let with = |underlay_mtu: u32, asked: Option<u32>| {
        let options = NetworkOptions { mtu_bytes: asked, ..options() };
        network_plan(&snapshot, &"a".into(), &underlay(underlay_mtu), &options).map(|p| p.pod_mtu_bytes)
    };
    assert_eq!(with(1500, Some(1400)), Ok(1400));
    assert_eq!(with(9000, None), Ok(8950));
    assert_eq!(with(1330, None), Ok(1280));
    assert!(matches!(with(1329, None), Err(PlanError::MtuTooSmall { mtu_bytes: 1279, minimum_bytes: 1280, .. })));
    assert!(matches!(with(1500, Some(1200)), Err(PlanError::MtuTooSmall { mtu_bytes: 1200, .. })));
    let too_large = NetworkOptions { mtu_bytes: Some(1500), ..options() };
    let problems = plan_problems(&snapshot, &"a".into(), &underlay(1500), &too_large);
    assert!(matches!(problems.as_slice(), [PlanError::MtuTooLarge { mtu_bytes: 1500, fitting_bytes: 1450, .. }]));
}

#[test]
fn a_bad_pool_is_named_and_the_good_ones_stay_in_force() {
    for (cidr, block, id) in [
        ("224.0.0.0/16", 26, 205),
        ("169.254.0.0/16", 26, 205),
        ("10.50.0.0/16", 31, 206),
        ("10.50.0.0/16", 8, 206),
        ("10.50.0.0/27", 26, 207),
        ("172.18.0.0/16", 26, 208),
        ("10.96.128.0/24", 26, 209),
        ("172.19.0.0/24", 26, 210),
        ("10.244.128.0/24", 26, 211),
        ("10.240.0.0/12", 26, 211),
        ("10.0.0.0/8", 26, 209),
    ] {
        let mut snapshot = cluster(Encapsulation::Vxlan);
        let good = plan(&snapshot);
        // Sorts before the good pools, which win because their blocks are in use.
        let bad = pool("bad", cidr, block, Encapsulation::Vxlan);
        snapshot.pools.insert(bad.name.clone(), bad);
        let problems = plan_problems(&snapshot, &"a".into(), &underlay(1500), &options());
        assert_eq!(problems.iter().map(|p| p.id().0).collect::<Vec<_>>(), [id], "{cidr}");
        assert!(problems[0].to_string().contains("IPPool bad"), "{}", problems[0]);
        assert!(problems[0].to_string().contains("spec."), "{}", problems[0]);
        assert_eq!(plan(&snapshot), good, "{cidr}");
    }
}

#[test]
fn odd_blocks_are_left_out_and_named() {
    for (cidr, pool, node, id) in [
        ("10.244.9.0/26", "gone", "b", 212),
        ("10.244.9.0/27", "four", "b", 213),
        ("10.9.9.0/26", "four", "a", 213),
        ("10.244.9.0/26", "four", "gone", 214),
    ] {
        let mut snapshot = cluster(Encapsulation::Vxlan);
        let good = plan(&snapshot);
        add_block(&mut snapshot, cidr, pool, node);
        assert_eq!(problem_ids(&snapshot), [id], "{cidr}");
        assert_eq!(plan(&snapshot), good);
    }
}

#[test]
fn a_peer_without_the_tunnels_family_is_named_and_the_rest_planned() {
    let mut snapshot = cluster(Encapsulation::Vxlan);
    snapshot.nodes.get_mut(&NodeName::from("b")).unwrap().addresses.retain(IpAddr::is_ipv6);
    assert_eq!(problem_ids(&snapshot), [202]);
    assert_eq!(plan(&snapshot).routes.len(), 2);
}

#[test]
fn without_this_node_or_its_address_there_is_no_plan() {
    let mut snapshot = cluster(Encapsulation::Vxlan);
    snapshot.nodes.get_mut(&NodeName::from("a")).unwrap().addresses.clear();
    assert_eq!(problem_ids(&snapshot), [201]);
    snapshot.nodes.remove(&NodeName::from("a"));
    let error = network_plan(&snapshot, &"a".into(), &underlay(1500), &options()).unwrap_err();
    assert_eq!(error.id().to_string(), "SW0200");
}

#[test]
fn tunnel_macs_are_local_unicast_and_stable() {
    assert_eq!(tunnel_mac(address("172.18.0.2")).to_string(), "56:53:ac:12:00:02");
    assert_eq!(tunnel_mac(address("fd00::1")), tunnel_mac(address("fd00::1")));
    assert_ne!(tunnel_mac(address("fd00::1")), tunnel_mac(address("fd00::2")));
    for mac in ["172.18.0.2", "fd00::1"].map(|text| tunnel_mac(address(text))) {
        assert_eq!(mac.0[0] & 0b11, 0b10, "{mac}");
    }
}

#[test]
fn five_thousand_nodes_are_planned_in_a_moment() {
    let mut snapshot = Snapshot::default();
    for number in 0..5000u16 {
        let [high, low] = number.to_be_bytes();
        let pod_cidrs =
            vec![net(&format!("10.{}.{low}.0/24", 100 + high)), net(&format!("fd00:244:0:{number:x}::/64"))];
        let addresses = vec![IpAddr::from([172, 20, high, low])];
        snapshot.nodes.insert(NodeName::from(format!("n{number}")), Node { addresses, pod_cidrs, ..Node::default() });
    }
    let snapshot = crate::ipam::with_node_pod_cidrs(&snapshot, Encapsulation::Vxlan, true);
    let begun = std::time::Instant::now();
    let plan = network_plan(&snapshot, &"n7".into(), &underlay(1500), &options()).unwrap();
    assert_eq!((plan.routes.len(), plan.local_blocks.len()), (9998, 2));
    // Quadratic work would take a minute here; this takes some tens of milliseconds.
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
}
