//! Whom to ask, when, and whom next. Questions for the same thing are asked once; a
//! silent upstream is overtaken within 45 ms by the next one, and an answer of either counts.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use foldhash::HashMap;

use super::attempt::{Attempt, AttemptOutcome};
use super::cache::CacheLimits;
use super::entry::Entry;
use super::normal::{self, Expected, Rejected};
use super::outgoing::{self, Flavour};
pub use super::question::{Counts, Question};
use super::upstream::{Group, Transport, Upstream};

/// Sockets to each upstream: their ports are part of what a forger must guess (RFC 5452 §9.2).
pub const SOCKETS_PER_UPSTREAM: u8 = 8;

/// Nobody waits longer for an answer: resolvers of clients try again after 5 s.
const LONGEST_WAIT_MILLIS: u64 = 4000;
/// A stale answer is given when no fresh one came by then.
const STALE_AFTER_MILLIS: u64 = 50;
/// Asking an upstream again that was asked before: it may have been the packet that was lost.
const AGAIN_MILLIS: u64 = 400;
/// Queries for one question in all.
const MOST_ATTEMPTS: usize = 8;
/// That nobody answers is remembered for so long, lest every client make us try again (RFC 9520 §3.2).
const FAILURE_SECONDS: u32 = 1;

/// What the shell must do.
#[derive(Debug)]
pub enum Action<W> {
    /// Send a datagram.
    Send {
        /// To which upstream.
        upstream: usize,
        /// From which of the sockets to it.
        socket: u8,
        /// What.
        octets: Vec<u8>,
    },
    /// Ask by a stream; what comes back goes to [`Forwarder::stream_answered`].
    Stream {
        /// Which upstream.
        upstream: usize,
        /// What to say with the answer.
        ticket: Ticket,
        /// The query.
        octets: Vec<u8>,
    },
    /// The question is answered.
    Done {
        /// Under which the answer is kept.
        key: Box<[u8]>,
        /// The answer.
        entry: Arc<Entry>,
        /// Whether it may be kept: a stale one is already.
        keep: bool,
        /// Who waits for it.
        waiters: Vec<W>,
        /// Whom it was asked of until now.
        attempts: Vec<Attempt>,
    },
}

/// Names a query that went by a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket {
    question: u64,
    id: u16,
}

#[derive(Debug)]
struct Pending<W> {
    question: Question,
    wire: Box<[u8]>,
    waiters: Vec<W>,
    stale: Option<Arc<Entry>>,
    order: Vec<usize>,
    attempts: Vec<Attempt>,
    started_millis: u64,
}

/// All questions of one shard that wait for upstreams.
#[derive(Debug)]
pub struct Forwarder<W> {
    /// All upstreams.
    pub upstreams: Vec<Upstream>,
    groups: Vec<Group>,
    limits: CacheLimits,
    pending: HashMap<u64, Pending<W>>,
    by_key: HashMap<Box<[u8]>, u64>,
    by_wire: HashMap<(usize, u8, u16), u64>,
    timers: BinaryHeap<Reverse<(u64, u64)>>,
    next: u64,
    random: u64,
    /// What happened so far.
    pub counts: Counts,
}

// === impl Forwarder ===

impl<W> Forwarder<W> {
    /// Nothing asked yet. `seed`: chance, from the kernel.
    #[must_use]
    pub fn new(upstreams: Vec<Upstream>, groups: Vec<Group>, limits: CacheLimits, seed: u64) -> Self {
        Self {
            upstreams,
            groups,
            limits,
            pending: HashMap::default(),
            by_key: HashMap::default(),
            by_wire: HashMap::default(),
            timers: BinaryHeap::new(),
            next: 0,
            random: seed,
            counts: Counts::default(),
        }
    }

    /// The same upstreams for waiters of another kind; nothing asked yet.
    #[must_use]
    pub fn for_waiters<X>(self) -> Forwarder<X> {
        Forwarder::new(self.upstreams, self.groups, self.limits, self.random)
    }

    /// Questions that wait.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Mixes fresh chance in: ids must not follow from earlier ones.
    pub fn reseed(&mut self, seed: u64) {
        self.random ^= seed;
    }

