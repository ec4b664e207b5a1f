//! Makes a failing case small by leaving things out as long as it fails.

use std::sync::Arc;

use seaway_model::{EndpointSlice, Service, ServiceChange};

use super::Case;

/// Leaves out one thing after the other until nothing more can go.
pub(super) fn shrink(mut case: Case, mut fails: impl FnMut(&Case) -> bool) -> Case {
    loop {
        let Some(smaller) = smaller(&case).into_iter().find(|smaller| fails(smaller)) else { return case };
        case = smaller;
    }
}

/// Everything that is one step smaller, large steps first.
fn smaller(case: &Case) -> Vec<Case> {
    let mut found = Vec::new();
    if case.attempts.len() > 1 {
        let only = |attempt| Case { attempts: vec![attempt], ..case.clone() };
        found.extend(case.attempts.iter().copied().map(only));
    }
    for (number, batch) in case.batches.iter().enumerate() {
        for (position, change) in batch.iter().enumerate() {
            if *change == ServiceChange::Synced {
                continue;
            }
            found.push(with_batch(case, number, |batch| drop(batch.remove(position))));
            for change in smaller_changes(change) {
                found.push(with_batch(case, number, |batch| {
                    if let Some(place) = batch.get_mut(position) {
                        *place = change;
                    }
                }));
            }
        }
        if number > 0 && batch.is_empty() {
            let mut fewer = case.clone();
            fewer.batches.remove(number);
            found.push(fewer);
        }
    }
    found
}

fn with_batch(case: &Case, number: usize, change: impl FnOnce(&mut Vec<ServiceChange>)) -> Case {
    let mut copy = case.clone();
    if let Some(batch) = copy.batches.get_mut(number) {
        change(batch);
    }
    copy
}

fn smaller_changes(change: &ServiceChange) -> Vec<ServiceChange> {
    match change {
        ServiceChange::Service { of, now: Some(now) } => {
            let set = |now| ServiceChange::Service { of: of.clone(), now: Some(Arc::new(now)) };
            smaller_services(now).into_iter().map(set).collect()
        }
        ServiceChange::Slice { of, now: Some(now) } => {
            let set = |now| ServiceChange::Slice { of: of.clone(), now: Some(Arc::new(now)) };
            smaller_slices(now).into_iter().map(set).collect()
        }
        _ => Vec::new(),
    }
}

fn smaller_services(service: &Service) -> Vec<Service> {
    let mut found = Vec::new();
    let mut push = |change: &dyn Fn(&mut Service)| {
        let mut copy = service.clone();
        change(&mut copy);
        if copy != *service {
            found.push(copy);
        }
    };
    for index in 0..service.ports.len().max(1).saturating_sub(1) {
        push(&|copy| drop(copy.ports.remove(index)));
    }
    push(&|copy| copy.cluster_ips.truncate(1));
    push(&|copy| copy.external_ips.clear());
    push(&|copy| copy.ingress.clear());
    push(&|copy| copy.source_ranges.clear());
    push(&|copy| copy.affinity_timeout_seconds = None);
    push(&|copy| copy.annotations.clear());
    push(&|copy| copy.publish_not_ready_addresses = false);
    push(&|copy| copy.internal_policy = Default::default());
    push(&|copy| copy.external_policy = Default::default());
    push(&|copy| copy.created_at_seconds = 0);
    found
}

fn smaller_slices(slice: &EndpointSlice) -> Vec<EndpointSlice> {
    let mut found = Vec::new();
    for index in 0..slice.endpoints.len() {
        let mut copy = slice.clone();
        copy.endpoints.remove(index);
        found.push(copy);
    }
    for index in 0..slice.ports.len() {
        let mut copy = slice.clone();
        copy.ports.remove(index);
        found.push(copy);
    }
    found
}
