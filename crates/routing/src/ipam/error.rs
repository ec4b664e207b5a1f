//! Why an address cannot be given, and what is about to go wrong.

use std::net::IpAddr;

use ipnet::IpNet;
use seaway_model::agent_api::AttachmentKey;
use seaway_model::{Diagnose, ErrorId, NodeName, PodRef};

/// Something about addresses that a person should know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IpamError {
    /// No pool serves the pod.
    #[error("no enabled IPPool selects node {node}{}", namespace.as_ref().map(|name| format!(" and namespace {name}")).unwrap_or_default())]
    NoPool {
        /// This node.
        node: NodeName,
        /// Namespace of the pod.
        namespace: Option<String>,
    },
    /// The first claim is still under way.
    #[error("node {node} has no block of {} yet; one is being claimed", pool_list(pools))]
    NoBlockYet {
        /// Pools that serve the pod.
        pools: Vec<String>,
        /// This node.
        node: NodeName,
    },
    /// Nothing free.
    #[error(
        "no free address on node {node} in {}: {blocks} blocks, {in_use} addresses in use, {cooling} cooling down",
        pool_list(pools)
    )]
    Exhausted {
        /// Pools that serve the pod.
        pools: Vec<String>,
        /// This node.
        node: NodeName,
        /// Blocks this node has of them.
        blocks: usize,
        /// Addresses in use there.
        in_use: u32,
        /// Addresses released a moment ago.
        cooling: u32,
    },
    /// The address asked for is not this node's to give.
    #[error("requested address {address} is in no block of node {node} that serves the pod")]
    RequestedElsewhere {
        /// The address.
        address: IpAddr,
        /// This node.
        node: NodeName,
    },
    /// The address asked for is taken.
    #[error(
        "requested address {address} is held by {} (container {}, interface {})",
        pod.as_ref().map_or_else(|| "another sandbox".to_owned(), |pod| format!("pod {pod}")), holder.container_id, holder.interface
    )]
    RequestedInUse {
        /// The address.
        address: IpAddr,
        /// Who has it.
        holder: AttachmentKey,
        /// Its pod.
        pod: Option<PodRef>,
    },
    /// The address asked for is never given to pods.
    #[error(
        "requested address {address} is reserved in block {block}: the first of a block is the node's, the last of an IPv4 pool is not used"
    )]
    RequestedReserved {
        /// The address.
        address: IpAddr,
        /// Its block.
        block: IpNet,
    },
    /// Two addresses of one family asked for.
    #[error("requested addresses {one} and {other} are of the same family; an interface gets one of each")]
    TwoOfOneFamily {
        /// First.
        one: IpAddr,
        /// Second.
        other: IpAddr,
    },
    /// The attachment exists with other addresses.
    #[error("container {} interface {} already holds {held:?} and cannot get {wanted} as well", key.container_id, key.interface)]
    AttachmentHolds {
        /// The attachment.
        key: AttachmentKey,
        /// What it has.
        held: Vec<IpAddr>,
        /// What it asks for now.
        wanted: IpAddr,
    },
    /// Soon nothing will be free.
    #[error("IPPool {pool} has no unclaimed block left and node {node} has only {free} free addresses of it")]
    NearlyExhausted {
        /// The pool.
        pool: String,
        /// This node.
        node: NodeName,
        /// What is left.
        free: u64,
    },
    /// Two sandboxes with one address.
    #[error("address {address} is held by container {} and by container {}", one.container_id, other.container_id)]
    DuplicateAddress {
        /// The address.
        address: IpAddr,
        /// First holder.
        one: AttachmentKey,
        /// Second holder.
        other: AttachmentKey,
    },
    /// The record of a block in use is gone.
    #[error(
        "IPBlock {block} of node {node} is gone from the API while {in_use} pods use its addresses; it is being claimed again"
    )]
    BlockLost {
        /// The block.
        block: IpNet,
        /// This node.
        node: NodeName,
        /// How many.
        in_use: u32,
    },
}

// === impl IpamError ===

impl IpamError {
    /// Whether the same request may succeed a little later without anyone's help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::NoBlockYet { .. } | Self::Exhausted { .. })
    }
}

impl Diagnose for IpamError {
    fn id(&self) -> ErrorId {
        ErrorId(match self {
            Self::NoPool { .. } => 225,
            Self::NoBlockYet { .. } => 226,
            Self::Exhausted { .. } => 227,
            Self::RequestedElsewhere { .. } => 228,
            Self::RequestedInUse { .. } => 229,
            Self::RequestedReserved { .. } => 230,
            Self::TwoOfOneFamily { .. } => 231,
            Self::AttachmentHolds { .. } => 232,
            Self::NearlyExhausted { .. } => 233,
            Self::DuplicateAddress { .. } => 234,
            Self::BlockLost { .. } => 235,
        })
    }

    fn fix(&self) -> String {
        match self {
            Self::NoPool { .. } => "create an IPPool, enable one, or widen its nodeSelector or namespaceSelector: `kubectl get ippools`",
            Self::NoBlockYet { .. } => "none needed when the API server answers: the runtime asks again",
            Self::Exhausted { .. } | Self::NearlyExhausted { .. } => {
                "add an IPPool with a free range, or delete pods; `kubectl get ippools` shows how full each is"
            }
            Self::RequestedElsewhere { .. } => {
                "ask for an address of a block of the node the pod runs on (`kubectl get ipblocks`), or pin the pod to that node"
            }
            Self::RequestedInUse { .. } => "delete the other pod, or ask for another address",
            Self::RequestedReserved { .. } => "ask for another address",
            Self::TwoOfOneFamily { .. } => "ask for at most one IPv4 and one IPv6 address",
            Self::AttachmentHolds { .. } => "delete the attachment (CNI DEL) before adding it with other addresses",
            Self::DuplicateAddress { .. } => "delete one of the two pods; its replacement gets another address",
            Self::BlockLost { .. } => "do not delete IPBlocks by hand; if another node has taken it meanwhile, delete the pods that use it",
        }
        .to_owned()
    }
}

fn pool_list(pools: &[String]) -> String {
    format!("{} {}", if pools.len() == 1 { "IPPool" } else { "IPPools" }, pools.join(", "))
}
