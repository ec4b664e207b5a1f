//! What becomes of one query: the zone answers, the cache answers, or upstreams are
//! asked and the query is looked at again with what they said. Without I/O.
//!
//! What the operator says of names (`crate::views`) comes first, on every way to an answer: for
//! what was asked, for the target of an alias, and for a name that the search list leads to. So no
//! client gets from the cache or by a detour what is kept from it.
//!
//! A pod's resolver puts its search list behind names (`api.example.org.shop.svc.
//! cluster.local`). Whose list that is, is known for sure on the pod's own node, so
//! the rest of the list is walked here and the one answer says by a CNAME where it ended.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use seaway_model::dns_api::Way;

pub use trail::{Note, Trail};

use crate::forward::machine::Question;
use crate::forward::{Cache, CacheKey, Entry, Freshness};
use crate::views::{View, ViewUpstreams, Views};
use crate::wire::name::Place;
use crate::wire::number::{class, kind, rcode};
use crate::wire::response::Owner;
use crate::wire::{Name, OwnedName, Query, Response, Section};
use crate::zone::answer::{Asked, Outcome};
use crate::zone::{Index, Scratch, Zone, reverse};

mod configured;
pub mod explain;
pub mod search;
#[cfg(test)]
mod tests;
pub mod trail;

use configured::Configured;

/// An alias may lead to another so often.
const MOST_STEPS: usize = 8;

/// What the operator chose beside the zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Search lists are walked for pods of this node.
    pub search: bool,
    /// Addresses of names, as in `/etc/hosts`; in wire form, lower case.
    pub hosts: HashMap<Box<[u8]>, Vec<IpAddr>>,
    /// Seconds that those may be kept.
    pub hosts_ttl_seconds: u32,
    /// Which group of upstreams answers for a domain and what is below it; the longest wins.
    pub stubs: Vec<(OwnedName, usize)>,
    /// Which group answers for everything else; none: such names are refused.
    pub default_group: Option<usize>,
}

/// Everything that queries are answered from.
#[derive(Debug)]
pub struct Resolver {
    /// Names of the cluster.
    pub index: Arc<Index>,
    /// What others answered.
    pub cache: Cache,
    /// What the operator chose.
    pub rules: Rules,
    /// What the operator says of names, by client.
    pub views: Arc<Views>,
}

/// What to do with a query.
#[derive(Debug)]
pub enum Decision {
    /// The response is written.
    Reply,
    /// Ask this, then look at the query again.
    Ask {
        /// What.
        question: Box<Question>,
        /// What to answer when nobody does.
        stale: Option<Arc<Entry>>,
    },
    /// The response is written, and this should be asked again before it ends.
    ReplyAndRefresh {
        /// What.
        question: Box<Question>,
    },
}

/// An answer that just came and may be too short-lived for the cache.
#[derive(Debug, Clone, Copy)]
pub struct Fresh<'e> {
    /// The key of its question.
    pub key: &'e [u8],
    /// The answer.
    pub entry: &'e Arc<Entry>,
}

/// One query being answered.
pub struct Asking<'q> {
    /// The query.
    pub query: &'q Query<'q>,
    /// Its name.
    pub name: &'q Name,
    /// Who asks.
    pub client: IpAddr,
    /// Milliseconds of the cache's clock.
    pub now_millis: u64,
    /// What upstreams just said.
    pub fresh: Option<Fresh<'q>>,
    /// Where the answer comes from is written there.
    pub trail: &'q Trail,
}

/// A query as its client's view sees it.
#[derive(Clone, Copy)]
struct Seen<'s> {
    asking: &'s Asking<'s>,
    view: Option<&'s View>,
}

/// What one step came to.
enum Step {
    Decided(Decision),
    /// The name does not exist, and nobody else is to be asked.
    Missing,
    Follow(Place),
}

// === impl Resolver ===

impl Resolver {
    /// Answers a query into `response`, or says whom to ask.
    pub fn resolve(&self, asking: &Asking<'_>, scratch: &mut Scratch, response: &mut Response<'_>) -> Decision {
        self.views.with(&asking.client, |view| {
            if view.is_some_and(|view| !view.allows(asking.client)) {
                self.views.count_denied();
                response.set_rcode(rcode::REFUSED);
                return Decision::Reply;
            }
            self.resolve_seen(Seen { asking, view }, scratch, response)
        })
    }

