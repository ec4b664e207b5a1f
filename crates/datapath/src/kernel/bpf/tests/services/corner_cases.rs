//! Corner cases that others are known to get wrong, from a client elsewhere.

use std::net::{SocketAddr, UdpSocket};

use seaway_model::DropReason;
use seaway_model::Protocol::Udp;
use seaway_services::plan::{PlanChange, Reach};

use super::super::super::Program;
use super::super::packet::packet;
use super::super::test_run::{TestRun, Verdict};
use super::cluster::{Between, Cluster, client, node, serving};
use super::plan::{NODE_PORT, TARGET_PORT, load_balancer, node_port};
use super::talk::{Seen, serve, tcp, udp, udp_from};

const VIPS: [&str; 2] = ["203.0.113.7", "203.0.113.8"];

fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), port)
}

/// The client's way to load balancers' addresses is a node.
fn route_vips(cluster: &Cluster, number: u8) {
    cluster.client.ip(&format!("route replace 203.0.113.0/24 via 192.0.2.{number}"));
    cluster.client.ip(&format!("route replace fd00:113::/64 via 2001:db8::{number}"));
}

fn dropped(cluster: &Cluster, reason: DropReason) -> u64 {
    let drops =
        cluster.nodes.each_ref().map(|node| node.node.counters().drops.get(&reason).map_or(0, |drop| drop.packets));
    drops.iter().sum()
}

#[test]
fn one_backend_behind_two_addresses_answers_both_to_one_client_port() {
    let cluster = serving(Between::Tunnel);
    let near = &cluster.nodes[0];
    route_vips(&cluster, 1);
    let backend = near.sees(&near.pod, true);
    for vip in VIPS {
        near.apply(load_balancer(vip, &[backend], vip).keep_client().protocol(Udp).build());
    }
    let seen: Vec<Seen> = cluster.client.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:5555").unwrap();
        let targets = [VIPS[0], VIPS[1], VIPS[0], VIPS[1]];
        targets
            .map(|vip| udp_from(&socket, at(vip, 80), 10).unwrap_or_else(|| panic!("{vip} does not answer")))
            .to_vec()
    });
    assert!(seen.iter().all(|seen| seen.client.ip() == client(true)), "{seen:?}");
    assert_eq!((seen[0], seen[1]), (seen[2], seen[3]));
    assert_ne!(seen[0].client.port(), seen[1].client.port(), "the backend tells them apart");
}

#[test]
fn datagrams_follow_a_service_that_scales_to_zero_and_back() {
    let cluster = serving(Between::Tunnel);
    let [near, far] = &cluster.nodes;
    let service = |backend| node_port("dns", &[near.sees(backend, true)]).protocol(Udp);
    near.apply(service(&near.pod).build());
    let target = SocketAddr::new(node(1, true), NODE_PORT);
    let socket = cluster.client.run(|| UdpSocket::bind("0.0.0.0:5555").unwrap());
    let ask = || {
        let socket = socket.try_clone().unwrap();
        cluster.client.run(move || udp_from(&socket, target, 10))
    };
    assert_eq!(ask().unwrap().server.ip(), near.pod.ipv4);
    let PlanChange::Set(mut plan) = service(&near.pod).build() else { panic!("a plan") };
    let frontend = &mut std::sync::Arc::make_mut(&mut plan).frontends[0];
    (frontend.inside, frontend.outside) = (Reach::Reject, Reach::Reject);
    let report = near.apply(PlanChange::Set(plan));
    assert_eq!(report.closed_connections, 1);
    assert_eq!(ask(), None);
    near.apply(service(&far.pod).build());
    assert_eq!(ask().unwrap().server.ip(), far.pod.ipv4);
    let report = near.apply(service(&near.pod).build());
    assert_eq!(report.closed_connections, 1, "the flow to the far pod ends with its departure");
    assert_eq!(ask().unwrap().server.ip(), near.pod.ipv4);
}

#[test]
fn refused_dropped_and_unknown_are_three_things() {
    let cluster = serving(Between::Tunnel);
    let near = &cluster.nodes[0];
    route_vips(&cluster, 1);
    let backend = near.sees(&near.pod, true);
    let target = SocketAddr::new(node(1, true), NODE_PORT);
    near.apply(node_port("web", &[backend]).outside(Reach::Reject));
    assert_eq!(tcp(&cluster.client, target, 1), Err(std::io::ErrorKind::ConnectionRefused));
    near.apply(node_port("web", &[backend]).outside(Reach::Drop));
    assert_eq!(tcp(&cluster.client, target, 1), Err(std::io::ErrorKind::TimedOut));
    assert_eq!(dropped(&cluster, DropReason::ServiceWithoutLocalEndpoint), 1);
    let unknown = SocketAddr::new(node(1, true), NODE_PORT + 1);
    assert_eq!(tcp(&cluster.client, unknown, 1), Err(std::io::ErrorKind::ConnectionRefused));
    // Clients of this node are not asked for its policy.
    let pod = near.node.add_pod(1, 2);
    near.node.attach(&pod);
    tcp(&pod.namespace, target, 1_000).unwrap_or_else(|error| panic!("{error:?} {}", cluster.drops()));
}

