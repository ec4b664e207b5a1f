//! What clients send to the DNS server, and what upstreams answer it.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use seaway_dns::forward::Cache;
use seaway_dns::forward::cache::CacheLimits;
use seaway_dns::forward::normal::{Expected, read};
use seaway_dns::resolve::{Resolver, Rules};
use seaway_dns::server::reply::{Arrival, Outcome, Workspace};
use seaway_dns::server::{Counters, Server};
use seaway_dns::wire::name::Place;
use seaway_dns::wire::{Name, OwnedName, Response, query};
use seaway_dns::zone::{ExternalZone, Index, PodNames, ZoneSettings};

const LIMITS: CacheLimits =
    CacheLimits { octets: 1 << 20, positive_seconds: 3600, negative_seconds: 30, stale_seconds: 600 };

fn server() -> Server {
    let settings = ZoneSettings {
        domain: OwnedName::parse("cluster.local").unwrap(),
        ttl_seconds: 5,
        pods: PodNames::Insecure,
        endpoint_pod_names: false,
        servers: vec![[10, 96, 0, 10].into()],
        cluster_set: OwnedName::parse("clusterset.local").ok(),
        external: vec![ExternalZone {
            name: OwnedName::parse("example.net").unwrap(),
            headless: true,
            fall_through: false,
        }],
    };
    let index = Arc::new(Index::new(settings));
    let rules = Rules {
        search: true,
        hosts: Default::default(),
        hosts_ttl_seconds: 5,
        stubs: Vec::new(),
        default_group: Some(0),
    };
    Server::new(Resolver { index, cache: Cache::new(LIMITS), rules, views: Default::default() })
}

fuzz_target!(|data: &[u8]| {
    let server = server();
    let arrival = Arrival { client: [10, 1, 0, 1].into(), datagram: true, now_micros: 1, unix_seconds: 1 };
    let mut buffer = [0; 1232];
    let counters = Counters::default();
    if let Outcome::Reply(octets, _) =
        server.answer(data, arrival, None, &mut Workspace::default(), &counters, &mut buffer)
    {
        assert!(octets.len() >= 12 && octets[2] & 0x80 != 0);
        assert_eq!(octets[..2], data[..2]);
    }
    let mut name = Name::root();
    name.assign(b"\x07example\x03org\0").unwrap();
    let question = b"\x07example\x03org\0\0\x01\0\x01";
    let id = data.first_chunk::<2>().map_or(0, |id| u16::from_be_bytes(*id));
    if let Ok(entry) = read(data, Expected { id, question, name: &name, kind: 1 }, &LIMITS, 0) {
        let asked = [b"\0\0\x01\0\0\x01\0\0\0\0\0\0".as_slice(), question].concat();
        let query = query::read(&asked, &mut name).unwrap();
        let mut space = vec![0; 65_535];
        let mut response = Response::new(&mut space, 65_535, &query);
        entry.write(&name, Place::QUESTION, 0, false, &mut response);
        let _ = response.finish(None);
    }
});
