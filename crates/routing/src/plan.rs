//! What one node's network should look like: tunnel peers, routes to the
//! blocks of other nodes, own blocks, masquerading, MTU.
//!
//! Entry points: [`network_plan`] and, for what had to be left out of it,
//! [`plan_problems`]. Both are pure; the same input gives the same plan.

mod error;
mod mac;
mod pools;
#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use seaway_model::{Encapsulation, IpBlock, IpPool, MacAddress, Node, NodeName, Snapshot};
use serde::Serialize;

pub use error::PlanError;
pub(crate) use mac::fnv1a;
pub use mac::tunnel_mac;

/// Bytes that VXLAN adds over IPv4: outer Ethernet payload of IP 20, UDP 8, VXLAN 8, inner Ethernet 14 (RFC 7348 §5).
pub const VXLAN_OVERHEAD_IPV4_BYTES: u32 = 50;
/// Bytes that VXLAN adds over IPv6, whose header is 40 bytes.
pub const VXLAN_OVERHEAD_IPV6_BYTES: u32 = 70;
/// Smallest MTU IPv6 allows (RFC 8200 §5).
pub const MINIMUM_IPV6_MTU_BYTES: u32 = 1280;
/// Smallest datagram every IPv4 host accepts (RFC 791 §3.1); below it a pod network is of no use.
pub const MINIMUM_IPV4_MTU_BYTES: u32 = 576;

/// The network that carries the cluster, as this host sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Underlay {
    /// Interface name.
    pub device: String,
    /// Interface index.
    pub index: u32,
    /// MTU in bytes.
    pub mtu_bytes: u32,
    /// Addresses with the prefix length of their subnet.
    pub addresses: Vec<IpNet>,
    /// MTU in bytes of the way to an address, where a router on it has told of a smaller one.
    pub path_mtus_bytes: BTreeMap<IpAddr, u32>,
}

/// Choices that are not in the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NetworkOptions {
    /// UDP port of VXLAN.
    pub vxlan_port: u16,
    /// VXLAN network identifier.
    pub vxlan_id: u32,
    /// Further destinations that see the pod's own address.
    pub non_masquerade: Vec<IpNet>,
    /// MTU in bytes of pod links; `None`: what the underlay allows.
    pub mtu_bytes: Option<u32>,
    /// Ranges of Service addresses, which no pool may overlap.
    pub service_cidrs: Vec<IpNet>,
}

/// Everything that the data path of one node needs to know about the others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct NetworkPlan {
    /// The VXLAN device; `None`: no pool uses one.
    pub tunnel: Option<TunnelPlan>,
    /// Routes to blocks of other nodes, by destination.
    pub routes: Vec<BlockRoute>,
    /// Blocks of this node, by range.
    pub local_blocks: Vec<LocalBlock>,
    /// Which packets get the node's address.
    pub masquerade: MasqueradePlan,
    /// MTU in bytes of pod links.
    pub pod_mtu_bytes: u32,
    /// Underlay addresses that may send us tunneled packets.
    pub trusted_tunnel_peers: Vec<IpAddr>,
}

/// The VXLAN device and who is behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TunnelPlan {
    /// VXLAN network identifier.
    pub id: u32,
    /// UDP port.
    pub port: u16,
    /// Outer source address: this node's.
    pub local: IpAddr,
    /// MAC of the device.
    pub mac: MacAddress,
    /// MTU in bytes of the device.
    pub mtu_bytes: u32,
    /// Addresses of the device (/32, /128): the first of each own block. They are the node's
    /// own (never a pod's), so that what the node sends to remote pods is answered through the tunnel.
    pub device_addresses: Vec<IpNet>,
    /// The other nodes, by name.
    pub peers: Vec<TunnelPeer>,
}

/// Another node's end of the tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TunnelPeer {
    /// Which node.
    pub node: NodeName,
    /// Outer destination.
    pub underlay_address: IpAddr,
    /// MAC of its device.
    pub mac: MacAddress,
    /// Addresses that routes name as next hop on the device; each needs a permanent neighbor entry to `mac`.
    pub next_hops: Vec<IpAddr>,
}

/// A route to a block of another node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BlockRoute {
    /// The block.
    pub destination: IpNet,
    /// How.
    pub via: Via,
    /// Largest packet in bytes that fits without fragmentation.
    pub mtu_bytes: u32,
    /// The object that caused it, for people.
    pub cause: String,
}

/// How a remote block is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum Via {
    /// In VXLAN. The next hop is IPv6 for an IPv4 block only where the remote node has no IPv4 address.
    Tunnel {
        /// Address of the peer on the device.
        next_hop: IpAddr,
        /// MAC of the peer's device.
        mac: MacAddress,
    },
    /// As it is, to a neighbor on the underlay.
    Direct {
        /// The remote node.
        next_hop: IpAddr,
    },
}

