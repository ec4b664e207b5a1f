//! One Service compiled for one node.

use std::net::SocketAddr;

use ipnet::IpNet;
use seaway_model::service::{ServiceKind, TrafficPolicy};
use seaway_model::{EndpointSlice, Service, ServiceRef};

use crate::annotations::{self, Wishes};
use crate::endpoints::{Candidate, Choice, NodeView, Wanted, candidates};
use crate::plan::{
    Algorithm, Backend, BackendSet, Forwarding, Frontend, FrontendKind, HealthCheck, Reach, ServicePlan,
};
use crate::table::Wish;

/// A Service with its slices.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sources<'a> {
    pub(crate) name: &'a ServiceRef,
    pub(crate) service: &'a Service,
    /// Its slices.
    pub(crate) slices: &'a [&'a EndpointSlice],
}

/// How traffic of one port and family may be spread.
#[derive(Debug, Clone, Copy)]
struct Reaches {
    /// Policy Cluster.
    cluster: Reach,
    /// Policy Local.
    local: Reach,
}

/// The plan with these frontends; none when nothing of the Service is to be programmed.
pub(crate) fn compile(sources: Sources<'_>, granted: &[Wish], node: &NodeView) -> Option<ServicePlan> {
    let service = sources.service;
    let wishes = annotations::read(service);
    let mut plan = ServicePlan {
        service: sources.name.clone(),
        frontends: Vec::with_capacity(granted.len()),
        sets: Vec::new(),
        terminating: Vec::new(),
        health_check: health_check(sources, node),
    };
    let mut known: Vec<((usize, bool), Reaches)> = Vec::new();
    for wish in granted {
        let key = (wish.port, wish.place.at.is_ipv4());
        let reaches = match known.iter().find(|(of, _)| *of == key) {
            Some((_, reaches)) => *reaches,
            None => {
                let reaches = reaches(sources, key, &wishes, node, &mut plan);
                known.push((key, reaches));
                reaches
            }
        };
        plan.frontends.extend(frontend(service, wish, reaches, &wishes));
    }
    plan.terminating.sort_unstable();
    plan.terminating.dedup();
    keep_only_used_sets(&mut plan);
    (!plan.frontends.is_empty() || plan.health_check.is_some()).then_some(plan)
}

/// Which endpoints a Service port of one family asks for.
pub(crate) fn wanted(service: &Service, port: usize, ipv4: bool) -> Option<Wanted<'_>> {
    let port = service.ports.get(port)?;
    Some(Wanted {
        port_name: &port.name,
        protocol: port.protocol,
        ipv4,
        publish_not_ready: service.publish_not_ready_addresses,
    })
}

fn reaches(
    sources: Sources<'_>,
    (port, ipv4): (usize, bool),
    wishes: &Wishes,
    node: &NodeView,
    plan: &mut ServicePlan,
) -> Reaches {
    let none = Reaches { cluster: Reach::Reject, local: Reach::Reject };
    let Some(wanted) = wanted(sources.service, port, ipv4) else { return none };
    let found = candidates(sources.slices.iter().copied(), wanted, node);
    let choice = Choice::new(&found, node);
    let terminating = found.iter().filter(|one| one.endpoint.terminating);
    plan.terminating.extend(terminating.map(|one| SocketAddr::new(one.address, one.port)));
    let mut reach = |is_in: &dyn Fn(&Candidate<'_>) -> bool, otherwise: Reach| {
        let backends: Vec<Backend> = found.iter().filter(|one| is_in(one)).map(|one| backend(one, wishes)).collect();
        if backends.is_empty() {
            return otherwise;
        }
        Reach::Backends { set: intern(&mut plan.sets, BackendSet { backends }), hide_client: false }
    };
    let cluster = reach(&|one| choice.cluster(one).is_used(), Reach::Reject);
    let local = match (uses_local(sources.service), choice.any) {
        (false, _) => cluster,
        (true, true) => reach(&|one| choice.local(one).is_used(), Reach::Drop),
        (true, false) => Reach::Reject,
    };
    Reaches { cluster, local }
}

fn uses_local(service: &Service) -> bool {
    service.internal_policy == TrafficPolicy::Local || service.external_policy == TrafficPolicy::Local
}

fn backend(one: &Candidate<'_>, wishes: &Wishes) -> Backend {
    Backend {
        address: one.address,
        port: one.port,
        weight: wishes.weight_of(one.endpoint),
        local: one.local,
        node: one.endpoint.node.clone(),
    }
}

