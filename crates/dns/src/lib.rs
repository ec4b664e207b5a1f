//! Cluster DNS (layer 3): `seaway dns`.
//!
//! Without I/O: [`wire`] is messages as octets, [`zone`] the names of the cluster,
//! [`views`] names that the operator gave meaning to, [`forward`] questions that others answer,
//! [`resolve`] what becomes of one query.
//! With I/O: [`server`] is sockets and threads, [`watch`] what operators see of queries,
//! [`control`] the socket where they ask, [`handover`] keeps sockets open across restarts,
//! [`standby`] answers when their holder was killed, [`feed`] follows the agent, [`files`] reads
//! zones and block lists, [`daemon`] puts the parts together.

pub mod control;
pub mod daemon;
pub mod error;
pub mod feed;
pub mod files;
pub mod forward;
pub mod handover;
pub mod metrics;
pub mod resolve;
pub mod server;
pub mod standby;
pub mod views;
pub mod watch;
pub mod wire;
pub mod zone;

pub use error::DnsError;
