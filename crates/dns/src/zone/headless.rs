//! Endpoints as names and addresses (specification 1.1.0 §2.4), whole or by name,
//! port or zone. Lists begin elsewhere each time, so that what is cut off by the
//! size of a datagram differs too.

use std::collections::HashMap;

use super::answer::{Asked, Outcome, push_srv};
use super::index::Index;
use super::service::{
    DASHED_OCTETS, EndpointRecord, PortRecord, ServiceRecords, SliceRecords, Spec, Target, dashed, undashed,
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
}

/// Writes endpoints of one Service.
#[derive(Debug, Clone, Copy)]
pub(super) struct Writer<'a> {
    pub(super) index: &'a Index,
    pub(super) records: &'a ServiceRecords,
    pub(super) spec: &'a Spec,
    pub(super) asked: Asked<'a>,
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
        let rule = self.asked.before == 4 || matches!(self.asked.name.label(0), b"pin" | b"prefer");
        let exists = rule && self.spec.target == Target::Headless && self.shown(&EndpointFilter::All).next().is_some();
        if exists { Outcome::NoData } else { Outcome::NameError }
    }

    /// Ports with names below this Service.
    pub(super) fn ports_shown(&self) -> impl Iterator<Item = &'a PortRecord> {
        let own: &[PortRecord] = if self.spec.target == Target::Headless { &[] } else { &self.spec.ports };
        let slices = if own.is_empty() { &*self.records.slices } else { &[] };
        own.iter().chain(slices.iter().flat_map(|slice| slice.ports.iter()))
    }

    fn shown(&self, filter: &EndpointFilter<'_>) -> impl Iterator<Item = Shown<'a>> + Clone {
        let filter = *filter;
        let spelled = match filter {
            EndpointFilter::Named(name) => undashed(name),
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
                        EndpointFilter::Named(_) if !endpoint.named() => spelled == Some(endpoint.address()),
                        EndpointFilter::Named(name) => slice.name(endpoint) == name,
                    }
            })
    }

    fn push_addresses(&self, endpoints: impl Iterator<Item = Shown<'a>>, response: &mut Response<'_>) -> Outcome {
        let v4 = self.asked.kind == kind::A;
        let owner = Owner::At(self.asked.place);
        let mut outcome = Outcome::NoData;
        for (_, endpoint) in endpoints {
            let address = endpoint.address();
            if address.is_ipv4() != v4 {
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
        let parent = self.asked.name.suffix(self.asked.before - 3);
        let mut label = [0; 1 + 63];
        let mut outcome = Outcome::NoData;
        // Additional records must follow the answers, so where each target stands is kept.
        let mut targets = [(Place(0), None); MOST_ADDITIONAL];
        let mut kept = 0;
        // A pod with two families stands in two slices under one name, which is told once.
        let mut told: HashMap<(&[u8], u16), Place> = HashMap::new();
        for (slice, endpoint) in endpoints {
            let size = endpoint_label(slice, endpoint, &mut label);
            let target = [label.get(..size).unwrap_or_default(), parent];
            for record in &slice.ports {
                if port.is_some_and(|(name, protocol)| !record.is(name, protocol)) {
                    continue;
                }
                outcome = Outcome::Answered;
                let known = told.get(&(slice.name(endpoint), record.port)).copied();
                let place = known.or_else(|| push_srv(self.asked, ttl, weight, record.port, &target, response));
                let Some(place) = place else { return outcome };
                if endpoint.named() {
                    told.insert((slice.name(endpoint), record.port), place);
                }
                if let Some(slot) = targets.get_mut(kept) {
                    *slot = (place, Some(endpoint.address()));
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

/// Writes the label of an endpoint in wire form and tells its octets.
pub(super) fn endpoint_label(slice: &SliceRecords, endpoint: &EndpointRecord, into: &mut [u8; 64]) -> usize {
    let mut space = [0; DASHED_OCTETS];
    let name = if endpoint.named() { slice.name(endpoint) } else { dashed(endpoint.address(), &mut space) };
    let size = 1 + name.len();
    if let Some((first, rest)) = into.split_first_mut() {
        *first = name.len() as u8;
        if let Some(to) = rest.get_mut(..name.len()) {
            to.copy_from_slice(name);
        }
    }
    size
}
