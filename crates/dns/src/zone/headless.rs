//! Endpoints as names and addresses (specification 1.1.0 §2.4), whole or by name,
//! port or zone. Lists begin elsewhere each time, so that what is cut off by the
//! size of a datagram differs too.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};

use super::answer::{Asked, Outcome, push_srv};
use super::index::Index;
use super::service::{
    self, DASHED_OCTETS, EndpointRecord, PortRecord, ServiceRecords, SliceRecords, Spec, dashed, undashed,
};
use crate::wire::name::Place;
use crate::wire::number::kind;
use crate::wire::response::Owner;
use crate::wire::{Response, Section};

/// Which endpoints are meant.
#[derive(Debug, Clone, Copy)]
pub enum EndpointFilter<'n> {
    /// All.
    All,
    /// Those that have this name, or whose address it spells when they have none.
    Named(&'n [u8]),
    /// Those in this zone.
    Zone(&'n [u8]),
    /// Those that have this name in this cluster, its labels in wire form.
    Imported(&'n [u8], &'n [u8]),
}

/// Writes endpoints of one Service.
#[derive(Debug, Clone, Copy)]
pub(super) struct Writer<'a> {
    pub(super) index: &'a Index,
    pub(super) records: &'a ServiceRecords,
    pub(super) spec: &'a Spec,
    pub(super) asked: Asked<'a>,
    /// Labels of the asked name before that of the Service.
    pub(super) above: usize,
    pub(super) rotation: u32,
}

type Shown<'a> = (&'a SliceRecords, &'a EndpointRecord);

// === impl Writer ===

impl<'a> Writer<'a> {
    /// Answers with endpoints; `port`: asked below `_port._protocol`.
    pub(super) fn endpoints(
        &self,
        filter: &EndpointFilter<'_>,
        port: Option<(&[u8], &[u8])>,
        response: &mut Response<'_>,
    ) -> Outcome {
        let has_port = |slice: &SliceRecords| {
            port.is_none_or(|(name, protocol)| slice.ports.iter().any(|record| record.is(name, protocol)))
        };
        let total = self.shown(filter).filter(|(slice, _)| has_port(slice)).count();
        if total == 0 {
            return Outcome::NameError;
        }
        // No floating point, no modulo bias that matters: the list only has to begin elsewhere.
        let first = self.rotation as usize % total;
        let all = || self.shown(filter).filter(|(slice, _)| has_port(slice));
        let rotated = all().skip(first).chain(all().take(first));
        match self.asked.kind {
            kind::A | kind::AAAA => self.push_addresses(rotated, response),
            kind::SRV => self.push_services(rotated, total, port, response),
            _ => Outcome::NoData,
        }
    }

    /// `<zone>.pin._zone` and `<zone>.prefer._zone`: endpoints of one zone; `prefer`
    /// falls back to all when that has none.
    pub(super) fn zone(&self, zone: &[u8], rule: &[u8], response: &mut Response<'_>) -> Outcome {
        let inside = EndpointFilter::Zone(zone);
        match rule {
            b"pin" => match self.endpoints(&inside, None, response) {
                // Another zone is no answer, and this one has no endpoint now.
                Outcome::NameError if self.shown(&EndpointFilter::All).next().is_some() => Outcome::NoData,
                outcome => outcome,
            },
            b"prefer" if self.shown(&inside).next().is_some() => self.endpoints(&inside, None, response),
            b"prefer" => self.endpoints(&EndpointFilter::All, None, response),
            _ => Outcome::NameError,
        }
    }

    /// `_zone`, `pin._zone` and `prefer._zone` exist while there are names below them.
    pub(super) fn zone_parent(&self) -> Outcome {
        let rule = self.above == 1 || matches!(self.asked.name.label(0), b"pin" | b"prefer");
        let exists =
            rule && self.spec.target == service::Target::Headless && self.shown(&EndpointFilter::All).next().is_some();
        if exists { Outcome::NoData } else { Outcome::NameError }
    }

    /// Names of ports below a headless Service, and those above them; none: it is no such name.
    pub(super) fn below_headless(&self, response: &mut Response<'_>) -> Option<Outcome> {
        let name = self.asked.name;
        match self.above {
            // An empty non-terminal above `_port._protocol` (RFC 8020).
            1 => name.label(0).strip_prefix(b"_").map(|protocol| {
                let exists = self.ports_shown().any(|port| port.is(&port.name, protocol));
                if exists { Outcome::NoData } else { Outcome::NameError }
            }),
            2 => {
                let port = name.label(0).strip_prefix(b"_")?;
                let protocol = name.label(1).strip_prefix(b"_")?;
                Some(self.endpoints(&EndpointFilter::All, Some((port, protocol)), response))
            }
            _ => None,
        }
    }

