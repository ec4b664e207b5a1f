//! Where what a pod sends goes: `sw_from_pod` on frames of our own making.

use std::net::IpAddr;

use seaway_model::{DropReason, abi};

use super::super::{FastPathConfig, Program};
use super::hand::{Node, Pod};
use super::packet::{ETHERNET_BYTES, PacketBuilder, internet_checksum, packet};
use super::test_run::{TestRun, Verdict};

const TUNNEL_MAC: [u8; 6] = [2, 0x11, 0x11, 0x11, 0x11, 0x11];
const REMOTE_TUNNEL_MAC: [u8; 6] = [2, 0x22, 0x22, 0x22, 0x22, 0x22];
const MTU_BYTES: u32 = 1450;

/// A node with two pods, a block behind the tunnel, and one behind a neighbor.
struct Scene {
    node: Node,
    one: Pod,
    two: Pod,
}

impl Scene {
    fn new() -> Self {
        Self::with_config(FastPathConfig::default())
    }

    fn with_config(config: FastPathConfig) -> Self {
        let node = Node::new();
        let (one, two) = (node.add_silent_pod(1, 1), node.add_silent_pod(1, 2));
        node.load(config);
        node.attach(&one);
        node.attach(&two);
        // Any Ethernet device does: frames stop at the verdict.
        node.namespace.ip("link add sw_vxlan type veth peer name wire");
        let device = node.namespace.index("sw_vxlan");
        let route = move |kind, tunnel_mac| abi::Route {
            kind,
            interface_index: if kind == abi::ROUTE_LOCAL_BLOCK { 0 } else { device },
            mtu_bytes: MTU_BYTES,
            tunnel_mac,
            pad: [0; 2],
        };
        node.with(move |fast_path| {
            fast_path.attach_tunnel(device, seaway_model::MacAddress(TUNNEL_MAC)).unwrap();
            let routes = [
                ("10.88.1.0/24", route(abi::ROUTE_LOCAL_BLOCK, [0; 6])),
                ("fd88:0:0:1::/64", route(abi::ROUTE_LOCAL_BLOCK, [0; 6])),
                ("10.88.2.0/24", route(abi::ROUTE_TUNNEL, REMOTE_TUNNEL_MAC)),
                ("fd88:0:0:2::/64", route(abi::ROUTE_TUNNEL, REMOTE_TUNNEL_MAC)),
                ("10.88.3.0/24", route(abi::ROUTE_DIRECT, [0; 6])),
                ("10.88.4.0/24", abi::Route { interface_index: 0, ..route(abi::ROUTE_DIRECT, [0; 6]) }),
            ]
            .map(|(prefix, route)| (prefix.parse().unwrap(), route));
            fast_path.set_routes(&routes, &[]).unwrap();
            let own = abi::Endpoint { interface_index: 0, id: 0, pod_mac: [0; 6], host_mac: [0; 6] };
            fast_path.set_endpoints(&[("10.88.1.0".parse().unwrap(), own)], &[]).unwrap();
        });
        Self { node, one, two }
    }

    /// A TCP segment from pod one, addressed to its gateway as all it sends.
    fn sent_to(&self, destination: impl Into<IpAddr>) -> PacketBuilder {
        let destination = destination.into();
        let source: IpAddr = if destination.is_ipv4() { self.one.ipv4.into() } else { self.one.ipv6.into() };
        packet(source, destination).macs(self.one.pod_mac, self.one.host_mac)
    }

    fn run(&self, packet: PacketBuilder) -> TestRun {
        TestRun::new(Program::FromPod, self.one.index, packet.build())
    }

