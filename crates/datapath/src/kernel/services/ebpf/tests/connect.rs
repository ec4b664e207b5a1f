//! TCP sockets of this node.

use std::net::{SocketAddr, TcpStream};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn6, connect as connect_socket, getpeername, socket,
};
use seaway_model::Protocol::{Tcp, Udp};
use std::os::fd::AsRawFd as _;

use super::plans::{Plan as _, removal, service};
use super::world::{NODE, Outcome, PATIENCE, World, at, connect};

const V4: [&str; 2] = ["10.83.1.1", "10.83.1.2"];
const V6: [&str; 2] = ["fd83:0:0:1::1", "fd83:0:0:1::2"];

#[test]
fn a_cluster_ip_leads_to_every_backend() {
    let world = World::new();
    for address in V4 {
        world.serve(address, 8080);
    }
    world.set(service("web").backends(&V4, 8080).cluster_ip("10.96.0.10", Tcp, 80));
    let mut seen: Vec<Outcome> = (0..64).map(|_| world.connect(at("10.96.0.10", 80))).collect();
    seen.sort_by_key(|outcome| format!("{outcome:?}"));
    seen.dedup();
    assert_eq!(seen, V4.map(|address| Outcome::Answered(at(address, 8080))));
}

#[test]
fn case_17_families_have_backends_of_their_own() {
    let world = World::new();
    world.serve(V4[0], 8080);
    world.serve(V6[1], 9090);
    let web = service("web").backends(&[V4[0]], 8080).cluster_ip("10.96.0.10", Tcp, 80);
    world.set(web.backends(&[V6[1]], 9090).cluster_ip("fd96::10", Tcp, 80));
    assert_eq!(world.connect(at("10.96.0.10", 80)), Outcome::Answered(at(V4[0], 8080)));
    assert_eq!(world.connect(at("fd96::10", 80)), Outcome::Answered(at(V6[1], 9090)));
    // One family loses its endpoints; the other does not notice.
    let web = service("web").cluster_ip("10.96.0.10", Tcp, 80);
    world.set(web.backends(&[V6[1]], 9090).cluster_ip("fd96::10", Tcp, 80));
    assert_eq!(world.connect(at("10.96.0.10", 80)), Outcome::Refused);
    assert_eq!(world.connect(at("fd96::10", 80)), Outcome::Answered(at(V6[1], 9090)));
}

#[test]
fn an_ipv6_socket_that_speaks_ipv4_reaches_the_service_and_sees_its_name() {
    let world = World::new();
    world.serve(V4[0], 8080);
    world.set(service("web").backends(&[V4[0]], 8080).cluster_ip("10.96.0.10", Tcp, 80));
    let peer = world.client(|| {
        let socket = socket(AddressFamily::Inet6, SockType::Stream, SockFlag::empty(), None).unwrap();
        let target: SocketAddr = "[::ffff:10.96.0.10]:80".parse().unwrap();
        let SocketAddr::V6(target) = target else { unreachable!() };
        connect_socket(socket.as_raw_fd(), &SockaddrIn6::from(target)).unwrap();
        getpeername::<SockaddrIn6>(socket.as_raw_fd()).unwrap().to_string()
    });
    assert_eq!(peer, "[::ffff:10.96.0.10]:80");
}

#[test]
fn case_15_the_peer_that_applications_see_is_the_service() {
    let world = World::new();
    world.serve(V4[0], 8080);
    world.serve(V6[0], 8080);
    let web = service("web").backends(&[V4[0]], 8080).cluster_ip("10.96.0.10", Tcp, 80);
    world.set(web.backends(&[V6[0]], 8080).cluster_ip("fd96::10", Tcp, 80));
    for target in [at("10.96.0.10", 80), at("fd96::10", 80), at(V4[0], 8080)] {
        let peer = world.client(move || TcpStream::connect_timeout(&target, PATIENCE).unwrap().peer_addr().unwrap());
        assert_eq!(peer, target);
    }
    assert_eq!(
        world.with(|services| services.tables.sockets.entries().unwrap().len()),
        0,
        "closed sockets are forgotten"
    );
}

