//! The kernel side of a node's network (layer 2, the only privileged crate).
//!
//! Start at [`Datapath`]: what the agent asks for. [`open`] gives the
//! implementation for this kernel; [`fake::FakeDatapath`] is the one in memory.
//! [`plan`] turns a [`seaway_routing::plan::NetworkPlan`] and the attached pods into the
//! wanted kernel objects and into operations, without effects; `kernel` carries them
//! out.

pub mod error;
pub mod fake;
pub mod kernel;
pub mod link;
pub mod memory;
pub mod plan;
pub mod services;
pub mod support;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use seaway_model::DropReason;
use seaway_model::abi;
use seaway_model::agent_api::AttachmentKey;
use seaway_routing::plan::NetworkPlan;

pub use error::{DatapathError, DatapathErrors};
pub use kernel::{Options, open, probe, underlay};
pub use link::{AttachedLink, PodLink};
pub use services::{ServiceDatapath, ServiceNode, ServiceReport};
pub use support::{BackendChoice, KernelSupport};

/// What a node's data path can be told to do. Synchronous: calls block on the kernel, so
/// the agent makes them from a thread of their own.
pub trait Datapath: Send {
    /// Says which addresses are the node's: direct routes leave by the device that holds one
    /// of them. Called before the first [`Datapath::apply`] and whenever they change.
    fn set_node_addresses(&mut self, _addresses: &[IpAddr]) {}

    /// Makes the kernel look like `plan`; touches only what differs from the last time.
    fn apply(&mut self, plan: &NetworkPlan) -> Result<ApplyReport, DatapathError>;

    /// Connects a sandbox. Undone when any step fails.
    fn attach_pod(&mut self, netns: BorrowedFd<'_>, wanted: &PodLink) -> Result<AttachedLink, DatapathError>;

    /// Disconnects a sandbox. Succeeds when there is nothing to disconnect; goes on past
    /// errors and returns the first.
    fn detach_pod(&mut self, key: &AttachmentKey, netns: Option<BorrowedFd<'_>>) -> Result<(), DatapathError>;

    /// Does the kernel hold what [`Datapath::attach_pod`] made?
    fn check_pod(&mut self, netns: BorrowedFd<'_>, wanted: &PodLink) -> Result<(), DatapathError>;

    /// What the kernel still holds of an earlier run. Called once, before all else; the
    /// links are known from then on.
    fn adopt(&mut self) -> Result<Vec<AttachedLink>, DatapathError>;

    /// Compares the kernel with `plan` and the attached pods, repairs, and says what
    /// differed and whose object it was.
    fn audit(&mut self, plan: &NetworkPlan) -> Result<Vec<Difference>, DatapathError>;

    /// Hands over the drop events that have come since the last call. Does not wait.
    fn drain_events(&mut self, sink: &mut dyn FnMut(&abi::Event)) -> Result<(), DatapathError>;

    /// Packet and byte counters.
    fn counters(&mut self) -> Result<Counters, DatapathError>;

    /// Removes everything of ours from the kernel.
    fn uninstall(&mut self) -> Result<(), DatapathErrors>;
}

/// What [`Datapath::apply`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApplyReport {
    /// Every operation carried out, in order, for people.
    pub operations: Vec<String>,
    /// What became of XDP on the underlay device, for people; none: nothing asks for it.
    pub xdp: Option<String>,
}

/// Something that the kernel held otherwise than it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What was wrong: `route 10.1.2.0/26 via sw_vxlan was missing`.
    pub what: String,
    /// The object that asks for it: `node worker-2, block 10.1.2.0/26`.
    pub cause: String,
}

/// Counters of the data path since it was first loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Dropped packets by reason.
    pub drops: BTreeMap<DropReason, Count>,
    /// Traffic of each endpoint, by [`AttachedLink::endpoint_id`].
    pub endpoints: BTreeMap<u32, EndpointTraffic>,
    /// Drops that were counted but not told, because there were too many.
    pub untold_drops: u64,
    /// Packets of Services that drivers sent on by XDP.
    pub sent_on_by_xdp: Count,
}

/// Traffic of one endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EndpointTraffic {
    /// Sent by the pod and forwarded by the fast path.
    pub sent_fast: Count,
    /// Sent by the pod and handled by the host stack.
    pub sent_stack: Count,
    /// Delivered to the pod by the fast path.
    pub received_fast: Count,
    /// Delivered to the pod by the host stack.
    pub received_stack: Count,
}

/// Packets and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

// === impl Difference ===

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.what, self.cause)
    }
}
