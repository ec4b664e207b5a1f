//! What can be wrong with a plan's input.

use std::net::IpAddr;

use ipnet::IpNet;
use seaway_model::{Diagnose, ErrorId, NodeName};

/// Why something is not in the plan, or why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The API does not know this node.
    #[error("node {node} is not among the cluster's nodes, so its network cannot be planned")]
    UnknownNode {
        /// This node.
        node: NodeName,
    },
    /// The node has no `InternalIP`.
    #[error("node {node} has no InternalIP in status.addresses, so it has no end for the tunnel")]
    NodeWithoutAddress {
        /// This node.
        node: NodeName,
    },
    /// A peer lacks an address of the tunnel's family.
    #[error("node {node} has no {family} InternalIP in status.addresses, so the tunnel cannot reach it")]
    PeerWithoutAddress {
        /// The peer.
        node: NodeName,
        /// `IPv4` or `IPv6`.
        family: &'static str,
    },
    /// The MTU is too small to be of use.
    #[error(
        "pod MTU of {mtu_bytes} bytes is below the minimum of {minimum_bytes}{}: device {device} has {underlay_mtu_bytes}",
        pool.as_ref().map(|pool| format!(" that IPv6 (IPPool {pool}) needs")).unwrap_or_default()
    )]
    MtuTooSmall {
        /// What pods would get.
        mtu_bytes: u32,
        /// What they need.
        minimum_bytes: u32,
        /// Underlay device.
        device: String,
        /// Its MTU.
        underlay_mtu_bytes: u32,
        /// The IPv6 pool that needs more.
        pool: Option<String>,
    },
    /// The configured MTU does not fit the underlay.
    #[error("configured mtu of {mtu_bytes} bytes is more than the {fitting_bytes} that fit through device {device}")]
    MtuTooLarge {
        /// What was asked for.
        mtu_bytes: u32,
        /// What fits.
        fitting_bytes: u32,
        /// Underlay device.
        device: String,
    },
    /// The range holds no addresses a pod can have.
    #[error("IPPool {pool}: spec.cidr {cidr} is not a range of unicast addresses")]
    PoolNotUnicast {
        /// The pool.
        pool: String,
        /// Its range.
        cidr: IpNet,
    },
    /// Block prefix length out of range.
    #[error("IPPool {pool}: spec.blockPrefixLength {block_prefix_length} is not between {shortest} and {longest}")]
    WrongBlockSize {
        /// The pool.
        pool: String,
        /// What it says.
        block_prefix_length: u8,
        /// Least.
        shortest: u8,
        /// Most.
        longest: u8,
    },
    /// Not one block fits.
    #[error(
        "IPPool {pool}: spec.cidr {cidr} is smaller than one block of /{block_prefix_length} (spec.blockPrefixLength)"
    )]
    PoolTooSmall {
        /// The pool.
        pool: String,
        /// Its range.
        cidr: IpNet,
        /// Its block size.
        block_prefix_length: u8,
    },
    /// Pods and underlay would share addresses.
    #[error("IPPool {pool}: spec.cidr {cidr} overlaps {prefix}, the subnet this node itself is on")]
    PoolOverlapsUnderlay {
        /// The pool.
        pool: String,
        /// Its range.
        cidr: IpNet,
        /// The underlay's subnet.
        prefix: IpNet,
    },
    /// Pods and Services would share addresses.
    #[error("IPPool {pool}: spec.cidr {cidr} overlaps the Service range {service_cidr}")]
    PoolOverlapsServices {
        /// The pool.
        pool: String,
        /// Its range.
        cidr: IpNet,
        /// The Service range.
        service_cidr: IpNet,
    },
    /// A node's address lies in the pool.
    #[error("IPPool {pool}: spec.cidr {cidr} holds {address}, the address of node {node}")]
    PoolHoldsNode {
        /// The pool.
        pool: String,
        /// Its range.
        cidr: IpNet,
        /// The node.
        node: NodeName,
        /// Its address.
        address: IpAddr,
    },
    /// Two pools share addresses.
    #[error("IPPool {pool}: spec.cidr {cidr} overlaps {other_cidr} of IPPool {other}, which stays in force")]
    PoolsOverlap {
        /// The pool left out.
        pool: String,
        /// Its range.
        cidr: IpNet,
        /// The pool that stays.
        other: String,
        /// Its range.
        other_cidr: IpNet,
    },
    /// A block without its pool.
    #[error("IPBlock {block}: IPPool {pool} (spec.pool) does not exist, so nobody knows how to reach it")]
    BlockWithoutPool {
        /// The block.
        block: IpNet,
        /// The missing pool.
        pool: String,
    },
    /// A block that its pool cannot have produced.
    #[error("IPBlock {block} is not a /{block_prefix_length} block of {cidr} (IPPool {pool})")]
    BlockOutsidePool {
        /// The block.
        block: IpNet,
        /// Its pool.
        pool: String,
        /// The pool's range.
        cidr: IpNet,
        /// The pool's block size.
        block_prefix_length: u8,
    },
    /// The owner of a block is gone.
    #[error("IPBlock {block} belongs to node {node}, which does not exist")]
    BlockOfUnknownNode {
        /// The block.
        block: IpNet,
        /// The missing node.
        node: NodeName,
    },
}

