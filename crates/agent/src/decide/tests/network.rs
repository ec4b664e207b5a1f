//! Snapshots, plans, audits, and blocks taken and given back.

use std::time::Duration;

use seaway_model::agent_api::Failure;
use seaway_model::{IpBlock, NodeName};

use super::super::world::{World, cluster, pool, settings};
use super::super::*;

// --- plan, apply, audit ---

#[test]
fn the_same_plan_is_applied_once() {
    let mut world = World::running();
    let before = world.datapath.state().applied;
    world.pod_exists("a");
    world.follow_cluster();
    assert_eq!(world.datapath.state().applied, before, "a pod changes no route");
    assert_eq!(world.state.node_status(world.now).applied_generation, world.snapshot.generation);
}

#[test]
fn a_failed_apply_is_reported_and_repaired() {
    let mut world = World::running();
    let cidr = "10.244.255.0/26".parse().unwrap();
    world.snapshot.blocks.insert(cidr, IpBlock { cidr, pool: "v4".into(), node: NodeName::from("n2") });
    world.changed();
    world.fail_next("apply");
    world.follow_cluster();
    let failure = world.status().unwrap_err();
    assert_eq!((failure.id.as_str(), failure.cni_code), ("SW0329", 51), "attached pods suffer too");
    world.send(Input::AuditDue);
    world.status().unwrap();
    assert!(world.state.node_status(world.now).problems.is_empty());
    assert_eq!(world.state.node_status(world.now).remote_nodes, 1);
}

#[test]
fn an_audit_says_what_it_repaired() {
    let mut world = World::running();
    let difference = Difference { what: "route 10.244.1.0/26 was missing".into(), cause: "node n2".into() };
    world.datapath.state().differences.push(difference);
    let Answer::Audited { differences } = world.ask(Request::Audit) else { panic!() };
    assert_eq!(differences, ["route 10.244.1.0/26 was missing (node n2)"]);
    assert_eq!(world.ask(Request::Audit), Answer::Audited { differences: Vec::new() });
}

#[test]
fn a_node_that_moves_is_looked_at_anew() {
    let mut world = World::running();
    let looks = |world: &World| world.count(|action| matches!(action, Action::FindUnderlay { .. }));
    let before = looks(&world);
    world.changed();
    world.follow_cluster();
    assert_eq!(looks(&world), before);
    let node = world.snapshot.nodes.get_mut(&NodeName::from(super::super::world::NODE)).unwrap();
    node.addresses = vec!["192.0.2.99".parse().unwrap()];
    world.changed();
    world.follow_cluster();
    assert_eq!(looks(&world), before + 1);
    let plan = world.datapath.state().plan.clone().unwrap();
    assert_eq!(plan.tunnel.unwrap().local.to_string(), "192.0.2.99");
}

#[test]
fn a_narrow_way_to_a_peer_is_found_and_forgotten() {
    let mut world = World::running();
    let cidr = "10.244.255.0/26".parse().unwrap();
    world.snapshot.blocks.insert(cidr, IpBlock { cidr, pool: "v4".into(), node: NodeName::from("n2") });
    world.changed();
    world.follow_cluster();
    let mtu_bytes = |world: &World| world.datapath.state().plan.clone().unwrap().routes[0].mtu_bytes;
    let before = mtu_bytes(&world);
    let peer = world.datapath.state().plan.clone().unwrap().trusted_tunnel_peers[0];
    world.path_mtus_bytes.insert(peer, 1300);
    world.path_mtus_bytes.insert("198.51.100.1".parse().unwrap(), 1200);
    let applied = world.datapath.state().applied;
    world.after(Duration::from_secs(1));
    assert_eq!(mtu_bytes(&world), 1250);
    world.after(Duration::from_secs(1));
    assert_eq!(world.datapath.state().applied, applied + 1, "what stays the same is not applied again");
    // An audit looks at the device anew, not at the way.
    world.send(Input::AuditDue);
    assert_eq!(mtu_bytes(&world), 1250);
    world.path_mtus_bytes.clear();
    world.after(Duration::from_secs(1));
    assert_eq!(mtu_bytes(&world), before);
}

