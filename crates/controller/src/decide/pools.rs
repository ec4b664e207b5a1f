//! How full pools are, and when to say so.

use std::collections::BTreeMap;

use seaway_kubeapi::PoolUsage;
use seaway_model::{Diagnose, IpBlock, IpPool};
use seaway_routing::plan::{PlanError, pool_problems};

use super::{Action, Memory, View};

/// A pool this full is nearly exhausted: time to add another.
const FULL_PERCENT: u128 = 90;
/// Below this it is well again; the gap keeps a pool at the mark from being warned of all the time.
const WELL_PERCENT: u128 = 80;

/// Blocks that the status of a deleted pool names; of more it tells the number.
const NAMED_HOLDERS: usize = 20;

const NEARLY_EXHAUSTED: &str = "PoolNearlyExhausted";
const NOT_IN_FORCE: &str = "PoolNotInForce";

/// Every pool is kept, and a deleted one let go when it has no block any more.
pub(super) fn keep_or_let_go(view: &View<'_>, actions: &mut Vec<Action>) {
    for (name, life) in view.lives {
        match (life.deleting, life.kept) {
            (false, false) => actions.push(Action::KeepPool(name.clone())),
            (true, true) => {
                // The snapshot keeps what it cannot watch any more: a definition that was removed with all blocks.
                let held = blocks_of(name, view).any(|block| view.recorded_use.contains_key(&block.cidr));
                if !held {
                    actions.push(Action::LetPoolGo(name.clone()));
                }
            }
            _ => {}
        }
    }
}

// === impl Memory ===

impl Memory {
    pub(super) fn report_pools(&mut self, view: &View<'_>, actions: &mut Vec<Action>) {
        let problems: BTreeMap<String, PlanError> =
            pool_problems(view.snapshot, view.service_cidrs).into_iter().collect();
        let pools = &view.snapshot.pools;
        self.written.retain(|name, _| pools.contains_key(name));
        self.warned.retain(|name, _| pools.contains_key(name));
        self.usages.clear();
        for (name, pool) in pools {
            let usage = usage(pool, view, problems.get(name));
            self.usages.insert(name.clone(), usage.clone());
            self.warn(name, &usage, actions);
            if self.written.get(name) != Some(&usage) {
                self.written.insert(name.clone(), usage.clone());
                actions.push(Action::WriteUsage { pool: name.clone(), usage });
            }
        }
    }

    fn warn(&mut self, name: &str, usage: &PoolUsage, actions: &mut Vec<Action>) {
        let percent = fullness_percent(usage);
        let due = if !usage.problems.is_empty() {
            Some((NOT_IN_FORCE, usage.problems.join("; ")))
        } else if percent >= FULL_PERCENT {
            let note = format!(
                "IPPool {name} is {percent} % full: {} of {} addresses in use, {} of {} blocks claimed. Add a pool before pods fail to start",
                usage.used_addresses, usage.total_addresses, usage.claimed_blocks, usage.total_blocks
            );
            Some((NEARLY_EXHAUSTED, note))
        } else {
            None
        };
        match due {
            Some((reason, note)) => {
                if self.warned.insert(name.to_owned(), reason) != Some(reason) {
                    actions.push(Action::Warn { pool: name.to_owned(), reason, note });
                }
            }
            None if percent < WELL_PERCENT => drop(self.warned.remove(name)),
            None => self.warned.retain(|pool, reason| pool != name || *reason == NEARLY_EXHAUSTED),
        }
    }
}

fn usage(pool: &IpPool, view: &View<'_>, problem: Option<&PlanError>) -> PoolUsage {
    let blocks: Vec<_> = blocks_of(&pool.name, view).collect();
    let deleting = view.lives.get(&pool.name).is_some_and(|life| life.deleting);
    let used = blocks.iter().filter_map(|block| view.recorded_use.get(&block.cidr)).sum();
    let bits = u32::from(pool.cidr.max_prefix_len() - pool.cidr.prefix_len());
    let block_bits = u32::from(pool.block_prefix_length.saturating_sub(pool.cidr.prefix_len()));
    PoolUsage {
        used_addresses: used,
        total_addresses: power_of_two(bits),
        claimed_blocks: u64::try_from(blocks.len()).unwrap_or(u64::MAX),
        total_blocks: power_of_two(block_bits),
        problems: problem.map(|problem| format!("{}: {problem}", problem.id())).into_iter().collect(),
        held_by: if deleting { holders(&blocks, view) } else { Vec::new() },
    }
}

fn holders(blocks: &[&IpBlock], view: &View<'_>) -> Vec<String> {
    let told = blocks.iter().take(NAMED_HOLDERS).map(|block| {
        let used = view.recorded_use.get(&block.cidr).copied().unwrap_or_default();
        format!("block {} of node {}: {used} in use", block.cidr, block.node)
    });
    let rest = blocks.len().saturating_sub(NAMED_HOLDERS);
    told.chain((rest > 0).then(|| format!("{rest} more blocks"))).collect()
}

fn blocks_of<'a>(pool: &'a str, view: &'a View<'_>) -> impl Iterator<Item = &'a IpBlock> {
    view.snapshot.blocks.values().filter(move |block| block.pool == pool)
}

/// By addresses or by blocks, whichever is more: a node that needs a block cannot use another's addresses. One
/// block in all can only be judged by its addresses.
fn fullness_percent(usage: &PoolUsage) -> u128 {
    let addresses = u128::from(usage.used_addresses).saturating_mul(100) / usage.total_addresses.max(1);
    let blocks = u128::from(usage.claimed_blocks).saturating_mul(100) / usage.total_blocks.max(1);
    if usage.total_blocks <= 1 { addresses } else { addresses.max(blocks) }
}

fn power_of_two(bits: u32) -> u128 {
    1u128.checked_shl(bits).unwrap_or(u128::MAX)
}
