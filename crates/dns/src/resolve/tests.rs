use seaway_model::feed::FeedChange;

use super::*;
use crate::forward::tests::LIMITS;
use crate::wire::query;
use crate::zone::tests::judge::{Told, question, settings, told};
use crate::zone::tests::{begin, external, service, tell_namespace, tell_pod, tell_service};
use crate::zone::{Builder, ExternalZone, PodNames};

mod views;

const POD: &str = "10.1.0.5";

fn resolver(more: Vec<FeedChange>) -> Resolver {
    let mut settings = settings();
    settings.pods = PodNames::Insecure;
    let index = Arc::new(Index::new(settings));
    let mut facts = vec![
        begin(),
        tell_namespace("shop"),
        tell_namespace("prod"),
        tell_service("shop/web", service(&["10.0.0.1"], &[("http", 80)])),
        tell_service("prod/redis", service(&["10.0.0.2"], &[])),
        tell_pod("shop/client", POD, "n1"),
    ];
    facts.extend(more);
    facts.push(FeedChange::Synced);
    Builder::new(Arc::clone(&index)).apply(facts);
    let name = |text: &str| OwnedName::parse(text).unwrap();
    let rules = Rules {
        search: true,
        hosts: [(name("printer.office").wire().into(), vec!["192.0.2.9".parse().unwrap()])].into(),
        hosts_ttl_seconds: 5,
        stubs: vec![(name("corp.example"), 1), (name("lab.corp.example"), 2)],
        default_group: Some(0),
    };
    Resolver { index, cache: Cache::new(LIMITS), rules, views: Arc::default() }
}

enum Came {
    Answer(Told),
    Question(Box<Question>),
}

fn ask(resolver: &Resolver, client: &str, name: &str, kind: &str) -> Came {
    let octets = question(name, kind);
    let mut asked = Name::root();
    let query = query::read(&octets, &mut asked).unwrap();
    let mut buffer = [0; 4096];
    let mut response = Response::new(&mut buffer, 4096, &query);
    let trail = Trail::default();
    let client = client.parse().unwrap();
    let asking = Asking { query: &query, name: &asked, client, now_millis: 1000, fresh: None, trail: &trail };
    match resolver.resolve(&asking, &mut Scratch::default(), &mut response) {
        Decision::Reply | Decision::ReplyAndRefresh { .. } => Came::Answer(told(response.finish(None))),
        Decision::Ask { question, .. } => Came::Question(question),
    }
}

fn answer(resolver: &Resolver, client: &str, name: &str, kind: &str) -> Told {
    match ask(resolver, client, name, kind) {
        Came::Answer(told) => told,
        Came::Question(question) => panic!("asks {}", question.name),
    }
}

fn asked(resolver: &Resolver, client: &str, name: &str) -> (String, usize) {
    match ask(resolver, client, name, "A") {
        Came::Question(question) => (question.name.to_string(), question.group),
        Came::Answer(told) => panic!("{told:?}"),
    }
}

/// Puts an answer into the cache.
fn known(resolver: &Resolver, name: &str, rcode: u8) {
    use crate::forward::entry::{KeptOwner, KeptRecord};
    let mut question = crate::forward::tests::question(name);
    question.key = CacheKey::of(&question.name, kind::A, 0, false, false);
    let record = KeptRecord {
        section: Section::Answer,
        owner: KeptOwner::Asked,
        kind: kind::A,
        ttl_seconds: 60,
        data: [192, 0, 2, 1].into(),
    };
    let records = if rcode == 0 { vec![record] } else { Vec::new() };
    resolver.cache.keep(question.key.octets(), &Arc::new(Entry::new(rcode, false, 60, 0, &records)));
}

#[test]
fn a_search_list_is_walked_in_one_round_trip() {
    let resolver = resolver(Vec::new());
    let outside = "api.github.com.shop.svc.cluster.local.";
    assert_eq!(asked(&resolver, POD, outside).0, "api.github.com.");
    known(&resolver, "api.github.com", 0);
    assert_eq!(
        answer(&resolver, POD, outside, "A").answer,
        ["api.github.com.shop.svc.cluster.local 5 CNAME api.github.com", "api.github.com 59 A 192.0.2.1"]
    );
    let neighbour = answer(&resolver, POD, "redis.prod.shop.svc.cluster.local.", "A");
    assert_eq!(neighbour.data(), ["A 10.0.0.2", "CNAME redis.prod.svc.cluster.local"]);
    let spelled = answer(&resolver, POD, "web.shop.svc.shop.svc.cluster.local.", "A");
    assert_eq!(spelled.data(), ["A 10.0.0.1", "CNAME web.shop.svc.cluster.local"]);
    let v6 = answer(&resolver, POD, "redis.prod.shop.svc.cluster.local.", "AAAA");
    assert_eq!((v6.rcode.as_str(), v6.data()), ("NOERROR", vec!["CNAME redis.prod.svc.cluster.local".to_owned()]));
}

