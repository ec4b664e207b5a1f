//! One thread, its sockets, and the questions it asks others.
//!
//! ```text
//!  clients ──Batch──▶ FairQueue ──▶ Server::answer ──▶ Outbox ──▶ clients
//!                      (overload)        │ Ask            ▲  └────▶ upstreams
//!                                        ▼                │
//!  streams ──Message─────────────▶   Forwarder  ──────────┴──▶ dial::Dialer
//! ```
//!
//! As long as everything that waits fits one batch, it is answered as it came.

use std::collections::HashMap;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixDatagram;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use seaway_model::dns_api::Way;
use tokio_util::sync::CancellationToken;

use super::batch::Batch;
use super::clock::{chance, now_micros, unix_seconds};
use super::counters::Counters;
use super::desk::{Message, ShardDesk};
use super::dial::Dialer;
use super::fair::FairQueue;
use super::limit::RateLimit;
use super::outbox::{Destination, Outbox, SendHeaders};
use super::reply::{Arrival, DATAGRAM_OCTETS, Outcome, Server, Workspace};
use super::socket;
use super::waiter::{Explained, Waiter, WaiterTo};
use crate::forward::machine::{Counts, Forwarder, Question};
use crate::forward::{Action, Entry};
use crate::resolve::Fresh;
use crate::watch::{Census, Seen, Watch};
use crate::wire::number::rcode;

mod datagrams;

/// Queries of one shard that may wait for upstreams. What comes beyond is refused at
/// once, so memory and the wait of those before stay bounded.
const MOST_WAITING: usize = 8192;
/// And of one client: the rest of the queue is for others.
const MOST_WAITING_PER_CLIENT: u32 = 1024;
/// An answer may lead to another question so often (aliases that leave the cluster).
const MOST_QUESTIONS: u8 = 4;
/// Messages to a shard that it did not take yet.
const INBOX: usize = 1024;
/// Turns after the end for what came before it.
const LAST_TURNS: usize = 64;
/// Numbers of sockets to upstreams, apart from those of clients.
const TO_UPSTREAM: u32 = 1 << 31;
/// How long the thread sleeps at most when nothing happens.
const LONGEST_SLEEP_MILLIS: u64 = 1000;

/// One shard.
pub struct Shard {
    server: Arc<Server>,
    counters: Arc<Counters>,
    sockets: Vec<UdpSocket>,
    /// Which of them are of IPv6.
    ipv6: Vec<bool>,
    upstream_sockets: HashMap<(usize, u8), UdpSocket>,
    forwarder: Forwarder<Waiter>,
    dialer: Dialer,
    inbox: Receiver<Message>,
    wake: UnixDatagram,
    desk: ShardDesk,
    limit: RateLimit,
    waiting: HashMap<IpAddr, u32>,
    total_waiting: usize,
    workspace: Workspace,
    watch: Watch,
    census: Arc<Mutex<Census>>,
    actions: Vec<Action<Waiter>>,
    ready: Ready,
    queue: FairQueue<IpAddr, datagrams::Queued>,
    /// Space of queries that were answered.
    spare: Vec<Vec<u8>>,
    outbox: Outbox,
}

/// What a thread shares with the kernel; it holds pointers, so it is made where it is used.
struct Kernel {
    batch: Batch,
    headers: SendHeaders,
}

/// What can be read.
#[derive(Debug, Default)]
struct Ready {
    messages: bool,
    sockets: Vec<usize>,
    upstreams: Vec<(usize, u8)>,
}

// === impl Shard ===

impl Shard {
    /// A shard that reads `sockets`.
    ///
    /// # Errors
    /// When the kernel gives no descriptors.
    pub fn new(
        server: Arc<Server>,
        sockets: Vec<UdpSocket>,
        forwarder: Forwarder<()>,
        dialer: Dialer,
        limit: RateLimit,
    ) -> std::io::Result<Self> {
        let (wake, waker) = UnixDatagram::pair()?;
        wake.set_nonblocking(true)?;
        waker.set_nonblocking(true)?;
        let (sender, inbox) = sync_channel(INBOX);
        let census = Arc::<Mutex<Census>>::default();
        Ok(Self {
            counters: Arc::new(Counters::default()),
            ipv6: sockets.iter().map(|socket| socket.local_addr().is_ok_and(|at| at.is_ipv6())).collect(),
            sockets,
            upstream_sockets: HashMap::new(),
            forwarder: forwarder.for_waiters(),
            dialer,
            inbox,
            wake,
            desk: ShardDesk::new(sender, waker),
            limit,
            waiting: HashMap::new(),
            total_waiting: 0,
            workspace: Workspace::default(),
            watch: Watch::new(Arc::clone(&server.hub), Arc::clone(&census)),
            census,
            actions: Vec::new(),
            ready: Ready::default(),
            queue: FairQueue::new(datagrams::MOST_QUEUED),
            spare: Vec::new(),
            outbox: Outbox::new(),
            server,
        })
    }

