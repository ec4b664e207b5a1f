//! Cluster DNS (layer 3): `seaway dns`.
//!
//! Without I/O: [`wire`] is messages as octets, [`zone`] the names of the cluster,
//! [`views`] names that the operator gave meaning to, [`forward`] questions that others answer,
//! [`resolve`] what becomes of one query.
//! With I/O: [`server`] is sockets and threads, [`handover`] keeps sockets open across
//! restarts, [`feed`] follows the agent, [`files`] reads zones and block lists, [`daemon`] puts the parts together.

pub mod daemon;
pub mod error;
pub mod feed;
pub mod files;
pub mod forward;
pub mod handover;
pub mod metrics;
pub mod resolve;
pub mod server;
pub mod views;
pub mod wire;
pub mod zone;

pub use error::DnsError;
