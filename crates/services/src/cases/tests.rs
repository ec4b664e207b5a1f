//! Cases are worth trying: they differ, repeat, reach every outcome, and shrink.

use std::collections::BTreeSet;

use super::*;
use crate::fixtures::ip;
use crate::reference::Outcome;

fn ground() -> Ground {
    let all = |texts: &[&str]| texts.iter().map(|text| ip(text)).collect::<Vec<IpAddr>>();
    let backend = |text: &str, node: &str| (ip(text), NodeName::from(node));
    Ground {
        node: NodeName::from("here"),
        facts: NodeFacts {
            node_port_addresses: all(&["192.0.2.1", "2001:db8::1"]),
            node_port_on_loopback: false,
            service_cidrs: vec!["10.96.0.0/16".parse().unwrap(), "fd00:96::/112".parse().unwrap()],
        },
        node_addresses: all(&["192.0.2.1", "192.0.2.2", "2001:db8::1"]),
        backends: vec![
            backend("10.0.0.1", "here"),
            backend("10.0.0.2", "here"),
            backend("10.0.1.1", "there"),
            backend("fd00::1", "here"),
            backend("fd00:1::1", "there"),
        ],
        backend_ports: vec![8080, 8081],
        cluster_ips: all(&["10.96.0.1", "10.96.0.2", "10.96.0.3", "fd00:96::1", "fd00:96::2"]),
        virtual_addresses: all(&["203.0.113.1", "203.0.113.2", "2001:db8:1::1"]),
        inside_clients: all(&["10.0.0.9", "fd00::9"]),
        outside_clients: all(&["198.51.100.1", "198.51.100.2", "2001:db8:2::1"]),
        protocols: vec![Protocol::Tcp, Protocol::Udp],
    }
}

#[test]
fn every_outcome_comes_up_and_every_seed_repeats() {
    let ground = ground();
    let mut outcomes = BTreeSet::new();
    for seed in 0..300 {
        let case = Case::random(seed, &ground);
        assert_eq!(case, Case::random(seed, &ground));
        for trace in case.expected() {
            let word = match trace.outcome {
                Outcome::Backends { hide_client, .. } => format!("backends, client hidden: {hide_client}"),
                other => format!("{other:?}"),
            };
            outcomes.insert(word);
        }
    }
    let expected = [
        "DropNoLocalEndpoints",
        "DropOutsideSourceRanges",
        "DropUnassignedAddress",
        "RejectNoEndpoints",
        "RejectNoSuchPort",
        "Untouched",
        "backends, client hidden: false",
        "backends, client hidden: true",
    ];
    assert_eq!(outcomes.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

#[test]
fn batches_end_where_everything_at_once_does() {
    for seed in 0..300 {
        let mut case = Case::random(seed, &ground());
        let plans = case.plans();
        let mut kernel = std::collections::BTreeMap::new();
        for change in case.changes().into_iter().flatten() {
            match change {
                PlanChange::Set(plan) => drop(kernel.insert(plan.service.clone(), plan)),
                PlanChange::Remove(service) => drop(kernel.remove(&service)),
            }
        }
        assert_eq!(kernel.into_values().collect::<Vec<_>>(), plans, "seed {seed}");
        case.batches = vec![case.batches.concat()];
        assert_eq!(case.plans(), plans, "seed {seed}");
    }
}

#[test]
fn a_failing_case_shrinks_to_what_fails() {
    let ground = ground();
    let fails =
        |case: &Case| case.expected().iter().any(|trace| matches!(trace.outcome, Outcome::DropNoLocalEndpoints));
    let seed = (0..).find(|seed| fails(&Case::random(*seed, &ground))).unwrap();
    let small = Case::random(seed, &ground).shrink(fails);
    assert!(fails(&small));
    let changes = small.batches.concat();
    assert_eq!((small.attempts.len(), changes.len()), (1, 3), "a Service, a slice, the end: {changes:?}");
    let kept = serde_json::to_string(&small).unwrap();
    assert_eq!(serde_json::from_str::<Case>(&kept).unwrap(), small);
}