#[test]
fn case_08_one_port_with_two_protocols_is_two_places() {
    let world = World::new();
    world.serve(V4[0], 8080);
    let both =
        service("dns").backends(&[V4[0]], 8080).cluster_ip("10.96.0.10", Tcp, 53).cluster_ip("10.96.0.10", Udp, 53);
    world.set(both);
    assert_eq!(world.connect(at("10.96.0.10", 53)), Outcome::Answered(at(V4[0], 8080)));
    world.set(service("dns").backends(&[V4[0]], 8080).cluster_ip("10.96.0.10", Udp, 53));
    assert_eq!(world.connect(at("10.96.0.10", 53)), Outcome::Refused);
}

#[test]
fn node_ports_answer_on_the_nodes_addresses_and_on_its_loopback() {
    let world = World::new();
    world.serve(V4[0], 8080);
    world.serve(V6[0], 8080);
    world.set(service("web").backends(&[V4[0]], 8080).backends(&[V6[0]], 8080).node_port(30080));
    for address in [NODE[0], "127.0.0.1", "127.0.0.53", "0.0.0.0"] {
        assert_eq!(world.connect(at(address, 30080)), Outcome::Answered(at(V4[0], 8080)), "{address}");
    }
    for address in [NODE[1], "::1", "::"] {
        assert_eq!(world.connect(at(address, 30080)), Outcome::Answered(at(V6[0], 8080)), "{address}");
    }
    // An address of the node that was not chosen.
    assert_eq!(world.connect(at("10.83.1.5", 30080)), Outcome::Refused);
}

#[test]
fn loopback_of_a_pod_is_the_pods_own() {
    let world = World::new();
    world.serve(V4[0], 8080);
    world.set(service("web").backends(&[V4[0]], 8080).node_port(30080));
    let pod = world.pod(1);
    let by = |target| world.start_client_in(&pod, move || connect(target)).join();
    assert_eq!(by(at("127.0.0.1", 30080)), Outcome::Refused);
    assert_eq!(by(at("0.0.0.0", 30080)), Outcome::Refused);
    assert_eq!(by(at(NODE[0], 30080)), Outcome::Answered(at(V4[0], 8080)));
}

#[test]
fn case_18_hairpin_and_host_network_need_nothing_of_their_own() {
    let world = World::new();
    world.set(service("web").backends(&[NODE[0]], 8080).cluster_ip("10.96.0.10", Tcp, 80));
    world.serve(NODE[0], 8080);
    // The client is the backend's own namespace, and the backend on the host network.
    assert_eq!(world.connect(at("10.96.0.10", 80)), Outcome::Answered(at(NODE[0], 8080)));
}

#[test]
fn case_22_places_move_between_services_within_a_batch() {
    use seaway_services::plan::PlanChange::Set;
    let world = World::new();
    world.serve(V4[0], 8080);
    world.serve(V4[1], 8080);
    let one = |address| service("one").backends(&[V4[0]], 8080).cluster_ip(address, Tcp, 80);
    let two = |address| service("two").backends(&[V4[1]], 8080).cluster_ip(address, Tcp, 80);
    world.apply(vec![Set(one("10.96.0.1").into()), Set(two("10.96.0.2").into())]);
    // They swap their addresses.
    world.apply(vec![Set(one("10.96.0.2").into()), Set(two("10.96.0.1").into())]);
    assert_eq!(world.connect(at("10.96.0.1", 80)), Outcome::Answered(at(V4[1], 8080)));
    assert_eq!(world.connect(at("10.96.0.2", 80)), Outcome::Answered(at(V4[0], 8080)));
    // One is deleted and comes again with another address; the other takes its place.
    world.apply(vec![removal("one"), Set(one("10.96.0.3").into()), Set(two("10.96.0.2").into())]);
    assert_eq!(world.connect(at("10.96.0.3", 80)), Outcome::Answered(at(V4[0], 8080)));
    assert_eq!(world.connect(at("10.96.0.2", 80)), Outcome::Answered(at(V4[1], 8080)));
    assert_eq!(world.connect(at("10.96.0.1", 80)), Outcome::Silence, "an unassigned address of a Service range");
    world.apply(vec![removal("one"), removal("two")]);
    assert_eq!(world.audit(), []);
    let usage = world.with(|services| crate::ServiceDatapath::usage(services).unwrap());
    assert!(usage.tables.iter().all(|(_, used, _)| *used == 0), "{usage:?}");
}
