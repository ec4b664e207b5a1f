//! Any interleaving of ADD, DEL, GC, faults, restarts and time: no address
//! twice, nothing forgotten, every request answered once ([`World::ask`] checks it).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;
use seaway_model::agent_api::Request;

use super::world::{World, cluster, key, pool, settings};
use super::{Input, Settings};

#[derive(Debug, Clone)]
enum Step {
    Add(u8),
    Delete(u8),
    Collect(Vec<u8>),
    CollectUnknown,
    Die(u8),
    Fail(&'static str),
    Restart,
    Time(u16),
    Audit,
    Api(bool),
    Snapshot,
}

fn step() -> impl Strategy<Value = Step> {
    let sandbox = 0..12u8;
    prop_oneof![
        6 => sandbox.clone().prop_map(Step::Add),
        4 => sandbox.clone().prop_map(Step::Delete),
        1 => prop::collection::vec(sandbox.clone(), 0..12).prop_map(Step::Collect),
        1 => Just(Step::CollectUnknown),
        1 => sandbox.prop_map(Step::Die),
        2 => prop_oneof![Just("attach_pod"), Just("detach_pod"), Just("apply"), Just("audit")].prop_map(Step::Fail),
        1 => Just(Step::Restart),
        2 => (0..400u16).prop_map(Step::Time),
        1 => Just(Step::Audit),
        1 => any::<bool>().prop_map(Step::Api),
        2 => Just(Step::Snapshot),
    ]
}

fn name(sandbox: u8) -> String {
    format!("s{sandbox}")
}

/// What a careful observer remembers.
#[derive(Default)]
struct Observer {
    held: BTreeMap<String, Vec<IpAddr>>,
    /// Addresses given back, and when.
    rested: BTreeMap<IpAddr, Duration>,
}

fn take(world: &mut World, observer: &mut Observer, step: &Step) {
    match step {
        Step::Add(sandbox) => {
            let name = name(*sandbox);
            if let Ok(added) = world.add(&name) {
                let addresses: Vec<IpAddr> = added.addresses.iter().map(|entry| entry.address.addr()).collect();
                for address in &addresses {
                    let rested =
                        observer.rested.get(address).is_none_or(|since| world.now >= *since + settings().cooldown);
                    assert!(rested, "{address} was given out again too soon");
                }
                assert!(observer.held.insert(name, addresses).is_none(), "ADD twice without DEL");
            }
        }
        Step::Delete(sandbox) => {
            // A failed DEL is one that the runtime repeats.
            let _ = world.delete(&name(*sandbox));
        }
        Step::Collect(valid) => {
            let valid = Some(valid.iter().map(|sandbox| key(&name(*sandbox))).collect());
            world.ask(Request::GarbageCollect { network: "seaway".into(), valid });
        }
        Step::CollectUnknown => {
            world.ask(Request::GarbageCollect { network: "seaway".into(), valid: None });
        }
        Step::Die(sandbox) => {
            world.dead.insert(key(&name(*sandbox)));
        }
        Step::Fail(step) => world.fail_next(step),
        Step::Restart => {
            world.restart();
            // Resting is memory; after a restart only what the kernel holds is known.
            observer.rested.clear();
        }
        Step::Time(seconds) => world.after(Duration::from_secs(u64::from(*seconds))),
        Step::Audit => world.send(Input::AuditDue),
        Step::Api(works) => world.api_works = *works,
        Step::Snapshot => world.follow_cluster(),
    }
}

fn compare(world: &World, observer: &mut Observer) {
    let kernel = world.datapath.state();
    let known: BTreeSet<_> = world.state.endpoints().map(|link| link.key.clone()).collect();
    let links: BTreeSet<_> = kernel.links.keys().cloned().collect();
    assert_eq!(known, links, "the agent knows exactly the links of the kernel");
    let leased: BTreeSet<_> = world.state.ipam.leases().map(|(key, _)| key.clone()).collect();
    assert_eq!(leased, links, "addresses are held for exactly the links of the kernel");
    let mut holders = BTreeMap::new();
    for link in kernel.links.values() {
        for address in &link.addresses {
            let other = holders.insert(*address, &link.key);
            assert!(other.is_none(), "{address} is held by {other:?} and {:?}", link.key);
        }
        let lease = world.state.ipam.lease(&link.key).unwrap();
        assert_eq!(lease.addresses, link.addresses);
    }
    observer.held.retain(|name, addresses| {
        let stays = kernel.links.contains_key(&key(name));
        if !stays {
            observer.rested.extend(addresses.iter().map(|address| (*address, world.now)));
        }
        stays
    });
}

proptest! {
    #[test]
    fn no_interleaving_gives_an_address_twice(steps in prop::collection::vec(step(), 1..60), small in any::<bool>()) {
        let mut snapshot = cluster();
        if small {
            // Two blocks of eight: exhaustion is part of the walk.
            snapshot.pools = [("v4".to_owned(), pool("v4", "10.244.0.0/28", 29))].into();
        }
        let mut world = World::with(Settings { ..settings() }, snapshot);
        let mut observer = Observer::default();
        world.follow_cluster();
        for step in &steps {
            take(&mut world, &mut observer, step);
            compare(&world, &mut observer);
        }
    }
}
