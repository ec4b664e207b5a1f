//! Table tests of what Services mean.

mod conflicts;
mod corners;
mod properties;

use seaway_model::NodeName;
use seaway_model::service::{Endpoint, ServiceKind, TrafficPolicy};

use super::*;
use crate::endpoints::Fate;
use crate::fixtures::*;
use crate::plan::{Algorithm, Forwarding};

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
fn a_load_balancer_of_any_class_needs_no_node_ports() {
    let web = service("web", &["10.96.0.1"]).load_balancer(&["203.0.113.1"]);
    let web = web.with(|web| web.load_balancer_class = Some("example.org/beam".into()));
    let table = table(vec![web.set(), two_endpoints()]);
    let both = "10.0.0.1:8080 10.0.0.2:8080";
    assert_eq!(reach(&table, "web", "203.0.113.1", 80), format!("{both} | {both} *"));
    assert_eq!(table.plan(&named("web")).unwrap().frontends.len(), 2, "no place on the nodes");
    assert_eq!(table.problems().count(), 0);
}

#[test]
fn a_slice_without_endpoints_refuses_and_one_outside_every_pool_serves() {
    let mut table = table(vec![service("web", &["10.96.0.1"]).set(), slice("web-1", "web", Vec::new())]);
    table.set_node(NodeView { pod_ranges: vec!["10.244.0.0/16".parse().unwrap()], ..here() });
    assert_eq!(reach(&table, "web", "10.96.0.1", 80), "reject | reject");
    let elsewhere = slice("web-1", "web", vec![endpoint("198.51.100.9", "there")]);
    assert_eq!(changed(&table.apply(&[elsewhere])), "+web");
    assert_eq!(reach(&table, "web", "10.96.0.1", 80), "198.51.100.9:8080 | 198.51.100.9:8080 *");
    assert_eq!(table.problems().count(), 0);
    assert_eq!(changed(&table.apply(&[slice("web-1", "web", Vec::new())])), "+web");
    assert_eq!(reach(&table, "web", "10.96.0.1", 80), "reject | reject");
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
    assert!(table.entries.is_empty() && table.owners.is_empty() && table.claims.is_empty());
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

#[test]
fn a_named_proxy_serves_only_what_is_named_so() {
    let options = Options { proxy_name: Some("seaway".into()), ..Options::default() };
    let mut table = ServiceTable::new(here(), options);
    let ours = service("ours", &["10.96.0.1"]).label("service.kubernetes.io/service-proxy-name", "seaway").set();
    assert_eq!(changed(&table.apply(&[ours, service("rest", &["10.96.0.2"]).set(), ServiceChange::Synced])), "+ours");
}

/// Policies against states of one endpoint here and one there: what clients of the node and others get.
#[test]
fn policies_and_states_decide_as_in_kube_proxy() {
    use TrafficPolicy::{Cluster, Local};
    let ready = |address, node| endpoint(address, node);
    let lingering = |address, node| endpoint(address, node).terminating();
    let broken = |address, node| endpoint(address, node).not_ready();
    let dead = |address, node| endpoint(address, node).dead();
    type State = fn(&'static str, &'static str) -> Endpoint;
    let (ready, lingering, broken, dead): (State, State, State, State) = (ready, lingering, broken, dead);
    let (h, t) = ("10.0.0.1:8080", "10.0.0.2:8080");
    let both = format!("{h} {t}");
    let cases: [(State, State, [&str; 2]); 9] = [
        // here, there; what policies Cluster and Local lead to
        (ready, ready, [&both, h]),
        (lingering, ready, [t, h]),
        (ready, lingering, [h, h]),
        (lingering, lingering, [&both, h]),
        (broken, ready, [t, "drop"]),
        (dead, lingering, [t, "drop"]),
        (broken, dead, ["reject", "reject"]),
        (dead, dead, ["reject", "reject"]),
        (broken, broken, ["reject", "reject"]),
    ];
    for (number, (here, there, [cluster, local])) in cases.into_iter().enumerate() {
        for (internal, external) in [(Cluster, Cluster), (Cluster, Local), (Local, Cluster), (Local, Local)] {
            let web = service("web", &["10.96.0.1"]).node_port(30080).with(|web| {
                (web.internal_policy, web.external_policy) = (internal, external);
            });
            let slices = slice("web-1", "web", vec![here("10.0.0.1", "here"), there("10.0.0.2", "there")]);
            let table = table(vec![web.set(), slices]);
            let by = |policy| if policy == Cluster { cluster } else { local };
            let hidden = |policy, text: &str| match (policy, text) {
                (Local, text) | (_, text @ ("reject" | "drop")) => text.to_owned(),
                (Cluster, text) => format!("{text} *"),
            };
            let expected = format!("{} | {}", by(internal), hidden(internal, by(internal)));
            assert_eq!(reach(&table, "web", "10.96.0.1", 80), expected, "case {number}: {internal:?}");
            let expected = format!("{cluster} | {}", hidden(external, by(external)));
            assert_eq!(reach(&table, "web", "node4", 30080), expected, "case {number}: {external:?}");
        }
    }
}

#[test]
fn hints_count_when_all_have_them_and_one_is_for_us() {
    let all = "10.0.0.1:8080 10.0.0.2:8080";
    let (first, second) = ("10.0.0.1:8080", "10.0.0.2:8080");
    let one = || endpoint("10.0.0.1", "a");
    let two = || endpoint("10.0.0.2", "b");
    for (name, endpoints, expected) in [
        ("zone", vec![one().for_zones(&["east"]), two().for_zones(&["west"])], second),
        ("several zones", vec![one().for_zones(&["east", "west"]), two().for_zones(&["west"])], all),
        ("one without hint", vec![one(), two().for_zones(&["west"])], all),
        ("no hint for us", vec![one().for_zones(&["east"]), two().for_zones(&["north"])], all),
        ("node", vec![one().for_nodes(&["here"]), two().for_nodes(&["there"])], first),
        (
            "node before zone",
            vec![one().for_nodes(&["here"]).for_zones(&["east"]), two().for_nodes(&["there"]).for_zones(&["west"])],
            first,
        ),
        (
            "zone when no node is ours",
            vec![one().for_nodes(&["a"]).for_zones(&["east"]), two().for_nodes(&["b"]).for_zones(&["west"])],
            second,
        ),
        ("not ready ones have no say", vec![one().not_ready(), two().for_zones(&["west"])], second),
        ("ours not ready", vec![one().for_zones(&["east"]), two().for_zones(&["west"]).not_ready()], first),
        (
            "terminating only",
            vec![one().for_zones(&["east"]).terminating(), two().for_zones(&["west"]).terminating()],
            all,
        ),
    ] {
        let table = table(vec![service("web", &["10.96.0.1"]).set(), slice("web-1", "web", endpoints)]);
        assert_eq!(reach(&table, "web", "10.96.0.1", 80), format!("{expected} | {expected} *"), "{name}");
    }
}

#[test]
fn hints_say_nothing_to_policy_local() {
    let endpoints =
        vec![endpoint("10.0.0.1", "here").for_zones(&["east"]), endpoint("10.0.0.2", "b").for_zones(&["west"])];
    let table = table(vec![service("web", &["10.96.0.1"]).internally_local().set(), slice("web-1", "web", endpoints)]);
    assert_eq!(reach(&table, "web", "10.96.0.1", 80), "10.0.0.1:8080 | 10.0.0.1:8080");
}

#[test]
fn a_node_that_moves_to_another_zone_chooses_anew() {
    let endpoints =
        vec![endpoint("10.0.0.1", "a").for_zones(&["east"]), endpoint("10.0.0.2", "b").for_zones(&["west"])];
    let mut table = table(vec![service("web", &["10.96.0.1"]).set(), slice("web-1", "web", endpoints)]);
    assert_eq!(changed(&table.set_node(here())), "");
    assert_eq!(changed(&table.set_node(NodeView { zone: Some("east".into()), ..here() })), "+web");
    assert_eq!(reach(&table, "web", "10.96.0.1", 80), "10.0.0.1:8080 | 10.0.0.1:8080 *");
    assert_eq!(changed(&table.set_node(NodeView { zone: None, ..here() })), "+web");
}

#[test]
fn all_endpoints_are_ready_when_the_service_publishes_them() {
    let endpoints = vec![endpoint("10.0.0.1", "a").not_ready(), endpoint("10.0.0.2", "b").dead()];
    let web = service("web", &["10.96.0.1"]).with(|web| web.publish_not_ready_addresses = true);
    let table = table(vec![web.set(), slice("web-1", "web", endpoints)]);
    assert!(reach(&table, "web", "10.96.0.1", 80).starts_with("10.0.0.1:8080 10.0.0.2:8080 |"));
}

#[test]
fn annotations_choose_algorithm_forwarding_and_weights() {
    let web = service("web", &["10.96.0.1"])
        .node_port(30080)
        .annotation("seaway.dev/algorithm", "wlc")
        .annotation("service.cilium.io/forwarding-mode", "dsr")
        .annotation("seaway.dev/weights", "node/here=3, pod/pod-10.0.0.2=7, zone/x=0");
    let table = table(vec![web.set(), two_endpoints()]);
    let plan = table.plan(&named("web")).unwrap();
    let weights: Vec<u16> = plan.sets[0].backends.iter().map(|backend| backend.weight).collect();
    assert_eq!(weights, [3, 7]);
    let (inner, outer) = (frontend(&table, "web", "10.96.0.1", 80), frontend(&table, "web", "node4", 30080));
    assert_eq!((inner.algorithm, inner.forwarding), (Algorithm::LeastConnection, Forwarding::Nat));
    assert_eq!(outer.forwarding, Forwarding::DirectReturn);
    let problems: Vec<String> = table.problems().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].contains("\"zone/x=0\" is not understood"), "{problems:?}");
}

