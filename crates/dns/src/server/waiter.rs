//! A query that waits for upstreams, and who gets its answer.

use std::net::{IpAddr, SocketAddr};

use seaway_model::dns_api::Way;
use tokio::sync::oneshot;

use crate::forward::{Attempt, AttemptOutcome, Upstream};
use crate::resolve::{Note, Trail};

/// A query that waits.
#[derive(Debug)]
pub(in crate::server) struct Waiter {
    pub(in crate::server) query: Box<[u8]>,
    pub(in crate::server) client: IpAddr,
    /// Questions asked for it until now.
    pub(in crate::server) questions: u8,
    pub(in crate::server) to: WaiterTo,
    pub(in crate::server) since_micros: u64,
    /// The upstream that answered, or the last one asked.
    pub(in crate::server) upstream: Option<usize>,
}

/// Who gets the answer.
#[derive(Debug)]
pub(in crate::server) enum WaiterTo {
    Datagram {
        socket: usize,
        peer: SocketAddr,
    },
    Stream(oneshot::Sender<Vec<u8>>),
    Explain {
        reply: oneshot::Sender<Explained>,
        asked: Vec<(Box<[u8]>, Vec<Attempt>)>,
        /// Steps of the last look at it.
        notes: Vec<(Box<[u8]>, Note)>,
    },
}

/// An answer, and how it came about.
#[derive(Debug)]
pub struct Explained {
    /// The response.
    pub octets: Vec<u8>,
    /// Where it came from.
    pub way: Way,
    /// Names in wire form, and what was decided of them.
    pub notes: Vec<(Box<[u8]>, Note)>,
    /// Keys of questions that upstreams were asked, and whom.
    pub asked: Vec<(Box<[u8]>, Vec<Attempt>)>,
    /// All upstreams that its shard knows, by number.
    pub upstreams: Vec<Upstream>,
    /// When the query came, by the clock of the forwarder.
    pub since_micros: u64,
    /// From query to response.
    pub took_micros: u64,
}

// === impl Waiter ===

impl Waiter {
    pub(in crate::server) fn new(query: Box<[u8]>, client: IpAddr, to: WaiterTo, since_micros: u64) -> Self {
        Self { query, client, questions: 0, to, since_micros, upstream: None }
    }

    pub(in crate::server) fn wants_steps(&self) -> bool {
        matches!(self.to, WaiterTo::Explain { .. })
    }

    /// Takes the steps of the look just taken.
    pub(in crate::server) fn keep_steps(&mut self, trail: &Trail) {
        if let WaiterTo::Explain { notes, .. } = &mut self.to {
            *notes = trail.take();
        }
    }

    /// Upstreams were asked for it.
    pub(in crate::server) fn was_asked(&mut self, key: &[u8], attempts: &[Attempt]) {
        let answered = attempts.iter().rev().find(|attempt| matches!(attempt.outcome, AttemptOutcome::Answered(_)));
        self.upstream = answered.or(attempts.last()).map(|attempt| attempt.upstream);
        if let WaiterTo::Explain { asked, .. } = &mut self.to {
            asked.push((key.into(), attempts.to_vec()));
        }
    }
}

// === impl WaiterTo ===

impl WaiterTo {
    pub(in crate::server) fn explain(reply: oneshot::Sender<Explained>) -> Self {
        Self::Explain { reply, asked: Vec::new(), notes: Vec::new() }
    }
}
