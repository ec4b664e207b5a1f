//! What shards count. Each has its own, so that no two processors write one line of memory.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::wire::number::kind;

/// Types that are counted by name, as CoreDNS does; the last is all others.
pub const KINDS: [(&str, u16); 9] = [
    ("A", kind::A),
    ("AAAA", kind::AAAA),
    ("SRV", kind::SRV),
    ("PTR", kind::PTR),
    ("CNAME", kind::CNAME),
    ("TXT", kind::TXT),
    ("MX", kind::MX),
    ("NS", kind::NS),
    ("other", 0),
];

/// Upper bounds of the buckets of times to answer, in microseconds: CoreDNS's, and finer
/// ones below a quarter of a millisecond, where all local answers are.
pub const BUCKETS_MICROS: [u64; 18] = [
    10, 25, 50, 100, 250, 500, 1000, 2000, 4000, 8000, 16_000, 32_000, 64_000, 128_000, 256_000, 512_000, 1_024_000,
    8_192_000,
];

/// Counters of one shard, or of all streams.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Counters {
    /// Queries by type; the index is that of [`KINDS`].
    pub requests: [AtomicU64; KINDS.len()],
    /// Answers by response code.
    pub responses: [AtomicU64; 16],
    /// Answers by the time they took; one more for all that took longer.
    pub durations: [AtomicU64; BUCKETS_MICROS.len() + 1],
    /// Sum of those times in microseconds.
    pub duration_micros: AtomicU64,
    /// Queries that were no queries.
    pub malformed: AtomicU64,
    /// Queries refused because too many waited already, or the client asked too much.
    pub shed: AtomicU64,
    /// Queries left without an answer because too many waited.
    pub overload: AtomicU64,
    /// Datagrams answered with TC.
    pub truncated: AtomicU64,
    /// Queries sent to upstreams.
    pub forwarded: AtomicU64,
    /// Times another upstream was asked because one kept waiting.
    pub overtaken: AtomicU64,
    /// Questions that no upstream answered.
    pub failed: AtomicU64,
    /// Stale answers given.
    pub stale: AtomicU64,
    /// Answers of upstreams refused.
    pub rejected: AtomicU64,
}

// === impl Counters ===

impl Counters {
    /// Adds to a counter.
    #[inline]
    pub fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }

    /// Counts a query by its type.
    #[inline]
    pub fn request(&self, kind: u16) {
        let index = KINDS.iter().position(|(_, known)| *known == kind).unwrap_or(KINDS.len() - 1);
        if let Some(counter) = self.requests.get(index) {
            Self::add(counter, 1);
        }
    }

    /// Counts an answer.
    #[inline]
    pub fn response(&self, rcode: u8) {
        if let Some(counter) = self.responses.get(usize::from(rcode & 0xf)) {
            Self::add(counter, 1);
        }
    }

    /// Counts answers that took so long.
    #[inline]
    pub fn took(&self, micros: u64, answers: u64) {
        let index = BUCKETS_MICROS.iter().position(|bound| micros <= *bound).unwrap_or(BUCKETS_MICROS.len());
        if let Some(counter) = self.durations.get(index) {
            Self::add(counter, answers);
        }
        Self::add(&self.duration_micros, micros * answers);
    }
}
