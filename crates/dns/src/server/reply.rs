//! From the octets of a query to the octets of its answer.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;

use seaway_model::dns_api::Way;

use super::counters::Counters;
use crate::forward::Entry;
use crate::forward::machine::Question;
use crate::resolve::{Asking, Decision, Fresh, Resolver, Trail};
use crate::watch::Hub;
use crate::wire::addresses;
use crate::wire::query::{self, Cookie, Malformed};
use crate::wire::response::EdnsAnswer;
use crate::wire::{Name, Response};
use crate::zone::Scratch;

/// Largest datagram sent: no fragments on any usual path (DNS flag day 2020).
pub const DATAGRAM_OCTETS: usize = 1232;

/// Largest datagram for clients without EDNS (RFC 1035 §2.3.4).
const PLAIN_DATAGRAM_OCTETS: usize = 512;

/// An answer that took longer is called slow, unless the configuration says otherwise.
const SLOW_MICROS: u64 = 500_000;

/// What all threads answer from.
#[derive(Debug)]
pub struct Server {
    /// Zone, cache, rules.
    pub resolver: Resolver,
    /// Clients that are served; empty: all.
    pub allowed: Vec<seaway_model::IpNet>,
    /// Told of addresses before the client learns them.
    pub observer: Option<Arc<dyn AnswerObserver>>,
    /// Told of answers after they were written.
    pub hub: Arc<Hub>,
    cookies: RandomState,
}

/// Who must know what names mean before the client connects: FQDN policies.
pub trait AnswerObserver: Send + Sync + std::fmt::Debug {
    /// `client` is about to be told that `name` has these addresses for so many
    /// seconds. Returns when what depends on it is in place: the answer leaves after.
    fn learned(&self, client: IpAddr, name: &Name, addresses: &[(IpAddr, u32)]);
}

/// Space a thread keeps between queries.
#[derive(Debug)]
pub struct Workspace {
    name: Name,
    scratch: Scratch,
    learned: Vec<(IpAddr, u32)>,
    /// Where the last answer came from, and how.
    pub trail: Trail,
}

/// What became of a query.
#[derive(Debug)]
pub enum Outcome<'b> {
    /// Nothing is sent.
    Silence,
    /// This is sent; something may be asked besides, for nobody who waits.
    Reply(&'b [u8], Option<Box<Question>>),
    /// This is asked first.
    Ask(Box<Question>, Option<Arc<Entry>>),
}

/// How a query came.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// From whom.
    pub client: IpAddr,
    /// As a datagram, whose answer has a limit.
    pub datagram: bool,
    /// When, by the clock of the cache.
    pub now_micros: u64,
    /// When, by the clock of the wall.
    pub unix_seconds: u32,
}

// === impl Workspace ===

impl Default for Workspace {
    fn default() -> Self {
        Self { name: Name::root(), scratch: Scratch::default(), learned: Vec::new(), trail: Trail::default() }
    }
}

// === impl Server ===

impl Server {
    /// Answers from `resolver`.
    #[must_use]
    pub fn new(resolver: Resolver) -> Self {
        let hub = Arc::new(Hub::new(Arc::clone(&resolver.index), SLOW_MICROS));
        Self { resolver, allowed: Vec::new(), observer: None, hub, cookies: RandomState::new() }
    }

    /// Whether this client is served at all.
    #[must_use]
    pub fn serves(&self, client: IpAddr) -> bool {
        self.allowed.is_empty() || self.allowed.iter().any(|range| range.contains(&client))
    }

    /// Answers a message into `buffer`. `fresh`: what upstreams just said to it.
    pub fn answer<'b>(
        &self,
        message: &[u8],
        arrival: Arrival,
        fresh: Option<Fresh<'_>>,
        workspace: &mut Workspace,
        counters: &Counters,
        buffer: &'b mut [u8],
    ) -> Outcome<'b> {
        let Workspace { name, scratch, learned, trail } = workspace;
        trail.came(Way::Server);
        let query = match query::read(message, name) {
            Ok(query) => query,
            Err(malformed) => return refuse(malformed, counters, buffer),
        };
        if fresh.is_none() {
            counters.request(query.kind);
        }
        let limit = match query.edns {
            _ if !arrival.datagram => usize::from(u16::MAX),
            Some(edns) => DATAGRAM_OCTETS.min(usize::from(edns.payload_octets)),
            None => PLAIN_DATAGRAM_OCTETS,
        };
        let mut response = Response::new(buffer, limit, &query);
        let now_millis = arrival.now_micros / 1000;
        let decision = if self.serves(arrival.client) {
            let asking = Asking { query: &query, name, client: arrival.client, now_millis, fresh, trail };
            self.resolver.resolve(&asking, scratch, &mut response)
        } else {
            response.set_rcode(crate::wire::number::rcode::REFUSED);
            Decision::Reply
        };
        let refresh = match decision {
            Decision::Ask { question, stale } => return Outcome::Ask(question, stale),
            Decision::Reply => None,
            Decision::ReplyAndRefresh { question } => Some(question),
        };
        counters.response(response.rcode());
        if response.is_truncated() {
            Counters::add(&counters.truncated, 1);
        }
        let edns = query.edns.map(|edns| EdnsAnswer {
            payload_octets: DATAGRAM_OCTETS as u16,
            dnssec: edns.dnssec,
            cookie: edns.cookie.map(|cookie| self.cookie(&cookie, arrival)),
        });
        let octets = response.finish(edns);
        if let Some(observer) = &self.observer {
            // Also for answers from the cache: another client may be told for the first time.
            learned.clear();
            learned.extend(addresses::told(octets));
            if !learned.is_empty() {
                observer.learned(arrival.client, name, learned);
            }
        }
        Outcome::Reply(octets, refresh)
    }

    /// A response that says only that it did not work.
    pub fn fail<'b>(&self, message: &[u8], rcode: u8, counters: &Counters, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
        let [i0, i1, f0, f1, ..] = *message.first_chunk::<12>()?;
        counters.response(rcode);
        Response::header_only(buffer, u16::from_be_bytes([i0, i1]), u16::from_be_bytes([f0, f1]), rcode)
    }

    /// The cookie that a client gives back (RFC 9018 §4: version, reserved, time, hash).
    fn cookie(&self, cookie: &Cookie, arrival: Arrival) -> [u8; 24] {
        let mut octets = [0; 24];
        let time = arrival.unix_seconds.to_be_bytes();
        let hash = self.cookies.hash_one((cookie.client, time, arrival.client)).to_be_bytes();
        let (client, server) = octets.split_at_mut(8);
        client.copy_from_slice(&cookie.client);
        for (to, from) in server.iter_mut().zip([1, 0, 0, 0].into_iter().chain(time).chain(hash)) {
            *to = from;
        }
        octets
    }
}

fn refuse<'b>(malformed: Malformed, counters: &Counters, buffer: &'b mut [u8]) -> Outcome<'b> {
    Counters::add(&counters.malformed, 1);
    match malformed {
        Malformed::Silence => Outcome::Silence,
        Malformed::Refuse { id, flags, rcode } => {
            counters.response(rcode);
            match Response::header_only(buffer, id, flags, rcode) {
                Some(octets) => Outcome::Reply(octets, None),
                None => Outcome::Silence,
            }
        }
    }
}
