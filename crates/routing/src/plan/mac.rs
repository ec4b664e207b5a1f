//! MAC addresses of tunnel devices. Every node computes those of all others,
//! so that no one has to publish them.

use std::net::IpAddr;

use seaway_model::MacAddress;

/// MAC of the VXLAN device of the node with underlay address `address`.
///
/// Locally administered and unicast (IEEE 802 §8.2). For IPv4 the address is
/// embedded, so different nodes have different MACs; for IPv6 40 bits of a hash
/// are: two of 10,000 nodes meet with a chance of 1 in 20,000.
#[must_use]
pub fn tunnel_mac(address: IpAddr) -> MacAddress {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            MacAddress([0x56, 0x53, a, b, c, d])
        }
        IpAddr::V6(v6) => {
            let [_, _, _, b, c, d, e, f] = fnv1a(&v6.octets()).to_be_bytes();
            MacAddress([0x5a, b, c, d, e, f])
        }
    }
}

/// 64-bit FNV-1a (RFC 9923): stable over releases, unlike the standard hasher.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
