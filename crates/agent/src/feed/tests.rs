use seaway_model::names::ServiceImport;
use seaway_model::{Namespace, Pod, PodRef, ServiceRef};

use super::*;

const ALL_PODS: Interest = Interest { all_pods: true, imports: false, gateways: false };
const IMPORTS: Interest = Interest { all_pods: false, imports: true, gateways: false };

fn snapshot(generation: u64, namespaces: &[&str]) -> Snapshot {
    let namespaces = namespaces.iter().map(|name| ((*name).to_owned(), Namespace::default())).collect();
    Snapshot { generation, namespaces, ..Snapshot::default() }
}

fn flat(following: &Following) -> Vec<FeedChange> {
    following.beginning.iter().flatten().cloned().collect()
}

/// Everything told since, without waiting.
fn heard(following: &mut Following) -> Vec<FeedChange> {
    let mut all = Vec::new();
    while let Ok(batch) = following.batches.try_recv() {
        all.extend(following.of(&batch));
    }
    all
}

fn web() -> PodRef {
    PodRef { namespace: "shop".into(), name: "web-0".into() }
}

fn pod(node: &str, address: &str) -> Pod {
    Pod { node: Some(node.into()), addresses: vec![address.parse().unwrap()], ..Pod::default() }
}

fn elsewhere(pod: Option<Pod>) -> Vec<PodChange> {
    vec![PodChange::Pod { of: web(), now: pod.map(Arc::new) }]
}

fn told(pod: Option<Pod>) -> FeedChange {
    FeedChange::Pod { of: web(), now: pod.map(Arc::new) }
}

fn synced() -> Feed {
    let feed = Feed::new("n1".into());
    feed.snapshot(&snapshot(1, &[]));
    feed.services(&[ServiceChange::Synced]);
    feed.dns_configs(&BTreeMap::new());
    feed
}

#[test]
fn a_follower_hears_everything_once_and_synced_when_both_watches_have_told() {
    let feed = Feed::new("n1".into());
    feed.snapshot(&snapshot(1, &["shop"]));
    feed.dns_configs(&BTreeMap::new());
    let mut early = feed.follow(Interest::default());
    assert_eq!(flat(&early).len(), 2, "begin and the namespace; not synced yet");
    feed.services(&[ServiceChange::Synced]);
    assert_eq!(heard(&mut early), [FeedChange::Synced]);
    feed.snapshot(&snapshot(2, &["bank"]));
    assert_eq!(heard(&mut early).len(), 2, "one went, one came");
    let late = feed.follow(Interest::default());
    assert_eq!(flat(&late).last(), Some(&FeedChange::Synced));
    assert_eq!(heard(&mut early), [], "an unchanged snapshot says nothing");
}

#[test]
fn pods_of_other_nodes_are_for_whoever_asks_and_are_watched_only_then() {
    let feed = synced();
    let demand = feed.demand();
    let mut plain = feed.follow(Interest::default());
    assert_eq!(*demand.borrow(), Interest::default());
    let mut all = feed.follow(ALL_PODS);
    assert!(demand.borrow().all_pods);
    assert_eq!(flat(&all).len(), 1, "not synced before all pods are known");
    feed.pods(elsewhere(Some(pod("n2", "10.1.0.1"))));
    feed.pods(vec![PodChange::Synced]);
    assert_eq!(heard(&mut all), [told(Some(pod("n2", "10.1.0.1"))), FeedChange::Synced]);
    assert_eq!(heard(&mut plain), []);
    assert_eq!(flat(&feed.follow(ALL_PODS)).len(), 3);
    assert_eq!(flat(&feed.follow(Interest::default())).len(), 2);
    drop(all);
    assert_eq!(*demand.borrow(), Interest::default());
    assert_eq!(feed.forget_unwanted(), Interest::default());
    assert_eq!(flat(&feed.follow(ALL_PODS)).len(), 1, "it is forgotten, and to be heard again");
}

