//! What Prometheus reads. Names and labels are stable; `docs/reference/metrics.md` lists them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use seaway_datapath::{Count, Counters, EndpointTraffic};
use seaway_model::DropReason;
use seaway_model::agent_api::NodeStatus;

/// Seconds: from the milliseconds that an ADD should take to the minutes after which runtimes give up.
const LATENCY_SECONDS: [f64; 12] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0, 15.0, 60.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Verb {
    verb: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Pool {
    pool: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Way {
    direction: &'static str,
    path: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// The agent's metrics. Clones share their values.
#[derive(Debug, Clone)]
pub(crate) struct AgentMetrics {
    ready: Gauge,
    endpoints: Gauge,
    requests: Family<Verb, Histogram, fn() -> Histogram>,
    used: Family<Pool, Gauge>,
    total: Family<Pool, Gauge>,
    generation: Gauge,
    applies: Family<Outcome, Histogram, fn() -> Histogram>,
    differences: Counter,
    drop_packets: Family<Reason, Counter>,
    drop_bytes: Family<Reason, Counter>,
    untold: Counter,
    sent_on_by_xdp: Counter,
    pod_packets: Family<Way, Counter>,
    pod_bytes: Family<Way, Counter>,
    missed: Counter,
}

fn latency() -> Histogram {
    Histogram::new(LATENCY_SECONDS)
}

// === impl AgentMetrics ===

impl AgentMetrics {
    pub(crate) fn new() -> AgentMetrics {
        let metrics = AgentMetrics {
            ready: Gauge::default(),
            endpoints: Gauge::default(),
            requests: Family::new_with_constructor(latency),
            used: Family::default(),
            total: Family::default(),
            generation: Gauge::default(),
            applies: Family::new_with_constructor(latency),
            differences: Counter::default(),
            drop_packets: Family::default(),
            drop_bytes: Family::default(),
            untold: Counter::default(),
            sent_on_by_xdp: Counter::default(),
            pod_packets: Family::default(),
            pod_bytes: Family::default(),
            missed: Counter::default(),
        };
        // Zero is a value: dashboards should not have to guess which reasons exist.
        for reason in DropReason::ALL {
            let label = Reason { reason: reason.label() };
            drop(metrics.drop_packets.get_or_create(&label));
            drop(metrics.drop_bytes.get_or_create(&label));
        }
        metrics
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("seaway");
        registry.register("agent_ready", "Whether new pods can come to this node", self.ready.clone());
        registry.register("endpoints", "Attachments of this node", self.endpoints.clone());
        let help = "Time from reading a request on the agent's socket to its answer";
        registry.register_with_unit("cni_request_duration", help, Unit::Seconds, self.requests.clone());
        registry.register(
            "ipam_addresses_used",
            "Addresses in use or cooling down in this node's blocks",
            self.used.clone(),
        );
        registry.register("ipam_addresses", "Addresses in this node's blocks", self.total.clone());
        registry.register("snapshot_generation", "Generation of the snapshot last applied", self.generation.clone());
        let help = "Time that applying a plan to the kernel took";
        registry.register_with_unit("apply_duration", help, Unit::Seconds, self.applies.clone());
        let help = "Differences between kernel and plan that audits found and repaired";
        registry.register("audit_differences", help, self.differences.clone());
        registry.register("drop_packets", "Packets dropped, by reason", self.drop_packets.clone());
        registry.register("drop_bytes", "Bytes dropped, by reason", self.drop_bytes.clone());
        let help = "Drops that were counted but have no event, because there were too many at once";
        registry.register("untold_drops", help, self.untold.clone());
        let help = "Packets of Services that drivers sent on by XDP";
        registry.register("xdp_packets", help, self.sent_on_by_xdp.clone());
        let help = "Packets from and to pods of this node, by the path they took";
        registry.register("pod_packets", help, self.pod_packets.clone());
        registry.register(
            "pod_bytes",
            "Bytes from and to pods of this node, by the path they took",
            self.pod_bytes.clone(),
        );
        registry.register("monitor_missed_drops", "Drop events that slow readers were not shown", self.missed.clone());
    }

    pub(crate) fn request(&self, verb: &'static str, success: bool, took: Duration) {
        let outcome = if success { "success" } else { "failure" };
        self.requests.get_or_create(&Verb { verb, outcome }).observe(took.as_secs_f64());
    }

    pub(crate) fn applied(&self, success: bool, took: Duration) {
        let outcome = if success { "success" } else { "failure" };
        self.applies.get_or_create(&Outcome { outcome }).observe(took.as_secs_f64());
    }

    pub(crate) fn differences(&self, found: usize) {
        self.differences.inc_by(found as u64);
    }

    pub(crate) fn missed(&self, drops: u64) {
        self.missed.inc_by(drops);
    }

    pub(crate) fn status(&self, status: &NodeStatus, ready: bool) {
        self.ready.set(i64::from(ready));
        self.endpoints.set(signed(status.endpoints as u64));
        self.generation.set(signed(status.applied_generation));
        let mut pools = std::collections::BTreeMap::<&str, (u64, u64)>::new();
        for block in &status.blocks {
            let sum = pools.entry(&block.pool).or_default();
            *sum = (sum.0 + block.used, sum.1 + block.total);
        }
        // A pool without a block here has no value rather than its last one.
        self.used.clear();
        self.total.clear();
        for (pool, (used, total)) in pools {
            let label = Pool { pool: pool.to_owned() };
            self.used.get_or_create(&label).set(signed(used));
            self.total.get_or_create(&label).set(signed(total));
        }
    }

    /// Takes over the kernel's own counts, which never go back while the data path is loaded.
    pub(crate) fn counters(&self, counters: &Counters) {
        for (reason, count) in &counters.drops {
            let label = Reason { reason: reason.label() };
            raise(&self.drop_packets.get_or_create(&label), count.packets);
            raise(&self.drop_bytes.get_or_create(&label), count.bytes);
        }
        raise(&self.untold, counters.untold_drops);
        raise(&self.sent_on_by_xdp, counters.sent_on_by_xdp.packets);
        let ways: [(Way, CountOf); 4] = [
            (Way { direction: "sent", path: "fast" }, |traffic| traffic.sent_fast),
            (Way { direction: "sent", path: "stack" }, |traffic| traffic.sent_stack),
            (Way { direction: "received", path: "fast" }, |traffic| traffic.received_fast),
            (Way { direction: "received", path: "stack" }, |traffic| traffic.received_stack),
        ];
        for (label, of) in ways {
            let counts = || counters.endpoints.values().map(of);
            raise(&self.pod_packets.get_or_create(&label), counts().map(|count| count.packets).sum());
            raise(&self.pod_bytes.get_or_create(&label), counts().map(|count| count.bytes).sum());
        }
    }
}

/// Which of an endpoint's counts.
type CountOf = fn(&EndpointTraffic) -> Count;

/// A counter must not go back when endpoints leave with their counts.
fn raise(counter: &Counter<u64, AtomicU64>, to: u64) {
    counter.inner().fetch_max(to, Ordering::Relaxed);
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
