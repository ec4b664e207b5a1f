//! Address management and route plans: pure decisions, no effects (layer 1).

pub mod plan;
