//! What touches the world: files of the CNI configuration, the socket, the
//! host's interfaces, the API server.

pub(crate) mod cluster;
pub(crate) mod configuration;
pub(crate) mod deletions;
pub(crate) mod demand;
pub(crate) mod dns_configs;
pub(crate) mod host;
pub(crate) mod lock;
pub(crate) mod message;
pub(crate) mod server;
pub(crate) mod services;
