//! Random scenarios. A seed gives the same one everywhere.
//!
//! `services` and `endpoints` make objects, `changes` what happens to them, `probes` the questions.
//! Network policies join as further objects of [`Cluster`] with a module of their own here; the
//! questions and the clients stay.

mod changes;
mod endpoints;
mod probes;
mod services;

use seaway_model::ServiceChange;

use crate::random::Random;
use crate::world::cluster::Cluster;
use crate::world::scenario::{JudgedNode, Round, Scenario};

pub(crate) use endpoints::plain_endpoint;
pub(crate) use services::plain_service;

/// How large a scenario is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    /// Services at the beginning.
    pub(crate) services: u8,
    /// Rounds of changes after the first.
    pub(crate) rounds: usize,
    /// Questions per round.
    pub(crate) probes: usize,
}

/// The scenario of a seed.
pub(crate) fn scenario(seed: u64, size: Size) -> Scenario {
    let mut random = Random::new(seed);
    let node = JudgedNode {
        zone: (!random.percent(15)).then(|| (*random.one(&["west", "east"])).to_owned()),
        serves_second_address: random.percent(30),
        serves_loopback: random.percent(50),
    };
    let mut cluster = Cluster::default();
    let mut first = Vec::new();
    for number in 1..=size.services {
        first.extend(services::with_slices(&mut random, number));
    }
    first.push(ServiceChange::Synced);
    let mut rounds = Vec::new();
    for round in 0..=size.rounds {
        let changes = match round {
            0 => std::mem::take(&mut first),
            _ => changes::batch(&mut random, &cluster, size.services),
        };
        let before = cluster.clone();
        cluster.apply(&changes);
        let probes = probes::about(&mut random, &[&cluster, &before], size.probes);
        rounds.push(Round { changes, probes });
    }
    Scenario { about: format!("seed {seed}"), node, rounds }
}
