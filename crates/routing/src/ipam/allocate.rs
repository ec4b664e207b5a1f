//! Which addresses an attachment gets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use seaway_model::agent_api::AttachmentKey;
use seaway_model::{IpPool, Labels, PodRef};

use super::{Ipam, IpamError, Lease};

/// Who wants addresses.
#[derive(Debug, Clone, Copy)]
pub struct AllocationRequest<'a> {
    /// The attachment; asking again for the same gives the same answer.
    pub key: &'a AttachmentKey,
    /// CNI network name.
    pub network: &'a str,
    /// The pod, when known.
    pub pod: Option<&'a PodRef>,
    /// Labels of its namespace.
    pub namespace_labels: &'a Labels,
    /// Addresses asked for, at most one per family; other families get any.
    pub requested: &'a [IpAddr],
}

// === impl Ipam ===

impl Ipam {
    /// Gives the attachment one address per family that pools offer its pod: all or none.
    pub fn allocate(&mut self, request: AllocationRequest<'_>, now: Duration) -> Result<Vec<IpAddr>, IpamError> {
        self.expire(now);
        if let Some(lease) = self.leases.get(request.key) {
            return repeated(request, lease);
        }
        let pools = self.pools_for(request.namespace_labels);
        if pools.is_empty() {
            let namespace = request.pod.map(|pod| pod.namespace.clone());
            return Err(IpamError::NoPool { node: self.node.clone(), namespace });
        }
        check_families(request.requested)?;
        let mut addresses = Vec::new();
        let outcome = self.take_all(&pools, request.requested, &mut addresses);
        if let Err(error) = outcome {
            // Never seen outside, so there is nothing to cool down.
            addresses.iter().for_each(|address| self.give_back(*address, now));
            self.expire(now);
            return Err(error);
        }
        let lease =
            Lease { network: request.network.to_owned(), pod: request.pod.cloned(), addresses: addresses.clone() };
        self.leases.insert(request.key.clone(), lease);
        Ok(addresses)
    }

    /// Takes the attachment's addresses back; none when it has none.
    pub fn release(&mut self, key: &AttachmentKey, now: Duration) -> Vec<IpAddr> {
        let Some(lease) = self.leases.remove(key) else { return Vec::new() };
        for address in &lease.addresses {
            // Two sandboxes with one address can be adopted after trouble; the other still uses it.
            if !self.leases.values().any(|other| other.addresses.contains(address)) {
                self.give_back(*address, now + self.cooldown);
            }
        }
        self.expire(now);
        lease.addresses
    }

    /// Releases every attachment of `network` (`None`: of any) that is not in `live`.
    pub fn collect_garbage(
        &mut self,
        network: Option<&str>,
        live: &BTreeSet<AttachmentKey>,
        now: Duration,
    ) -> Vec<(AttachmentKey, Vec<IpAddr>)> {
        let leaked: Vec<AttachmentKey> = self
            .leases
            .iter()
            .filter(|(key, lease)| network.is_none_or(|network| lease.network == network) && !live.contains(*key))
            .map(|(key, _)| key.clone())
            .collect();
        leaked.into_iter().map(|key| (key.clone(), self.release(&key, now))).collect()
    }

    /// Enabled pools of this node that serve namespaces with `labels`; the more selective first.
    fn pools_for(&self, labels: &Labels) -> Vec<IpPool> {
        let any = seaway_model::LabelSelector::default();
        let mut pools: Vec<&IpPool> =
            self.pools.values().filter(|pool| !pool.disabled && pool.namespace_selector.matches(labels)).collect();
        pools.sort_by_key(|pool| (pool.namespace_selector == any, pool.node_selector == any, pool.name.as_str()));
        pools.into_iter().cloned().collect()
    }

    fn take_all(&mut self, pools: &[IpPool], requested: &[IpAddr], taken: &mut Vec<IpAddr>) -> Result<(), IpamError> {
        for ipv6 in [false, true] {
            let of_family: Vec<&IpPool> = pools.iter().filter(|pool| pool.cidr.addr().is_ipv6() == ipv6).collect();
            let address = match requested.iter().find(|address| address.is_ipv6() == ipv6) {
                Some(wanted) => self.take_requested(*wanted, &of_family)?,
                None if of_family.is_empty() => continue,
                None => self.take_any(&of_family)?,
            };
            taken.push(address);
        }
        Ok(())
    }

