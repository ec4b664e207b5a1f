//! Steps as people read them. Pure.

use seaway_model::dns_api::{TraceStep, UpstreamAttempt};

use super::{Note, Rules};
use crate::forward::{Attempt, Freshness, Transport, Upstream};
use crate::views::upstreams::FIRST_NUMBER;
use crate::wire::Name;
use crate::zone::{Index, Outcome};

/// What steps speak of.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'s> {
    /// Names of the cluster.
    pub index: &'s Index,
    /// What the operator chose.
    pub rules: &'s Rules,
    /// All upstreams, by number.
    pub upstreams: &'s [Upstream],
}

/// The steps of one query. `asked`: keys of questions that went to upstreams, and whom.
#[must_use]
pub fn steps(
    notes: &[(Box<[u8]>, Note)],
    asked: &[(Box<[u8]>, Vec<Attempt>)],
    since_micros: u64,
    scene: Scene<'_>,
) -> Vec<TraceStep> {
    notes.iter().map(|(wire, note)| step(wire, note, asked, since_micros, scene)).collect()
}

fn step(
    wire: &[u8],
    note: &Note,
    asked: &[(Box<[u8]>, Vec<Attempt>)],
    since_micros: u64,
    scene: Scene<'_>,
) -> TraceStep {
    let mut name = Name::root();
    // Notes hold names that were names.
    let _ = name.assign(wire);
    let domain = || scene.index.settings.domain.to_string();
    let (decision, cause) = match note {
        Note::Zone(outcome) => {
            let decision = match outcome {
                Outcome::Answered => "answered from the names of the cluster",
                Outcome::NoData => "exists, and has no record of this type",
                Outcome::NameError => "does not exist in the cluster",
                Outcome::Unknown => "not known: the agent has not told everything yet",
                Outcome::Chase(_) => "is an alias; its target is looked up",
            };
            (decision.to_owned(), scene.index.describe(&name).or_else(|| Some(format!("zone {}", domain()))))
        }
        Note::Reverse => ("is an address of the cluster".to_owned(), None),
        Note::Hosts => ("answered by the server's own names".to_owned(), Some("dns.hosts, or RFC 6761".to_owned())),
        Note::Search => ("the next of the pod's search list".to_owned(), Some("dns.search".to_owned())),
        Note::SearchEnds => ("nothing of the pod's search list exists".to_owned(), None),
        Note::Refused => {
            let why = "refused: no upstream answers for it, or the client wants no recursion";
            (why.to_owned(), Some("dns.upstreams, dns.stubDomains".to_owned()))
        }
        Note::Cache(group, found) => {
            let decision = match found {
                Some(Freshness::Fresh | Freshness::EndsSoon) => "answered from the cache",
                Some(Freshness::Stale) => "kept answer is over; upstreams are asked, it stands in if none answers",
                Some(Freshness::Over) | None => "not in the cache; upstreams are asked",
            };
            (decision.to_owned(), Some(rule(&name, *group, scene.rules)))
        }
        Note::Fresh(group) => ("answered by upstreams".to_owned(), Some(rule(&name, *group, scene.rules))),
        Note::Other(decision, cause) => (decision.clone(), cause.clone()),
    };
    // A key ends with the name it is about.
    let mine = asked.iter().filter(|(key, _)| key.get(4..) == Some(name.wire()));
    let upstreams = mine.flat_map(|(_, attempts)| attempts.iter());
    let upstreams = match note {
        Note::Fresh(_) | Note::Cache(..) => {
            upstreams.map(|attempt| attempted(attempt, since_micros, scene.upstreams)).collect()
        }
        _ => Vec::new(),
    };
    TraceStep { name: name.to_string(), decision, cause, upstreams }
}

/// What sent a name to a group of upstreams.
fn rule(name: &Name, group: usize, rules: &Rules) -> String {
    if group >= usize::from(FIRST_NUMBER) {
        return "DNSConfig, forward".to_owned();
    }
    let stub = rules.stubs.iter().find(|(domain, to)| *to == group && name.below(domain).is_some());
    stub.map_or_else(|| "dns.upstreams".to_owned(), |(domain, _)| format!("dns.stubDomains {domain}"))
}

fn attempted(attempt: &Attempt, since_micros: u64, upstreams: &[Upstream]) -> UpstreamAttempt {
    let upstream = upstreams.get(attempt.upstream);
    UpstreamAttempt {
        upstream: upstream.map_or_else(|| "?".to_owned(), ToString::to_string),
        by_stream: attempt.socket.is_none() && upstream.is_some_and(|upstream| upstream.transport == Transport::Udp),
        after_micros: attempt.sent_micros.saturating_sub(since_micros),
        took_micros: attempt.took_micros,
        outcome: attempt.outcome.to_string(),
    }
}
