//! `apply(diff(wanted, actual))` gives `wanted`, on a kernel in memory that refuses what
//! the real one refuses.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use proptest::prelude::*;
use seaway_model::MacAddress;

use super::*;

/// Objects with the kernel's rules: nothing is made twice, nothing missing is removed,
/// nothing stands on a missing tunnel, and what stands on it goes with it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct MemoryKernel(Objects);

impl MemoryKernel {
    fn run(&mut self, operation: &Operation) {
        match operation {
            Operation::Put { key, value, previous, .. } => {
                assert_eq!(self.0.get(key), previous.as_ref(), "{operation} expects another state");
                let grounded = !key.dies_with_tunnel(value) || self.0.contains_key(&Key::Tunnel);
                assert!(grounded, "{operation} without a tunnel device");
                if let (Some(Value::Tunnel(old)), Value::Tunnel(new)) = (previous, value) {
                    assert!(old.can_become(new), "{operation} changes what cannot change");
                }
                self.0.insert(key.clone(), value.clone());
            }
            Operation::Remove { key, value } => {
                assert_eq!(self.0.remove(key).as_ref(), Some(value), "{operation} removes something else");
                if *key == Key::Tunnel {
                    self.0.retain(|key, value| !key.dies_with_tunnel(value));
                }
            }
        }
    }
}

fn address() -> impl Strategy<Value = IpAddr> {
    (0u8..6).prop_map(|last| Ipv4Addr::new(10, 0, 0, last).into())
}

fn range() -> impl Strategy<Value = IpNet> {
    (0u8..6).prop_map(|third| Ipv4Net::new_assert(Ipv4Addr::new(10, 0, third, 0), 24).into())
}

fn mac() -> impl Strategy<Value = MacAddress> {
    (0u8..4).prop_map(|last| MacAddress([2, 0, 0, 0, 0, last]))
}

fn device() -> impl Strategy<Value = String> {
    prop_oneof![Just(TUNNEL_DEVICE.to_owned()), Just("sw00000001".to_owned())]
}

fn target() -> impl Strategy<Value = RouteTarget> {
    prop_oneof![
        Just(RouteTarget::Unreachable),
        (device(), proptest::option::of(address()), proptest::option::of(1280u32..1283))
            .prop_map(|(device, next_hop, mtu_bytes)| RouteTarget::Device { device, next_hop, mtu_bytes }),
    ]
}

fn tunnel() -> impl Strategy<Value = TunnelDevice> {
    (0u32..2, address(), mac(), 1400u32..1402, any::<bool>(), any::<bool>()).prop_map(
        |(id, local, mac, mtu_bytes, learning, up)| TunnelDevice {
            id,
            port: 4789,
            local: Some(local),
            learning,
            mac,
            mtu_bytes,
            up,
        },
    )
}

fn object() -> impl Strategy<Value = (Key, Value)> {
    prop_oneof![
        tunnel().prop_map(|device| (Key::Tunnel, Value::Tunnel(device))),
        Just((Key::TunnelSetting("net/x".to_owned()), Value::Text("2".to_owned()))),
        range().prop_map(|address| (Key::TunnelAddress(address), Value::Present)),
        (device(), address(), mac())
            .prop_map(|(device, address, mac)| (Key::Neighbor { device, address }, Value::Mac(mac))),
        (mac(), address()).prop_map(|(mac, node)| (Key::Forwarding(mac), Value::Node(node))),
        (range(), target()).prop_map(|(range, target)| (Key::Route(range), Value::Route(target))),
        address().prop_map(|peer| (Key::Element(NftSet::TunnelPeers, Element::Address(peer)), Value::Present)),
    ]
}

/// Objects that a kernel can hold: nothing stands on a missing tunnel.
fn state() -> impl Strategy<Value = Objects> {
    proptest::collection::vec(object(), 0..30).prop_map(|pairs| {
        let mut objects: Objects = pairs.into_iter().collect();
        if !objects.contains_key(&Key::Tunnel) {
            objects.retain(|key, value| !key.dies_with_tunnel(value));
        }
        objects
    })
}

proptest! {
    #[test]
    fn operations_lead_from_what_is_to_what_is_wanted(actual in state(), target in state()) {
        let wanted: WantedObjects = target
            .iter()
            .map(|(key, value)| (key.clone(), Wanted { value: value.clone(), cause: "test".to_owned() }))
            .collect();
        let mut kernel = MemoryKernel(actual);
        for operation in diff(&wanted, &kernel.0.clone()) {
            kernel.run(&operation);
        }
        prop_assert_eq!(&kernel.0, &target);
        prop_assert!(diff(&wanted, &kernel.0).is_empty());
    }
}
