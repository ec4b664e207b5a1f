//! Zones for addresses that are reached from outside the cluster.

use seaway_model::names::{Gateway, GatewayRef, Listener, Route, RouteKind, RouteParent, RouteRef};
use seaway_model::service::{IngressMode, LoadBalancerIngress};
use seaway_model::{Labels, Node};

use super::judge::{Cluster, settings};
use super::*;
use crate::wire::OwnedName;

fn zones() -> ZoneSettings {
    let zone =
        |name: &str| ExternalZone { name: OwnedName::parse(name).unwrap(), headless: false, fall_through: false };
    ZoneSettings { external: vec![zone("example.org"), zone("lab.example.org")], ..settings() }
}

fn outside(mut more: Vec<FeedChange>) -> Cluster {
    let mut facts = vec![begin(), tell_namespace("shop")];
    facts.append(&mut more);
    facts.extend([FeedChange::Synced, FeedChange::SyncedNames]);
    Cluster::new(zones(), facts)
}

fn balanced(addresses: &[&str], since: i64, annotations: &[(&str, &str)]) -> Service {
    let ingress = addresses.iter().map(|address| LoadBalancerIngress {
        address: address.parse().ok(),
        hostname: address.parse::<IpAddr>().is_err().then(|| (*address).to_owned()),
        mode: IngressMode::Vip,
    });
    let annotations: Labels = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let ingress = ingress.collect();
    let kind = ServiceKind::LoadBalancer;
    Service { kind, ingress, annotations, created_at_seconds: since, ..service(&["10.0.0.1"], &[("http", 80)]) }
}

const HOSTNAME: &str = "external-dns.alpha.kubernetes.io/hostname";

fn gateway_ref(name: &str) -> GatewayRef {
    GatewayRef { namespace: "infra".to_owned(), name: name.to_owned() }
}

fn tell_gateway(name: &str, address: &str, hostnames: &[&str], since: i64) -> FeedChange {
    let listeners = hostnames.iter().enumerate().map(|(number, hostname)| Listener {
        name: format!("l{number}"),
        hostname: Some((*hostname).to_owned()).filter(|hostname| !hostname.is_empty()),
        port: 443,
    });
    let gateway = Gateway {
        created_at_seconds: since,
        addresses: vec![address.parse().unwrap()],
        hostname: None,
        listeners: listeners.collect(),
        annotations: Labels::new(),
    };
    FeedChange::Gateway { of: gateway_ref(name), now: Some(Arc::new(gateway)) }
}

fn route_ref(name: &str) -> RouteRef {
    RouteRef { kind: RouteKind::Http, namespace: "shop".to_owned(), name: name.to_owned() }
}

fn tell_route(name: &str, hostnames: &[&str], gateways: &[&str], listener: Option<&str>) -> FeedChange {
    let parents = gateways.iter().map(|gateway| RouteParent {
        gateway: gateway_ref(gateway),
        listener: listener.map(str::to_owned),
        port: None,
    });
    let route = Route {
        created_at_seconds: 5,
        hostnames: hostnames.iter().map(|name| (*name).to_owned()).collect(),
        parents: parents.collect(),
        annotations: Labels::new(),
    };
    FeedChange::Route { of: route_ref(name), now: Some(Arc::new(route)) }
}

#[test]
fn services_ask_for_names_by_annotation() {
    let web = balanced(
        &["192.0.2.1", "2001:db8::1"],
        1,
        &[
            (HOSTNAME, "www.example.org, shop.example.org.,"),
            ("seaway.dev/hostname", "WEB.lab.example.org"),
            ("external-dns.alpha.kubernetes.io/ttl", "1m"),
        ],
    );
    let mut cluster = outside(vec![tell_service("shop/web", web)]);
    assert_eq!(cluster.ask("www.example.org.", "A").answer, ["www.example.org 60 A 192.0.2.1"]);
    assert_eq!(cluster.ask("shop.example.org.", "AAAA").data(), ["AAAA 2001:db8::1"]);
    assert_eq!(cluster.ask("web.lab.example.org.", "A").data(), ["A 192.0.2.1"]);
    assert!(cluster.ask("www.example.org.", "TXT").is_nodata());
    let soa = cluster.ask("web.lab.example.org.", "MX").authority;
    assert!(soa[0].starts_with("lab.example.org 5 SOA "), "of the longest zone: {soa:?}");
    assert_eq!(cluster.ask("web.shop.example.org.", "A").data(), ["A 192.0.2.1"], "its own name stays");
    assert_eq!(cluster.ask("1.2.0.192.in-addr.arpa.", "PTR").data(), ["PTR web.shop.example.org"]);
    cluster.builder.apply([tell_service("shop/web", balanced(&["192.0.2.1"], 1, &[(HOSTNAME, "www.example.org")]))]);
    assert!(cluster.ask("web.lab.example.org.", "A").is_nxdomain());
    cluster.builder.apply([FeedChange::Service { of: service_ref("shop/web"), now: None }]);
    for gone in ["www.example.org.", "web.shop.example.org.", "shop.example.org."] {
        assert!(cluster.ask(gone, "A").is_nxdomain(), "{gone}");
    }
    assert_eq!(cluster.ask("1.2.0.192.in-addr.arpa.", "PTR").answer.len(), 0);
    assert_eq!(cluster.index.more_names().1, 0, "nothing stays behind");
}

