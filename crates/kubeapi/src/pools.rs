//! What the controller writes of pools.

use kube::Api;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use seaway_model::{Encapsulation, IpPool, NodeName};
use serde_json::json;

use crate::blocks::block_name;
use crate::cluster::request;
use crate::resources::{EncapsulationMode, IPBlock, IPPool, IPPoolSpec};
use crate::{Cluster, KubeApiError};

/// What the controller may do with pools and with blocks of nodes that are gone.
#[derive(Clone, Debug)]
pub struct Pools {
    pools: Api<IPPool>,
    blocks: Api<IPBlock>,
}

/// How full a pool is, for its status.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoolUsage {
    /// Addresses that pods hold.
    pub used_addresses: u64,
    /// Addresses of the range.
    pub total_addresses: u128,
    /// Blocks that nodes hold.
    pub claimed_blocks: u64,
    /// Blocks of the range.
    pub total_blocks: u128,
    /// Why the pool is not in force.
    pub problems: Vec<String>,
}

// === impl Pools ===

impl Pools {
    /// Pools and blocks of `cluster`.
    #[must_use]
    pub fn new(cluster: &Cluster) -> Self {
        Self { pools: Api::all(cluster.client.clone()), blocks: Api::all(cluster.client.clone()) }
    }

    /// Creates a pool that selects all nodes and namespaces; false when one of that name exists.
    pub async fn create(&self, pool: &IpPool) -> Result<bool, KubeApiError> {
        let spec = IPPoolSpec {
            cidr: pool.cidr.to_string(),
            block_prefix_length: Some(pool.block_prefix_length),
            encapsulation: match pool.encapsulation {
                Encapsulation::Vxlan => EncapsulationMode::Vxlan,
                Encapsulation::None => EncapsulationMode::None,
                Encapsulation::CrossSubnet => EncapsulationMode::CrossSubnet,
            },
            node_selector: None,
            namespace_selector: None,
            masquerade: pool.masquerade,
            disabled: pool.disabled,
        };
        let object = IPPool::new(&pool.name, spec);
        match request(format!("create IPPool {}", pool.name), self.pools.create(&PostParams::default(), &object)).await
        {
            Ok(_) => Ok(true),
            Err(KubeApiError::Refused { code: 409, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes how full a pool is.
    pub async fn write_usage(&self, pool: &str, usage: &PoolUsage) -> Result<(), KubeApiError> {
        let status = json!({
            "usedAddresses": i64::try_from(usage.used_addresses).unwrap_or(i64::MAX),
            "totalAddresses": i64::try_from(usage.total_addresses).unwrap_or(i64::MAX),
            "claimedBlocks": i64::try_from(usage.claimed_blocks).unwrap_or(i64::MAX),
            "totalBlocks": i64::try_from(usage.total_blocks).unwrap_or(i64::MAX),
            "problems": usage.problems,
        });
        let patch = Patch::Merge(json!({ "status": status }));
        let action = format!("write the status of IPPool {pool}");
        request(action, self.pools.patch_status(pool, &PatchParams::default(), &patch)).await?;
        Ok(())
    }

    /// Addresses in use of every block, as the nodes recorded them.
    pub async fn recorded_use(&self) -> Result<std::collections::BTreeMap<ipnet::IpNet, u64>, KubeApiError> {
        // Served from the API server's cache: the numbers are for people and may be a moment old.
        let list = request("list IPBlocks", self.blocks.list(&ListParams::default().match_any())).await?;
        let used = |block: IPBlock| {
            let cidr = block.spec.cidr.parse().ok()?;
            Some((cidr, block.status.and_then(|status| u64::try_from(status.used).ok()).unwrap_or(0)))
        };
        Ok(list.items.into_iter().filter_map(used).collect())
    }

    /// Deletes a block that `node` left behind; nothing happens when it is gone or has another owner.
    pub async fn delete_block_of(&self, node: &NodeName, cidr: &ipnet::IpNet) -> Result<bool, KubeApiError> {
        let name = block_name(cidr);
        let Some(existing) = request(format!("read IPBlock {name}"), self.blocks.get_opt(&name)).await? else {
            return Ok(false);
        };
        if existing.spec.node != node.0 {
            return Ok(false);
        }
        let preconditions = Preconditions { uid: existing.uid(), resource_version: existing.resource_version() };
        let parameters = DeleteParams::default().preconditions(preconditions);
        match request(format!("delete IPBlock {name}"), self.blocks.delete(&name, &parameters)).await {
            Ok(_) => Ok(true),
            Err(KubeApiError::Refused { code: 404 | 409, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