/// A block of this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LocalBlock {
    /// The range.
    pub cidr: IpNet,
    /// Its pool.
    pub pool: String,
}

/// Source NAT of what leaves the cluster. Ranges are sorted and disjoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct MasqueradePlan {
    /// Own blocks of pools that masquerade.
    pub sources: Vec<IpNet>,
    /// Destinations that see the pod's address: pools, nodes, configured ranges.
    pub except_destinations: Vec<IpNet>,
}

/// Plans the network of `node`.
///
/// Objects that make no sense are left out, so that the others stay in force;
/// [`plan_problems`] names them. Fails only when nothing sensible can be planned;
/// the caller then keeps the plan it has.
pub fn network_plan(
    snapshot: &Snapshot,
    node: &NodeName,
    underlay: &Underlay,
    options: &NetworkOptions,
) -> Result<NetworkPlan, PlanError> {
    Planner::new(snapshot, node, underlay, options)?.plan(&mut Vec::new())
}

/// What [`network_plan`] leaves out of the plan, and why.
#[must_use]
pub fn plan_problems(
    snapshot: &Snapshot,
    node: &NodeName,
    underlay: &Underlay,
    options: &NetworkOptions,
) -> Vec<PlanError> {
    let (_, mut problems) = pools::usable_pools(snapshot, &underlay.addresses, &options.service_cidrs);
    let planned = Planner::new(snapshot, node, underlay, options).and_then(|planner| planner.plan(&mut problems));
    problems.extend(planned.err());
    problems
}

/// Names of the pools of `snapshot` that may be used.
#[must_use]
pub fn usable_pool_names<'a>(snapshot: &'a Snapshot, underlay: &Underlay, options: &NetworkOptions) -> Vec<&'a str> {
    pools::usable_pools(snapshot, &underlay.addresses, &options.service_cidrs).0.into_keys().collect()
}

/// Why pools of `snapshot` are not in force anywhere, by pool: what can be said without looking from one node.
#[must_use]
pub fn pool_problems(snapshot: &Snapshot, service_cidrs: &[IpNet]) -> Vec<(String, PlanError)> {
    let (_, problems) = pools::usable_pools(snapshot, &[], service_cidrs);
    problems.into_iter().filter_map(|problem| Some((problem.pool()?.to_owned(), problem))).collect()
}

struct Planner<'a> {
    snapshot: &'a Snapshot,
    name: &'a NodeName,
    node: &'a Node,
    underlay: &'a Underlay,
    options: &'a NetworkOptions,
    pools: BTreeMap<&'a str, &'a IpPool>,
}

/// This node's end of the tunnel.
#[derive(Clone, Copy)]
struct TunnelEnd {
    local: IpAddr,
    mtu_bytes: u32,
}

// === impl Planner ===

impl<'a> Planner<'a> {
    fn new(
        snapshot: &'a Snapshot,
        name: &'a NodeName,
        underlay: &'a Underlay,
        options: &'a NetworkOptions,
    ) -> Result<Self, PlanError> {
        let node = snapshot.nodes.get(name).ok_or_else(|| PlanError::UnknownNode { node: name.clone() })?;
        let (pools, _) = pools::usable_pools(snapshot, &underlay.addresses, &options.service_cidrs);
        Ok(Self { snapshot, name, node, underlay, options, pools })
    }

    fn plan(&self, problems: &mut Vec<PlanError>) -> Result<NetworkPlan, PlanError> {
        let end = self.tunnel_end()?;
        let pod_mtu_bytes = self.pod_mtu_bytes(end, problems)?;
        let local_blocks = self.local_blocks(problems);
        let tunnel = end.map(|end| self.tunnel(end, &local_blocks, problems));
        let routes = self.routes(tunnel.as_ref(), problems);
        let trusted_tunnel_peers =
            tunnel.iter().flat_map(|tunnel| tunnel.peers.iter().map(|peer| peer.underlay_address)).collect();
        let masquerade = self.masquerade(&local_blocks);
        Ok(NetworkPlan { tunnel, routes, local_blocks, masquerade, pod_mtu_bytes, trusted_tunnel_peers })
    }

