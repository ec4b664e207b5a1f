//! UDP sockets of this node.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;

use nix::sys::socket::MsgFlags;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn6, SockaddrStorage, recvfrom, sendto, socket};
use seaway_model::Protocol::Udp;

use super::plans::{Plan as _, removal, service};
use super::world::{World, ask, at};

const V4: [&str; 2] = ["10.83.1.1", "10.83.1.2"];

fn resolver(world: &World) {
    for address in V4 {
        world.serve(address, 5353);
    }
    world.set(service("dns").backends(&V4, 5353).cluster_ip("10.96.0.10", Udp, 53));
}

#[test]
fn an_unconnected_socket_hears_the_service_and_keeps_its_backend() {
    let world = World::new();
    resolver(&world);
    let heard: Vec<_> = world.client(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        (0..32).map(|_| ask(&socket, at("10.96.0.10", 53)).unwrap()).collect()
    });
    assert!(heard.iter().all(|(_, sender)| *sender == at("10.96.0.10", 53)), "{heard:?}");
    assert!(heard.iter().all(|(backend, _)| *backend == heard[0].0), "{heard:?}");
    let backends: std::collections::BTreeSet<_> = world.client(|| {
        let ask_anew = |_| ask(&UdpSocket::bind("0.0.0.0:0").unwrap(), at("10.96.0.10", 53)).unwrap().0;
        (0..64).map(ask_anew).collect()
    });
    assert_eq!(backends.len(), 2, "other sockets have other backends");
}

#[test]
fn a_connected_socket_hears_the_service() {
    let world = World::new();
    resolver(&world);
    let (peer, sender) = world.client(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.connect("10.96.0.10:53").unwrap();
        socket.send(b"who?").unwrap();
        let mut buffer = [0; 64];
        let (_, sender) = socket.recv_from(&mut buffer).unwrap();
        (socket.peer_addr().unwrap(), sender)
    });
    assert_eq!((peer, sender), (at("10.96.0.10", 53), at("10.96.0.10", 53)));
}

#[test]
fn ipv6_and_mapped_ipv4_sockets_hear_the_service() {
    let world = World::new();
    resolver(&world);
    world.serve("fd83:0:0:1::1", 5353);
    world.set(service("dns6").backends(&["fd83:0:0:1::1"], 5353).cluster_ip("fd96::10", Udp, 53));
    for target in ["[fd96::10]:53", "[::ffff:10.96.0.10]:53"] {
        let sender = world.client(move || {
            let socket = socket(AddressFamily::Inet6, SockType::Datagram, SockFlag::empty(), None).unwrap();
            let Ok(SocketAddr::V6(target)) = target.parse() else { unreachable!() };
            sendto(socket.as_raw_fd(), b"who?", &SockaddrIn6::from(target), MsgFlags::empty()).unwrap();
            let (_, sender) = recvfrom::<SockaddrStorage>(socket.as_raw_fd(), &mut [0; 64]).unwrap();
            sender.unwrap().to_string()
        });
        assert_eq!(sender, target);
    }
}

#[test]
fn case_02_scaled_to_zero_and_back_the_old_backend_is_forgotten() {
    let world = World::new();
    resolver(&world);
    let (to_client, orders) = std::sync::mpsc::channel::<()>();
    let (answers, from_client) = std::sync::mpsc::channel();
    let client = world.start_client(move || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        for () in orders {
            answers.send(ask(&socket, at("10.96.0.10", 53)).map(|(backend, _)| backend)).unwrap();
        }
    });
    let next = || {
        to_client.send(()).unwrap();
        from_client.recv().unwrap()
    };
    let first = next().unwrap();
    let other = V4.into_iter().find(|address| at(address, 5353) != first).unwrap();
    // The unready one goes: nothing changes for those who use the other.
    world.set(service("dns").backends(&[&first.ip().to_string()], 5353).cluster_ip("10.96.0.10", Udp, 53));
    assert_eq!(next(), Some(first));
    world.set(service("dns").cluster_ip("10.96.0.10", Udp, 53));
    assert_eq!(next(), None);
    world.set(service("dns").backends(&[other], 5353).cluster_ip("10.96.0.10", Udp, 53));
    assert_eq!(next(), Some(at(other, 5353)));
    drop(to_client);
    client.join();
    world.apply(vec![removal("dns")]);
}

#[test]
fn case_03_a_backend_that_another_service_keeps_is_lost_to_this_one_only() {
    let world = World::new();
    resolver(&world);
    world.set(service("other").backends(&V4, 5353).cluster_ip("10.96.0.11", Udp, 53));
    let (to_client, orders) = std::sync::mpsc::channel::<SocketAddr>();
    let (answers, from_client) = std::sync::mpsc::channel();
    let client = world.start_client(move || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        for target in orders {
            answers.send(ask(&socket, target).unwrap()).unwrap();
        }
    });
    let ask = |target| {
        to_client.send(target).unwrap();
        from_client.recv().unwrap()
    };
    // One socket talks to one backend by two names, or to two.
    let (one, two) = (at("10.96.0.10", 53), at("10.96.0.11", 53));
    let (first, other) = (ask(one), ask(two));
    assert_eq!((first.1, other.1), (one, two));
    let rest = V4.into_iter().find(|address| at(address, 5353) != first.0).unwrap();
    world.set(service("dns").backends(&[rest], 5353).cluster_ip("10.96.0.10", Udp, 53));
    assert_eq!(ask(one).0, at(rest, 5353));
    assert_eq!(ask(two).0, other.0);
    drop(to_client);
    client.join();
}

#[test]
fn connected_sockets_of_a_backend_that_left_the_service_are_closed() {
    let world = World::new();
    resolver(&world);
    world.set(service("other").backends(&V4, 5353).cluster_ip("10.96.0.11", Udp, 53));
    let pod = world.pod(1);
    world.name_namespace(&pod, "cni-1");
    let connected = |namespace, target| {
        let open = move || {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.connect(target).unwrap();
            socket
        };
        world.start_client_in(namespace, open).join()
    };
    let of_the_node: Vec<UdpSocket> = (0..8).map(|_| connected(&world.node, at("10.96.0.10", 53))).collect();
    let of_the_pod: Vec<UdpSocket> = (0..8).map(|_| connected(&pod, at("10.96.0.10", 53))).collect();
    let of_another_service: Vec<UdpSocket> = (0..8).map(|_| connected(&world.node, at("10.96.0.11", 53))).collect();
    let direct = connected(&world.node, at(V4[0], 5353));
    let report = world.set(service("dns").backends(&V4[1..], 5353).cluster_ip("10.96.0.10", Udp, 53));
    let is_closed = |socket: &&UdpSocket| match socket.take_error().unwrap() {
        Some(error) => error.raw_os_error() == Some(libc::ECONNABORTED),
        None => false,
    };
    let closed = |sockets: &[UdpSocket]| sockets.iter().filter(is_closed).count() as u64;
    let (node, pod_count) = (closed(&of_the_node), closed(&of_the_pod));
    // Half of sixteen, by chance; none or all once in ten thousand.
    assert!((1..16).contains(&report.closed_connections), "{report:?}");
    assert_eq!(node + pod_count, report.closed_connections);
    assert_eq!(closed(&of_another_service), 0, "the backend is still one of the other Service");
    assert!(!is_closed(&&direct));
    let report = world.apply(vec![removal("dns")]);
    assert_eq!(report.closed_connections, 16 - node - pod_count);
    assert!(pod_count + closed(&of_the_pod) == 8, "those in the pod's namespace, too");
}
