//! How long the lab waits for what is on its way. The limits are made for an
//! ordinary machine; an emulated or crowded one gets a multiple of them
//! (`seaway lab --patience N`, `SEAWAY_LAB_PATIENCE`).

use std::sync::OnceLock;
use std::time::Duration;

static FACTOR: OnceLock<u32> = OnceLock::new();

/// All limits are `factor` times as long from now on; only the first call counts.
pub(crate) fn set(factor: u32) {
    // A second verb of the same process has the same arguments.
    let _ = FACTOR.set(factor);
}

/// `limit` on this machine.
#[must_use]
pub(crate) fn patience(limit: Duration) -> Duration {
    limit.saturating_mul(FACTOR.get().copied().unwrap_or(1))
}
