//! What comes from other nodes: `sw_from_tunnel` and `sw_from_underlay` on frames of our
//! own making.

use std::net::IpAddr;

use seaway_model::{DropReason, MacAddress, abi};

use super::super::{FastPathConfig, Program};
use super::hand::{Node, Pod};
use super::packet::{ETHERNET_BYTES, PacketBuilder, packet};
use super::test_run::{TestRun, Verdict};

struct Scene {
    node: Node,
    pod: Pod,
    device: u32,
    device_mac: [u8; 6],
}

impl Scene {
    fn new() -> Self {
        let node = Node::new();
        let pod = node.add_silent_pod(1, 1);
        node.load(FastPathConfig::default());
        node.attach(&pod);
        // Any Ethernet device does: frames stop at the verdict.
        node.namespace.ip("link add device type veth peer name wire");
        let (device, device_mac) = (node.namespace.index("device"), node.namespace.mac("device"));
        node.with(move |fast_path| {
            fast_path.attach_tunnel(device, MacAddress(device_mac)).unwrap();
            let route = |kind, interface_index| abi::Route {
                kind,
                interface_index,
                mtu_bytes: 1_450,
                tunnel_mac: [2; 6],
                pad: [0; 2],
            };
            let routes = [
                ("10.88.1.0/24", route(abi::ROUTE_LOCAL_BLOCK, 0)),
                ("fd88:0:0:1::/64", route(abi::ROUTE_LOCAL_BLOCK, 0)),
                ("10.88.2.0/24", route(abi::ROUTE_TUNNEL, device)),
                ("fd88:0:0:2::/64", route(abi::ROUTE_TUNNEL, device)),
                ("10.88.3.0/24", route(abi::ROUTE_DIRECT, device)),
                ("10.88.4.0/24", route(abi::ROUTE_DIRECT, 0)),
            ];
            fast_path.set_routes(&routes.map(|(prefix, route)| (prefix.parse().unwrap(), route)), &[]).unwrap();
        });
        Self { node, pod, device, device_mac }
    }

    fn packet(&self, source: &str, destination: impl Into<IpAddr>) -> PacketBuilder {
        packet(source.parse::<IpAddr>().unwrap(), destination).destination_mac(self.device_mac)
    }

    fn expect(&self, program: Program, what: &str, packet: PacketBuilder, verdict: Verdict) -> Vec<u8> {
        TestRun::new(program, self.device, packet.build()).expect(&self.node, what, verdict)
    }
}

#[test]
fn packets_for_a_pod_go_straight_to_it() {
    let scene = Scene::new();
    for program in [Program::FromTunnel, Program::FromUnderlay] {
        for (source, destination) in [
            ("10.88.2.9", IpAddr::from(scene.pod.ipv4)),
            ("fd88:0:0:2::9", scene.pod.ipv6.into()),
            ("10.88.3.9", scene.pod.ipv4.into()),
        ] {
            let out = scene.expect(program, source, scene.packet(source, destination), Verdict::Redirect);
            assert_eq!(out[..12], [scene.pod.pod_mac, scene.pod.host_mac].concat());
            assert_eq!(out[ETHERNET_BYTES + if destination.is_ipv4() { 8 } else { 7 }], 63);
        }
    }
    assert_eq!(scene.node.traffic(&scene.pod).received_fast.packets, 6);
}

#[test]
fn what_the_stack_must_see_goes_there() {
    let scene = Scene::new();
    let pod = scene.pod.ipv4;
    for program in [Program::FromTunnel, Program::FromUnderlay] {
        for (what, packet) in [
            ("from an address whose answers go through the stack", scene.packet("192.0.2.1", pod)),
            ("from a block whose answers go through the stack", scene.packet("10.88.4.1", pod)),
            ("last hop", scene.packet("10.88.2.9", pod).hop_limit(1)),
            ("fragment", scene.packet("10.88.2.9", pod).fragment(0x2000)),
            ("ICMP error", scene.packet("10.88.2.9", pod).icmp(&[3, 3, 0, 0, 0, 0, 0, 0])),
            ("for the node", scene.packet("10.88.2.9", "192.0.2.1".parse::<IpAddr>().unwrap())),
            ("multicast", scene.packet("10.88.2.9", "224.0.0.1".parse::<IpAddr>().unwrap())),
            ("frame for someone else", scene.packet("10.88.2.9", pod).destination_mac([2, 9, 9, 9, 9, 9])),
        ] {
            scene.expect(program, what, packet, Verdict::ToStack);
        }
    }
    // A pod's packet that the stack has translated: its answer comes back out of the tunnel.
    let sent = packet(pod, "10.88.2.9".parse::<IpAddr>().unwrap()).tcp(80, 40_000).build();
    TestRun::new(Program::ToNetwork, scene.device, sent).expect(&scene.node, "sent", Verdict::ToStack);
    let answer = scene.packet("10.88.2.9", pod).tcp(40_000, 80);
    scene.expect(Program::FromTunnel, "answer", answer, Verdict::ToStack);
    let other = scene.packet("10.88.2.9", pod).tcp(40_001, 80);
    scene.expect(Program::FromTunnel, "other flow", other, Verdict::Redirect);
}

#[test]
fn what_no_pod_can_receive_is_dropped_in_the_tunnel_and_left_alone_on_the_underlay() {
    let scene = Scene::new();
    let nobody: IpAddr = "10.88.1.77".parse().unwrap();
    let unknown = || scene.packet("10.88.2.9", nobody);
    scene.expect(Program::FromTunnel, "unknown pod", unknown(), Verdict::Drop(DropReason::UnknownPod));
    scene.expect(Program::FromUnderlay, "unknown pod", unknown(), Verdict::ToStack);
    let malformed = || scene.packet("10.88.2.9", scene.pod.ipv4).wrong_length(2_000);
    scene.expect(Program::FromTunnel, "malformed", malformed(), Verdict::Drop(DropReason::Malformed));
    scene.expect(Program::FromUnderlay, "malformed", malformed(), Verdict::ToStack);
}
