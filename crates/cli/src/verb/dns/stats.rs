//! The counters of a DNS server as people read them. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use super::metrics::Metrics;
use crate::output::Mark;

/// Times to answer, cumulated.
const TIMES: &str = "coredns_dns_request_duration_seconds_bucket";

/// What a server counted since it was started.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stats {
    /// Everything of the cluster was told once.
    pub(super) synced: bool,
    /// The agent of this node is there.
    following: bool,
    services: u64,
    queries_by_type: BTreeMap<String, u64>,
    answers_by_code: BTreeMap<String, u64>,
    /// Half of the answers took at most that.
    p50_micros: Option<f64>,
    p99_micros: Option<f64>,
    cache: Cache,
    upstreams: Upstreams,
    malformed: u64,
    truncated: u64,
    refused_under_load: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Cache {
    entries: u64,
    bytes: u64,
    hits: u64,
    misses: u64,
    served_stale: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Upstreams {
    asked: u64,
    overtaken: u64,
    unanswered: u64,
    rejected_answers: u64,
}

// === impl Stats ===

impl Stats {
    pub(super) fn of(metrics: &Metrics) -> Self {
        let count = |name: &str| metrics.value(name) as u64;
        let counts = |name: &str, label: &str| -> BTreeMap<String, u64> {
            let some = metrics.by(name, label).filter(|(_, value)| *value > 0.0);
            some.map(|(key, value)| (key.to_owned(), value as u64)).collect()
        };
        Self {
            synced: count("seaway_dns_synced") == 1,
            following: count("seaway_dns_following") == 1,
            services: count("seaway_dns_services"),
            queries_by_type: counts("coredns_dns_requests_total", "type"),
            answers_by_code: counts("coredns_dns_responses_total", "rcode"),
            p50_micros: bound_of(metrics, 0.5),
            p99_micros: bound_of(metrics, 0.99),
            cache: Cache {
                entries: count("coredns_cache_entries"),
                bytes: count("seaway_dns_cache_bytes"),
                hits: count("coredns_cache_hits_total"),
                misses: count("coredns_cache_misses_total"),
                served_stale: count("coredns_cache_served_stale_total"),
            },
            upstreams: Upstreams {
                asked: count("coredns_forward_requests_total"),
                overtaken: count("seaway_dns_overtaken_total"),
                unanswered: count("seaway_dns_unanswered_total"),
                rejected_answers: count("seaway_dns_rejected_answers_total"),
            },
            malformed: count("seaway_dns_malformed_total"),
            truncated: count("seaway_dns_truncated_total"),
            refused_under_load: count("coredns_forward_max_concurrent_rejects_total"),
        }
    }
}

/// The upper bound of the bucket that this share of the answers is in.
fn bound_of(metrics: &Metrics, share: f64) -> Option<f64> {
    let mut buckets: Vec<(f64, f64)> =
        metrics.by(TIMES, "le").filter_map(|(bound, count)| Some((bound.parse().ok()?, count))).collect();
    buckets.sort_by(|(first, _), (second, _)| first.total_cmp(second));
    let (_, total) = *buckets.last().filter(|(_, total)| *total > 0.0)?;
    let (bound, _) = buckets.iter().find(|(_, count)| *count >= total * share)?;
    bound.is_finite().then_some(bound * 1e6)
}

pub(super) fn render(stats: &Stats, colour: bool) -> String {
    let state = match (stats.synced, stats.following) {
        (true, true) => Mark::Good.paint("follows the agent", colour),
        (true, false) => Mark::Unneeded.paint("answers from what was told; the agent is away", colour),
        (false, _) => Mark::Bad.paint("does not know the cluster yet", colour),
    };
    let list = |counts: &BTreeMap<String, u64>| {
        let parts: Vec<String> = counts.iter().map(|(key, count)| format!("{key} {count}")).collect();
        if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
    };
    let time = |micros: Option<f64>| micros.map_or("-".to_owned(), |micros| format!("≤ {micros:.0} µs"));
    let (cache, upstreams) = (&stats.cache, &stats.upstreams);
    format!(
        "State       {state}, {} Services\n\
         Queries     {}\n\
         Answers     {}\n\
         Times       half {}, 99 of 100 {}\n\
         Cache       {} answers in {} KiB; {} hits, {} misses, {} served stale\n\
         Upstreams   {} queries; {} overtaken, {} unanswered, {} answers rejected\n\
         Refused     {} malformed, {} under load; {} truncated\n",
        stats.services,
        list(&stats.queries_by_type),
        list(&stats.answers_by_code),
        time(stats.p50_micros),
        time(stats.p99_micros),
        cache.entries,
        cache.bytes / 1024,
        cache.hits,
        cache.misses,
        cache.served_stale,
        upstreams.asked,
        upstreams.overtaken,
        upstreams.unanswered,
        upstreams.rejected_answers,
        stats.malformed,
        stats.refused_under_load,
        stats.truncated,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::assert_golden;

    const METRICS: &str = "coredns_dns_requests_total{server=\"dns://:53\",type=\"A\"} 90\n\
        coredns_dns_requests_total{server=\"dns://:53\",type=\"SRV\"} 10\n\
        coredns_dns_requests_total{server=\"dns://:53\",type=\"TXT\"} 0\n\
        coredns_dns_responses_total{server=\"dns://:53\",rcode=\"NOERROR\"} 97\n\
        coredns_dns_responses_total{server=\"dns://:53\",rcode=\"NXDOMAIN\"} 3\n\
        coredns_dns_request_duration_seconds_bucket{le=\"0.00001\"} 60\n\
        coredns_dns_request_duration_seconds_bucket{le=\"0.001\"} 99\n\
        coredns_dns_request_duration_seconds_bucket{le=\"+Inf\"} 100\n\
        coredns_cache_entries 12\nseaway_dns_cache_bytes 4096\ncoredns_cache_hits_total 5\n\
        coredns_cache_misses_total 12\nseaway_dns_overtaken_total 1\nseaway_dns_services 7\n\
        seaway_dns_synced 1\nseaway_dns_following 1\n";

    #[test]
    fn counters_are_told_in_a_page() {
        let stats = Stats::of(&Metrics::parse(METRICS));
        assert_eq!((stats.p50_micros.map(f64::round), stats.p99_micros.map(f64::round)), (Some(10.0), Some(1000.0)));
        assert_golden("dns-stats.txt", &render(&stats, false));
    }

    #[test]
    fn a_server_that_was_never_asked_has_no_times() {
        let stats = Stats::of(&Metrics::parse(""));
        assert!(!stats.synced && stats.p99_micros.is_none());
        assert!(render(&stats, false).contains("does not know the cluster yet"));
    }
}
