//! Entries of connection tracking that lead to backends which are gone.
//!
//! Only UDP: such a flow has no end of its own, so a client that keeps its port would reach a
//! vanished backend for as long as it goes on. TCP and SCTP connections of a backend that
//! is shutting down are left to end by themselves.
//!
//! An entry is known by what the client asked for (a place of a Service) and by who answers
//! (a backend). Both are given to the kernel as a filter, and what it returns is removed one by
//! one; nothing else is touched.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use seaway_model::Protocol;
use seaway_services::plan::Reach;

use super::elements::{Programmed, addresses};
use super::tables::Update;
use crate::kernel::netlink::{Attribute, Attributes, Netlink, Request};
use crate::{DatapathError, ServiceNode};

/// `NFNL_SUBSYS_CTNETLINK` in the upper byte.
const CT_GET: u16 = (1 << 8) | 1;
const CT_DELETE: u16 = (1 << 8) | 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
const CTA_FILTER: u16 = 25;
/// Fields of a tuple that a filter compares.
const FILTER_SOURCE: u32 = 1 << 0 | FILTER_PROTOCOL | 1 << 4;
const FILTER_DESTINATION: u32 = 1 << 1 | FILTER_PROTOCOL | 1 << 5;
const FILTER_ADDRESSES: u32 = 0b11;
const FILTER_PROTOCOL: u32 = 1 << 3;
const UDP: u8 = 17;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// Bytes of `struct nfgenmsg`.
const HEADER_BYTES: usize = 4;
/// The kernel walks its whole table for each filter: beyond so many, one walk over all UDP
/// entries is cheaper.
const FILTERS: usize = 8;

/// What the client asked for, and who answers.
pub(super) type Flow = (SocketAddr, SocketAddr);

/// Flows that may be, by place.
type Backends = HashMap<SocketAddr, HashSet<SocketAddr>>;

/// Connection tracking of one network namespace.
#[derive(Debug)]
pub(super) struct Connections {
    netlink: Netlink,
}

/// An entry as the kernel told it.
struct Entry {
    flow: Flow,
    /// What names it in a request to remove it.
    identity: Vec<(u16, Vec<u8>)>,
    v6: bool,
}

/// UDP places of a Service and the backends each may lead to.
fn udp_backends(programmed: Option<&Programmed>, node: &ServiceNode) -> Backends {
    let mut all = Backends::new();
    let Some(programmed) = programmed else { return all };
    let plan = &programmed.plan;
    for frontend in plan.frontends.iter().filter(|frontend| frontend.protocol == Protocol::Udp) {
        let reaches: [Reach; 2] = [frontend.inside, frontend.outside];
        let backends: HashSet<SocketAddr> = reaches
            .iter()
            .flat_map(|reach| plan.backends(*reach))
            .map(|backend| SocketAddr::new(backend.address, backend.port))
            .collect();
        for address in addresses(frontend, node) {
            all.entry(SocketAddr::new(address, frontend.port)).or_default().extend(&backends);
        }
    }
    all
}

/// Flows that must not be any more after these updates.
pub(super) fn stale(updates: &[Update], node: &ServiceNode) -> HashSet<Flow> {
    let mut gone = HashSet::new();
    let mut wanted = Backends::new();
    for update in updates {
        let before = udp_backends(update.old.as_ref(), node);
        let after = udp_backends(update.new.as_ref(), node);
        for (place, backends) in &before {
            gone.extend(backends.iter().map(|backend| (*place, *backend)));
        }
        for (place, backends) in after {
            if !backends.is_empty() && before.get(&place).is_none_or(HashSet::is_empty) {
                // What was sent while nobody translated is remembered as going to the place itself.
                gone.insert((place, place));
            }
            wanted.entry(place).or_default().extend(backends);
        }
    }
    gone.retain(|(place, backend)| !wanted.get(place).is_some_and(|backends| backends.contains(backend)));
    gone
}

// === impl Connections ===

impl Connections {
    /// Connects in the calling thread's namespace.
    pub(super) fn open() -> Result<Self, DatapathError> {
        Ok(Self { netlink: Netlink::netfilter()? })
    }

    /// Removes these flows; how many there were.
    pub(super) fn close(&mut self, flows: &HashSet<Flow>) -> Result<u64, DatapathError> {
        let mut entries = Vec::new();
        if flows.len() <= FILTERS {
            for flow in flows {
                entries.extend(self.entries(&filter(*flow))?);
            }
        } else {
            for v6 in [false, true] {
                if flows.iter().any(|flow| flow.0.is_ipv6() == v6) {
                    entries.extend(self.entries(&all_udp(v6))?);
                }
            }
        }
        entries.retain(|entry| flows.contains(&entry.flow));
        self.delete(entries)
    }