    /// Where messages for it are left.
    #[must_use]
    pub fn desk(&self) -> ShardDesk {
        self.desk.clone()
    }

    /// What it counts.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Whom and what it counts.
    #[must_use]
    pub fn census(&self) -> Arc<Mutex<Census>> {
        Arc::clone(&self.census)
    }

    /// Works until `stop` is cancelled and nobody waits any more, or until `drain` is over.
    pub fn run(mut self, stop: &CancellationToken, drain: Duration) {
        let mut stopped_at = None;
        let mut kernel = Kernel { batch: Batch::new(), headers: SendHeaders::new() };
        let mut busy = false;
        loop {
            if stop.is_cancelled() {
                let since = *stopped_at.get_or_insert_with(now_micros);
                let over = now_micros().saturating_sub(since) >= drain.as_micros() as u64;
                if over || self.forwarder.pending() == 0 {
                    // What reached our sockets until now is answered; they may be shared with
                    // a successor, but a datagram belongs to who read it.
                    for _ in 0..LAST_TURNS {
                        self.wait(true);
                        if !self.serve_datagrams(&mut kernel) {
                            return;
                        }
                    }
                    return;
                }
            }
            self.wait(busy);
            busy = self.serve_datagrams(&mut kernel);
            self.take_messages();
            self.take_upstreams(&mut kernel.batch);
            self.forwarder.tick(now_micros(), &mut self.actions);
            self.act();
            self.flush(&mut kernel.headers);
        }
    }

    /// Waits until something can be read or must be done, or only looks when `busy`.
    fn wait(&mut self, busy: bool) {
        let now_millis = now_micros() / 1000;
        let until = if busy { 0 } else { self.forwarder.next_tick_millis().unwrap_or(u64::MAX) };
        let millis = until.saturating_sub(now_millis).min(LONGEST_SLEEP_MILLIS);
        let mut ready = std::mem::take(&mut self.ready);
        ready.messages = false;
        ready.sockets.clear();
        ready.upstreams.clear();
        let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds = Vec::with_capacity(self.sockets.len() + self.upstream_sockets.len() + 1);
        fds.push(readable(self.wake.as_fd()));
        fds.extend(self.sockets.iter().map(|socket| readable(socket.as_fd())));
        fds.extend(self.upstream_sockets.values().map(|socket| readable(socket.as_fd())));
        let timeout = PollTimeout::try_from(u32::try_from(millis).unwrap_or(u32::MAX)).unwrap_or(PollTimeout::ZERO);
        // Interrupted: nothing can be read, and the loop comes back.
        if poll(&mut fds, timeout).is_ok() {
            // An error is taken by reading, too.
            let mut told = fds.iter().map(|fd| fd.revents().is_some_and(|events| !events.is_empty()));
            ready.messages = told.next().unwrap_or_default();
            ready.sockets.extend((0..self.sockets.len()).zip(&mut told).filter(|(_, told)| *told).map(|(n, _)| n));
            let upstreams = self.upstream_sockets.keys().zip(told).filter(|(_, told)| *told);
            ready.upstreams.extend(upstreams.map(|(key, _)| *key));
        }
        self.ready = ready;
    }

    /// Sends all that was written.
    fn flush(&mut self, headers: &mut SendHeaders) {
        let Self { outbox, sockets, upstream_sockets, .. } = self;
        outbox.send(headers, |number| match number.checked_sub(TO_UPSTREAM) {
            None => sockets.get(number as usize).map(AsRawFd::as_raw_fd),
            Some(key) => upstream_sockets.get(&((key >> 8) as usize, key as u8)).map(AsRawFd::as_raw_fd),
        });
    }

