//! Queries that come as datagrams: answered as they came while they fit one batch, and
//! each client in turn when they do not.

use std::net::SocketAddr;

use super::{Kernel, Shard};
use crate::server::batch::BATCH;
use crate::server::clock::{now_micros, unix_seconds};
use crate::server::counters::Counters;
use crate::server::outbox::Destination;
use crate::server::reply::{Arrival, Outcome};
use crate::server::waiter::{Waiter, WaiterTo};
use crate::watch::Seen;
use crate::wire::number::rcode;

/// Datagrams of all clients that wait here for their turn. The kernel's own queue drops
/// whoever comes when it is full, so it is emptied first.
pub(super) const MOST_QUEUED: usize = 1024;
/// Batches taken from one socket before the others, and answers, get their turn.
const TURNS: usize = 32;

/// A query in the queue.
#[derive(Debug)]
pub(super) struct Queued {
    octets: Vec<u8>,
    from: Origin,
}

/// Where and when a datagram came.
#[derive(Debug, Clone, Copy)]
struct Origin {
    socket: usize,
    peer: SocketAddr,
    since_micros: u64,
}

// === impl Shard ===

impl Shard {
    /// Takes what waits at the sockets and answers a batch of it; tells whether there may be more.
    pub(super) fn serve_datagrams(&mut self, kernel: &mut Kernel) -> bool {
        let ready = std::mem::take(&mut self.ready.sockets);
        let mut more = false;
        for socket in ready.iter().copied() {
            more |= self.take_datagrams(kernel, socket);
        }
        self.ready.sockets = ready;
        if !self.queue.is_empty() {
            self.serve_queue();
            self.flush(&mut kernel.headers);
        }
        more || !self.queue.is_empty()
    }

    /// Answers what waits at one socket, or queues it when it is too much; tells whether there may be more.
    fn take_datagrams(&mut self, kernel: &mut Kernel, socket: usize) -> bool {
        let ipv6 = self.ipv6.get(socket).copied().unwrap_or_default();
        for _ in 0..TURNS {
            let Some(from) = self.sockets.get(socket) else { return false };
            // An error is the fate of an answer: its client is gone.
            let received = kernel.batch.receive(from, ipv6).unwrap_or(0);
            let now = now_micros();
            let datagrams = (0..received).filter_map(|index| kernel.batch.message(index));
            if received < BATCH && self.queue.is_empty() {
                let (unix_seconds, mut answered) = (unix_seconds(), 0);
                for (query, peer) in datagrams {
                    let from = Origin { socket, peer, since_micros: now };
                    answered += u64::from(self.serve(query, from, now, unix_seconds));
                }
                self.flush(&mut kernel.headers);
                self.counters.took(now_micros().saturating_sub(now), answered);
                return false;
            }
            for (query, peer) in datagrams {
                self.enqueue(query, Origin { socket, peer, since_micros: now });
            }
            if received < BATCH {
                return false;
            }
        }
        true
    }

    fn enqueue(&mut self, query: &[u8], from: Origin) {
        let mut octets = self.spare.pop().unwrap_or_default();
        octets.clear();
        octets.extend_from_slice(query);
        if let Some(shed) = self.queue.push(from.peer.ip(), Queued { octets, from }) {
            // No answer: to make one costs as much as what there is no time for, and clients ask again.
            Counters::add(&self.counters.overload, 1);
            self.spare.push(shed.octets);
        }
    }

    /// Answers one batch of what waits, each client in turn.
    fn serve_queue(&mut self) {
        let (begun, unix_seconds) = (now_micros(), unix_seconds());
        for _ in 0..BATCH {
            let Some((_, Queued { octets, from })) = self.queue.pop() else { break };
            let answered = self.serve(&octets, from, begun, unix_seconds);
            self.counters.took(begun.saturating_sub(from.since_micros), u64::from(answered));
            self.spare.push(octets);
        }
    }

    fn serve(&mut self, query: &[u8], from: Origin, now_micros: u64, unix_seconds: u32) -> bool {
        let (client, to) = (from.peer.ip(), Destination { socket: from.socket as u32, peer: Some(from.peer) });
        let Some(buffer) = self.outbox.space() else { return false };
        if !self.limit.allows(client, now_micros) {
            Counters::add(&self.counters.shed, 1);
            let refused = self.server.fail(query, rcode::REFUSED, &self.counters, buffer);
            if let Some(length) = refused.map(<[u8]>::len) {
                self.outbox.put(to, length);
            }
            return false;
        }
        let arrival = Arrival { client, datagram: true, now_micros, unix_seconds };
        match self.server.answer(query, arrival, None, &mut self.workspace, &self.counters, buffer) {
            Outcome::Silence => false,
            Outcome::Reply(octets, refresh) => {
                let (length, way) = (octets.len(), self.workspace.trail.way());
                let took_micros = now_micros.saturating_sub(from.since_micros);
                self.watch.saw(Seen { client, octets, took_micros, way, upstream: None, unix_seconds });
                self.outbox.put(to, length);
                if let Some(question) = refresh {
                    self.forwarder.ask(*question, None, None, now_micros, &mut self.actions);
                }
                true
            }
            Outcome::Ask(question, stale) => {
                let to = WaiterTo::Datagram { socket: from.socket, peer: from.peer };
                let waiter = Waiter { questions: 1, ..Waiter::new(query.into(), client, to, from.since_micros) };
                self.ask(*question, stale, waiter);
                false
            }
        }
    }
}
