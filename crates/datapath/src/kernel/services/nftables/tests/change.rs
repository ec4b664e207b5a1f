//! Changes under load, and places that move from one Service to another.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use seaway_model::ServiceRef;
use seaway_services::plan::{FrontendAddress, FrontendKind, PlanChange};

use super::world::*;

const PLACES: [&str; 2] = ["10.96.0.31", "10.96.0.32"];

#[test]
fn revisions_are_swapped_under_load_without_a_failed_connection() {
    let world = World::new();
    let client = world.pod(1);
    let pods: Vec<Host> = (3..8).map(|number| world.pod(number)).collect();
    pods.iter().for_each(|pod| pod.serve(8080));
    let of = |count: usize| {
        plan("web", PLACES[0], 80, pods.iter().take(count).map(|pod| pod.backend(false, 8080)).collect())
    };
    world.set(vec![of(5)]);
    let stop = Arc::new(AtomicBool::new(false));
    let loads: Vec<_> = (0..4)
        .map(|_| {
            let stop = Arc::clone(&stop);
            client.namespace.start(move || {
                let (mut connected, mut failed) = (0, Vec::new());
                while !stop.load(Ordering::Relaxed) {
                    match TcpStream::connect_timeout(&at(PLACES[0], 80), Duration::from_secs(3)) {
                        Ok(_) => connected += 1,
                        Err(error) => failed.push(error.to_string()),
                    }
                }
                (connected, failed)
            })
        })
        .collect();
    for round in 0..500 {
        world.set(vec![of(1 + round % 5)]);
    }
    stop.store(true, Ordering::Relaxed);
    for load in loads {
        let (connected, failed) = load.join();
        assert!(failed.is_empty(), "{} of {connected} failed: {:?}", failed.len(), failed.first());
        assert!(connected > 50, "only {connected} connections were made meanwhile");
    }
    assert_eq!(world.audit(), vec![]);
}

#[test]
fn corner_22_two_services_swap_their_places_within_a_batch() {
    let world = World::new();
    let client = world.pod(1);
    let (one, two) = (world.pod(2), world.pod(3));
    one.serve(8080);
    two.serve(8080);
    let service = |name: &str, place: &str, pod: &Host| plan(name, place, 80, vec![pod.backend(false, 8080)]);
    world.set(vec![service("one", PLACES[0], &one), service("two", PLACES[1], &two)]);
    world.set(vec![service("one", PLACES[1], &one), service("two", PLACES[0], &two)]);
    assert_eq!(tcp(&client.namespace, at(PLACES[0], 80)).server(), "pod-3");
    assert_eq!(tcp(&client.namespace, at(PLACES[1], 80)).server(), "pod-2");
    assert_eq!(world.audit(), vec![]);
    // Deleted and made again under another name with the same address, in either order.
    let removed = |name: &str| PlanChange::Remove(ServiceRef::new("shop", name));
    let made = |name: &str, place: &str, pod: &Host| PlanChange::Set(Arc::new(service(name, place, pod)));
    world.apply(vec![removed("two"), made("a-new", PLACES[0], &one)]);
    assert_eq!(tcp(&client.namespace, at(PLACES[0], 80)).server(), "pod-2");
    world.apply(vec![made("z-new", PLACES[0], &two), removed("a-new")]);
    assert_eq!(tcp(&client.namespace, at(PLACES[0], 80)).server(), "pod-3");
    assert_eq!(world.audit(), vec![]);
}

#[test]
fn corner_22_node_ports_and_protocols_move() {
    let world = World::new();
    let (one, two) = (world.pod(2), world.pod(3));
    one.serve(8080);
    two.serve(8080);
    let service = |name: &str, pod: &Host, port: u16| {
        changed(plan(name, NODE[0], port, vec![pod.backend(false, 8080)]), |frontend| {
            frontend.at = FrontendAddress::NodeIpv4;
            frontend.kind = FrontendKind::NodePort;
        })
    };
    world.set(vec![service("one", &one, 30001), service("two", &two, 30002)]);
    world.set(vec![service("one", &one, 30002), service("two", &two, 30001)]);
    assert_eq!(tcp(&world.outside, at(NODE[0], 30001)).server(), "pod-3");
    assert_eq!(tcp(&world.outside, at(NODE[0], 30002)).server(), "pod-2");
    assert_eq!(world.audit(), vec![]);
}

#[test]
fn corner_8_the_other_protocol_is_refused_after_an_update() {
    let world = World::new();
    let (client, server) = (world.pod(1), world.pod(2));
    server.serve(8080);
    let both = plan("web", PLACES[0], 80, vec![server.backend(false, 8080)]);
    let mut only_udp = both.clone();
    only_udp.frontends.remove(0);
    world.set(vec![both]);
    assert_eq!(tcp(&client.namespace, at(PLACES[0], 80)).server(), "pod-2");
    world.set(vec![only_udp]);
    assert_eq!(udp(&client.namespace, at(PLACES[0], 80)).server(), "pod-2");
    assert_eq!(tcp(&client.namespace, at(PLACES[0], 80)), Outcome::Refused);
}

#[test]
fn scaling_to_zero_and_back_refuses_and_serves() {
    let world = World::new();
    let (client, server) = (world.pod(1), world.pod(2));
    server.serve(8080);
    for _ in 0..3 {
        world.set(vec![plan("web", PLACES[0], 80, vec![server.backend(false, 8080)])]);
        assert_eq!(tcp(&client.namespace, at(PLACES[0], 80)).server(), "pod-2");
        world.set(vec![plan("web", PLACES[0], 80, vec![])]);
        assert_eq!(tcp(&client.namespace, at(PLACES[0], 80)), Outcome::Refused);
    }
}
