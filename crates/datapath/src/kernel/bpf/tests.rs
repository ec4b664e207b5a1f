//! Tests of the fast path with the real kernel: they need root, and say so when they lack
//! it. Each has network namespaces and a BPF file system of its own, which vanish with it.

mod adoption;
mod from_network;
mod from_pod;
mod hand;
pub(in crate::kernel) mod namespaces;
mod nodes;
mod packet;
mod pods;
mod services;
mod spoofing;
mod test_run;
mod traffic;
mod verification;
