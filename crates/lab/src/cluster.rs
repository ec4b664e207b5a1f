//! The Kubernetes cluster in a lab: programs, certificates, configuration, and
//! bringing it all up.
//!
//! Start at [`up::up`]. What is decided without touching anything is in
//! [`config`] and [`pki`]; [`api`] talks to the API server, [`forwarder`] makes
//! the lab reachable from the host.

pub mod api;
pub mod config;
pub mod dns;
pub mod error;
pub mod files;
pub mod forwarder;
pub mod limits;
pub mod pki;
pub mod programs;
pub mod progress;
pub mod status;
pub mod up;
pub mod url;

pub use error::ClusterError;

use crate::error::Result;
use crate::machine::{LabDir, Machine};

/// Removes a lab: the forwarder first, then its nodes with all their programs,
/// and with the last lab the machine's raised limit.
///
/// # Errors
/// Something cannot be removed; the rest is.
pub fn down(dir: &LabDir) -> Result<()> {
    forwarder::stop(dir);
    let removed = Machine::destroy(dir);
    let restored = limits::restore();
    removed.and(restored.map_err(Into::into))
}
