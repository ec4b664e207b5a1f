//! Cluster DNS (layer 3): `seaway dns`.
//!
//! Without I/O: [`wire`] is messages as octets, [`zone`] the names of the cluster.

pub mod wire;
pub mod zone;
