//! One table of behaviour per verb and event, against the fake data path.

mod drops;
mod network;

use std::time::Duration;

use seaway_model::Snapshot;
use seaway_model::agent_api::{Answer, CheckAttachment, Failure, Request};

use super::world::{World, attachment, cluster, key, pool, settings};
use super::*;

fn ids(failures: &[Result<(), Failure>]) -> Vec<String> {
    failures.iter().filter_map(|outcome| outcome.as_ref().err()).map(|failure| failure.id.clone()).collect()
}

// --- start ---

#[test]
fn nothing_is_added_before_the_first_plan() {
    let mut world = World::starting();
    let failure = world.add("a").unwrap_err();
    assert_eq!((failure.id.as_str(), failure.cni_code), ("SW0600", 11));
    assert_eq!(world.status().unwrap_err().cni_code, 50);
    assert!(world.datapath.state().links.is_empty());
}

#[test]
fn the_node_becomes_ready_last_and_once() {
    let mut world = World::running();
    let place = |wanted: fn(&Action) -> bool| world.actions.iter().position(wanted).unwrap();
    let applied = place(|action| matches!(action, Action::Apply { .. }));
    let claimed = place(|action| matches!(action, Action::ClaimBlock { .. }));
    let ready = place(|action| matches!(action, Action::BecomeReady));
    assert!(applied < ready && claimed < ready, "{:?}", world.actions);
    world.changed();
    world.follow_cluster();
    world.after(Duration::from_secs(60));
    assert_eq!(world.count(|action| matches!(action, Action::BecomeReady)), 1);
    assert!(world.state.blocking_problems(world.now).is_empty());
}

#[test]
fn a_configuration_that_cannot_be_written_is_tried_again() {
    let mut world = World::starting();
    world.disk_works = false;
    world.follow_cluster();
    assert!(!world.state.blocking_problems(world.now).is_empty());
    world.disk_works = true;
    world.after(Duration::from_secs(1));
    assert_eq!(world.count(|action| matches!(action, Action::BecomeReady)), 1, "not at once");
    world.after(Duration::from_secs(5));
    assert!(world.state.blocking_problems(world.now).is_empty());
}

#[test]
fn a_pod_without_a_block_waits_for_the_api_server() {
    let mut world = World::starting();
    world.api_works = false;
    world.follow_cluster();
    let failure = world.add("a").unwrap_err();
    assert_eq!((failure.id.as_str(), failure.cni_code), ("SW0226", 11));
    assert_eq!(world.count(|action| matches!(action, Action::BecomeReady)), 0);
    world.api_works = true;
    world.after(Duration::from_secs(2));
    world.add("a").unwrap();
}

// --- ADD, DEL ---

#[test]
fn a_pod_gets_one_address_of_each_family() {
    let mut world = World::running();
    let added = world.add("a").unwrap();
    let [v4, v6] = added.addresses.as_slice() else { panic!("{added:?}") };
    assert!(v4.address.to_string().starts_with("10.244.") && v4.address.prefix_len() == 32);
    assert!(v6.address.to_string().starts_with("fd00:10:244:") && v6.address.prefix_len() == 128);
    assert_eq!(v4.gateway.to_string(), "169.254.1.1");
    assert_eq!(v6.gateway.to_string(), "fe80::1");
    assert_eq!(added.mtu_bytes, 1450, "1500 less VXLAN over IPv4");
    let recorded = world.records.values().flatten().filter(|allocation| allocation.key == key("a")).count();
    assert_eq!(recorded, 2);
}

#[test]
fn a_repeated_add_is_refused_and_changes_nothing() {
    let mut world = World::running();
    let first = world.add("a").unwrap();
    let failure = world.add("a").unwrap_err();
    assert_eq!(failure.id, "SW0301", "the interface exists");
    assert!(failure.cni_code >= 100);
    let held = world.state.ipam.lease(&key("a")).unwrap().addresses.clone();
    assert_eq!(held, first.addresses.iter().map(|entry| entry.address.addr()).collect::<Vec<_>>());
    assert_eq!(world.datapath.state().links.len(), 1);
    assert_ne!(world.add("b").unwrap().addresses, first.addresses);
}

#[test]
fn a_failed_add_leaves_nothing() {
    let mut world = World::running();
    world.fail_next("attach_pod");
    assert_eq!(world.add("a").unwrap_err().id, "SW0329");
    assert!(world.state.ipam.lease(&key("a")).is_none());
    assert_eq!(world.state.endpoints().count(), 0);
    world.add("a").unwrap();
}

#[test]
fn an_add_without_a_namespace_is_refused() {
    let mut world = World::running();
    world.send(Input::Request { id: 99, request: Request::Add(attachment("a")), with_namespace: false });
    let (_, Answer::Failed(failure)) = world.answers.last().unwrap() else { panic!() };
    assert_eq!(failure.id, "SW0604");
    assert!(world.state.ipam.lease(&key("a")).is_none());
}

