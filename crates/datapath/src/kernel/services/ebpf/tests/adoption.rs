//! Agents come and go; what they left in the kernel works on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use seaway_model::Protocol::{Tcp, Udp};
use seaway_services::plan::{Algorithm, PlanChange};

use super::plans::{Plan as _, removal, service};
use super::world::{Outcome, World, at, connect};
use crate::ServiceDatapath as _;

const BACKENDS: [&str; 3] = ["10.83.1.1", "10.83.1.2", "10.83.1.3"];

fn everything() -> Vec<PlanChange> {
    let web = service("web").backends(&BACKENDS, 8080).cluster_ip("10.96.0.1", Tcp, 80).node_port(30080);
    let dns =
        service("dns").backends(&BACKENDS, 8080).cluster_ip("10.96.0.2", Udp, 53).cluster_ip("10.96.0.2", Tcp, 53);
    let turns = service("turns").weighted(&[(BACKENDS[0], 1), (BACKENDS[1], 2)], 8080).cluster_ip("10.96.0.3", Tcp, 80);
    let old = service("old").backends(&BACKENDS[..1], 8080).cluster_ip("10.96.0.4", Tcp, 80);
    let plans = [web, dns, turns.algorithm(Algorithm::RoundRobin), old.affinity(60)];
    plans.into_iter().map(|plan| PlanChange::Set(plan.into())).collect()
}

#[test]
fn an_agent_is_killed_and_its_successor_takes_over_without_a_gap() {
    let mut world = World::new();
    for address in BACKENDS {
        world.serve(address, 8080);
    }
    world.apply(everything());
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let clients = world.start_client(move || {
        let mut outcomes = Vec::new();
        while !stopped.load(Ordering::Relaxed) {
            outcomes.push(connect(at("10.96.0.1", 80)));
        }
        outcomes
    });
    let sets = |world: &World| {
        world.with(|services| services.tables.backends.entries().unwrap().iter().map(|(key, _)| key.set).max())
    };
    let before = sets(&world);
    world.kill();
    assert!(matches!(world.connect(at("10.96.0.3", 80)), Outcome::Answered(_)), "the dead agent's Services work on");
    world.start();
    // The Service `old` went while nobody watched.
    let again: Vec<_> = everything().into_iter().take(3).collect();
    let report = world.apply(again);
    assert_eq!(report.refused, []);
    assert!(matches!(world.connect(at("10.96.0.4", 80)), Outcome::Answered(_)), "nothing goes before all is known");
    world.with(|services| services.synced().unwrap());
    assert_eq!(world.connect(at("10.96.0.4", 80)), Outcome::Silence);
    assert!(sets(&world) <= before, "equal sets are used on");
    stop.store(true, Ordering::Relaxed);
    let outcomes = clients.join();
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Answered(_))), "{outcomes:?}");
    assert_eq!(world.audit(), []);
    world.apply(["web", "dns", "turns"].map(removal).to_vec());
    let usage = world.with(|services| services.usage().unwrap());
    assert!(usage.tables.iter().all(|(_, used, _)| *used == 0), "{usage:?}");
    assert_eq!(world.audit(), []);
}

#[test]
fn changed_services_are_written_anew_over_what_was_left() {
    let mut world = World::new();
    for address in BACKENDS {
        world.serve(address, 8080);
    }
    world.apply(everything());
    world.kill();
    world.start();
    let changed = service("web").backends(&BACKENDS[2..], 8080).cluster_ip("10.96.0.1", Tcp, 80);
    world.set(changed);
    world.with(|services| services.synced().unwrap());
    for _ in 0..16 {
        assert_eq!(world.connect(at("10.96.0.1", 80)), Outcome::Answered(at(BACKENDS[2], 8080)));
    }
    assert_eq!(world.connect(at("192.0.2.1", 30080)), Outcome::Refused);
    assert_eq!(world.audit(), []);
}

#[test]
fn the_audit_repairs_what_others_changed() {
    let world = World::new();
    world.serve(BACKENDS[0], 8080);
    world.apply(everything());
    world.with(|services| {
        let tables = &services.tables;
        let frontends: Vec<_> = tables.services.entries().unwrap().into_iter().map(|(key, _)| key).collect();
        tables.services.remove_all(&frontends[..2]).unwrap();
        let (key, mut backend) = tables.backends.entries().unwrap()[0];
        backend.port = 1;
        tables.backends.put(&key, &backend).unwrap();
        services.programs.detach().unwrap();
    });
    let differences = world.audit();
    assert_eq!(differences.len(), 2 + 1 + 9, "{differences:?}");
    assert_eq!(world.audit(), []);
    assert_eq!(world.connect(at("10.96.0.4", 80)), Outcome::Answered(at(BACKENDS[0], 8080)));
}

