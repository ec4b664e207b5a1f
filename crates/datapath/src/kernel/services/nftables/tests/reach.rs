//! Where connections go, by kind of place, client and policy.

use seaway_services::plan::{FrontendAddress, FrontendKind, Reach};

use super::world::*;

/// Service address, pod address family.
const CLUSTER: [&str; 2] = ["10.96.0.10", "fd96::10"];

#[test]
fn cluster_ip_is_translated_for_pods_processes_and_strangers() {
    let world = World::new();
    let (client, server, far) = (world.pod(1), world.pod(2), world.far_pod(3));
    server.serve(8080);
    far.serve(8080);
    for (v6, place) in [(false, CLUSTER[0]), (true, CLUSTER[1])] {
        let name = format!("web-{v6}");
        world.set(vec![plan(&name, place, 80, vec![server.backend(v6, 8080)])]);
        for client in [&client.namespace, &world.node, &world.outside] {
            assert_eq!(tcp(client, at(place, 80)).server(), "pod-2");
            assert_eq!(udp(client, at(place, 80)).server(), "pod-2");
        }
        assert_eq!(tcp(&client.namespace, at(place, 80)).client(), client.address(v6), "pods keep their address");
        world.set(vec![plan(&name, place, 80, vec![far.backend(v6, 8080)])]);
        assert_eq!(tcp(&client.namespace, at(place, 80)).server(), "far-3");
        assert_eq!(world.audit(), vec![]);
    }
}

#[test]
fn backends_share_connections() {
    let world = World::new();
    let client = world.pod(1);
    let servers = [world.pod(2), world.pod(3), world.pod(4)];
    servers.iter().for_each(|server| server.serve(8080));
    let backends = servers.iter().map(|server| server.backend(false, 8080)).collect();
    world.set(vec![plan("web", CLUSTER[0], 80, backends)]);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..60 {
        seen.insert(tcp(&client.namespace, at(CLUSTER[0], 80)).server().to_owned());
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
}

#[test]
fn corner_10_without_endpoints_refused_unknown_port_refused_unassigned_dropped() {
    let world = World::new();
    let client = world.pod(1);
    for (place, unassigned) in [(CLUSTER[0], "10.96.0.99"), (CLUSTER[1], "fd96::99")] {
        world.set(vec![plan(&format!("web {place}"), place, 80, vec![])]);
        for (who, client) in [("pod", &client.namespace), ("process", &world.node), ("stranger", &world.outside)] {
            assert_eq!(tcp(client, at(place, 80)), Outcome::Refused, "{who}");
            assert_eq!(udp(client, at(place, 80)), Outcome::Refused, "{who}");
            assert_eq!(tcp(client, at(place, 81)), Outcome::Refused, "unknown port, {who}");
            assert_eq!(tcp_briefly(client, at(unassigned, 80)), Outcome::Silence, "unassigned address, {who}");
        }
    }
}

#[test]
fn corner_10_policy_local_without_local_endpoint_drops_strangers_only() {
    let world = World::new();
    let (client, far) = (world.pod(1), world.far_pod(3));
    far.serve(8080);
    for (v6, place) in [(false, "203.0.113.5"), (true, "2001:db8:5::5")] {
        let local = changed(plan("web", place, 80, vec![far.backend(v6, 8080)]), |frontend| {
            frontend.kind = FrontendKind::LoadBalancer;
            frontend.outside = Reach::Drop;
        });
        world.set(vec![local]);
        // Clients of the node have Cluster semantics.
        assert_eq!(tcp(&client.namespace, at(place, 80)).server(), "far-3");
        assert_eq!(tcp(&world.node, at(place, 80)).server(), "far-3");
        assert_eq!(tcp_briefly(&world.outside, at(place, 80)), Outcome::Silence);
    }
}

#[test]
fn node_port_is_served_on_chosen_addresses_and_hides_strangers() {
    let world = World::new();
    let (client, server, far) = (world.pod(1), world.pod(2), world.far_pod(3));
    server.serve(8080);
    far.serve(8080);
    for (v6, node_place) in [(false, FrontendAddress::NodeIpv4), (true, FrontendAddress::NodeIpv6)] {
        let node = NODE[usize::from(v6)];
        let port = |backend| {
            changed(plan("web", node, 30080, vec![backend]), move |frontend| {
                frontend.at = node_place;
                frontend.kind = FrontendKind::NodePort;
                frontend.outside = Reach::Backends { set: 0, hide_client: true };
            })
        };
        world.set(vec![port(far.backend(v6, 8080))]);
        for client in [&client.namespace, &world.node, &world.outside] {
            assert_eq!(tcp(client, at(node, 30080)).server(), "far-3");
            assert_eq!(udp(client, at(node, 30080)).server(), "far-3");
        }
        assert_eq!(tcp(&world.outside, at(node, 30080)).client(), ip(node), "the client is hidden");
        assert_eq!(tcp(&client.namespace, at(node, 30080)).client(), client.address(v6), "pods are not");
    }
}

#[test]
fn corner_12_source_ranges_are_checked_before_translation_for_everyone() {
    let world = World::new();
    let (client, server) = (world.pod(1), world.pod(2));
    server.serve(8080);
    for (v6, place, good, bad) in [
        (false, "203.0.113.5", "192.0.2.96/28", "198.51.100.0/24"),
        (true, "2001:db8:5::5", "2001:db8::/64", "2001:db8:9::/48"),
    ] {
        let ranged = |range: &str| {
            let range = net(range);
            changed(plan("web", place, 80, vec![server.backend(v6, 8080)]), move |frontend| {
                frontend.kind = FrontendKind::LoadBalancer;
                frontend.source_ranges = vec![range];
            })
        };
        let own = ipnet::IpNet::from(client.address(v6)).to_string();
        world.set(vec![ranged(bad)]);
        for host in [&world.outside, &client.namespace, &world.node] {
            assert_eq!(tcp_briefly(host, at(place, 80)), Outcome::Silence);
        }
        world.set(vec![ranged(good)]);
        assert_eq!(tcp(&world.outside, at(place, 80)).server(), "pod-2");
        assert_eq!(tcp_briefly(&client.namespace, at(place, 80)), Outcome::Silence, "pods are judged by their address");
        world.set(vec![ranged(&own)]);
        assert_eq!(tcp(&client.namespace, at(place, 80)).server(), "pod-2");
        assert_eq!(tcp_briefly(&world.outside, at(place, 80)), Outcome::Silence);
        world.set(vec![ranged(&format!("{}/{}", NODE[usize::from(v6)], if v6 { 128 } else { 32 }))]);
        assert_eq!(tcp(&world.node, at(place, 80)).server(), "pod-2", "and processes by the node's");
        assert_eq!(world.audit(), vec![]);
    }
}

#[test]
fn corner_18_a_pod_reaches_itself_through_its_service() {
    let world = World::new();
    let pod = world.pod(1);
    pod.serve(8080);
    for (v6, place) in [(false, CLUSTER[0]), (true, CLUSTER[1])] {
        world.set(vec![plan("web", place, 80, vec![pod.backend(v6, 8080)])]);
        let answer = tcp(&pod.namespace, at(place, 80));
        assert_eq!(answer.server(), "pod-1");
        assert_eq!(answer.client(), ip(NODE[usize::from(v6)]), "it must not see itself as client");
        assert_eq!(udp(&pod.namespace, at(place, 80)).server(), "pod-1");
    }
}
