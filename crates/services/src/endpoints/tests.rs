//! The choice of endpoints against kube-proxy's own rules, written down once more in its words
//! (`CategorizeEndpoints` of Kubernetes 1.36).

use proptest::prelude::*;

use super::*;
use crate::fixtures::{endpoint, here};

/// One endpoint as kube-proxy sees it.
#[derive(Debug, Clone)]
struct Seen {
    number: u8,
    ready: bool,
    serving: bool,
    terminating: bool,
    local: bool,
    zones: Vec<&'static str>,
    nodes: Vec<&'static str>,
}

fn seen() -> impl Strategy<Value = Seen> {
    let zones = prop::sample::subsequence(vec!["west", "east"], 0..=2);
    let nodes = prop::sample::subsequence(vec!["here", "there"], 0..=2);
    (any::<[bool; 4]>(), zones, nodes, 0..4u8).prop_map(
        |([ready, serving, terminating, local], zones, nodes, spare)| {
            // Lists where every endpoint has a hint are the interesting ones.
            let nodes = if spare == 0 { nodes } else { Vec::new() };
            let zones = if zones.is_empty() && spare > 1 { vec!["east"] } else { zones };
            Seen { number: 0, ready, serving, terminating, local, zones, nodes }
        },
    )
}

fn to_endpoint(seen: &Seen) -> Endpoint {
    let node = if seen.local { "here" } else { "there" };
    Endpoint {
        ready: seen.ready,
        serving: seen.serving,
        terminating: seen.terminating,
        zone_hints: seen.zones.iter().map(|zone| (*zone).into()).collect(),
        node_hints: seen.nodes.iter().map(|node| NodeName::from(*node)).collect(),
        ..endpoint(&format!("10.0.0.{}", seen.number), node)
    }
}

/// `topologyModeFromHints`.
fn topology_mode(all: &[Seen]) -> &'static str {
    let ready: Vec<&Seen> = all.iter().filter(|one| one.ready).collect();
    if ready.is_empty() {
        return "";
    }
    let all_have_nodes = ready.iter().all(|one| !one.nodes.is_empty());
    if all_have_nodes && ready.iter().any(|one| one.nodes.contains(&"here")) {
        return "PreferSameNode";
    }
    let all_have_zones = ready.iter().all(|one| !one.zones.is_empty());
    if all_have_zones && ready.iter().any(|one| one.zones.contains(&"west")) {
        return "PreferSameZone";
    }
    ""
}

/// `CategorizeEndpoints`: cluster endpoints, local endpoints, whether there are any.
fn categorize(all: &[Seen]) -> (Vec<u8>, Vec<u8>, bool) {
    let mode = topology_mode(all);
    let available = |one: &Seen| match mode {
        "PreferSameNode" => one.nodes.contains(&"here"),
        "PreferSameZone" => one.zones.contains(&"west"),
        _ => true,
    };
    let numbers = |wanted: &dyn Fn(&Seen) -> bool| -> Vec<u8> {
        all.iter().filter(|one| wanted(one)).map(|one| one.number).collect()
    };
    let mut cluster = numbers(&|one| one.ready && available(one));
    if cluster.is_empty() {
        cluster = numbers(&|one| one.serving && one.terminating);
    }
    let local_ready = numbers(&|one| one.local && one.ready);
    let local =
        if local_ready.is_empty() { numbers(&|one| one.local && one.serving && one.terminating) } else { local_ready };
    let any = all.iter().any(|one| one.ready || (one.serving && one.terminating));
    (cluster, local, any)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn the_choice_is_that_of_kube_proxy(mut all in prop::collection::vec(seen(), 0..5)) {
        for (number, one) in (1u8..).zip(&mut all) {
            one.number = number;
        }
        let endpoints: Vec<Endpoint> = all.iter().map(to_endpoint).collect();
        let wanted = Wanted { port_name: "", protocol: Protocol::Tcp, ipv4: true, publish_not_ready: false };
        let node = here();
        let candidates: Vec<Candidate<'_>> =
            endpoints.iter().filter_map(|one| candidate(one, 80, wanted, &node)).collect();
        let choice = Choice::new(&candidates, &node);
        let used = |fate: &dyn Fn(&Candidate<'_>) -> Fate| -> Vec<u8> {
            let used = candidates.iter().zip(&all).filter(|(one, _)| fate(one).is_used());
            used.map(|(_, seen)| seen.number).collect()
        };
        let ours = (used(&|one| choice.cluster(one)), used(&|one| choice.local(one)), choice.any);
        prop_assert_eq!(ours, categorize(&all));
    }
}
