//! Which pools may be used: a pool that collides with something is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use seaway_model::{IpPool, NodeName, Snapshot};

use super::PlanError;

/// Shortest and longest block prefix for IPv4. Longer than /30 leaves no address beside the node's own.
pub(super) const IPV4_BLOCK_PREFIX_LENGTHS: (u8, u8) = (16, 30);
/// Shortest and longest block prefix for IPv6.
pub(super) const IPV6_BLOCK_PREFIX_LENGTHS: (u8, u8) = (64, 126);

/// The usable pools by name, and why the others are not.
///
/// Of two pools that overlap, the one with blocks in use stays, else the first by name.
pub(super) fn usable_pools<'a>(
    snapshot: &'a Snapshot,
    underlay: &[IpNet],
    service_cidrs: &[IpNet],
) -> (BTreeMap<&'a str, &'a IpPool>, Vec<PlanError>) {
    let in_use: BTreeSet<&str> = snapshot.blocks.values().map(|block| block.pool.as_str()).collect();
    let mut candidates: Vec<&IpPool> = snapshot.pools.values().collect();
    candidates.sort_by_key(|pool| (!in_use.contains(pool.name.as_str()), pool.name.as_str()));
    let nodes = snapshot.nodes.iter();
    let node_addresses: BTreeMap<IpAddr, &NodeName> =
        nodes.flat_map(|(name, node)| node.addresses.iter().map(move |address| (*address, name))).collect();
    let mut usable: BTreeMap<&str, &IpPool> = BTreeMap::new();
    let mut by_first_address: BTreeMap<IpAddr, &IpPool> = BTreeMap::new();
    let mut problems = Vec::new();
    for pool in candidates {
        let checked = check_shape(pool)
            .and_then(|()| check_surroundings(pool, &node_addresses, underlay, service_cidrs))
            .and_then(|()| check_overlap(pool, &by_first_address));
        match checked {
            Ok(()) => {
                usable.insert(&pool.name, pool);
                by_first_address.insert(pool.cidr.network(), pool);
            }
            Err(problem) => problems.push(problem),
        }
    }
    (usable, problems)
}

/// What can be said of a pool alone.
fn check_shape(pool: &IpPool) -> Result<(), PlanError> {
    let first = pool.cidr.network();
    if first.is_multicast() || first.is_loopback() || first.is_unspecified() || is_link_local(first) {
        return Err(PlanError::PoolNotUnicast { pool: pool.name.clone(), cidr: pool.cidr });
    }
    let (shortest, longest) = if first.is_ipv4() { IPV4_BLOCK_PREFIX_LENGTHS } else { IPV6_BLOCK_PREFIX_LENGTHS };
    let block_prefix_length = pool.block_prefix_length;
    if !(shortest..=longest).contains(&block_prefix_length) {
        return Err(PlanError::WrongBlockSize { pool: pool.name.clone(), block_prefix_length, shortest, longest });
    }
    if block_prefix_length < pool.cidr.prefix_len() {
        return Err(PlanError::PoolTooSmall { pool: pool.name.clone(), cidr: pool.cidr, block_prefix_length });
    }
    Ok(())
}

fn check_surroundings(
    pool: &IpPool,
    nodes: &BTreeMap<IpAddr, &NodeName>,
    underlay: &[IpNet],
    service_cidrs: &[IpNet],
) -> Result<(), PlanError> {
    let name = || pool.name.clone();
    if let Some(prefix) = underlay.iter().find(|prefix| overlap(&pool.cidr, prefix)) {
        return Err(PlanError::PoolOverlapsUnderlay { pool: name(), cidr: pool.cidr, prefix: prefix.trunc() });
    }
    if let Some(service_cidr) = service_cidrs.iter().find(|range| overlap(&pool.cidr, range)) {
        return Err(PlanError::PoolOverlapsServices { pool: name(), cidr: pool.cidr, service_cidr: *service_cidr });
    }
    if let Some((address, node)) = nodes.range(pool.cidr.network()..=pool.cidr.broadcast()).next() {
        let node = (*node).clone();
        return Err(PlanError::PoolHoldsNode { pool: name(), cidr: pool.cidr, node, address: *address });
    }
    Ok(())
}

/// Ranges are nested or disjoint, so only the neighbors by first address can overlap.
fn check_overlap(pool: &IpPool, accepted: &BTreeMap<IpAddr, &IpPool>) -> Result<(), PlanError> {
    let (first, last) = (pool.cidr.network(), pool.cidr.broadcast());
    let before = accepted.range(..=first).next_back();
    let inside = accepted.range(first..=last).next();
    match before.into_iter().chain(inside).find(|(_, other)| overlap(&pool.cidr, &other.cidr)) {
        None => Ok(()),
        Some((_, other)) => Err(PlanError::PoolsOverlap {
            pool: pool.name.clone(),
            cidr: pool.cidr,
            other: other.name.clone(),
            other_cidr: other.cidr,
        }),
    }
}

fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(&other.network()) || other.contains(&one.network())
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}
