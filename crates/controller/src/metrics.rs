//! What Prometheus reads from the controller. Names and labels are stable.

use std::collections::BTreeMap;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use seaway_kubeapi::PoolUsage;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Pool {
    pool: String,
}

/// The controller's metrics. Clones share their values.
#[derive(Debug, Clone, Default)]
pub(crate) struct ControllerMetrics {
    leader: Gauge,
    used_addresses: Family<Pool, Gauge>,
    total_addresses: Family<Pool, Gauge>,
    claimed_blocks: Family<Pool, Gauge>,
    total_blocks: Family<Pool, Gauge>,
    problems: Family<Pool, Gauge>,
}

// === impl ControllerMetrics ===

impl ControllerMetrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        let pools = [
            ("used_addresses", "Addresses of the pool that pods hold", &self.used_addresses),
            ("addresses", "Addresses of the pool, at most 2^63 - 1", &self.total_addresses),
            ("claimed_blocks", "Blocks of the pool that nodes hold", &self.claimed_blocks),
            ("blocks", "Blocks of the pool, at most 2^63 - 1", &self.total_blocks),
            ("problems", "1 when the pool is not in force", &self.problems),
        ];
        for (name, help, family) in pools {
            registry.register(format!("seaway_pool_{name}"), help, family.clone());
        }
        registry.register("seaway_controller_leader", "1 on the replica that acts", self.leader.clone());
    }

    pub(crate) fn set_leader(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    fn set_pool(&self, name: &str, usage: &PoolUsage) {
        let pool = Pool { pool: name.to_owned() };
        let set = |family: &Family<Pool, Gauge>, value: u128| {
            family.get_or_create(&pool).set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        set(&self.used_addresses, usage.used_addresses.into());
        set(&self.total_addresses, usage.total_addresses);
        set(&self.claimed_blocks, usage.claimed_blocks.into());
        set(&self.total_blocks, usage.total_blocks);
        set(&self.problems, u128::from(!usage.problems.is_empty()));
    }

    /// Shows these pools and no others; none on a replica that does not act.
    pub(crate) fn show_pools(&self, usages: &BTreeMap<String, PoolUsage>) {
        for family in
            [&self.used_addresses, &self.total_addresses, &self.claimed_blocks, &self.total_blocks, &self.problems]
        {
            family.clear();
        }
        usages.iter().for_each(|(pool, usage)| self.set_pool(pool, usage));
    }
}
