//! What the operator says of a name, before anybody else is heard.

use seaway_model::dns_api::Way;

use super::{Asking, Decision, Note, Resolver, Seen, Step};
use crate::views::restore::Restored;
use crate::views::zone_answer::{ZoneOutcome, ZoneQuestion};
use crate::views::{BlockAnswer, Found, View};
use crate::wire::name::Place;
use crate::wire::number::{kind, rcode};
use crate::wire::response::Owner;
use crate::wire::{Name, Query, Response, Section};
use crate::zone::Scratch;

/// SOA of a blocked name: the zone is made up. Serial, refresh, retry, expire; the minimum follows.
const BLOCKED_SOA: [u32; 4] = [1, 7200, 1800, 86_400];

/// What a view says of a name.
pub(super) enum Configured<'v> {
    /// This is the answer.
    Decided(Step),
    /// This answers unless it is an address of the cluster.
    AfterReverse(Found<'v>),
    /// Nothing.
    Nothing,
}

// === impl Resolver ===

impl Resolver {
    /// Looks a name up in the client's view. `of_cluster`: the name is the cluster's; only a domain
    /// below the cluster's own comes before it.
    pub(super) fn configured<'v>(
        &self,
        view: &'v View,
        of_cluster: bool,
        seen: Seen<'_>,
        (name, place): (&Name, Place),
        scratch: &mut Scratch,
        response: &mut Response<'_>,
    ) -> Configured<'v> {
        let wanted = seen.asking.query.kind;
        if let Some((block, before)) = view.blocks(name) {
            self.views.count_blocked();
            seen.asking.trail.came(Way::Hosts);
            seen.asking.trail.note(name, || Note::Other("blocked".to_owned(), Some("DNSConfig, block".to_owned())));
            self.blocked(&block.answer, (name, place), before, wanted, response);
            return Configured::Decided(Step::Decided(Decision::Reply));
        }
        match view.find(name, false, self.least_labels(name)) {
            Some(Found::Host(addresses)) => {
                seen.asking.trail.came(Way::Hosts);
                let note = || Note::Other("has addresses".to_owned(), Some("DNSConfig, hosts".to_owned()));
                seen.asking.trail.note(name, note);
                for address in addresses {
                    self.push_if_wanted(*address, wanted, place, response);
                }
                Configured::Decided(Step::Decided(Decision::Reply))
            }
            Some(found) if of_cluster => Configured::Decided(self.found(found, seen, (name, place), scratch, response)),
            Some(found) => Configured::AfterReverse(found),
            None => Configured::Nothing,
        }
    }

    /// Labels that the domain of a zone or of upstreams must have to come before the cluster's own
    /// names, when the name is one of those.
    pub(super) fn least_labels(&self, name: &Name) -> usize {
        self.index.zone_of(name).map_or(0, |(_, before)| name.labels() - before + 1)
    }

    /// Answers from a zone of the operator, or asks whom the operator named.
    pub(super) fn found(
        &self,
        found: Found<'_>,
        seen: Seen<'_>,
        (name, place): (&Name, Place),
        scratch: &mut Scratch,
        response: &mut Response<'_>,
    ) -> Step {
        let query = seen.asking.query;
        match found {
            Found::Zone(zone) => {
                seen.asking.trail.came(Way::Hosts);
                let note = || Note::Other("is in a zone".to_owned(), Some("DNSConfig, zones".to_owned()));
                seen.asking.trail.note(name, note);
                let question = ZoneQuestion { name, place, kind: query.kind, dnssec: query.dnssec() };
                match zone.answer(question, &mut scratch.target, response) {
                    ZoneOutcome::Answered => Step::Decided(Decision::Reply),
                    ZoneOutcome::Chase(place) => Step::Follow(place),
                }
            }
            Found::Forward(upstreams) => {
                Step::Decided(self.elsewhere(seen.asking, name, place, Some(upstreams), response))
            }
            // Both were answered before.
            Found::Host(_) | Found::Rewrite(_) => Step::Decided(Decision::Reply),
        }
    }

    /// Answers as if another name had been asked, when a rule says so.
    pub(super) fn rewritten(
        &self,
        seen: Seen<'_>,
        scratch: &mut Scratch,
        response: &mut Response<'_>,
    ) -> Option<Decision> {
        let (view, asking) = (seen.view?, seen.asking);
        let least_labels = self.least_labels(asking.name);
        let Some(Found::Rewrite(rewrite)) = view.find(asking.name, true, least_labels) else { return None };
        if view.blocks(asking.name).is_some() {
            return None;
        }
        let Ok(looked_up) = rewrite.apply(asking.name) else {
            response.set_rcode(rcode::YXDOMAIN);
            return Some(Decision::Reply);
        };
        let numbers = asking.query.question.get(asking.query.question.len().saturating_sub(4)..).unwrap_or_default();
        let question = [looked_up.wire(), numbers].concat();
        let query = Query { question: &question, ..*asking.query };
        let mut space = vec![0; response.limit() + Response::OPT_OCTETS];
        let room = space.len();
        let mut inner = Response::new(&mut space, room, &query);
        let inner_asking = Asking {
            query: &query,
            name: &looked_up,
            client: asking.client,
            now_millis: asking.now_millis,
            fresh: asking.fresh,
            trail: asking.trail,
        };
        let decision = self.answer_question(Seen { asking: &inner_asking, view: seen.view }, scratch, &mut inner);
        if matches!(decision, Decision::Ask { .. }) {
            return Some(decision);
        }
        let restored = Restored { rewrite, asked: asking.name, looked_up: &looked_up };
        if restored.copy(inner.finish(None), response).is_none() {
            response.restart(asking.query.question.len());
            response.set_rcode(rcode::SERVFAIL);
        }
        Some(decision)
    }

    fn blocked(
        &self,
        answer: &BlockAnswer,
        (name, place): (&Name, Place),
        before: usize,
        wanted: u16,
        response: &mut Response<'_>,
    ) {
        match answer {
            BlockAnswer::Refused => return response.set_rcode(rcode::REFUSED),
            BlockAnswer::NameError => response.set_rcode(rcode::NXDOMAIN),
            BlockAnswer::NoData | BlockAnswer::Allow => {}
            BlockAnswer::Addresses(addresses) => {
                let told = response.count(Section::Answer);
                for address in addresses {
                    self.push_if_wanted(*address, wanted, place, response);
                }
                if response.count(Section::Answer) > told {
                    return;
                }
            }
        }
        // So that the client need not ask again at once (RFC 2308 §3).
        let ttl = self.rules.hosts_ttl_seconds;
        let root = before >= name.labels();
        let owner = if root { Owner::Name(&[0]) } else { Owner::At(place.plus(name.offset(before))) };
        let mut numbers = [0; 20];
        for (to, value) in numbers.chunks_exact_mut(4).zip(BLOCKED_SOA.into_iter().chain([ttl])) {
            to.copy_from_slice(&value.to_be_bytes());
        }
        response.push(Section::Authority, owner, kind::SOA, ttl, &[&[0], &[0], &numbers]);
    }

    fn push_if_wanted(&self, address: std::net::IpAddr, wanted: u16, place: Place, response: &mut Response<'_>) {
        if (wanted == kind::A && address.is_ipv4()) || (wanted == kind::AAAA && address.is_ipv6()) {
            response.push_address(Section::Answer, Owner::At(place), self.rules.hosts_ttl_seconds, address);
        }
    }
}
