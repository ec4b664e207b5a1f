//! From a network plan and attached pods to kernel objects to operations.
//!
//! Pure: no sockets, no clock. [`network_objects`] and [`pod_objects`] say what the kernel
//! must hold, as values that print well; [`diff`] says what to do about what it does hold.
//! Every object carries the cluster object that asks for it.

mod diff;
mod objects;
#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod tests;
mod wanted;

pub use diff::{Operation, diff};
pub use objects::{
    Element, FastRoute, Key, NftSet, Objects, RouteTarget, Ruleset, TUNNEL_DEVICE, TunnelDevice, Value, Wanted,
    WantedObjects,
};
pub use wanted::{network_objects, pod_objects, service_objects};
