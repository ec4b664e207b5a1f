//! Addresses of devices.

use std::net::IpAddr;

use ipnet::IpNet;

use super::family;
use crate::kernel::netlink::{Attribute, Attributes, Request, constants};

const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_FLAGS: u16 = 8;
/// Usable at once, without duplicate address detection (RFC 4862 §5.4).
const IFA_F_NODAD: u32 = 0x02;
const SCOPE_UNIVERSE: u8 = 0;
const SCOPE_LINK: u8 = 253;

/// An address of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AddressInfo {
    pub(crate) index: u32,
    pub(crate) address: IpNet,
    pub(crate) link_local: bool,
}

/// `struct ifaddrmsg`.
fn header(index: u32, address: &IpNet) -> [u8; 8] {
    let scope = match address.addr() {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => SCOPE_LINK,
        _ => SCOPE_UNIVERSE,
    };
    let [i0, i1, i2, i3] = index.to_ne_bytes();
    [family(&address.addr()), address.prefix_len(), 0, scope, i0, i1, i2, i3]
}

/// Gives a device an address.
pub(crate) fn add(index: u32, device: &str, address: &IpNet) -> Request {
    let flags = constants::NLM_F_CREATE | constants::NLM_F_REPLACE;
    let object = format!("address {address} on {device}");
    let request = Request::new(RTM_NEWADDR, flags, &header(index, address), "add", object)
        .address(IFA_LOCAL, address.addr())
        .address(IFA_ADDRESS, address.addr());
    if address.addr().is_ipv6() { request.u32(IFA_FLAGS, IFA_F_NODAD) } else { request }
}

/// Takes an address from a device.
pub(crate) fn delete(index: u32, device: &str, address: &IpNet) -> Request {
    Request::new(RTM_DELADDR, 0, &header(index, address), "delete", format!("address {address} on {device}"))
        .address(IFA_LOCAL, address.addr())
        .address(IFA_ADDRESS, address.addr())
}

/// Asks for all addresses.
pub(crate) fn get_all() -> Request {
    Request::new(RTM_GETADDR, 0, &[0; 8], "read", "all addresses")
}

/// Reads an answer; `None` when it is no address.
pub(crate) fn parse(kind: u16, body: &[u8]) -> Option<AddressInfo> {
    let [_, prefix_length, _, scope, i0, i1, i2, i3] = *body.first_chunk::<8>().filter(|_| kind == RTM_NEWADDR)?;
    let attributes = Attributes(body.get(8..)?);
    // On point-to-point links ADDRESS is the peer's and LOCAL ours; IPv6 has ADDRESS only.
    let address = attributes.find(IFA_LOCAL).or_else(|| attributes.find(IFA_ADDRESS)).and_then(Attribute::address)?;
    Some(AddressInfo {
        index: u32::from_ne_bytes([i0, i1, i2, i3]),
        address: IpNet::new(address, prefix_length).ok()?,
        link_local: scope == SCOPE_LINK,
    })
}
