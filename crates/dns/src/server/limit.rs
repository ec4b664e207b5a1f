//! How much one client may ask: a bucket of tokens for each address, so that one
//! pod cannot starve its node.

use std::collections::HashMap;
use std::net::IpAddr;

/// Clients remembered; a node has a few hundred pods.
const MOST_CLIENTS: usize = 4096;

/// Buckets of all clients of one shard.
#[derive(Debug)]
pub struct RateLimit {
    per_second: u32,
    burst: u32,
    buckets: HashMap<IpAddr, Bucket, foldhash::fast::RandomState>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f32,
    filled_micros: u64,
}

// === impl RateLimit ===

impl RateLimit {
    /// `per_second` 0: no limit.
    #[must_use]
    pub fn new(per_second: u32, burst: u32) -> Self {
        Self { per_second, burst: burst.max(1), buckets: HashMap::default() }
    }

    /// Whether this client may ask now.
    pub fn allows(&mut self, client: IpAddr, now_micros: u64) -> bool {
        if self.per_second == 0 {
            return true;
        }
        if self.buckets.len() >= MOST_CLIENTS && !self.buckets.contains_key(&client) {
            // Those that could ask as much as anybody lose nothing by being forgotten.
            let refill_micros = u64::from(self.burst) * 1_000_000 / u64::from(self.per_second);
            self.buckets.retain(|_, bucket| now_micros.saturating_sub(bucket.filled_micros) < refill_micros);
            if self.buckets.len() >= MOST_CLIENTS {
                return false;
            }
        }
        let burst = self.burst as f32;
        let bucket = self.buckets.entry(client).or_insert(Bucket { tokens: burst, filled_micros: now_micros });
        let passed = now_micros.saturating_sub(bucket.filled_micros) as f32 / 1e6;
        bucket.tokens = (bucket.tokens + passed * self.per_second as f32).min(burst);
        bucket.filled_micros = now_micros;
        let allowed = bucket.tokens >= 1.0;
        if allowed {
            bucket.tokens -= 1.0;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_cannot_use_up_what_another_has() {
        let mut limit = RateLimit::new(10, 5);
        let (greedy, modest) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        assert_eq!((0..100).filter(|_| limit.allows(greedy, 0)).count(), 5);
        assert!(limit.allows(modest, 0));
        assert!(limit.allows(greedy, 100_000) && !limit.allows(greedy, 100_000), "ten a second: one in 100 ms");
    }

    #[test]
    fn forged_addresses_fill_no_memory() {
        let mut limit = RateLimit::new(10, 5);
        for number in 0..100_000u32 {
            limit.allows(std::net::Ipv4Addr::from(number).into(), 0);
        }
        assert!(limit.buckets.len() <= MOST_CLIENTS);
        assert!(limit.allows([1, 1, 1, 1].into(), 60_000_000), "old clients make room");
    }
}