#[test]
fn every_alias_of_an_algorithm_is_understood() {
    for (text, expected) in [
        ("random", Algorithm::Random),
        ("maglev", Algorithm::Maglev),
        ("mh", Algorithm::Maglev),
        ("source-hash", Algorithm::SourceHash),
        ("sh", Algorithm::SourceHash),
        ("round-robin", Algorithm::RoundRobin),
        ("rr", Algorithm::RoundRobin),
        ("wrr", Algorithm::RoundRobin),
        ("least-connection", Algorithm::LeastConnection),
        ("lc", Algorithm::LeastConnection),
        ("wlc", Algorithm::LeastConnection),
    ] {
        let web = service("web", &["10.96.0.1"]).annotation("seaway.dev/algorithm", text);
        let table = table(vec![web.set()]);
        assert_eq!(frontend(&table, "web", "10.96.0.1", 80).algorithm, expected);
        assert_eq!(table.problems().count(), 0);
    }
}

#[test]
fn the_health_check_counts_ready_endpoints_of_this_node() {
    let web = || {
        service("web", &["10.96.0.1"])
            .load_balancer(&["203.0.113.1"])
            .externally_local()
            .with(|web| web.health_check_node_port = Some(32000))
    };
    let count = |endpoints| {
        let table = table(vec![web().set(), slice("web-1", "web", endpoints)]);
        table.plan(&named("web")).unwrap().health_check.unwrap().local_ready_endpoints
    };
    assert_eq!(count(vec![endpoint("10.0.0.1", "here"), endpoint("10.0.0.2", "here"), endpoint("10.0.0.3", "b")]), 2);
    assert_eq!(count(vec![endpoint("10.0.0.1", "here").terminating(), endpoint("10.0.0.3", "b")]), 0);
    assert_eq!(count(vec![endpoint("10.0.0.1", "here").not_ready()]), 0);
    let table = table(vec![web().with(|web| web.external_policy = TrafficPolicy::Cluster).set()]);
    assert_eq!(table.plan(&named("web")).unwrap().health_check, None);
}