#[test]
fn a_pod_made_again_on_another_node_stays_known_in_whatever_order_that_is_told() {
    let (here, there) = (pod("n1", "10.1.0.1"), pod("n2", "10.2.0.1"));
    let with = |generation, pods: Option<Pod>| {
        let pods = pods.into_iter().map(|pod| (web(), pod)).collect();
        Snapshot { generation, pods, ..Snapshot::default() }
    };
    let feed = synced();
    let mut all = feed.follow(ALL_PODS);
    feed.pods(elsewhere(Some(here.clone())));
    assert_eq!(heard(&mut all), [], "those of this node come with the snapshot");
    feed.snapshot(&with(2, Some(here.clone())));
    assert_eq!(heard(&mut all), [told(Some(here.clone()))]);
    feed.pods(elsewhere(Some(there.clone())));
    assert_eq!(heard(&mut all), [], "the one here is not told gone yet");
    feed.snapshot(&with(3, None));
    assert_eq!(heard(&mut all), [told(None), told(Some(there))]);
    feed.pods(elsewhere(None));
    assert_eq!(heard(&mut all), [told(None)]);
}

#[test]
fn pods_without_an_address_of_their_own_are_not_kept() {
    let feed = synced();
    let mut all = feed.follow(ALL_PODS);
    feed.pods(elsewhere(Some(Pod { host_network: true, ..pod("n2", "192.0.2.1") })));
    feed.pods(elsewhere(Some(Pod { addresses: Vec::new(), ..pod("n2", "10.2.0.1") })));
    assert_eq!(heard(&mut all), []);
}

#[test]
fn imports_end_with_an_end_of_their_own_and_a_new_watch_shows_as_differences() {
    let import = |address: &str| {
        let import = ServiceImport { headless: false, addresses: vec![address.parse().unwrap()], ports: Vec::new() };
        Some(Arc::new(import))
    };
    let change = |name: &str, now| NameChange::Import { of: ServiceRef::new("shop", name), now };
    let told = |name: &str, now| FeedChange::Import { of: ServiceRef::new("shop", name), now };
    let feed = synced();
    let mut follower = feed.follow(IMPORTS);
    assert_eq!(flat(&follower).last(), Some(&FeedChange::Synced), "names of the cluster do not wait for them");
    feed.begin_names(IMPORTS);
    feed.names(vec![change("a", import("10.9.0.1")), change("b", import("10.9.0.2")), NameChange::Synced]);
    let first = heard(&mut follower);
    assert_eq!((first.len(), first.last()), (3, Some(&FeedChange::SyncedNames)));
    feed.begin_names(IMPORTS);
    feed.names(vec![change("a", import("10.9.0.1")), NameChange::Synced]);
    assert_eq!(heard(&mut follower), [told("b", None)]);
    let late = flat(&feed.follow(IMPORTS));
    assert_eq!(late[late.len() - 2..], [FeedChange::Synced, FeedChange::SyncedNames]);
    assert!(!flat(&feed.follow(Interest::default())).contains(&FeedChange::SyncedNames));
}

#[test]
fn configurations_of_names_are_told_when_they_differ_and_before_synced() {
    let feed = Feed::new("n1".into());
    feed.snapshot(&snapshot(1, &[]));
    feed.services(&[ServiceChange::Synced]);
    let mut early = feed.follow(Interest::default());
    assert_eq!(flat(&early).len(), 1, "not synced: what is kept from clients is not known yet");
    let spec = Arc::new(DnsSpec { search: Some(false), ..DnsSpec::default() });
    let all = BTreeMap::from([("a".to_owned(), Arc::clone(&spec))]);
    feed.dns_configs(&all);
    assert_eq!(heard(&mut early), [FeedChange::DnsConfig { of: "a".into(), now: Some(spec) }, FeedChange::Synced]);
    feed.dns_configs(&all);
    assert_eq!(heard(&mut early), [], "nothing differs");
    feed.dns_configs(&BTreeMap::new());
    assert_eq!(heard(&mut early), [FeedChange::DnsConfig { of: "a".into(), now: None }]);
}
