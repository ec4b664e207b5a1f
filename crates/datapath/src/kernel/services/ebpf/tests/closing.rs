//! Whose TCP connections are reset, and whose are not.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

use seaway_model::Protocol::Tcp;
use seaway_services::plan::ServicePlan;

use super::plans::{Plan as _, removal, service};
use super::world::{PATIENCE, World, at};
use crate::kernel::bpf::tests::namespaces::Namespace;

const GOING: &str = "10.83.1.1";
const STAYING: &str = "10.83.1.2";
const PORT: u16 = 8080;

fn web(backends: &[&str], terminating: &[&str]) -> ServicePlan {
    let web = service("web").backends(backends, PORT).terminating(terminating, PORT);
    web.cluster_ip("10.96.0.10", Tcp, 80).node_port(30080)
}

/// A server that keeps its connections; they come out of the channel.
fn keep(world: &World, address: &str) -> Receiver<TcpStream> {
    let place = at(address, PORT);
    let listener = world.node.run(move || TcpListener::bind(place).unwrap());
    let (accepted, connections) = channel();
    // Ends with the test program.
    std::thread::spawn(move || listener.incoming().map_while(Result::ok).try_for_each(|one| accepted.send(one)));
    connections
}

fn open(world: &World, namespace: &Namespace, target: SocketAddr) -> TcpStream {
    world.start_client_in(namespace, move || TcpStream::connect(target).unwrap()).join()
}

fn reset(stream: &TcpStream) -> bool {
    match stream.take_error().unwrap() {
        Some(error) => error.raw_os_error() == Some(libc::ECONNABORTED),
        None => false,
    }
}

/// Whether a byte of the client reaches the server.
fn talks(client: &mut TcpStream, server: &mut TcpStream) -> bool {
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"x").is_ok() && server.read_exact(&mut [0]).is_ok()
}

#[test]
fn connections_to_a_backend_that_terminated_and_is_gone_are_reset() {
    let world = World::new();
    let (going, staying) = (keep(&world, GOING), keep(&world, STAYING));
    let pod = world.pod(1);
    world.name_namespace(&pod, "cni-1");
    world.set(web(&[GOING], &[]));
    let places = [at("10.96.0.10", 80), at("192.0.2.1", 30080)];
    let mut doomed: Vec<(TcpStream, TcpStream)> = Vec::new();
    for (namespace, place) in [(&world.node, places[0]), (&world.node, places[1]), (&pod, places[0]), (&pod, places[1])]
    {
        doomed.push((open(&world, namespace, place), going.recv().unwrap()));
    }
    // One that no Service brought there.
    let mut direct = (open(&world, &world.node, at(GOING, PORT)), going.recv().unwrap());
    world.set(web(&[GOING, STAYING], &[GOING]));
    let report = world.set(web(&[STAYING], &[GOING]));
    let mut other = (open(&world, &world.node, places[0]), staying.recv().unwrap());
    assert_eq!(report.closed_connections, 0, "what terminates finishes its connections");
    for (client, server) in &mut doomed {
        assert!(talks(client, server));
    }
    let report = world.set(web(&[STAYING], &[]));
    assert_eq!(report.closed_connections, 4);
    for (client, server) in &mut doomed {
        assert!(reset(client));
        assert!(server.read(&mut [0]).is_err(), "the peer is told, if it still lives");
    }
    assert!(talks(&mut direct.0, &mut direct.1) && talks(&mut other.0, &mut other.1));
    assert_eq!(world.set(web(&[], &[]).reach(seaway_services::plan::Reach::Reject)).closed_connections, 0);
    assert!(talks(&mut other.0, &mut other.1), "it left its Service without having terminated");
}

#[test]
fn connections_of_a_service_that_goes_are_left_to_its_pods() {
    let world = World::new();
    let going = keep(&world, GOING);
    world.set(web(&[GOING], &[GOING]));
    let (mut client, mut server) = (open(&world, &world.node, at("10.96.0.10", 80)), going.recv().unwrap());
    assert_eq!(world.apply(vec![removal("web")]).closed_connections, 0);
    assert_eq!(world.audit(), []);
    assert!(talks(&mut client, &mut server));
}

#[test]
fn the_audit_closes_no_connection_of_tcp() {
    let world = World::new();
    let going = keep(&world, GOING);
    world.set(web(&[GOING], &[]));
    let (mut client, mut server) = (open(&world, &world.node, at("10.96.0.10", 80)), going.recv().unwrap());
    // Not ready any more: no backend, and not terminating.
    world.set(web(&[STAYING], &[]));
    assert_eq!(world.audit(), []);
    assert!(talks(&mut client, &mut server));
}