    fn resolve_seen(&self, seen: Seen<'_>, scratch: &mut Scratch, response: &mut Response<'_>) -> Decision {
        let query = seen.asking.query;
        if query.class != class::IN {
            response.set_rcode(rcode::REFUSED);
            return Decision::Reply;
        }
        match query.kind {
            kind::AXFR | kind::IXFR => {
                response.set_rcode(rcode::REFUSED);
                return Decision::Reply;
            }
            kind::OPT => {
                response.set_rcode(rcode::FORMERR);
                return Decision::Reply;
            }
            kind::ANY => {
                // RFC 8482 §4.2: one small record instead of everything.
                let data: [&[u8]; 1] = [b"\x07RFC8482\x00"];
                response.push(Section::Answer, Owner::At(Place::QUESTION), kind::HINFO, 3600, &data);
                return Decision::Reply;
            }
            _ => {}
        }
        if let Some(decision) = self.rewritten(seen, scratch, response) {
            return decision;
        }
        self.answer_question(seen, scratch, response)
    }

    fn answer_question(&self, seen: Seen<'_>, scratch: &mut Scratch, response: &mut Response<'_>) -> Decision {
        match self.step(seen, seen.asking.name, Place::QUESTION, scratch, response) {
            Step::Decided(decision) => decision,
            Step::Missing => self.search(seen, scratch, response),
            Step::Follow(place) => self.follow(seen, place, scratch, response),
        }
    }

    /// Answers for the target of the last CNAME, and its target's.
    fn follow(&self, seen: Seen<'_>, mut place: Place, scratch: &mut Scratch, response: &mut Response<'_>) -> Decision {
        for _ in 0..MOST_STEPS {
            let name = scratch.target.clone();
            match self.step(seen, &name, place, scratch, response) {
                Step::Decided(decision) => return decision,
                Step::Missing => {
                    self.deny(&name, place, seen.asking.query.kind, rcode::NXDOMAIN, response);
                    return Decision::Reply;
                }
                Step::Follow(next) => place = next,
            }
        }
        // Aliases in a circle.
        response.set_rcode(rcode::SERVFAIL);
        Decision::Reply
    }

    fn step(
        &self,
        seen: Seen<'_>,
        name: &Name,
        place: Place,
        scratch: &mut Scratch,
        response: &mut Response<'_>,
    ) -> Step {
        let query = seen.asking.query;
        let own = self.index.zone_of(name);
        let mut configured = None;
        if let Some(view) = seen.view {
            match self.configured(view, own.is_some(), seen, (name, place), scratch, response) {
                Configured::Decided(step) => return step,
                Configured::AfterReverse(found) => configured = Some(found),
                Configured::Nothing => {}
            }
        }
        if let Some((zone, before)) = own {
            let asked = Asked { name, before, kind: query.kind, place };
            return self.of_cluster(zone, asked, seen, scratch, response);
        }
        if configured.is_none() && self.hosts(name, place, query.kind, response) {
            seen.asking.trail.came(Way::Hosts);
            seen.asking.trail.note(name, || Note::Hosts);
            return Step::Decided(Decision::Reply);
        }
        if let Some(address) = reverse::address_of(name) {
            let asked = Asked { name, before: 0, kind: query.kind, place };
            if self.index.answer_reverse(address, asked, response) {
                response.set_authoritative();
                seen.asking.trail.came(Way::Zone);
                seen.asking.trail.note(name, || Note::Reverse);
                return Step::Decided(Decision::Reply);
            }
        }
        match configured {
            Some(found) => self.found(found, seen, (name, place), scratch, response),
            None => Step::Decided(self.elsewhere(seen.asking, name, place, None, response)),
        }
    }

    /// Answers for a name in a zone of the cluster.
    fn of_cluster(
        &self,
        zone: Zone,
        asked: Asked<'_>,
        seen: Seen<'_>,
        scratch: &mut Scratch,
        response: &mut Response<'_>,
    ) -> Step {
        let Asked { name, place, .. } = asked;
        let outcome = self.index.answer_in(zone, asked, scratch, response);
        seen.asking.trail.came(Way::Zone);
        seen.asking.trail.note(name, || Note::Zone(outcome));
        let elsewhere = outcome == Outcome::NameError && self.index.falls_through(zone);
        if place == Place::QUESTION && !elsewhere {
            response.set_authoritative();
        }
        match outcome {
            Outcome::Answered => {}
            Outcome::NoData => self.index.push_negative(asked, response),
            Outcome::NameError if elsewhere => {
                return match seen.view.and_then(|view| view.find(name, false, 0)) {
                    Some(found) => self.found(found, seen, (name, place), scratch, response),
                    None => Step::Decided(self.elsewhere(seen.asking, name, place, None, response)),
                };
            }
            Outcome::NameError => return Step::Missing,
            Outcome::Unknown => {
                response.restart(seen.asking.query.question.len());
                response.set_rcode(rcode::SERVFAIL);
            }
            Outcome::Chase(place) => return Step::Follow(place),
        }
        Step::Decided(Decision::Reply)
    }

