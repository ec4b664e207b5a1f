//! Questions below the cluster's domain, taken apart and answered.

use std::net::IpAddr;

use super::headless::{self, EndpointFilter};
use super::index::{Index, PodNames};
use super::service::{PortRecord, ServiceRecords, Spec, Target, undashed};
use crate::wire::name::Place;
use crate::wire::number::{kind, rcode};
use crate::wire::response::Owner;
use crate::wire::{Name, OwnedName, Response, Section};

/// Version of the specification that is answered for, and how long that may be kept:
/// it changes with the program only.
const DNS_VERSION: &[u8] = b"\x051.1.0";
const DNS_VERSION_TTL_SECONDS: u32 = 28_800;

/// SOA values after the serial: refresh, retry and expire for a secondary that does
/// not exist; the minimum is the TTL of negative answers.
const SOA_REFRESH_SECONDS: u32 = 7200;
const SOA_RETRY_SECONDS: u32 = 1800;
const SOA_EXPIRE_SECONDS: u32 = 86_400;

/// What became of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Records were written.
    Answered,
    /// The name exists and has no such record.
    NoData,
    /// The name does not exist.
    NameError,
    /// Not everything is known yet, and it is not among what is.
    Unknown,
    /// A CNAME was written whose target is now in [`Scratch::target`]; its records are asked for.
    Chase(Place),
}

/// Space that a thread keeps between questions.
#[derive(Debug)]
pub struct Scratch {
    /// Target of the last CNAME.
    pub target: Name,
    /// Grows with each answer: where lists begin.
    pub rotation: u32,
}

/// A question below the cluster's domain.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'n> {
    /// The name.
    pub name: &'n Name,
    /// How many of its labels stand before the domain.
    pub before: usize,
    /// The type.
    pub kind: u16,
    /// Where the name stands in the response.
    pub place: Place,
}

// === impl Scratch ===

impl Default for Scratch {
    fn default() -> Self {
        Self { target: Name::root(), rotation: 0 }
    }
}

// === impl Index ===

impl Index {
    /// Answers a question for `asked.name`, which is the domain or below it.
    pub fn answer(&self, asked: Asked<'_>, scratch: &mut Scratch, response: &mut Response<'_>) -> Outcome {
        let Asked { name, before, .. } = asked;
        let outcome = match before {
            0 => self.apex(asked, response),
            _ => match name.label(before - 1) {
                b"svc" => self.below_svc(asked, scratch, response),
                b"pod" => self.below_pod(asked, response),
                b"dns-version" if before == 1 => version(asked, response),
                b"dns" if before == 1 => Outcome::NoData,
                b"dns" if before == 2 && name.label(0) == b"ns" => self.name_server(asked, response),
                _ => Outcome::NameError,
            },
        };
        match outcome {
            Outcome::NameError if !self.is_synced() => Outcome::Unknown,
            other => other,
        }
    }

    /// Writes the SOA record that negative answers need (RFC 2308 §3).
    pub fn push_negative(&self, asked: Asked<'_>, response: &mut Response<'_>) {
        self.push_soa(asked, Section::Authority, response);
    }

    fn push_soa(&self, asked: Asked<'_>, section: Section, response: &mut Response<'_>) {
        let ttl = self.settings.ttl_seconds;
        let domain = asked.place.plus(asked.name.offset(asked.before));
        let pointer = (0xc000 | domain.0).to_be_bytes();
        let mut numbers = [0; 20];
        let values = [self.serial(), SOA_REFRESH_SECONDS, SOA_RETRY_SECONDS, SOA_EXPIRE_SECONDS, ttl];
        for (to, value) in numbers.chunks_exact_mut(4).zip(values) {
            to.copy_from_slice(&value.to_be_bytes());
        }
        let data: [&[u8]; 5] = [b"\x02ns\x03dns", &pointer, b"\x0ahostmaster", &pointer, &numbers];
        response.push(section, Owner::At(domain), kind::SOA, ttl, &data);
    }

    pub(super) fn apex(&self, asked: Asked<'_>, response: &mut Response<'_>) -> Outcome {
        match asked.kind {
            kind::SOA => self.push_soa(asked, Section::Answer, response),
            kind::NS => {
                let pointer = (0xc000 | asked.place.0).to_be_bytes();
                let data: [&[u8]; 2] = [b"\x02ns\x03dns", &pointer];
                let owner = Owner::At(asked.place);
                if let Some(at) = response.push(Section::Answer, owner, kind::NS, self.settings.ttl_seconds, &data) {
                    for server in &self.settings.servers {
                        response.push_address(Section::Additional, Owner::At(at), self.settings.ttl_seconds, *server);
                    }
                }
            }
            _ => return Outcome::NoData,
        }
        Outcome::Answered
    }

