//! An answer from the zone or from the cache costs no memory.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up has failed")]

use std::collections::HashMap;
use std::sync::Arc;

use seaway_dns::forward::cache::{Cache, CacheKey, CacheLimits};
use seaway_dns::forward::entry::{Entry, KeptOwner, KeptRecord};
use seaway_dns::resolve::{Resolver, Rules};
use seaway_dns::server::reply::{Arrival, Outcome, Workspace};
use seaway_dns::server::{Counters, Server};
use seaway_dns::wire::number::kind;
use seaway_dns::wire::{Name, OwnedName, Section};
use seaway_dns::zone::{Builder, Index, PodNames, ZoneSettings};
use seaway_model::feed::FeedChange;

/// One Service with an address, one without.
const TOLD: &str = r#"[
{"change":"begin","node":"n1"},{"change":"namespace","of":"shop","now":{"labels":{}}},
{"change":"service","of":{"namespace":"shop","name":"web"},"now":{"uid":"u","createdAtSeconds":0,"kind":"ClusterIP",
"clusterIps":["10.0.0.1"],"headless":false,"ports":[],"externalIps":[],"ingress":[],"loadBalancerClass":null,
"sourceRanges":[],"affinityTimeoutSeconds":null,"internalPolicy":"Cluster","externalPolicy":"Cluster",
"healthCheckNodePort":null,"publishNotReadyAddresses":false,"trafficDistribution":"Any","externalName":null,
"labels":{},"annotations":{}}},{"change":"synced"}]"#;

fn server() -> Server {
    let domain = OwnedName::parse("cluster.local").unwrap();
    let settings = ZoneSettings {
        domain,
        ttl_seconds: 5,
        pods: PodNames::Insecure,
        endpoint_pod_names: false,
        servers: vec![[10, 96, 0, 10].into()],
        cluster_set: None,
        external: Vec::new(),
    };
    let index = Arc::new(Index::new(settings));
    let told: Vec<FeedChange> = serde_json::from_str(TOLD).unwrap();
    Builder::new(Arc::clone(&index)).apply(told);
    let limits = CacheLimits { octets: 1 << 20, positive_seconds: 60, negative_seconds: 60, stale_seconds: 0 };
    let cache = Cache::new(limits);
    let mut name = Name::root();
    name.assign(OwnedName::parse("example.org").unwrap().wire()).unwrap();
    let record = KeptRecord {
        section: Section::Answer,
        owner: KeptOwner::Asked,
        kind: kind::A,
        ttl_seconds: 60,
        data: [192, 0, 2, 1].into(),
    };
    cache.keep(
        CacheKey::of(&name, kind::A, 0, false, false).octets(),
        &Arc::new(Entry::new(0, false, 60, 0, &[record])),
    );
    let rules =
        Rules { search: true, hosts: HashMap::new(), hosts_ttl_seconds: 5, stubs: Vec::new(), default_group: Some(0) };
    Server::new(Resolver { index, cache, rules, views: Arc::default() })
}

fn query(name: &str, kind: u16) -> Vec<u8> {
    let mut message = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    message.extend(OwnedName::parse(name).unwrap().wire());
    message.extend(kind.to_be_bytes());
    // IN, and EDNS with a cookie.
    message.extend(b"\0\x01\0\0\x29\x04\xd0\0\0\0\0\0\x0c\0\x0a\0\x08clientid");
    message
}

#[test]
fn answers_from_zone_and_cache_allocate_nothing() {
    let (server, counters) = (server(), Counters::default());
    let (mut workspace, mut buffer) = (Workspace::default(), [0; 1232]);
    let cases = [
        ("web.shop.svc.cluster.local", kind::A, 0, 1),
        ("web.shop.svc.cluster.local", kind::AAAA, 0, 0),
        ("web.shop.svc.cluster.local", kind::SRV, 0, 0),
        ("nobody.shop.svc.cluster.local", kind::A, 3, 0),
        ("10-1-2-3.shop.pod.cluster.local", kind::A, 0, 1),
        ("1.0.0.10.in-addr.arpa", kind::PTR, 0, 1),
        ("example.org", kind::A, 0, 1),
    ];
    for (name, kind, rcode, answers) in cases {
        let message = query(name, kind);
        let mut ask = || {
            let arrival =
                Arrival { client: [10, 1, 0, 1].into(), datagram: true, now_micros: 1_000_000, unix_seconds: 99 };
            match server.answer(&message, arrival, None, &mut workspace, &counters, &mut buffer) {
                Outcome::Reply([_, _, _, flags, _, _, _, count, ..], None) => (flags & 0xf, *count),
                other => panic!("{name}: {other:?}"),
            }
        };
        // What threads make once, such as the slots of arc-swap.
        ask();
        let mut got = (0, 0);
        let allocated = allocation_counter::measure(|| (0..10).for_each(|_| got = ask()));
        assert_eq!((got, allocated.count_total), ((rcode, answers), 0), "{name}");
    }
}