// === impl PlanError ===

impl PlanError {
    /// The pool that is left out, when it is one.
    #[must_use]
    pub fn pool(&self) -> Option<&str> {
        match self {
            Self::PoolNotUnicast { pool, .. }
            | Self::WrongBlockSize { pool, .. }
            | Self::PoolTooSmall { pool, .. }
            | Self::PoolOverlapsUnderlay { pool, .. }
            | Self::PoolOverlapsServices { pool, .. }
            | Self::PoolHoldsNode { pool, .. }
            | Self::PoolsOverlap { pool, .. } => Some(pool),
            _ => None,
        }
    }
}

impl Diagnose for PlanError {
    fn id(&self) -> ErrorId {
        ErrorId(match self {
            Self::UnknownNode { .. } => 200,
            Self::NodeWithoutAddress { .. } => 201,
            Self::PeerWithoutAddress { .. } => 202,
            Self::MtuTooSmall { .. } => 203,
            Self::MtuTooLarge { .. } => 204,
            Self::PoolNotUnicast { .. } => 205,
            Self::WrongBlockSize { .. } => 206,
            Self::PoolTooSmall { .. } => 207,
            Self::PoolOverlapsUnderlay { .. } => 208,
            Self::PoolOverlapsServices { .. } => 209,
            Self::PoolHoldsNode { .. } => 210,
            Self::PoolsOverlap { .. } => 211,
            Self::BlockWithoutPool { .. } => 212,
            Self::BlockOutsidePool { .. } => 213,
            Self::BlockOfUnknownNode { .. } => 214,
        })
    }

    fn fix(&self) -> String {
        match self {
            Self::UnknownNode { node } => {
                format!(
                    "check that the agent's node name equals `metadata.name` of the Node: `kubectl get node {node}`"
                )
            }
            Self::NodeWithoutAddress { .. } => {
                "set the kubelet's --node-ip, or let the cloud provider fill in the address".into()
            }
            Self::PeerWithoutAddress { family, .. } => {
                format!("give the node an {family} address (kubelet --node-ip), or all nodes the same families")
            }
            Self::MtuTooSmall { .. } => "raise the MTU of the underlay device, or remove the IPv6 pool".into(),
            Self::MtuTooLarge { fitting_bytes, .. } => {
                format!(
                    "set `mtuBytes` to at most {fitting_bytes}, or leave it out; until then large packets are fragmented or lost"
                )
            }
            Self::PoolNotUnicast { .. } => "use a private range, as 10.244.0.0/16 or fd00:10:244::/48".into(),
            Self::WrongBlockSize { .. } => {
                "create the pool anew with a block size in that range (26 and 122 are usual)".into()
            }
            Self::PoolTooSmall { .. } => "create the pool anew with a larger range or smaller blocks".into(),
            Self::PoolOverlapsUnderlay { .. } | Self::PoolOverlapsServices { .. } | Self::PoolHoldsNode { .. } => {
                "delete the pool and create it with a range that nothing else uses; the other pools stay in force"
                    .into()
            }
            Self::PoolsOverlap { .. } => "delete one of the two pools, or create it anew with another range".into(),
            Self::BlockWithoutPool { pool, .. } => {
                format!("create IPPool {pool} again, or delete the block when no pod uses it")
            }
            Self::BlockOutsidePool { .. } => "delete the block when no pod uses it; the node takes another".into(),
            Self::BlockOfUnknownNode { .. } => {
                "none needed: the controller deletes the block after its grace period".into()
            }
        }
    }
}
