//! What the controller writes of pools.

use std::collections::BTreeMap;

use kube::Api;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use seaway_model::{Encapsulation, IpPool, NodeName};
use serde_json::json;

use crate::blocks::block_name;
use crate::cluster::request;
use crate::resources::{EncapsulationMode, IPBlock, IPPool, IPPoolSpec};
use crate::{Cluster, KubeApiError};

/// Keeps a deleted pool until its blocks are free: without the pool nobody would know how to reach their pods.
const FINALIZER: &str = "seaway.dev/blocks";
/// How often a write is tried when others write the same object.
const CONFLICT_ATTEMPTS: usize = 5;

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
    /// What keeps a pool that is being deleted.
    pub held_by: Vec<String>,
}

/// How far a pool is on its way out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolLife {
    /// Somebody has deleted it.
    pub deleting: bool,
    /// Our finalizer keeps the object until [`Pools::let_go`].
    pub kept: bool,
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
            "heldBy": usage.held_by,
        });
        let patch = Patch::Merge(json!({ "status": status }));
        let action = format!("write the status of IPPool {pool}");
        request(action, self.pools.patch_status(pool, &PatchParams::default(), &patch)).await?;
        Ok(())
    }

    /// How far each pool is on its way out.
    pub async fn lives(&self) -> Result<BTreeMap<String, PoolLife>, KubeApiError> {
        let list = request("list IPPools", self.pools.list(&ListParams::default().match_any())).await?;
        Ok(list.items.iter().map(|pool| (pool.name_any(), life(pool))).collect())
    }

    /// From now on a deleted pool stays until [`Pools::let_go`]; nothing happens when it is being deleted or gone.
    pub async fn keep(&self, name: &str) -> Result<(), KubeApiError> {
        let Some(pool) = self.read(name).await? else { return Ok(()) };
        if life(&pool) != PoolLife::default() {
            return Ok(());
        }
        let finalizers = pool.finalizers().iter().cloned().chain([FINALIZER.to_owned()]).collect();
        self.set_finalizers(&pool, finalizers).await.map(drop)
    }

    /// Lets a deleted pool go if no block is left of it; whether it went. The blocks are asked for anew: a node
    /// may have taken one that no watch has shown yet.
    pub async fn let_go(&self, name: &str) -> Result<bool, KubeApiError> {
        if self.blocks(&ListParams::default()).await?.iter().any(|block| block.spec.pool == name) {
            return Ok(false);
        }
        match self.read(name).await? {
            Some(pool) if life(&pool).deleting => self.give_up(&pool).await,
            _ => Ok(false),
        }
    }

    /// Gives all pools up, whether or not blocks are left: nobody will look after them from now on. How many.
    pub async fn give_all_up(&self) -> Result<usize, KubeApiError> {
        let mut given_up = 0;
        for name in self.lives().await?.into_iter().filter(|(_, life)| life.kept).map(|(name, _)| name) {
            // Another writer may come in between; it does not do so for ever.
            for _ in 0..CONFLICT_ATTEMPTS {
                let Some(pool) = self.read(&name).await? else { break };
                if self.give_up(&pool).await? {
                    given_up += 1;
                    break;
                }
            }
        }
        Ok(given_up)
    }

    async fn blocks(&self, parameters: &ListParams) -> Result<Vec<IPBlock>, KubeApiError> {
        match request("list IPBlocks", self.blocks.list(parameters)).await {
            Ok(list) => Ok(list.items),
            // Their definition was removed, and they with it.
            Err(KubeApiError::Refused { code: 404, .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    async fn give_up(&self, pool: &IPPool) -> Result<bool, KubeApiError> {
        let finalizers = pool.finalizers().iter().filter(|finalizer| *finalizer != FINALIZER).cloned().collect();
        self.set_finalizers(pool, finalizers).await
    }

    async fn read(&self, name: &str) -> Result<Option<IPPool>, KubeApiError> {
        request(format!("read IPPool {name}"), self.pools.get_opt(name)).await
    }

    /// False when the object was changed since it was read, or is gone.
    async fn set_finalizers(&self, pool: &IPPool, finalizers: Vec<String>) -> Result<bool, KubeApiError> {
        let name = pool.name_any();
        let metadata = json!({ "resourceVersion": pool.resource_version(), "finalizers": finalizers });
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        let action = format!("write the finalizer of IPPool {name}");
        match request(action, self.pools.patch_metadata(&name, &PatchParams::default(), &patch)).await {
            Ok(_) => Ok(true),
            Err(KubeApiError::Refused { code: 404 | 409, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Addresses in use of every block, as the nodes recorded them.
    pub async fn recorded_use(&self) -> Result<BTreeMap<ipnet::IpNet, u64>, KubeApiError> {
        // Served from the API server's cache: the numbers are for people and may be a moment old.
        let blocks = self.blocks(&ListParams::default().match_any()).await?;
        let used = |block: IPBlock| {
            let cidr = block.spec.cidr.parse().ok()?;
            Some((cidr, block.status.and_then(|status| u64::try_from(status.used).ok()).unwrap_or(0)))
        };
        Ok(blocks.into_iter().filter_map(used).collect())
    }

    /// Deletes a block that `node` left behind; nothing happens when it is gone or has another owner.
    pub async fn delete_block_of(&self, node: &NodeName, cidr: &ipnet::IpNet) -> Result<bool, KubeApiError> {
        let name = block_name(cidr);
        let Some(existing) = request(format!("read IPBlock {name}"), self.blocks.get_opt(&name)).await? else {
            return Ok(false);
        };
        if existing.spec.node != node.as_str() {
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

fn life(pool: &IPPool) -> PoolLife {
    PoolLife {
        deleting: pool.metadata.deletion_timestamp.is_some(),
        kept: pool.finalizers().iter().any(|finalizer| finalizer == FINALIZER),
    }
}
