//! Corner cases that servers are known to get wrong.

use super::judge::{Cluster, settings};
use super::*;

fn shop(mut more: Vec<FeedChange>) -> Cluster {
    let mut facts = vec![begin(), tell_namespace("shop")];
    facts.append(&mut more);
    facts.push(FeedChange::Synced);
    Cluster::new(settings(), facts)
}

#[test]
fn a_headless_service_without_ready_endpoints_does_not_exist() {
    let mut waiting = endpoint("10.1.0.1", Some("db-0"));
    waiting.ready = false;
    let facts = |publish| {
        let db = Service { publish_not_ready_addresses: publish, ..service(&[], &[("sql", 5432)]) };
        vec![tell_service("shop/db", db), tell_slice("shop/db-a", slice("db", vec![waiting.clone()], &[("sql", 5432)]))]
    };
    let mut hidden = shop(facts(false));
    assert!(hidden.ask("db.shop.svc.cluster.local.", "A").is_nxdomain());
    assert!(hidden.ask("db-0.db.shop.svc.cluster.local.", "A").is_nxdomain());
    let mut published = shop(facts(true));
    assert_eq!(published.ask("db.shop.svc.cluster.local.", "A").data(), ["A 10.1.0.1"]);
    assert!(published.ask("db.shop.svc.cluster.local.", "AAAA").is_nodata());
    assert_eq!(published.ask("db-0.db.shop.svc.cluster.local.", "A").data(), ["A 10.1.0.1"]);
}

#[test]
fn ports_without_a_name_have_no_service_name() {
    let mut cluster = shop(vec![tell_service("shop/web", service(&["10.0.0.1"], &[("", 80)]))]);
    assert!(cluster.ask("_._tcp.web.shop.svc.cluster.local.", "SRV").is_nxdomain());
    assert!(cluster.ask("_80._tcp.web.shop.svc.cluster.local.", "SRV").is_nxdomain());
    assert!(cluster.ask("_tcp.web.shop.svc.cluster.local.", "SRV").is_nxdomain());
}

#[test]
fn empty_non_terminals_exist() {
    let mut cluster = shop(vec![tell_service("shop/web", service(&["10.0.0.1"], &[("http", 80)]))]);
    for name in ["svc", "pod", "dns", "shop.svc", "shop.pod", "_tcp.web.shop.svc"] {
        assert!(cluster.ask(&format!("{name}.cluster.local."), "A").is_nodata(), "{name}");
    }
    assert!(cluster.ask("_udp.web.shop.svc.cluster.local.", "SRV").is_nxdomain());
}

#[test]
fn nothing_is_a_wildcard() {
    let mut cluster = shop(vec![tell_service("shop/web", service(&["10.0.0.1"], &[("http", 80)]))]);
    for name in ["*.shop.svc", "any.shop.svc", "web.*.svc", "*.*.svc", "*._tcp.web.shop.svc", "_any._any.web.shop.svc"]
    {
        assert!(cluster.ask(&format!("{name}.cluster.local."), "SRV").is_nxdomain(), "{name}");
    }
}

#[test]
fn names_are_found_in_any_case() {
    let mut cluster = shop(vec![tell_service("shop/web", service(&["10.0.0.1"], &[("http", 80)]))]);
    let told = cluster.ask("WeB.sHOP.Svc.clUSTEr.locAL.", "A");
    assert_eq!(told.answer, ["WeB.sHOP.Svc.clUSTEr.locAL 5 A 10.0.0.1"]);
}

#[test]
fn before_everything_is_known_what_is_missing_fails_instead_of_not_existing() {
    let facts = vec![begin(), tell_namespace("shop"), tell_service("shop/web", service(&["10.0.0.1"], &[]))];
    let mut cluster = Cluster::new(settings(), facts);
    assert_eq!(cluster.ask("web.shop.svc.cluster.local.", "A").data(), ["A 10.0.0.1"]);
    let early = cluster.ask("api.shop.svc.cluster.local.", "A");
    assert_eq!((early.rcode.as_str(), early.authority.len()), ("SERVFAIL", 0));
    cluster.builder.apply([FeedChange::Synced]);
    assert!(cluster.ask("api.shop.svc.cluster.local.", "A").is_nxdomain());
}

