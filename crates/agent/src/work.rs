//! What the owner wants of the API server, and never waits for.

use std::collections::BTreeMap;

use ipnet::IpNet;
use seaway_model::BlockAllocation;

use crate::decide::{Announcement, ClaimKey};

/// What pods hold, by block: the newest state of each block that changed. Later
/// states replace earlier ones, so a slow API server costs no memory.
pub type Records = BTreeMap<IpNet, Vec<BlockAllocation>>;

/// One thing to do at the API server. Outcomes come back as inputs.
#[derive(Debug, Clone, PartialEq)]
pub enum ApiWork {
    /// Create one of these blocks.
    Claim {
        /// Which claim.
        claim: ClaimKey,
        /// Ranges to try, in order.
        candidates: Vec<IpNet>,
    },
    /// Delete a block of ours.
    Release(IpNet),
    /// Write an Event.
    Announce(Announcement),
    /// Remove the node's taint and say that its network is available.
    NodeReady,
}
