//! What is asked of upstreams, and what is counted of it.

use std::sync::Arc;

use super::cache::CacheKey;
use crate::views::ViewUpstreams;
use crate::wire::Name;

/// A question to be asked.
#[derive(Debug, Clone)]
pub struct Question {
    /// Under which its answer is kept.
    pub key: CacheKey,
    /// The name.
    pub name: Name,
    /// The type.
    pub kind: u16,
    /// Which upstreams answer for it.
    pub group: usize,
    /// Upstreams of a view; they answer in place of the group.
    pub upstreams: Option<Arc<ViewUpstreams>>,
    /// Ask for DNSSEC records.
    pub dnssec: bool,
    /// The client checks signatures itself.
    pub checking_disabled: bool,
}

/// Counters of one forwarder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Queries sent.
    pub sent: u64,
    /// Answers that were refused, by reason lies and mistakes alike.
    pub rejected: u64,
    /// Times another upstream was asked because one kept waiting.
    pub overtaken: u64,
    /// Questions that nobody answered.
    pub failed: u64,
    /// Answers given although stale.
    pub stale: u64,
}
