//! What CoreDNS answers for one small cluster, told as facts: who replaces it must
//! answer the same. Differences are deliberate and stand in `corner`.

use super::judge::{Cluster, settings};
use super::*;

fn cluster() -> Cluster {
    let http = [("http", 80)];
    Cluster::new(
        settings(),
        vec![
            begin(),
            tell_namespace("testns"),
            tell_service("testns/svc1", service(&["10.0.0.1"], &http)),
            tell_service("testns/svcempty", service(&["10.0.0.1"], &http)),
            tell_service("testns/svc6", service(&["1234:abcd::1"], &http)),
            tell_service("testns/svc-dual-stack", service(&["10.0.0.3", "10::3"], &http)),
            tell_service("testns/external", external("ext.interwebs.test")),
            tell_service("testns/external-to-service", external("svc1.testns.svc.cluster.local.")),
            tell_service("testns/hdls1", service(&[], &http)),
            tell_service("testns/hdlsprtls", service(&[], &[])),
            tell_slice("testns/hdls1-4", slice("hdls1", hdls1_v4(), &http)),
            tell_slice("testns/hdls1-6", slice("hdls1", hdls1_v6(), &http)),
            tell_slice("testns/hdlsprtls-a", slice("hdlsprtls", vec![endpoint("172.0.0.20", None)], &[])),
            FeedChange::Synced,
        ],
    )
}

fn hdls1_v4() -> Vec<Endpoint> {
    vec![
        endpoint("172.0.0.2", None),
        endpoint("172.0.0.3", None),
        endpoint("172.0.0.4", Some("dup-name")),
        endpoint("172.0.0.5", Some("dup-name")),
    ]
}

fn hdls1_v6() -> Vec<Endpoint> {
    vec![endpoint("5678:abcd::1", None), endpoint("5678:abcd::2", None)]
}

#[test]
fn positive_answers() {
    let zone = "testns.svc.cluster.local";
    let rows: &[(&str, &str, &[&str])] = &[
        ("svc1", "A", &["A 10.0.0.1"]),
        ("svcempty", "A", &["A 10.0.0.1"]),
        ("svc6", "AAAA", &["AAAA 1234:abcd::1"]),
        ("svc-dual-stack", "A", &["A 10.0.0.3"]),
        ("svc-dual-stack", "AAAA", &["AAAA 10::3"]),
        ("svc1", "SRV", &["SRV 0 100 80 svc1.testns.svc.cluster.local"]),
        ("svc6", "SRV", &["SRV 0 100 80 svc6.testns.svc.cluster.local"]),
        ("svc-dual-stack", "SRV", &["SRV 0 50 80 svc-dual-stack.testns.svc.cluster.local"]),
        ("_http._tcp.svc1", "SRV", &["SRV 0 100 80 svc1.testns.svc.cluster.local"]),
        ("_http._tcp.svcempty", "SRV", &["SRV 0 100 80 svcempty.testns.svc.cluster.local"]),
        ("hdls1", "A", &["A 172.0.0.2", "A 172.0.0.3", "A 172.0.0.4", "A 172.0.0.5"]),
        ("hdls1", "AAAA", &["AAAA 5678:abcd::1", "AAAA 5678:abcd::2"]),
        ("hdlsprtls", "A", &["A 172.0.0.20"]),
        ("172-0-0-20.hdlsprtls", "A", &["A 172.0.0.20"]),
        ("172-0-0-2.hdls1", "A", &["A 172.0.0.2"]),
        ("172-0-0-3.hdls1", "A", &["A 172.0.0.3"]),
        ("dup-name.hdls1", "A", &["A 172.0.0.4", "A 172.0.0.5"]),
        ("5678-abcd--1.hdls1", "AAAA", &["AAAA 5678:abcd::1"]),
        ("5678-abcd--2.hdls1", "AAAA", &["AAAA 5678:abcd::2"]),
        ("external", "CNAME", &["CNAME ext.interwebs.test"]),
        (
            "_http._tcp.hdls1",
            "SRV",
            &[
                "SRV 0 16 80 172-0-0-2.hdls1.testns.svc.cluster.local",
                "SRV 0 16 80 172-0-0-3.hdls1.testns.svc.cluster.local",
                "SRV 0 16 80 5678-abcd--1.hdls1.testns.svc.cluster.local",
                "SRV 0 16 80 5678-abcd--2.hdls1.testns.svc.cluster.local",
                "SRV 0 16 80 dup-name.hdls1.testns.svc.cluster.local",
            ],
        ),
    ];
    let mut cluster = cluster();
    for (name, kind, expected) in rows {
        let told = cluster.ask(&format!("{name}.{zone}."), kind);
        assert_eq!(told.rcode, "NOERROR", "{name} {kind}");
        assert_eq!(told.data(), *expected, "{name} {kind}");
        assert!(told.answer.iter().all(|line| line.starts_with(&format!("{name}.{zone} 5 "))), "{told:?}");
    }
    let version = cluster.ask("dns-version.cluster.local.", "TXT");
    assert_eq!(version.answer, ["dns-version.cluster.local 28800 TXT \"1.1.0\""]);
}

