//! One upstream and what its answers say about its health; groups of upstreams.

use std::net::SocketAddr;

use crate::views::ViewUpstreams;

/// How an upstream is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// Datagrams, and TCP for what does not fit.
    Udp,
    /// TCP always.
    Tcp,
    /// DNS over TLS (RFC 7858) with the name that its certificate must have.
    Tls(String),
    /// DNS over HTTPS (RFC 8484).
    Https {
        /// The name that its certificate must have; none: its address.
        name: Option<String>,
        /// Path of the resource.
        path: String,
    },
}

/// How one of several upstreams is picked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Policy {
    /// Any.
    #[default]
    Random,
    /// One after the other.
    RoundRobin,
    /// The first that works.
    Sequential,
}

/// Upstreams that answer for the same names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Numbers of its upstreams.
    pub upstreams: Vec<usize>,
    /// How one is picked.
    pub policy: Policy,
}

/// An upstream as one shard sees it.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// Where it is.
    pub address: SocketAddr,
    /// How it is spoken to.
    pub transport: Transport,
    /// Smoothed time of an answer in microseconds (RFC 6298's way); 0: never answered.
    smoothed_micros: u64,
    /// Queries in a row that it let wait too long.
    overdue: u32,
    /// When it was last tried while it did not answer.
    last_probe_millis: u64,
    /// It does not understand EDNS.
    pub no_edns: bool,
}

/// Unanswered queries in a row after which others are asked first.
const OVERDUE_UNTIL_DOWN: u32 = 3;
/// One query so often goes to an upstream that is down as well: live traffic finds out when it is back.
const PROBE_INTERVAL_MILLIS: u64 = 200;
/// Fail over no later than this; the issue of one lost packet must not be felt.
const PATIENCE_LONGEST_MILLIS: u64 = 45;
/// And no earlier: a busy upstream is no dead one.
const PATIENCE_SHORTEST_MILLIS: u64 = 15;

/// Upstreams that one server asks in its life. Each may hold a few sockets, and those that views
/// named once stay; beyond this, views with others get no answers until the server starts anew.
const MOST_UPSTREAMS: usize = 1024;

/// The group that a view's upstreams make among `all`; those not known yet are added.
#[must_use]
pub fn group_of_view(all: &mut Vec<Upstream>, of_view: &ViewUpstreams) -> Group {
    let number = |(address, transport): &(SocketAddr, Transport)| {
        let known = all.iter().position(|upstream| (&upstream.address, &upstream.transport) == (address, transport));
        known.or_else(|| {
            let added = all.len() < MOST_UPSTREAMS;
            added.then(|| {
                all.push(Upstream::new(*address, transport.clone()));
                all.len() - 1
            })
        })
    };
    Group { upstreams: of_view.members.iter().filter_map(number).collect(), policy: of_view.policy }
}

// === impl Upstream ===

impl Upstream {
    /// One that was never asked.
    #[must_use]
    pub fn new(address: SocketAddr, transport: Transport) -> Self {
        Self { address, transport, smoothed_micros: 0, overdue: 0, last_probe_millis: 0, no_edns: false }
    }

    /// Whether others should be asked first.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.overdue >= OVERDUE_UNTIL_DOWN
    }

    /// How long to wait for it before another is asked too.
    #[must_use]
    pub fn patience_millis(&self) -> u64 {
        if self.smoothed_micros == 0 {
            return PATIENCE_LONGEST_MILLIS;
        }
        (self.smoothed_micros * 3 / 1000 + 10).clamp(PATIENCE_SHORTEST_MILLIS, PATIENCE_LONGEST_MILLIS)
    }

    /// It answered.
    pub fn answered(&mut self, took_micros: u64) {
        self.overdue = 0;
        self.smoothed_micros =
            if self.smoothed_micros == 0 { took_micros.max(1) } else { (self.smoothed_micros * 7 + took_micros) / 8 };
    }

    /// It let a query wait too long.
    pub fn kept_waiting(&mut self) {
        self.overdue = self.overdue.saturating_add(1);
    }

    /// Its host says that nobody listens.
    pub fn refused_connection(&mut self) {
        self.overdue = self.overdue.max(OVERDUE_UNTIL_DOWN);
    }

    /// Whether a query should go to it besides, to find out if it is back.
    pub fn wants_probe(&mut self, now_millis: u64) -> bool {
        let due = self.is_down() && now_millis >= self.last_probe_millis + PROBE_INTERVAL_MILLIS;
        if due {
            self.last_probe_millis = now_millis;
        }
        due
    }

    /// Smoothed time of an answer in microseconds; 0: never answered.
    #[must_use]
    pub fn smoothed_micros(&self) -> u64 {
        self.smoothed_micros
    }
}

impl std::fmt::Display for Upstream {
    /// As the configuration writes it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.transport {
            Transport::Udp => write!(f, "{}", self.address),
            Transport::Tcp => write!(f, "tcp://{}", self.address),
            Transport::Tls(name) => write!(f, "tls://{}#{name}", self.address),
            Transport::Https { name: None, path } => write!(f, "https://{}{path}", self.address),
            Transport::Https { name: Some(name), path } => write!(f, "https://{}{path}#{name}", self.address),
        }
    }
}

// === impl Group ===

impl Group {
    /// The order in which its upstreams are asked: by policy, those that are down last.
    #[must_use]
    pub fn order(&self, upstreams: &[Upstream], turn: usize, random: u64) -> Vec<usize> {
        let mut order = self.upstreams.clone();
        let count = order.len().max(1);
        match self.policy {
            Policy::Random => order.rotate_left((random % count as u64) as usize),
            Policy::RoundRobin => order.rotate_left(turn % count),
            Policy::Sequential => {}
        }
        order.sort_by_key(|number| upstreams.get(*number).is_none_or(Upstream::is_down));
        order
    }
}