/// The index of a set, which other ports may have too.
fn intern(sets: &mut Vec<BackendSet>, mut set: BackendSet) -> usize {
    // There is one for each of tens of thousands of Services.
    set.backends.shrink_to_fit();
    sets.iter().position(|known| *known == set).unwrap_or_else(|| {
        sets.push(set);
        sets.len() - 1
    })
}

fn frontend(service: &Service, wish: &Wish, reaches: Reaches, wishes: &Wishes) -> Option<Frontend> {
    let port = service.ports.get(wish.port)?;
    let external = wish.kind != FrontendKind::ClusterIp;
    let policy = if external { service.external_policy } else { service.internal_policy };
    let by_policy = match policy {
        TrafficPolicy::Cluster => hide_client(reaches.cluster),
        TrafficPolicy::Local => reaches.local,
    };
    // Clients of this node take the short way to every endpoint, as if they had gone out to the load
    // balancer and come back at the best node.
    let inside = match (external, policy) {
        (false, TrafficPolicy::Local) => reaches.local,
        _ => reaches.cluster,
    };
    Some(Frontend {
        at: wish.place.at,
        protocol: wish.place.protocol,
        port: wish.place.port,
        kind: wish.kind,
        port_name: port.name.clone(),
        inside,
        outside: by_policy,
        source_ranges: if wish.kind == FrontendKind::LoadBalancer {
            source_ranges(service, wish.place.at.is_ipv4())
        } else {
            Vec::new()
        },
        affinity_timeout_seconds: service.affinity_timeout_seconds,
        algorithm: wishes.algorithm.unwrap_or(Algorithm::Random),
        forwarding: if external { wishes.forwarding.unwrap_or(Forwarding::Nat) } else { Forwarding::Nat },
    })
}

/// A backend of another node must answer through this one.
fn hide_client(reach: Reach) -> Reach {
    match reach {
        Reach::Backends { set, .. } => Reach::Backends { set, hide_client: true },
        other => other,
    }
}

/// The ranges that matter for a family. A range of everything is no restriction; ranges of the other
/// family only are one that admits nobody.
pub(crate) fn source_ranges(service: &Service, ipv4: bool) -> Vec<IpNet> {
    let of_family = |range: &&IpNet| range.addr().is_ipv4() == ipv4;
    let mut ranges: Vec<IpNet> = service.source_ranges.iter().filter(of_family).copied().collect();
    if ranges.iter().any(|range| range.prefix_len() == 0) {
        return Vec::new();
    }
    if ranges.is_empty() {
        ranges.clone_from(&service.source_ranges);
    }
    ranges.sort_unstable();
    ranges.dedup();
    ranges
}

/// Indexes as small as possible, and no set that no frontend uses.
fn keep_only_used_sets(plan: &mut ServicePlan) {
    let mut new_index: Vec<Option<usize>> = vec![None; plan.sets.len()];
    let mut kept = 0;
    for frontend in &mut plan.frontends {
        for reach in [&mut frontend.inside, &mut frontend.outside] {
            let Reach::Backends { set, .. } = reach else { continue };
            let Some(index) = new_index.get_mut(*set) else { continue };
            *set = *index.get_or_insert_with(|| {
                kept += 1;
                kept - 1
            });
        }
    }
    let mut numbered: Vec<(usize, BackendSet)> =
        plan.sets.drain(..).zip(new_index).filter_map(|(set, index)| Some((index?, set))).collect();
    numbered.sort_unstable_by_key(|(index, _)| *index);
    plan.sets = numbered.into_iter().map(|(_, set)| set).collect();
    plan.sets.shrink_to_fit();
}

/// The health check of a load balancer with policy Local: endpoints of this node that are ready, of
/// the family that has more of them. Terminating ones do not count (KEP-1669).
fn health_check(sources: Sources<'_>, node: &NodeView) -> Option<HealthCheck> {
    let service = sources.service;
    if service.kind != ServiceKind::LoadBalancer || service.external_policy != TrafficPolicy::Local {
        return None;
    }
    let port = service.health_check_node_port.filter(|port| *port != 0)?;
    let count = |ipv4: bool| {
        let mut ready = Vec::new();
        for wanted in (0..service.ports.len()).filter_map(|port| wanted(service, port, ipv4)) {
            let found = candidates(sources.slices.iter().copied(), wanted, node);
            ready.extend(found.iter().filter(|one| one.local && one.ready).map(|one| one.address));
        }
        ready.sort_unstable();
        ready.dedup();
        ready.len()
    };
    let families = service.cluster_ips.iter().map(|address| address.is_ipv4());
    let local_ready = families.map(count).max().unwrap_or(0);
    Some(HealthCheck { port, local_ready_endpoints: u32::try_from(local_ready).unwrap_or(u32::MAX) })
}
