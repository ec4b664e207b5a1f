//! Tests with the real kernel: real sockets in network namespaces, and programs on a cgroup that
//! each test makes. They need root, and say so when they lack it.

mod adoption;
mod affinity;
mod choice;
mod closing;
mod connect;
mod datagram;
mod plans;
mod refusal;
mod revision;
mod room;
pub(in crate::kernel) mod world;