    /// Names of the operator, and those that never leave a host (RFC 6761 §6.3, §6.4).
    fn hosts(&self, name: &Name, place: Place, wanted: u16, response: &mut Response<'_>) -> bool {
        let ttl = self.rules.hosts_ttl_seconds;
        let mut push = |address: &IpAddr| {
            if (wanted == kind::A && address.is_ipv4()) || (wanted == kind::AAAA && address.is_ipv6()) {
                response.push_address(Section::Answer, Owner::At(place), ttl, *address);
            }
        };
        if let Some(addresses) = self.rules.hosts.get(name.wire()) {
            addresses.iter().for_each(&mut push);
            return true;
        }
        match name.label(name.labels().wrapping_sub(1)) {
            b"localhost" => {
                push(&IpAddr::from([127, 0, 0, 1]));
                push(&IpAddr::from(std::net::Ipv6Addr::LOCALHOST));
                true
            }
            b"invalid" => {
                response.set_rcode(rcode::NXDOMAIN);
                true
            }
            _ => false,
        }
    }

    /// The cache, or those who are asked.
    fn elsewhere(
        &self,
        asking: &Asking<'_>,
        name: &Name,
        place: Place,
        of_view: Option<&Arc<ViewUpstreams>>,
        response: &mut Response<'_>,
    ) -> Decision {
        let query = asking.query;
        let group = of_view.map(|upstreams| usize::from(upstreams.number)).or_else(|| self.group(name));
        let Some(group) = group.filter(|_| query.recursion_desired()) else {
            response.set_rcode(rcode::REFUSED);
            asking.trail.came(Way::Server);
            asking.trail.note(name, || Note::Refused);
            return Decision::Reply;
        };
        let key = CacheKey::of(name, query.kind, group as u16, query.dnssec(), query.checking_disabled());
        let question = || {
            Box::new(Question {
                key,
                name: name.clone(),
                kind: query.kind,
                group,
                upstreams: of_view.cloned(),
                dnssec: query.dnssec(),
                checking_disabled: query.checking_disabled(),
            })
        };
        let mut write = |entry: &Entry, stale| {
            entry.write(name, place, asking.now_millis, stale, response);
            if entry.authentic && query.authentic_data_understood() {
                response.set_authentic();
            }
        };
        if let Some(fresh) = asking.fresh.filter(|fresh| fresh.key == key.octets()) {
            let age = asking.now_millis.saturating_sub(fresh.entry.stored_millis);
            let stale = age >= u64::from(fresh.entry.ttl_seconds.max(1)) * 1000;
            asking.trail.came(if stale { Way::Stale } else { Way::Upstream });
            asking.trail.note(name, || Note::Fresh(group));
            write(fresh.entry, stale);
            return Decision::Reply;
        }
        let found = self.cache.find(&key, asking.now_millis);
        asking.trail.came(Way::Cache);
        asking.trail.note(name, || Note::Cache(group, found.as_ref().map(|(_, freshness)| *freshness)));
        match found {
            Some((entry, Freshness::Fresh)) => {
                self.cache.count(true);
                write(&entry, false);
                Decision::Reply
            }
            Some((entry, Freshness::EndsSoon)) => {
                self.cache.count(true);
                write(&entry, false);
                Decision::ReplyAndRefresh { question: question() }
            }
            Some((entry, Freshness::Stale)) => {
                self.cache.count(false);
                Decision::Ask { question: question(), stale: Some(entry) }
            }
            Some((_, Freshness::Over)) | None => {
                self.cache.count(false);
                Decision::Ask { question: question(), stale: None }
            }
        }
    }

    fn group(&self, name: &Name) -> Option<usize> {
        let stubs = self.rules.stubs.iter().filter(|(domain, _)| name.below(domain).is_some());
        let longest = stubs.max_by_key(|(domain, _)| domain.labels());
        longest.map(|(_, group)| *group).or(self.rules.default_group)
    }

    /// Writes that a name of a zone of ours does not exist, or has no such record.
    fn deny(&self, name: &Name, place: Place, kind: u16, rcode: u8, response: &mut Response<'_>) {
        response.set_rcode(rcode);
        if let Some((_, before)) = self.index.zone_of(name) {
            self.index.push_negative(Asked { name, before, kind, place }, response);
        }
    }
}
