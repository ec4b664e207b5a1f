//! The agent (layer 4): one daemon per node that turns what the cluster wants
//! into what this node's kernel does, and answers the CNI plugin.
//!
//! - [`decide`] is the thinking: pure, one input at a time.
//! - [`owner`] carries it out on one thread that owns the data path.
//! - [`core`] starts owner, socket and timers; [`run`] joins them to a cluster.
//! - [`install_cni`] and [`uninstall`] are the steps around the daemon.

mod conflist;
pub mod core;
mod daemon;
pub mod decide;
pub mod error;
mod feed;
mod io;
mod metrics;
pub mod owner;
mod place;
pub mod services;
pub mod work;

pub use daemon::run;
pub use error::AgentError;
pub use io::host::KernelHost;
pub use place::{install_cni, uninstall};
