//! Agents come and go; the network stays. Seaway goes; nothing of it stays.

use seaway_model::Encapsulation;

use super::traffic::exchange;
use super::world::{BACKENDS, World};
use crate::Datapath as _;

#[test]
fn a_new_agent_adopts_what_it_finds_and_changes_nothing() {
    for backend in BACKENDS {
        let mut world = World::new(backend, Encapsulation::Vxlan);
        let (one, two) = (world.a.pod(11), world.b.pod(12));
        let adopted = world.a.restart();
        assert_eq!(adopted, [one.link.clone()], "{backend}");
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
fn uninstalling_leaves_the_host_as_found() {
    for backend in BACKENDS {
        let world = World::new(backend, Encapsulation::Vxlan);
        let _pod = world.a.pod(11);
        assert_ne!(world.a.observe(), world.a.before_install);
        world.a.with(|datapath| datapath.uninstall().unwrap());
        assert_eq!(world.a.observe(), world.a.before_install, "{backend}");
    }
}
