//! Restarts, audits, other people's tables, and leaving.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use seaway_services::plan::Algorithm;

use super::super::ServiceGuard;
use super::world::*;
use crate::ServiceDatapath as _;

const PLACE: &str = "10.96.0.51";

#[test]
fn a_killed_agent_changes_nothing_and_the_next_takes_over_without_a_gap() {
    let mut world = World::new();
    let (client, one, two) = (world.pod(1), world.pod(2), world.pod(3));
    one.serve(8080);
    two.serve(8080);
    let kept = plan("kept", PLACE, 80, vec![one.backend(false, 8080), two.backend(false, 8080)]);
    let gone = plan("gone", "10.96.0.52", 80, vec![one.backend(false, 8080)]);
    world.set(vec![kept.clone(), gone]);
    let stop = Arc::new(AtomicBool::new(false));
    let load = client.namespace.start({
        let stop = Arc::clone(&stop);
        move || {
            let mut failed = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let connected = TcpStream::connect_timeout(&at(PLACE, 80), Duration::from_secs(3));
                failed.extend(connected.err().map(|error| error.to_string()));
            }
            failed
        }
    });
    for _ in 0..5 {
        world.services = None;
        assert_eq!(tcp(&client.namespace, at("10.96.0.51", 80)).server().split('-').next(), Some("pod"));
        world.start();
        world.set(vec![kept.clone()]);
        world.with(|services| services.synced().unwrap());
    }
    stop.store(true, Ordering::Relaxed);
    assert_eq!(load.join(), Vec::<String>::new());
    // What nobody asked for again is gone, its address as unassigned.
    assert_eq!(tcp_briefly(&client.namespace, at("10.96.0.52", 80)), Outcome::Silence);
    assert_eq!(world.audit(), vec![]);
    let listed = world.node.exec("nft list sets inet");
    assert!(!listed.contains("slots4-1 "), "sets of earlier processes are gone: {listed}");
}

#[test]
fn a_place_of_an_earlier_process_goes_on_until_everything_was_told() {
    let mut world = World::new();
    let (client, server) = (world.pod(1), world.pod(2));
    server.serve(8080);
    world.set(vec![plan("web", PLACE, 80, vec![server.backend(false, 8080)])]);
    world.services = None;
    world.start();
    assert_eq!(tcp(&client.namespace, at(PLACE, 80)).server(), "pod-2");
    world.with(|services| services.synced().unwrap());
    assert_eq!(tcp_briefly(&client.namespace, at(PLACE, 80)), Outcome::Silence);
}

#[test]
fn audit_repairs_and_names_the_service() {
    let world = World::new();
    let (client, server) = (world.pod(1), world.pod(2));
    server.serve(8080);
    world.set(vec![plan("web", PLACE, 80, vec![server.backend(false, 8080)])]);
    for damage in [
        "nft flush map inet seaway-services frontends4",
        "nft flush map inet seaway-services slots4-1",
        "nft flush chain inet seaway-services prerouting",
        "nft flush map inet seaway-services inside-classes4",
        "nft delete table inet seaway-services",
        "nft delete table inet seaway-guard",
    ] {
        world.node.exec(damage);
        let differences = world.audit();
        assert!(!differences.is_empty(), "{damage}");
        assert_eq!(world.audit(), vec![], "{damage}");
        assert_eq!(tcp(&client.namespace, at(PLACE, 80)).server(), "pod-2", "{damage}");
    }
    world.node.exec("nft flush map inet seaway-services frontends4");
    let differences = world.audit();
    assert!(differences.iter().any(|difference| difference.cause == "service shop/web"), "{differences:?}");
}

#[test]
fn changes_go_on_after_somebody_else_emptied_the_tables() {
    let world = World::new();
    let (client, one, two) = (world.pod(1), world.pod(2), world.pod(3));
    one.serve(8080);
    two.serve(8080);
    world.set(vec![plan("web", PLACE, 80, vec![one.backend(false, 8080)])]);
    world.node.exec("nft delete table inet seaway-services");
    world.set(vec![plan("web", PLACE, 80, vec![two.backend(false, 8080)])]);
    assert_eq!(tcp(&client.namespace, at(PLACE, 80)).server(), "pod-3");
    assert_eq!(world.audit(), vec![]);
}

#[test]
fn foreign_tables_stay_and_ours_leave_without_a_trace() {
    let world = World::new();
    world.node.exec("nft add table inet kube-proxy");
    world.node.exec("nft add chain inet kube-proxy services { type nat hook prerouting priority -100 ; }");
    world.node.exec("nft add rule inet kube-proxy services ip daddr 198.51.100.7 counter");
    world.node.exec("nft add table ip seaway-services");
    let foreign = |world: &World| {
        [world.node.exec("nft list table inet kube-proxy"), world.node.exec("nft list table ip seaway-services")]
    };
    let before = foreign(&world);
    let server = world.pod(2);
    server.serve(8080);
    world.set(vec![plan("web", PLACE, 80, vec![server.backend(false, 8080)])]);
    assert_eq!(tcp(&world.outside, at(PLACE, 80)).server(), "pod-2");
    world.audit();
    assert_eq!(foreign(&world), before);
    world.with(|services| services.uninstall().unwrap());
    assert_eq!(foreign(&world), before);
    assert!(!world.node.exec("nft list tables").contains("inet seaway"));
    world.with(|services| services.uninstall().unwrap());
}

#[test]
fn the_guard_works_by_itself() {
    let world = World::new();
    let client = world.pod(1);
    world.with(|services| services.uninstall().unwrap());
    let settings = world.settings.clone();
    let changes = [
        seaway_services::plan::PlanChange::Set(Arc::new(plan("web", PLACE, 80, vec![]))),
        seaway_services::plan::PlanChange::Set(Arc::new(plan("six", "fd96::51", 80, vec![]))),
    ];
    let mut guard = world.node.run(move || {
        let mut guard = ServiceGuard::open().unwrap();
        guard.set_node(&settings).unwrap();
        guard.apply(&changes).unwrap();
        guard.synced().unwrap();
        guard
    });
    for place in [PLACE, "fd96::51"] {
        assert_eq!(tcp(&client.namespace, at(place, 80)), Outcome::Refused);
        assert_eq!(tcp(&client.namespace, at(place, 81)), Outcome::Refused);
        assert_eq!(tcp(&world.node, at(place, 80)), Outcome::Refused);
    }
    assert_eq!(tcp_briefly(&client.namespace, at("10.96.0.99", 80)), Outcome::Silence);
    assert_eq!(
        world
            .node
            .run(move || {
                let differences = guard.audit();
                guard.uninstall().unwrap();
                differences
            })
            .unwrap(),
        vec![]
    );
    assert!(!world.node.exec("nft list tables").contains("inet seaway"));
}

#[test]
fn other_peoples_nft_program_can_list_our_tables() {
    let world = World::new();
    let server = world.pod(2);
    for (v6, place) in [(false, PLACE), (true, "fd96::51")] {
        for (number, algorithm) in
            [Algorithm::Random, Algorithm::RoundRobin, Algorithm::SourceHash, Algorithm::Maglev].into_iter().enumerate()
        {
            for affinity in [None, Some(60)] {
                let port = 80 + u16::try_from(number).unwrap() + if affinity.is_some() { 100 } else { 0 };
                let name = format!("web-{v6}-{port}");
                world.set(vec![changed(plan(&name, place, port, vec![server.backend(v6, 8080)]), |frontend| {
                    frontend.algorithm = algorithm;
                    frontend.affinity_timeout_seconds = affinity;
                })]);
            }
        }
    }
    world.node.exec("nft list ruleset");
}