#[test]
fn policy_changes_between_cluster_and_local_take_effect() {
    let cluster = serving(Between::Tunnel);
    let [near, far] = &cluster.nodes;
    let target = SocketAddr::new(node(1, true), NODE_PORT);
    let web = |outside: Reach| node_port("web", &[near.sees(&far.pod, true)]).outside(outside);
    for _ in 0..2 {
        near.apply(web(Reach::Backends { set: 0, hide_client: true }));
        let seen = tcp(&cluster.client, target, 1).unwrap_or_else(|error| panic!("{error:?} {}", cluster.drops()));
        assert_eq!((seen.server.ip(), seen.client.ip()), (far.pod.ipv4.into(), node(1, true)));
        near.apply(web(Reach::Drop));
        assert_eq!(tcp(&cluster.client, target, 1), Err(std::io::ErrorKind::TimedOut));
        near.apply(node_port("web", &[near.sees(&near.pod, true)]).keep_client().build());
        let seen = tcp(&cluster.client, target, 1).unwrap_or_else(|error| panic!("{error:?} {}", cluster.drops()));
        assert_eq!((seen.server.ip(), seen.client.ip()), (near.pod.ipv4.into(), client(true)));
    }
}

#[test]
fn packets_of_unknown_connections_are_dropped_not_forwarded() {
    let cluster = Cluster::new(Between::Tunnel);
    let near = &cluster.nodes[0];
    near.apply(load_balancer("web", &[near.sees(&near.pod, true)], VIPS[0]).build());
    near.apply(node_port("web-too", &[near.sees(&near.pod, true)]).build());
    let (device, mac) = (near.node.namespace.index("eth0"), near.node.namespace.mac("eth0"));
    let run = |what: &str, destination: &str, port: u16, verdict| {
        let destination: std::net::IpAddr = destination.parse().unwrap();
        let frame = packet(client(true), destination).destination_mac(mac).tcp(40_000, port).build();
        TestRun::new(Program::FromUnderlay, device, frame).expect(&near.node, what, verdict);
    };
    run("load balancer", VIPS[0], 80, Verdict::Drop(DropReason::ServiceUnknownConnection));
    run("node port: the stack resets it", "192.0.2.1", NODE_PORT, Verdict::ToStack);
    run("another port", VIPS[0], 81, Verdict::ToStack);
}

#[test]
fn source_ranges_see_the_client_and_guard_nothing_else() {
    let cluster = serving(Between::Tunnel);
    let near = &cluster.nodes[0];
    route_vips(&cluster, 1);
    let backend = near.sees(&near.pod, true);
    let web = || load_balancer("web", &[backend], VIPS[0]);
    near.apply(web().source_range("198.51.100.0/24").build());
    near.apply(node_port("web-port", &[backend]).build());
    let (vip, port) = (at(VIPS[0], 80), SocketAddr::new(node(1, true), NODE_PORT));
    assert_eq!(tcp(&cluster.client, vip, 1), Err(std::io::ErrorKind::TimedOut));
    assert_eq!(dropped(&cluster, DropReason::ServiceSourceRefused), 1);
    near.apply(web().source_range("::/0").build());
    assert_eq!(tcp(&cluster.client, vip, 1), Err(std::io::ErrorKind::TimedOut), "no IPv4 client is in an IPv6 range");
    assert!(tcp(&cluster.client, port, 1).is_ok(), "NodePorts have none");
    near.apply(web().source_range("192.0.2.8/30").build());
    assert!(tcp(&cluster.client, vip, 1).is_ok(), "{}", cluster.drops());
    // Pods of the node are held to them, too.
    let pod = near.node.add_pod(1, 2);
    near.node.attach(&pod);
    let before = dropped(&cluster, DropReason::ServiceSourceRefused);
    assert_eq!(tcp(&pod.namespace, vip, 1), Err(std::io::ErrorKind::TimedOut));
    assert!(dropped(&cluster, DropReason::ServiceSourceRefused) > before);
    near.apply(web().source_range("10.88.1.0/24").build());
    let seen = tcp(&pod.namespace, vip, 1).unwrap_or_else(|error| panic!("{error:?} {}", cluster.drops()));
    assert_eq!(seen.client.ip(), pod.ipv4);
}

