//! The rest of a pod's search list, walked for it.

use seaway_model::dns_api::Way;

use super::{Decision, Note, Resolver, Seen, Step};
use crate::views::View;
use crate::wire::name::Place;
use crate::wire::number::{kind, rcode};
use crate::wire::response::Owner;
use crate::wire::{Name, Response, Section};
use crate::zone::Scratch;

/// A name of one label is a Service of the pod's own namespace that is missing; asking
/// others for it would tell them our names.
const SHORTEST_LABELS: usize = 2;

// === impl Resolver ===

impl Resolver {
    /// A name of the zone does not exist: walk the list if a search list made the name, or say so.
    pub(super) fn search(&self, seen: Seen<'_>, scratch: &mut Scratch, response: &mut Response<'_>) -> Decision {
        let asking = seen.asking;
        if let Some(labels) = self.searched_labels(seen) {
            let domain = self.index.settings.domain.wire();
            let mut in_svc = Vec::with_capacity(4 + domain.len());
            in_svc.extend(b"\x03svc");
            in_svc.extend(domain);
            for suffix in [&*in_svc, domain, b"\0"] {
                let mut name = Name::root();
                if name.assign_joined(asking.name, 0..labels, suffix).is_err() {
                    continue;
                }
                // The client itself asks for it when its list is at its end, and is told then.
                if seen.view.is_some_and(|view| view.diverts(&name, self.least_labels(&name))) {
                    break;
                }
                asking.trail.note(&name, || Note::Search);
                if let Some(decision) = self.try_suffix(seen, &name, scratch, response) {
                    return decision;
                }
            }
            asking.trail.came(Way::Zone);
            asking.trail.note(asking.name, || Note::SearchEnds);
        }
        response.restart(asking.query.question.len());
        response.set_authoritative();
        self.deny(asking.name, Place::QUESTION, asking.query.kind, rcode::NXDOMAIN, response);
        Decision::Reply
    }

    /// How many labels were there before the pod's resolver put `<namespace>.svc.<domain>` behind.
    fn searched_labels(&self, seen: Seen<'_>) -> Option<usize> {
        let asking = seen.asking;
        let search = seen.view.and_then(View::search).unwrap_or(self.rules.search);
        if !search || !matches!(asking.query.kind, kind::A | kind::AAAA) {
            return None;
        }
        let name = asking.name;
        let before = name.below(&self.index.settings.domain)?;
        let labels = before.checked_sub(2).filter(|labels| *labels >= SHORTEST_LABELS)?;
        let plain = !(0..labels).any(|label| name.label(label).starts_with(b"_"));
        if !plain || name.label(before - 1) != b"svc" {
            return None;
        }
        let pod = self.index.local_pod(&asking.client)?;
        (*pod.namespace == *name.labels_wire(labels..labels + 1)).then_some(labels)
    }

    /// Answers for one candidate; none when it does not exist.
    fn try_suffix(
        &self,
        seen: Seen<'_>,
        name: &Name,
        scratch: &mut Scratch,
        response: &mut Response<'_>,
    ) -> Option<Decision> {
        response.restart(seen.asking.query.question.len());
        let ttl = self.index.settings.ttl_seconds;
        let owner = Owner::At(Place::QUESTION);
        let place = response.push(Section::Answer, owner, kind::CNAME, ttl, &[name.wire()])?;
        let decision = match self.step(seen, name, place, scratch, response) {
            Step::Missing => return None,
            Step::Decided(decision) => decision,
            Step::Follow(place) => self.follow(seen, place, scratch, response),
        };
        // An alias to what does not exist would be no answer: the client goes on with its list.
        let missing = response.rcode() == rcode::NXDOMAIN;
        (!missing || matches!(decision, Decision::Ask { .. })).then_some(decision)
    }
}
