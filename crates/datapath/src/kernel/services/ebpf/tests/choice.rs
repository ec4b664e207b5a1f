//! How backends are chosen.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use seaway_model::Protocol::Tcp;
use seaway_services::plan::{Algorithm, Backend, ServicePlan};

use super::super::slot_table;
use super::plans::{Plan as _, service};
use super::world::{Outcome, World, at};

const BACKENDS: [&str; 3] = ["10.83.1.1", "10.83.1.2", "10.83.1.3"];

fn count(world: &World, connections: usize) -> BTreeMap<SocketAddr, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..connections {
        let Outcome::Answered(backend) = world.connect(at("10.96.0.10", 80)) else { panic!() };
        *counts.entry(backend).or_insert(0) += 1;
    }
    counts
}

fn world_with(algorithm: Algorithm, weights: [u16; 3]) -> World {
    let world = World::new();
    for address in BACKENDS {
        world.serve(address, 8080);
    }
    let weighted: Vec<_> = BACKENDS.into_iter().zip(weights).collect();
    let web: ServicePlan = service("web").weighted(&weighted, 8080).cluster_ip("10.96.0.10", Tcp, 80);
    world.set(web.algorithm(algorithm));
    assert_eq!(world.audit(), []);
    world
}

#[test]
fn turns_are_exact() {
    let world = world_with(Algorithm::RoundRobin, [1, 1, 1]);
    assert!(count(&world, 12).values().all(|count| *count == 4));
    let world = world_with(Algorithm::RoundRobin, [2, 4, 6]);
    assert_eq!(count(&world, 12).into_values().collect::<Vec<_>>(), [2, 4, 6]);
}

#[test]
fn random_choice_goes_by_weight() {
    let world = world_with(Algorithm::Random, [1, 3, 0]);
    let counts = count(&world, 400);
    assert_eq!(counts.len(), 2, "weight 0 gets nothing: {counts:?}");
    // Expected 100; twelve standard deviations of room are not needed, five are kept.
    let light = counts[&at(BACKENDS[0], 8080)];
    assert!((57..=143).contains(&light), "{counts:?}");
}

#[test]
fn a_clients_address_decides_with_source_hash() {
    let world = world_with(Algorithm::SourceHash, [1, 1, 1]);
    assert_eq!(count(&world, 24).len(), 1);
}

#[test]
fn maglev_spreads_sockets() {
    let world = world_with(Algorithm::Maglev, [1, 1, 1]);
    assert_eq!(count(&world, 64).len(), 3);
}

#[test]
fn the_least_connected_backend_is_taken_and_closed_connections_do_not_count() {
    let world = world_with(Algorithm::LeastConnection, [1, 1, 2]);
    // Backends close at once; the client's end keeps the connection.
    let held: Vec<(SocketAddr, TcpStream)> = (0..8).map(|_| hold(&world)).collect();
    let count = |address| held.iter().filter(|(backend, _)| *backend == at(address, 8080)).count();
    assert_eq!(BACKENDS.map(count), [2, 2, 4]);
    let (closed, kept): (Vec<_>, Vec<_>) = held.into_iter().partition(|(backend, _)| *backend == at(BACKENDS[1], 8080));
    drop(closed);
    // A program that another test starts just now shares our sockets until it runs: none is closed before.
    let counted = || world.with(|services| services.tables.connections.entries().unwrap());
    let give_up = Instant::now() + Duration::from_secs(30);
    while counted().iter().map(|(_, count)| count).sum::<i64>() > kept.len() as i64 {
        assert!(Instant::now() < give_up, "closed connections still count: {:?}", counted());
    }
    let next: Vec<_> = (0..2).map(|_| hold(&world)).collect();
    assert!(next.iter().all(|(backend, _)| *backend == at(BACKENDS[1], 8080)), "{next:?} {kept:?}");
}

fn hold(world: &World) -> (SocketAddr, TcpStream) {
    use std::io::Read as _;
    world.client(|| {
        let mut stream = TcpStream::connect(at("10.96.0.10", 80)).unwrap();
        let mut told = String::new();
        match stream.read_to_string(&mut told) {
            Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
            _ => (told.parse().unwrap(), stream),
        }
    })
}

fn backends(weights: &[u16]) -> Vec<Backend> {
    let backend = |(number, weight): (u32, &u16)| Backend {
        address: std::net::Ipv4Addr::from(0x0a53_0000 + number).into(),
        port: 80,
        weight: *weight,
        local: false,
        node: None,
    };
    (0u32..).zip(weights).map(backend).collect()
}

proptest! {
    #[test]
    fn aliases_give_every_backend_its_share(weights in proptest::collection::vec(0u16..2000, 1..40)) {
        let slots = slot_table::slots(&backends(&weights));
        let count = slots.len() as f64;
        let mut shares = vec![0.0; slots.len()];
        for (number, slot) in slots.iter().enumerate() {
            let stays = if slot.alias_threshold == u32::MAX { 1.0 } else { f64::from(slot.alias_threshold) / 2f64.powi(32) };
            shares[number] += stays / count;
            shares[slot.alias as usize] += (1.0 - stays) / count;
        }
        let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        for (share, weight) in shares.iter().zip(&weights) {
            let due = if total == 0.0 { 1.0 / count } else { f64::from(*weight) / total };
            prop_assert!((share - due).abs() < 1e-6, "{share} instead of {due}");
        }
    }

    #[test]
    fn a_round_gives_every_backend_its_turns(weights in proptest::collection::vec(0u16..40, 2..20)) {
        prop_assume!(weights.iter().any(|weight| *weight > 0));
        let table = slot_table::turns(&backends(&weights));
        let turns = |slot: usize| table.slots[..table.entries.into()].iter().filter(|turn| usize::from(**turn) == slot).count();
        let (heaviest, weight) = weights.iter().enumerate().max_by_key(|(_, weight)| **weight).unwrap();
        for (slot, other) in weights.iter().enumerate() {
            prop_assert_eq!(turns(slot) * usize::from(*weight), turns(heaviest) * usize::from(*other));
        }
    }
}
