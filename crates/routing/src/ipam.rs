//! Addresses of one node's pods: which blocks the node wants, which address a
//! pod gets. A state machine: the caller brings snapshots, requests and the
//! time, and carries out the claims and releases it is told to.
//!
//! - [`Ipam::update`] with every snapshot; [`Ipam::restore`] once at start,
//!   with what the kernel still holds.
//! - [`Ipam::allocate`] and [`Ipam::release`] for CNI ADD and DEL: memory only.
//! - [`Ipam::block_wishes`] after each of them; the caller creates one of the
//!   candidates and says so with [`Ipam::claimed`]. [`Ipam::releasable`],
//!   [`Ipam::begin_release`] and [`Ipam::released`] are the way back.
//!
//! Times are durations since any fixed moment of a clock that never goes back.
//!
//! **Which addresses are used:** all of a block but the first, which is the
//! node's own (the tunnel device carries it), and but the last of an IPv4 pool.
//! Pods have /32 and /128, so blocks have no broadcast address. Of a block with
//! more than 65,536 addresses the first 65,536 are used.

mod allocate;
mod block;
mod claims;
mod error;
mod node_pod_cidrs;
#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use seaway_model::agent_api::{AttachmentKey, BlockStatus};
use seaway_model::{BlockAllocation, IpBlock, IpPool, NodeName, PodRef, Snapshot};

pub use allocate::AllocationRequest;
use block::Block;
pub use claims::BlockWish;
pub use error::IpamError;
pub use node_pod_cidrs::with_node_pod_cidrs;

/// How long a released address rests unless configured otherwise. Peers may
/// hold connections, DNS answers and policy for it that long.
pub const DEFAULT_COOLDOWN: Duration = Duration::from_secs(30);
/// How long an extra block stays empty before it goes back to the pool, so
/// that a rollout does not take and return blocks all the time.
pub const IDLE_BEFORE_RELEASE: Duration = Duration::from_secs(300);
/// How long a block just claimed may be missing in snapshots: the watch lags
/// by milliseconds, a reconnecting one by seconds.
const CLAIM_CONFIRMATION: Duration = Duration::from_secs(60);

/// The addresses of one node.
#[derive(Debug, Clone)]
pub struct Ipam {
    node: NodeName,
    cooldown: Duration,
    /// Pools this node may take from, disabled ones included.
    pools: BTreeMap<String, IpPool>,
    blocks: BTreeMap<IpNet, OwnedBlock>,
    /// Ranges of the blocks of all nodes.
    taken: BTreeSet<IpNet>,
    /// Blocks given back that snapshots may still show as ours.
    given_back: BTreeSet<IpNet>,
    leases: BTreeMap<AttachmentKey, Lease>,
    /// Released addresses that lie in no block known now, and when they become free.
    resting: BTreeMap<IpAddr, Duration>,
    /// Blocks whose allocations changed since [`Ipam::take_changed_blocks`].
    changed: BTreeSet<IpNet>,
}

/// What an attachment holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// CNI network name.
    pub network: String,
    /// The pod, when known.
    pub pod: Option<PodRef>,
    /// IPv4 first; at most one per family.
    pub addresses: Vec<IpAddr>,
}

#[derive(Debug, Clone)]
struct OwnedBlock {
    pool: String,
    addresses: Block,
    standing: Standing,
    /// Since when nothing is in use or cooling.
    empty_since: Option<Duration>,
}

/// What the API says of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Created by us at this time; no snapshot shows it yet.
    Claimed(Duration),
    /// The last snapshot shows it as ours.
    Confirmed,
    /// Being deleted: no new addresses.
    Releasing,
    /// Pods use it but the API has lost it: no new addresses, claim it again.
    Lost,
}

// === impl Ipam ===

impl Ipam {
    /// The allocator of `node`, which has nothing yet.
    #[must_use]
    pub fn new(node: NodeName, cooldown: Duration) -> Self {
        Self {
            node,
            cooldown,
            pools: BTreeMap::new(),
            blocks: BTreeMap::new(),
            taken: BTreeSet::new(),
            given_back: BTreeSet::new(),
            leases: BTreeMap::new(),
            resting: BTreeMap::new(),
            changed: BTreeSet::new(),
        }
    }

    /// Takes up what the kernel still holds from before a restart. Call before the first
    /// [`Ipam::update`]; returns what cannot be right.
    pub fn restore(&mut self, adopted: impl IntoIterator<Item = (AttachmentKey, Lease)>) -> Vec<IpamError> {
        let mut holders: BTreeMap<IpAddr, AttachmentKey> = BTreeMap::new();
        let mut problems = Vec::new();
        for (key, lease) in adopted {
            for address in &lease.addresses {
                if let Some(other) = holders.insert(*address, key.clone()) {
                    problems.push(IpamError::DuplicateAddress { address: *address, one: other, other: key.clone() });
                }
                if let Some((cidr, block)) = self.blocks.iter_mut().find(|(cidr, _)| cidr.contains(address)) {
                    block.addresses.occupy(*address);
                    self.changed.insert(*cidr);
                }
            }
            self.leases.insert(key, lease);
        }
        problems
    }

