//! Table tests of what Services mean.

use seaway_model::NodeName;
use seaway_model::service::ServiceKind;

use super::*;
use crate::fixtures::*;

fn two_endpoints() -> ServiceChange {
    slice("web-1", "web", vec![endpoint("10.0.0.2", "there"), endpoint("10.0.0.1", "here")])
}

#[test]
fn an_empty_table_says_nothing() {
    let mut table = ServiceTable::new(NodeView::new(NodeName::from("n1")), Options::default());
    assert!(table.apply(&[ServiceChange::Synced]).is_empty());
    assert!(table.is_synced());
}

#[test]
fn every_kind_of_place_leads_to_the_endpoints() {
    let web =
        service("web", &["10.96.0.1"]).node_port(30080).load_balancer(&["203.0.113.1"]).external(&["198.51.100.1"]);
    let table = table(vec![web.set(), two_endpoints()]);
    let both = "10.0.0.1:8080 10.0.0.2:8080";
    for (at, port) in [("10.96.0.1", 80), ("203.0.113.1", 80), ("198.51.100.1", 80), ("node4", 30080)] {
        assert_eq!(reach(&table, "web", at, port), format!("{both} | {both} *"), "{at}");
    }
    assert_eq!(table.plan(&named("web")).unwrap().sets.len(), 1, "one set for all");
    assert_eq!(table.problems().count(), 0);
}

#[test]
fn an_unchanged_plan_is_not_told_again() {
    let mut table = table(vec![service("web", &["10.96.0.1"]).set(), two_endpoints()]);
    let swapped = slice("web-1", "web", vec![endpoint("10.0.0.1", "here"), endpoint("10.0.0.2", "there")]);
    assert_eq!(changed(&table.apply(&[swapped])), "");
    assert_eq!(changed(&table.apply(&[delete_slice("web-1")])), "+web");
    assert_eq!(reach(&table, "web", "10.96.0.1", 80), "reject | reject");
    assert_eq!(changed(&table.apply(&[delete("web")])), "-web");
    assert_eq!(changed(&table.apply(&[delete("web"), delete_slice("web-1")])), "");
    assert_eq!(table.service_count(), 0);
}

#[test]
fn what_is_no_place_in_the_data_path_has_no_plan() {
    let cases = [
        service("web", &[]).with(|web| web.headless = true),
        service("web", &[]).with(|web| web.kind = ServiceKind::ExternalName),
        service("web", &["10.96.0.1"]).with(|web| web.kind = ServiceKind::ExternalName),
        service("web", &["10.96.0.1"]).label("service.kubernetes.io/service-proxy-name", "other"),
        service("web", &["10.96.0.1"]).label("service.kubernetes.io/headless", ""),
    ];
    for case in cases {
        let table = table(vec![case.set(), two_endpoints()]);
        assert_eq!(table.plans().count(), 0);
        assert!(table.explain(&named("web")).unwrap().not_served.is_some());
    }
}