    pub(super) fn name_server(&self, asked: Asked<'_>, response: &mut Response<'_>) -> Outcome {
        let servers = self.settings.servers.iter().copied();
        push_addresses(servers, asked, self.settings.ttl_seconds, 0, response)
    }

    fn below_svc(&self, asked: Asked<'_>, scratch: &mut Scratch, response: &mut Response<'_>) -> Outcome {
        let Asked { name, before, .. } = asked;
        if before <= 2 {
            let exists = before == 1 || self.has_namespace(name.labels_wire(0..1));
            return if exists { Outcome::NoData } else { Outcome::NameError };
        }
        let key = name.labels_wire(before - 3..before - 1);
        let found = self.services.with(key, |records| self.service(records, asked, scratch, response));
        found.unwrap_or(Outcome::NameError)
    }

    fn service(
        &self,
        records: &ServiceRecords,
        asked: Asked<'_>,
        scratch: &mut Scratch,
        response: &mut Response<'_>,
    ) -> Outcome {
        let Some(spec) = records.spec.as_deref() else { return Outcome::NameError };
        scratch.rotation = scratch.rotation.wrapping_add(1);
        let name = asked.name;
        // Labels before `<service>.<namespace>.svc.<domain>`.
        let above = asked.before - 3;
        let writer = headless::Writer { index: self, records, spec, asked, above, rotation: scratch.rotation };
        match (above, &spec.target) {
            (0, Target::Name(target)) => self.external(target, asked, self.settings.ttl_seconds, scratch, response),
            (_, Target::Name(_) | Target::Nothing) => Outcome::NameError,
            (0, Target::Headless) => writer.endpoints(&EndpointFilter::All, None, response),
            (0, Target::Addresses(addresses)) if asked.kind != kind::SRV => {
                push_addresses(addresses.iter().copied(), asked, self.settings.ttl_seconds, 0, response)
            }
            (0, Target::Addresses(addresses)) => self.own_ports(spec, addresses, above, asked, None, response),
            (1, _) => match name.label(0).strip_prefix(b"_") {
                None => writer.endpoints(&EndpointFilter::Named(name.label(0)), None, response),
                Some(b"zone") => writer.zone_parent(),
                // An empty non-terminal above `_port._protocol` (RFC 8020).
                Some(protocol) => {
                    let exists = writer.ports_shown().any(|port| port.is(&port.name, protocol));
                    if exists { Outcome::NoData } else { Outcome::NameError }
                }
            },
            (2, target) => match (name.label(0).strip_prefix(b"_"), name.label(1).strip_prefix(b"_")) {
                (Some(port), Some(protocol)) => match target {
                    Target::Addresses(addresses) => {
                        self.own_ports(spec, addresses, above, asked, Some((port, protocol)), response)
                    }
                    _ => writer.endpoints(&EndpointFilter::All, Some((port, protocol)), response),
                },
                (None, Some(b"zone")) => writer.zone_parent(),
                _ => Outcome::NameError,
            },
            (3, Target::Headless) if name.label(2) == b"_zone" => writer.zone(name.label(0), name.label(1), response),
            _ => Outcome::NameError,
        }
    }

    /// A Service with addresses and what is below it, in zones where its endpoints have no names.
    pub(super) fn addressed(
        &self,
        spec: &Spec,
        addresses: &[IpAddr],
        above: usize,
        asked: Asked<'_>,
        response: &mut Response<'_>,
    ) -> Outcome {
        let label = |index| asked.name.label(index).strip_prefix(b"_");
        match (above, label(0)) {
            (0, _) if asked.kind != kind::SRV => {
                push_addresses(addresses.iter().copied(), asked, self.settings.ttl_seconds, 0, response)
            }
            (0, _) => self.own_ports(spec, addresses, above, asked, None, response),
            (1, Some(protocol)) if spec.ports.iter().any(|port| port.is(&port.name, protocol)) => Outcome::NoData,
            (2, Some(port)) => match label(1) {
                Some(protocol) => self.own_ports(spec, addresses, above, asked, Some((port, protocol)), response),
                None => Outcome::NameError,
            },
            _ => Outcome::NameError,
        }
    }

    /// The port that `_port._protocol` before a Service means.
    pub(super) fn port_asked(&self, spec: &Spec, above: usize, asked: Asked<'_>) -> Option<u16> {
        let label = |index| asked.name.label(index).strip_prefix(b"_");
        let (port, protocol) = (label(0).filter(|_| above == 2)?, label(1)?);
        spec.ports.iter().find(|record| record.is(port, protocol)).map(|record| record.port)
    }

