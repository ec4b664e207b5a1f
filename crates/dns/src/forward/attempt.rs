//! One query to one upstream, and what came of it.

use super::normal::Rejected;

/// What came of a query to an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// Nothing yet: another answered first.
    NotWaitedFor,
    /// It kept us waiting too long.
    Silent,
    /// Its host says that nobody listens, or no connection came about.
    NoConnection,
    /// It answered, with this response code.
    Answered(u8),
    /// What it answered was no use.
    Rejected(Rejected),
}

/// One query to an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// Which upstream.
    pub upstream: usize,
    /// From which of the sockets to it; none: by a stream.
    pub socket: Option<u8>,
    /// Id of the query.
    pub(super) id: u16,
    /// When, by the clock of the forwarder.
    pub sent_micros: u64,
    /// How long its outcome took to come.
    pub took_micros: Option<u64>,
    /// What came of it.
    pub outcome: AttemptOutcome,
    /// Nothing more comes from it, or it was counted as waiting already.
    pub(super) over: bool,
}

// === impl Attempt ===

impl Attempt {
    pub(super) fn new(upstream: usize, socket: Option<u8>, id: u16, sent_micros: u64) -> Self {
        let outcome = AttemptOutcome::NotWaitedFor;
        Self { upstream, socket, id, sent_micros, took_micros: None, outcome, over: false }
    }

    /// Writes down what came of it.
    pub(super) fn came(&mut self, outcome: AttemptOutcome, now_micros: u64) {
        self.outcome = outcome;
        self.took_micros = Some(now_micros.saturating_sub(self.sent_micros));
    }
}

// === impl AttemptOutcome ===

impl std::fmt::Display for AttemptOutcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotWaitedFor => f.write_str("not waited for"),
            Self::Silent => f.write_str("silent"),
            Self::NoConnection => f.write_str("no connection"),
            Self::Answered(rcode) => f.write_str(crate::wire::number::rcode::name(*rcode)),
            Self::Rejected(why) => write!(f, "refused: {why}"),
        }
    }
}