#[test]
fn requested_addresses_and_mac_are_given_or_refused() {
    let mut world = World::running();
    let any = world.add("a").unwrap();
    let taken = any.addresses[0].address.addr();
    let block = *world.snapshot.blocks.keys().find(|block| block.contains(&taken)).unwrap();
    let free = block.hosts().filter(|address| *address != taken).nth(20).unwrap();
    let mut wished = attachment("b");
    wished.requested_addresses = vec![free];
    wished.requested_mac = Some("02:00:00:00:00:09".parse().unwrap());
    let Answer::Added(added) = world.ask(Request::Add(wished.clone())) else { panic!() };
    assert_eq!(added.addresses[0].address.addr(), free);
    assert_eq!(added.mac.to_string(), "02:00:00:00:00:09");
    wished.key = key("c");
    let Answer::Failed(failure) = world.ask(Request::Add(wished)) else { panic!() };
    assert_eq!(failure.id, "SW0229");
}

#[test]
fn delete_can_be_repeated_and_addresses_rest() {
    let mut world = World::running();
    let first = world.add("a").unwrap().addresses;
    for _ in 0..3 {
        world.delete("a").unwrap();
    }
    world.delete("never-there").unwrap();
    let mut seen = Vec::new();
    for number in 0..40 {
        seen.push(world.add(&format!("b{number}")).unwrap().addresses);
    }
    assert!(!seen.contains(&first), "an address is not reused while it rests");
}

#[test]
fn a_delete_that_failed_keeps_the_address() {
    let mut world = World::running();
    world.add("a").unwrap();
    world.fail_next("detach_pod");
    assert_eq!(world.delete("a").unwrap_err().id, "SW0329");
    assert!(world.state.ipam.lease(&key("a")).is_some(), "the kernel may still hold the link");
    world.delete("a").unwrap();
    assert!(world.state.ipam.lease(&key("a")).is_none());
}

// --- restarts ---

#[test]
fn a_restarted_agent_takes_up_what_the_kernel_holds() {
    let mut world = World::running();
    let first = world.add("a").unwrap();
    world.restart();
    assert_eq!(world.state.endpoints().count(), 1);
    for number in 0..30 {
        assert_ne!(world.add(&format!("b{number}")).unwrap().addresses, first.addresses);
    }
    let expected_addresses = first.addresses.iter().map(|entry| entry.address).collect();
    let check = CheckAttachment { attachment: attachment("a"), expected_addresses };
    assert_eq!(world.ask(Request::Check(check)), Answer::Done);
    world.delete("a").unwrap();
}

#[test]
fn an_answer_that_was_never_given_is_undone_by_delete() {
    let mut world = World::running();
    // The agent dies after the kernel did its part and before anybody heard of it.
    let actions = world
        .state
        .decide(Input::Request { id: 7, request: Request::Add(attachment("a")), with_namespace: true }, world.now);
    let link = actions.iter().find_map(|action| match action {
        Action::Attach { link, .. } => Some(link.clone()),
        _ => None,
    });
    let namespace = std::fs::File::open("/dev/null").unwrap();
    let mut kernel = world.datapath.clone();
    seaway_datapath::Datapath::attach_pod(&mut kernel, std::os::fd::AsFd::as_fd(&namespace), &link.unwrap()).unwrap();
    world.restart();
    assert!(world.state.ipam.lease(&key("a")).is_some());
    world.delete("a").unwrap();
    assert!(world.datapath.state().links.is_empty());
}

// --- exhaustion ---

fn tiny() -> Snapshot {
    let mut snapshot = cluster();
    // One block of four addresses: the first is the node's, the last is not used.
    snapshot.pools = [("v4".to_owned(), pool("v4", "10.244.0.0/30", 30))].into();
    snapshot
}

#[test]
fn a_full_pool_says_try_again_and_tells_people_once() {
    let mut world = World::with(settings(), tiny());
    world.follow_cluster();
    world.add("a").unwrap();
    world.add("b").unwrap();
    for _ in 0..3 {
        let failure = world.add("c").unwrap_err();
        assert_eq!((failure.id.as_str(), failure.cni_code), ("SW0227", 11));
    }
    let about_pods: Vec<_> = world.announcements.iter().filter(|told| told.pod.is_some()).collect();
    assert_eq!(about_pods.len(), 1, "{:?}", world.announcements);
    assert!(about_pods[0].note.starts_with("SW0227"));
    let warnings = world.announcements.iter().filter(|told| told.reason == "AddressPoolNearlyExhausted");
    assert_eq!(warnings.count(), 1, "before pods fail");
    assert_eq!(world.status().unwrap_err().cni_code, 50);
    world.delete("a").unwrap();
    world.after(Duration::from_secs(31));
    world.status().unwrap();
    world.add("c").unwrap();
}

