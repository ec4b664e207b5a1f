//! What Services mean on one node (layer 1): no I/O, no clock, no randomness.
//!
//! Start at [`plan::ServicePlan`], what the data path must hold for one Service.

pub mod plan;

pub use plan::{Algorithm, Backend, BackendSet, Forwarding, Frontend, FrontendAddress, FrontendKind, Reach, ServicePlan};