#[test]
fn processes_of_nodes_serve_clients_that_know_them_by_another_address() {
    let cluster = serving(Between::Tunnel);
    let [near, far] = &cluster.nodes;
    route_vips(&cluster, 1);
    for (number, node) in [(1, near), (2, far)] {
        for ipv4 in [true, false] {
            serve(&node.node.namespace, SocketAddr::new(super::cluster::node(number, ipv4), TARGET_PORT));
        }
    }
    for (ipv4, vip) in [(true, "203.0.113.9"), (false, "fd00:113::9")] {
        for number in [1, 2] {
            let backend = (node(number, ipv4), number == 1);
            near.apply(load_balancer(&format!("host-{ipv4}"), &[backend], vip).build());
            near.apply(load_balancer(&format!("host-{ipv4}-udp"), &[backend], vip).protocol(Udp).build());
            let seen = udp(&cluster.client, at(vip, 80), 100).unwrap_or_else(|| panic!("{}", cluster.drops()));
            assert_eq!(seen.server.ip(), node(number, ipv4));
            let seen = tcp(&cluster.client, at(vip, 80), 100_000);
            let seen = seen.unwrap_or_else(|error| panic!("{number} {ipv4} {error:?} {}", cluster.drops()));
            // Nobody stands between a client and a process of the node it came to.
            assert_eq!(seen.client.ip(), if number == 1 { client(ipv4) } else { node(1, ipv4) });
        }
    }
}

#[test]
fn a_closed_port_of_a_pod_is_told_by_the_address_that_the_client_knows() {
    let cluster = serving(Between::Tunnel);
    let [near, far] = &cluster.nodes;
    for backend in [&near.pod, &far.pod] {
        for ipv4 in [true, false] {
            let name = format!("closed-{ipv4}");
            near.apply(node_port(&name, &[near.sees(backend, ipv4)]).protocol(Udp).target_port(9).build());
            let target = SocketAddr::new(node(1, ipv4), NODE_PORT);
            let error = cluster.client.run(move || {
                let any = if ipv4 { "0.0.0.0:0" } else { "[::]:0" };
                let socket = UdpSocket::bind(any).unwrap();
                socket.connect(target).unwrap();
                socket.set_read_timeout(Some(super::super::traffic::PATIENCE)).unwrap();
                socket.send(b"hello").unwrap();
                socket.recv(&mut [0; 8]).unwrap_err().kind()
            });
            assert_eq!(error, std::io::ErrorKind::ConnectionRefused, "{ipv4} {}", cluster.drops());
        }
    }
}

#[test]
fn datagrams_in_fragments_find_their_way_there_and_back() {
    let cluster = serving(Between::Tunnel);
    let [near, far] = &cluster.nodes;
    for ipv4 in [true, false] {
        for backend in [&near.pod, &far.pod] {
            near.apply(node_port(&format!("large-{ipv4}"), &[near.sees(backend, ipv4)]).protocol(Udp).build());
            let target = SocketAddr::new(node(1, ipv4), NODE_PORT);
            // Datagrams of IPv4 may be cut on their way.
            cluster.client.run(|| std::fs::write("/proc/sys/net/ipv4/ip_no_pmtu_disc", "1").unwrap());
            // The first of IPv6 learns how large fragments may be.
            let seen = udp(&cluster.client, target, 4_000).or_else(|| udp(&cluster.client, target, 4_000));
            let seen = seen.unwrap_or_else(|| panic!("{ipv4} {}", cluster.drops()));
            assert_eq!(seen.client.ip(), node(1, ipv4));
        }
    }
}

#[test]
fn a_packet_too_big_for_the_tunnel_is_answered_to_the_client() {
    let cluster = serving(Between::Tunnel);
    let [near, far] = &cluster.nodes;
    for ipv4 in [true, false] {
        near.apply(node_port(&format!("far-{ipv4}"), &[near.sees(&far.pod, ipv4)]).protocol(Udp).build());
        let target = SocketAddr::new(node(1, ipv4), NODE_PORT);
        // 1,458 bytes of IPv4, 1,478 of IPv6, not to be cut.
        assert_eq!(udp(&cluster.client, target, 1_430), None);
        let route = cluster.client.exec(&format!("ip route get {}", target.ip()));
        assert!(route.contains("mtu 1450"), "the client has learned: {route} {}", cluster.drops());
        assert!(udp(&cluster.client, target, 1_330).is_some(), "{}", cluster.drops());
    }
}