    /// Takes note of a new snapshot. `usable_pools` are those without problems
    /// ([`crate::plan::usable_pool_names`]). Returns what is wrong with own blocks.
    pub fn update(&mut self, snapshot: &Snapshot, usable_pools: &[&str], now: Duration) -> Vec<IpamError> {
        let no_labels = BTreeMap::new();
        let labels = snapshot.nodes.get(&self.node).map_or(&no_labels, |node| &node.labels);
        self.pools = usable_pools
            .iter()
            .filter_map(|name| snapshot.pools.get(*name))
            .filter(|pool| pool.node_selector.matches(labels))
            .map(|pool| (pool.name.clone(), pool.clone()))
            .collect();
        self.taken = snapshot.blocks.keys().copied().collect();
        let own: BTreeMap<IpNet, &IpBlock> = snapshot
            .blocks
            .iter()
            .filter(|(_, block)| block.node == self.node)
            .map(|(cidr, block)| (*cidr, block))
            .collect();
        self.given_back.retain(|cidr| own.contains_key(cidr));
        for (cidr, block) in &own {
            if self.given_back.contains(cidr) {
                continue;
            }
            match self.blocks.get_mut(cidr) {
                Some(held) if held.standing == Standing::Releasing => {}
                Some(held) => held.standing = Standing::Confirmed,
                None => self.insert_block(block, snapshot.pools.get(&block.pool), Standing::Confirmed, now),
            }
        }
        self.drop_missing_blocks(&own, now)
    }

    fn drop_missing_blocks(&mut self, own: &BTreeMap<IpNet, &IpBlock>, now: Duration) -> Vec<IpamError> {
        let mut problems = Vec::new();
        let (node, resting) = (&self.node, &mut self.resting);
        self.blocks.retain(|cidr, block| {
            let fresh = matches!(block.standing, Standing::Claimed(at) if now < at + CLAIM_CONFIRMATION);
            if own.contains_key(cidr) || fresh {
                return true;
            }
            if block.addresses.in_use() == 0 {
                resting.extend(block.addresses.resting());
                return false;
            }
            block.standing = Standing::Lost;
            let in_use = block.addresses.in_use();
            problems.push(IpamError::BlockLost { block: *cidr, node: node.clone(), in_use });
            true
        });
        problems
    }

    fn insert_block(&mut self, block: &IpBlock, pool: Option<&IpPool>, standing: Standing, now: Duration) {
        let mut addresses = Block::new(block.cidr);
        addresses.reserve(block.cidr.network());
        if let Some(IpNet::V4(pool)) = pool.map(|pool| pool.cidr) {
            addresses.reserve(IpAddr::V4(pool.broadcast()));
        }
        for address in self.leases.values().flat_map(|lease| &lease.addresses) {
            if addresses.occupy(*address) {
                self.changed.insert(block.cidr);
            }
        }
        self.resting.retain(|_, free_at| now < *free_at);
        self.resting.retain(|address, free_at| !addresses.cool(*address, *free_at));
        let empty_since = (addresses.in_use() + addresses.cooling() == 0).then_some(now);
        self.blocks.insert(block.cidr, OwnedBlock { pool: block.pool.clone(), addresses, standing, empty_since });
    }

    /// What `key` holds.
    #[must_use]
    pub fn lease(&self, key: &AttachmentKey) -> Option<&Lease> {
        self.leases.get(key)
    }

    /// All attachments and what they hold.
    pub fn leases(&self) -> impl Iterator<Item = (&AttachmentKey, &Lease)> {
        self.leases.iter()
    }

    /// Own blocks whose allocations changed since the last call: their record in the API is stale.
    pub fn take_changed_blocks(&mut self) -> BTreeSet<IpNet> {
        std::mem::take(&mut self.changed)
    }

    /// What pods hold of a block, by address: the record for the API.
    #[must_use]
    pub fn allocations(&self, block: &IpNet) -> Vec<BlockAllocation> {
        let mut found: Vec<BlockAllocation> = self
            .leases
            .iter()
            .flat_map(|(key, lease)| lease.addresses.iter().map(move |address| (key, lease, *address)))
            .filter(|(_, _, address)| block.contains(address))
            .map(|(key, lease, address)| BlockAllocation { address, key: key.clone(), pod: lease.pod.clone() })
            .collect();
        found.sort();
        found
    }

    /// Own blocks and how full they are.
    #[must_use]
    pub fn block_status(&self) -> Vec<BlockStatus> {
        let status = |(cidr, block): (&IpNet, &OwnedBlock)| BlockStatus {
            cidr: *cidr,
            pool: block.pool.clone(),
            used: u64::from(block.addresses.in_use() + block.addresses.cooling()),
            total: u64::from(block.addresses.capacity()),
        };
        self.blocks.iter().map(status).collect()
    }
}

// === impl OwnedBlock ===

impl OwnedBlock {
    fn gives_addresses(&self) -> bool {
        matches!(self.standing, Standing::Claimed(_) | Standing::Confirmed)
    }
}