#[test]
fn a_node_without_a_pool_is_told_so() {
    let mut snapshot = cluster();
    snapshot.pools.clear();
    let mut world = World::with(settings(), snapshot);
    world.follow_cluster();
    let failure = world.add("a").unwrap_err();
    assert_eq!((failure.id.as_str(), failure.cni_code), ("SW0225", 225));
    assert_eq!(world.count(|action| matches!(action, Action::BecomeReady)), 0);
    assert!(world.state.node_status(world.now).problems.iter().any(|line| line.starts_with("SW0225")));
}

// --- CHECK ---

#[test]
fn check_tells_what_differs() {
    let mut world = World::running();
    let added = world.add("a").unwrap();
    let own: Vec<_> = added.addresses.iter().map(|entry| entry.address).collect();
    let mut more = own.clone();
    more.push("198.51.100.7/24".parse().unwrap());
    let mut check = |name: &str, expected: &[ipnet::IpNet]| {
        let expected_addresses = expected.to_vec();
        match world.ask(Request::Check(CheckAttachment { attachment: attachment(name), expected_addresses })) {
            Answer::Done => Ok(()),
            Answer::Failed(failure) => Err(failure),
            other => panic!("{other:?}"),
        }
    };
    check("a", &own).unwrap();
    check("a", &more).unwrap();
    assert_eq!(ids(&[check("a", &own[..1]), check("b", &own)]), ["SW0606", "SW0605"]);
    world.datapath.state().links.clear();
    let expected_addresses = own;
    let check = CheckAttachment { attachment: attachment("a"), expected_addresses };
    let Answer::Failed(failure) = world.ask(Request::Check(check)) else { panic!() };
    assert_eq!(failure.id, "SW0304");
}

// --- GC and leaks ---

#[test]
fn garbage_is_collected_in_one_network_only() {
    let mut world = World::running();
    for name in ["a", "b"] {
        world.add(name).unwrap();
    }
    let mut other = attachment("c");
    other.network = "second".into();
    world.ask(Request::Add(other));
    let valid = Some(vec![key("a")]);
    assert_eq!(world.ask(Request::GarbageCollect { network: "seaway".into(), valid }), Answer::Done);
    let left: Vec<_> = world.datapath.state().links.keys().cloned().collect();
    assert_eq!(left, [key("a"), key("c")]);
    let valid = Some(Vec::new());
    world.ask(Request::GarbageCollect { network: "seaway".into(), valid });
    let left: Vec<_> = world.datapath.state().links.keys().cloned().collect();
    assert_eq!(left, [key("c")]);
}

#[test]
fn an_absent_list_collects_only_the_dead() {
    let mut world = World::running();
    for name in ["a", "b"] {
        world.add(name).unwrap();
    }
    world.dead.insert(key("b"));
    let request = Request::GarbageCollect { network: "seaway".into(), valid: None };
    assert_eq!(world.ask(request.clone()), Answer::Done);
    assert_eq!(world.datapath.state().links.keys().cloned().collect::<Vec<_>>(), [key("a")]);
    assert_eq!(world.ask(request), Answer::Done, "and again with nothing to do");
}

#[test]
fn garbage_that_cannot_be_removed_does_not_stop_the_rest() {
    let mut world = World::running();
    for name in ["a", "b", "c"] {
        world.add(name).unwrap();
    }
    world.fail_next("detach_pod");
    let valid = Some(Vec::new());
    let Answer::Failed(failure) = world.ask(Request::GarbageCollect { network: "seaway".into(), valid }) else {
        panic!()
    };
    assert_eq!(failure.id, "SW0329");
    assert_eq!(world.datapath.state().links.len(), 1);
    assert_eq!(world.state.endpoints().count(), 1);
}

#[test]
fn a_leak_is_a_pod_that_is_gone_and_a_link_that_is_dead() {
    let mut world = World::running();
    for name in ["alive-gone", "dead-known", "dead-gone", "dead-replaced"] {
        world.add(name).unwrap();
    }
    world.pod_exists("dead-known");
    world.pod_exists("dead-replaced");
    let replaced = world.snapshot.pods.get_mut(&super::world::pod("dead-replaced")).unwrap();
    replaced.uid = "another".into();
    world.follow_cluster();
    world.dead = [key("dead-known"), key("dead-gone"), key("dead-replaced")].into();
    world.after(Duration::from_secs(31));
    let left: Vec<_> = world.state.endpoints().map(|link| link.key.container_id.to_string()).collect();
    assert_eq!(left, ["alive-gone", "dead-known"]);
}