#[test]
fn a_new_stream_forgets_what_it_does_not_tell_again_and_only_when_it_is_complete() {
    let web = || tell_service("shop/web", service(&["10.0.0.1"], &[]));
    let api = || tell_service("shop/api", service(&["10.0.0.2"], &[]));
    let mut cluster = shop(vec![web(), api(), tell_pod("shop/a", "10.1.0.1", "n1")]);
    cluster.builder.apply([begin(), tell_namespace("shop"), web()]);
    assert_eq!(cluster.ask("api.shop.svc.cluster.local.", "A").data(), ["A 10.0.0.2"]);
    assert!(cluster.index.local_pod(&"10.1.0.1".parse().unwrap()).is_some());
    cluster.builder.apply([FeedChange::Synced]);
    assert!(cluster.ask("api.shop.svc.cluster.local.", "A").is_nxdomain());
    assert_eq!(cluster.ask("web.shop.svc.cluster.local.", "A").data(), ["A 10.0.0.1"]);
    assert!(cluster.index.local_pod(&"10.1.0.1".parse().unwrap()).is_none());
}

#[test]
fn external_names_change_to_addresses_and_look_like_addresses() {
    let mut cluster = shop(vec![tell_service("shop/out", external("example.org"))]);
    assert_eq!(cluster.ask("out.shop.svc.cluster.local.", "A").data(), ["CNAME example.org"]);
    cluster.builder.apply([tell_service("shop/out", external("192.0.2.7"))]);
    assert_eq!(cluster.ask("out.shop.svc.cluster.local.", "A").data(), ["CNAME 192.0.2.7"]);
    cluster.builder.apply([tell_service("shop/out", service(&["10.0.0.9"], &[]))]);
    assert_eq!(cluster.ask("out.shop.svc.cluster.local.", "A").data(), ["A 10.0.0.9"]);
    cluster.builder.apply([FeedChange::Service { of: service_ref("shop/out"), now: None }]);
    assert!(cluster.ask("out.shop.svc.cluster.local.", "A").is_nxdomain());
}

#[test]
fn an_address_in_several_services_has_several_names() {
    let member = |host| vec![endpoint("10.1.0.1", host)];
    let mut cluster = shop(vec![
        tell_service("shop/db", service(&[], &[])),
        tell_service("shop/all", service(&[], &[])),
        tell_service("shop/web", service(&["10.0.0.1", "fd00::1"], &[])),
        tell_slice("shop/db-a", slice("db", member(Some("db-0")), &[])),
        tell_slice("shop/all-a", slice("all", member(None), &[])),
        tell_slice("shop/web-a", slice("web", member(None), &[])),
    ]);
    assert_eq!(
        cluster.ask("1.0.1.10.in-addr.arpa.", "PTR").data(),
        ["PTR 10-1-0-1.all.shop.svc.cluster.local", "PTR db-0.db.shop.svc.cluster.local"]
    );
    assert_eq!(cluster.ask("1.0.0.10.in-addr.arpa.", "PTR").data(), ["PTR web.shop.svc.cluster.local"]);
    let v6 = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.";
    assert_eq!(cluster.ask(v6, "PTR").data(), ["PTR web.shop.svc.cluster.local"]);
    for other in ["9.0.0.10.in-addr.arpa.", "0.0.10.in-addr.arpa.", "01.0.0.10.in-addr.arpa.", "f.ip6.arpa."] {
        assert_eq!(cluster.ask(other, "PTR").answer.len(), 0, "{other} is not ours to answer");
    }
    cluster.builder.apply([tell_slice("shop/db-a", slice("db", Vec::new(), &[]))]);
    assert_eq!(cluster.ask("1.0.1.10.in-addr.arpa.", "PTR").data(), ["PTR 10-1-0-1.all.shop.svc.cluster.local"]);
}

#[test]
fn long_lists_are_cut_cleanly_and_begin_elsewhere_each_time() {
    let endpoints = (0..1500).map(|n| endpoint(&format!("10.1.{}.{}", n / 250, n % 250), None)).collect();
    let mut cluster = shop(vec![
        tell_service("shop/many", service(&[], &[])),
        tell_slice("shop/many-a", slice("many", endpoints, &[("http", 80)])),
    ]);
    let one = cluster.ask_limited("many.shop.svc.cluster.local.", "A", 1232);
    let two = cluster.ask_limited("many.shop.svc.cluster.local.", "A", 1232);
    assert!(one.truncated && two.truncated);
    assert!(one.answer.len() > 70 && one.answer != two.answer);
    let whole = cluster.ask("many.shop.svc.cluster.local.", "A");
    assert_eq!((whole.answer.len(), whole.truncated), (1500, false));
    assert!(cluster.ask_limited("many.shop.svc.cluster.local.", "SRV", 512).truncated);
}