#[test]
fn explain_gives_each_endpoint_its_reason() {
    let endpoints = vec![
        endpoint("10.0.0.1", "here"),
        endpoint("10.0.0.2", "b"),
        endpoint("10.0.0.3", "b").not_ready(),
        endpoint("10.0.0.4", "here").terminating(),
        endpoint("10.0.0.5", "here").dead(),
        endpoint("127.0.0.1", "here"),
        endpoint("fd00::1", "here"),
    ];
    let web = service("web", &["10.96.0.1"]).node_port(30080).externally_local();
    let other = slice_with_ports(
        "web-2",
        "web",
        &[("metrics", seaway_model::Protocol::Tcp, 9)],
        vec![endpoint("10.0.0.6", "b")],
    );
    let table = table(vec![web.set(), slice("web-1", "web", endpoints), other]);
    let report = table.explain(&named("web")).unwrap();
    let fates: Vec<(Fate, Fate)> = report.ports[0].endpoints.iter().map(|one| (one.cluster, one.local)).collect();
    let expected = [
        (Fate::Used, Fate::Used),
        (Fate::Used, Fate::NotOnThisNode),
        (Fate::NotReady, Fate::NotOnThisNode),
        (Fate::Terminating, Fate::Terminating),
        (Fate::TerminatingAndNotServing, Fate::TerminatingAndNotServing),
        (Fate::UnusableAddress, Fate::UnusableAddress),
        (Fate::WrongFamily, Fate::WrongFamily),
        (Fate::NoSuchPort, Fate::NoSuchPort),
    ];
    assert_eq!(fates, expected);
    assert_eq!((report.ports.len(), report.frontends.len()), (1, 2));
    assert_eq!(report.problems[0].id, "SW1108");
    assert!(report.problems[0].message.contains("2 of its endpoints, the first 127.0.0.1"), "{:?}", report.problems);
    assert_eq!(table.explain(&named("nothing")), None);
}

