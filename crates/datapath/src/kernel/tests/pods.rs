//! Pods reach pods and nodes; what is asked for wrongly is refused and leaves nothing.

use std::fs::File;
use std::os::fd::AsFd as _;

use seaway_model::Encapsulation;

use super::traffic::exchange;
use super::world::{BACKENDS, Node, Pod, World, ip};
use crate::kernel::bpf::tests::namespaces::Namespace;
use crate::support::Backend;
use crate::{Datapath as _, DatapathError};

/// TCP over both families, seen from the pod's own address.
fn reach(client: &Pod, server: &Pod) {
    assert_eq!(exchange(&client.namespace, &server.namespace, server.v4()), Ok(client.v4()));
    assert_eq!(exchange(&client.namespace, &server.namespace, server.v6()), Ok(client.v6()));
}

#[test]
fn pods_reach_pods_on_their_node_and_on_others() {
    for backend in BACKENDS {
        for encapsulation in [Encapsulation::Vxlan, Encapsulation::None, Encapsulation::CrossSubnet] {
            let world = World::new(backend, encapsulation);
            let (one, two, three) = (world.a.pod(11), world.a.pod(12), world.b.pod(13));
            reach(&one, &two);
            reach(&one, &three);
            reach(&three, &two);
            assert_eq!(world.a.audit(), [], "{backend} {encapsulation:?}");
            assert!(world.a.counters().drops.values().all(|count| count.packets == 0));
        }
    }
}

#[test]
fn nodes_and_pods_reach_each_other() {
    for backend in BACKENDS {
        let world = World::new(backend, Encapsulation::Vxlan);
        let (near, far) = (world.a.pod(11), world.b.pod(12));
        for pod in [&near, &far] {
            for address in [pod.v4(), pod.v6()] {
                exchange(&world.a.namespace, &pod.namespace, address).unwrap();
            }
        }
        for node in [&world.a, &world.b] {
            for address in [near.v4(), near.v6()] {
                exchange(&near.namespace, &node.namespace, node.address_like(address)).unwrap();
            }
        }
    }
}

#[test]
fn pods_are_ready_at_once_and_checked() {
    for backend in BACKENDS {
        let world = World::new(backend, Encapsulation::Vxlan);
        let pod = world.a.pod(11);
        world.a.check(&pod).unwrap();
        let addresses = pod.namespace.exec("ip -6 addr show dev eth0");
        assert!(addresses.contains("fd83:0:0:1::11/128 scope global nodad"), "{addresses}");
        pod.namespace.ip("route del default");
        let error = world.a.check(&pod).unwrap_err();
        assert!(error.to_string().contains("default route"), "{error}");
    }
}

/// Links of the node and of a namespace, for comparing before and after: numbers, names
/// and records, not states, which settle a moment later.
fn links(node: &Node, namespace: &Namespace) -> String {
    let both = [node.namespace.exec("ip -o link"), namespace.exec("ip -o link")].concat();
    let lines = both.lines().map(|line| {
        let (name, rest) = line.split_once('<').unwrap();
        format!("{name}{}\n", rest.split_once("alias").map_or("", |(_, record)| record))
    });
    lines.collect()
}

#[test]
fn an_interface_that_exists_is_refused() {
    for backend in BACKENDS {
        let world = World::new(backend, Encapsulation::Vxlan);
        let pod = world.a.pod(11);
        let before = links(&world.a, &pod.namespace);
        let again = world.a.attach(&pod.namespace, &pod.wanted).unwrap_err();
        assert!(matches!(again, DatapathError::InterfaceExists { .. }), "{again}");
        let other = world.a.pod_link(12);
        let taken = world.a.attach(&pod.namespace, &other).unwrap_err();
        assert!(matches!(taken, DatapathError::InterfaceExists { .. }), "{taken}");
        assert_eq!(links(&world.a, &pod.namespace), before);
        world.a.check(&pod).unwrap();
        assert_eq!(world.a.audit(), []);
    }
}

