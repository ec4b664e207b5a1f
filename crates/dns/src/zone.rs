//! The names of the cluster (Kubernetes DNS specification 1.1.0), without I/O.
//!
//! There is no list of names: a question is taken apart into namespace, Service,
//! endpoint and port, and answered from [`service::ServiceRecords`], of which there is
//! one per Service. [`index::Index`] is what server threads read; [`build::Builder`]
//! is the one writer, and one changed slice costs what that slice holds.

pub mod answer;
pub mod build;
pub mod headless;
pub mod index;
pub mod reverse;
pub mod saved;
pub mod service;
pub mod sharded;
#[cfg(test)]
pub(crate) mod tests;

pub use answer::{Outcome, Scratch};
pub use build::Builder;
pub use index::{Index, PodNames, ZoneSettings};
