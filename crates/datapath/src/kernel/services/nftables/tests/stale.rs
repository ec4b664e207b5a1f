//! UDP flows whose backend is gone, and those of others, which nobody touches.

use seaway_services::plan::{FrontendAddress, FrontendKind};

use super::world::*;
use crate::ServiceDatapath as _;

const PLACE: &str = "10.96.0.41";

#[test]
fn corner_2_udp_flows_of_a_gone_backend_go_on_at_once_with_another() {
    let world = World::new();
    let (client, one, two) = (world.pod(1), world.pod(2), world.pod(3));
    one.serve(53);
    two.serve(53);
    for (v6, place) in [(false, PLACE), (true, "fd96::41")] {
        let with = |pod: &Host| plan(&format!("dns-{v6}"), place, 53, vec![pod.backend(v6, 53)]);
        world.set(vec![with(&one)]);
        let socket = udp_socket(&client.namespace, at(place, 53));
        assert_eq!(ask(&socket).server(), "pod-2");
        let report = world.set(vec![with(&two)]);
        assert_eq!(report.closed_connections, 1);
        assert_eq!(ask(&socket).server(), "pod-3", "the same socket");
    }
}

#[test]
fn corner_2_scaling_to_zero_and_back_serves_the_same_socket() {
    let world = World::new();
    let (client, server) = (world.pod(1), world.pod(2));
    server.serve(53);
    let up = plan("dns", PLACE, 53, vec![server.backend(false, 53)]);
    world.set(vec![up.clone()]);
    let socket = udp_socket(&client.namespace, at(PLACE, 53));
    assert_eq!(ask(&socket).server(), "pod-2");
    assert_eq!(world.set(vec![plan("dns", PLACE, 53, vec![])]).closed_connections, 1);
    assert_eq!(ask(&socket), Outcome::Refused);
    world.set(vec![up]);
    assert_eq!(ask(&socket).server(), "pod-2");
}

#[test]
fn corner_2_flows_from_before_the_first_endpoint_are_translated() {
    let world = World::new();
    let server = world.pod(2);
    server.serve(53);
    let with = |backends| {
        changed(plan("dns", NODE[0], 30053, backends), |frontend| {
            frontend.at = FrontendAddress::NodeIpv4;
            frontend.kind = FrontendKind::NodePort;
        })
    };
    // A process of the node answers before there is a Service; its flow is tracked.
    serve(&world.node, "node", at(NODE[0], 30053));
    let socket = udp_socket(&world.outside, at(NODE[0], 30053));
    assert_eq!(ask(&socket).server(), "node");
    let report = world.set(vec![with(vec![server.backend(false, 53)])]);
    assert_eq!(report.closed_connections, 1);
    assert_eq!(ask(&socket).server(), "pod-2");
}

#[test]
fn corner_3_a_backend_of_two_services_keeps_the_flows_of_the_one_it_stays_in() {
    let world = World::new();
    let (client, one, two) = (world.pod(1), world.pod(2), world.pod(3));
    one.serve(53);
    two.serve(53);
    let with = |name: &str, place: &str, pod: &Host| plan(name, place, 53, vec![pod.backend(false, 53)]);
    world.set(vec![with("a", PLACE, &one), with("b", "10.96.0.42", &one)]);
    let of_a = udp_socket(&client.namespace, at(PLACE, 53));
    let of_b = udp_socket(&client.namespace, at("10.96.0.42", 53));
    let direct = udp_socket(&client.namespace, std::net::SocketAddr::new(one.v4, 53));
    for socket in [&of_a, &of_b, &direct] {
        assert_eq!(ask(socket).server(), "pod-2");
    }
    let report = world.set(vec![with("a", PLACE, &two)]);
    assert_eq!(report.closed_connections, 1, "only A's");
    assert_eq!(ask(&of_a).server(), "pod-3");
    assert_eq!(ask(&of_b).server(), "pod-2");
    assert_eq!(ask(&direct).server(), "pod-2");
}

#[test]
fn many_flows_are_closed_in_one_walk() {
    let world = World::new();
    let client = world.pod(1);
    let pods: Vec<Host> = (2..4).map(|number| world.pod(number)).collect();
    pods.iter().for_each(|pod| (0..12).for_each(|port| pod.serve(5000 + port)));
    let with = |pod: &Host| {
        (0..12)
            .map(|index| {
                let place = format!("10.96.1.{index}");
                plan(&format!("dns-{index}"), &place, 53, vec![pod.backend(false, 5000 + index)])
            })
            .collect::<Vec<_>>()
    };
    world.set(with(&pods[0]));
    let sockets: Vec<_> =
        (0..12).map(|index| udp_socket(&client.namespace, at(&format!("10.96.1.{index}"), 53))).collect();
    sockets.iter().for_each(|socket| assert_eq!(ask(socket).server(), "pod-2"));
    assert_eq!(world.set(with(&pods[1])).closed_connections, 12);
    sockets.iter().for_each(|socket| assert_eq!(ask(socket).server(), "pod-3"));
}

#[test]
fn flows_that_went_stale_while_no_agent_lived_are_closed() {
    let mut world = World::new();
    let (client, one, two) = (world.pod(1), world.pod(2), world.pod(3));
    one.serve(53);
    two.serve(53);
    let with = |pod: &Host| plan("dns", PLACE, 53, vec![pod.backend(false, 53)]);
    world.set(vec![with(&one)]);
    let socket = udp_socket(&client.namespace, at(PLACE, 53));
    assert_eq!(ask(&socket).server(), "pod-2");
    world.services = None;
    world.start();
    world.set(vec![with(&two)]);
    world.with(|services| services.synced().unwrap());
    assert_eq!(ask(&socket).server(), "pod-3");
}

#[test]
fn corner_1_one_backend_behind_two_places_with_one_client_port() {
    let world = World::new();
    let (client, server) = (world.pod(1), world.pod(2));
    server.serve(53);
    for (v6, places) in [(false, [PLACE, "10.96.0.42"]), (true, ["fd96::41", "fd96::42"])] {
        for place in places {
            world.set(vec![plan(&format!("dns-{place}"), place, 53, vec![server.backend(v6, 53)])]);
        }
        let from = std::net::SocketAddr::new(client.address(v6), 40_000);
        // One port, two connected sockets: each takes only what comes from its own place.
        let sockets = places.map(|place| reused_udp_socket(&client.namespace, from, at(place, 53)));
        for _ in 0..3 {
            for socket in &sockets {
                assert_eq!(ask(socket).server(), "pod-2");
            }
        }
    }
}
