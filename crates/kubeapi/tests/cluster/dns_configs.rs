//! `DNSConfig` objects: what the schema refuses, what the watch tells, what the status shows.

use seaway_kubeapi::{Accepted, Cluster, DnsConfigs, Events, Severity, Subject, watch_dns_configs};

use super::{LIMIT, apply};
use crate::api_server::ApiServer;

fn manifest(spec: &str) -> String {
    format!("apiVersion: seaway.dev/v1alpha1\nkind: DNSConfig\nmetadata: {{name: office}}\nspec: {spec}\n")
}

pub(crate) fn what_the_schema_sees_is_refused_by_the_server(server: &ApiServer) {
    for (spec, complaint) in [
        ("{block: [{names: [a], action: addresses}]}", "only then"),
        ("{block: [{names: [a], addresses: [192.0.2.1]}]}", "only then"),
        ("{block: [{names: []}]}", "should have at least 1 items"),
        (
            "{zones: [{name: a, text: b, records: [{name: '@', type: A, values: [192.0.2.1]}]}]}",
            "either text or records",
        ),
        ("{rewrites: [{match: regex, from: a, to: b}]}", "Unsupported value"),
        ("{forward: [{domain: a}]}", "upstreams: Required value"),
        ("{namespaceSelector: {matchExpressions: [{key: a, operator: In}]}}", "In and NotIn need values"),
        ("{hostss: []}", "unknown field"),
    ] {
        let error = apply(server, &manifest(spec)).expect_err(spec);
        assert!(error.contains(complaint), "{spec}: {error}");
    }
}

pub(crate) async fn the_watch_tells_objects_and_conditions(server: &ApiServer, cluster: &Cluster) {
    let mut watched = watch_dns_configs(cluster);
    let none = tokio::time::timeout(LIMIT, watched.objects.wait_for(Option::is_some)).await.unwrap().unwrap().clone();
    assert!(none.unwrap().is_empty());
    apply(server, &manifest("{hosts: [{name: printer.office, addresses: [192.0.2.9]}], search: false}")).unwrap();
    let some = tokio::time::timeout(LIMIT, watched.objects.wait_for(|all| all.as_ref().is_some_and(|a| !a.is_empty())));
    let object = some.await.unwrap().unwrap().clone().unwrap()["office"].clone();
    assert_eq!((object.spec.hosts[0].name.as_str(), object.spec.search), ("printer.office", Some(false)));
    assert_eq!((object.generation, object.accepted), (1, None));
    let accepted = Accepted {
        accepted: false,
        reason: "InvalidField".into(),
        message: "spec.hosts[0]: it is".into(),
        generation: 1,
        since: String::new(),
    };
    DnsConfigs::new(cluster).write_accepted("office", &accepted).await.unwrap();
    let told = |all: &Option<std::sync::Arc<seaway_kubeapi::DnsConfigObjects>>| {
        all.as_ref().is_some_and(|all| all.get("office").is_some_and(|office| office.accepted.is_some()))
    };
    let all = tokio::time::timeout(LIMIT, watched.objects.wait_for(told)).await.unwrap().unwrap().clone().unwrap();
    let written = all["office"].accepted.clone().unwrap();
    assert_eq!(Accepted { since: String::new(), ..written.clone() }, accepted);
    assert!(!written.since.is_empty());
    let table = server.kubectl(&["get", "dnsconfigs"]).unwrap();
    assert!(table.contains("ACCEPTED") && table.contains("False") && table.contains("InvalidField"), "{table}");
    let events = Events::new(cluster, "seaway-controller", "c1");
    let subject = Subject::DnsConfig("office".into());
    events.emit(&subject, Severity::Warning, "InvalidField", "spec.hosts[0]: it is").await.unwrap();
    let described = server.kubectl(&["describe", "dnsconfig", "office"]).unwrap();
    assert!(described.contains("Warning") && described.contains("seaway-controller"), "{described}");
    server.kubectl(&["delete", "dnsconfig", "office"]).unwrap();
    let gone = watched.objects.wait_for(|all| all.as_ref().is_some_and(|all| all.is_empty()));
    tokio::time::timeout(LIMIT, gone).await.unwrap().unwrap();
}
