//! The Kubernetes API (layer 2), and the only crate that knows its types.
//!
//! [`connect`] gives a [`Cluster`]; [`watch`] turns it into a stream of
//! immutable snapshots, and [`watch_services`] into changes of Services; [`BlockClaims`], [`NodeWriter`], [`Pools`], [`Events`]
//! and [`Lease`] are what Seaway writes, each with no more rights than its
//! name says; [`install_crds`] puts the custom resources into a cluster.

mod blocks;
mod cluster;
mod convert;
mod crds;
mod dns_configs;
mod error;
mod events;
mod lease;
mod nodes;
mod pools;
mod resources;
mod watch;

pub use blocks::{BlockClaims, ClaimOutcome, block_name};
pub use cluster::{ApiAddress, Cluster, Connection, connect};
pub use crds::{custom_resource_definitions, install_crds};
pub use dns_configs::{Accepted, DnsConfigs};
pub use error::{InvalidObject, KubeApiError};
pub use events::{Events, Severity, Subject};
pub use lease::{Lease, LeaseTimes};
pub use nodes::{AGENT_NOT_READY_TAINT, NodeWriter};
pub use pools::{PoolLife, PoolUsage, Pools};
pub use watch::{
    DnsConfigObject, DnsConfigObjects, DnsConfigWatch, NameKinds, NameWatch, PodScope, PodWatch, ServiceRanges,
    ServiceWatch, SnapshotWatch, WatchHealth, watch, watch_dns_configs, watch_names, watch_pods, watch_service_ranges,
    watch_services,
};
