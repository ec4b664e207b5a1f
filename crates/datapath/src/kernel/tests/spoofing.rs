//! Pods cannot send as somebody else; every attempt is counted and told once.

use std::net::IpAddr;

use seaway_model::{DropReason, Encapsulation, MacAddress, abi};

use super::traffic::send_frame;
use super::world::{BACKENDS, Node, OUTSIDE_V4, Pod, World, ip};

const STRANGER_MAC: MacAddress = MacAddress([2, 0xbb, 0, 0, 0, 1]);

fn ethernet(destination: MacAddress, source: MacAddress, ether_type: u16, payload: &[u8]) -> Vec<u8> {
    [&destination.0[..], &source.0, &ether_type.to_be_bytes(), payload].concat()
}

/// A UDP packet from port 1000 to port 2000 without payload, and its EtherType.
fn udp_packet(source: IpAddr, destination: IpAddr) -> (u16, Vec<u8>) {
    let udp = [1000u16.to_be_bytes(), 2000u16.to_be_bytes(), 8u16.to_be_bytes(), [0, 0]].concat();
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut header = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0];
            header.extend(source.octets());
            header.extend(destination.octets());
            let sum: u32 = header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
            let folded = u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
            header[10..12].copy_from_slice(&(!folded).to_be_bytes());
            (0x0800, [header, udp].concat())
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let header = [&[0x60, 0, 0, 0, 0, 8, 17, 64][..], &source.octets(), &destination.octets()].concat();
            (0x86dd, [header, udp].concat())
        }
        _ => panic!("mixed families"),
    }
}

fn arp_reply(mac: MacAddress, sender: &str, target: &str) -> Vec<u8> {
    let (IpAddr::V4(sender), IpAddr::V4(target)) = (ip(sender), ip(target)) else { panic!("ARP is for IPv4") };
    [&[0, 1, 8, 0, 6, 4, 0, 2][..], &mac.0, &sender.octets(), &[0; 6], &target.octets()].concat()
}

/// Sends a frame from the pod and expects one drop for `reason`.
fn expect_drop(node: &Node, pod: &Pod, frame: Vec<u8>, reason: DropReason) -> abi::Event {
    let before = node.counters().drops.get(&reason).copied().unwrap_or_default();
    node.events();
    send_frame(&pod.namespace, "eth0", frame);
    // A veth delivers on the sender's back, or a moment later on its CPU.
    let deadline = std::time::Instant::now() + super::traffic::PATIENCE;
    let mut events = Vec::new();
    while events.is_empty() {
        assert!(std::time::Instant::now() < deadline, "no event for {reason}");
        events = node.events();
        std::thread::yield_now();
    }
    let after = node.counters().drops.get(&reason).copied().unwrap_or_default();
    assert_eq!(after.packets, before.packets + 1, "{reason}");
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(DropReason::from_code(events[0].reason), Some(reason));
    assert_eq!((events[0].interface_index, events[0].endpoint_id), (pod.link.host_index, pod.link.endpoint_id));
    events[0]
}

#[test]
fn spoofed_packets_are_dropped_counted_and_told() {
    for backend in BACKENDS {
        let world = World::new(backend, Encapsulation::Vxlan);
        let (pod, victim) = (world.a.pod(11), world.a.pod(12));
        let (own, gateway) = (pod.link.pod_mac, pod.link.host_mac);
        for (stranger, target) in
            [("10.83.1.12", OUTSIDE_V4), ("192.0.2.1", OUTSIDE_V4), ("fd83:0:0:1::12", "2001:db8::100")]
        {
            let (ether_type, packet) = udp_packet(ip(stranger), ip(target));
            let frame = ethernet(gateway, own, ether_type, &packet);
            let event = expect_drop(&world.a, &pod, frame, DropReason::SpoofedSourceIp);
            assert_eq!(abi::unmap_address(event.source), ip(stranger));
            assert_eq!(abi::unmap_address(event.destination), ip(target));
            assert_eq!(u16::from_be(event.destination_port), 2000);
        }
        let (ether_type, packet) = udp_packet(pod.v4(), victim.v4());
        let frame = ethernet(gateway, STRANGER_MAC, ether_type, &packet);
        expect_drop(&world.a, &pod, frame, DropReason::SpoofedSourceMac);
        let claim = arp_reply(own, "10.83.1.12", "192.0.2.1");
        expect_drop(&world.a, &pod, ethernet(gateway, own, 0x0806, &claim), DropReason::SpoofedNeighbor);
    }
}

#[test]
fn tunnel_packets_of_strangers_are_dropped() {
    for backend in BACKENDS {
        let world = World::new(backend, Encapsulation::Vxlan);
        let before = world.a.counters().drops.get(&DropReason::UntrustedTunnel).copied().unwrap_or_default();
        world.outside.run(|| {
            let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.send_to(&[8, 0, 0, 0, 0, 0, 83, 0], "192.0.2.1:4789").unwrap();
        });
        let deadline = std::time::Instant::now() + super::traffic::PATIENCE;
        while world.a.counters().drops.get(&DropReason::UntrustedTunnel).copied().unwrap_or_default() == before {
            assert!(std::time::Instant::now() < deadline, "not counted");
            std::thread::yield_now();
        }
        let events = world.a.events();
        assert_eq!(events.len(), 1);
        assert_eq!(abi::unmap_address(events[0].source), ip(OUTSIDE_V4));
    }
}
