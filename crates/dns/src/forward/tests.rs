//! Upstreams that answer, lie, are silent or slow, without a socket: time is a number.

use std::sync::Arc;

use super::cache::CacheLimits;
use super::machine::{Question, SOCKETS_PER_UPSTREAM as SOCKETS, Ticket};
use super::*;
use crate::wire::Name;
use crate::wire::number::{kind, rcode};

mod answers;
mod lies;

pub(crate) const LIMITS: CacheLimits =
    CacheLimits { octets: 1 << 20, positive_seconds: 3600, negative_seconds: 30, stale_seconds: 600 };

const MILLI: u64 = 1000;

pub(crate) fn question(text: &str) -> Question {
    let mut name = Name::root();
    name.assign(crate::wire::OwnedName::parse(text).unwrap().wire()).unwrap();
    let key = CacheKey::of(&name, kind::A, 0, false, false);
    Question { key, name, kind: kind::A, group: 0, upstreams: None, dnssec: false, checking_disabled: false }
}

/// What an honest upstream makes of a query: its question comes back with `records`.
pub(crate) fn honest(query: &[u8], code: u8, counts: [u8; 2], records: &[u8]) -> Vec<u8> {
    let end = 12 + query[12..].iter().position(|octet| *octet == 0).unwrap() + 5;
    let mut answer = query[..end].to_vec();
    answer[2] = 0x81;
    answer[3] = 0x80 | code;
    answer[7] = counts[0];
    answer[9] = counts[1];
    answer[11] = 0;
    answer.extend_from_slice(records);
    answer
}

/// One A record of the asked name.
pub(crate) fn address(last: u8, ttl: u8) -> Vec<u8> {
    vec![0xc0, 12, 0, 1, 0, 1, 0, 0, 0, ttl, 0, 4, 192, 0, 2, last]
}

struct Rig {
    forwarder: Forwarder<&'static str>,
    actions: Vec<Action<&'static str>>,
}

type Sent = (usize, u8, Vec<u8>);

impl Rig {
    fn new(upstreams: usize, policy: Policy) -> Self {
        let at = |n: usize| Upstream::new(([10, 0, 0, n as u8 + 1], 53).into(), Transport::Udp);
        let groups = vec![Group { upstreams: (0..upstreams).collect(), policy }];
        Self { forwarder: Forwarder::new((0..upstreams).map(at).collect(), groups, LIMITS, 7), actions: Vec::new() }
    }

    fn ask(&mut self, name: &str, waiter: &'static str, at: u64) {
        self.forwarder.ask(question(name), Some(waiter), None, at, &mut self.actions);
    }

    fn sent(&mut self) -> Vec<Sent> {
        let mut sent = Vec::new();
        self.actions.retain_mut(|action| match action {
            Action::Send { upstream, socket, octets } => {
                sent.push((*upstream, *socket, std::mem::take(octets)));
                false
            }
            _ => true,
        });
        sent
    }

    fn streams(&mut self) -> Vec<(usize, Ticket, Vec<u8>)> {
        let mut sent = Vec::new();
        self.actions.retain_mut(|action| match action {
            Action::Stream { upstream, ticket, octets } => {
                sent.push((*upstream, *ticket, std::mem::take(octets)));
                false
            }
            _ => true,
        });
        sent
    }

    fn done(&mut self) -> Vec<(u8, Vec<&'static str>)> {
        std::mem::take(&mut self.actions)
            .into_iter()
            .filter_map(|action| match action {
                Action::Done { entry, waiters, .. } => Some((entry.rcode, waiters)),
                _ => None,
            })
            .collect()
    }

    fn receive(&mut self, (upstream, socket, _): &Sent, octets: &[u8], at: u64) {
        self.forwarder.received(*upstream, *socket, octets, at, &mut self.actions);
    }
}

#[test]
fn one_question_is_asked_once_for_all_who_wait() {
    let mut rig = Rig::new(1, Policy::Sequential);
    rig.ask("example.org", "a", 0);
    rig.ask("EXAMPLE.org", "b", 1);
    let sent = rig.sent();
    assert_eq!(sent.len(), 1);
    rig.receive(&sent[0], &honest(&sent[0].2, 0, [1, 0], &address(1, 60)), 5 * MILLI);
    assert_eq!(rig.done(), [(rcode::NOERROR, vec!["a", "b"])]);
    assert_eq!(rig.forwarder.pending(), 0);
}

