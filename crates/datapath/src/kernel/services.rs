//! The Services' side of a node's data path: one module per backend.

pub mod nftables;
