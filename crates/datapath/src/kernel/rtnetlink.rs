//! Requests and answers of rtnetlink: links, addresses, neighbors, forwarding entries,
//! routes (rtnetlink(7)). Encoding and decoding only; [`super::netlink`] sends.

pub(crate) mod address;
pub(crate) mod link;
pub(crate) mod neighbor;
pub(crate) mod route;

use std::net::IpAddr;

/// Number that marks our routes (`rtm_protocol`); not in use by any daemon that
/// iproute2's `rt_protos` lists.
pub(crate) const ROUTE_PROTOCOL: u8 = 83;

/// `AF_INET` or `AF_INET6` as headers hold it.
pub(crate) fn family(address: &IpAddr) -> u8 {
    if address.is_ipv4() { FAMILY_V4 } else { FAMILY_V6 }
}

/// `AF_INET`.
pub(crate) const FAMILY_V4: u8 = 2;
/// `AF_INET6`.
pub(crate) const FAMILY_V6: u8 = 10;