    /// Ports of a Service with addresses; `port`: that one only.
    fn own_ports(
        &self,
        spec: &Spec,
        addresses: &[IpAddr],
        above: usize,
        asked: Asked<'_>,
        port: Option<(&[u8], &[u8])>,
        response: &mut Response<'_>,
    ) -> Outcome {
        let wanted = |record: &&PortRecord| port.is_none_or(|(name, protocol)| record.is(name, protocol));
        if !spec.ports.iter().any(|record| wanted(&record)) {
            return if port.is_some() { Outcome::NameError } else { Outcome::NoData };
        }
        let ttl = self.settings.ttl_seconds;
        if asked.kind != kind::SRV {
            return push_addresses(addresses.iter().copied(), asked, ttl, 0, response);
        }
        let target = asked.name.suffix(above);
        // As CoreDNS: the weight is shared by the targets.
        let weight = (100 / addresses.len().max(1)).max(1) as u16;
        let mut written = None;
        for record in spec.ports.iter().filter(wanted) {
            let place = push_srv(asked, ttl, weight, record.port, &[target], response);
            written = written.or(place);
        }
        if let Some(place) = written {
            for address in addresses {
                response.push_address(Section::Additional, Owner::At(place), ttl, *address);
            }
        }
        Outcome::Answered
    }

    pub(super) fn external(
        &self,
        target: &OwnedName,
        asked: Asked<'_>,
        ttl: u32,
        scratch: &mut Scratch,
        response: &mut Response<'_>,
    ) -> Outcome {
        let place = response.push(Section::Answer, Owner::At(asked.place), kind::CNAME, ttl, &[target.wire()]);
        match place {
            Some(place) if asked.kind != kind::CNAME && scratch.target.assign(target.wire()).is_ok() => {
                Outcome::Chase(place)
            }
            _ => Outcome::Answered,
        }
    }

    fn below_pod(&self, asked: Asked<'_>, response: &mut Response<'_>) -> Outcome {
        let Asked { name, before, kind: wanted, .. } = asked;
        if self.settings.pods == PodNames::Disabled {
            return Outcome::NameError;
        }
        if before == 1 {
            return Outcome::NoData;
        }
        let namespace = name.labels_wire(before - 2..before - 1);
        if !self.has_namespace(namespace) || before > 3 {
            return Outcome::NameError;
        }
        if before == 2 {
            return Outcome::NoData;
        }
        let Some(address) = undashed(name.label(0)) else { return Outcome::NameError };
        if self.settings.pods == PodNames::Verified
            && self.pods.with(&address, |pod| *pod.namespace == *namespace) != Some(true)
        {
            return Outcome::NameError;
        }
        let _ = wanted;
        push_addresses([address].into_iter(), asked, self.settings.ttl_seconds, 0, response)
    }
}

/// Writes those of `addresses` that have the asked type, the one at `rotation` first.
pub(super) fn push_addresses(
    addresses: impl Iterator<Item = IpAddr> + Clone,
    asked: Asked<'_>,
    ttl: u32,
    rotation: usize,
    response: &mut Response<'_>,
) -> Outcome {
    let wanted = |address: &IpAddr| match asked.kind {
        kind::A => address.is_ipv4(),
        kind::AAAA => address.is_ipv6(),
        _ => false,
    };
    let mut outcome = Outcome::NoData;
    for address in addresses.clone().skip(rotation).chain(addresses.take(rotation)).filter(wanted) {
        outcome = Outcome::Answered;
        if response.push_address(Section::Answer, Owner::At(asked.place), ttl, address).is_none() {
            break;
        }
    }
    outcome
}

/// Writes an SRV record and tells where its target stands. The target is not
/// compressed (RFC 2782), so that others can point into it.
pub(super) fn push_srv(
    asked: Asked<'_>,
    ttl: u32,
    weight: u16,
    port: u16,
    target: &[&[u8]],
    response: &mut Response<'_>,
) -> Option<Place> {
    let [w0, w1] = weight.to_be_bytes();
    let [p0, p1] = port.to_be_bytes();
    let numbers = [0, 0, w0, w1, p0, p1];
    let [first, rest @ ..] = target else { return None };
    let owner = Owner::At(asked.place);
    let place = match rest {
        [] => response.push(Section::Answer, owner, kind::SRV, ttl, &[&numbers, first]),
        [second, ..] => response.push(Section::Answer, owner, kind::SRV, ttl, &[&numbers, first, second]),
    };
    place.map(|place| place.plus(numbers.len()))
}

pub(super) fn version(asked: Asked<'_>, response: &mut Response<'_>) -> Outcome {
    if asked.kind != kind::TXT {
        return Outcome::NoData;
    }
    response.push(Section::Answer, Owner::At(asked.place), kind::TXT, DNS_VERSION_TTL_SECONDS, &[DNS_VERSION]);
    Outcome::Answered
}

/// Response code of an outcome.
#[must_use]
pub fn rcode_of(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Answered | Outcome::NoData | Outcome::Chase(_) => rcode::NOERROR,
        Outcome::NameError => rcode::NXDOMAIN,
        Outcome::Unknown => rcode::SERVFAIL,
    }
}
