//! Real packets between pods of one node.

use std::net::UdpSocket;

use seaway_model::{DropReason, abi};

use super::super::{Attachment, FastPathConfig, Hook, HookChoice, Program, probe};
use super::hand::{Node, PIN_DIR, Pod};
use super::traffic::{eventually, tcp_echo};

fn node_with_two_pods(config: FastPathConfig) -> (Node, Pod, Pod) {
    let node = Node::new();
    let (one, two) = (node.add_pod(1, 1), node.add_pod(1, 2));
    node.load(config);
    node.attach(&one);
    node.attach(&two);
    (node, one, two)
}

fn exchange(node: &Node, one: &Pod, two: &Pod) {
    assert!(one.pings(two.ipv4, 3));
    assert!(one.pings(two.ipv6, 3));
    tcp_echo(one, two, two.ipv4.into(), None, 1_000_000);
    tcp_echo(one, two, two.ipv6.into(), None, 1_000_000);
    eventually("every packet that one sent has arrived at two", || {
        let counters = node.counters();
        let (sender, receiver) = (counters.endpoints[&one.id], counters.endpoints[&two.id]);
        sender.sent_fast == receiver.received_fast && sender.sent_fast.bytes > 2_000_000
    });
    let slow = node.traffic(two).received_stack;
    assert!(slow.bytes < 2_000, "more than the host's own multicast came through the stack: {slow:?}");
    assert_eq!(node.counters().drops, Default::default());
    assert!(node.with(|fast_path| fast_path.stack_flows().unwrap()).is_empty());
}

#[test]
fn pods_of_one_node_reach_each_other_without_the_host_stack() {
    let (node, one, two) = node_with_two_pods(FastPathConfig { hook: HookChoice::Tcx, ..Default::default() });
    let hook = node.with(|fast_path| fast_path.hook());
    assert_eq!(hook, if probe().tcx.is_ok() { Hook::Tcx } else { Hook::Clsact });
    let queues = node.namespace.exec("tc qdisc show dev swpod1");
    assert_eq!(queues.contains("clsact"), hook == Hook::Clsact, "{queues}");
    exchange(&node, &one, &two);
}

#[test]
fn the_same_by_clsact_filters() {
    let (node, one, two) = node_with_two_pods(FastPathConfig { hook: HookChoice::Clsact, ..Default::default() });
    exchange(&node, &one, &two);
    let expected = [&one, &two].map(|pod| pod.index);
    let attachments = node.with(|fast_path| fast_path.attachments().unwrap());
    for program in [Program::FromPod, Program::ToPod] {
        for interface_index in expected {
            assert!(attachments.contains(&Attachment { program, interface_index }), "{attachments:?}");
        }
    }
    assert!(node.namespace.exec("tc qdisc show dev swpod1").contains("clsact"));
    let index = one.index;
    node.with(move |fast_path| fast_path.detach_pod_link(index).unwrap());
    assert!(!node.namespace.exec("tc qdisc show dev swpod1").contains("clsact"), "our queue goes with the last filter");
    let records = node.namespace.exec(&format!("ls {PIN_DIR}/links"));
    assert!(!records.lines().any(|name| name.ends_with(&format!("-{index}"))), "{records}");
}

#[test]
fn a_queue_of_others_stays_when_our_filters_go() {
    let node = Node::new();
    let one = node.add_pod(1, 1);
    node.namespace.exec("tc qdisc add dev swpod1 clsact");
    node.load(FastPathConfig { hook: HookChoice::Clsact, ..Default::default() });
    node.attach(&one);
    let index = one.index;
    node.with(move |fast_path| fast_path.detach_pod_link(index).unwrap());
    assert!(node.namespace.exec("tc qdisc show dev swpod1").contains("clsact"));
    assert_eq!(node.namespace.exec("tc filter show dev swpod1 ingress"), "");
}

#[test]
fn the_host_and_its_pods_reach_each_other() {
    let (node, one, _two) = node_with_two_pods(FastPathConfig::default());
    node.namespace.ip("addr add 192.0.2.1/32 dev lo");
    assert!(one.pings("192.0.2.1".parse::<std::net::IpAddr>().unwrap(), 3));
    let command = format!("ping -n -c 3 -i 0.01 -W 2 -I 192.0.2.1 {}", one.ipv4);
    assert!(node.namespace.exec(&command).contains(" 3 received"));
    assert!(node.traffic(&one).sent_stack.packets >= 6);
    assert_eq!(node.counters().drops, Default::default());
}

