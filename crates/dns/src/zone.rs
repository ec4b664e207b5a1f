//! The names of the cluster (Kubernetes DNS specification 1.1.0), without I/O.
//!
//! There is no list of names: a question is taken apart into namespace, Service,
//! endpoint and port, and answered from [`service::ServiceRecords`], of which there is
//! one per Service. [`index::Index`] is what server threads read; [`build::Builder`]
//! is the one writer, and one changed slice costs what its Service holds.
//!
//! Beside the cluster's zone there may be that of other clusters ([`imported`]), and zones
//! for addresses outside ([`outside`]), where objects may ask for names ([`claims`]).

pub mod answer;
pub mod build;
mod catalogue;
pub mod claims;
pub mod describe;
mod gateways;
pub mod headless;
mod imported;
pub mod index;
mod outside;
pub mod reverse;
pub mod saved;
pub mod service;
pub mod sharded;
#[cfg(test)]
pub(crate) mod tests;

pub use answer::{Outcome, Scratch};
pub use build::Builder;
pub use index::{ExternalZone, Index, PodNames, Zone, ZoneSettings};
