//! What people are told of a drop.

use super::super::world::World;

#[test]
fn drops_are_named() {
    use seaway_model::{DropReason, abi};
    let mut world = World::running();
    let added = world.add("a").unwrap();
    let link = world.state.endpoints().next().unwrap().clone();
    let event = |reason: DropReason, source: &str, destination: &str| abi::Event {
        source: abi::map_address(source.parse().unwrap()),
        destination: abi::map_address(destination.parse().unwrap()),
        interface_index: link.host_index,
        endpoint_id: link.endpoint_id,
        destination_port: 80u16.to_be(),
        reason: reason.code(),
        protocol: 6,
        family: 4,
        ..bytemuck_zeroed()
    };
    let spoofed = world.state.describe_drop(&event(DropReason::SpoofedSourceIp, "198.51.100.1", "10.244.9.9"));
    assert_eq!(spoofed.cause, "pod shop/a");
    assert_eq!(spoofed.source_pod.unwrap().name, "a");
    assert_eq!(spoofed.interface, Some(added.host_interface.clone()));
    assert_eq!(spoofed.destination_port, 80);
    let block = *world.snapshot.blocks.keys().next().unwrap();
    let unused = block.hosts().last().unwrap().to_string();
    let unknown = world.state.describe_drop(&event(DropReason::UnknownPod, "192.0.2.2", &unused));
    assert_eq!(unknown.cause, format!("block {block} of node n1, pool v4"));
    let stranger = abi::Event {
        endpoint_id: 0,
        interface_index: 2,
        ..event(DropReason::UntrustedTunnel, "203.0.113.5", "10.244.0.1")
    };
    let stranger = world.state.describe_drop(&stranger);
    assert_eq!(stranger.cause, "address 203.0.113.5, which is no node of this cluster");
    assert_eq!(stranger.interface.unwrap().as_str(), "eth0");
}

fn bytemuck_zeroed() -> seaway_model::abi::Event {
    seaway_model::abi::Event {
        boot_time_nanos: 0,
        source: [0; 16],
        destination: [0; 16],
        interface_index: 0,
        endpoint_id: 0,
        source_port: 0,
        destination_port: 0,
        reason: 0,
        protocol: 0,
        family: 0,
        length_bytes: 0,
        pad: 0,
    }
}
