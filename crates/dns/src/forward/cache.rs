//! Answers of others, within a bound of memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::Weighter;
use quick_cache::sync::Cache as QuickCache;

use super::entry::Entry;
use crate::wire::Name;

/// What an answer depends on: name, type, which upstreams are asked, DO and CD
/// (RFC 4035 §4.7, RFC 6840 §5.7). The class is always IN: others are refused.
#[derive(Debug, Clone, Copy)]
pub struct CacheKey {
    octets: [u8; 4 + 256],
    length: usize,
}

/// Whether a kept answer may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Yes.
    Fresh,
    /// Yes, and it is worth asking again before it ends.
    EndsSoon,
    /// Only if nobody answers now (RFC 8767).
    Stale,
    /// No.
    Over,
}

/// Limits of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheLimits {
    /// Octets of memory, roughly.
    pub octets: u64,
    /// Longest time a positive answer is kept.
    pub positive_seconds: u32,
    /// Longest time a negative answer is kept: the name may come to be.
    pub negative_seconds: u32,
    /// How long after its end an answer may still stand in when nobody answers.
    pub stale_seconds: u32,
}

#[derive(Debug, Clone)]
struct Octets;

/// The cache; all threads share one.
#[derive(Debug)]
pub struct Cache {
    kept: QuickCache<Box<[u8]>, Arc<Entry>, Octets>,
    /// Its limits.
    pub limits: CacheLimits,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Weighter<Box<[u8]>, Arc<Entry>> for Octets {
    fn weight(&self, key: &Box<[u8]>, entry: &Arc<Entry>) -> u64 {
        // Bookkeeping of the cache and the allocator around both.
        const AROUND: usize = 96;
        (key.len() + entry.octets() + AROUND) as u64
    }
}

// === impl CacheKey ===

impl CacheKey {
    /// The key of a question. `group` is below [`crate::views::upstreams::NUMBERS_END`].
    #[must_use]
    pub fn of(name: &Name, kind: u16, group: u16, dnssec: bool, checking_disabled: bool) -> Self {
        let mut octets = [0; 260];
        let [k0, k1] = kind.to_be_bytes();
        let [group_high, group_low] = group.to_be_bytes();
        let flags = u8::from(dnssec) | u8::from(checking_disabled) << 1 | group_high << 2;
        let (head, tail) = octets.split_at_mut(4);
        head.copy_from_slice(&[flags, group_low, k0, k1]);
        let wire = name.wire();
        if let Some(to) = tail.get_mut(..wire.len()) {
            to.copy_from_slice(wire);
        }
        Self { octets, length: 4 + wire.len() }
    }

    /// Its octets.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        self.octets.get(..self.length).unwrap_or_default()
    }
}

// === impl Cache ===

impl Cache {
    /// An empty cache.
    #[must_use]
    pub fn new(limits: CacheLimits) -> Self {
        // An answer with its key takes about 300 octets.
        let items = usize::try_from(limits.octets / 300).unwrap_or(usize::MAX).max(16);
        let kept = QuickCache::with_weighter(items, limits.octets, Octets);
        Self { kept, limits, hits: AtomicU64::new(0), misses: AtomicU64::new(0) }
    }

    /// Looks a question up.
    #[must_use]
    pub fn find(&self, key: &CacheKey, now_millis: u64) -> Option<(Arc<Entry>, Freshness)> {
        let entry = self.kept.get(key.octets())?;
        let age = now_millis.saturating_sub(entry.stored_millis);
        let life = u64::from(entry.ttl_seconds) * 1000;
        let freshness = if age < life {
            // Popular names are asked for again in the last tenth of their time.
            let soon = life / 10 > life - age;
            if soon && entry.used() > PREFETCH_USES { Freshness::EndsSoon } else { Freshness::Fresh }
        } else if age < life + u64::from(self.limits.stale_seconds) * 1000 {
            Freshness::Stale
        } else {
            Freshness::Over
        };
        Some((entry, freshness))
    }

    /// Keeps an answer, unless it is for one question only.
    pub fn keep(&self, key: &[u8], entry: &Arc<Entry>) {
        if entry.ttl_seconds > 0 {
            self.kept.insert(key.into(), Arc::clone(entry));
        }
    }

    /// All that is kept, with keys; a copy, since others go on keeping.
    #[must_use]
    pub fn entries(&self) -> Vec<(Box<[u8]>, Arc<Entry>)> {
        self.kept.iter().collect()
    }

    /// Forgets answers whose key is picked; tells how many.
    pub fn forget(&self, picked: impl Fn(&[u8]) -> bool) -> usize {
        let keys = self.kept.iter().map(|(key, _)| key).filter(|key| picked(key));
        keys.collect::<Vec<_>>().iter().filter(|key| self.kept.remove(&***key).is_some()).count()
    }

    /// Counts a question that was answered from here, or not.
    pub fn count(&self, hit: bool) {
        let counter = if hit { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Questions answered from here, and not.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed))
    }

    /// Entries, and octets they take.
    #[must_use]
    pub fn size(&self) -> (usize, u64) {
        (self.kept.len(), self.kept.weight())
    }
}

/// An answer used less often than this is not asked for again ahead of time.
const PREFETCH_USES: u32 = 2;