#[test]
fn a_flow_that_the_host_translates_works_both_ways() {
    let (node, one, two) = node_with_two_pods(FastPathConfig::default());
    for command in [
        "nft add table ip service",
        "nft add chain ip service prerouting { type nat hook prerouting priority -100 ; }",
        &format!("nft add rule ip service prerouting ip daddr 10.96.0.10 tcp dport 80 dnat to {}:8080", two.ipv4),
    ] {
        node.namespace.exec(command);
    }
    let service = "10.96.0.10:80".parse().unwrap();
    tcp_echo(&one, &two, two.ipv4.into(), Some(service), 100_000);
    let traffic = node.traffic(&two);
    assert!(traffic.received_stack.bytes > 100_000 && traffic.sent_stack.bytes > 100_000, "{traffic:?}");
    assert_eq!(traffic.sent_fast.packets, 0, "every answer went back through the stack");
    let flows = node.with(|fast_path| fast_path.stack_flows().unwrap());
    assert_eq!(flows.len(), 1, "{flows:?}");
    // Other flows between the same pods keep the fast path.
    tcp_echo(&one, &two, two.ipv4.into(), None, 100_000);
    assert!(node.traffic(&two).sent_fast.bytes > 100_000);
}

#[test]
fn an_expiring_hop_limit_is_answered_by_the_host() {
    let (node, one, two) = node_with_two_pods(FastPathConfig::default());
    node.namespace.ip("addr add 192.0.2.1/32 dev lo");
    let (_, output) = one.namespace.try_exec(&format!("ping -n -c 1 -t 1 -W 2 {}", two.ipv4));
    assert!(output.contains("Time to live exceeded"), "{output}");
    let (_, output) = one.namespace.try_exec(&format!("ping -n -c 1 -t 2 -W 2 {}", two.ipv4));
    assert!(output.contains("1 received") && output.contains("ttl=63"), "{output}");
}

#[test]
fn spoofed_packets_do_not_arrive_and_are_told() {
    let (node, one, two) = node_with_two_pods(FastPathConfig::default());
    let (address, claimed) = (two.ipv4, "10.88.1.99");
    let receiver = two.namespace.run(move || UdpSocket::bind((address, 7777)).unwrap());
    receiver.set_nonblocking(true).unwrap();
    one.namespace.ip(&format!("addr add {claimed}/32 dev eth0"));
    node.events();
    let send = move |source: String| {
        let socket = UdpSocket::bind((source.as_str(), 5555)).unwrap();
        socket.send_to(b"hello", (address, 7777)).unwrap();
    };
    one.namespace.run(move || send(claimed.to_owned()));
    eventually("the drop is counted", || node.counters().drops.contains_key(&DropReason::SpoofedSourceIp));
    let events = node.events();
    let event = events.iter().find(|event| event.reason == DropReason::SpoofedSourceIp.code()).unwrap();
    assert_eq!(abi::unmap_address(event.source).to_string(), claimed);
    assert_eq!(abi::unmap_address(event.destination), std::net::IpAddr::from(two.ipv4));
    assert_eq!((event.interface_index, event.endpoint_id, event.protocol), (one.index, one.id, 17));
    assert_eq!((u16::from_be(event.source_port), u16::from_be(event.destination_port)), (5555, 7777));
    // An honest one after it arrives, so the spoofed one would have arrived before.
    let own = one.ipv4.to_string();
    one.namespace.run(move || send(own));
    let mut buffer = [0; 16];
    eventually("the honest packet arrives", || receiver.peek_from(&mut [0; 16]).is_ok());
    assert_eq!(receiver.recv_from(&mut buffer).unwrap().1, (one.ipv4, 5555).into());
    assert!(receiver.recv_from(&mut buffer).is_err(), "only the honest packet arrived");
}

#[test]
fn a_pod_that_changes_its_mac_is_cut_off() {
    let (node, one, two) = node_with_two_pods(FastPathConfig::default());
    assert!(one.pings(two.ipv4, 1));
    one.namespace.ip("link set eth0 address 02:66:66:66:66:66");
    assert!(!one.pings(two.ipv4, 1));
    assert!(node.counters().drops[&DropReason::SpoofedSourceMac].packets > 0);
}
