//! What a pod may send: every check of `sw_from_pod`, with frames that just pass beside
//! frames that just do not.

use std::net::{Ipv4Addr, Ipv6Addr};

use seaway_model::DropReason::{self, Malformed, SpoofedNeighbor, SpoofedSourceIp, SpoofedSourceMac, UnknownEtherType};

use super::super::{FastPathConfig, Program};
use super::hand::{Node, Pod};
use super::packet::{PacketBuilder, arp, frame, mac_option, neighbor_message, packet};
use super::test_run::{TestRun, Verdict};

const HOP_BY_HOP: u8 = 0;
const DESTINATION_OPTIONS: u8 = 60;
const ROUTER_ALERT: [u8; 6] = [5, 2, 0, 0, 1, 0];
const OTHER_MAC: [u8; 6] = [2, 6, 6, 6, 6, 6];
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

struct Scene {
    node: Node,
    pod: Pod,
}

impl Scene {
    fn new() -> Self {
        let node = Node::new();
        let pod = node.add_silent_pod(1, 1);
        node.load(FastPathConfig::default());
        node.attach(&pod);
        Self { node, pod }
    }

    /// `None`: it may pass.
    fn expect_frame(&self, what: &str, frame: Vec<u8>, reason: Option<DropReason>) {
        let verdict = reason.map_or(Verdict::ToStack, Verdict::Drop);
        TestRun::new(Program::FromPod, self.pod.index, frame).expect(&self.node, what, verdict);
    }

    fn expect(&self, what: &str, packet: PacketBuilder, reason: Option<DropReason>) {
        let packet = packet.macs(self.pod.pod_mac, self.pod.host_mac);
        self.expect_frame(what, packet.build(), reason);
    }

    /// The address that the kernel in the pod makes of its MAC.
    fn link_local(&self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.pod.pod_mac;
        let groups = [(a ^ 2, b), (c, 0xff), (0xfe, d), (e, f)].map(|(high, low)| u16::from_be_bytes([high, low]));
        Ipv6Addr::new(0xfe80, 0, 0, 0, groups[0], groups[1], groups[2], groups[3])
    }
}

