//! The vocabulary of Seaway (layer 0): no I/O, no clock, no async runtime.
//!
//! Start at [`snapshot::Snapshot`], what the cluster wants, and [`abi`], what
//! the kernel programs and user space say to each other.

pub mod abi;
pub mod agent_api;
pub mod diagnosis;
pub mod dns;
pub mod dns_api;
pub mod drop_reason;
pub mod feed;
pub mod ids;
pub mod labels;
pub mod names;
pub mod pool;
pub mod service;
pub mod snapshot;

pub use diagnosis::{Diagnose, ErrorId};
pub use dns::DnsSpec;
pub use drop_reason::DropReason;
pub use feed::FeedChange;
pub use ids::{ContainerId, InterfaceName, MacAddress, NodeName, PodRef};
pub use ipnet::{IpNet, Ipv4Net, Ipv6Net};
pub use labels::{LabelSelector, Labels};
pub use names::NameChange;
pub use pool::{BlockAllocation, Encapsulation, IpBlock, IpPool};
pub use service::{EndpointSlice, Protocol, Service, ServiceChange, ServiceRef, SliceRef};
pub use snapshot::{Namespace, Node, Pod, PodChange, Snapshot};