    /// Ports with names below this Service.
    pub(super) fn ports_shown(&self) -> impl Iterator<Item = &'a PortRecord> {
        let own: &[PortRecord] = if self.spec.target == service::Target::Headless { &[] } else { &self.spec.ports };
        let slices = if own.is_empty() { &*self.records.slices } else { &[] };
        own.iter().chain(slices.iter().flat_map(|slice| slice.ports.iter()))
    }

    fn shown(&self, filter: &EndpointFilter<'_>) -> impl Iterator<Item = Shown<'a>> + Clone {
        let filter = *filter;
        let spelled = match filter {
            EndpointFilter::Named(name) | EndpointFilter::Imported(name, _) => undashed(name),
            _ => None,
        };
        let spec = self.spec;
        self.records
            .slices
            .iter()
            .flat_map(|slice| slice.endpoints.iter().map(move |endpoint| (&**slice, endpoint)))
            .filter(move |(slice, endpoint)| {
                endpoint.shown(spec)
                    && match filter {
                        EndpointFilter::All => true,
                        EndpointFilter::Zone(zone) => slice.zone(endpoint) == zone,
                        EndpointFilter::Imported(_, cluster) if *slice.cluster != *cluster => false,
                        EndpointFilter::Named(_) | EndpointFilter::Imported(..) if !endpoint.named() => {
                            spelled == Some(endpoint.address())
                        }
                        EndpointFilter::Named(name) | EndpointFilter::Imported(name, _) => slice.name(endpoint) == name,
                    }
            })
    }

    fn push_addresses(&self, endpoints: impl Iterator<Item = Shown<'a>>, response: &mut Response<'_>) -> Outcome {
        let v4 = self.asked.kind == kind::A;
        let owner = Owner::At(self.asked.place);
        let mut outcome = Outcome::NoData;
        // Stays empty, and so without memory, unless an address stands in several slices.
        let mut told = HashSet::new();
        for (_, endpoint) in endpoints {
            let address = endpoint.address();
            if address.is_ipv4() != v4 || (self.records.repeats && !told.insert(address)) {
                continue;
            }
            outcome = Outcome::Answered;
            if response.push_address(Section::Answer, owner, self.index.settings.ttl_seconds, address).is_none() {
                break;
            }
        }
        outcome
    }

    fn push_services(
        &self,
        endpoints: impl Iterator<Item = Shown<'a>>,
        total: usize,
        port: Option<(&[u8], &[u8])>,
        response: &mut Response<'_>,
    ) -> Outcome {
        let ttl = self.index.settings.ttl_seconds;
        let weight = (100 / total).max(1) as u16;
        let parent = self.asked.name.suffix(self.above);
        let mut label = EndpointLabel::default();
        let mut outcome = Outcome::NoData;
        // Additional records must follow the answers, so where each target stands is kept.
        let mut targets = [(Place(0), None); MOST_ADDITIONAL];
        let mut kept = 0;
        // A pod with two families stands in two slices under one name, which is told once.
        let mut told: HashMap<Target<'_>, Place> = HashMap::new();
        for (slice, endpoint) in endpoints {
            let once = endpoint.named() || self.records.repeats;
            let named = if endpoint.named() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { endpoint.address() };
            let target = [label.write(slice, endpoint), parent];
            for record in &slice.ports {
                if port.is_some_and(|(name, protocol)| !record.is(name, protocol)) {
                    continue;
                }
                outcome = Outcome::Answered;
                let key = (&*slice.cluster, slice.name(endpoint), named, record.port);
                let known = told.get(&key).copied();
                let place = known.or_else(|| push_srv(self.asked, ttl, weight, record.port, &target, response));
                let Some(place) = place else { return outcome };
                if once {
                    told.insert(key, place);
                }
                let more = (place, Some(endpoint.address()));
                let repeated = self.records.repeats && targets.iter().take(kept).any(|target| *target == more);
                if let Some(slot) = targets.get_mut(kept).filter(|_| !repeated) {
                    *slot = more;
                    kept += 1;
                }
            }
        }
        for (place, address) in targets.into_iter().take(kept) {
            if let Some(address) = address {
                response.push_address(Section::Additional, Owner::At(place), ttl, address);
            }
        }
        outcome
    }
}

/// Additional addresses beyond these are left out: a client asks for the one it picks.
const MOST_ADDITIONAL: usize = 64;

/// Cluster, name, address when there is no name, and port: an SRV record that is told once.
type Target<'a> = (&'a [u8], &'a [u8], IpAddr, u16);

/// Space for the labels that stand before a Service's in the name of an endpoint.
pub(super) struct EndpointLabel([u8; 1 + 63 + 255]);

impl Default for EndpointLabel {
    fn default() -> Self {
        Self([0; 1 + 63 + 255])
    }
}

impl EndpointLabel {
    /// Writes the endpoint's label, and the labels of the cluster it comes from.
    pub(super) fn write(&mut self, slice: &SliceRecords, endpoint: &EndpointRecord) -> &[u8] {
        let mut space = [0; DASHED_OCTETS];
        let name = if endpoint.named() { slice.name(endpoint) } else { dashed(endpoint.address(), &mut space) };
        let size = 1 + name.len();
        let end = size + slice.cluster.len();
        if let Some(first) = self.0.first_mut() {
            *first = name.len() as u8;
        }
        for (range, from) in [(1..size, name), (size..end, &*slice.cluster)] {
            if let Some(to) = self.0.get_mut(range) {
                to.copy_from_slice(from);
            }
        }
        self.0.get(..end).unwrap_or_default()
    }
}
