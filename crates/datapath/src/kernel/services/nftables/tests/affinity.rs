//! Clients that keep their backend, and the ways to choose one.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use seaway_services::plan::{Algorithm, Backend, ServicePlan};

use super::world::*;
use crate::ServiceDatapath as _;

const PLACE: &str = "10.96.0.20";

fn sticky(backends: Vec<Backend>, seconds: u32) -> ServicePlan {
    changed(plan("web", PLACE, 80, backends), |frontend| frontend.affinity_timeout_seconds = Some(seconds))
}

/// Names of the servers that so many connections reach.
fn servers(world: &World, client: &Host, connections: usize) -> BTreeSet<String> {
    let _ = world;
    (0..connections).map(|_| tcp(&client.namespace, at(PLACE, 80)).server().to_owned()).collect()
}

#[test]
fn clients_keep_their_backend_for_both_families() {
    let world = World::new();
    let (client, other) = (world.pod(1), world.pod(2));
    let pods = [world.pod(3), world.pod(4), world.pod(5), world.pod(6)];
    pods.iter().for_each(|pod| pod.serve(8080));
    for (v6, place) in [(false, PLACE), (true, "fd96::20")] {
        let backends = pods.iter().map(|pod| pod.backend(v6, 8080)).collect();
        let name = format!("web-{v6}");
        world.set(vec![changed(plan(&name, place, 80, backends), |frontend| {
            frontend.affinity_timeout_seconds = Some(600);
        })]);
        for client in [&client, &other] {
            let first = tcp(&client.namespace, at(place, 80)).server().to_owned();
            for _ in 0..20 {
                assert_eq!(tcp(&client.namespace, at(place, 80)).server(), first);
            }
        }
    }
}

#[test]
fn corner_4_affinity_survives_other_backends_and_leaves_one_that_is_gone() {
    let world = World::new();
    let client = world.pod(1);
    let pods = [world.pod(3), world.pod(4), world.pod(5)];
    pods.iter().for_each(|pod| pod.serve(8080));
    let all: Vec<Backend> = pods.iter().map(|pod| pod.backend(false, 8080)).collect();
    world.set(vec![sticky(all.clone(), 600)]);
    let first = tcp(&client.namespace, at(PLACE, 80)).server().to_owned();
    let chosen = pods.iter().position(|pod| first == format!("pod-{}", pod.v4.to_string().rsplit_once('.').unwrap().1));
    let chosen = chosen.expect("one of the pods");
    // Another backend goes: nothing changes for the client.
    let mut fewer = all.clone();
    fewer.remove((chosen + 1) % 3);
    world.set(vec![sticky(fewer, 600)]);
    assert_eq!(servers(&world, &client, 20), BTreeSet::from([first.clone()]));
    // Its own goes: another one, and that is kept.
    let mut without = all.clone();
    without.remove(chosen);
    world.set(vec![sticky(without, 600)]);
    let next = servers(&world, &client, 20);
    assert_eq!(next.len(), 1, "{next:?}");
    assert!(!next.contains(&first));
    // It comes back: the client stays where it is.
    world.set(vec![sticky(all, 600)]);
    assert_eq!(servers(&world, &client, 20), next);
}

#[test]
fn corner_4_affinity_ends_exactly_after_its_time() {
    let world = World::new();
    let client = world.pod(1);
    let pods: Vec<Host> = (3..9).map(|number| world.pod(number)).collect();
    pods.iter().for_each(|pod| pod.serve(8080));
    world.set(vec![sticky(pods.iter().map(|pod| pod.backend(false, 8080)).collect(), 2)]);
    let remembered = |world: &World| {
        let listed = world.node.exec("nft list map inet seaway-services affinity4");
        listed.contains("expires")
    };
    tcp(&client.namespace, at(PLACE, 80));
    let start = Instant::now();
    assert!(remembered(&world));
    while remembered(&world) {
        assert!(start.elapsed() < Duration::from_secs(5), "the client is remembered for ever");
        std::thread::yield_now();
    }
    // From the last connection on, though that connection itself is still in TIME_WAIT.
    let kept = start.elapsed();
    assert!(kept > Duration::from_millis(1800) && kept < Duration::from_millis(3000), "{kept:?}");
}