#[test]
fn a_search_list_is_walked_only_for_whom_it_is_known() {
    let resolver = resolver(vec![tell_pod("shop/far", "10.2.0.5", "n2")]);
    let name = "api.github.com.shop.svc.cluster.local.";
    assert!(answer(&resolver, "10.2.0.5", name, "A").is_nxdomain(), "a pod of another node");
    assert!(answer(&resolver, "10.9.9.9", name, "A").is_nxdomain(), "nobody we know");
    assert!(answer(&resolver, POD, "api.github.com.prod.svc.cluster.local.", "A").is_nxdomain(), "not its namespace");
    assert!(answer(&resolver, POD, "nothing.shop.svc.cluster.local.", "A").is_nxdomain(), "one label stays ours");
    assert!(answer(&resolver, POD, "_http._tcp.api.shop.svc.cluster.local.", "A").is_nxdomain());
    assert!(answer(&resolver, POD, name, "SRV").is_nxdomain(), "other types are asked one by one");
}

#[test]
fn a_search_that_finds_nothing_is_a_plain_denial() {
    let resolver = resolver(Vec::new());
    known(&resolver, "no.such.name", rcode::NXDOMAIN);
    let told = answer(&resolver, POD, "no.such.name.shop.svc.cluster.local.", "A");
    assert!(told.is_nxdomain(), "{told:?}");
}

#[test]
fn external_names_are_chased_into_the_cluster_and_out_of_it() {
    let resolver = resolver(vec![
        tell_service("shop/inner", external("web.shop.svc.cluster.local")),
        tell_service("shop/outer", external("example.org")),
        tell_service("shop/gone", external("nothing.shop.svc.cluster.local")),
        tell_service("shop/a", external("b.shop.svc.cluster.local")),
        tell_service("shop/b", external("a.shop.svc.cluster.local")),
    ]);
    let inner = answer(&resolver, POD, "inner.shop.svc.cluster.local.", "A");
    assert_eq!(
        inner.answer,
        ["inner.shop.svc.cluster.local 5 CNAME web.shop.svc.cluster.local", "web.shop.svc.cluster.local 5 A 10.0.0.1"],
        "the alias comes first"
    );
    assert_eq!(asked(&resolver, POD, "outer.shop.svc.cluster.local.").0, "example.org.");
    known(&resolver, "example.org", 0);
    let outer = answer(&resolver, POD, "outer.shop.svc.cluster.local.", "A");
    assert_eq!(outer.data(), ["A 192.0.2.1", "CNAME example.org"]);
    assert_eq!(answer(&resolver, POD, "gone.shop.svc.cluster.local.", "A").rcode, "NXDOMAIN");
    assert_eq!(answer(&resolver, POD, "a.shop.svc.cluster.local.", "A").rcode, "SERVFAIL", "a circle");
}

#[test]
fn the_longest_stub_domain_wins() {
    let resolver = resolver(Vec::new());
    assert_eq!(asked(&resolver, POD, "www.corp.example.").1, 1);
    assert_eq!(asked(&resolver, POD, "x.lab.corp.example.").1, 2);
    assert_eq!(asked(&resolver, POD, "notcorp.example.").1, 0);
}

#[test]
fn names_of_the_operator_and_of_the_host_stay_here() {
    let resolver = resolver(Vec::new());
    assert_eq!(answer(&resolver, POD, "printer.office.", "A").data(), ["A 192.0.2.9"]);
    assert_eq!(answer(&resolver, POD, "printer.office.", "AAAA").rcode, "NOERROR");
    assert_eq!(answer(&resolver, POD, "localhost.", "AAAA").data(), ["AAAA ::1"]);
    assert_eq!(answer(&resolver, POD, "a.invalid.", "A").rcode, "NXDOMAIN");
}