    /// The tunnel runs over IPv4 where this node has an IPv4 address, else over IPv6.
    fn tunnel_end(&self) -> Result<Option<TunnelEnd>, PlanError> {
        if self.pools.values().all(|pool| pool.encapsulation == Encapsulation::None) {
            return Ok(None);
        }
        let local = self
            .node
            .addresses
            .iter()
            .find(|address| address.is_ipv4())
            .or(self.node.addresses.first())
            .copied()
            .ok_or_else(|| PlanError::NodeWithoutAddress { node: self.name.clone() })?;
        let mtu_bytes = self.underlay.mtu_bytes.saturating_sub(vxlan_overhead_bytes(local));
        Ok(Some(TunnelEnd { local, mtu_bytes }))
    }

    fn pod_mtu_bytes(&self, end: Option<TunnelEnd>, problems: &mut Vec<PlanError>) -> Result<u32, PlanError> {
        let fitting = end.map_or(self.underlay.mtu_bytes, |end| end.mtu_bytes);
        let mtu_bytes = self.options.mtu_bytes.unwrap_or(fitting);
        let ipv6_pool = self.pools.values().find(|pool| pool.cidr.addr().is_ipv6());
        let minimum_bytes = if ipv6_pool.is_some() { MINIMUM_IPV6_MTU_BYTES } else { MINIMUM_IPV4_MTU_BYTES };
        if mtu_bytes < minimum_bytes {
            return Err(PlanError::MtuTooSmall {
                mtu_bytes,
                minimum_bytes,
                device: self.underlay.device.clone(),
                underlay_mtu_bytes: self.underlay.mtu_bytes,
                pool: ipv6_pool.map(|pool| pool.name.clone()),
            });
        }
        if mtu_bytes > fitting {
            let device = self.underlay.device.clone();
            problems.push(PlanError::MtuTooLarge { mtu_bytes, fitting_bytes: fitting, device });
        }
        Ok(mtu_bytes)
    }

    fn blocks(&self, problems: &mut Vec<PlanError>, own: bool) -> Vec<(&'a IpBlock, &'a IpPool)> {
        let mut found = Vec::new();
        for block in self.snapshot.blocks.values().filter(|block| (block.node == *self.name) == own) {
            let Some(pool) = self.pools.get(block.pool.as_str()) else {
                // A pool that is there but bad has its own problem already.
                if !self.snapshot.pools.contains_key(&block.pool) {
                    problems.push(PlanError::BlockWithoutPool { block: block.cidr, pool: block.pool.clone() });
                }
                continue;
            };
            if pool.cidr.contains(&block.cidr) && block.cidr.prefix_len() == pool.block_prefix_length {
                found.push((block, *pool));
            } else {
                problems.push(PlanError::BlockOutsidePool {
                    block: block.cidr,
                    pool: pool.name.clone(),
                    cidr: pool.cidr,
                    block_prefix_length: pool.block_prefix_length,
                });
            }
        }
        found
    }

    fn local_blocks(&self, problems: &mut Vec<PlanError>) -> Vec<LocalBlock> {
        let own = self.blocks(problems, true);
        own.into_iter().map(|(block, pool)| LocalBlock { cidr: block.cidr, pool: pool.name.clone() }).collect()
    }

    fn tunnel(&self, end: TunnelEnd, local_blocks: &[LocalBlock], problems: &mut Vec<PlanError>) -> TunnelPlan {
        let others = self.snapshot.nodes.iter().filter(|(name, _)| *name != self.name);
        let mut peers = Vec::new();
        for (name, node) in others {
            let Some(underlay_address) = node.address_like(&end.local) else {
                let family = if end.local.is_ipv4() { "IPv4" } else { "IPv6" };
                problems.push(PlanError::PeerWithoutAddress { node: name.clone(), family });
                continue;
            };
            let mut next_hops: Vec<IpAddr> =
                self.tunneled_families().map(|v6| tunnel_next_hop(node, underlay_address, v6)).collect();
            next_hops.dedup();
            peers.push(TunnelPeer {
                node: name.clone(),
                underlay_address,
                mac: tunnel_mac(underlay_address),
                next_hops,
            });
        }
        let tunneled = local_blocks.iter().filter(|block| {
            self.pools.get(block.pool.as_str()).is_some_and(|pool| pool.encapsulation != Encapsulation::None)
        });
        TunnelPlan {
            id: self.options.vxlan_id,
            port: self.options.vxlan_port,
            local: end.local,
            mac: tunnel_mac(end.local),
            mtu_bytes: end.mtu_bytes,
            device_addresses: tunneled.map(|block| IpNet::from(block.cidr.network())).collect(),
            peers,
        }
    }

    /// `false` (IPv4) and `true` (IPv6), as far as tunneled pools have them.
    fn tunneled_families(&self) -> impl Iterator<Item = bool> {
        [false, true].into_iter().filter(|v6| {
            self.pools.values().any(|p| p.encapsulation != Encapsulation::None && p.cidr.addr().is_ipv6() == *v6)
        })
    }