    /// Removes flows to places of these Services that lead to anything but a backend; for flows
    /// that went stale while nobody looked.
    pub(super) fn reconcile<'a>(
        &mut self,
        services: impl Iterator<Item = &'a Programmed>,
        node: &ServiceNode,
    ) -> Result<u64, DatapathError> {
        let mut wanted = Backends::new();
        for programmed in services {
            for (place, backends) in udp_backends(Some(programmed), node) {
                wanted.entry(place).or_default().extend(backends);
            }
        }
        if wanted.is_empty() {
            return Ok(0);
        }
        let mut entries = self.entries(&all_udp(false))?;
        entries.extend(self.entries(&all_udp(true))?);
        entries.retain(|entry| {
            let (place, answers) = entry.flow;
            wanted.get(&place).is_some_and(|backends| !backends.is_empty() && !backends.contains(&answers))
        });
        self.delete(entries)
    }

    fn entries(&mut self, request: &Request) -> Result<Vec<Entry>, DatapathError> {
        Ok(self.netlink.dump(request)?.iter().filter_map(|(_, body)| parse(body)).collect())
    }

    fn delete(&mut self, entries: Vec<Entry>) -> Result<u64, DatapathError> {
        let requests = entries.iter().map(|entry| {
            let family = if entry.v6 { AF_INET6 } else { AF_INET };
            let object = format!("the tracked flow to {} through {}", entry.flow.1, entry.flow.0);
            let request = Request::new(CT_DELETE, 0, &[family, 0, 0, 0], "remove", object);
            entry.identity.iter().fold(request, |request, (kind, payload)| request.attribute(*kind, payload))
        });
        let mut closed = 0;
        for outcome in self.netlink.send_all(requests.collect()) {
            match outcome {
                Ok(_) => closed += 1,
                // It ended by itself meanwhile.
                Err(DatapathError::Kernel { source, .. }) if source.raw_os_error() == Some(libc::ENOENT) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(closed)
    }
}

const NESTED: u16 = crate::kernel::netlink::constants::NLA_F_NESTED;

fn request(v6: bool) -> Request {
    let family = if v6 { AF_INET6 } else { AF_INET };
    Request::new(CT_GET, 0, &[family, 0, 0, 0], "read", "tracked flows")
}

/// Asks for a flow.
fn filter((place, answers): Flow) -> Request {
    // Kernels take the comparison of IPv6 addresses the wrong way round (`!ipv6_addr_cmp` in
    // `ctnetlink_filter_match_tuple`, Linux 5.8 to 6.18 at least): there, ports have to do, and
    // addresses are compared when the answer is read.
    let fields = |fields: u32| if place.is_ipv6() { fields & !FILTER_ADDRESSES } else { fields };
    request(place.is_ipv6())
        .nested(CTA_TUPLE_ORIG, |tuple| end(tuple, place, true))
        .nested(CTA_TUPLE_REPLY, |tuple| end(tuple, answers, false))
        .nested(CTA_FILTER, |filter| filter.u32(1, fields(FILTER_DESTINATION)).u32(2, fields(FILTER_SOURCE)))
}

/// Asks for all UDP flows.
fn all_udp(v6: bool) -> Request {
    request(v6)
        .nested(CTA_TUPLE_ORIG, |tuple| tuple.nested(2, |protocol| protocol.attribute(1, &[UDP])))
        .nested(CTA_FILTER, |filter| filter.u32(1, FILTER_PROTOCOL).u32(2, 0))
}

/// Writes one end of a tuple.
fn end(tuple: Request, at: SocketAddr, destination: bool) -> Request {
    let kind = match (at.ip(), destination) {
        (IpAddr::V4(_), false) => 1,
        (IpAddr::V4(_), true) => 2,
        (IpAddr::V6(_), false) => 3,
        (IpAddr::V6(_), true) => 4,
    };
    tuple.nested(1, |addresses| addresses.address(kind, at.ip())).nested(2, |protocol| {
        let port = if destination { 3 } else { 2 };
        protocol.attribute(1, &[UDP]).attribute(port, &at.port().to_be_bytes())
    })
}

/// Reads an entry; `None` when it is not of UDP or makes no sense.
fn parse(body: &[u8]) -> Option<Entry> {
    let attributes = Attributes(body.get(HEADER_BYTES..)?);
    let original = attributes.find(CTA_TUPLE_ORIG)?;
    let reply = attributes.find(CTA_TUPLE_REPLY)?;
    if original.nested().find(2)?.nested().find(1)?.u8()? != UDP {
        return None;
    }
    let place = read_end(original, true)?;
    let answers = read_end(reply, false)?;
    let mut identity = vec![(CTA_TUPLE_ORIG | NESTED, original.payload.to_vec())];
    for kind in [CTA_ID, CTA_ZONE] {
        identity.extend(attributes.find(kind).map(|attribute| (kind, attribute.payload.to_vec())));
    }
    Some(Entry { flow: (place, answers), identity, v6: place.is_ipv6() })
}

fn read_end(tuple: Attribute<'_>, destination: bool) -> Option<SocketAddr> {
    let addresses = tuple.nested().find(1)?.nested();
    let kinds = if destination { [2, 4] } else { [1, 3] };
    let address = kinds.iter().find_map(|kind| addresses.find(*kind))?.address()?;
    let port = tuple.nested().find(2)?.nested().find(if destination { 3 } else { 2 })?.u16_big_endian()?;
    Some(SocketAddr::new(address, port))
}
