//! Permanent neighbors, and the forwarding entries of VXLAN devices.

use std::net::IpAddr;

use seaway_model::MacAddress;

use super::family;
use crate::kernel::netlink::{Attribute, Attributes, Request, constants};

const RTM_NEWNEIGH: u16 = 28;
const RTM_DELNEIGH: u16 = 29;
const RTM_GETNEIGH: u16 = 30;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NUD_NOARP: u16 = 0x40;
const NUD_PERMANENT: u16 = 0x80;
/// The entry is the device's own, not its bridge's.
const NTF_SELF: u8 = 0x02;
/// `AF_BRIDGE`: forwarding entries.
const FAMILY_BRIDGE: u8 = 7;

/// A permanent neighbor or forwarding entry: an address and its MAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NeighborInfo {
    pub(crate) index: u32,
    pub(crate) address: IpAddr,
    pub(crate) mac: MacAddress,
}

/// `struct ndmsg`.
fn header(family: u8, index: u32, state: u16, flags: u8) -> [u8; 12] {
    let [i0, i1, i2, i3] = index.to_ne_bytes();
    let [s0, s1] = state.to_ne_bytes();
    [family, 0, 0, 0, i0, i1, i2, i3, s0, s1, flags, 0]
}

/// Tells the kernel for good which MAC an address has.
pub(crate) fn put(index: u32, device: &str, address: IpAddr, mac: MacAddress) -> Request {
    let flags = constants::NLM_F_CREATE | constants::NLM_F_REPLACE;
    let object = format!("neighbor {address} on {device}");
    Request::new(RTM_NEWNEIGH, flags, &header(family(&address), index, NUD_PERMANENT, 0), "add", object)
        .address(NDA_DST, address)
        .mac(NDA_LLADDR, mac)
}

/// Forgets a neighbor.
pub(crate) fn delete(index: u32, device: &str, address: IpAddr) -> Request {
    let object = format!("neighbor {address} on {device}");
    Request::new(RTM_DELNEIGH, 0, &header(family(&address), index, 0, 0), "delete", object).address(NDA_DST, address)
}

/// Tells a VXLAN device for good behind which node a MAC is.
pub(crate) fn put_forwarding(index: u32, device: &str, mac: MacAddress, node: IpAddr) -> Request {
    let flags = constants::NLM_F_CREATE | constants::NLM_F_REPLACE;
    let header = header(FAMILY_BRIDGE, index, NUD_NOARP | NUD_PERMANENT, NTF_SELF);
    Request::new(RTM_NEWNEIGH, flags, &header, "add", format!("forwarding entry {mac} to {node} on {device}"))
        .mac(NDA_LLADDR, mac)
        .address(NDA_DST, node)
}

/// Forgets a forwarding entry.
pub(crate) fn delete_forwarding(index: u32, device: &str, mac: MacAddress, node: IpAddr) -> Request {
    let header = header(FAMILY_BRIDGE, index, 0, NTF_SELF);
    Request::new(RTM_DELNEIGH, 0, &header, "delete", format!("forwarding entry {mac} on {device}"))
        .mac(NDA_LLADDR, mac)
        .address(NDA_DST, node)
}

/// Asks for all neighbors.
pub(crate) fn get_all() -> Request {
    Request::new(RTM_GETNEIGH, 0, &header(0, 0, 0, 0), "read", "all neighbors")
}

/// Asks for all forwarding entries.
pub(crate) fn get_all_forwarding() -> Request {
    Request::new(RTM_GETNEIGH, 0, &header(FAMILY_BRIDGE, 0, 0, 0), "read", "all forwarding entries")
}

/// Reads an answer; `None` when it is no permanent entry with an address and a MAC.
pub(crate) fn parse(kind: u16, body: &[u8]) -> Option<NeighborInfo> {
    let [_, _, _, _, i0, i1, i2, i3, s0, s1, ..] = *body.first_chunk::<12>().filter(|_| kind == RTM_NEWNEIGH)?;
    if u16::from_ne_bytes([s0, s1]) & NUD_PERMANENT == 0 {
        return None;
    }
    let attributes = Attributes(body.get(12..)?);
    Some(NeighborInfo {
        index: u32::from_ne_bytes([i0, i1, i2, i3]),
        address: attributes.find(NDA_DST).and_then(Attribute::address)?,
        mac: attributes.find(NDA_LLADDR).and_then(Attribute::mac)?,
    })
}