#[test]
fn nobody_gets_a_name_that_is_not_his_to_ask_for() {
    let greedy = "google.com, example.com, ns.dns.example.org, dns.example.org, n1.node.example.org, a..example.org";
    let mut cluster = outside(vec![tell_service("shop/web", balanced(&["192.0.2.1"], 1, &[(HOSTNAME, greedy)]))]);
    for name in ["google.com.", "example.com."] {
        assert_eq!(cluster.ask(name, "A").answer.len(), 0, "{name}");
    }
    assert_eq!(cluster.ask("ns.dns.example.org.", "A").data(), ["A 10.96.0.10"]);
    assert!(cluster.ask("n1.node.example.org.", "A").is_nxdomain());
}

#[test]
fn the_older_of_two_has_a_name_in_whatever_order_they_are_told() {
    let old = || tell_service("shop/old", balanced(&["192.0.2.1"], 10, &[(HOSTNAME, "www.example.org")]));
    let new = || tell_service("shop/new", balanced(&["192.0.2.2"], 20, &[(HOSTNAME, "www.example.org")]));
    for facts in [vec![old(), new()], vec![new(), old()]] {
        let mut cluster = outside(facts);
        assert_eq!(cluster.ask("www.example.org.", "A").data(), ["A 192.0.2.1"]);
        let contested = cluster.index.contested();
        assert_eq!(contested.len(), 1);
        let (name, holder, others) = (&contested[0].name, &contested[0].holder, &contested[0].others);
        assert_eq!((name.as_str(), holder.as_str()), ("www.example.org.", "Service shop/old"));
        assert_eq!(*others, ["Service shop/new"]);
        cluster.builder.apply([FeedChange::Service { of: service_ref("shop/old"), now: None }]);
        assert_eq!(cluster.ask("www.example.org.", "A").data(), ["A 192.0.2.2"]);
        assert!(cluster.index.contested().is_empty());
    }
}

#[test]
fn the_name_of_a_service_is_not_taken_by_an_annotation() {
    let mut cluster = outside(vec![
        tell_service("shop/web", balanced(&["192.0.2.1"], 20, &[])),
        tell_service("bank/thief", balanced(&["192.0.2.66"], 10, &[(HOSTNAME, "web.shop.example.org")])),
    ]);
    assert_eq!(cluster.ask("web.shop.example.org.", "A").data(), ["A 192.0.2.1"]);
}

#[test]
fn targets_may_be_names_and_are_chased() {
    let named = balanced(&["lb.example.net"], 1, &[(HOSTNAME, "www.example.org,example.org")]);
    let redirected = balanced(
        &["192.0.2.1"],
        1,
        &[(HOSTNAME, "b.example.org"), ("external-dns.alpha.kubernetes.io/target", "198.51.100.7")],
    );
    let mut cluster = outside(vec![tell_service("shop/a", named), tell_service("shop/b", redirected)]);
    assert_eq!(cluster.ask("www.example.org.", "A").data(), ["CNAME lb.example.net"]);
    assert!(cluster.ask("example.org.", "A").is_nodata(), "no alias beside the zone's own records");
    assert_eq!(cluster.ask("b.example.org.", "A").data(), ["A 198.51.100.7"]);
}

#[test]
fn nodes_are_below_node() {
    let node = |address: &str| {
        let node = Node { addresses: vec![address.parse().unwrap()], ..Node::default() };
        FeedChange::Node { of: NodeName::from("ip-1.ec2.internal"), now: Some(Arc::new(node)) }
    };
    let mut cluster = outside(vec![
        node("192.0.2.10"),
        tell_namespace("node"),
        tell_service("node/x", balanced(&["192.0.2.1"], 1, &[])),
    ]);
    assert_eq!(cluster.ask("ip-1.ec2.internal.node.example.org.", "A").data(), ["A 192.0.2.10"]);
    assert_eq!(cluster.ask("ip-1.ec2.internal.node.lab.example.org.", "A").data(), ["A 192.0.2.10"]);
    assert!(cluster.ask("ec2.internal.node.example.org.", "A").is_nodata());
    assert_eq!(cluster.ask("10.2.0.192.in-addr.arpa.", "PTR").answer.len(), 0, "others know the names of nodes");
    cluster.builder.apply([node("192.0.2.11")]);
    assert_eq!(cluster.ask("ip-1.ec2.internal.node.example.org.", "A").data(), ["A 192.0.2.11"]);
}

