//! `seaway controller` (layer 4): what one replica does for the whole cluster.
//! Nothing waits for it: pods start and packets flow without it.
//!
//! - creates the configured pools when the cluster has none;
//! - deletes blocks of nodes that are gone, after a grace period;
//! - keeps a deleted pool while pods use it;
//! - writes how full pools are, or why one is not in force, into their status;
//! - warns on Services that nobody serves or that do not work as written;
//! - says of each `DNSConfig` whether it can be used;
//! - warns by an event and a metric before a pool is full.
//!
//! [`run`] is the daemon; `decide` is the part that thinks, `tasks` the part that acts.

mod decide;
mod dns_configs;
mod error;
mod metrics;
mod services;
mod tasks;

pub use error::ControllerError;
pub use tasks::{give_pools_up, run};
