//! What a node's network must look like, as plain values.
//!
//! `network_plan` makes a [`NetworkPlan`] from the snapshot; `datapath` makes
//! the kernel look like it.

use std::net::IpAddr;

use ipnet::IpNet;
use seaway_model::{MacAddress, NodeName};

/// What the host has: the device that carries traffic between nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Underlay {
    /// Name of the device.
    pub device: String,
    /// Its index.
    pub index: u32,
    /// Its MTU in bytes.
    pub mtu_bytes: u32,
    /// Its addresses with their on-link prefixes.
    pub addresses: Vec<IpNet>,
}

/// What the operator chose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkOptions {
    /// UDP port of the tunnel.
    pub vxlan_port: u16,
    /// VXLAN network identifier.
    pub vxlan_id: u32,
    /// Destinations that see pod addresses, beside pools and nodes.
    pub non_masquerade: Vec<IpNet>,
    /// MTU in bytes of the underlay, when it must not be detected.
    pub mtu_bytes: Option<u32>,
    /// Ranges of Service addresses.
    pub service_cidrs: Vec<IpNet>,
}

/// The network of one node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkPlan {
    /// The tunnel device, when any pool needs one.
    pub tunnel: Option<TunnelPlan>,
    /// Routes to blocks of other nodes.
    pub routes: Vec<BlockRoute>,
    /// Blocks of this node.
    pub local_blocks: Vec<LocalBlock>,
    /// Whose packets get the node's address on the way out.
    pub masquerade: MasqueradePlan,
    /// MTU in bytes of pod interfaces.
    pub pod_mtu_bytes: u32,
    /// Nodes whose tunneled packets are accepted.
    pub trusted_tunnel_peers: Vec<IpAddr>,
}

/// The VXLAN device and who is behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelPlan {
    /// VXLAN network identifier.
    pub id: u32,
    /// UDP port.
    pub port: u16,
    /// Outer source address.
    pub local: IpAddr,
    /// MAC of the device.
    pub mac: MacAddress,
    /// MTU in bytes of the device.
    pub mtu_bytes: u32,
    /// Addresses of the device.
    pub device_addresses: Vec<IpNet>,
    /// Other ends.
    pub peers: Vec<TunnelPeer>,
}

/// Another node's end of the tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelPeer {
    /// The node.
    pub node: NodeName,
    /// Outer destination address.
    pub underlay_address: IpAddr,
    /// MAC of its tunnel device.
    pub mac: MacAddress,
    /// Addresses that routes name as next hop, all resolving to `mac`.
    pub next_hops: Vec<IpAddr>,
}

/// A route to a block of another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockRoute {
    /// The block.
    pub destination: IpNet,
    /// How it is reached.
    pub via: Via,
    /// Largest packet in bytes.
    pub mtu_bytes: u32,
    /// The object that asks for the route, for people.
    pub cause: String,
}

/// How a block is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Via {
    /// Through the tunnel.
    Tunnel {
        /// Next hop on the tunnel device.
        next_hop: IpAddr,
        /// MAC of the node's tunnel device.
        mac: MacAddress,
    },
    /// Through the underlay.
    Direct {
        /// The node.
        next_hop: IpAddr,
    },
}

/// A block of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalBlock {
    /// Range.
    pub cidr: IpNet,
    /// Name of its pool.
    pub pool: String,
}

/// Source address translation for what leaves the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MasqueradePlan {
    /// Sources whose address is replaced.
    pub sources: Vec<IpNet>,
    /// Destinations that see the pod's address all the same.
    pub except_destinations: Vec<IpNet>,
}