#[test]
fn a_pod_of_two_families_is_one_srv_target() {
    let port = [("http", 80)];
    let mut cluster = shop(vec![
        tell_service("shop/db", service(&[], &port)),
        tell_slice("shop/db-4", slice("db", vec![endpoint("10.1.0.1", Some("db-0"))], &port)),
        tell_slice("shop/db-6", slice("db", vec![endpoint("fd00::1", Some("db-0"))], &port)),
    ]);
    let told = cluster.ask("_http._tcp.db.shop.svc.cluster.local.", "SRV");
    assert_eq!(told.data(), ["SRV 0 50 80 db-0.db.shop.svc.cluster.local"]);
    assert_eq!(told.additional.len(), 2);
}

#[test]
fn an_address_in_two_slices_is_told_once_and_with_the_ports_of_both() {
    let member = || vec![endpoint("10.1.0.1", None)];
    let mut cluster = shop(vec![
        tell_service("shop/db", service(&[], &[])),
        tell_slice("shop/db-a", slice("db", member(), &[("sql", 5432)])),
        tell_slice("shop/db-b", slice("db", member(), &[("sql", 5432), ("gossip", 7000)])),
    ]);
    assert_eq!(cluster.ask("db.shop.svc.cluster.local.", "A").data(), ["A 10.1.0.1"]);
    let sql = cluster.ask("_sql._tcp.db.shop.svc.cluster.local.", "SRV");
    assert_eq!((sql.data().len(), sql.additional.len()), (1, 1), "{sql:?}");
    assert_eq!(cluster.ask("_gossip._tcp.db.shop.svc.cluster.local.", "SRV").data().len(), 1);
    assert_eq!(cluster.ask("1.0.1.10.in-addr.arpa.", "PTR").data().len(), 1);
}

#[test]
fn zones_of_headless_services() {
    let at = |address, zone: &str| Endpoint { zone: Some(zone.into()), ..endpoint(address, None) };
    let endpoints = vec![at("10.1.0.1", "eu-1"), at("10.1.0.2", "eu-2")];
    let mut cluster =
        shop(vec![tell_service("shop/db", service(&[], &[])), tell_slice("shop/db-a", slice("db", endpoints, &[]))]);
    assert_eq!(cluster.ask("eu-1.pin._zone.db.shop.svc.cluster.local.", "A").data(), ["A 10.1.0.1"]);
    assert!(cluster.ask("eu-9.pin._zone.db.shop.svc.cluster.local.", "A").is_nodata());
    assert_eq!(cluster.ask("eu-2.prefer._zone.db.shop.svc.cluster.local.", "A").data(), ["A 10.1.0.2"]);
    assert_eq!(cluster.ask("eu-9.prefer._zone.db.shop.svc.cluster.local.", "A").data(), ["A 10.1.0.1", "A 10.1.0.2"]);
    assert!(cluster.ask("pin._zone.db.shop.svc.cluster.local.", "A").is_nodata());
    assert!(cluster.ask("near._zone.db.shop.svc.cluster.local.", "A").is_nxdomain());
}

#[test]
fn an_address_that_changed_hands_belongs_to_the_new_pod() {
    let mut cluster = shop(vec![tell_pod("shop/a", "10.1.0.1", "n1")]);
    let address = "10.1.0.1".parse().unwrap();
    cluster.builder.apply([tell_pod("bank/b", "10.1.0.1", "n1")]);
    cluster.builder.apply([FeedChange::Pod { of: pod_ref("shop/a"), now: None }]);
    assert_eq!(&*cluster.index.local_pod(&address).unwrap().namespace, b"\x04bank");
    cluster.builder.apply([tell_pod("bank/b", "10.1.0.1", "n2")]);
    assert!(cluster.index.local_pod(&address).is_none(), "pods of other nodes are not known for sure");
}
