//! Zones of our own for addresses that are reached from outside the cluster: names of Services
//! (`<service>.<namespace>.<zone>`), and those that objects ask for ([`super::claims`]).

use std::sync::Arc;

use super::answer::{Asked, Outcome, Scratch, push_addresses, push_srv};
use super::claims::NameRecords;
use super::headless::{EndpointFilter, Writer};
use super::index::{ExternalZone, Index};
use super::service::{Outside, ServiceRecords, Spec, Target};
use crate::wire::Response;
use crate::wire::number::kind;

/// Longest name, after `*.`.
const WILDCARD_OCTETS: usize = 2 + 255;

// === impl Index ===

impl Index {
    /// Whether a Service has names in these zones.
    pub(super) fn is_outside(&self, records: &ServiceRecords) -> bool {
        let headless = || self.settings.external.iter().any(|zone| zone.headless);
        records
            .spec
            .as_deref()
            .is_some_and(|spec| spec.outside.is_some() || (spec.target == Target::Headless && headless()))
    }

    /// Answers a question for `asked.name`, which is the zone or below it.
    pub(super) fn answer_outside(
        &self,
        zone: &ExternalZone,
        asked: Asked<'_>,
        scratch: &mut Scratch,
        response: &mut Response<'_>,
    ) -> Outcome {
        let Asked { name, before, .. } = asked;
        let claimed = self.names.with(name.wire(), Arc::clone);
        match (before, claimed) {
            (0, Some(records)) if !matches!(asked.kind, kind::SOA | kind::NS) => {
                self.push_claimed(&records, asked, scratch, response)
            }
            (0, _) => self.apex(asked, response),
            (1, _) if name.label(0) == b"dns" => Outcome::NoData,
            (2, _) if name.labels_wire(0..2) == b"\x02ns\x03dns" => self.name_server(asked, response),
            (_, Some(records)) if records.pinned => self.push_claimed(&records, asked, scratch, response),
            (_, claimed) => match (self.outside_service(zone, asked, scratch, response), claimed) {
                (Some(outcome), None) => outcome,
                (Some(outcome), Some(_)) if outcome != Outcome::NameError => outcome,
                (_, Some(records)) => self.push_claimed(&records, asked, scratch, response),
                (None, None) => match self.wildcard(asked) {
                    Some(records) => self.push_claimed(&records, asked, scratch, response),
                    None => Outcome::NameError,
                },
            },
        }
    }

    /// Answers for a name that is, or is below, that of a Service; none: there is no such.
    fn outside_service(
        &self,
        zone: &ExternalZone,
        asked: Asked<'_>,
        scratch: &mut Scratch,
        response: &mut Response<'_>,
    ) -> Option<Outcome> {
        let above = asked.before.checked_sub(2)?;
        let key = asked.name.labels_wire(above..asked.before);
        let answer = |records: &Arc<ServiceRecords>| {
            let spec = records.spec.as_deref()?;
            if let Some(outside) = &spec.outside {
                return Some(self.outside_addresses(spec, outside, above, asked, scratch, response));
            }
            if spec.target != Target::Headless || !zone.headless {
                return None;
            }
            scratch.rotation = scratch.rotation.wrapping_add(1);
            let writer = Writer { index: self, records, spec, asked, above, rotation: scratch.rotation };
            Some(match above {
                0 => writer.endpoints(&EndpointFilter::All, None, response),
                _ => writer.below_headless(response).unwrap_or_else(|| {
                    let host = EndpointFilter::Named(asked.name.label(0));
                    if above == 1 { writer.endpoints(&host, None, response) } else { Outcome::NameError }
                }),
            })
        };
        self.services.with(key, answer).flatten()
    }

    fn outside_addresses(
        &self,
        spec: &Spec,
        outside: &Outside,
        above: usize,
        asked: Asked<'_>,
        scratch: &mut Scratch,
        response: &mut Response<'_>,
    ) -> Outcome {
        let Some(target) = outside.name.as_ref().filter(|_| outside.addresses.is_empty()) else {
            return self.addressed(spec, &outside.addresses, above, asked, response);
        };
        match above {
            0 => self.external(target, asked, self.settings.ttl_seconds, scratch, response),
            _ => match self.port_asked(spec, above, asked) {
                Some(port) if asked.kind == kind::SRV => {
                    push_srv(asked, self.settings.ttl_seconds, 100, port, &[target.wire()], response);
                    Outcome::Answered
                }
                Some(_) => Outcome::NoData,
                None => self.addressed(spec, &[], above, asked, response),
            },
        }
    }

    fn push_claimed(
        &self,
        records: &NameRecords,
        asked: Asked<'_>,
        scratch: &mut Scratch,
        response: &mut Response<'_>,
    ) -> Outcome {
        let ttl = records.ttl_seconds.unwrap_or(self.settings.ttl_seconds);
        match &records.target {
            // Beside the SOA of the zone there can be no alias (RFC 1034 §3.6.2).
            Some(target) if asked.before > 0 => self.external(target, asked, ttl, scratch, response),
            _ => {
                scratch.rotation = scratch.rotation.wrapping_add(1);
                let first = scratch.rotation as usize % records.addresses.len().max(1);
                push_addresses(records.addresses.iter().copied(), asked, ttl, first, response)
            }
        }
    }

    /// The records of `*.<closest name that exists>` (RFC 4592 §3.3.1).
    fn wildcard(&self, asked: Asked<'_>) -> Option<Arc<NameRecords>> {
        let Asked { name, before, .. } = asked;
        let exists = |from: usize| {
            from == before
                || self.names.contains(name.suffix(from))
                || (from + 2 == before
                    && self.services.with(name.labels_wire(from..before), |records| self.is_outside(records))
                        == Some(true))
        };
        let encloser = name.suffix((1..=before).find(|from| exists(*from))?);
        let mut wildcard = [0; WILDCARD_OCTETS];
        let end = 2 + encloser.len();
        wildcard.get_mut(..2)?.copy_from_slice(b"\x01*");
        wildcard.get_mut(2..end)?.copy_from_slice(encloser);
        self.names.with(wildcard.get(..end)?, Arc::clone)
    }
}