#[test]
fn a_host_without_the_address_is_not_ready() {
    let mut world = World::starting();
    world.state.snapshot = Some(std::sync::Arc::new(cluster()));
    let failure = Failure { id: "SW0307".into(), message: "no device".into(), fix: "fix".into(), cni_code: 100 };
    world.send(Input::Underlay(Err(failure)));
    let failure = world.status().unwrap_err();
    assert_eq!((failure.id.as_str(), failure.cni_code), ("SW0307", 50));
}

// --- blocks ---

#[test]
fn a_claim_that_failed_is_tried_again_ever_later() {
    let mut world = World::starting();
    world.api_works = false;
    world.follow_cluster();
    let claims = |world: &World| world.count(|action| matches!(action, Action::ClaimBlock { .. }));
    let first = claims(&world);
    assert_eq!(first, 2, "one for each pool");
    world.after(Duration::from_millis(500));
    assert_eq!(claims(&world), first);
    world.after(Duration::from_millis(600));
    assert_eq!(claims(&world), first + 2);
    world.after(Duration::from_millis(1100));
    assert_eq!(claims(&world), first + 2, "the second pause is longer");
    assert!(world.state.node_status(world.now).warnings.iter().any(|line| line.starts_with("SW0402")));
}

#[test]
fn a_block_taken_by_another_node_is_left_to_it() {
    let mut world = World::starting();
    // Everything but one block is taken, and no snapshot says so yet.
    let all: Vec<ipnet::IpNet> =
        "10.244.0.0/22".parse::<ipnet::Ipv4Net>().unwrap().subnets(26).unwrap().map(Into::into).collect();
    world.snapshot.pools = [("v4".to_owned(), pool("v4", "10.244.0.0/22", 26))].into();
    let last = all[11];
    world.hidden_blocks = all.into_iter().filter(|block| *block != last).collect();
    world.follow_cluster();
    world.after(Duration::from_secs(1));
    assert_eq!(world.snapshot.blocks.keys().copied().collect::<Vec<_>>(), [last]);
    world.add("a").unwrap();
}

#[test]
fn a_block_lost_to_another_node_is_not_fought_over() {
    let mut world = World::running();
    world.add("a").unwrap();
    for block in world.snapshot.blocks.values_mut() {
        block.node = NodeName::from("n2");
    }
    world.changed();
    world.follow_cluster();
    assert!(world.state.node_status(world.now).warnings.iter().any(|line| line.starts_with("SW0235")));
    let claims = |world: &World| world.count(|action| matches!(action, Action::ClaimBlock { .. }));
    let before = claims(&world);
    for _ in 0..60 {
        world.after(Duration::from_secs(1));
    }
    assert!(claims(&world) - before < 20, "{} claims in a minute", claims(&world) - before);
    world.add("b").unwrap();
}

#[test]
fn blocks_are_claimed_ahead_and_given_back_when_idle() {
    let mut world = World::running();
    let own = |world: &World| world.snapshot.blocks.len();
    let at_first = own(&world);
    for number in 0..50 {
        world.add(&format!("p{number}")).unwrap();
    }
    world.follow_cluster();
    assert!(own(&world) > at_first, "more than half is used");
    for number in 0..50 {
        world.delete(&format!("p{number}")).unwrap();
    }
    world.after(Duration::from_secs(31));
    world.follow_cluster();
    for _ in 0..4 {
        world.after(Duration::from_secs(301));
        world.follow_cluster();
    }
    assert_eq!(own(&world), at_first);
    world.add("again").unwrap();
}

#[test]
fn node_pod_cidrs_need_no_claims() {
    let mut snapshot = cluster();
    snapshot.pools.clear();
    for (number, node) in snapshot.nodes.values_mut().enumerate() {
        node.pod_cidrs = vec![format!("10.1.{number}.0/24").parse().unwrap()];
    }
    let mut world = World::with(Settings { node_pod_cidrs: Some(NodePodCidrs::default()), ..settings() }, snapshot);
    world.follow_cluster();
    let added = world.add("a").unwrap();
    assert!(added.addresses[0].address.to_string().starts_with("10.1.0."), "{added:?}");
    assert_eq!(world.count(|action| matches!(action, Action::ClaimBlock { .. } | Action::Record(_))), 0);
    assert_eq!(world.state.node_status(world.now).remote_nodes, 1);
}
