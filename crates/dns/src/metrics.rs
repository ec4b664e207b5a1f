//! What Prometheus reads, under CoreDNS's names where it has one, so that its
//! dashboards work; `docs/reference/metrics.md` lists them.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use seaway_runtime::admin::{Introspect, Metrics};

use crate::feed::FeedStatus;
use crate::server::Server;
use crate::server::counters::{BUCKETS_MICROS, Counters, KINDS};
use crate::watch::Census;
use crate::watch::sketch::{Sketch, merged};
use crate::wire::number::rcode;

/// Clients that have a metric of their own.
const MOST_CLIENTS: usize = 20;

/// What is watched.
#[derive(Debug)]
pub struct Watched {
    /// Zone and cache.
    pub server: Arc<Server>,
    /// The agent's stream.
    pub feed: Arc<FeedStatus>,
    /// Counters of all shards, and of streams.
    pub counters: Vec<Arc<Counters>>,
    /// Who asks, counted by a sample.
    pub censuses: Vec<Arc<Mutex<Census>>>,
}

#[derive(Debug)]
struct Exported(Arc<Watched>);

/// Everything that is exported.
#[must_use]
pub fn registry(watched: Arc<Watched>) -> Metrics {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Exported(watched)));
    Arc::new(registry)
}

// === impl Watched ===

impl Watched {
    fn sum(&self, counter: impl Fn(&Counters) -> &AtomicU64) -> u64 {
        self.counters.iter().map(|counters| counter(counters).load(Ordering::Relaxed)).sum()
    }
}

impl Introspect for Watched {
    fn problems(&self) -> Vec<String> {
        let unknown = !self.server.resolver.index.is_synced();
        let unknown = unknown.then(|| "the agent has not told everything yet".to_owned());
        let lost = self.feed.is_lost().then(|| "the agent is away for longer than dns.unreadyAfterSeconds".to_owned());
        let unusable = self.server.resolver.views.unusable_files() > 0;
        let unusable = unusable.then(|| "a zone or block file cannot be used: the log says which and where".to_owned());
        unknown.into_iter().chain(lost).chain(unusable).collect()
    }

    fn state(&self) -> serde_json::Value {
        let (entries, bytes) = self.server.resolver.cache.size();
        serde_json::json!({
            "synced": self.server.resolver.index.is_synced(),
            "following": self.feed.is_connected(),
            "services": self.server.resolver.index.services(),
            "imports": self.server.resolver.index.more_names().0,
            "namesOutside": self.server.resolver.index.more_names().1,
            "contestedNames": &*self.server.resolver.index.contested(),
            "cacheEntries": entries,
            "cacheBytes": bytes,
        })
    }
}

// === impl Exported ===