#[test]
fn affinity_survives_a_restart_of_the_agent() {
    let mut world = World::new();
    let client = world.pod(1);
    let pods: Vec<Host> = (3..8).map(|number| world.pod(number)).collect();
    pods.iter().for_each(|pod| pod.serve(8080));
    let service = sticky(pods.iter().map(|pod| pod.backend(false, 8080)).collect(), 600);
    world.set(vec![service.clone()]);
    let before = servers(&world, &client, 5);
    world.services = None;
    world.start();
    world.set(vec![service]);
    world.with(|services| services.synced().unwrap());
    assert_eq!(servers(&world, &client, 10), before);
    assert_eq!(before.len(), 1);
}

#[test]
fn every_algorithm_reaches_backends_and_keeps_its_promise() {
    let world = World::new();
    let client = world.pod(1);
    let pods: Vec<Host> = (3..6).map(|number| world.pod(number)).collect();
    pods.iter().for_each(|pod| pod.serve(8080));
    for (v6, place) in [(false, PLACE), (true, "fd96::20")] {
        let with = |algorithm| {
            let backends = pods.iter().map(|pod| pod.backend(v6, 8080)).collect();
            changed(plan(&format!("web-{v6}"), place, 80, backends), move |frontend| frontend.algorithm = algorithm)
        };
        let reached = |connections: usize| -> Vec<String> {
            (0..connections).map(|_| tcp(&client.namespace, at(place, 80)).server().to_owned()).collect()
        };
        for algorithm in [Algorithm::RoundRobin, Algorithm::LeastConnection] {
            world.set(vec![with(algorithm)]);
            let turns = reached(6);
            assert_eq!(turns[..3].iter().collect::<BTreeSet<_>>().len(), 3, "{turns:?}");
            assert_eq!(turns[..3], turns[3..], "one after the other");
        }
        world.set(vec![with(Algorithm::SourceHash)]);
        assert_eq!(reached(10).into_iter().collect::<BTreeSet<_>>().len(), 1, "a client has one backend");
        world.set(vec![with(Algorithm::Maglev)]);
        assert!(reached(40).into_iter().collect::<BTreeSet<_>>().len() > 1, "flows are spread");
        world.set(vec![with(Algorithm::Random)]);
        assert!(reached(40).into_iter().collect::<BTreeSet<_>>().len() > 1, "connections are spread");
        assert_eq!(world.audit(), vec![]);
    }
}

#[test]
fn affinity_goes_with_every_algorithm() {
    let world = World::new();
    let client = world.pod(1);
    let pods: Vec<Host> = (3..7).map(|number| world.pod(number)).collect();
    pods.iter().for_each(|pod| pod.serve(8080));
    for (v6, place) in [(false, PLACE), (true, "fd96::20")] {
        for algorithm in [Algorithm::RoundRobin, Algorithm::SourceHash, Algorithm::Maglev] {
            let backends = pods.iter().map(|pod| pod.backend(v6, 8080)).collect();
            world.set(vec![changed(plan(&format!("{algorithm:?}-{v6}"), place, 80, backends), move |frontend| {
                frontend.algorithm = algorithm;
                frontend.affinity_timeout_seconds = Some(600);
            })]);
            let first = tcp(&client.namespace, at(place, 80)).server().to_owned();
            for _ in 0..8 {
                assert_eq!(tcp(&client.namespace, at(place, 80)).server(), first, "{algorithm:?}");
            }
            world.apply(vec![seaway_services::plan::PlanChange::Remove(seaway_model::ServiceRef::new(
                "shop",
                format!("{algorithm:?}-{v6}"),
            ))]);
        }
    }
}

#[test]
fn weights_are_shares() {
    let world = World::new();
    let client = world.pod(1);
    let (heavy, light, idle) = (world.pod(3), world.pod(4), world.pod(5));
    [&heavy, &light, &idle].iter().for_each(|pod| pod.serve(8080));
    let weighted = |pod: &Host, weight| Backend { weight, ..pod.backend(false, 8080) };
    let backends = vec![weighted(&heavy, 4), weighted(&light, 2), weighted(&idle, 0)];
    world.set(vec![changed(plan("web", PLACE, 80, backends), |frontend| frontend.algorithm = Algorithm::RoundRobin)]);
    let mut reached = std::collections::BTreeMap::new();
    for _ in 0..9 {
        *reached.entry(tcp(&client.namespace, at(PLACE, 80)).server().to_owned()).or_insert(0) += 1;
    }
    assert_eq!(reached, [("pod-3".to_owned(), 6), ("pod-4".to_owned(), 3)].into());
}
