//! Who is where: names, racks, addresses and gateways, computed from the
//! specification alone. Pure.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::spec::{LabSpec, nth_address};

/// Name of the namespace set with the bridges and the router.
pub const WIRE: &str = "wire";
/// Name of the host behind the router.
pub const OUTSIDE: &str = "outside";
/// Prefix length of a rack's IPv4 subnet.
const IPV4_SUBNET_LENGTH: u8 = 24;
/// Prefix length of a rack's IPv6 subnet.
const IPV6_SUBNET_LENGTH: u8 = 64;
/// Place of the router in each subnet.
const ROUTER_OFFSET: u32 = 1;
/// Places below this one are left to the router and to load-balancer addresses.
const FIRST_NODE_OFFSET: u32 = 10;

/// The whole lab on paper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The racks, in order.
    pub racks: Vec<Rack>,
    /// The nodes, in order.
    pub nodes: Vec<HostLayout>,
    /// The host behind the router.
    pub outside: HostLayout,
}

/// A subnet with a bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rack {
    /// `r1`, `r2`, …: also the zone of its nodes.
    pub name: String,
    /// Name of its bridge in the wire namespace, which is the router's leg too.
    pub bridge: String,
    /// The router's addresses in it, with the subnet's prefix length.
    pub gateways: Vec<IpNet>,
    /// Ethernet address of the bridge. Without one of its own it takes that of a
    /// port, which changes with a power cycle and leaves neighbors with the old.
    pub mac: String,
}

/// What kind of namespace set it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostKind {
    /// A Kubernetes node.
    Node,
    /// The host behind the router.
    Outside,
}

/// One host of the underlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostLayout {
    /// `n1`, `n2`, … or `outside`.
    pub name: String,
    /// What it is.
    pub kind: HostKind,
    /// Name of its rack; empty for the outside.
    pub rack: String,
    /// Its addresses with prefix length, IPv4 first.
    pub addresses: Vec<IpNet>,
    /// The router's addresses in its subnet.
    pub gateways: Vec<IpNet>,
    /// Name of its link's end in the wire namespace.
    pub port: String,
    /// Ethernet address of its `eth0`.
    pub mac: String,
}

// === impl Layout ===

impl Layout {
    /// Lays out a validated specification.
    #[must_use]
    pub fn of(spec: &LabSpec) -> Self {
        let racks: Vec<Rack> = (0..spec.racks)
            .map(|index| Rack {
                name: format!("r{}", index + 1),
                bridge: format!("rack{}", index + 1),
                gateways: in_subnet(spec, Some(index), ROUTER_OFFSET),
                mac: mac(3, index + 1),
            })
            .collect();
        let nodes = (0..spec.nodes)
            .map(|index| {
                // Neighbours in number share a rack.
                let rack = index * spec.racks / spec.nodes.max(1);
                HostLayout {
                    name: format!("n{}", index + 1),
                    kind: HostKind::Node,
                    rack: format!("r{}", rack + 1),
                    addresses: in_subnet(spec, Some(rack), FIRST_NODE_OFFSET + index),
                    gateways: in_subnet(spec, Some(rack), ROUTER_OFFSET),
                    port: format!("port-n{}", index + 1),
                    mac: mac(1, index + 1),
                }
            })
            .collect();
        let outside = HostLayout {
            name: OUTSIDE.into(),
            kind: HostKind::Outside,
            rack: String::new(),
            addresses: in_subnet(spec, None, FIRST_NODE_OFFSET),
            gateways: in_subnet(spec, None, ROUTER_OFFSET),
            port: "port-outside".into(),
            mac: mac(2, 1),
        };
        Self { racks, nodes, outside }
    }

    /// All hosts: the nodes, then the outside.
    pub fn hosts(&self) -> impl Iterator<Item = &HostLayout> {
        self.nodes.iter().chain(std::iter::once(&self.outside))
    }

    /// The host of that name.
    #[must_use]
    pub fn host(&self, name: &str) -> Option<&HostLayout> {
        self.hosts().find(|host| host.name == name)
    }

    /// The rack of that name.
    #[must_use]
    pub fn rack(&self, name: &str) -> Option<&Rack> {
        self.racks.iter().find(|rack| rack.name == name)
    }
}

// === impl HostLayout ===

impl HostLayout {
    /// Its address of the given family.
    #[must_use]
    pub fn address(&self, ipv4: bool) -> Option<IpAddr> {
        self.addresses.iter().map(IpNet::addr).find(|address| address.is_ipv4() == ipv4)
    }
}

/// The address `offset` in the subnet of rack `rack`, or in the last subnet for
/// the outside, per family.
fn in_subnet(spec: &LabSpec, rack: Option<u32>, offset: u32) -> Vec<IpNet> {
    spec.underlay_ranges()
        .iter()
        .filter_map(|range| {
            let length = if matches!(range, IpNet::V4(_)) { IPV4_SUBNET_LENGTH } else { IPV6_SUBNET_LENGTH };
            let subnet = subnet(range, length, rack)?;
            IpNet::new(nth_address(&subnet, offset), length).ok()
        })
        .collect()
}

fn subnet(range: &IpNet, length: u8, index: Option<u32>) -> Option<IpNet> {
    let subnet_bits = u32::from(length.checked_sub(range.prefix_len())?);
    // Without a number: the last one that 16 bits can count.
    let index = u128::from(index.unwrap_or(u32::MAX >> (32 - subnet_bits.clamp(1, 16))));
    let shifted = index << (range.max_prefix_len() - length);
    match range {
        IpNet::V4(net) => {
            let address = u32::from(net.network()) | u32::try_from(shifted).ok()?;
            IpNet::new(std::net::Ipv4Addr::from(address).into(), length).ok()
        }
        IpNet::V6(net) => {
            let address = u128::from(net.network()) | shifted;
            IpNet::new(std::net::Ipv6Addr::from(address).into(), length).ok()
        }
    }
}

/// A locally administered address that stays the same over power cycles.
fn mac(kind: u8, number: u32) -> String {
    let [_, _, high, low] = number.to_be_bytes();
    format!("02:5e:a0:{kind:02x}:{high:02x}:{low:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_spread_over_racks_in_order() {
        let spec = LabSpec { nodes: 3, racks: 2, ..LabSpec::default() };
        let layout = Layout::of(&spec);
        let racks: Vec<_> = layout.nodes.iter().map(|node| node.rack.as_str()).collect();
        assert_eq!(racks, ["r1", "r1", "r2"]);
        let third = layout.host("n3").unwrap();
        assert_eq!(
            third.addresses,
            ["172.31.1.12/24".parse::<IpNet>().unwrap(), "fd00:172:31:1::c/64".parse().unwrap()]
        );
        assert_eq!(third.gateways, layout.rack("r2").unwrap().gateways);
        assert_eq!(layout.outside.address(true), Some("172.31.255.10".parse().unwrap()));
        assert_eq!(layout.outside.address(false), Some("fd00:172:31:ffff::a".parse().unwrap()));
    }

    #[test]
    fn addresses_are_all_different() {
        let spec = LabSpec { nodes: 200, racks: 64, ..LabSpec::default() };
        let layout = Layout::of(&spec);
        let mut all: Vec<_> = layout.hosts().flat_map(|host| host.addresses.clone()).collect();
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!((count, all.len()), (402, 402));
    }
}
