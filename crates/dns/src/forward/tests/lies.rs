//! Answers that lie, policies, and what is remembered of failures. Each test is one lie.

use super::answers::{Say, answer, kept, shown};
use super::*;

/// One question, asked of one upstream, and the truth about it.
fn asked() -> (Rig, Sent, Vec<u8>) {
    let mut rig = Rig::new(1, Policy::Sequential);
    rig.ask("example.org", "a", 0);
    let sent = rig.sent().remove(0);
    let truth = honest(&sent.2, 0, [1, 0], &address(1, 60));
    (rig, sent, truth)
}

/// The lie is passed over, and the truth that comes after it still counts.
fn is_passed_over(lie: impl Fn(&mut Vec<u8>)) {
    let (mut rig, sent, truth) = asked();
    let mut octets = truth.clone();
    lie(&mut octets);
    rig.receive(&sent, &octets, MILLI);
    assert!(rig.actions.is_empty(), "{octets:?}");
    assert_eq!(rig.forwarder.counts.rejected, 1);
    rig.receive(&sent, &truth, 2 * MILLI);
    assert_eq!(rig.done(), [(rcode::NOERROR, vec!["a"])]);
}

#[test]
fn an_answer_with_another_id_is_passed_over() {
    is_passed_over(|octets| octets[1] ^= 0x40);
}

#[test]
fn an_answer_to_another_name_is_passed_over() {
    is_passed_over(|octets| octets[13] = b'q');
}

#[test]
fn an_answer_to_another_type_is_passed_over() {
    is_passed_over(|octets| octets[26] = 28);
}

#[test]
fn an_answer_to_another_class_is_passed_over() {
    is_passed_over(|octets| octets[28] = 3);
}

#[test]
fn an_answer_to_two_questions_is_passed_over() {
    is_passed_over(|octets| octets[5] = 2);
}

#[test]
fn a_query_instead_of_an_answer_is_passed_over() {
    is_passed_over(|octets| octets[2] &= 0x7f);
}

#[test]
fn an_answer_of_another_operation_is_passed_over() {
    is_passed_over(|octets| octets[2] |= 0x28);
}

#[test]
fn an_answer_to_another_port_of_ours_is_passed_over() {
    let (mut rig, sent, truth) = asked();
    for socket in (0..SOCKETS).filter(|socket| *socket != sent.1) {
        rig.receive(&(sent.0, socket, Vec::new()), &truth, MILLI);
    }
    assert!(rig.actions.is_empty());
    assert_eq!(rig.forwarder.counts.rejected, u64::from(SOCKETS) - 1);
}

#[test]
fn a_second_answer_changes_nothing() {
    let (mut rig, sent, truth) = asked();
    rig.receive(&sent, &truth, MILLI);
    assert_eq!(rig.done().len(), 1);
    let poison = honest(&sent.2, 0, [1, 0], &address(66, 60));
    rig.receive(&sent, &poison, 2 * MILLI);
    assert!(rig.actions.is_empty(), "what comes late is nobody's answer");
}

#[test]
fn a_flood_of_guesses_ends_neither_question_nor_process() {
    let (mut rig, sent, truth) = asked();
    for guess in 0..=u16::MAX {
        let mut octets = honest(&sent.2, 0, [1, 0], &address(66, 60));
        octets[..2].copy_from_slice(&guess.to_be_bytes());
        // The name as everybody writes it: the case that was sent is not known to who guesses.
        octets[12..24].make_ascii_lowercase();
        rig.receive(&sent, &octets, MILLI);
    }
    assert!(rig.done().is_empty(), "no guess is believed, not even that with the right id");
    // A right id with another case means a guess or a strange server: a stream tells.
    let _ = truth;
    assert_eq!(rig.forwarder.pending(), 1);
}

#[test]
fn records_of_names_outside_the_question_are_not_kept() {
    let says = [
        Say::Address("www.example.org", 60, [192, 0, 2, 1]),
        Say::Address("login.bank.example", 60, [192, 0, 2, 66]),
        Say::Alias("example.org", 60, "login.bank.example"),
    ];
    let entry = kept(0, "www.example.org", &says).unwrap();
    assert_eq!(shown(&entry, "www.example.org", 0), ["www.example.org 60 A 192.0.2.1"]);
}