    fn routes(&self, tunnel: Option<&TunnelPlan>, problems: &mut Vec<PlanError>) -> Vec<BlockRoute> {
        let remote = self.blocks(problems, false);
        let mut routes = Vec::with_capacity(remote.len());
        for (block, pool) in remote {
            let Some(node) = self.snapshot.nodes.get(&block.node) else {
                problems.push(PlanError::BlockOfUnknownNode { block: block.cidr, node: block.node.clone() });
                continue;
            };
            let Some((via, mtu_bytes)) = self.via(block, pool, node, tunnel) else { continue };
            let cause = format!("IPBlock {} of node {} (IPPool {})", block.cidr, block.node, pool.name);
            routes.push(BlockRoute { destination: block.cidr, via, mtu_bytes, cause });
        }
        routes
    }

    /// `None` where the fabric must know the way, or the peer has no usable address (a problem of its own).
    fn via(&self, block: &IpBlock, pool: &IpPool, node: &Node, tunnel: Option<&TunnelPlan>) -> Option<(Via, u32)> {
        let neighbor = node
            .address_like(&block.cidr.addr())
            .filter(|address| self.underlay.addresses.iter().any(|prefix| prefix.contains(address)));
        let direct = neighbor.map(|next_hop| (Via::Direct { next_hop }, self.underlay.mtu_bytes));
        let tunneled = || {
            let tunnel = tunnel?;
            let place = tunnel.peers.binary_search_by(|peer| peer.node.cmp(&block.node)).ok()?;
            let peer = tunnel.peers.get(place)?;
            let next_hop = tunnel_next_hop(node, peer.underlay_address, block.cidr.addr().is_ipv6());
            let mtu_bytes = self.tunneled_mtu_bytes(tunnel, peer.underlay_address, block.cidr.addr().is_ipv6());
            Some((Via::Tunnel { next_hop, mac: peer.mac }, mtu_bytes))
        };
        match pool.encapsulation {
            Encapsulation::None => direct,
            Encapsulation::Vxlan => tunneled(),
            Encapsulation::CrossSubnet => direct.or_else(tunneled),
        }
    }

    /// What fits into the tunnel to a peer: less than elsewhere where the way is narrower. The
    /// routers on it tell this node, not the pod that they do not see (RFC 2473 §7.1).
    fn tunneled_mtu_bytes(&self, tunnel: &TunnelPlan, peer: IpAddr, ipv6: bool) -> u32 {
        let minimum_bytes = if ipv6 { MINIMUM_IPV6_MTU_BYTES } else { MINIMUM_IPV4_MTU_BYTES };
        let overhead = vxlan_overhead_bytes(tunnel.local);
        match self.underlay.path_mtus_bytes.get(&peer) {
            Some(path) => path.saturating_sub(overhead).max(minimum_bytes).min(tunnel.mtu_bytes),
            None => tunnel.mtu_bytes,
        }
    }

    fn masquerade(&self, local_blocks: &[LocalBlock]) -> MasqueradePlan {
        let masquerading = |block: &&LocalBlock| self.pools.get(block.pool.as_str()).is_some_and(|p| p.masquerade);
        let sources: Vec<IpNet> = local_blocks.iter().filter(masquerading).map(|block| block.cidr).collect();
        let pools = self.pools.values().map(|pool| pool.cidr);
        let nodes = self.snapshot.nodes.values().flat_map(|node| node.addresses.iter().copied().map(IpNet::from));
        let configured = self.options.non_masquerade.iter().copied();
        let except: Vec<IpNet> = pools.chain(nodes).chain(configured).map(|net| net.trunc()).collect();
        MasqueradePlan { sources: IpNet::aggregate(&sources), except_destinations: IpNet::aggregate(&except) }
    }
}

/// What VXLAN adds, by the family of its ends.
fn vxlan_overhead_bytes(end: IpAddr) -> u32 {
    if end.is_ipv4() { VXLAN_OVERHEAD_IPV4_BYTES } else { VXLAN_OVERHEAD_IPV6_BYTES }
}

/// The address under which the peer is known on the tunnel device: its own of the wanted family; for
/// IPv6 without one, a link-local address made from its IPv4 address; else its underlay address.
fn tunnel_next_hop(node: &Node, underlay_address: IpAddr, ipv6: bool) -> IpAddr {
    let own = node.addresses.iter().copied().find(|address| address.is_ipv6() == ipv6);
    match (own, underlay_address) {
        (Some(address), _) => address,
        (None, IpAddr::V4(v4)) if ipv6 => {
            let [a, b, c, d] = v4.octets();
            IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
        }
        (None, address) => address,
    }
}
