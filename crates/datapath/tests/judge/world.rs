//! The world that packets are judged in: one node with its pods, seen with everything around it.
//!
//! Everything lives in small ranges, so that random Services meet: two that claim one address,
//! an external IP that is a node's, a client that is its own backend.

pub(crate) mod addresses;
pub(crate) mod cluster;
pub(crate) mod scenario;
