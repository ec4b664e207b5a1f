//! What is refused, and what is dropped (reject, drop and fall-through as kube-proxy has them).

use std::io::ErrorKind;
use std::net::UdpSocket;

use seaway_model::Protocol::{Tcp, Udp};
use seaway_services::plan::{FrontendKind, Reach};

use super::super::EbpfServices;
use super::plans::{Plan as _, service};
use super::world::{Outcome, PATIENCE, World, at, connect};

#[test]
fn case_10_without_endpoints_refused_with_remote_ones_only_dropped() {
    let world = World::new();
    world.serve("10.83.1.1", 8080);
    let web = service("web").cluster_ip("10.96.0.1", Tcp, 80).cluster_ip("fd96::1", Tcp, 80);
    let web = web.cluster_ip("10.96.0.2", Tcp, 80).reach(Reach::Drop);
    world.set(web.backends(&["10.83.1.1"], 8080).cluster_ip("10.96.0.3", Tcp, 80));
    assert_eq!(world.connect(at("10.96.0.1", 80)), Outcome::Refused);
    assert_eq!(world.connect(at("fd96::1", 80)), Outcome::Refused);
    assert_eq!(world.connect(at("10.96.0.2", 80)), Outcome::Silence, "policy Local");
    assert_eq!(world.connect(at("10.96.0.3", 80)), Outcome::Answered(at("10.83.1.1", 8080)));
    assert_eq!(world.connect(at("10.96.0.3", 81)), Outcome::Refused, "an unknown port");
    assert_eq!(world.connect(at("10.96.0.99", 80)), Outcome::Silence, "an unassigned address");
}

#[test]
fn case_12_sockets_of_the_node_are_held_to_source_ranges_and_pods_are_left_to_their_packets() {
    let world = World::new();
    world.serve("10.83.1.1", 8080);
    let pod = world.pod(1);
    let ranged = |range: &str| {
        let web = service("web").backends(&["10.83.1.1"], 8080).cluster_ip("203.0.113.7", Tcp, 80);
        web.with(|frontend| {
            frontend.kind = FrontendKind::LoadBalancer;
            frontend.source_ranges = vec![range.parse().unwrap()];
        })
    };
    let vip = at("203.0.113.7", 80);
    let call = || std::net::TcpStream::connect_timeout(&at("203.0.113.7", 80), PATIENCE).map(drop);
    world.set(ranged("192.0.2.0/28"));
    assert_eq!(world.connect(vip), Outcome::Answered(at("10.83.1.1", 8080)));
    world.set(ranged("10.83.9.0/24"));
    let told = world.client(call).unwrap_err();
    assert_eq!(told.raw_os_error(), Some(libc::EPERM));
    let in_pod = world.start_client_in(&pod, move || connect(vip)).join();
    assert_eq!(in_pod, Outcome::Silence, "here are no programs for packets");
    assert_eq!(world.with(|services| services.tables.sockets.entries().unwrap().len()), 0);
    assert_eq!(world.audit(), []);
}

#[test]
fn case_10_udp_is_refused_too() {
    let world = World::new();
    world.set(service("dns").cluster_ip("10.96.0.1", Udp, 53));
    let errors = world.client(|| {
        let connected = UdpSocket::bind("0.0.0.0:0").unwrap();
        let unconnected = UdpSocket::bind("0.0.0.0:0").unwrap();
        [
            connected.connect("10.96.0.1:53").unwrap_err().kind(),
            unconnected.send_to(b"who?", "10.96.0.1:53").unwrap_err().kind(),
        ]
    });
    assert_eq!(errors, [ErrorKind::ConnectionRefused; 2]);
}

#[test]
fn kernels_that_cannot_choose_the_error_refuse_the_packet() {
    let mut world = World::new();
    world.kill();
    world.start_with(|options| EbpfServices::open_with(options, false));
    world.set(service("web").cluster_ip("10.96.0.1", Tcp, 80).cluster_ip("fd96::1", Tcp, 80));
    assert_eq!(world.connect(at("10.96.0.1", 80)), Outcome::Refused);
    assert_eq!(world.connect(at("fd96::1", 80)), Outcome::Refused);
}
