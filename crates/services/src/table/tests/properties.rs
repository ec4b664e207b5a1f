//! Whatever happens in whatever order: the table is what its last state means, and no place is
//! served twice.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use seaway_model::service::TrafficPolicy;

use super::*;

/// Something that happens in a cluster of four Services that fight for few addresses.
#[derive(Debug, Clone)]
enum Step {
    Change(ServiceChange),
    Node { zone: Option<&'static str>, addresses: Vec<&'static str> },
}

fn service_change() -> impl Strategy<Value = ServiceChange> {
    let addresses = || prop::sample::select(vec!["10.96.0.1", "10.96.0.2", "203.0.113.1", "192.0.2.1"]);
    let lists = (prop::collection::vec(addresses(), 0..3), prop::collection::vec(addresses(), 0..3));
    (0..4usize, addresses(), 0..3u8, lists, 0..3i64, 0..2u16, any::<[bool; 3]>()).prop_map(
        |(name, cluster_ip, kind, (external, ingress), age, node_port, [internal, outer, other_port])| {
            let name = ["a", "b", "c", "d"][name];
            let mut one = service(name, &[cluster_ip]).created_at(age).external(&external);
            one = match kind {
                0 => one,
                1 => one.node_port(30000 + node_port),
                _ => one.node_port(30000 + node_port).load_balancer(&ingress),
            };
            let policy = |local| if local { TrafficPolicy::Local } else { TrafficPolicy::Cluster };
            one = one.with(|one| {
                (one.internal_policy, one.external_policy) = (policy(internal), policy(outer));
                one.ports[0].port = if other_port { 81 } else { 80 };
            });
            one.set()
        },
    )
}

fn slice_change() -> impl Strategy<Value = ServiceChange> {
    let one = (1..6u8, 0..4u8, 0..3u8).prop_map(|(address, state, hint)| {
        let node = if address % 2 == 0 { "here" } else { "there" };
        let one = endpoint(&format!("10.0.0.{address}"), node);
        let one = match state {
            0 => one.not_ready(),
            1 => one.terminating(),
            2 => one.dead(),
            _ => one,
        };
        match hint {
            0 => one.for_zones(&["west"]),
            1 => one.for_zones(&["east"]),
            _ => one,
        }
    });
    (0..5usize, 0..4usize, prop::collection::vec(one, 0..5)).prop_map(|(name, owner, endpoints)| {
        slice(["p", "q", "r", "s", "t"][name], ["a", "b", "c", "d"][owner], endpoints)
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => service_change().prop_map(Step::Change),
        6 => slice_change().prop_map(Step::Change),
        2 => (0..4usize).prop_map(|name| Step::Change(delete(["a", "b", "c", "d"][name]))),
        1 => (0..5usize).prop_map(|name| Step::Change(delete_slice(["p", "q", "r", "s", "t"][name]))),
        1 => (0..3usize, any::<bool>()).prop_map(|(zone, node)| Step::Node {
            zone: [None, Some("west"), Some("east")][zone],
            addresses: if node { vec!["192.0.2.1", "203.0.113.1"] } else { Vec::new() },
        }),
    ]
}

fn view(zone: Option<&str>, addresses: &[&str]) -> NodeView {
    NodeView {
        zone: zone.map(Into::into),
        cluster_node_addresses: addresses.iter().map(|address| ip(address)).collect(),
        ..here()
    }
}

/// What a data path holds after carrying out batches: the plans by Service.
type Kernel = BTreeMap<ServiceRef, Arc<ServicePlan>>;

fn carry_out(kernel: &mut Kernel, changes: Vec<PlanChange>) -> Result<(), TestCaseError> {
    for change in changes {
        match change {
            PlanChange::Set(plan) => {
                let before = kernel.insert(plan.service.clone(), Arc::clone(&plan));
                prop_assert!(before.as_ref() != Some(&plan), "an unchanged plan was told: {plan:?}");
            }
            PlanChange::Remove(service) => prop_assert!(kernel.remove(&service).is_some(), "{service} was not there"),
        }
    }
    let mut places = BTreeSet::new();
    for plan in kernel.values() {
        for frontend in &plan.frontends {
            prop_assert!(places.insert((frontend.at, frontend.protocol, frontend.port)), "served twice: {frontend:?}");
            for reach in [frontend.inside, frontend.outside] {
                let crate::plan::Reach::Backends { .. } = reach else { continue };
                let backends = plan.backends(reach);
                prop_assert!(!backends.is_empty(), "a set is never empty: {plan:?}");
                let sorted =
                    backends.windows(2).all(|pair| (pair[0].address, pair[0].port) < (pair[1].address, pair[1].port));
                prop_assert!(sorted, "{backends:?}");
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn incremental_is_from_scratch(batches in prop::collection::vec(prop::collection::vec(step(), 1..5), 1..12)) {
        let mut table = ServiceTable::new(here(), Options::default());
        table.apply(&[ServiceChange::Synced]);
        let mut kernel = Kernel::new();
        let mut objects: BTreeMap<String, ServiceChange> = BTreeMap::new();
        let mut node = here();
        for batch in batches {
            let mut changes = Vec::new();
            for step in batch {
                match step {
                    Step::Change(change) => changes.push(change),
                    Step::Node { zone, addresses } => {
                        node = view(zone, &addresses);
                        carry_out(&mut kernel, table.set_node(node.clone()))?;
                    }
                }
            }
            for change in &changes {
                let key = match change {
                    ServiceChange::Service { of, .. } => format!("service {of}"),
                    ServiceChange::Slice { of, .. } => format!("slice {of}"),
                    ServiceChange::Synced => continue,
                };
                objects.insert(key, change.clone());
            }
            carry_out(&mut kernel, table.apply(&changes))?;
        }
        let mut fresh = ServiceTable::new(node, Options::default());
        let all: Vec<ServiceChange> = objects.into_values().chain([ServiceChange::Synced]).collect();
        let mut wanted = Kernel::new();
        carry_out(&mut wanted, fresh.apply(&all))?;
        prop_assert_eq!(&kernel, &wanted);
        let sorted = |table: &ServiceTable| {
            let mut all: Vec<ServiceProblem> = table.problems().cloned().collect();
            all.sort();
            all
        };
        prop_assert_eq!(sorted(&table), sorted(&fresh));
        for (name, _) in fresh.services() {
            prop_assert_eq!(table.explain(name), fresh.explain(name));
        }
    }
}
