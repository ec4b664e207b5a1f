//! What the controller does next. Pure: the cluster and the time in, actions out.

pub(crate) mod dns_configs;
mod pools;
pub(crate) mod services;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use ipnet::IpNet;
use seaway_kubeapi::{PoolLife, PoolUsage};
use seaway_model::{IpPool, NodeName, Snapshot};

/// How long a node must be gone before its blocks go too. Nodes are deleted and registered again by
/// autoscalers and by people who fix labels; their pods live on meanwhile.
pub(crate) const NODE_GRACE: Duration = Duration::from_secs(60);

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Create a configured pool.
    CreatePool(IpPool),
    /// See to it that the pool stays while blocks of it are in use, should somebody delete it.
    KeepPool(String),
    /// Let a deleted pool go that has no block any more.
    LetPoolGo(String),
    /// Delete a block of a node that is gone.
    DeleteBlock { node: NodeName, block: IpNet },
    /// Write the status of a pool.
    WriteUsage { pool: String, usage: PoolUsage },
    /// Warn on a pool.
    Warn { pool: String, reason: &'static str, note: String },
}

/// What the controller remembers from one look to the next. A new leader starts with none of it.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Nodes that own blocks but do not exist, and since when we know.
    gone: BTreeMap<NodeName, Duration>,
    /// How full each pool was at the last look.
    usages: BTreeMap<String, PoolUsage>,
    /// What was written into the status of each pool.
    written: BTreeMap<String, PoolUsage>,
    /// Pools warned of, until they are well below the mark again.
    warned: BTreeMap<String, &'static str>,
}

/// What a look at the cluster shows.
pub(crate) struct View<'a> {
    pub(crate) snapshot: &'a Snapshot,
    /// Addresses in use by block, as the nodes recorded them.
    pub(crate) recorded_use: &'a BTreeMap<IpNet, u64>,
    /// How far pools are on their way out; nothing is known of those that are missing.
    pub(crate) lives: &'a BTreeMap<String, PoolLife>,
    pub(crate) service_cidrs: &'a [IpNet],
    pub(crate) default_pools: &'a [IpPool],
    /// Since any fixed moment.
    pub(crate) now: Duration,
}

// === impl Memory ===

impl Memory {
    pub(crate) fn decide(&mut self, view: &View<'_>) -> Vec<Action> {
        let mut actions = Vec::new();
        if view.snapshot.pools.is_empty() {
            actions.extend(view.default_pools.iter().cloned().map(Action::CreatePool));
        }
        pools::keep_or_let_go(view, &mut actions);
        self.collect_blocks(view, &mut actions);
        self.report_pools(view, &mut actions);
        actions
    }

    /// How full each pool was at the last look.
    pub(crate) fn usages(&self) -> &BTreeMap<String, PoolUsage> {
        &self.usages
    }

    /// The status could not be written: try again at the next look.
    pub(crate) fn forget_status(&mut self, pool: &str) {
        self.written.remove(pool);
    }

    /// The warning could not be written: try again at the next look.
    pub(crate) fn forget_warning(&mut self, pool: &str) {
        self.warned.remove(pool);
    }

    fn collect_blocks(&mut self, view: &View<'_>, actions: &mut Vec<Action>) {
        let blocks = &view.snapshot.blocks;
        let exists = |node: &NodeName| view.snapshot.nodes.contains_key(node);
        self.gone.retain(|node, _| !exists(node) && blocks.values().any(|block| block.node == *node));
        for block in blocks.values().filter(|block| !exists(&block.node)) {
            let since = *self.gone.entry(block.node.clone()).or_insert(view.now);
            if view.now >= since + NODE_GRACE {
                actions.push(Action::DeleteBlock { node: block.node.clone(), block: block.cidr });
            }
        }
    }
}