#[test]
fn reverse_names_that_are_not_ours_are_asked_elsewhere() {
    let resolver = resolver(Vec::new());
    assert_eq!(answer(&resolver, POD, "1.0.0.10.in-addr.arpa.", "PTR").data(), ["PTR web.shop.svc.cluster.local"]);
    let Came::Question(question) = ask(&resolver, POD, "9.9.9.9.in-addr.arpa.", "PTR") else { panic!() };
    assert_eq!(question.name.to_string(), "9.9.9.9.in-addr.arpa.");
}

#[test]
fn transfers_and_everything_are_not_given() {
    let resolver = resolver(Vec::new());
    assert_eq!(answer(&resolver, POD, "cluster.local.", "AXFR").rcode, "REFUSED");
    assert_eq!(answer(&resolver, POD, "web.shop.svc.cluster.local.", "ANY").data(), ["HINFO \"RFC8482\" \"\""]);
}

#[test]
fn a_service_may_be_called_like_a_top_level_domain() {
    let resolver = resolver(vec![tell_namespace("example"), tell_service("example/com", service(&["10.0.0.7"], &[]))]);
    assert_eq!(answer(&resolver, POD, "com.example.svc.cluster.local.", "A").data(), ["A 10.0.0.7"]);
    assert_eq!(asked(&resolver, POD, "www.example.com.").0, "www.example.com.");
}

#[test]
fn other_classes_are_refused_also_when_the_name_is_in_the_cache() {
    let resolver = resolver(Vec::new());
    known(&resolver, "example.org", 0);
    let mut octets = question("example.org.", "A");
    let last = octets.len() - 1;
    octets[last] = 3;
    let mut asked = Name::root();
    let query = query::read(&octets, &mut asked).unwrap();
    let mut buffer = [0; 512];
    let mut response = Response::new(&mut buffer, 512, &query);
    let client = POD.parse().unwrap();
    let trail = Trail::default();
    let asking = Asking { query: &query, name: &asked, client, now_millis: 1000, fresh: None, trail: &trail };
    assert!(matches!(resolver.resolve(&asking, &mut Scratch::default(), &mut response), Decision::Reply));
    assert_eq!(told(response.finish(None)).rcode, "REFUSED");
}

#[test]
fn an_address_that_changed_hands_walks_the_list_of_its_new_pod() {
    let old = "api.github.com.shop.svc.cluster.local.";
    let resolver = resolver(vec![tell_namespace("bank"), tell_pod("bank/next", POD, "n1")]);
    assert!(answer(&resolver, POD, old, "A").is_nxdomain(), "the pod of that namespace is gone");
    assert_eq!(asked(&resolver, POD, "api.github.com.bank.svc.cluster.local.").0, "api.github.com.");
}

#[test]
fn names_outside_are_ours_or_fall_through() {
    let zone = |fall_through| {
        let mut settings = settings();
        let name = OwnedName::parse("example.org").unwrap();
        settings.external = vec![ExternalZone { name, headless: false, fall_through }];
        let index = Arc::new(Index::new(settings));
        let mut web = service(&["10.0.0.1"], &[]);
        web.external_ips = vec!["192.0.2.1".parse().unwrap()];
        let facts = [begin(), tell_namespace("shop"), tell_service("shop/web", web), FeedChange::Synced];
        Builder::new(Arc::clone(&index)).apply(facts.into_iter().chain([FeedChange::SyncedNames]));
        Resolver { index, ..resolver(Vec::new()) }
    };
    let (ours, open) = (zone(false), zone(true));
    for resolver in [&ours, &open] {
        assert_eq!(answer(resolver, POD, "web.shop.example.org.", "A").data(), ["A 192.0.2.1"]);
        assert!(answer(resolver, POD, "web.shop.example.org.", "AAAA").is_nodata());
    }
    let denied = answer(&ours, POD, "www.example.org.", "A");
    assert!(denied.is_nxdomain(), "{denied:?}");
    assert!(denied.authority[0].starts_with("example.org 5 SOA "), "{denied:?}");
    assert_eq!(asked(&open, POD, "www.example.org.").0, "www.example.org.");
    known(&open, "www.example.org", 0);
    assert_eq!(answer(&open, POD, "www.example.org.", "A").data(), ["A 192.0.2.1"], "of the upstream");
}