#[test]
fn of_two_endpoints_with_one_address_the_living_one_counts() {
    let (old, new) = (endpoint("10.0.0.1", "b").terminating(), endpoint("10.0.0.1", "here"));
    for (first, second) in [(old.clone(), new.clone()), (new, old)] {
        let changes = vec![
            service("web", &["10.96.0.1"]).set(),
            slice("web-1", "web", vec![first]),
            slice("web-2", "web", vec![second]),
        ];
        let table = table(changes);
        assert_eq!(reach(&table, "web", "10.96.0.1", 80), "10.0.0.1:8080 | 10.0.0.1:8080 *");
        assert!(table.plan(&named("web")).unwrap().sets[0].backends[0].local);
        let report = table.explain(&named("web")).unwrap();
        let fates: Vec<Fate> = report.ports[0].endpoints.iter().map(|one| one.cluster).collect();
        assert_eq!(fates.iter().filter(|fate| **fate == Fate::Duplicate).count(), 1, "{fates:?}");
    }
}

#[test]
fn a_service_with_five_thousand_endpoints_is_served() {
    let mut changes = vec![service("web", &["10.96.0.1"]).set()];
    for n in 0..50u32 {
        let address = |m: u32| std::net::Ipv4Addr::from(0x0a00_0000 + n * 100 + m + 1).to_string();
        let endpoints = (0..100).map(|m| endpoint(&address(m), "there")).collect();
        changes.push(slice(&format!("web-{n}"), "web", endpoints));
    }
    let mut table = table(changes);
    let count = |table: &ServiceTable| table.plan(&named("web")).unwrap().sets[0].backends.len();
    assert_eq!(count(&table), 5000);
    assert_eq!(changed(&table.apply(&[delete_slice("web-7")])), "+web");
    assert_eq!(count(&table), 4900);
}
