//! Session affinity.

use std::collections::BTreeSet;

use seaway_model::Protocol::{Tcp, Udp};
use seaway_model::abi::services::Affinity;
use seaway_services::plan::ServicePlan;

use super::plans::{Plan as _, service};
use super::world::{Outcome, World, at, connect};

const BACKENDS: [&str; 4] = ["10.83.1.1", "10.83.1.2", "10.83.1.3", "10.83.1.4"];
const TIMEOUT_SECONDS: u32 = 10_800;
const NANOS: u64 = 1_000_000_000;

fn web(backends: &[&str]) -> ServicePlan {
    service("web").backends(backends, 8080).cluster_ip("10.96.0.10", Tcp, 80).affinity(TIMEOUT_SECONDS)
}

fn world() -> World {
    let world = World::new();
    for address in BACKENDS {
        world.serve(address, 8080);
    }
    world
}

fn backends_of_many_connections(world: &World) -> BTreeSet<String> {
    (0..24).map(|_| format!("{:?}", world.connect(at("10.96.0.10", 80)))).collect()
}

/// Makes the node's own entry older, and returns what it was.
fn age(world: &World, nanos: u64) -> Affinity {
    world.with(move |services| {
        let entries = services.tables.affinity.entries().unwrap();
        let [(key, entry)] = entries.as_slice() else { panic!("{entries:?}") };
        // The kernel's clock may be younger than that: differences are right nevertheless.
        let aged = Affinity { last_used_nanos: entry.last_used_nanos.wrapping_sub(nanos), ..*entry };
        services.tables.affinity.put(key, &aged).unwrap();
        *entry
    })
}

#[test]
fn a_client_keeps_its_backend_and_another_namespace_is_another_client() {
    let world = world();
    world.set(web(&BACKENDS));
    assert_eq!(backends_of_many_connections(&world).len(), 1);
    let pods: Vec<_> = (1..=6).map(|number| world.pod(number)).collect();
    let seen: BTreeSet<_> = pods
        .iter()
        .map(|pod| {
            let by_pod = || world.start_client_in(pod, || connect(at("10.96.0.10", 80))).join();
            let first = by_pod();
            assert_eq!(by_pod(), first);
            format!("{first:?}")
        })
        .collect();
    // Six clients on one of four backends: once in a thousand.
    assert!(seen.len() > 1, "{seen:?}");
}

#[test]
fn case_04_the_timeout_is_exact_and_every_connection_starts_it_anew() {
    let world = world();
    world.set(web(&BACKENDS));
    let first = world.connect(at("10.96.0.10", 80));
    for _ in 0..16 {
        let timeout = u64::from(TIMEOUT_SECONDS) * NANOS;
        age(&world, timeout - 5 * NANOS);
        assert_eq!(world.connect(at("10.96.0.10", 80)), first, "five seconds before the end");
        let before = age(&world, 0);
        assert!(before.last_used_nanos > 0);
    }
    let after_the_end: BTreeSet<_> = (0..32)
        .map(|_| {
            age(&world, u64::from(TIMEOUT_SECONDS) * NANOS);
            format!("{:?}", world.connect(at("10.96.0.10", 80)))
        })
        .collect();
    assert!(after_the_end.len() > 1, "{after_the_end:?}");
}

#[test]
fn case_04_a_removed_backend_gets_nothing_and_other_changes_move_nobody() {
    let world = world();
    world.set(web(&BACKENDS));
    let Outcome::Answered(first) = world.connect(at("10.96.0.10", 80)) else { panic!() };
    let first = first.ip().to_string();
    let others: Vec<&str> = BACKENDS.into_iter().filter(|address| *address != first).collect();
    // Others come and go.
    for others in [&others[..1], &others[1..], &others[..2]] {
        let mut backends = others.to_vec();
        backends.push(&first);
        world.set(web(&backends));
        assert_eq!(world.connect(at("10.96.0.10", 80)), Outcome::Answered(at(&first, 8080)));
    }
    world.set(web(&others));
    let Outcome::Answered(second) = world.connect(at("10.96.0.10", 80)) else { panic!() };
    assert_ne!(second.ip().to_string(), first);
    // It comes back, but the client has moved.
    world.set(web(&BACKENDS));
    assert_eq!(backends_of_many_connections(&world), BTreeSet::from([format!("{:?}", Outcome::Answered(second))]));
}

#[test]
fn case_04_all_places_of_a_port_share_their_clients() {
    let mut world = world();
    let everywhere = |backends: &[&str]| {
        let web = web(backends).cluster_ip("10.96.0.11", Tcp, 80).affinity(TIMEOUT_SECONDS);
        web.node_port(30080).affinity(TIMEOUT_SECONDS)
    };
    let places = [at("10.96.0.11", 80), at("192.0.2.1", 30080), at("10.96.0.10", 80)];
    world.set(everywhere(&BACKENDS));
    let first = world.connect(at("10.96.0.10", 80));
    let all_go_there = |world: &World| {
        for place in places.into_iter().cycle().take(12) {
            assert_eq!(world.connect(place), first, "{place}");
        }
    };
    all_go_there(&world);
    // A place more, others less, another process: nobody is forgotten.
    world.set(everywhere(&BACKENDS).cluster_ip("10.96.0.12", Tcp, 80).affinity(TIMEOUT_SECONDS));
    assert_eq!(world.connect(at("10.96.0.12", 80)), first);
    world.set(everywhere(&BACKENDS));
    world.kill();
    world.start();
    world.set(everywhere(&BACKENDS));
    all_go_there(&world);
    // The same backends behind another port are another choice.
    let other = |plan: ServicePlan| plan.with(|frontend| frontend.port_name = "other".into());
    world.set(other(everywhere(&BACKENDS).cluster_ip("10.96.0.13", Tcp, 81).affinity(TIMEOUT_SECONDS)));
    let ids = world.with(|services| {
        let frontends = services.tables.services.entries().unwrap();
        frontends.into_iter().map(|(_, service)| service.affinity_id).collect::<BTreeSet<_>>()
    });
    assert_eq!(ids.len(), 2, "{ids:?}");
    all_go_there(&world);
}

#[test]
fn affinity_holds_for_datagrams_of_new_sockets() {
    let world = world();
    world.set(service("dns").backends(&BACKENDS, 8080).cluster_ip("10.96.0.10", Udp, 53).affinity(60));
    let seen: BTreeSet<_> = world.client(|| {
        let ask_anew =
            |_| super::world::ask(&std::net::UdpSocket::bind("0.0.0.0:0").unwrap(), at("10.96.0.10", 53)).unwrap();
        (0..24).map(ask_anew).collect()
    });
    assert_eq!(seen.len(), 1, "{seen:?}");
}
