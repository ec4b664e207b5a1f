//! Services of other clusters (KEP-1645).

use seaway_model::names::ServiceImport;
use seaway_model::service::ImportedSlice;

use super::judge::{Cluster, settings};
use super::*;

fn import(name: &str, addresses: &[&str], ports: &[(&str, u16)]) -> FeedChange {
    let import = ServiceImport {
        headless: addresses.is_empty(),
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        ports: service(&[], ports).ports,
    };
    FeedChange::Import { of: service_ref(name), now: Some(Arc::new(import)) }
}

fn imported(slice_name: &str, of: &str, cluster: &str, endpoints: Vec<Endpoint>) -> FeedChange {
    let imported = ImportedSlice { service: of.to_owned(), cluster: cluster.to_owned() };
    let slice =
        EndpointSlice { service: None, imported: Some(imported.into()), ..slice("", endpoints, &[("sql", 5432)]) };
    tell_slice(&format!("shop/{slice_name}"), slice)
}

fn clusters() -> Cluster {
    Cluster::new(
        settings(),
        vec![
            begin(),
            tell_namespace("shop"),
            import("shop/db", &[], &[("sql", 5432)]),
            import("shop/web", &["10.9.0.1", "fd09::1"], &[("http", 80)]),
            imported("a", "db", "west", vec![endpoint("10.1.0.1", Some("db-0"))]),
            imported("b", "db", "east.eu", vec![endpoint("10.2.0.1", Some("db-0")), endpoint("10.2.0.2", None)]),
            FeedChange::Synced,
            FeedChange::SyncedNames,
        ],
    )
}

#[test]
fn endpoints_of_headless_imports_are_called_by_host_and_cluster_which_may_hold_a_dot() {
    let mut cluster = clusters();
    let zone = "db.shop.svc.clusterset.local.";
    assert_eq!(cluster.ask(zone, "A").data(), ["A 10.1.0.1", "A 10.2.0.1", "A 10.2.0.2"]);
    assert_eq!(cluster.ask(&format!("db-0.west.{zone}"), "A").data(), ["A 10.1.0.1"]);
    assert_eq!(cluster.ask(&format!("db-0.east.eu.{zone}"), "A").data(), ["A 10.2.0.1"]);
    assert_eq!(cluster.ask(&format!("10-2-0-2.east.eu.{zone}"), "A").data(), ["A 10.2.0.2"]);
    let ports = cluster.ask(&format!("_sql._tcp.{zone}"), "SRV");
    assert_eq!(
        ports.data(),
        [
            "SRV 0 33 5432 10-2-0-2.east.eu.db.shop.svc.clusterset.local",
            "SRV 0 33 5432 db-0.east.eu.db.shop.svc.clusterset.local",
            "SRV 0 33 5432 db-0.west.db.shop.svc.clusterset.local"
        ],
        "one host name in two clusters is two hosts"
    );
    assert_eq!(ports.additional.len(), 3);
}

#[test]
fn a_cluster_alone_is_no_name_and_no_address_leads_back() {
    let mut cluster = clusters();
    for name in ["west.db", "east.eu.db", "eu.db", "db-0.db", "db-0.north.db", "db-0.eu.db", "west.web", "x.y.web"] {
        let name = format!("{name}.shop.svc.clusterset.local.");
        assert!(cluster.ask(&name, "A").is_nxdomain(), "{name}");
    }
    for address in ["1.0.1.10.in-addr.arpa.", "1.0.9.10.in-addr.arpa."] {
        assert_eq!(cluster.ask(address, "PTR").answer.len(), 0, "{address}");
    }
    assert!(cluster.ask("db.shop.svc.cluster.local.", "A").is_nxdomain(), "they are not the cluster's own");
    assert!(cluster.ask("10-1-0-1.shop.pod.clusterset.local.", "A").is_nxdomain());
}

#[test]
fn imports_have_addresses_of_both_families_and_ports() {
    let mut cluster = clusters();
    assert_eq!(cluster.ask("web.shop.svc.clusterset.local.", "AAAA").data(), ["AAAA fd09::1"]);
    let port = cluster.ask("_http._tcp.web.shop.svc.clusterset.local.", "SRV");
    assert_eq!(port.data(), ["SRV 0 50 80 web.shop.svc.clusterset.local"]);
    assert!(cluster.ask("_tcp.web.shop.svc.clusterset.local.", "A").is_nodata());
    assert!(cluster.ask("_udp.web.shop.svc.clusterset.local.", "A").is_nxdomain());
    let soa = cluster.ask("clusterset.local.", "SOA");
    assert!(soa.answer[0].starts_with("clusterset.local 5 SOA ns.dns.clusterset.local "), "{soa:?}");
}

#[test]
fn imports_follow_their_objects_and_outlive_a_restart() {
    let mut cluster = clusters();
    let saved = cluster.builder.save();
    cluster.builder.apply([FeedChange::Import { of: service_ref("shop/web"), now: None }]);
    assert!(cluster.ask("web.shop.svc.clusterset.local.", "A").is_nxdomain());
    cluster.builder.apply([begin(), tell_namespace("shop"), import("shop/db", &["10.9.0.2"], &[]), FeedChange::Synced]);
    assert_eq!(cluster.ask("db.shop.svc.clusterset.local.", "A").data(), ["A 10.9.0.2"], "headless no more");
    let mut next = Cluster::new(settings(), Vec::new());
    let written = serde_json::to_vec(&saved).unwrap();
    next.builder.restore(serde_json::from_slice(&written).unwrap(), true);
    assert_eq!(next.ask("db-0.east.eu.db.shop.svc.clusterset.local.", "A").data(), ["A 10.2.0.1"]);
}

#[test]
fn what_is_missing_fails_until_imports_were_told() {
    let mut cluster = Cluster::new(settings(), vec![begin(), tell_namespace("shop"), FeedChange::Synced]);
    assert_eq!(cluster.ask("db.shop.svc.clusterset.local.", "A").rcode, "SERVFAIL");
    assert!(cluster.ask("db.shop.svc.cluster.local.", "A").is_nxdomain());
    cluster.builder.apply([FeedChange::SyncedNames]);
    assert!(cluster.ask("db.shop.svc.clusterset.local.", "A").is_nxdomain());
}

#[test]
fn a_slice_may_belong_to_a_service_and_to_an_import() {
    let mut cluster = clusters();
    let both = ImportedSlice { service: "db".to_owned(), cluster: "west".to_owned() };
    let both =
        EndpointSlice { imported: Some(both.into()), ..slice("own", vec![endpoint("10.1.0.9", Some("x"))], &[]) };
    cluster.builder.apply([tell_service("shop/own", service(&[], &[])), tell_slice("shop/a", both)]);
    assert_eq!(cluster.ask("x.own.shop.svc.cluster.local.", "A").data(), ["A 10.1.0.9"]);
    assert_eq!(cluster.ask("x.west.db.shop.svc.clusterset.local.", "A").data(), ["A 10.1.0.9"]);
    assert!(cluster.ask("db-0.west.db.shop.svc.clusterset.local.", "A").is_nxdomain(), "the slice is another now");
}
