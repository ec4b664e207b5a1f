//! Real packets between pods of two nodes, through VXLAN and by direct routes.

use std::net::UdpSocket;

use ipnet::IpNet;
use seaway_model::{MacAddress, abi};

use super::super::FastPathConfig;
use super::hand::{Node, Pod};
use super::traffic::tcp_echo;

const UNDERLAY_MTU_BYTES: u32 = 1_500;
/// VXLAN over IPv4 costs 50 bytes.
const TUNNEL_MTU_BYTES: u32 = 1_450;

/// Two nodes on a wire, each with a pod.
struct Pair {
    nodes: [Node; 2],
    pods: [Pod; 2],
}

impl Pair {
    fn new() -> Self {
        let nodes = [Node::new(), Node::new()];
        let other = nodes[1].namespace.path().display().to_string();
        nodes[0].namespace.ip(&format!("link add wire type veth peer name wire netns {other}"));
        for (node, number) in nodes.iter().zip(1u8..) {
            node.namespace.ip(&format!("addr add 192.0.2.{number}/24 dev wire"));
            node.namespace.ip("link set wire up");
        }
        let pods = [nodes[0].add_pod(1, 1), nodes[1].add_pod(2, 1)];
        for (node, pod) in nodes.iter().zip(&pods) {
            node.load(FastPathConfig::default());
            node.attach(pod);
        }
        Self { nodes, pods }
    }

    /// Joins the nodes by VXLAN, as the slow path has it, and attaches the fast path.
    fn with_tunnel() -> Self {
        let pair = Self::new();
        for (node, number) in pair.nodes.iter().zip(1u8..) {
            for command in [
                format!("link add sw_vxlan type vxlan id 83 dstport 4789 local 192.0.2.{number} dev wire nolearning"),
                format!("link set sw_vxlan address 02:53:00:00:00:0{number} mtu {TUNNEL_MTU_BYTES} up"),
                format!("addr add 10.88.{number}.0/32 dev sw_vxlan"),
            ] {
                node.namespace.ip(&command);
            }
        }
        for (node, peer) in pair.nodes.iter().zip([2u8, 1]) {
            let mac = format!("02:53:00:00:00:0{peer}");
            for command in [
                format!("neigh add 192.0.2.{peer} lladdr {mac} dev sw_vxlan nud permanent"),
                format!("neigh add fe80::{peer} lladdr {mac} dev sw_vxlan nud permanent"),
                format!("route add 10.88.{peer}.0/24 via 192.0.2.{peer} dev sw_vxlan onlink mtu {TUNNEL_MTU_BYTES}"),
                format!("route add fd88:0:0:{peer}::/64 via fe80::{peer} dev sw_vxlan onlink mtu {TUNNEL_MTU_BYTES}"),
            ] {
                node.namespace.ip(&command);
            }
            node.namespace.exec(&format!("bridge fdb add {mac} dev sw_vxlan dst 192.0.2.{peer}"));
            let device = node.namespace.index("sw_vxlan");
            let own = MacAddress(node.namespace.mac("sw_vxlan"));
            node.with(move |fast_path| fast_path.attach_tunnel(device, own).unwrap());
            let tunnel_mac = mac.parse::<MacAddress>().unwrap().0;
            pair.set_routes(node, 3 - peer, abi::ROUTE_TUNNEL, device, TUNNEL_MTU_BYTES, tunnel_mac);
        }
        pair
    }

    /// Joins the nodes by routes on the wire, and attaches the fast path.
    fn with_direct_routes() -> Self {
        let pair = Self::new();
        for (node, peer) in pair.nodes.iter().zip([2u8, 1]) {
            let own = 3 - peer;
            node.namespace.ip(&format!("addr add fd00::{own}/64 dev wire nodad"));
            node.namespace.ip(&format!("route add 10.88.{peer}.0/24 via 192.0.2.{peer} dev wire"));
            node.namespace.ip(&format!("route add fd88:0:0:{peer}::/64 via fd00::{peer} dev wire"));
            let device = node.namespace.index("wire");
            node.with(move |fast_path| fast_path.attach_underlay(device).unwrap());
            pair.set_routes(node, own, abi::ROUTE_DIRECT, device, UNDERLAY_MTU_BYTES, [0; 6]);
        }
        pair
    }

    fn set_routes(&self, node: &Node, own: u8, kind: u32, device: u32, mtu_bytes: u32, tunnel_mac: [u8; 6]) {
        let peer = 3 - own;
        let prefix = |text: String| text.parse::<IpNet>().unwrap();
        let remote = abi::Route { kind, interface_index: device, mtu_bytes, tunnel_mac, pad: [0; 2] };
        let local = abi::Route { kind: abi::ROUTE_LOCAL_BLOCK, interface_index: 0, ..remote };
        let routes = [
            (prefix(format!("10.88.{own}.0/24")), local),
            (prefix(format!("fd88:0:0:{own}::/64")), local),
            (prefix(format!("10.88.{peer}.0/24")), remote),
            (prefix(format!("fd88:0:0:{peer}::/64")), remote),
        ];
        let host = abi::Endpoint { interface_index: 0, id: 0, pod_mac: [0; 6], host_mac: [0; 6] };
        let address = std::net::Ipv4Addr::new(10, 88, own, 0).into();
        node.with(move |fast_path| {
            fast_path.set_routes(&routes, &[]).unwrap();
            fast_path.set_endpoints(&[(address, host)], &[]).unwrap();
        });
    }

