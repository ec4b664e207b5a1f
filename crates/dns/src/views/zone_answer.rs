//! Questions for a zone with records of its own (RFC 1034 §4.3.2, RFC 4592, RFC 6672).

use super::static_zone::{Node, RecordSet, StaticZone};
use crate::wire::name::Place;
use crate::wire::number::{kind, rcode};
use crate::wire::response::Owner;
use crate::wire::{Name, Response, Section};

/// Delegation of signatures (RFC 4034 §5): the one type of a delegated name that the parent has.
const DS: u16 = 43;

/// What became of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ZoneOutcome {
    /// The response is written.
    Answered,
    /// A CNAME was written; its target is to be looked up, and stands at this place.
    Chase(Place),
}

/// A question below the zone's name.
#[derive(Debug, Clone, Copy)]
pub struct ZoneQuestion<'n> {
    /// The name.
    pub name: &'n Name,
    /// Where it stands in the response.
    pub place: Place,
    /// The type.
    pub kind: u16,
    /// The client wants signatures.
    pub dnssec: bool,
}

// === impl StaticZone ===

impl StaticZone {
    /// Answers a question for the zone's name or one below it. `target`: where the target of an
    /// alias goes.
    pub fn answer(&self, asked: ZoneQuestion<'_>, target: &mut Name, response: &mut Response<'_>) -> ZoneOutcome {
        let ZoneQuestion { name, place, .. } = asked;
        if !self.usable {
            response.set_rcode(rcode::SERVFAIL);
            return ZoneOutcome::Answered;
        }
        let above = name.labels().saturating_sub(self.apex.labels());
        if (self.delegates || self.redirects)
            && let Some(outcome) = self.cut(asked, above, target, response)
        {
            return outcome;
        }
        if place == Place::QUESTION {
            response.set_authoritative();
        }
        if let Some(node) = self.node(name.wire()) {
            return self.at(node, asked, target, response);
        }
        // The closest name above that exists, and its asterisk (RFC 4592 §3.3.1).
        let encloser = (1..=above).find(|before| self.node(name.suffix(*before)).is_some()).unwrap_or(above);
        let mut wildcard = Name::root();
        let asterisk = [b"\x01*".as_slice(), name.suffix(encloser)].concat();
        if wildcard.assign(&asterisk).is_ok()
            && let Some(node) = self.node(wildcard.wire())
        {
            return self.at(node, asked, target, response);
        }
        response.set_rcode(rcode::NXDOMAIN);
        self.push_negative(asked, response);
        ZoneOutcome::Answered
    }

    /// The uppermost name above the asked one that others answer for, or that stands for others.
    fn cut(
        &self,
        asked: ZoneQuestion<'_>,
        above: usize,
        target: &mut Name,
        response: &mut Response<'_>,
    ) -> Option<ZoneOutcome> {
        let name = asked.name;
        for before in (0..=above).rev() {
            let Some(node) = self.node(name.suffix(before)) else { break };
            let below_apex = before < above;
            if below_apex && let Some(servers) = node.set(kind::NS).filter(|_| before > 0 || asked.kind != DS) {
                self.refer(asked, before, node, servers, response);
                return Some(ZoneOutcome::Answered);
            }
            if before > 0
                && let Some(set) = node.set(kind::DNAME)
            {
                return Some(redirect(asked, before, set, target, response));
            }
        }
        None
    }

    /// Says who answers for a name below a delegation: not with authority.
    fn refer(
        &self,
        asked: ZoneQuestion<'_>,
        before: usize,
        node: &Node,
        servers: &RecordSet,
        response: &mut Response<'_>,
    ) {
        let owner = Owner::At(asked.place.plus(asked.name.offset(before)));
        for server in &servers.data {
            response.push(Section::Authority, owner, kind::NS, servers.ttl_seconds, &[server]);
        }
        if asked.dnssec {
            for set in node.sets.iter().filter(|set| set.kind == DS) {
                push_set(set, node, Section::Authority, owner, true, response);
            }
        }
        let mut server_name = Name::root();
        for server in &servers.data {
            let known = server_name.assign(server).ok().and_then(|()| self.node(server_name.wire()));
            for set in known.iter().flat_map(|node| &node.sets).filter(|s| matches!(s.kind, kind::A | kind::AAAA)) {
                for address in &set.data {
                    let owner = Owner::Name(server);
                    response.push(Section::Additional, owner, set.kind, set.ttl_seconds, &[address]);
                }
            }
        }
    }