    fn take_any(&mut self, pools: &[&IpPool]) -> Result<IpAddr, IpamError> {
        for pool in pools {
            for (cidr, block) in &mut self.blocks {
                if block.pool == pool.name
                    && block.gives_addresses()
                    && let Some(address) = block.addresses.take()
                {
                    block.empty_since = None;
                    self.changed.insert(*cidr);
                    return Ok(address);
                }
            }
        }
        Err(self.exhausted(pools))
    }

    fn take_requested(&mut self, address: IpAddr, pools: &[&IpPool]) -> Result<IpAddr, IpamError> {
        let node = self.node.clone();
        let found = self.blocks.iter_mut().find(|(cidr, block)| {
            cidr.contains(&address) && block.gives_addresses() && pools.iter().any(|pool| pool.name == block.pool)
        });
        let Some((cidr, block)) = found else {
            return Err(IpamError::RequestedElsewhere { address, node });
        };
        if !block.addresses.occupy(address) {
            let holder = self.leases.iter().find(|(_, lease)| lease.addresses.contains(&address));
            return Err(match holder {
                Some((key, lease)) => {
                    IpamError::RequestedInUse { address, holder: key.clone(), pod: lease.pod.clone() }
                }
                None => IpamError::RequestedReserved { address, block: *cidr },
            });
        }
        block.empty_since = None;
        self.changed.insert(*cidr);
        Ok(address)
    }

    fn exhausted(&self, pools: &[&IpPool]) -> IpamError {
        let names: Vec<String> = pools.iter().map(|pool| pool.name.clone()).collect();
        let own: Vec<_> = self.blocks.values().filter(|block| names.contains(&block.pool)).collect();
        if own.is_empty() && pools.iter().any(|pool| !self.candidates(pool).is_empty()) {
            return IpamError::NoBlockYet { pools: names, node: self.node.clone() };
        }
        IpamError::Exhausted {
            pools: names,
            node: self.node.clone(),
            blocks: own.len(),
            in_use: own.iter().map(|block| block.addresses.in_use()).sum(),
            cooling: own.iter().map(|block| block.addresses.cooling()).sum(),
        }
    }

    fn give_back(&mut self, address: IpAddr, free_at: Duration) {
        if let Some((cidr, block)) = self.block_of(address) {
            block.addresses.give_back(address, free_at);
            let cidr = *cidr;
            self.changed.insert(cidr);
        } else {
            self.resting.insert(address, free_at);
        }
    }

    fn block_of(&mut self, address: IpAddr) -> Option<(&IpNet, &mut super::OwnedBlock)> {
        self.blocks.iter_mut().find(|(cidr, _)| cidr.contains(&address))
    }

    /// Frees what has cooled down, in all blocks. Allocating and releasing do it too; call it from time
    /// to time, so that a quiet node gives blocks back.
    pub fn expire(&mut self, now: Duration) {
        for block in self.blocks.values_mut() {
            block.addresses.expire(now);
            let empty = block.addresses.in_use() == 0 && block.addresses.cooling() == 0;
            block.empty_since = if empty { block.empty_since.or(Some(now)) } else { None };
        }
    }
}

/// The answer to an ADD that was answered before, or whose answer was lost.
fn repeated(request: AllocationRequest<'_>, lease: &Lease) -> Result<Vec<IpAddr>, IpamError> {
    match request.requested.iter().find(|address| !lease.addresses.contains(address)) {
        None => Ok(lease.addresses.clone()),
        Some(wanted) => {
            Err(IpamError::AttachmentHolds { key: request.key.clone(), held: lease.addresses.clone(), wanted: *wanted })
        }
    }
}

fn check_families(requested: &[IpAddr]) -> Result<(), IpamError> {
    let mut seen: BTreeMap<bool, IpAddr> = BTreeMap::new();
    for address in requested {
        if let Some(one) = seen.insert(address.is_ipv6(), *address) {
            return Err(IpamError::TwoOfOneFamily { one, other: *address });
        }
    }
    Ok(())
}
