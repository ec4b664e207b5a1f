//! What records cost in memory. Alone in its process, so that nothing else moves the number.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use seaway_dns::wire::OwnedName;
use seaway_dns::zone::{Builder, ExternalZone, Index, PodNames, ZoneSettings};
use seaway_model::feed::FeedChange;
use seaway_model::{Namespace, Node, NodeName, Pod, PodRef};

const PODS: u32 = 50_000;
const NODES: u32 = 5000;

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn index() -> Arc<Index> {
    let name = |text: &str| OwnedName::parse(text).unwrap();
    Arc::new(Index::new(ZoneSettings {
        domain: name("cluster.local"),
        ttl_seconds: 5,
        pods: PodNames::Verified,
        endpoint_pod_names: false,
        servers: Vec::new(),
        cluster_set: None,
        external: vec![ExternalZone { name: name("example.org"), headless: false, fall_through: false }],
    }))
}

fn pod(number: u32) -> FeedChange {
    let of = PodRef { namespace: format!("team-{}", number % 200), name: format!("web-7c9f8d6b5-{number:05}") };
    let address = IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + number));
    let node = Some(NodeName::from(format!("worker-{}", number / 50).as_str()));
    FeedChange::Pod { of, now: Some(Arc::new(Pod { addresses: vec![address], node, ..Pod::default() })) }
}

fn node(number: u32) -> FeedChange {
    let address = IpAddr::V4(Ipv4Addr::from(0xc612_0000 + number));
    let node = Node { addresses: vec![address], ..Node::default() };
    FeedChange::Node { of: NodeName::from(format!("worker-{number}").as_str()), now: Some(Arc::new(node)) }
}

#[test]
fn pods_of_a_large_cluster_and_names_of_its_nodes_are_small() {
    let mut builder = Builder::new(index());
    builder.apply([FeedChange::Begin { node: NodeName::from("worker-0") }]);
    let namespaces = (0..200).map(|number| FeedChange::Namespace {
        of: format!("team-{number}"),
        now: Some(Arc::new(Namespace::default())),
    });
    builder.apply(namespaces);
    let mut tell = |what: &str, count: u32, change: fn(u32) -> FeedChange, most_bytes: usize| {
        let before = resident_bytes();
        for first in (0..count).step_by(500) {
            builder.apply((first..first + 500).map(change));
        }
        let each = resident_bytes().saturating_sub(before) / count as usize;
        println!("{count} {what}: {each} bytes each");
        assert!(each < most_bytes, "{what}: {each} bytes each, more than {most_bytes}");
    };
    tell("pods", PODS, pod, 600);
    tell("names of nodes", NODES, node, 1600);
}