    fn exchange(&self) {
        let [near, far] = &self.pods;
        assert!(near.pings(far.ipv4, 3));
        assert!(far.pings(near.ipv6, 3));
        tcp_echo(near, far, far.ipv4.into(), None, 1_000_000);
        tcp_echo(far, near, near.ipv6.into(), None, 1_000_000);
        for (node, pod) in self.nodes.iter().zip(&self.pods) {
            let traffic = node.traffic(pod);
            assert!(traffic.sent_fast.bytes > 2_000_000 && traffic.received_fast.bytes > 2_000_000, "{traffic:?}");
            assert!(traffic.received_stack.bytes < 2_000, "{traffic:?}");
            assert_eq!(node.counters().drops, Default::default());
            let flows = node.with(|fast_path| fast_path.stack_flows().unwrap());
            assert!(flows.is_empty(), "the fast path's own packets are not the stack's flows: {flows:?}");
        }
    }
}

#[test]
fn pods_of_two_nodes_reach_each_other_through_the_tunnel() {
    let pair = Pair::with_tunnel();
    for pod in &pair.pods {
        pod.namespace.ip(&format!("link set eth0 mtu {TUNNEL_MTU_BYTES}"));
    }
    pair.exchange();
}

#[test]
fn pods_of_two_nodes_reach_each_other_by_direct_routes() {
    Pair::with_direct_routes().exchange();
}

#[test]
fn a_node_and_the_pods_of_another_reach_each_other() {
    for pair in [Pair::with_tunnel(), Pair::with_direct_routes()] {
        let [near, far] = &pair.pods;
        let output = pair.nodes[0].namespace.exec(&format!("ping -n -c 3 -i 0.01 -W 2 {}", far.ipv4));
        assert!(output.contains(" 3 received"), "{output}");
        assert!(near.pings("192.0.2.2".parse::<std::net::IpAddr>().unwrap(), 3));
        assert_eq!(pair.nodes[1].counters().drops, Default::default());
    }
}

#[test]
fn a_packet_too_big_for_the_tunnel_is_answered_by_the_host() {
    let pair = Pair::with_tunnel();
    let [near, far] = &pair.pods;
    let output = near.namespace.try_exec(&format!("ping -n -c 1 -W 2 -M do -s 1450 {}", far.ipv4)).1;
    assert!(output.contains(&format!("mtu = {TUNNEL_MTU_BYTES}")), "{output}");
    let output = near.namespace.try_exec(&format!("ping -n -c 1 -W 2 -s 1450 {}", far.ipv6)).1;
    // 1280–1450: the kernel keeps the path's size and cuts the next packet.
    assert!(output.contains(&format!("mtu={TUNNEL_MTU_BYTES}")), "{output}");
    // TCP has learned, or learns, the size of the path, and the fast path carries its segments.
    tcp_echo(near, far, far.ipv4.into(), None, 1_000_000);
    assert!(pair.nodes[0].traffic(near).sent_fast.bytes > 1_000_000);
}

#[test]
fn the_fast_path_leaves_no_mark_on_the_wire() {
    let pair = Pair::with_tunnel();
    let [near, far] = &pair.pods;
    // The three pings, each in 84 + 14 + 8 + 8 bytes of UDP; the host's own multicast is no
    // concern of ours.
    for command in [
        "nft add table inet watch",
        "nft add chain inet watch out { type filter hook output priority 0 ; }",
        "nft add counter inet watch marked",
        "nft add counter inet watch plain",
        "nft add rule inet watch out udp dport 4789 udp length 114 meta mark != 0 counter name marked",
        "nft add rule inet watch out udp dport 4789 udp length 114 meta mark 0 counter name plain",
    ] {
        pair.nodes[0].namespace.exec(command);
    }
    assert!(near.pings(far.ipv4, 3));
    let count = |name| pair.nodes[0].namespace.exec(&format!("nft list counter inet watch {name}"));
    assert!(count("plain").contains("packets 3"), "{}", count("plain"));
    assert!(count("marked").contains("packets 0"), "{}", count("marked"));
}

#[test]
fn a_service_on_another_node_works_both_ways() {
    let pair = Pair::with_tunnel();
    let [near, far] = &pair.pods;
    for command in [
        "nft add table ip service",
        "nft add chain ip service prerouting { type nat hook prerouting priority -100 ; }",
        &format!("nft add rule ip service prerouting ip daddr 10.96.0.10 tcp dport 80 dnat to {}:8080", far.ipv4),
    ] {
        pair.nodes[0].namespace.exec(command);
    }
    tcp_echo(near, far, far.ipv4.into(), Some("10.96.0.10:80".parse().unwrap()), 100_000);
    let traffic = pair.nodes[0].traffic(near);
    assert!(traffic.received_stack.bytes > 100_000, "answers were translated back by the host: {traffic:?}");
    let traffic = pair.nodes[1].traffic(far);
    assert!(traffic.sent_fast.bytes > 100_000, "the other node translates nothing: {traffic:?}");
}

#[test]
fn an_unknown_pod_is_told_by_the_node_that_should_have_it() {
    let pair = Pair::with_tunnel();
    let near = &pair.pods[0];
    near.namespace.run(|| UdpSocket::bind("0.0.0.0:0").unwrap().send_to(b"hello", "10.88.2.99:9").unwrap());
    super::traffic::eventually("the far node tells of it", || {
        let events = pair.nodes[1].events();
        events.iter().any(|event| {
            event.reason == seaway_model::DropReason::UnknownPod.code()
                && abi::unmap_address(event.source) == std::net::IpAddr::from(near.ipv4)
        })
    });
}
