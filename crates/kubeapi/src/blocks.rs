//! Claims on blocks: a node owns a block by having created the object named after it.

use ipnet::IpNet;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, ResourceExt};
use seaway_model::{BlockAllocation, IpBlock, NodeName};

use crate::cluster::request;
use crate::resources::{BlockAllocationStatus, IPBlock, IPBlockSpec, IPBlockStatus, PodReference};
use crate::{Cluster, KubeApiError};

/// What a node may do with blocks.
#[derive(Clone, Debug)]
pub struct BlockClaims {
    api: Api<IPBlock>,
    node: NodeName,
}

/// What became of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimOutcome {
    /// The block is ours (now, or it was already).
    Claimed(IpBlock),
    /// Another node was faster.
    TakenBy(NodeName),
}

/// Name of the object for a block: `10-244-1-64-26`; IPv6 addresses are written out, as a name
/// must not begin with a dash and each range must have one name only.
#[must_use]
pub fn block_name(cidr: &IpNet) -> String {
    match cidr.network() {
        std::net::IpAddr::V4(v4) => format!("{}-{}", v4.to_string().replace('.', "-"), cidr.prefix_len()),
        std::net::IpAddr::V6(v6) => {
            let groups = v6.segments().map(|group| format!("{group:04x}"));
            format!("{}-{}", groups.join("-"), cidr.prefix_len())
        }
    }
}

// === impl BlockClaims ===

impl BlockClaims {
    /// Claims in the name of `node`.
    #[must_use]
    pub fn new(cluster: &Cluster, node: NodeName) -> Self {
        Self { api: Api::all(cluster.client.clone()), node }
    }

    /// Claims one range.
    pub async fn claim(&self, pool: &str, cidr: IpNet) -> Result<ClaimOutcome, KubeApiError> {
        let name = block_name(&cidr);
        let block = IpBlock { cidr, pool: pool.to_owned(), node: self.node.clone() };
        let spec = IPBlockSpec { cidr: cidr.to_string(), pool: block.pool.clone(), node: self.node.to_string() };
        let action = format!("claim IPBlock {name} for node {}", self.node);
        match request(action, self.api.create(&PostParams::default(), &IPBlock::new(&name, spec))).await {
            Ok(_) => Ok(ClaimOutcome::Claimed(block)),
            Err(KubeApiError::Refused { code: 409, .. }) => {
                let existing = request(format!("read IPBlock {name}"), self.api.get(&name)).await?;
                if existing.spec.node == self.node.as_str() && existing.metadata.deletion_timestamp.is_none() {
                    Ok(ClaimOutcome::Claimed(block))
                } else {
                    Ok(ClaimOutcome::TakenBy(NodeName::from(existing.spec.node)))
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Claims the first of `candidates` that nobody has; `None`: all are taken. The second value lists the taken ones.
    pub async fn claim_first(
        &self,
        pool: &str,
        candidates: &[IpNet],
    ) -> Result<(Option<IpBlock>, Vec<IpNet>), KubeApiError> {
        let mut taken = Vec::new();
        for candidate in candidates {
            match self.claim(pool, *candidate).await? {
                ClaimOutcome::Claimed(block) => return Ok((Some(block), taken)),
                ClaimOutcome::TakenBy(_) => taken.push(*candidate),
            }
        }
        Ok((None, taken))
    }

    /// Gives a block back; succeeds when it is gone already. The object deleted is the very one found to be ours.
    pub async fn release(&self, cidr: &IpNet) -> Result<(), KubeApiError> {
        let name = block_name(cidr);
        let Some(existing) = request(format!("read IPBlock {name}"), self.api.get_opt(&name)).await? else {
            return Ok(());
        };
        if existing.spec.node != self.node.as_str() {
            return Err(KubeApiError::NotOurs { name, owner: existing.spec.node, node: self.node.to_string() });
        }
        let preconditions = Preconditions { uid: existing.uid(), resource_version: None };
        let parameters = DeleteParams::default().preconditions(preconditions);
        match request(format!("delete IPBlock {name}"), self.api.delete(&name, &parameters)).await {
            Ok(_) | Err(KubeApiError::Refused { code: 404, .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Writes which pods hold the block's addresses.
    pub async fn record(&self, cidr: &IpNet, allocations: &[BlockAllocation]) -> Result<(), KubeApiError> {
        let name = block_name(cidr);
        let status = IPBlockStatus {
            used: i64::try_from(allocations.len()).unwrap_or(i64::MAX),
            allocations: allocations.iter().map(allocation_status).collect(),
        };
        let patch = Patch::Merge(serde_json::json!({ "status": status }));
        let action = format!("record the allocations of IPBlock {name}");
        request(action, self.api.patch_status(&name, &PatchParams::default(), &patch)).await?;
        Ok(())
    }
}

fn allocation_status(allocation: &BlockAllocation) -> BlockAllocationStatus {
    BlockAllocationStatus {
        address: allocation.address.to_string(),
        container_id: allocation.key.container_id.0.clone(),
        interface: allocation.key.interface.0.clone(),
        pod: allocation
            .pod
            .as_ref()
            .map(|pod| PodReference { namespace: pod.namespace.clone(), name: pod.name.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_names_are_valid_and_one_per_range() {
        let name = |text: &str| block_name(&text.parse().unwrap());
        assert_eq!(name("10.244.1.64/26"), "10-244-1-64-26");
        assert_eq!(name("fd00:10:244::40/122"), "fd00-0010-0244-0000-0000-0000-0000-0040-122");
        assert_eq!(name("::/122"), "0000-0000-0000-0000-0000-0000-0000-0000-122");
    }
}
