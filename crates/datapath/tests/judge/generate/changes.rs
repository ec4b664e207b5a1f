//! What happens to Services and slices between two rounds.

use std::sync::Arc;

use seaway_model::{Service, ServiceChange, ServiceRef};

use super::endpoints::{changed_slice, set_conditions, slice_named};
use super::services::{named, service, with_slices};
use crate::random::Random;
use crate::world::cluster::Cluster;

/// Changes that come at once.
pub(super) fn batch(random: &mut Random, cluster: &Cluster, services: u8) -> Vec<ServiceChange> {
    let mut now = cluster.clone();
    let mut changes = Vec::new();
    for _ in 0..random.small(1..8) {
        let number = random.small(1..services + 1);
        let next = one(random, &now, number, services);
        now.apply(&next);
        changes.extend(next);
    }
    changes
}

fn one(random: &mut Random, now: &Cluster, number: u8, services: u8) -> Vec<ServiceChange> {
    let name = named(number);
    let Some(known) = now.services.get(&name) else { return with_slices(random, number) };
    match random.within(0..12) {
        0..3 => vec![changed_slice(random, number, known)],
        3..6 => conditions(random, now, number),
        6 => vec![ServiceChange::Slice { of: slice_named(number, random.small(0..4)), now: None }],
        7 => vec![ServiceChange::Service { of: name, now: None }],
        // Deleted and created again before anyone looked.
        8 => vec![ServiceChange::Service { of: name.clone(), now: None }, set(name, service(random, number))],
        9 => vec![set(name, service(random, number))],
        10 => swap(random, now, number, random_other(number, services)),
        _ => with_slices(random, number),
    }
}

fn random_other(number: u8, services: u8) -> u8 {
    number % services + 1
}

fn set(of: ServiceRef, now: Service) -> ServiceChange {
    ServiceChange::Service { of, now: Some(Arc::new(now)) }
}

/// A slice whose endpoints come, go, or change their minds.
fn conditions(random: &mut Random, now: &Cluster, number: u8) -> Vec<ServiceChange> {
    let of = slice_named(number, random.small(0..4));
    let Some(slice) = now.slices.get(&of) else { return Vec::new() };
    let mut slice = slice.as_ref().clone();
    for endpoint in &mut slice.endpoints {
        if random.percent(60) {
            set_conditions(random, endpoint);
        }
    }
    if random.percent(30) {
        slice.endpoints.pop();
    }
    vec![ServiceChange::Slice { of, now: Some(Arc::new(slice)) }]
}

/// Two Services exchange everything by which clients reach them.
fn swap(random: &mut Random, now: &Cluster, one: u8, other: u8) -> Vec<ServiceChange> {
    let (Some(a), Some(b)) = (now.services.get(&named(one)), now.services.get(&named(other))) else {
        return Vec::new();
    };
    let (mut a, mut b) = (a.as_ref().clone(), b.as_ref().clone());
    std::mem::swap(&mut a.cluster_ips, &mut b.cluster_ips);
    if random.percent(50) {
        std::mem::swap(&mut a.external_ips, &mut b.external_ips);
        std::mem::swap(&mut a.ingress, &mut b.ingress);
        if let (Some(mine), Some(theirs)) = (a.ports.first_mut(), b.ports.first_mut()) {
            std::mem::swap(&mut mine.node_port, &mut theirs.node_port);
        }
    }
    vec![set(named(one), a), set(named(other), b)]
}