#[test]
fn a_denial_by_a_zone_that_the_name_is_not_in_is_kept_for_nobody() {
    let entry = kept(rcode::NXDOMAIN, "www.example.org", &[Say::Denial("bank.example", 300, 300)]).unwrap();
    assert_eq!((entry.ttl_seconds, shown(&entry, "www.example.org", 0).len()), (0, 0));
}

#[test]
fn an_answer_with_more_records_than_any_name_has_is_refused() {
    let names: Vec<[u8; 4]> = (0..3000u32).map(u32::to_be_bytes).collect();
    let says: Vec<Say<'_>> = names.iter().map(|octets| Say::Address("many.example", 60, *octets)).collect();
    assert!(kept(0, "many.example", &says[..400]).is_ok(), "hundreds are fine");
    assert!(kept(0, "many.example", &says).is_err());
}

#[test]
fn a_truncated_answer_with_records_is_not_taken_for_the_whole() {
    let (mut rig, sent, mut truth) = asked();
    truth[2] |= 0x02;
    rig.receive(&sent, &truth, MILLI);
    assert!(rig.done().is_empty());
    assert_eq!(answer(0, "a.example", &[]).len(), 27, "a header and a question");
}

#[test]
fn a_loop_of_two_servers_ends_with_servfail() {
    let mut rig = Rig::new(2, Policy::Sequential);
    rig.ask("loop.example", "client", 0);
    // Each query we send comes back to us as a query of an upstream.
    let mut now = 0;
    for round in 0..50 {
        now += 100 * MILLI;
        for _ in rig.sent() {
            rig.ask("loop.example", "upstream", now);
        }
        rig.forwarder.tick(now, &mut rig.actions);
        assert!(rig.forwarder.pending() <= 1, "round {round}");
    }
    let done = rig.done();
    assert_eq!(done.len(), 1);
    assert_eq!(done[0].0, rcode::SERVFAIL);
}

#[test]
fn that_nobody_answered_is_remembered_for_a_moment() {
    let mut rig = Rig::new(1, Policy::Sequential);
    rig.ask("example.org", "a", 0);
    while let Some(due) = rig.forwarder.next_tick_millis() {
        rig.forwarder.tick(due * MILLI, &mut rig.actions);
    }
    let kept = rig.actions.iter().find_map(|action| match action {
        Action::Done { entry, keep, .. } => Some((entry.rcode, entry.ttl_seconds, *keep)),
        _ => None,
    });
    // RFC 9520 §3.2: at least a second, at most five minutes.
    assert_eq!(kept, Some((rcode::SERVFAIL, 1, true)));
}

#[test]
fn policies_pick_as_they_are_called() {
    let first = |policy, count: u64| {
        let mut rig = Rig::new(3, policy);
        let names: Vec<String> = (0..count).map(|n| format!("n{n}.example")).collect();
        let mut firsts = Vec::new();
        for name in &names {
            rig.ask(name, "w", 0);
            firsts.push(rig.sent()[0].0);
        }
        firsts
    };
    assert!(first(Policy::Sequential, 9).iter().all(|upstream| *upstream == 0));
    let turns = first(Policy::RoundRobin, 6);
    assert!(turns.windows(2).all(|pair| pair[1] == (pair[0] + 1) % 3), "{turns:?}");
    let random = first(Policy::Random, 90);
    assert!((0..3).all(|upstream| random.iter().filter(|picked| **picked == upstream).count() > 10), "{random:?}");
}

#[test]
fn what_became_of_each_query_to_an_upstream_is_told() {
    let mut rig = Rig::new(2, Policy::Sequential);
    rig.ask("example.org", "a", 0);
    rig.forwarder.tick(45 * MILLI, &mut rig.actions);
    let second = rig.sent().remove(1);
    rig.receive(&second, &honest(&second.2, 0, [1, 0], &address(1, 60)), 50 * MILLI);
    let attempts = rig.actions.iter().find_map(|action| match action {
        Action::Done { attempts, .. } => Some(attempts.clone()),
        _ => None,
    });
    let told: Vec<_> = attempts.unwrap().iter().map(|a| (a.upstream, a.outcome, a.took_micros)).collect();
    assert_eq!(
        told,
        [(0, AttemptOutcome::Silent, Some(45 * MILLI)), (1, AttemptOutcome::Answered(0), Some(5 * MILLI))]
    );
}
