//! The nftables backend on the real kernel with real packets. Needs root, and says so when
//! it is missing. Every test has its own network namespaces: a node that forwards, pods of
//! that node, pods elsewhere, and a host outside of the cluster.

mod affinity;
mod change;
mod lifecycle;
mod places;
mod reach;
mod stale;
mod world;
