//! What Prometheus reads of Services: kube-proxy's names, so that its dashboards and alerts go on
//! working, and ours. `docs/reference/metrics.md` lists them.

use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use seaway_datapath::services::ServiceUsage;

/// Seconds: kube-proxy's buckets start at 1 ms; ours two steps below.
const PROGRAMMING_SECONDS: [f64; 16] = [
    0.0001, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 4.096, 16.384, 65.536,
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Policy {
    traffic_policy: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TableName {
    table: String,
}

/// Metrics of Services. Clones share their values.
#[derive(Debug, Clone)]
pub(crate) struct ServiceMetrics {
    sync_seconds: Histogram,
    sync_full_seconds: Histogram,
    sync_partial_seconds: Histogram,
    closing_seconds: Histogram,
    network_programming_seconds: Histogram,
    programming_seconds: Histogram,
    last_sync: Gauge<f64, AtomicU64>,
    last_queued: Gauge<f64, AtomicU64>,
    service_changes: Counter,
    endpoint_changes: Counter,
    pending_services: Gauge,
    pending_endpoints: Gauge,
    no_local_endpoints: Family<Policy, Gauge>,
    closed_connections: Counter,
    health_codes: Family<Code, Counter>,
    live_codes: Family<Code, Counter>,
    failures: Counter,
    services: Gauge,
    refused: Gauge,
    entries: Family<TableName, Gauge<i64, AtomicI64>>,
    limits: Family<TableName, Gauge<i64, AtomicI64>>,
}

// === impl ServiceMetrics ===

impl ServiceMetrics {
    pub(crate) fn new() -> ServiceMetrics {
        let seconds = || Histogram::new(PROGRAMMING_SECONDS);
        ServiceMetrics {
            sync_seconds: seconds(),
            sync_full_seconds: seconds(),
            sync_partial_seconds: seconds(),
            closing_seconds: seconds(),
            network_programming_seconds: seconds(),
            programming_seconds: seconds(),
            last_sync: Gauge::default(),
            last_queued: Gauge::default(),
            service_changes: Counter::default(),
            endpoint_changes: Counter::default(),
            pending_services: Gauge::default(),
            pending_endpoints: Gauge::default(),
            no_local_endpoints: Family::default(),
            closed_connections: Counter::default(),
            health_codes: Family::default(),
            live_codes: Family::default(),
            failures: Counter::default(),
            services: Gauge::default(),
            refused: Gauge::default(),
            entries: Family::default(),
            limits: Family::default(),
        }
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        self.register_as_kube_proxy(registry.sub_registry_with_prefix("kubeproxy"));
        let ours = registry.sub_registry_with_prefix("seaway");
        let help = "Time from hearing of a change of Services to the kernel holding it";
        ours.register_with_unit("service_programming_duration", help, Unit::Seconds, self.programming_seconds.clone());
        ours.register("services", "Services with frontends on this node", self.services.clone());
        ours.register("services_refused", "Services that do not fit into the data path's tables", self.refused.clone());
        ours.register(
            "service_apply_failures",
            "Batches that the kernel did not take; they are tried again",
            self.failures.clone(),
        );
        ours.register("service_table_entries", "Entries in a table of the data path", self.entries.clone());
        ours.register(
            "service_table_limit",
            "Entries a table of the data path may hold; 0: no limit",
            self.limits.clone(),
        );
    }

    fn register_as_kube_proxy(&self, registry: &mut Registry) {
        let help = "Time that programming a batch of changes into the kernel took";
        registry.register_with_unit("sync_proxy_rules_duration", help, Unit::Seconds, self.sync_seconds.clone());
        let help = "The same of batches before everything was in the kernel once";
        registry.register_with_unit(
            "sync_full_proxy_rules_duration",
            help,
            Unit::Seconds,
            self.sync_full_seconds.clone(),
        );
        let help = "The same of batches of changes alone";
        registry.register_with_unit(
            "sync_partial_proxy_rules_duration",
            help,
            Unit::Seconds,
            self.sync_partial_seconds.clone(),
        );
        let help = "Time from the change of an endpoint to the kernel holding it";
        registry.register_with_unit(
            "network_programming_duration",
            help,
            Unit::Seconds,
            self.network_programming_seconds.clone(),
        );
        self.register_counts_as_kube_proxy(registry);
    }

    fn register_counts_as_kube_proxy(&self, registry: &mut Registry) {
        let help = "Unix time of the last batch that the kernel took";
        registry.register_with_unit("sync_proxy_rules_last_timestamp", help, Unit::Seconds, self.last_sync.clone());
        let help = "Unix time of the last change that was heard";
        registry.register_with_unit(
            "sync_proxy_rules_last_queued_timestamp",
            help,
            Unit::Seconds,
            self.last_queued.clone(),
        );
        registry.register(
            "sync_proxy_rules_service_changes",
            "Changes of Services heard",
            self.service_changes.clone(),
        );
        registry.register(
            "sync_proxy_rules_endpoint_changes",
            "Changes of EndpointSlices heard",
            self.endpoint_changes.clone(),
        );
        registry.register(
            "sync_proxy_rules_service_changes_pending",
            "Changes of Services not in the kernel yet",
            self.pending_services.clone(),
        );
        registry.register(
            "sync_proxy_rules_endpoint_changes_pending",
            "Changes of EndpointSlices not in the kernel yet",
            self.pending_endpoints.clone(),
        );
        let help = "Services with policy Local, endpoints, and none of them on this node";
        registry.register("sync_proxy_rules_no_local_endpoints_total", help, self.no_local_endpoints.clone());
        let help = "Tracked connections removed because their endpoint is gone";
        registry.register("conntrack_reconciler_deleted_entries", help, self.closed_connections.clone());
        let help = "Time that finding and ending connections of endpoints that are gone took, by batch";
        registry.register_with_unit(
            "conntrack_reconciler_sync_duration",
            help,
            Unit::Seconds,
            self.closing_seconds.clone(),
        );
        registry.register("nftables_sync_failures", "Batches that the kernel did not take", self.failures.clone());
        registry.register("proxy_healthz", "Answers of /healthz by HTTP status", self.health_codes.clone());
        registry.register("proxy_livez", "Answers of /livez by HTTP status", self.live_codes.clone());
    }

    /// Changes were heard and wait.
    pub(crate) fn heard(&self, services: u64, endpoints: u64) {
        self.service_changes.inc_by(services);
        self.endpoint_changes.inc_by(endpoints);
        self.pending_services.inc_by(signed(services));
        self.pending_endpoints.inc_by(signed(endpoints));
        self.last_queued.set(unix_seconds());
    }

    /// A batch is in the kernel. `waited`: since the oldest of its changes was heard; `is_first`: not
    /// everything was in the kernel before.
    pub(crate) fn programmed(&self, took: Duration, waited: Option<Duration>, is_first: bool) {
        self.sync_seconds.observe(took.as_secs_f64());
        let by_kind = if is_first { &self.sync_full_seconds } else { &self.sync_partial_seconds };
        by_kind.observe(took.as_secs_f64());
        if let Some(waited) = waited {
            self.programming_seconds.observe(waited.as_secs_f64());
        }
        self.pending_services.set(0);
        self.pending_endpoints.set(0);
        self.last_sync.set(unix_seconds());
    }

    /// Connections of endpoints that are gone were ended.
    pub(crate) fn closed(&self, connections: u64, took: Duration) {
        self.closed_connections.inc_by(connections);
        self.closing_seconds.observe(took.as_secs_f64());
    }

    /// An endpoint changed that long before the kernel held it.
    pub(crate) fn network_programmed(&self, since_change: Duration) {
        self.network_programming_seconds.observe(since_change.as_secs_f64());
    }

    /// The kernel did not take a batch.
    pub(crate) fn failed(&self) {
        self.failures.inc();
    }

    /// How many Services there are, do not fit, and lack local endpoints.
    pub(crate) fn totals(&self, services: usize, refused: usize, no_local: NoLocalEndpoints) {
        self.services.set(signed(services as u64));
        self.refused.set(signed(refused as u64));
        let label = |traffic_policy| Policy { traffic_policy };
        self.no_local_endpoints.get_or_create(&label("internal")).set(signed(no_local.internal as u64));
        self.no_local_endpoints.get_or_create(&label("external")).set(signed(no_local.external as u64));
    }

    /// How full the tables are.
    pub(crate) fn usage(&self, usage: &ServiceUsage) {
        for (table, entries, limit) in &usage.tables {
            let label = TableName { table: table.clone() };
            self.entries.get_or_create(&label).set(signed(*entries));
            self.limits.get_or_create(&label).set(signed(*limit));
        }
    }

    pub(crate) fn health_answer(&self, code: u16) {
        self.health_codes.get_or_create(&Code { code }).inc();
    }

    pub(crate) fn live_answer(&self, code: u16) {
        self.live_codes.get_or_create(&Code { code }).inc();
    }
}

/// Services with policy Local whose endpoints are all elsewhere.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct NoLocalEndpoints {
    pub(crate) internal: usize,
    pub(crate) external: usize,
}

fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashboards_of_kube_proxy_find_their_names() {
        let mut registry = Registry::default();
        let metrics = ServiceMetrics::new();
        metrics.register(&mut registry);
        metrics.programmed(Duration::from_millis(3), Some(Duration::from_millis(5)), false);
        metrics.totals(1, 0, NoLocalEndpoints::default());
        metrics.health_answer(200);
        metrics.live_answer(200);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for name in [
            "kubeproxy_sync_proxy_rules_duration_seconds_bucket",
            "kubeproxy_sync_full_proxy_rules_duration_seconds_count 0",
            "kubeproxy_sync_partial_proxy_rules_duration_seconds_count 1",
            "kubeproxy_network_programming_duration_seconds_bucket",
            "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
            "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds",
            "kubeproxy_sync_proxy_rules_service_changes_total",
            "kubeproxy_sync_proxy_rules_endpoint_changes_total",
            "kubeproxy_sync_proxy_rules_service_changes_pending",
            "kubeproxy_sync_proxy_rules_endpoint_changes_pending",
            "kubeproxy_sync_proxy_rules_no_local_endpoints_total{traffic_policy=\"internal\"}",
            "kubeproxy_nftables_sync_failures_total",
            "kubeproxy_conntrack_reconciler_deleted_entries_total",
            "kubeproxy_conntrack_reconciler_sync_duration_seconds_bucket",
            "kubeproxy_proxy_healthz_total{code=\"200\"}",
            "kubeproxy_proxy_livez_total{code=\"200\"}",
            "seaway_service_programming_duration_seconds_count 1",
        ] {
            assert!(text.contains(name), "{name} is missing: {text}");
        }
    }
}