#[test]
fn targets_of_srv_records_bring_their_addresses() {
    let mut cluster = cluster();
    for (name, expected) in [
        ("svc1", vec!["svc1.testns.svc.cluster.local 5 A 10.0.0.1"]),
        ("svc6", vec!["svc6.testns.svc.cluster.local 5 AAAA 1234:abcd::1"]),
        (
            "svc-dual-stack",
            vec![
                "svc-dual-stack.testns.svc.cluster.local 5 A 10.0.0.3",
                "svc-dual-stack.testns.svc.cluster.local 5 AAAA 10::3",
            ],
        ),
        (
            "hdls1",
            vec![
                "172-0-0-2.hdls1.testns.svc.cluster.local 5 A 172.0.0.2",
                "172-0-0-3.hdls1.testns.svc.cluster.local 5 A 172.0.0.3",
                "5678-abcd--1.hdls1.testns.svc.cluster.local 5 AAAA 5678:abcd::1",
                "5678-abcd--2.hdls1.testns.svc.cluster.local 5 AAAA 5678:abcd::2",
                "dup-name.hdls1.testns.svc.cluster.local 5 A 172.0.0.4",
                "dup-name.hdls1.testns.svc.cluster.local 5 A 172.0.0.5",
            ],
        ),
    ] {
        let mut told = cluster.ask(&format!("_http._tcp.{name}.testns.svc.cluster.local."), "SRV");
        told.additional.sort();
        assert_eq!(told.additional, expected, "{name}");
    }
}

#[test]
fn negative_answers() {
    let mut cluster = cluster();
    for (name, kind) in [
        ("svc1.testns.svc", "AAAA"),
        ("svc1.testns.svc", "SOA"),
        ("svc", "A"),
        ("pod", "A"),
        ("testns.svc", "A"),
        ("svc", "NS"),
        ("testns.svc", "NS"),
    ] {
        let told = cluster.ask(&format!("{name}.cluster.local."), kind);
        assert!(told.is_nodata(), "{name} {kind}: {told:?}");
    }
    for (name, kind) in [
        ("svc0.testns.svc", "A"),
        ("svc0.testns.svc", "AAAA"),
        ("svc0.svc-nons.svc", "A"),
        ("bogusendpoint.hdls1.testns.svc", "A"),
        ("bogusendpoint.svc0.testns.svc", "A"),
        ("endpoint.external.testns.svc", "CNAME"),
        ("foo", "NS"),
        ("foo.svc", "NS"),
    ] {
        let told = cluster.ask(&format!("{name}.cluster.local."), kind);
        assert!(told.is_nxdomain(), "{name} {kind}: {told:?}");
    }
}

#[test]
fn the_zone_itself() {
    let mut cluster = cluster();
    let soa = cluster.ask("cluster.local.", "SOA").answer.remove(0);
    assert!(soa.starts_with("cluster.local 5 SOA ns.dns.cluster.local hostmaster.cluster.local "), "{soa}");
    assert!(soa.ends_with(" 7200 1800 86400 5"), "{soa}");
    let servers = cluster.ask("cluster.local.", "NS");
    assert_eq!(servers.answer, ["cluster.local 5 NS ns.dns.cluster.local"]);
    assert_eq!(servers.additional, ["ns.dns.cluster.local 5 A 10.96.0.10"]);
    assert_eq!(cluster.ask("ns.dns.cluster.local.", "A").data(), ["A 10.96.0.10"]);
}

#[test]
fn pods_insecure() {
    let mut cluster = cluster();
    assert_eq!(cluster.ask("10-240-0-1.testns.pod.cluster.local.", "A").data(), ["A 10.240.0.1"]);
    assert_eq!(cluster.ask("fd00--7.testns.pod.cluster.local.", "AAAA").data(), ["AAAA fd00::7"]);
    assert!(cluster.ask("10-240-0-1.testns.pod.cluster.local.", "AAAA").is_nodata());
    assert!(cluster.ask("testns.pod.cluster.local.", "A").is_nodata());
    assert!(cluster.ask("10-240-0-1.nobody.pod.cluster.local.", "A").is_nxdomain());
    assert!(cluster.ask("pod0.testns.pod.cluster.local.", "A").is_nxdomain());
}

#[test]
fn pods_verified_and_disabled() {
    let facts =
        || vec![begin(), tell_namespace("podns"), tell_pod("podns/foo", "10.240.0.1", "n2"), FeedChange::Synced];
    let mut verified = Cluster::new(ZoneSettings { pods: PodNames::Verified, ..settings() }, facts());
    assert_eq!(verified.ask("10-240-0-1.podns.pod.cluster.local.", "A").data(), ["A 10.240.0.1"]);
    assert!(verified.ask("172-0-0-2.podns.pod.cluster.local.", "A").is_nxdomain());
    let mut disabled = Cluster::new(ZoneSettings { pods: PodNames::Disabled, ..settings() }, facts());
    assert!(disabled.ask("10-240-0-1.podns.pod.cluster.local.", "A").is_nxdomain());
}