    /// splitmix64: every call is another number; `reseed` keeps it from being foretold.
    fn chance(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Asks a question for `waiter`, or lets it wait with others for the same.
    /// `stale`: what to answer when nobody does.
    pub fn ask(
        &mut self,
        question: Question,
        waiter: Option<W>,
        stale: Option<Arc<Entry>>,
        now_micros: u64,
        actions: &mut Vec<Action<W>>,
    ) {
        if let Some(pending) = self.by_key.get(question.key.octets()).and_then(|number| self.pending.get_mut(number)) {
            pending.waiters.extend(waiter);
            return;
        }
        self.next += 1;
        let (number, chance) = (self.next, self.chance());
        let turn = number as usize;
        let of_view =
            question.upstreams.as_ref().map(|of_view| super::upstream::group_of_view(&mut self.upstreams, of_view));
        let group = of_view.as_ref().or_else(|| self.groups.get(question.group));
        let order = group.map(|group| group.order(&self.upstreams, turn, chance)).unwrap_or_default();
        let case = self.chance();
        let pending = Pending {
            wire: outgoing::question(&question.name, question.kind, case),
            waiters: waiter.into_iter().collect(),
            stale,
            order,
            attempts: Vec::new(),
            started_millis: now_micros / 1000,
            question,
        };
        self.by_key.insert(pending.question.key.octets().into(), number);
        let everyone_down =
            pending.order.iter().all(|number| self.upstreams.get(*number).is_none_or(Upstream::is_down));
        self.pending.insert(number, pending);
        self.try_next(number, now_micros, actions);
        self.probe(number, now_micros, actions);
        if everyone_down {
            // Nothing is gained by waiting for those who did not answer others either.
            self.give_stale(number, actions);
        }
    }

    /// A datagram came from an upstream.
    pub fn received(
        &mut self,
        upstream: usize,
        socket: u8,
        octets: &[u8],
        now_micros: u64,
        actions: &mut Vec<Action<W>>,
    ) {
        let Some([i0, i1]) = octets.first_chunk::<2>() else { return };
        let id = u16::from_be_bytes([*i0, *i1]);
        match self.by_wire.get(&(upstream, socket, id)) {
            Some(number) => self.answered(*number, upstream, id, octets, now_micros, actions),
            None => self.counts.rejected += 1,
        }
    }

    /// An answer, or none, came by a stream.
    pub fn stream_answered(
        &mut self,
        upstream: usize,
        ticket: Ticket,
        octets: Option<&[u8]>,
        now_micros: u64,
        actions: &mut Vec<Action<W>>,
    ) {
        match octets {
            Some(octets) => self.answered(ticket.question, upstream, ticket.id, octets, now_micros, actions),
            None => {
                self.came(ticket.question, upstream, ticket.id, AttemptOutcome::NoConnection, now_micros);
                self.end_attempt(ticket.question, upstream, ticket.id);
                self.try_next(ticket.question, now_micros, actions);
            }
        }
    }

    /// The host of an upstream says that nobody listens there.
    pub fn refused(&mut self, upstream: usize, now_micros: u64, actions: &mut Vec<Action<W>>) {
        if let Some(upstream) = self.upstreams.get_mut(upstream) {
            upstream.refused_connection();
        }
        let waiting: Vec<u64> = self
            .pending
            .iter()
            .filter(|(_, pending)| pending.attempts.last().is_some_and(|a| a.upstream == upstream && !a.over))
            .map(|(number, _)| *number)
            .collect();
        for number in waiting {
            if let Some(attempt) = self.pending.get_mut(&number).and_then(|pending| pending.attempts.last_mut()) {
                attempt.came(AttemptOutcome::NoConnection, now_micros);
            }
            self.try_next(number, now_micros, actions);
        }
    }

    fn answered(
        &mut self,
        number: u64,
        upstream: usize,
        id: u16,
        octets: &[u8],
        now_micros: u64,
        actions: &mut Vec<Action<W>>,
    ) {
        let Some(pending) = self.pending.get(&number) else { return };
        let Some(attempt) = pending.attempts.iter().find(|a| a.upstream == upstream && a.id == id).copied() else {
            return;
        };
        let asked = &pending.question;
        let expected = Expected { id, question: &pending.wire, name: &asked.name, kind: asked.kind };
        let outcome = normal::read(octets, expected, &self.limits, now_micros / 1000);
        if matches!(outcome, Err(Rejected::NotMine)) {
            self.counts.rejected += 1;
            return;
        }
        if let Some(upstream) = self.upstreams.get_mut(upstream) {
            upstream.answered(now_micros.saturating_sub(attempt.sent_micros));
        }
        let came = match &outcome {
            Ok(entry) => AttemptOutcome::Answered(entry.rcode),
            Err(why) => AttemptOutcome::Rejected(*why),
        };
        self.came(number, upstream, id, came, now_micros);
        match outcome {
            Ok(entry) if is_final(entry.rcode) || self.nobody_left(number) => {
                self.finish(number, Arc::new(entry), true, actions);
            }
            Ok(_) => {
                self.end_attempt(number, upstream, id);
                self.try_next(number, now_micros, actions);
            }
            Err(Rejected::Truncated | Rejected::CaseChanged) if attempt.socket.is_some() => {
                self.end_attempt(number, upstream, id);
                self.send(number, upstream, true, now_micros, actions);
            }
            Err(Rejected::NoEdns) if self.upstreams.get(upstream).is_some_and(|upstream| !upstream.no_edns) => {
                if let Some(upstream) = self.upstreams.get_mut(upstream) {
                    upstream.no_edns = true;
                }
                self.end_attempt(number, upstream, id);
                self.send(number, upstream, attempt.socket.is_none(), now_micros, actions);
            }
            Err(_) => {
                self.counts.rejected += 1;
                self.end_attempt(number, upstream, id);
                self.try_next(number, now_micros, actions);
            }
        }
    }

    /// Whether no other upstream could still say something better.
    fn nobody_left(&self, number: u64) -> bool {
        self.pending.get(&number).is_none_or(|pending| {
            let asked = |upstream: &usize| pending.attempts.iter().any(|attempt| attempt.upstream == *upstream);
            pending.order.iter().all(asked) && pending.attempts.iter().filter(|attempt| !attempt.over).count() <= 1
        })
    }

    /// Time passed.
    pub fn tick(&mut self, now_micros: u64, actions: &mut Vec<Action<W>>) {
        let now_millis = now_micros / 1000;
        while let Some(Reverse((due, number))) = self.timers.peek().copied()
            && due <= now_millis
        {
            self.timers.pop();
            let Some(pending) = self.pending.get_mut(&number) else { continue };
            let waited = now_millis.saturating_sub(pending.started_millis);
            if waited >= LONGEST_WAIT_MILLIS {
                self.fail(number, now_millis, actions);
                continue;
            }
            let mut silent = None;
            if let Some(attempt) = pending.attempts.last_mut().filter(|attempt| !attempt.over) {
                attempt.over = true;
                attempt.came(AttemptOutcome::Silent, now_micros);
                silent = Some(attempt.upstream);
            }
            if let Some(upstream) = silent {
                self.counts.overtaken += 1;
                if let Some(upstream) = self.upstreams.get_mut(upstream) {
                    upstream.kept_waiting();
                }
            }
            if waited >= STALE_AFTER_MILLIS {
                self.give_stale(number, actions);
            }
            self.try_next(number, now_micros, actions);
        }
    }

    /// When [`Self::tick`] must be called next, in milliseconds.
    #[must_use]
    pub fn next_tick_millis(&self) -> Option<u64> {
        self.timers.peek().map(|Reverse((due, _))| *due)
    }

    /// Asks the next upstream in order; after the last, the first again.
    fn try_next(&mut self, number: u64, now_micros: u64, actions: &mut Vec<Action<W>>) {
        let Some(pending) = self.pending.get(&number) else { return };
        let tried = pending.attempts.len();
        let all = pending.order.len();
        match pending.order.get(tried % all.max(1)) {
            Some(upstream) if tried < MOST_ATTEMPTS.max(all) => {
                self.send(number, *upstream, false, now_micros, actions);
            }
            Some(_) => self.arm(number, now_micros / 1000 + AGAIN_MILLIS),
            None => self.fail(number, now_micros / 1000, actions),
        }
    }

    /// Sends one query and sets the time at which it has taken too long.
    fn send(&mut self, number: u64, upstream: usize, by_stream: bool, now_micros: u64, actions: &mut Vec<Action<W>>) {
        self.transmit(number, upstream, by_stream, now_micros, actions);
        let now_millis = now_micros / 1000;
        let Some(pending) = self.pending.get(&number) else { return };
        let patience = self.upstreams.get(upstream).map_or(AGAIN_MILLIS, Upstream::patience_millis);
        // The n-th round over all upstreams waits longer: they are slow rather than deaf.
        let round = pending.attempts.len() / pending.order.len().max(1);
        let wait = match (pending.order.len(), by_stream) {
            // A stream takes a handshake or two.
            (_, true) => AGAIN_MILLIS,
            (1, _) => AGAIN_MILLIS,
            _ if round == 0 || pending.attempts.len() == pending.order.len() => patience,
            _ => AGAIN_MILLIS,
        };
        self.arm(number, now_millis + wait);
    }

    fn transmit(
        &mut self,
        number: u64,
        upstream: usize,
        by_stream: bool,
        now_micros: u64,
        actions: &mut Vec<Action<W>>,
    ) {
        let chance = self.chance();
        let Some(to) = self.upstreams.get(upstream) else { return };
        let (edns, datagram) = (!to.no_edns, to.transport == Transport::Udp && !by_stream);
        let socket = (chance >> 16) as u8 % SOCKETS_PER_UPSTREAM;
        let mut id = chance as u16;
        while datagram && self.by_wire.contains_key(&(upstream, socket, id)) {
            id = id.wrapping_add(1);
        }
        let Some(pending) = self.pending.get_mut(&number) else { return };
        let asked = &pending.question;
        let flavour = Flavour { dnssec: asked.dnssec, checking_disabled: asked.checking_disabled, edns };
        let octets = outgoing::query(id, &pending.wire, flavour);
        pending.attempts.push(Attempt::new(upstream, datagram.then_some(socket), id, now_micros));
        self.counts.sent += 1;
        if datagram {
            self.by_wire.insert((upstream, socket, id), number);
            actions.push(Action::Send { upstream, socket, octets });
        } else {
            actions.push(Action::Stream { upstream, ticket: Ticket { question: number, id }, octets });
        }
    }

    /// One query goes to an upstream that is down, besides the one that is waited for.
    fn probe(&mut self, number: u64, now_micros: u64, actions: &mut Vec<Action<W>>) {
        let Some(pending) = self.pending.get(&number) else { return };
        let asked = pending.attempts.first().map(|attempt| attempt.upstream);
        let order = pending.order.clone();
        for upstream in order.into_iter().filter(|upstream| Some(*upstream) != asked) {
            if self.upstreams.get_mut(upstream).is_some_and(|upstream| upstream.wants_probe(now_micros / 1000)) {
                self.transmit(number, upstream, false, now_micros, actions);
                // What is waited for is the other one.
                if let Some(attempts) = self.pending.get_mut(&number).map(|pending| &mut pending.attempts) {
                    let last = attempts.len().saturating_sub(1);
                    attempts.swap(0, last);
                }
            }
        }
    }

    fn arm(&mut self, number: u64, due_millis: u64) {
        self.timers.push(Reverse((due_millis, number)));
    }

    fn came(&mut self, number: u64, upstream: usize, id: u16, outcome: AttemptOutcome, now_micros: u64) {
        let attempts = self.pending.get_mut(&number).map(|pending| pending.attempts.iter_mut());
        if let Some(attempt) = attempts.and_then(|mut all| all.find(|a| a.upstream == upstream && a.id == id)) {
            attempt.came(outcome, now_micros);
        }
    }

    fn end_attempt(&mut self, number: u64, upstream: usize, id: u16) {
        let Some(pending) = self.pending.get_mut(&number) else { return };
        for attempt in pending.attempts.iter_mut().filter(|a| a.upstream == upstream && a.id == id) {
            attempt.over = true;
            if let Some(socket) = attempt.socket {
                self.by_wire.remove(&(upstream, socket, id));
            }
        }
    }

    fn give_stale(&mut self, number: u64, actions: &mut Vec<Action<W>>) {
        let Some(pending) = self.pending.get_mut(&number) else { return };
        if let Some(entry) = pending.stale.clone().filter(|_| !pending.waiters.is_empty()) {
            let waiters = std::mem::take(&mut pending.waiters);
            self.counts.stale += waiters.len() as u64;
            let (key, attempts) = (pending.question.key.octets().into(), pending.attempts.clone());
            actions.push(Action::Done { key, entry, keep: false, waiters, attempts });
        }
    }

    fn fail(&mut self, number: u64, now_millis: u64, actions: &mut Vec<Action<W>>) {
        self.counts.failed += 1;
        self.give_stale(number, actions);
        let kept = self.pending.get(&number).is_some_and(|pending| pending.stale.is_none());
        self.finish(number, Arc::new(Entry::failure(now_millis, FAILURE_SECONDS)), kept, actions);
    }

    fn finish(&mut self, number: u64, entry: Arc<Entry>, keep: bool, actions: &mut Vec<Action<W>>) {
        let Some(pending) = self.pending.remove(&number) else { return };
        let key: Box<[u8]> = pending.question.key.octets().into();
        self.by_key.remove(&key);
        for attempt in &pending.attempts {
            if let Some(socket) = attempt.socket {
                let wire = (attempt.upstream, socket, attempt.id);
                if self.by_wire.get(&wire) == Some(&number) {
                    self.by_wire.remove(&wire);
                }
            }
        }
        let Pending { waiters, attempts, .. } = pending;
        actions.push(Action::Done { key, entry, keep, waiters, attempts });
    }
}

/// Whether another upstream would not say better: SERVFAIL, REFUSED and the like speak of the server.
fn is_final(rcode: u8) -> bool {
    use crate::wire::number::rcode::{NOERROR, NXDOMAIN};
    matches!(rcode, NOERROR | NXDOMAIN)
}
