//! Addresses by what they are for. Number `n` of a kind has an address of each family.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// What lives at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Kind {
    /// A pod of the judged node (1), or of another (2, 3).
    Pod(u8),
    /// A node: 1 is the judged one. 33 is another address of it that is no `InternalIP`.
    Node,
    /// A host outside of the cluster.
    Outside,
    /// A Service.
    Service,
    /// An external IP or a load balancer's address.
    Virtual,
}

/// The judged node.
pub(crate) const HERE: u8 = 1;
/// Number of the judged node's other address.
pub(crate) const SECOND: u8 = 33;

/// The address of a number.
pub(crate) fn address(kind: Kind, number: u8, ipv4: bool) -> IpAddr {
    let (v4, v6) = match kind {
        Kind::Pod(node) => ([10, 83, node, number], [0xfd83, 0, 0, u16::from(node)]),
        Kind::Node => ([192, 0, 2, number], [0x2001, 0xdb8, 0, 0]),
        Kind::Outside => ([198, 51, 100, number], [0x2001, 0xdb8, 9, 0]),
        Kind::Service => ([10, 96, 0, number], [0xfd96, 0, 0, 0]),
        Kind::Virtual => ([203, 0, 113, number], [0x2001, 0xdb8, 5, 0]),
    };
    if ipv4 {
        return IpAddr::V4(Ipv4Addr::from(v4));
    }
    let [a, b, c, d] = v6;
    IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, u16::from(number)))
}

/// The node's loopback address.
pub(crate) fn loopback(ipv4: bool) -> IpAddr {
    if ipv4 { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { IpAddr::V6(Ipv6Addr::LOCALHOST) }
}

/// Ranges of Service addresses.
pub(crate) fn service_ranges() -> Vec<IpNet> {
    ["10.96.0.0/16", "fd96::/112"].map(range).to_vec()
}

/// Ranges of all pods.
pub(crate) fn pod_ranges() -> Vec<IpNet> {
    ["10.83.0.0/16", "fd83::/48"].map(range).to_vec()
}

/// Ranges of the judged node's pods.
pub(crate) fn local_pod_ranges() -> Vec<IpNet> {
    ["10.83.1.0/24", "fd83:0:0:1::/64"].map(range).to_vec()
}

/// A range from its text.
pub(crate) fn range(text: &str) -> IpNet {
    text.parse().expect("a range")
}