    fn ask(&mut self, question: Question, stale: Option<Arc<Entry>>, waiter: Waiter) {
        let of_client = self.waiting.entry(waiter.client).or_default();
        if self.total_waiting >= MOST_WAITING || *of_client >= MOST_WAITING_PER_CLIENT {
            Counters::add(&self.counters.shed, 1);
            if *of_client == 0 {
                self.waiting.remove(&waiter.client);
            }
            return self.fail(waiter);
        }
        *of_client += 1;
        self.total_waiting += 1;
        self.forwarder.ask(question, Some(waiter), stale, now_micros(), &mut self.actions);
    }

    fn take_messages(&mut self) {
        if !self.ready.messages {
            return;
        }
        let mut octets = [0; 64];
        while self.wake.recv(&mut octets).is_ok() {}
        while let Ok(message) = self.inbox.try_recv() {
            match message {
                Message::Query { query, client, reply } => {
                    let waiter = Waiter::new(query, client, WaiterTo::Stream(reply), now_micros());
                    self.look_again(waiter, None);
                }
                Message::Explain { query, client, reply } => {
                    let waiter = Waiter::new(query, client, WaiterTo::explain(reply), now_micros());
                    self.look_again(waiter, None);
                }
                Message::Answered { upstream, ticket, octets } => {
                    let now = now_micros();
                    self.forwarder.stream_answered(upstream, ticket, octets.as_deref(), now, &mut self.actions);
                }
            }
            self.act();
        }
    }

    fn take_upstreams(&mut self, batch: &mut Batch) {
        let mut refused = Vec::new();
        for (upstream, number) in &self.ready.upstreams {
            let Some(socket) = self.upstream_sockets.get(&(*upstream, *number)) else { continue };
            let address = self.forwarder.upstreams.get(*upstream).map(|upstream| upstream.address);
            match batch.receive(socket, address.is_some_and(|address| address.is_ipv6())) {
                Ok(received) => {
                    let now = now_micros();
                    for (answer, _) in (0..received).filter_map(|index| batch.message(index)) {
                        self.forwarder.received(*upstream, *number, answer, now, &mut self.actions);
                    }
                }
                Err(Errno::ECONNREFUSED) => refused.push(*upstream),
                Err(_) => {}
            }
        }
        for upstream in refused {
            self.forwarder.refused(upstream, now_micros(), &mut self.actions);
        }
        self.act();
    }

    /// Does what the forwarder says, until it says nothing more.
    fn act(&mut self) {
        while !self.actions.is_empty() {
            for action in std::mem::take(&mut self.actions) {
                match action {
                    Action::Send { upstream, socket, octets } => self.send(upstream, socket, &octets),
                    Action::Stream { upstream, ticket, octets } => {
                        if let Some(to) = self.forwarder.upstreams.get(upstream) {
                            self.dialer.dial(to, upstream, ticket, octets, self.desk.clone());
                        }
                    }
                    Action::Done { key, entry, keep, waiters, attempts } => {
                        if keep {
                            self.server.resolver.cache.keep(&key, &entry);
                        }
                        for mut waiter in waiters {
                            self.finished(waiter.client);
                            waiter.was_asked(&key, &attempts);
                            self.look_again(waiter, Some(Fresh { key: &key, entry: &entry }));
                        }
                    }
                }
            }
        }
        let counts = std::mem::take(&mut self.forwarder.counts);
        if counts == Counts::default() {
            return;
        }
        Counters::add(&self.counters.forwarded, counts.sent);
        Counters::add(&self.counters.overtaken, counts.overtaken);
        Counters::add(&self.counters.failed, counts.failed);
        Counters::add(&self.counters.stale, counts.stale);
        Counters::add(&self.counters.rejected, counts.rejected);
    }

