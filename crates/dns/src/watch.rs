//! What operators see of queries: who asks what most, what fails, what is slow, and on
//! demand each query as it is answered.
//!
//! A shard tells its [`Watch`] of every answer. One in [`SAMPLE`] is counted; failed and
//! slow ones are always, and kept for a while. Records are made only while somebody
//! listens: else the cost is a handful of comparisons.

pub mod census;
pub mod filter;
pub mod hub;
pub mod sketch;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use seaway_model::dns_api::Way;

pub use census::Census;
pub use hub::Hub;

use crate::wire::number::rcode;

/// One answer in so many is counted; the totals in `/metrics` are exact.
pub const SAMPLE: u32 = 32;

/// Failed and slow queries of one shard that are written down in a second: a flood of
/// them says the same again and again.
const MOST_NOTABLE_PER_SECOND: u32 = 64;

/// An answer as it left.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'m> {
    /// To whom.
    pub client: IpAddr,
    /// The response.
    pub octets: &'m [u8],
    /// From query to response.
    pub took_micros: u64,
    /// Where it came from.
    pub way: Way,
    /// The upstream that answered, or the last one asked.
    pub upstream: Option<SocketAddr>,
    /// Seconds since 1970.
    pub unix_seconds: u32,
}

/// What one thread sees.
#[derive(Debug)]
pub struct Watch {
    hub: Arc<Hub>,
    census: Arc<Mutex<Census>>,
    turn: u32,
    notable_second: u32,
    notable: u32,
}

// === impl Watch ===

impl Watch {
    /// Counts into `census` and tells `hub`.
    #[must_use]
    pub fn new(hub: Arc<Hub>, census: Arc<Mutex<Census>>) -> Self {
        Self { hub, census, turn: 0, notable_second: 0, notable: 0 }
    }

    /// Takes in one answer.
    #[inline]
    pub fn saw(&mut self, seen: Seen<'_>) {
        self.turn = self.turn.wrapping_add(1);
        let failed = seen.octets.get(3).is_some_and(|flags| flags & 0xf == rcode::SERVFAIL);
        let slow = seen.took_micros >= self.hub.slow_micros;
        let counted = self.turn.is_multiple_of(SAMPLE);
        if failed || slow || counted || self.hub.is_listened_to() {
            self.look(seen, failed, slow, counted);
        }
    }

    #[cold]
    fn look(&mut self, seen: Seen<'_>, failed: bool, slow: bool, counted: bool) {
        if failed || slow || counted {
            let mut census = self.census.lock().unwrap_or_else(PoisonError::into_inner);
            let question = hub::question(seen.octets);
            if counted {
                census.asked(question.map(|(name, _)| name), seen.client, u64::from(SAMPLE));
            }
            if let Some((name, _)) = question {
                if failed {
                    census.failed(name);
                }
                if slow {
                    census.slow(name);
                }
            }
        }
        let keep = (failed || slow) && self.is_worth_keeping(seen.unix_seconds);
        if keep || self.hub.is_listened_to() {
            self.hub.tell(&seen, (failed, slow), keep);
        }
    }

    fn is_worth_keeping(&mut self, unix_seconds: u32) -> bool {
        if self.notable_second != unix_seconds {
            self.notable_second = unix_seconds;
            self.notable = 0;
        }
        self.notable += 1;
        self.notable <= MOST_NOTABLE_PER_SECOND
    }
}