impl Collector for Exported {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.queries(&mut encoder)?;
        self.clients(&mut encoder)?;
        let watched = &self.0;
        let (hits, misses) = watched.server.resolver.cache.counts();
        let (entries, bytes) = watched.server.resolver.cache.size();
        let (changes, connections) = watched.feed.counts();
        let (blocked, denied) = watched.server.resolver.views.kept_away();
        let counters: [(&str, &str, u64); 15] = [
            ("coredns_cache_hits", "Questions answered from the cache", hits),
            ("coredns_cache_misses", "Questions not answered from the cache", misses),
            ("coredns_cache_served_stale", "Answers given although stale", watched.sum(|c| &c.stale)),
            ("coredns_forward_requests", "Queries sent to upstreams", watched.sum(|c| &c.forwarded)),
            ("coredns_forward_max_concurrent_rejects", "Queries refused under load", watched.sum(|c| &c.shed)),
            ("seaway_dns_overload_drops", "Queries left without an answer under load", watched.sum(|c| &c.overload)),
            ("seaway_dns_overtaken", "Times a silent upstream was overtaken by another", watched.sum(|c| &c.overtaken)),
            ("seaway_dns_unanswered", "Questions that no upstream answered", watched.sum(|c| &c.failed)),
            ("seaway_dns_rejected_answers", "Answers of upstreams refused", watched.sum(|c| &c.rejected)),
            ("seaway_dns_malformed", "Messages that were no queries", watched.sum(|c| &c.malformed)),
            ("seaway_dns_truncated", "Datagrams answered with TC", watched.sum(|c| &c.truncated)),
            ("seaway_dns_blocked", "Names kept from clients by a block list", blocked),
            ("seaway_dns_denied", "Queries of clients that access rules deny", denied),
            ("seaway_dns_changes", "Changes taken from the agent", changes),
            ("seaway_dns_agent_connections", "Connections made to the agent", connections),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        let index = &watched.server.resolver.index;
        let (imports, names) = index.more_names();
        let (configs, refused) = watched.server.resolver.views.configs();
        let unusable = watched.server.resolver.views.unusable_files();
        let gauges: [(&str, &str, u64); 11] = [
            ("coredns_cache_entries", "Answers kept", entries as u64),
            ("seaway_dns_cache_bytes", "Memory of the answers kept", bytes),
            ("seaway_dns_services", "Services known", index.services() as u64),
            ("seaway_dns_imports", "Services of other clusters known", imports as u64),
            ("seaway_dns_names_outside", "Names in zones for addresses outside", names as u64),
            ("seaway_dns_contested_names", "Names that several objects ask for", index.contested().len() as u64),
            ("seaway_dns_configs", "DNSConfig objects known", configs as u64),
            ("seaway_dns_refused_configs", "Of them, those whose newest form cannot be used", refused as u64),
            ("seaway_dns_unusable_files", "Zone and block files that cannot be used", unusable as u64),
            ("seaway_dns_synced", "Everything was told once", u64::from(index.is_synced())),
            ("seaway_dns_following", "The agent is there", u64::from(watched.feed.is_connected())),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value as i64);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}

impl Exported {
    /// The clients that ask most: a label value for each pod of the cluster would be too many.
    fn clients(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let copy = |census: &Arc<Mutex<Census>>| census.lock().unwrap_or_else(PoisonError::into_inner).clients.clone();
        let sketches: Vec<Sketch<IpAddr>> = self.0.censuses.iter().map(copy).collect();
        let kind_of = ConstGauge::new(0i64).metric_type();
        let help = "Queries of the clients that ask most, estimated from a sample";
        let mut family = encoder.encode_descriptor("seaway_dns_client_queries", help, None, kind_of)?;
        for tally in merged(&sketches, MOST_CLIENTS) {
            let pod = self.0.server.hub.pod(tally.key);
            let (namespace, pod) = pod.map(|pod| (pod.namespace, pod.name)).unwrap_or_default();
            let address = tally.key.to_string();
            let labels = [("namespace", namespace.as_str()), ("pod", pod.as_str()), ("address", address.as_str())];
            ConstGauge::new(i64::try_from(tally.count).unwrap_or(i64::MAX)).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn queries(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let watched = &self.0;
        let kind_of = ConstCounter::new(0u64).metric_type();
        let mut requests = encoder.encode_descriptor("coredns_dns_requests", "Queries by type", None, kind_of)?;
        for (index, (name, _)) in KINDS.iter().enumerate() {
            let value = self.total(|counters| counters.requests.get(index));
            one(&mut requests, [("server", "dns://:53"), ("type", *name)], value)?;
        }
        let mut responses =
            encoder.encode_descriptor("coredns_dns_responses", "Answers by response code", None, kind_of)?;
        for (index, name) in rcode::NAMES.iter().enumerate() {
            let value = self.total(|counters| counters.responses.get(index));
            if value > 0 {
                one(&mut responses, [("server", "dns://:53"), ("rcode", *name)], value)?;
            }
        }
        let mut buckets = Vec::with_capacity(BUCKETS_MICROS.len() + 1);
        let mut count = 0;
        for (index, bound) in BUCKETS_MICROS.iter().map(|micros| *micros as f64 / 1e6).chain([f64::MAX]).enumerate() {
            let value = self.total(|counters| counters.durations.get(index));
            count += value;
            buckets.push((bound, value));
        }
        let sum = watched.sum(|counters| &counters.duration_micros) as f64 / 1e6;
        let mut durations = encoder.encode_descriptor(
            "coredns_dns_request_duration_seconds",
            "Time to answer",
            None,
            prometheus_client::metrics::MetricType::Histogram,
        )?;
        durations.encode_histogram::<[(&str, &str); 0]>(sum, count, &buckets, None)
    }

    fn total(&self, counter: impl Fn(&Counters) -> Option<&AtomicU64>) -> u64 {
        let values = self.0.counters.iter().filter_map(|counters| counter(counters));
        values.map(|counter| counter.load(Ordering::Relaxed)).sum()
    }
}

fn one(encoder: &mut MetricEncoder<'_>, labels: [(&str, &str); 2], value: u64) -> Result<(), std::fmt::Error> {
    ConstCounter::new(value).encode(encoder.encode_family(&labels)?)
}
