//! The lab (layer 5): a real Kubernetes cluster on one Linux machine, without a
//! container engine or a virtual machine.
//!
//! [`spec::LabSpec`] says what is wanted, [`machine::Machine`] makes nodes out
//! of namespaces and joins them by a wire that can be cut, and [`cli`] is what
//! `seaway lab` runs.

pub mod bench;
pub mod cli;
pub mod cluster;
pub mod connectivity;
pub mod error;
pub mod image;
pub mod machine;
mod patience;
pub mod peers;
pub mod spec;

pub use error::LabError;
pub use machine::{LabDir, Machine, Node, ProgramSpec, ProgramStatus};
pub use spec::LabSpec;
