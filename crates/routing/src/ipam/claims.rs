//! Which blocks the node takes from the pools, and which it gives back.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::IpNet;
use seaway_model::{IpBlock, IpPool};

use super::{IDLE_BEFORE_RELEASE, Ipam, IpamError, OwnedBlock, Standing};
use crate::plan::fnv1a;

/// How many candidates a wish names: with that many nodes racing for the same block, one still gets its own.
const CANDIDATES: usize = 16;

/// A block the node wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockWish {
    /// Pool to take it from.
    pub pool: String,
    /// Ranges that were free in the last snapshot, to be tried in this order.
    pub candidates: Vec<IpNet>,
}

// === impl Ipam ===

impl Ipam {
    /// Blocks to claim now: those that pods use but the API has lost, and one of each pool of which
    /// less than half a block is left. Claiming ahead keeps the API out of the way of ADD.
    #[must_use]
    pub fn block_wishes(&self) -> Vec<BlockWish> {
        let lost = self.blocks.iter().filter(|(_, block)| block.standing == Standing::Lost);
        let mut wishes: Vec<BlockWish> =
            lost.map(|(cidr, block)| BlockWish { pool: block.pool.clone(), candidates: vec![*cidr] }).collect();
        for pool in self.pools.values().filter(|pool| self.runs_low(pool)) {
            let candidates = self.candidates(pool);
            if !candidates.is_empty() {
                wishes.push(BlockWish { pool: pool.name.clone(), candidates });
            }
        }
        wishes
    }

    /// Whether `block` is one of ours, be it that the API has lost it.
    #[must_use]
    pub fn holds(&self, block: &IpNet) -> bool {
        self.blocks.contains_key(block)
    }

    /// The API made `block` ours.
    pub fn claimed(&mut self, block: &IpBlock, now: Duration) {
        self.given_back.remove(&block.cidr);
        self.taken.insert(block.cidr);
        match self.blocks.get_mut(&block.cidr) {
            Some(held) => held.standing = Standing::Claimed(now),
            None => {
                let pool = self.pools.get(&block.pool).cloned();
                self.insert_block(block, pool.as_ref(), Standing::Claimed(now), now);
            }
        }
    }

    /// The API says that `block` belongs to another node: it is no candidate until the next snapshot.
    pub fn taken_by_other(&mut self, block: IpNet) {
        self.taken.insert(block);
    }

    /// Empty blocks beyond need, and those whose deletion was begun: to be deleted after [`Ipam::begin_release`].
    #[must_use]
    pub fn releasable(&self, now: Duration) -> Vec<IpNet> {
        let mut found = Vec::new();
        for (cidr, block) in &self.blocks {
            // Of a pool that gives nothing, nobody will want the block again.
            let disabled = self.pools.get(&block.pool).is_some_and(|pool| pool.disabled);
            let patience = if disabled { Duration::ZERO } else { IDLE_BEFORE_RELEASE };
            let idle = block.empty_since.is_some_and(|since| now >= since + patience);
            let releasing = block.standing == Standing::Releasing;
            let extra = block.standing == Standing::Confirmed && idle && self.is_extra(cidr, block);
            if releasing || extra {
                found.push(*cidr);
                if !releasing {
                    // One at a time per look: whether the next is extra depends on this one.
                    break;
                }
            }
        }
        found
    }

    /// From now on the block gives no addresses; false when it is in use and must stay.
    pub fn begin_release(&mut self, block: &IpNet) -> bool {
        let Some(held) = self.blocks.get_mut(block) else { return false };
        if held.addresses.in_use() + held.addresses.cooling() > 0 {
            return false;
        }
        held.standing = Standing::Releasing;
        true
    }

    /// The API has deleted the block.
    pub fn released(&mut self, block: &IpNet) {
        if self.blocks.remove(block).is_some() {
            self.given_back.insert(*block);
            self.changed.remove(block);
        }
    }

    /// Pools that this node cannot take another block of while it runs low: the signal before pods fail.
    #[must_use]
    pub fn nearly_exhausted(&self) -> Vec<IpamError> {
        let short = self.pools.values().filter(|pool| self.runs_low(pool) && self.candidates(pool).is_empty());
        short
            .map(|pool| IpamError::NearlyExhausted {
                pool: pool.name.clone(),
                node: self.node.clone(),
                free: self.free(&pool.name),
            })
            .collect()
    }

    fn runs_low(&self, pool: &IpPool) -> bool {
        !pool.disabled && self.free(&pool.name) < (block_size(pool) / 2).max(1)
    }

    fn is_extra(&self, cidr: &IpNet, block: &OwnedBlock) -> bool {
        let Some(pool) = self.pools.get(&block.pool).filter(|pool| !pool.disabled) else { return true };
        let others = self.blocks.iter().filter(|(other, held)| *other != cidr && held.pool == block.pool);
        let left: u64 = others.filter(|(_, b)| b.gives_addresses()).map(|(_, b)| u64::from(b.addresses.free())).sum();
        // Well above the mark at which a block is claimed, or both would alternate.
        left + 2 >= block_size(pool)
    }

    fn free(&self, pool: &str) -> u64 {
        let giving = self.blocks.values().filter(|block| block.pool == pool && block.gives_addresses());
        giving.map(|block| u64::from(block.addresses.free())).sum()
    }

    /// Unclaimed ranges of the pool, from a place that depends on the node, so that nodes seldom race.
    pub(super) fn candidates(&self, pool: &IpPool) -> Vec<IpNet> {
        let count = block_count(pool);
        let start = u128::from(fnv1a(self.node.as_str().as_bytes())) % count;
        let mut found = Vec::new();
        let taken_in_pool = self.taken.iter().filter(|cidr| pool.cidr.contains(*cidr)).count() as u128;
        let looks = count.min(taken_in_pool + self.blocks.len() as u128 + CANDIDATES as u128);
        for step in 0..looks {
            let Some(cidr) = nth_block(pool, (start + step) % count) else { continue };
            if !self.taken.contains(&cidr) && !self.blocks.contains_key(&cidr) {
                found.push(cidr);
                if found.len() == CANDIDATES {
                    break;
                }
            }
        }
        found
    }
}

/// Addresses of one block, as far as they are used.
fn block_size(pool: &IpPool) -> u64 {
    1 << (pool.cidr.max_prefix_len() - pool.block_prefix_length).min(16)
}

/// Blocks of the pool: at most 2^64, as IPv6 pools are at least /64-blocked or small.
fn block_count(pool: &IpPool) -> u128 {
    1u128.checked_shl(u32::from(pool.block_prefix_length.saturating_sub(pool.cidr.prefix_len()))).unwrap_or(u128::MAX)
}

fn nth_block(pool: &IpPool, number: u128) -> Option<IpNet> {
    let host_bits = u32::from(pool.cidr.max_prefix_len() - pool.block_prefix_length);
    let offset = number.checked_shl(host_bits)?;
    let first = match pool.cidr.network() {
        IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from(u32::from(v4).checked_add(u32::try_from(offset).ok()?)?)),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6).checked_add(offset)?)),
    };
    IpNet::new(first, pool.block_prefix_length).ok()
}
