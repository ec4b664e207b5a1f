//! Sockets and threads. One thread per processor ([`shard`]) owns a socket of each
//! listening address (SO_REUSEPORT) and asks upstreams itself; [`stream`] serves TCP and
//! TLS and hands what it cannot answer at once to a shard; [`dial`] asks upstreams by streams.

pub mod batch;
pub mod clock;
pub mod counters;
pub mod desk;
pub mod dial;
pub mod fair;
mod https;
pub mod limit;
pub mod outbox;
pub mod reply;
pub mod secure;
mod session;
pub mod shard;
pub mod socket;
pub mod stream;
#[cfg(test)]
mod tests;
pub mod waiter;

pub use counters::Counters;
pub use desk::{Message, ShardDesk};
pub use reply::Server;
pub use shard::Shard;
pub use waiter::Explained;