#[test]
fn a_silent_upstream_is_overtaken_within_50_ms_and_its_late_answer_still_counts() {
    let mut rig = Rig::new(2, Policy::Sequential);
    rig.ask("example.org", "a", 0);
    let first = rig.sent().remove(0);
    let due = rig.forwarder.next_tick_millis().unwrap();
    assert!(due <= 50, "{due}");
    rig.forwarder.tick(due * MILLI, &mut rig.actions);
    let second = rig.sent().remove(0);
    assert_ne!(first.0, second.0);
    rig.receive(&first, &honest(&first.2, 0, [1, 0], &address(1, 60)), 60 * MILLI);
    assert_eq!(rig.done(), [(rcode::NOERROR, vec!["a"])]);
}

#[test]
fn a_dead_upstream_is_asked_last_and_found_again_by_live_traffic() {
    let mut rig = Rig::new(2, Policy::Sequential);
    let mut now = 0;
    for (number, name) in ["a.example", "b.example", "c.example"].into_iter().enumerate() {
        now = (number as u64 + 1) * 1000 * MILLI;
        rig.ask(name, "w", now);
        assert_eq!(rig.sent().len(), 1);
        rig.forwarder.tick(now + 50 * MILLI, &mut rig.actions);
        let second = rig.sent().remove(0);
        assert_eq!(second.0, 1);
        rig.receive(&second, &honest(&second.2, 0, [1, 0], &address(1, 60)), now + 51 * MILLI);
    }
    assert!(rig.forwarder.upstreams[0].is_down());
    rig.done();
    now += 1000 * MILLI;
    rig.ask("d.example", "w", now);
    let sent = rig.sent();
    assert_eq!(sent.iter().map(|s| s.0).collect::<Vec<_>>(), [1, 0], "the living one, and a probe of the other");
    rig.receive(&sent[1], &honest(&sent[1].2, 0, [1, 0], &address(1, 60)), now + MILLI);
    assert!(!rig.forwarder.upstreams[0].is_down());
    assert_eq!(rig.done().len(), 1);
}

#[test]
fn a_refused_connection_moves_on_at_once() {
    let mut rig = Rig::new(2, Policy::Sequential);
    rig.ask("example.org", "a", 0);
    rig.sent();
    rig.forwarder.refused(0, MILLI, &mut rig.actions);
    assert_eq!(rig.sent()[0].0, 1);
}

#[test]
fn servers_that_fail_pass_the_question_on_and_the_last_word_counts() {
    let mut rig = Rig::new(2, Policy::Sequential);
    rig.ask("example.org", "a", 0);
    let first = rig.sent().remove(0);
    rig.receive(&first, &honest(&first.2, rcode::SERVFAIL, [0, 0], &[]), MILLI);
    let second = rig.sent().remove(0);
    assert_eq!(second.0, 1);
    rig.receive(&second, &honest(&second.2, rcode::REFUSED, [0, 0], &[]), 2 * MILLI);
    assert_eq!(rig.done(), [(rcode::REFUSED, vec!["a"])]);
}

#[test]
fn nobody_waits_for_ever_and_nothing_stays_behind() {
    let mut rig = Rig::new(2, Policy::Random);
    rig.ask("example.org", "a", 0);
    let mut now = 0;
    while let Some(due) = rig.forwarder.next_tick_millis() {
        now = due;
        rig.forwarder.tick(due * MILLI, &mut rig.actions);
    }
    assert!((3000..6000).contains(&now), "{now}");
    let sent = rig.sent().len();
    assert!((4..=10).contains(&sent), "{sent} queries");
    assert_eq!(rig.done(), [(rcode::SERVFAIL, vec!["a"])]);
    assert_eq!(rig.forwarder.pending(), 0);
}

#[test]
fn a_loop_of_servers_goes_round_once() {
    let mut rig = Rig::new(1, Policy::Sequential);
    rig.ask("loop.example", "client", 0);
    assert_eq!(rig.sent().len(), 1);
    // The upstream asks us what we asked it: that waits for the same answer and asks nobody.
    rig.ask("loop.example", "upstream", MILLI);
    assert_eq!(rig.sent().len(), 0);
    while let Some(due) = rig.forwarder.next_tick_millis() {
        rig.forwarder.tick(due * MILLI, &mut rig.actions);
    }
    assert!(rig.sent().len() < 8);
    assert_eq!(rig.done(), [(rcode::SERVFAIL, vec!["client", "upstream"])]);
}

