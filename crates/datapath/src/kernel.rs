//! The kernel itself: what carries plans out.
//!
//! Start at [`node::KernelDatapath`], one node's data path. It reads what the kernel holds
//! (`read`), compares with the plan and carries the difference out (`execute`); pods are
//! connected in `pod`, in a few round trips.

pub mod bpf;
mod execute;
mod netlink;
mod netns;
mod nflog;
mod nft;
pub mod node;
mod path_mtu;
mod pod;
mod probe;
mod read;
mod rtnetlink;
pub mod services;
mod setting;
#[cfg(test)]
mod tests;
mod underlay;

pub use node::{Options, open};
pub use path_mtu::path_mtus;
pub use probe::probe;
pub use underlay::{host_addresses, underlay};
