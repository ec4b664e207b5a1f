//! Makes a scenario smaller as long as it still goes wrong.

use std::sync::Arc;
use std::time::{Duration, Instant};

use seaway_model::{EndpointSlice, Service, ServiceChange};

use super::{Disagreement, Judge};
use crate::world::scenario::{Probe, Round, Scenario};

/// Times a question is asked, since a backend is drawn.
const REPEATS: usize = 24;

/// The smallest scenario found in the time that still shows a disagreement, and that.
pub(crate) fn shrink(
    judge: &mut dyn Judge,
    scenario: Scenario,
    first: Disagreement,
    patience: Duration,
) -> (Scenario, Disagreement) {
    let deadline = Instant::now() + patience;
    let mut best = focus(&scenario, &first);
    let mut shown = match judge.play(&best) {
        Err(shown) => shown,
        // It takes the other questions, too: they are part of what happened.
        Ok(_) => {
            best = scenario;
            best.rounds.truncate(first.round + 1);
            first
        }
    };
    loop {
        let mut is_smaller = false;
        for candidate in smaller(&best) {
            if Instant::now() > deadline {
                return (best, shown);
            }
            if let Err(still) = judge.play(&candidate) {
                (best, shown, is_smaller) = (candidate, still, true);
                break;
            }
        }
        if !is_smaller {
            return (best, shown);
        }
    }
}

/// Only the question that went wrong, in its round.
fn focus(scenario: &Scenario, wrong: &Disagreement) -> Scenario {
    let mut focused = scenario.clone();
    focused.rounds.truncate(wrong.round + 1);
    for (index, round) in focused.rounds.iter_mut().enumerate() {
        round.probes.clear();
        if index == wrong.round {
            round.probes.extend(wrong.probe.iter().flat_map(|probe| [*probe; REPEATS]));
        }
    }
    focused
}

/// Scenarios with less in them, those with much less first.
fn smaller(scenario: &Scenario) -> Vec<Scenario> {
    let mut found = Vec::new();
    let with_rounds = |rounds: Vec<Round>| Scenario { rounds, ..scenario.clone() };
    for index in 0..scenario.rounds.len().saturating_sub(1) {
        // Its changes come with the next one's.
        let mut rounds = scenario.rounds.clone();
        let gone = rounds.remove(index);
        rounds[index].changes.splice(0..0, gone.changes);
        found.push(with_rounds(rounds));
    }
    for (at, round) in scenario.rounds.iter().enumerate() {
        let mut width = round.changes.len().div_ceil(2);
        while width > 0 {
            for start in (0..round.changes.len()).step_by(width) {
                let mut rounds = scenario.rounds.clone();
                let mut index = 0;
                rounds[at].changes.retain(|change| {
                    index += 1;
                    !(start..start + width).contains(&(index - 1)) || *change == ServiceChange::Synced
                });
                if rounds[at].changes.len() < round.changes.len() {
                    found.push(with_rounds(rounds));
                }
            }
            width /= 2;
        }
        for (index, change) in round.changes.iter().enumerate() {
            for simpler in simpler(change) {
                let mut rounds = scenario.rounds.clone();
                rounds[at].changes[index] = simpler;
                found.push(with_rounds(rounds));
            }
        }
        found.extend(fewer_questions(round).into_iter().map(|probes| {
            let mut rounds = scenario.rounds.clone();
            rounds[at].probes = probes;
            with_rounds(rounds)
        }));
    }
    found
}

fn fewer_questions(round: &Round) -> Vec<Vec<Probe>> {
    let all = &round.probes;
    let half = all.len() / 2;
    match half {
        0 => Vec::new(),
        _ => vec![all[half..].to_vec(), all[..half].to_vec()],
    }
}

fn simpler(change: &ServiceChange) -> Vec<ServiceChange> {
    match change {
        ServiceChange::Service { of, now: Some(now) } => {
            let set = |now| ServiceChange::Service { of: of.clone(), now: Some(Arc::new(now)) };
            simpler_services(now).into_iter().map(set).collect()
        }
        ServiceChange::Slice { of, now: Some(now) } => {
            let set = |now| ServiceChange::Slice { of: of.clone(), now: Some(Arc::new(now)) };
            simpler_slices(now).into_iter().map(set).collect()
        }
        _ => Vec::new(),
    }
}

fn simpler_services(service: &Service) -> Vec<Service> {
    let mut found = Vec::new();
    let mut attempt = |change: &dyn Fn(&mut Service)| {
        let mut simpler = service.clone();
        change(&mut simpler);
        if simpler != *service {
            found.push(simpler);
        }
    };
    attempt(&|one| one.annotations.clear());
    attempt(&|one| one.labels.clear());
    attempt(&|one| one.affinity_timeout_seconds = None);
    attempt(&|one| one.source_ranges.clear());
    attempt(&|one| one.internal_policy = Default::default());
    attempt(&|one| one.external_policy = Default::default());
    attempt(&|one| one.publish_not_ready_addresses = false);
    attempt(&|one| one.health_check_node_port = None);
    attempt(&|one| one.created_at_seconds = 1);
    for index in 0..service.ports.len() {
        attempt(&|one| drop(one.ports.remove(index)));
        attempt(&|one| one.ports[index].node_port = None);
    }
    for index in 0..service.external_ips.len() {
        attempt(&|one| {
            one.external_ips.remove(index);
        });
    }
    for index in 0..service.ingress.len() {
        attempt(&|one| drop(one.ingress.remove(index)));
    }
    for index in 0..service.cluster_ips.len() {
        attempt(&|one| {
            one.cluster_ips.remove(index);
        });
    }
    found
}

fn simpler_slices(slice: &EndpointSlice) -> Vec<EndpointSlice> {
    let mut found = Vec::new();
    let mut attempt = |change: &dyn Fn(&mut EndpointSlice)| {
        let mut simpler = slice.clone();
        change(&mut simpler);
        if simpler != *slice {
            found.push(simpler);
        }
    };
    for index in 0..slice.endpoints.len() {
        attempt(&|one| drop(one.endpoints.remove(index)));
    }
    for index in 0..slice.ports.len() {
        attempt(&|one| drop(one.ports.remove(index)));
    }
    for index in 0..slice.endpoints.len() {
        attempt(&|one| {
            one.endpoints[index].zone_hints.clear();
            one.endpoints[index].node_hints.clear();
            one.endpoints[index].zone = None;
            one.endpoints[index].pod = None;
        });
        attempt(&|one| {
            let endpoint = &mut one.endpoints[index];
            (endpoint.ready, endpoint.serving, endpoint.terminating) = (true, true, false);
        });
    }
    found
}