fn v4(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

fn v6(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

#[test]
fn a_pod_sends_from_its_own_mac_only() {
    let scene = Scene::new();
    let own = packet(scene.pod.ipv4, v4("192.0.2.1"));
    scene.expect("own", own.clone(), None);
    for position in 0..6 {
        let mut mac = scene.pod.pod_mac;
        mac[position] ^= 0x10;
        let spoofed = own.clone().macs(mac, scene.pod.host_mac).build();
        scene.expect_frame("other MAC", spoofed, Some(SpoofedSourceMac));
    }
    let arp_message = arp(1, (OTHER_MAC, scene.pod.ipv4), v4("169.254.1.1"));
    scene.expect_frame("ARP", frame(OTHER_MAC, [0xff; 6], 0x0806, &arp_message), Some(SpoofedSourceMac));
    let counters = scene.node.counters();
    assert_eq!(counters.drops[&SpoofedSourceMac].packets, 7);
    assert_eq!(scene.node.traffic(&scene.pod).sent_stack.packets, 1, "drops are not counted as sent");
}

#[test]
fn a_pod_sends_from_its_own_addresses_only() {
    let scene = Scene::new();
    let (outside, outside_v6) = (v4("192.0.2.1"), v6("2001:db8::1"));
    for source in ["10.88.1.2", "0.0.0.0", "127.0.0.1", "255.255.255.255"] {
        scene.expect(source, packet(v4(source), outside), Some(SpoofedSourceIp));
        scene.expect(source, packet(v4(source), outside).fragment(100), Some(SpoofedSourceIp));
    }
    scene.expect("own IPv6", packet(scene.pod.ipv6, outside_v6), None);
    for source in ["fd88:0:0:1::2", "::1", "::", "fe80::1", "fe80::2", "::ffff:10.88.1.1"] {
        scene.expect(source, packet(v6(source), outside_v6), Some(SpoofedSourceIp));
    }
    let options = packet(v6("fd88:0:0:1::2"), outside_v6).extension(DESTINATION_OPTIONS, [1, 4, 0, 0, 0, 0]);
    scene.expect("behind options", options, Some(SpoofedSourceIp));
    scene.expect("link-local of the MAC", packet(scene.link_local(), ALL_NODES).udp(546, 547), None);
}

#[test]
fn a_pod_without_ipv4_sends_none_but_keeps_its_link_local_address() {
    let scene = Scene::new();
    let (index, mut link) = (scene.pod.index, scene.pod.link());
    (link.ipv4, link.ipv6) = ([0; 4], [0; 16]);
    scene.node.with(move |fast_path| fast_path.attach_pod_link(index, &link, &[]).unwrap());
    scene.expect("IPv4", packet(v4("0.0.0.0"), v4("192.0.2.1")), Some(SpoofedSourceIp));
    scene.expect("IPv6", packet(scene.pod.ipv6, v6("2001:db8::1")), Some(SpoofedSourceIp));
    scene.expect("unspecified", packet(v6("::"), v6("2001:db8::1")), Some(SpoofedSourceIp));
    let probe = arp(1, (scene.pod.pod_mac, v4("0.0.0.0")), v4("0.0.0.0"));
    scene.expect_frame("ARP", frame(scene.pod.pod_mac, [0xff; 6], 0x0806, &probe), Some(SpoofedNeighbor));
    let solicitation = packet(scene.link_local(), ALL_NODES).icmp(&[133, 0, 0, 0, 0, 0, 0, 0]);
    scene.expect("router solicitation", solicitation, None);
}

#[test]
fn arp_speaks_of_the_pod_itself() {
    let scene = Scene::new();
    let (mac, own) = (scene.pod.pod_mac, scene.pod.ipv4);
    let (gateway, other, none) = (v4("169.254.1.1"), v4("10.88.1.2"), v4("0.0.0.0"));
    for (what, message, reason) in [
        ("request", arp(1, (mac, own), gateway), None),
        ("reply", arp(2, (mac, own), gateway), None),
        ("announcement", arp(1, (mac, own), own), None),
        ("probe for its own address", arp(1, (mac, none), own), None),
        ("probe for another's", arp(1, (mac, none), other), Some(SpoofedNeighbor)),
        ("another's address", arp(1, (mac, other), gateway), Some(SpoofedNeighbor)),
        ("the gateway's address", arp(2, (mac, gateway), own), Some(SpoofedNeighbor)),
        ("another MAC inside", arp(1, (OTHER_MAC, own), gateway), Some(SpoofedNeighbor)),
        ("cut short", arp(1, (mac, own), gateway)[..20].to_vec(), Some(Malformed)),
        ("not for IPv4", [&[0, 1, 0x86, 0xdd], &arp(1, (mac, own), gateway)[4..]].concat(), Some(Malformed)),
    ] {
        scene.expect_frame(what, frame(mac, [0xff; 6], 0x0806, &message), reason);
    }
}

#[test]
fn neighbor_discovery_speaks_of_the_pod_itself() {
    let scene = Scene::new();
    let (mac, own, link_local) = (scene.pod.pod_mac, scene.pod.ipv6, scene.link_local());
    let (other, gateway, none) = (v6("fd88:0:0:1::2"), v6("fe80::1"), v6("::"));
    let (own_source, other_source) = (mac_option(1, mac), mac_option(1, OTHER_MAC));
    let (own_target, other_target) = (mac_option(2, mac), mac_option(2, OTHER_MAC));
    let nonce = [14, 1, 1, 2, 3, 4, 5, 6];
    let second = [own_source.clone(), other_source.clone()].concat();
    for (what, source, message, reason) in [
        ("solicits the gateway", own, neighbor_message(135, gateway, &own_source), None),
        ("from its link-local address", link_local, neighbor_message(135, gateway, &own_source), None),
        ("without option", own, neighbor_message(135, gateway, &[]), None),
        ("with another's MAC", own, neighbor_message(135, gateway, &other_source), Some(SpoofedNeighbor)),
        ("with another's MAC in second place", own, neighbor_message(135, gateway, &second), Some(SpoofedNeighbor)),
        ("detects duplicates of its own", none, neighbor_message(135, own, &nonce), None),
        ("and of its link-local address", none, neighbor_message(135, link_local, &nonce), None),
        ("and of another's", none, neighbor_message(135, other, &nonce), Some(SpoofedNeighbor)),
        ("advertises itself", own, neighbor_message(136, own, &own_target), None),
        ("advertises its link-local address", own, neighbor_message(136, link_local, &own_target), None),
        ("advertises another", own, neighbor_message(136, other, &own_target), Some(SpoofedNeighbor)),
        ("advertises the gateway", own, neighbor_message(136, gateway, &own_target), Some(SpoofedNeighbor)),
        ("advertises another's MAC", own, neighbor_message(136, own, &other_target), Some(SpoofedNeighbor)),
        ("advertises from nowhere", none, neighbor_message(136, own, &own_target), Some(SpoofedSourceIp)),
        ("is a router", link_local, neighbor_message(134, own, &[]), Some(SpoofedNeighbor)),
        ("redirects", link_local, neighbor_message(137, own, &own.octets()), Some(SpoofedNeighbor)),
        ("empty option", own, neighbor_message(135, gateway, &[1, 0, 0, 0, 0, 0, 0, 0]), Some(Malformed)),
        ("option cut short", own, neighbor_message(135, gateway, &[1, 1, 0]), Some(Malformed)),
        ("five options", own, neighbor_message(135, gateway, &nonce.repeat(5)), Some(SpoofedNeighbor)),
        ("cut short", own, vec![135, 0, 0, 0, 0, 0, 0, 0], Some(Malformed)),
        ("asks for routers", none, [133, 0, 0, 0, 0, 0, 0, 0].to_vec(), None),
        ("asks with its MAC", link_local, [&[133, 0, 0, 0, 0, 0, 0, 0], &own_source[..]].concat(), None),
        (
            "asks with another's",
            link_local,
            [&[133, 0, 0, 0, 0, 0, 0, 0], &other_source[..]].concat(),
            Some(SpoofedNeighbor),
        ),
    ] {
        scene.expect(what, packet(source, ALL_NODES).icmp(&message), reason);
    }
}

#[test]
fn neighbor_discovery_cannot_hide_behind_extension_headers() {
    let scene = Scene::new();
    let own = scene.pod.ipv6;
    let padding = [1, 4, 0, 0, 0, 0];
    let honest = neighbor_message(136, own, &mac_option(2, scene.pod.pod_mac));
    let hidden = |number| packet(own, ALL_NODES).icmp(&honest).extension(number, padding);
    for number in [HOP_BY_HOP, 43, DESTINATION_OPTIONS] {
        scene.expect("behind one header", hidden(number), Some(SpoofedNeighbor));
    }
    let deep = hidden(HOP_BY_HOP).extension(DESTINATION_OPTIONS, padding).extension(43, padding);
    scene.expect("behind three", deep, Some(SpoofedNeighbor));
    let endless = (0..7).fold(hidden(HOP_BY_HOP), |packet, _| packet.extension(DESTINATION_OPTIONS, padding));
    scene.expect("behind eight", endless, Some(Malformed));
    // Receivers ignore neighbor discovery in fragments, RFC 6980.
    scene.expect("behind a fragment header", hidden(44), None);
}

#[test]
fn multicast_reports_may_come_from_nowhere() {
    let scene = Scene::new();
    for (kind, reason) in [(143, None), (131, None), (132, None), (128, Some(SpoofedSourceIp))] {
        let message = [kind, 0, 0, 0, 0, 0, 0, 0];
        let report = packet(v6("::"), v6("ff02::16")).hop_limit(1).icmp(&message).extension(HOP_BY_HOP, ROUTER_ALERT);
        scene.expect(&format!("ICMPv6 type {kind}"), report, reason);
    }
}

#[test]
fn other_protocols_and_broken_headers_are_dropped() {
    let scene = Scene::new();
    let (mac, gateway) = (scene.pod.pod_mac, scene.pod.host_mac);
    for ether_type in [0x8100, 0x88a8, 0x8847, 0x88cc, 0x0026] {
        let other = frame(mac, gateway, ether_type, &[0; 60]);
        scene.expect_frame(&format!("{ether_type:#06x}"), other, Some(UnknownEtherType));
    }
    let ipv4 = || packet(scene.pod.ipv4, v4("192.0.2.1"));
    let ipv6 = || packet(scene.pod.ipv6, v6("2001:db8::1"));
    scene.expect("longer than the frame", ipv4().wrong_length(41), Some(Malformed));
    scene.expect("shorter than its header", ipv4().wrong_length(19), Some(Malformed));
    scene.expect("shorter than TCP's header", ipv4().wrong_length(39), Some(Malformed));
    scene.expect("length zero", ipv4().wrong_length(0), Some(Malformed));
    scene.expect("longer than the frame, IPv6", ipv6().wrong_length(21), Some(Malformed));
    scene.expect("shorter than TCP's header, IPv6", ipv6().wrong_length(19), Some(Malformed));
    scene.expect("UDP cut short", ipv4().protocol(17, &[0; 7]), Some(Malformed));
    let whole = ipv4().macs(mac, gateway).build();
    scene.expect_frame("TCP cut short", whole[..40].to_vec(), Some(Malformed));
    let mut version = whole.clone();
    version[14] = 0x65;
    scene.expect_frame("version 6 in an IPv4 frame", version, Some(Malformed));
    let mut header_length = whole;
    header_length[14] = 0x44;
    scene.expect_frame("header of 16 bytes", header_length, Some(Malformed));
    let whole = ipv6().macs(mac, gateway).build();
    scene.expect_frame("TCP over IPv6 cut short", whole[..60].to_vec(), Some(Malformed));
}