    fn expect(&self, what: &str, packet: PacketBuilder, verdict: Verdict) -> Vec<u8> {
        self.run(packet).expect(&self.node, what, verdict)
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_packet_to_a_local_pod_goes_straight_to_it_and_loses_a_hop() {
    let scene = Scene::new();
    let macs = [scene.two.pod_mac, scene.two.host_mac].concat();
    let out = scene.expect("IPv4", scene.sent_to(scene.two.ipv4).hop_limit(64), Verdict::Redirect);
    assert_eq!(out[..12], macs, "the pod's MAC, from its own gateway's");
    assert_eq!(out[ETHERNET_BYTES + 8], 63);
    assert_eq!(internet_checksum(&out[ETHERNET_BYTES..ETHERNET_BYTES + 20]), 0);
    let out = scene.expect("IPv6", scene.sent_to(scene.two.ipv6).hop_limit(64), Verdict::Redirect);
    assert_eq!(out[..12], macs);
    assert_eq!(out[ETHERNET_BYTES + 7], 63);
    let (one, two) = (scene.node.traffic(&scene.one), scene.node.traffic(&scene.two));
    assert_eq!((one.sent_fast.packets, one.sent_stack.packets), (2, 0));
    assert_eq!((two.received_fast.packets, two.received_stack.packets), (2, 0));
}

#[test]
fn a_packet_to_another_nodes_block_goes_into_the_tunnel() {
    let scene = Scene::new();
    for destination in ["10.88.2.9", "fd88:0:0:2::9"] {
        let out = scene.expect(destination, scene.sent_to(address(destination)), Verdict::Redirect);
        assert_eq!(out[..12], [REMOTE_TUNNEL_MAC, TUNNEL_MAC].concat());
    }
    let out = scene.expect("direct", scene.sent_to(address("10.88.3.9")), Verdict::Redirect);
    assert_eq!(out[ETHERNET_BYTES + 8], 63);
}

#[test]
fn packets_that_do_not_fit_the_path_are_the_stacks() {
    let scene = Scene::new();
    // 20 bytes of IP and 20 of TCP.
    let fits = usize::try_from(MTU_BYTES).unwrap() - 40;
    let remote = || scene.sent_to(address("10.88.2.9"));
    scene.expect("as large as fits", remote().payload_bytes(fits), Verdict::Redirect);
    scene.expect("one too many", remote().payload_bytes(fits + 1), Verdict::ToStack);
    let segment = MTU_BYTES - 40;
    let large = || scene.run(remote().payload_bytes(3_000));
    large().segments_of(segment).expect(&scene.node, "segments that fit", Verdict::Redirect);
    large().segments_of(segment + 1).expect(&scene.node, "segments that do not", Verdict::ToStack);
    let remote = || scene.sent_to(address("fd88:0:0:2::9"));
    scene.expect("as large as fits, IPv6", remote().payload_bytes(fits - 20), Verdict::Redirect);
    scene.expect("one too many, IPv6", remote().payload_bytes(fits - 19), Verdict::ToStack);
}

#[test]
fn what_is_unusual_is_the_stacks() {
    let scene = Scene::new();
    let to_two = || scene.sent_to(scene.two.ipv4);
    let to_two_v6 = || scene.sent_to(scene.two.ipv6);
    let unreachable = [3, 4, 0, 0, 0, 0, 0, 0];
    for (what, packet) in [
        ("last hop", to_two().hop_limit(1)),
        ("last hop, IPv6", to_two_v6().hop_limit(1)),
        ("first fragment", to_two().fragment(0x2000)),
        ("later fragment", to_two().fragment(100)),
        ("IPv4 options", to_two().ipv4_options(&[1, 1, 1, 1])),
        ("destination options", to_two_v6().extension(60, [1, 4, 0, 0, 0, 0])),
        ("fragment header", to_two_v6().extension(44, [0; 6])),
        ("ICMP error", to_two().icmp(&unreachable)),
        ("ICMPv6 error", to_two_v6().icmp(&[1, 4, 0, 0, 0, 0, 0, 0])),
        ("GRE", to_two().protocol(47, &[0; 8])),
        ("multicast", scene.sent_to(address("224.0.0.5"))),
        ("broadcast", scene.sent_to(address("255.255.255.255"))),
        ("IPv6 multicast", scene.sent_to(address("ff02::1"))),
        ("gateway", scene.sent_to(address("169.254.1.1"))),
        ("IPv6 gateway", scene.sent_to(address("fe80::1"))),
        ("elsewhere", scene.sent_to(address("192.0.2.1"))),
        ("elsewhere, IPv6", scene.sent_to(address("2001:db8::1"))),
        ("route that the host decides", scene.sent_to(address("10.88.4.1"))),
        ("the node's own address in a block", scene.sent_to(address("10.88.1.0"))),
        ("frame for someone else", to_two().destination_mac([2, 9, 9, 9, 9, 9])),
        ("broadcast frame", to_two().destination_mac([0xff; 6])),
    ] {
        scene.expect(what, packet, Verdict::ToStack);
    }
    let echo = scene.sent_to(scene.two.ipv4).icmp(&[8, 0, 0, 0, 0x12, 0x34, 0, 1]);
    scene.expect("ICMP echo is usual", echo, Verdict::Redirect);
    assert_eq!(scene.node.traffic(&scene.one).sent_stack.packets, 21);
}

#[test]
fn an_address_of_this_nodes_block_without_a_pod_is_dropped() {
    let scene = Scene::new();
    let drop = Verdict::Drop(DropReason::UnknownPod);
    scene.expect("IPv4", scene.sent_to(address("10.88.1.77")), drop);
    scene.expect("IPv6", scene.sent_to(address("fd88:0:0:1::77")), drop);
    scene.expect("fragment", scene.sent_to(address("10.88.1.77")).fragment(100), drop);
    scene.run(scene.sent_to(address("10.88.1.77"))).execute(&scene.node);
    let event = scene.node.events()[0];
    assert_eq!(abi::unmap_address(event.source), IpAddr::from(scene.one.ipv4));
    assert_eq!(abi::unmap_address(event.destination), address("10.88.1.77"));
    assert_eq!((event.endpoint_id, event.family, event.protocol), (scene.one.id, 4, 6));
    assert_eq!((u16::from_be(event.source_port), u16::from_be(event.destination_port)), (40_000, 80));
}

#[test]
fn a_pod_that_the_host_shapes_keeps_to_the_stack_and_to_its_addresses() {
    let scene = Scene::new();
    let (index, link) = (scene.one.index, abi::Link { flags: abi::LINK_STACK_ONLY, ..scene.one.link() });
    let endpoint = abi::Endpoint { interface_index: 0, ..scene.one.endpoint() };
    let endpoints = [(scene.one.ipv4.into(), endpoint), (scene.one.ipv6.into(), endpoint)];
    scene.node.with(move |fast_path| fast_path.attach_pod_link(index, &link, &endpoints).unwrap());
    scene.expect("to a local pod", scene.sent_to(scene.two.ipv4), Verdict::ToStack);
    scene.expect("to another node's", scene.sent_to(address("10.88.2.9")), Verdict::ToStack);
    scene.expect("to nobody", scene.sent_to(address("10.88.1.77")), Verdict::Drop(DropReason::UnknownPod));
    let spoofed = packet(address("10.88.1.9"), scene.two.ipv4).macs(scene.one.pod_mac, scene.one.host_mac);
    scene.expect("spoofed", spoofed, Verdict::Drop(DropReason::SpoofedSourceIp));
    let answer = packet(scene.two.ipv4, scene.one.ipv4).macs(scene.two.pod_mac, scene.two.host_mac).build();
    TestRun::new(Program::FromPod, scene.two.index, answer).expect(&scene.node, "answer", Verdict::ToStack);
}

#[test]
fn an_unknown_link_may_send_nothing() {
    let scene = Scene::new();
    let stranger = scene.node.namespace.index("wire");
    let packet = scene.sent_to(scene.two.ipv4).build();
    let run = TestRun::new(Program::FromPod, stranger, packet);
    run.expect(&scene.node, "stranger", Verdict::Drop(DropReason::UnknownEndpoint));
}

#[test]
fn flows_that_the_stack_knows_stay_there_in_both_directions() {
    let scene = Scene::new();
    let (one, two) = (scene.one.ipv4, scene.two.ipv4);
    // The stack delivers what it has translated: pod one reached port 80 of pod two.
    let delivered = packet(one, two).macs(scene.two.host_mac, scene.two.pod_mac).tcp(40_000, 80).build();
    TestRun::new(Program::ToPod, scene.two.index, delivered).expect(&scene.node, "delivered", Verdict::ToStack);
    let answer = packet(two, one).macs(scene.two.pod_mac, scene.two.host_mac).tcp(80, 40_000).build();
    let from_two = |frame| TestRun::new(Program::FromPod, scene.two.index, frame);
    from_two(answer).expect(&scene.node, "answer", Verdict::ToStack);
    scene.expect("same direction", scene.sent_to(two).tcp(40_000, 80), Verdict::ToStack);
    scene.expect("other port", scene.sent_to(two).tcp(40_001, 80), Verdict::Redirect);
    scene.expect("ports swapped", scene.sent_to(two).tcp(80, 40_000), Verdict::Redirect);
    scene.expect("other protocol", scene.sent_to(two).udp(40_000, 80), Verdict::Redirect);
    let flows = scene.node.with(|fast_path| fast_path.stack_flows().unwrap());
    assert_eq!(flows.len(), 1, "{flows:?}");
    assert_eq!(scene.node.traffic(&scene.two).received_stack.packets, 1);
}

#[test]
fn only_flows_that_the_fast_path_could_take_are_remembered() {
    let scene = Scene::new();
    let two = scene.two.ipv4;
    for (what, source, remembered) in [("the internet", "192.0.2.7", 0), ("another node", "10.88.2.7", 1)] {
        let delivered = packet(address(source), two).macs(scene.two.host_mac, scene.two.pod_mac).build();
        TestRun::new(Program::ToPod, scene.two.index, delivered).expect(&scene.node, what, Verdict::ToStack);
        assert_eq!(scene.node.with(|fast_path| fast_path.stack_flows().unwrap()).len(), remembered, "{what}");
    }
    let sent = |source: IpAddr, destination| packet(source, address(destination)).build();
    let device = scene.node.namespace.index("sw_vxlan");
    for (what, frame, remembered) in [
        ("the node itself", sent(address("192.0.2.1"), "10.88.2.8"), 1),
        ("a pod, to the internet", sent(two.into(), "192.0.2.8"), 1),
        ("a pod, to another node's", sent(two.into(), "10.88.2.8"), 2),
    ] {
        TestRun::new(Program::ToNetwork, device, frame).expect(&scene.node, what, Verdict::ToStack);
        assert_eq!(scene.node.with(|fast_path| fast_path.stack_flows().unwrap()).len(), remembered, "{what}");
    }
}

#[test]
fn remembering_flows_can_be_switched_off() {
    let scene = Scene::with_config(FastPathConfig { remember_stack_flows: false, ..FastPathConfig::default() });
    let delivered = packet(scene.one.ipv4, scene.two.ipv4).macs(scene.two.host_mac, scene.two.pod_mac).build();
    TestRun::new(Program::ToPod, scene.two.index, delivered).expect(&scene.node, "delivered", Verdict::ToStack);
    assert!(scene.node.with(|fast_path| fast_path.stack_flows().unwrap()).is_empty());
    scene.expect("same flow", scene.sent_to(scene.two.ipv4), Verdict::Redirect);
}

#[test]
fn a_flood_of_drops_is_counted_whole_but_told_in_part() {
    let config = FastPathConfig { events_per_second: 10, event_burst: 25, ..FastPathConfig::default() };
    let scene = Scene::with_config(config);
    scene.run(scene.sent_to(address("10.88.1.77"))).times(5_000).execute(&scene.node);
    let counters = scene.node.counters();
    assert_eq!(counters.drops[&DropReason::UnknownPod].packets, 5_000);
    let told = u64::try_from(scene.node.events().len()).unwrap();
    assert!((25..100).contains(&told), "{told} events");
    assert_eq!(counters.event_loss.suppressed, 5_000 - told);
    assert_eq!(counters.event_loss.lost, 0);
}

#[test]
fn events_that_nobody_takes_are_counted_as_lost() {
    let config = FastPathConfig { event_burst: 100_000, ..FastPathConfig::default() };
    let scene = Scene::with_config(config);
    scene.run(scene.sent_to(address("10.88.1.77"))).times(10_000).execute(&scene.node);
    let told = u64::try_from(scene.node.events().len()).unwrap();
    let loss = scene.node.counters().event_loss;
    assert!(loss.lost > 0, "{loss:?}");
    let later = u64::try_from(scene.node.events().len()).unwrap();
    assert_eq!(told + later + loss.lost + loss.suppressed, 10_000);
}