#[test]
fn gateways_have_the_names_of_their_listeners() {
    let mut cluster =
        outside(vec![tell_gateway("edge", "192.0.2.1", &["shop.example.org", "*.apps.example.org", ""], 1)]);
    assert_eq!(cluster.ask("shop.example.org.", "A").data(), ["A 192.0.2.1"]);
    assert_eq!(cluster.ask("any.apps.example.org.", "A").answer, ["any.apps.example.org 5 A 192.0.2.1"]);
    assert_eq!(cluster.ask("a.b.apps.example.org.", "A").data(), ["A 192.0.2.1"]);
    assert!(cluster.ask("apps.example.org.", "A").is_nodata(), "it exists by what is below it");
    assert!(cluster.ask("any.example.org.", "A").is_nxdomain());
    cluster.builder.apply([FeedChange::Gateway { of: gateway_ref("edge"), now: None }]);
    assert!(cluster.ask("any.apps.example.org.", "A").is_nxdomain());
}

#[test]
fn a_name_that_exists_stops_a_wildcard() {
    let mut cluster = outside(vec![
        tell_gateway("edge", "192.0.2.1", &["*.example.org", "deep.down.example.org"], 1),
        tell_service("shop/web", balanced(&["192.0.2.2"], 1, &[])),
    ]);
    assert_eq!(cluster.ask("any.example.org.", "A").data(), ["A 192.0.2.1"]);
    assert!(cluster.ask("down.example.org.", "A").is_nodata());
    assert!(cluster.ask("other.down.example.org.", "A").is_nxdomain());
    assert!(cluster.ask("nothing.shop.example.org.", "A").is_nxdomain(), "the namespace has a Service in the zone");
    assert_eq!(cluster.ask("web.bank.example.org.", "A").data(), ["A 192.0.2.1"]);
}

#[test]
fn routes_have_their_names_where_gateways_took_them() {
    let mut cluster = outside(vec![
        tell_route("web", &["www.example.org", "other.example.com"], &["edge", "second"], None),
        tell_gateway("edge", "192.0.2.1", &["*.example.org"], 1),
        tell_gateway("second", "192.0.2.2", &[""], 1),
        tell_route("some", &["x.a.example.org", "x.b.example.org"], &["third"], Some("l1")),
        tell_gateway("third", "192.0.2.3", &["*.a.example.org", "*.b.example.org"], 9),
        tell_route("all", &[], &["third"], Some("l0")),
        tell_route("alone", &["alone.example.org"], &[], None),
    ]);
    assert_eq!(cluster.ask("www.example.org.", "A").data(), ["A 192.0.2.1", "A 192.0.2.2"]);
    assert_eq!(cluster.ask("x.b.example.org.", "A").data(), ["A 192.0.2.3"]);
    assert!(cluster.index.contested().is_empty(), "{:?}", cluster.index.contested());
    cluster.builder.apply([FeedChange::Gateway { of: gateway_ref("second"), now: None }]);
    assert_eq!(cluster.ask("www.example.org.", "A").data(), ["A 192.0.2.1"]);
    cluster.builder.apply([FeedChange::Route { of: route_ref("web"), now: None }]);
    assert_eq!(cluster.ask("www.example.org.", "A").data(), ["A 192.0.2.1"], "the listener's");
    cluster.builder.apply([FeedChange::Gateway { of: gateway_ref("edge"), now: None }]);
    assert!(cluster.ask("www.example.org.", "A").is_nxdomain());
    assert!(cluster.ask("alone.example.org.", "A").is_nxdomain(), "nobody accepted it");
}

#[test]
fn names_follow_streams_and_outlive_a_restart() {
    let www = || tell_service("shop/web", balanced(&["192.0.2.1"], 1, &[(HOSTNAME, "www.example.org")]));
    let edge = || tell_gateway("edge", "192.0.2.2", &["gate.example.org"], 1);
    let mut cluster = outside(vec![www(), edge()]);
    let saved = serde_json::to_vec(&cluster.builder.save()).unwrap();
    cluster.builder.apply([begin(), tell_namespace("shop"), FeedChange::Synced]);
    assert!(cluster.ask("www.example.org.", "A").is_nxdomain());
    assert_eq!(cluster.ask("gate.example.org.", "A").data(), ["A 192.0.2.2"], "Gateways are not told whole yet");
    cluster.builder.apply([FeedChange::SyncedNames]);
    assert!(cluster.ask("gate.example.org.", "A").is_nxdomain());
    let mut next = Cluster::new(zones(), Vec::new());
    next.builder.restore(serde_json::from_slice(&saved).unwrap(), true);
    assert_eq!(next.ask("www.example.org.", "A").data(), ["A 192.0.2.1"]);
    assert_eq!(next.ask("gate.example.org.", "A").data(), ["A 192.0.2.2"]);
    next.builder.apply([begin(), tell_namespace("shop"), www(), FeedChange::Synced, FeedChange::SyncedNames]);
    assert!(next.ask("gate.example.org.", "A").is_nxdomain(), "gone while we were");
    assert_eq!(next.ask("www.example.org.", "A").data(), ["A 192.0.2.1"]);
}

#[test]
fn before_gateways_are_told_what_is_missing_fails() {
    let mut cluster = Cluster::new(zones(), vec![begin(), FeedChange::Synced]);
    assert_eq!(cluster.ask("www.example.org.", "A").rcode, "SERVFAIL");
    assert!(cluster.ask("example.org.", "A").is_nodata());
}