    /// The records of a name that exists.
    fn at(&self, node: &Node, asked: ZoneQuestion<'_>, target: &mut Name, response: &mut Response<'_>) -> ZoneOutcome {
        let owner = Owner::At(asked.place);
        if let Some(set) = node.set(asked.kind) {
            push_set(set, node, Section::Answer, owner, asked.dnssec && asked.kind != kind::RRSIG, response);
            return ZoneOutcome::Answered;
        }
        if let Some(alias) = node.set(kind::CNAME)
            && let Some(data) = alias.data.first()
            && target.assign(data).is_ok()
        {
            let place = response.push(Section::Answer, owner, kind::CNAME, alias.ttl_seconds, &[data]);
            push_signatures(node, kind::CNAME, Section::Answer, owner, asked.dnssec, response);
            return place.map_or(ZoneOutcome::Answered, ZoneOutcome::Chase);
        }
        self.push_negative(asked, response);
        ZoneOutcome::Answered
    }

    /// The SOA record that negative answers need (RFC 2308 §3).
    fn push_negative(&self, asked: ZoneQuestion<'_>, response: &mut Response<'_>) {
        let above = asked.name.labels().saturating_sub(self.apex.labels());
        let owner = match asked.name.offset(above) {
            // Nothing can point to the root.
            _ if self.apex.labels() == 0 => Owner::Name(&[0]),
            offset => Owner::At(asked.place.plus(offset)),
        };
        response.push(Section::Authority, owner, kind::SOA, self.negative_ttl_seconds, &[&self.soa]);
        if let Some(node) = self.node(self.apex.wire()) {
            push_signatures(node, kind::SOA, Section::Authority, owner, asked.dnssec, response);
        }
    }
}

/// A DNAME, and the CNAME that it means for the asked name (RFC 6672 §3).
fn redirect(
    asked: ZoneQuestion<'_>,
    before: usize,
    set: &RecordSet,
    target: &mut Name,
    response: &mut Response<'_>,
) -> ZoneOutcome {
    if asked.place == Place::QUESTION {
        response.set_authoritative();
    }
    let owner = Owner::At(asked.place.plus(asked.name.offset(before)));
    let Some(to) = set.data.first() else { return ZoneOutcome::Answered };
    response.push(Section::Answer, owner, kind::DNAME, set.ttl_seconds, &[to]);
    if target.assign_joined(asked.name, 0..before, to).is_err() {
        response.set_rcode(rcode::YXDOMAIN);
        return ZoneOutcome::Answered;
    }
    let owner = Owner::At(asked.place);
    let place = response.push(Section::Answer, owner, kind::CNAME, set.ttl_seconds, &[target.wire()]);
    place.map_or(ZoneOutcome::Answered, ZoneOutcome::Chase)
}

fn push_set(
    set: &RecordSet,
    node: &Node,
    section: Section,
    owner: Owner<'_>,
    dnssec: bool,
    response: &mut Response<'_>,
) {
    for data in &set.data {
        if response.push(section, owner, set.kind, set.ttl_seconds, &[data]).is_none() {
            return;
        }
    }
    push_signatures(node, set.kind, section, owner, dnssec, response);
}

fn push_signatures(
    node: &Node,
    covered: u16,
    section: Section,
    owner: Owner<'_>,
    wanted: bool,
    response: &mut Response<'_>,
) {
    if wanted {
        for (ttl, data) in node.signatures(covered) {
            response.push(section, owner, kind::RRSIG, ttl, &[data]);
        }
    }
}