#[test]
fn lies_are_not_listened_to() {
    let mut rig = Rig::new(1, Policy::Sequential);
    rig.ask("example.org", "a", 0);
    let sent = rig.sent().remove(0);
    let truth = honest(&sent.2, 0, [1, 0], &address(1, 60));
    let lie = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut lie = truth.clone();
        change(&mut lie);
        lie
    };
    for wrong in [
        lie(&|m| m[0] ^= 1),
        lie(&|m| m[2] = 0x01),
        lie(&|m| m[13] = b'z'),
        lie(&|m| m[5] = 0),
        lie(&|m| m[26] = 28),
        Vec::new(),
        vec![0; 12],
    ] {
        rig.receive(&sent, &wrong, MILLI);
        assert_eq!(rig.actions.len(), 0, "{wrong:?}");
    }
    rig.receive(&(sent.0, sent.1 ^ 1, Vec::new()), &truth, MILLI);
    assert_eq!(rig.actions.len(), 0, "another socket");
    rig.receive(&sent, &truth, MILLI);
    assert_eq!(rig.done().len(), 1);
}

#[test]
fn another_case_and_truncation_are_settled_by_a_stream() {
    for change in [(|m: &mut Vec<u8>| m[13] ^= 0x20) as fn(&mut Vec<u8>), |m| m[2] |= 0x02] {
        let mut rig = Rig::new(1, Policy::Sequential);
        rig.ask("example.org", "a", 0);
        let sent = rig.sent().remove(0);
        let mut answer = honest(&sent.2, 0, [1, 0], &address(1, 60));
        change(&mut answer);
        rig.receive(&sent, &answer, MILLI);
        let (upstream, ticket, query) = rig.streams().remove(0);
        let answer = honest(&query, 0, [1, 0], &address(1, 60));
        rig.forwarder.stream_answered(upstream, ticket, Some(&answer), 2 * MILLI, &mut rig.actions);
        assert_eq!(rig.done(), [(rcode::NOERROR, vec!["a"])]);
    }
}

#[test]
fn a_server_without_edns_is_asked_again_without() {
    let mut rig = Rig::new(1, Policy::Sequential);
    rig.ask("example.org", "a", 0);
    let sent = rig.sent().remove(0);
    assert_eq!(sent.2[11], 1, "an OPT record");
    rig.receive(&sent, &honest(&sent.2, rcode::FORMERR, [0, 0], &[]), MILLI);
    let again = rig.sent().remove(0);
    assert_eq!(again.2[11], 0);
    rig.receive(&again, &honest(&again.2, 0, [1, 0], &address(1, 60)), 2 * MILLI);
    assert_eq!(rig.done(), [(rcode::NOERROR, vec!["a"])]);
}

#[test]
fn stale_answers_stand_in_soon_and_at_once_when_all_are_known_to_be_dead() {
    let stale = || Some(Arc::new(Entry::new(0, false, 60, 0, &[])));
    let mut rig = Rig::new(1, Policy::Sequential);
    rig.forwarder.ask(question("example.org"), Some("a"), stale(), 0, &mut rig.actions);
    assert_eq!(rig.sent().len(), 1);
    rig.forwarder.refused(0, MILLI, &mut rig.actions);
    rig.actions.clear();
    rig.forwarder.ask(question("other.example"), Some("b"), stale(), 2 * MILLI, &mut rig.actions);
    assert_eq!(rig.done(), [(0, vec!["b"])]);
    rig.forwarder.tick(401 * MILLI, &mut rig.actions);
    assert_eq!(rig.done(), [(0, vec!["a"])]);
}

#[test]
fn ids_sockets_and_case_differ() {
    let mut rig = Rig::new(1, Policy::Sequential);
    let names: Vec<String> = (0..64).map(|n| format!("name{n}.example.org")).collect();
    names.iter().for_each(|name| rig.ask(name, "w", 0));
    let sent = rig.sent();
    let distinct =
        |pick: &dyn Fn(&Sent) -> Vec<u8>| sent.iter().map(pick).collect::<std::collections::HashSet<_>>().len();
    assert!(distinct(&|s| s.2[..2].to_vec()) > 60, "ids");
    assert_eq!(distinct(&|s| vec![s.1]), 8, "sockets");
    assert!(distinct(&|s| s.2[s.2.len() - 28..s.2.len() - 15].to_vec()) > 32, "case");
}
