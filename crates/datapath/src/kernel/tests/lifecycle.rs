//! Agents come and go; the network stays. Seaway goes; nothing of it stays.

use seaway_model::Encapsulation;

use super::traffic::exchange;
use super::world::{BACKENDS, World};
use crate::Datapath as _;
use crate::support::Backend;

#[test]
fn a_new_agent_adopts_what_it_finds_and_changes_nothing() {
    for backend in BACKENDS {
        let mut world = World::new(backend, Encapsulation::Vxlan);
        let (one, two) = (world.a.pod(11), world.b.pod(12));
        let adopted = world.a.restart();
        assert_eq!(adopted.as_slice(), std::slice::from_ref(&one.link), "{backend}");
        assert_eq!(world.a.apply().unwrap(), Vec::<String>::new(), "{backend}");
        assert_eq!(world.a.audit(), []);
        exchange(&one.namespace, &two.namespace, two.v4()).unwrap();
        // What came meanwhile is connected, what went meanwhile is cleared.
        let three = world.a.pod(13);
        exchange(&three.namespace, &two.namespace, two.v6()).unwrap();
        world.a.detach(&one.wanted.key).unwrap();
        assert_eq!(world.a.audit(), []);
    }
}

#[test]
fn packets_flow_while_no_agent_lives() {
    for backend in BACKENDS {
        let mut world = World::new(backend, Encapsulation::Vxlan);
        let (one, two) = (world.a.pod(11), world.b.pod(12));
        world.a.kill();
        exchange(&one.namespace, &two.namespace, two.v4()).unwrap();
        exchange(&two.namespace, &one.namespace, one.v6()).unwrap();
        world.a.restart();
        assert_eq!(world.a.apply().unwrap(), Vec::<String>::new());
    }
}

#[test]
fn pods_stay_connected_when_the_backend_changes() {
    for (before, after) in [(Backend::Ebpf, Backend::Nftables), (Backend::Nftables, Backend::Ebpf)] {
        let mut world = World::new(before, Encapsulation::Vxlan);
        let (one, two) = (world.a.pod(11), world.b.pod(12));
        world.a.backend = after;
        assert_eq!(world.a.restart().as_slice(), std::slice::from_ref(&one.link));
        world.a.apply().unwrap();
        assert_eq!(world.a.audit(), [], "{before} to {after}");
        exchange(&one.namespace, &two.namespace, two.v4()).unwrap();
        exchange(&two.namespace, &one.namespace, one.v6()).unwrap();
        let counted = world.a.counters().endpoints[&one.link.endpoint_id];
        let fast = counted.sent_fast.bytes + counted.received_fast.bytes;
        assert_eq!(fast > 0, after == Backend::Ebpf, "{counted:?}");
    }
}

#[test]
fn this_kernel_is_probed_without_a_trace() {
    let world = World::new(Backend::Nftables, Encapsulation::Vxlan);
    let before = world.a.observe();
    let support = world.a.with(|_| crate::probe());
    for backend in BACKENDS {
        assert_eq!(support.missing_for(backend), Vec::<String>::new());
    }
    assert_eq!(world.a.observe(), before);
}

#[test]
fn uninstalling_leaves_the_host_as_found() {
    for backend in BACKENDS {
        let world = World::new(backend, Encapsulation::Vxlan);
        let _pod = world.a.pod(11);
        assert_ne!(world.a.observe(), world.a.before_install);
        world.a.with(|datapath| datapath.uninstall().unwrap());
        assert_eq!(world.a.observe(), world.a.before_install, "{backend}");
    }
}
