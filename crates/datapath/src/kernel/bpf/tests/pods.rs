//! Real packets between pods of one node.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::super::FastPathConfig;
use super::hand::{Node, Pod};

/// No packet of these tests takes longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until something holds that packets in flight may still delay.
fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "did not come about: {what}");
        std::thread::yield_now();
    }
}

fn node_with_two_pods() -> (Node, Pod, Pod) {
    let node = Node::new();
    let (one, two) = (node.add_pod(1, 1), node.add_pod(1, 2));
    node.load(FastPathConfig::default());
    node.attach(&one);
    node.attach(&two);
    (node, one, two)
}

/// Sends bytes from one pod to another over TCP and compares what comes back.
fn echo(client: &Pod, server: &Pod, address: IpAddr, bytes: usize) {
    let listener = server.namespace.run(move || TcpListener::bind((address, 0)).unwrap());
    let target: SocketAddr = listener.local_addr().unwrap();
    let serving = server.namespace.start(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut buffer = vec![0; bytes];
        stream.read_exact(&mut buffer).unwrap();
        stream.write_all(&buffer).unwrap();
    });
    let same = client.namespace.run(move || {
        let mut stream = TcpStream::connect_timeout(&target, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let sent: Vec<u8> = (0..bytes).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let (mut received, mut writer, to_send) = (vec![0; bytes], stream.try_clone().unwrap(), sent.clone());
        let writing = std::thread::spawn(move || writer.write_all(&to_send).unwrap());
        stream.read_exact(&mut received).unwrap();
        writing.join().unwrap();
        received == sent
    });
    serving.join();
    assert!(same, "the echo differs from what was sent");
}

#[test]
fn pods_of_one_node_reach_each_other_without_the_host_stack() {
    let (node, one, two) = node_with_two_pods();
    assert!(one.pings(two.ipv4, 3));
    assert!(one.pings(two.ipv6, 3));
    echo(&one, &two, two.ipv4.into(), 1_000_000);
    echo(&one, &two, two.ipv6.into(), 1_000_000);
    eventually("every packet that one sent has arrived at two", || {
        let counters = node.counters();
        let (sender, receiver) = (counters.endpoints[&one.id], counters.endpoints[&two.id]);
        sender.sent_fast == receiver.received_fast && sender.sent_fast.bytes > 2_000_000
    });
    let slow = node.traffic(&two).received_stack;
    assert!(slow.bytes < 2_000, "more than the host's own multicast came through the stack: {slow:?}");
    assert_eq!(node.counters().drops, Default::default());
    assert!(node.with(|fast_path| fast_path.stack_flows().unwrap()).is_empty());
}