    fn finished(&mut self, client: IpAddr) {
        self.total_waiting = self.total_waiting.saturating_sub(1);
        if let Some(count) = self.waiting.get_mut(&client) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.waiting.remove(&client);
            }
        }
    }

    fn send(&mut self, upstream: usize, number: u8, octets: &[u8]) {
        if !self.upstream_sockets.contains_key(&(upstream, number)) {
            let Some(to) = self.forwarder.upstreams.get(upstream).map(|upstream| upstream.address) else { return };
            let Ok(socket) = socket::connected(to) else {
                // No route, no descriptors: the next upstream is asked when this one's time is over.
                tracing::debug!(upstream = %to, "no socket to upstream");
                return;
            };
            self.upstream_sockets.insert((upstream, number), socket);
            self.forwarder.reseed(chance());
        }
        let key = TO_UPSTREAM | (upstream as u32) << 8 | u32::from(number);
        if self.outbox.push(Destination { socket: key, peer: None }, octets) {
            return;
        }
        let sent = self.upstream_sockets.get(&(upstream, number)).map(|socket| socket.send(octets));
        if let Some(Err(error)) = sent
            && error.kind() == std::io::ErrorKind::ConnectionRefused
        {
            // The error of an earlier datagram; it was taken by this call, so send again.
            if let Some(socket) = self.upstream_sockets.get(&(upstream, number)) {
                let _ = socket.send(octets);
            }
        }
    }

    /// Answers a query anew with what upstreams said.
    fn look_again(&mut self, mut waiter: Waiter, fresh: Option<Fresh<'_>>) {
        let datagram = matches!(waiter.to, WaiterTo::Datagram { .. });
        let now_micros = now_micros();
        let arrival = Arrival { client: waiter.client, datagram, now_micros, unix_seconds: unix_seconds() };
        let mut space = [0; DATAGRAM_OCTETS];
        let mut stream_space = if datagram { Vec::new() } else { vec![0; usize::from(u16::MAX)] };
        let buffer = if datagram { space.as_mut_slice() } else { stream_space.as_mut_slice() };
        let server = Arc::clone(&self.server);
        self.workspace.trail.record(waiter.wants_steps());
        let outcome = server.answer(&waiter.query, arrival, fresh, &mut self.workspace, &self.counters, buffer);
        waiter.keep_steps(&self.workspace.trail);
        match outcome {
            Outcome::Silence => {}
            Outcome::Reply(octets, refresh) => {
                let octets = octets.to_vec();
                if let Some(question) = refresh {
                    self.forwarder.ask(*question, None, None, now_micros, &mut self.actions);
                }
                self.counters.took(now_micros.saturating_sub(waiter.since_micros), 1);
                self.deliver(waiter, octets);
            }
            Outcome::Ask(..) if waiter.questions >= MOST_QUESTIONS => self.fail(waiter),
            Outcome::Ask(question, stale) => {
                waiter.questions += 1;
                self.ask(*question, stale, waiter);
            }
        }
    }

    fn fail(&mut self, waiter: Waiter) {
        let mut buffer = [0; 64];
        self.workspace.trail.came(Way::Server);
        let octets = self.server.fail(&waiter.query, rcode::SERVFAIL, &self.counters, &mut buffer).map(<[u8]>::to_vec);
        if let Some(octets) = octets {
            self.deliver(waiter, octets);
        }
    }

    fn deliver(&mut self, waiter: Waiter, octets: Vec<u8>) {
        let (took_micros, way) = (now_micros().saturating_sub(waiter.since_micros), self.workspace.trail.way());
        let upstream = waiter.upstream.and_then(|number| self.forwarder.upstreams.get(number)).map(|u| u.address);
        let (client, unix_seconds) = (waiter.client, unix_seconds());
        self.watch.saw(Seen { client, octets: &octets, took_micros, way, upstream, unix_seconds });
        match waiter.to {
            WaiterTo::Datagram { socket, peer } => {
                let to = Destination { socket: socket as u32, peer: Some(peer) };
                if !self.outbox.push(to, &octets)
                    && let Some(socket) = self.sockets.get(socket)
                {
                    // A client that cannot be reached asks again or is gone.
                    let _ = socket.send_to(&octets, peer);
                }
            }
            WaiterTo::Stream(reply) => {
                let _ = reply.send(octets);
            }
            WaiterTo::Explain { reply, asked, notes } => {
                let (since_micros, upstreams) = (waiter.since_micros, self.forwarder.upstreams.clone());
                let _ = reply.send(Explained { octets, way, notes, asked, upstreams, since_micros, took_micros });
            }
        }
    }
}
