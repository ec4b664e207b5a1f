//! Where packets go (layer 1): no I/O, no clock, no randomness.
//!
//! [`ipam`] decides which addresses a node hands to its pods and which blocks
//! it wants from the pools; [`plan::network_plan`] turns a snapshot into the
//! routes, tunnel peers and masquerading of one node.

pub mod ipam;
pub mod plan;

pub use plan::{
    BlockRoute, LocalBlock, MasqueradePlan, NetworkOptions, NetworkPlan, PlanError, TunnelPeer, TunnelPlan, Underlay,
    Via, network_plan, plan_problems, tunnel_mac,
};