#[test]
fn changes_between_the_parts_of_an_audit_are_no_differences() {
    let world = World::new();
    world.apply(everything());
    let (strange, differences, parts) = world.with(|services| {
        let strange = seaway_model::abi::services::BackendKey { set: 4_000_000, slot: 7 };
        let (_, backend) = services.tables.backends.entries().unwrap()[0];
        services.tables.backends.put(&strange, &backend).unwrap();
        let (mut differences, mut parts) = (Vec::new(), 0);
        loop {
            let step = services.audit_step().unwrap();
            differences.extend(step.differences);
            parts += 1;
            if step.is_last {
                return (services.tables.backends.get(&strange).unwrap(), differences, parts);
            }
            // Sets come and go, with members and turns.
            let backends = &BACKENDS[..1 + parts % 3];
            let dns = service("dns").backends(backends, 8080).cluster_ip("10.96.0.2", Udp, 53);
            let turns = service("turns").backends(backends, 8080).cluster_ip("10.96.0.3", Tcp, 80);
            let turns = turns.algorithm(Algorithm::RoundRobin);
            services.apply(&[dns, turns].map(|plan| PlanChange::Set(plan.into()))).unwrap();
        }
    });
    assert!(parts > 3, "{parts}");
    assert_eq!(strange, None);
    let [difference] = differences.as_slice() else { panic!("{differences:?}") };
    assert_eq!(difference.what, "backend 7 of set 4000000 was not asked for");
    assert_eq!(world.audit(), []);
}

#[test]
fn uninstalling_leaves_established_connections_alive() {
    use std::io::Read as _;
    let world = World::new();
    world.serve(BACKENDS[0], 8080);
    world.apply(everything());
    let mut held = world.client(|| std::net::TcpStream::connect(at("10.96.0.4", 80)).unwrap());
    world.with(|services| services.uninstall().unwrap());
    let mut told = String::new();
    held.read_to_string(&mut told).unwrap();
    assert_eq!(told, format!("{}:8080", BACKENDS[0]));
    assert!(!matches!(world.connect(at("10.96.0.4", 80)), Outcome::Answered(_)));
    let left = world.node.exec("ls /sys/fs/bpf/seaway/links");
    assert_eq!(left.trim(), "");
}

#[test]
fn sockets_of_backends_that_went_while_no_agent_lived_are_closed() {
    let mut world = World::new();
    world.apply(everything());
    let socket = world.client(|| {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.connect(at("10.96.0.2", 53)).unwrap();
        socket
    });
    world.kill();
    world.start();
    world.set(service("dns").backends(&["10.83.1.9"], 8080).cluster_ip("10.96.0.2", Udp, 53));
    assert_eq!(socket.take_error().unwrap().map(|error| error.kind()), None);
    let report = world.with(|services| services.synced().unwrap());
    assert_eq!(report.closed_connections, 1);
    let error = socket.take_error().unwrap().unwrap();
    assert_eq!(error.raw_os_error(), Some(libc::ECONNABORTED));
}

#[test]
fn maps_that_lost_their_content_are_filled_before_programs_use_them() {
    let mut world = World::new();
    for address in BACKENDS {
        world.serve(address, 8080);
    }
    world.apply(everything());
    world.kill();
    // An upgrade to another layout of the backends.
    world.node.run(|| std::fs::remove_file("/sys/fs/bpf/seaway/maps/sw_backends").unwrap());
    world.start();
    assert!(matches!(world.connect(at("10.96.0.1", 80)), Outcome::Answered(_)), "the old programs and maps work on");
    world.apply(everything());
    assert!(matches!(world.connect(at("10.96.0.1", 80)), Outcome::Answered(_)));
    world.with(|services| services.synced().unwrap());
    assert!(matches!(world.connect(at("10.96.0.1", 80)), Outcome::Answered(_)), "the new ones, too");
    assert_eq!(world.audit(), []);
}

#[test]
fn another_folder_is_no_cgroup_root() {
    let world = World::new();
    let options = crate::Options { cgroup_root: "/proc".into(), ..world.options.clone() };
    let error = world.node.run(move || super::super::EbpfServices::open(&options).err().unwrap());
    assert_eq!(seaway_model::Diagnose::id(&error).to_string(), "SW0340");
}
