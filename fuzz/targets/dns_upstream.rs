//! A whole exchange with upstreams: what is asked, and any messages that come back, from
//! any of them, by datagrams and streams. Whoever waits gets exactly one answer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seaway_dns::forward::cache::CacheLimits;
use seaway_dns::forward::machine::Question;
use seaway_dns::forward::{Action, CacheKey, Forwarder, Group, Policy, Transport, Upstream};
use seaway_dns::wire::Name;

const LIMITS: CacheLimits =
    CacheLimits { octets: 1 << 20, positive_seconds: 3600, negative_seconds: 30, stale_seconds: 600 };

fuzz_target!(|data: &[u8]| {
    let upstreams = (1..=2).map(|last| Upstream::new(([10, 0, 0, last], 53).into(), Transport::Udp)).collect();
    let groups = vec![Group { upstreams: vec![0, 1], policy: Policy::RoundRobin }];
    let mut forwarder = Forwarder::<()>::new(upstreams, groups, LIMITS, 7);
    let mut name = Name::root();
    name.assign(b"\x07example\x03org\0").unwrap();
    let key = CacheKey::of(&name, 1, 0, false, false);
    let question = Question { key, name, kind: 1, group: 0, upstreams: None, dnssec: false, checking_disabled: false };
    let mut actions = Vec::new();
    forwarder.ask(question, Some(()), None, 0, &mut actions);
    let (mut answered, mut now, mut rest) = (0, 0, data);
    let mut last = None;
    // Each part: what to do, how long the message is, the message.
    while let Some(([what, size], after)) = rest.split_first_chunk::<2>() {
        let (octets, after) = after.split_at(usize::from(*size).min(after.len()));
        rest = after;
        for action in std::mem::take(&mut actions) {
            match action {
                Action::Done { waiters, .. } => answered += waiters.len(),
                Action::Send { upstream, socket, octets } => last = Some((upstream, socket, octets)),
                Action::Stream { upstream, ticket, .. } => {
                    let octets = (what & 1 == 0).then_some(octets);
                    forwarder.stream_answered(upstream, ticket, octets, now, &mut actions);
                }
            }
        }
        now += u64::from(*what) * 1000;
        if let Some((upstream, socket, query)) = &last {
            // Half of the messages begin as an answer must, so that the rest is looked at.
            let mut message = if what & 2 == 0 { query.clone() } else { Vec::new() };
            if let Some(flags) = message.get_mut(2) {
                *flags |= 0x80;
            }
            if let (4, Some(counts)) = (what & 4, message.get_mut(7)) {
                *counts = what >> 4;
                message.truncate(query.len() - 11);
            }
            message.extend(octets);
            forwarder.received(*upstream, *socket, &message, now, &mut actions);
        }
        forwarder.tick(now, &mut actions);
    }
    while let Some(due) = forwarder.next_tick_millis() {
        forwarder.tick(due * 1000, &mut actions);
    }
    for action in actions {
        if let Action::Done { waiters, .. } = action {
            answered += waiters.len();
        }
    }
    assert_eq!((answered, forwarder.pending()), (1, 0));
});