#[test]
fn a_failed_attachment_leaves_nothing() {
    for backend in BACKENDS {
        let world = World::new(backend, Encapsulation::Vxlan);
        let namespace = Namespace::new();
        // A default route is there already: the last step fails.
        namespace.ip("route add default dev lo");
        let before = links(&world.a, &namespace);
        let error = world.a.attach(&namespace, &world.a.pod_link(11)).unwrap_err();
        assert!(matches!(error, DatapathError::Kernel { .. }), "{error}");
        assert_eq!(links(&world.a, &namespace), before);
        assert_eq!(world.a.audit(), []);
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let world = World::new(Backend::Nftables, Encapsulation::Vxlan);
    let namespace = Namespace::new();
    let refused = |change: &dyn Fn(&mut crate::PodLink)| {
        let mut wanted = world.a.pod_link(11);
        change(&mut wanted);
        match world.a.attach(&namespace, &wanted).unwrap_err() {
            DatapathError::InvalidLink { problem, .. } => problem,
            other => panic!("{other}"),
        }
    };
    assert!(refused(&|link| link.key.interface = "a-name-that-is-too-long".into()).contains("no name"));
    assert!(refused(&|link| link.addresses.clear()).contains("no address"));
    assert!(refused(&|link| link.addresses.push(ip("10.83.1.99"))).contains("more than one"));
    assert!(refused(&|link| link.mtu_bytes = 1279).contains("too small for IPv6"));
    let own = world.a.namespace.path().to_owned();
    let wanted = world.a.pod_link(12);
    let error = world.a.with(move |datapath| {
        let netns = File::open(own).unwrap();
        datapath.attach_pod(netns.as_fd(), &wanted).unwrap_err()
    });
    assert!(error.to_string().contains("the node's own"), "{error}");
}

#[test]
fn an_abandoned_link_makes_room_for_its_successor() {
    for backend in BACKENDS {
        let mut world = World::new(backend, Encapsulation::Vxlan);
        let pod = world.a.pod(11);
        // The agent died before it answered; the runtime made a new sandbox of the same id.
        world.a.restart();
        world.a.detach(&pod.wanted.key).unwrap();
        let name = pod.link.host_interface.as_str();
        world.a.namespace.ip(&format!("link add {name} type veth peer name other"));
        let fresh = Namespace::new();
        let link = world.a.attach(&fresh, &pod.wanted).unwrap();
        assert_eq!(link.host_interface, pod.link.host_interface);
        assert_eq!(world.a.audit(), []);
    }
}

#[test]
fn detaching_is_repeatable_and_needs_no_namespace() {
    for backend in BACKENDS {
        let world = World::new(backend, Encapsulation::Vxlan);
        let (gone, stays) = (world.a.pod(11), world.a.pod(12));
        world.a.detach(&gone.wanted.key).unwrap();
        world.a.detach(&gone.wanted.key).unwrap();
        assert!(!gone.namespace.try_exec("ip link show eth0").0);
        assert!(!world.a.namespace.exec("ip route").contains("10.83.1.11"));
        assert_eq!(world.a.audit(), []);
        // The runtime may remove the sandbox first; its end takes ours along.
        let Pod { namespace, wanted, link } = world.a.pod(13);
        drop(namespace);
        while world.a.namespace.try_exec(&format!("ip link show {}", link.host_interface)).0 {
            std::thread::yield_now();
        }
        let lost = world.a.audit();
        assert!(lost.iter().any(|difference| difference.cause == "pod shop/web-1-13"), "{lost:?}");
        world.a.detach(&wanted.key).unwrap();
        assert_eq!(world.a.audit(), []);
        world.a.check(&stays).unwrap();
    }
}

/// The rest of what the bandwidth plugin does needs its own queues on the node's end.
#[test]
fn shaped_pods_pass_the_host_stack_and_leave_room_for_the_shaper() {
    let mut world = World::new(Backend::Ebpf, Encapsulation::Vxlan);
    let (plain, namespace) = (world.a.pod(11), Namespace::new());
    let wanted = crate::PodLink { shaped: true, ..world.a.pod_link(12) };
    let link = world.a.attach(&namespace, &wanted).unwrap();
    let shaped = Pod { namespace, wanted, link };
    let host = shaped.link.host_interface.as_str().to_owned();
    world.a.namespace.exec(&format!("tc qdisc add dev {host} root tbf rate 800mbit burst 1mb latency 25ms"));
    world.a.namespace.exec(&format!("tc qdisc add dev {host} ingress"));
    reach(&plain, &shaped);
    reach(&shaped, &plain);
    let traffic = world.a.counters().endpoints[&shaped.link.endpoint_id];
    assert_eq!((traffic.sent_fast.packets, traffic.received_fast.packets), (0, 0), "{traffic:?}");
    assert!(traffic.sent_stack.bytes > 200_000 && traffic.received_stack.bytes > 200_000, "{traffic:?}");
    let passed = world.a.namespace.exec(&format!("tc -s qdisc show dev {host} root"));
    assert!(!passed.contains("Sent 0 bytes"), "{passed}");
    assert_eq!(world.a.audit(), []);
    assert!(world.a.restart().contains(&shaped.link));
    assert_eq!(world.a.apply().unwrap(), Vec::<String>::new());
    world.a.detach(&shaped.wanted.key).unwrap();
    assert_eq!(world.a.audit(), []);
}
