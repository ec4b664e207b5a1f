//! Routes of ours in the main table.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{FAMILY_V4, ROUTE_PROTOCOL, family};
use crate::kernel::netlink::{Attribute, Attributes, Request, constants};

const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_METRICS: u16 = 8;
const RTA_VIA: u16 = 18;
const RTAX_MTU: u16 = 2;
const RTN_UNICAST: u8 = 1;
const RTN_UNREACHABLE: u8 = 7;
const RT_TABLE_MAIN: u8 = 254;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_LINK: u8 = 253;
/// What the kernel has learned of one destination, not a route that somebody made.
const RTM_F_CLONED: u32 = 0x200;
/// The next hop is on the link, whatever the device's addresses say.
const RTNH_F_ONLINK: u32 = 4;

/// A route of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RouteInfo {
    pub(crate) destination: IpNet,
    pub(crate) unreachable: bool,
    /// Device; of no meaning when unreachable.
    pub(crate) index: u32,
    pub(crate) next_hop: Option<IpAddr>,
    pub(crate) mtu_bytes: Option<u32>,
}

/// What to do when a route to the destination exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    /// Refuse: it is somebody else's.
    Refuse,
    /// Replace: it is ours.
    Replace,
}

/// `struct rtmsg`.
fn header(route: &RouteInfo) -> [u8; 12] {
    let (kind, scope) = match (route.unreachable, route.next_hop) {
        (true, _) => (RTN_UNREACHABLE, RT_SCOPE_UNIVERSE),
        // IPv6 knows no scopes; IPv4 has the sender's address chosen by them.
        (false, None) if route.destination.addr().is_ipv4() => (RTN_UNICAST, RT_SCOPE_LINK),
        (false, _) => (RTN_UNICAST, RT_SCOPE_UNIVERSE),
    };
    let flags = if route.next_hop.is_some() { RTNH_F_ONLINK } else { 0 };
    let [f0, f1, f2, f3] = flags.to_ne_bytes();
    let destination = route.destination;
    let prefix_length = destination.prefix_len();
    [family(&destination.addr()), prefix_length, 0, 0, RT_TABLE_MAIN, ROUTE_PROTOCOL, scope, kind, f0, f1, f2, f3]
}

/// Makes a route.
pub(crate) fn add(route: &RouteInfo, device: &str, existing: Existing) -> Request {
    let flags = match existing {
        Existing::Refuse => constants::NLM_F_CREATE | constants::NLM_F_EXCL,
        Existing::Replace => constants::NLM_F_CREATE | constants::NLM_F_REPLACE,
    };
    let object = format!("route {} on {device}", route.destination);
    let request = with_destination(Request::new(RTM_NEWROUTE, flags, &header(route), "add", object), route);
    match route.mtu_bytes {
        Some(mtu) => request.nested(RTA_METRICS, |metrics| metrics.u32(RTAX_MTU, mtu)),
        None => request,
    }
}

/// Removes a route of ours.
pub(crate) fn delete(route: &RouteInfo, device: &str) -> Request {
    let object = format!("route {} on {device}", route.destination);
    with_destination(Request::new(RTM_DELROUTE, 0, &header(route), "delete", object), route)
}

fn with_destination(mut request: Request, route: &RouteInfo) -> Request {
    if route.destination.prefix_len() > 0 {
        request = request.address(RTA_DST, route.destination.network());
    }
    if route.unreachable {
        return request;
    }
    request = request.u32(RTA_OIF, route.index);
    match route.next_hop {
        Some(hop) if hop.is_ipv4() == route.destination.addr().is_ipv4() => request.address(RTA_GATEWAY, hop),
        Some(hop) => {
            // `struct rtvia`: a next hop of the other family (RFC 5549 §3).
            let mut via = u16::from(family(&hop)).to_ne_bytes().to_vec();
            match hop {
                IpAddr::V4(v4) => via.extend(v4.octets()),
                IpAddr::V6(v6) => via.extend(v6.octets()),
            }
            request.attribute(RTA_VIA, &via)
        }
        None => request,
    }
}

/// Asks for all routes of a family.
pub(crate) fn get_all(family: u8) -> Request {
    let mut header = [0; 12];
    header[0] = family;
    Request::new(RTM_GETROUTE, 0, &header, "read", "all routes")
}

/// Asks for what the kernel has learned of single destinations. A socket without
/// [`strict`](crate::kernel::netlink::Netlink::strict) checks gets all routes as well.
pub(crate) fn get_learned(family: u8) -> Request {
    let [f0, f1, f2, f3] = RTM_F_CLONED.to_ne_bytes();
    let header = [family, 0, 0, 0, 0, 0, 0, 0, f0, f1, f2, f3];
    Request::new(RTM_GETROUTE, 0, &header, "read", "what is known of destinations")
}

/// Reads the MTU in bytes of the way to a destination, where the kernel has learned it.
pub(crate) fn parse_learned_mtu(kind: u16, body: &[u8]) -> Option<(IpAddr, u32)> {
    let header = body.first_chunk::<12>().filter(|_| kind == RTM_NEWROUTE)?;
    let [.., f0, f1, f2, f3] = *header;
    if u32::from_ne_bytes([f0, f1, f2, f3]) & RTM_F_CLONED == 0 {
        return None;
    }
    let attributes = Attributes(body.get(12..)?);
    let mtu_bytes = attributes.find(RTA_METRICS)?.nested().find(RTAX_MTU)?.u32()?;
    Some((attributes.find(RTA_DST)?.address()?, mtu_bytes))
}

/// Reads an answer; `None` when it is no route of ours in the main table.
pub(crate) fn parse(kind: u16, body: &[u8]) -> Option<RouteInfo> {
    let header = body.first_chunk::<12>().filter(|_| kind == RTM_NEWROUTE)?;
    let [family, prefix_length, _, _, table, protocol, _, route_kind, f0, f1, f2, f3] = *header;
    let learned = u32::from_ne_bytes([f0, f1, f2, f3]) & RTM_F_CLONED != 0;
    if table != RT_TABLE_MAIN || protocol != ROUTE_PROTOCOL || learned {
        return None;
    }
    let attributes = Attributes(body.get(12..)?);
    let unspecified: IpAddr = if family == FAMILY_V4 {
        std::net::Ipv4Addr::UNSPECIFIED.into()
    } else {
        std::net::Ipv6Addr::UNSPECIFIED.into()
    };
    let destination = attributes.find(RTA_DST).map_or(Some(unspecified), Attribute::address)?;
    let via = || {
        attributes.find(RTA_VIA).and_then(|via| Attribute { kind: RTA_VIA, payload: via.payload.get(2..)? }.address())
    };
    let metrics = attributes.find(RTA_METRICS).map(Attribute::nested);
    Some(RouteInfo {
        destination: IpNet::new(destination, prefix_length).ok()?,
        unreachable: route_kind == RTN_UNREACHABLE,
        index: attributes.find(RTA_OIF).and_then(Attribute::u32).unwrap_or_default(),
        next_hop: attributes.find(RTA_GATEWAY).and_then(Attribute::address).or_else(via),
        mtu_bytes: metrics.and_then(|metrics| metrics.find(RTAX_MTU)).and_then(Attribute::u32),
    })
}
