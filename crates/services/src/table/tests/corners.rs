//! The corners that service proxies get wrong, as far as this core decides them.

use seaway_model::Protocol;
use seaway_model::service::{IngressMode, ServiceKind, TrafficPolicy};

use super::*;
use crate::maglev;

#[test]
fn corner_01_one_backend_behind_two_addresses_is_in_both_plans() {
    let changes = vec![
        service("one", &["10.96.0.1"]).set(),
        service("two", &["10.96.0.2"]).set(),
        slice("one-1", "one", vec![endpoint("10.0.0.1", "here")]),
        slice("two-1", "two", vec![endpoint("10.0.0.1", "here")]),
    ];
    let table = table(changes);
    assert_eq!(table.plan(&named("one")).unwrap().sets, table.plan(&named("two")).unwrap().sets);
}

#[test]
fn corner_02_scaling_to_zero_shows_and_unready_endpoints_do_not() {
    let changes = |endpoints| slice("dns-1", "dns", endpoints);
    let mut table = table(vec![service("dns", &["10.96.0.10"]).set(), changes(vec![endpoint("10.0.0.1", "here")])]);
    // Another pod that is not ready yet: nothing of the plan changes, so no connection is touched.
    let starting = vec![endpoint("10.0.0.1", "here"), endpoint("10.0.0.2", "there").not_ready()];
    assert_eq!(changed(&table.apply(&[changes(starting)])), "");
    assert_eq!(changed(&table.apply(&[changes(Vec::new())])), "+dns");
    assert_eq!(reach(&table, "dns", "10.96.0.10", 80), "reject | reject");
    assert_eq!(changed(&table.apply(&[changes(vec![endpoint("10.0.0.1", "here")])])), "+dns");
    assert_eq!(reach(&table, "dns", "10.96.0.10", 80), "10.0.0.1:8080 | 10.0.0.1:8080 *");
}

#[test]
fn corner_03_an_endpoint_that_leaves_one_service_stays_in_the_other() {
    let mut table = table(vec![
        service("a", &["10.96.0.1"]).set(),
        service("b", &["10.96.0.2"]).set(),
        slice("a-1", "a", vec![endpoint("10.0.0.1", "here")]),
        slice("b-1", "b", vec![endpoint("10.0.0.1", "here")]),
    ]);
    assert_eq!(changed(&table.apply(&[slice("a-1", "a", Vec::new())])), "+a");
    assert_eq!(reach(&table, "b", "10.96.0.2", 80), "10.0.0.1:8080 | 10.0.0.1:8080 *");
}

#[test]
fn corner_04_affinity_survives_churn_of_others_and_not_the_end_of_its_own() {
    let web = service("web", &["10.96.0.1"]).with(|web| web.affinity_timeout_seconds = Some(30));
    let slices = |last: Endpoint| slice("web-1", "web", vec![endpoint("10.0.0.5", "here"), last]);
    let mut table = table(vec![web.set(), slices(endpoint("10.0.0.9", "there"))]);
    table.apply(&[slices(endpoint("10.0.0.7", "there"))]);
    let plan = table.plan(&named("web")).unwrap();
    assert_eq!(plan.sets[0].backends[0].address, ip("10.0.0.5"), "identified by address and port, not by position");
    assert_eq!(plan.frontends[0].affinity_timeout_seconds, Some(30));
    table.apply(&[slice(
        "web-1",
        "web",
        vec![endpoint("10.0.0.5", "here").not_ready(), endpoint("10.0.0.7", "there")],
    )]);
    assert_eq!(reach(&table, "web", "10.96.0.1", 80), "10.0.0.7:8080 | 10.0.0.7:8080 *");
}

#[test]
fn corner_05_terminating_endpoints_serve_when_nobody_else_does() {
    let endpoints = vec![endpoint("10.0.0.1", "here").terminating(), endpoint("10.0.0.2", "here").dead()];
    let web = service("web", &["10.96.0.1"])
        .load_balancer(&["203.0.113.1"])
        .externally_local()
        .with(|web| web.health_check_node_port = Some(32000));
    let table = table(vec![web.set(), slice("web-1", "web", endpoints)]);
    assert_eq!(reach(&table, "web", "203.0.113.1", 80), "10.0.0.1:8080 | 10.0.0.1:8080");
    let health = table.plan(&named("web")).unwrap().health_check.unwrap();
    assert_eq!(health.local_ready_endpoints, 0, "the load balancer must already look elsewhere");
}

#[test]
fn corner_05_terminating_endpoints_are_known_until_they_are_gone() {
    let mut table = table(vec![
        service("web", &["10.96.0.1"]).set(),
        slice("web-1", "web", vec![endpoint("10.0.0.1", "here"), endpoint("10.0.0.2", "there").dead()]),
    ]);
    let terminating = |table: &ServiceTable| table.plan(&named("web")).unwrap().terminating.clone();
    assert_eq!(terminating(&table), ["10.0.0.2:8080".parse().unwrap()]);
    let alone = slice("web-1", "web", vec![endpoint("10.0.0.1", "here")]);
    assert_eq!(changed(&table.apply(&[alone])), "+web", "the data path is told of its end");
    assert_eq!(terminating(&table), []);
}

#[test]
fn corner_06_clients_of_the_cluster_see_policy_cluster_on_a_local_load_balancer() {
    let web = service("web", &["10.96.0.1"]).load_balancer(&["203.0.113.1"]).externally_local();
    let table = table(vec![web.set(), slice("web-1", "web", vec![endpoint("10.0.0.2", "there")])]);
    assert_eq!(reach(&table, "web", "203.0.113.1", 80), "10.0.0.2:8080 | drop");
}

#[test]
fn corner_07_changes_of_type_and_policy_free_every_place_in_both_directions() {
    let endpoints = slice("web-1", "web", vec![endpoint("10.0.0.1", "here")]);
    let forms: [fn() -> crate::fixtures::ServiceBuilder; 5] = [
        || service("web", &["10.96.0.1"]),
        || service("web", &["10.96.0.1"]).node_port(30080),
        || service("web", &["10.96.0.1"]).node_port(30080).load_balancer(&["203.0.113.1"]),
        || {
            let web = service("web", &["10.96.0.1"]).node_port(30080).load_balancer(&["203.0.113.1"]);
            web.externally_local().with(|web| web.health_check_node_port = Some(32000))
        },
        || service("web", &[]).with(|web| web.kind = ServiceKind::ExternalName),
    ];
    for from in forms {
        for to in forms {
            let mut changing = table(vec![from().set(), endpoints.clone()]);
            changing.apply(&[to().set()]);
            let fresh = table(vec![to().set(), endpoints.clone()]);
            assert_eq!(changing.plan(&named("web")), fresh.plan(&named("web")));
            // Nothing of the former form keeps another Service away.
            let rival = service("rival", &["10.96.0.1"]).node_port(30080).load_balancer(&["203.0.113.1"]);
            let rival = rival.created_at(200).set();
            changing.apply(&[delete("web"), rival.clone()]);
            assert_eq!(changing.plan(&named("rival")).unwrap().frontends.len(), 3);
        }
    }
}

#[test]
fn corner_08_protocols_of_one_port_are_places_of_their_own() {
    let ports = |protocols: &[Protocol]| -> Vec<_> {
        protocols.iter().map(|protocol| port(&protocol.to_string().to_lowercase(), *protocol, 53, None)).collect()
    };
    let dns = |protocols: &'static [Protocol]| service("dns", &["10.96.0.10"]).with(|dns| dns.ports = ports(protocols));
    let endpoints = slice_with_ports(
        "dns-1",
        "dns",
        &[("tcp", Protocol::Tcp, 5353), ("udp", Protocol::Udp, 5354)],
        vec![endpoint("10.0.0.1", "here")],
    );
    let mut table = table(vec![dns(&[Protocol::Tcp, Protocol::Udp]).set(), endpoints]);
    let plan = table.plan(&named("dns")).unwrap();
    let reached: Vec<String> = plan.frontends.iter().map(|one| went(plan, one.inside)).collect();
    assert_eq!(reached, ["10.0.0.1:5353", "10.0.0.1:5354"]);
    table.apply(&[dns(&[Protocol::Udp]).set()]);
    let plan = table.plan(&named("dns")).unwrap();
    assert_eq!((plan.frontends.len(), plan.frontends[0].protocol), (1, Protocol::Udp));
}

#[test]
fn corner_08_a_slice_port_of_another_protocol_does_not_serve() {
    let udp = slice_with_ports("web-1", "web", &[("http", Protocol::Udp, 8080)], vec![endpoint("10.0.0.1", "here")]);
    let table = table(vec![service("web", &["10.96.0.1"]).set(), udp]);
    assert_eq!(reach(&table, "web", "10.96.0.1", 80), "reject | reject");
}

#[test]
fn corner_09_named_target_ports_differ_from_pod_to_pod() {
    let table = table(vec![
        service("web", &["10.96.0.1"]).set(),
        slice_with_ports("web-1", "web", &[("http", Protocol::Tcp, 8080)], vec![endpoint("10.0.0.1", "here")]),
        slice_with_ports("web-2", "web", &[("http", Protocol::Tcp, 9090)], vec![endpoint("10.0.0.2", "here")]),
    ]);
    let both = "10.0.0.1:8080 10.0.0.2:9090";
    assert_eq!(reach(&table, "web", "10.96.0.1", 80), format!("{both} | {both} *"));
}

#[test]
fn corner_10_no_endpoint_anywhere_rejects_and_none_here_drops() {
    let web = || service("web", &["10.96.0.1"]).node_port(30080).externally_local().internally_local();
    let none = table(vec![web().set()]);
    let elsewhere = table(vec![web().set(), slice("web-1", "web", vec![endpoint("10.0.0.2", "there")])]);
    for (at, port) in [("10.96.0.1", 80), ("node4", 30080)] {
        assert_eq!(reach(&none, "web", at, port), "reject | reject");
    }
    assert_eq!(reach(&elsewhere, "web", "10.96.0.1", 80), "drop | drop");
    assert_eq!(reach(&elsewhere, "web", "node4", 30080), "10.0.0.2:8080 | drop");
}

#[test]
fn corner_12_source_ranges_guard_the_load_balancer_address_only() {
    let ranges = |texts: &'static [&str]| {
        service("web", &["10.96.0.1", "fd00::1"])
            .node_port(30080)
            .external(&["198.51.100.1"])
            .load_balancer(&["203.0.113.1", "2001:db8::1"])
            .with(|web| web.source_ranges = texts.iter().map(|text| text.parse().unwrap()).collect())
    };
    let of = |texts: &'static [&str], at: &str, port: u16| {
        let table = table(vec![ranges(texts).set()]);
        let ranges = &frontend(&table, "web", at, port).source_ranges;
        (ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "), table.problems().count())
    };
    let both: &'static [&str] = &["10.0.0.0/8", "fd00::/8"];
    assert_eq!(of(both, "203.0.113.1", 80), ("10.0.0.0/8".into(), 0));
    assert_eq!(of(both, "2001:db8::1", 80), ("fd00::/8".into(), 0));
    for (at, port) in [("10.96.0.1", 80), ("198.51.100.1", 80), ("node4", 30080)] {
        assert_eq!(of(both, at, port), (String::new(), 0), "{at}");
    }
    assert_eq!(of(&["0.0.0.0/0", "10.0.0.0/8", "::/0"], "203.0.113.1", 80), (String::new(), 0), "everyone");
    assert_eq!(of(&["10.0.0.0/8"], "2001:db8::1", 80), ("10.0.0.0/8".into(), 1), "admits nobody, and says so");
}

#[test]
fn corner_13_a_proxying_load_balancer_is_not_short_circuited() {
    let web = service("web", &["10.96.0.1"]).load_balancer(&["203.0.113.1", "203.0.113.2"]).with(|web| {
        web.ingress[1].mode = IngressMode::Proxy;
        let by_name = seaway_model::service::LoadBalancerIngress {
            address: None,
            hostname: Some("lb.example.org".into()),
            mode: IngressMode::Vip,
        };
        web.ingress.push(by_name);
    });
    let table = table(vec![web.set()]);
    let places: Vec<String> =
        table.plan(&named("web")).unwrap().frontends.iter().map(|one| one.at.to_string()).collect();
    assert_eq!(places, ["10.96.0.1", "203.0.113.1"]);
}

#[test]
fn corner_14_a_node_port_in_the_ephemeral_range_is_served_and_reported() {
    let table = table(vec![service("web", &["10.96.0.1"]).node_port(40000).set()]);
    frontend(&table, "web", "node4", 40000);
    let problems: Vec<String> = table.problems().map(ToString::to_string).collect();
    assert!(problems[0].contains("40000 lies in this node's range of ephemeral ports 32768-60999"), "{problems:?}");
    assert_eq!(problems.len(), 1);
}

#[test]
fn corner_17_families_have_endpoints_of_their_own() {
    let web = service("web", &["10.96.0.1", "fd00:96::1"]).node_port(30080);
    let mut table = table(vec![
        web.set(),
        slice("web-4", "web", vec![endpoint("10.0.0.1", "here")]),
        slice("web-6", "web", vec![endpoint("fd00::1", "here"), endpoint("fd00::2", "here").not_ready()]),
    ]);
    assert_eq!(reach(&table, "web", "node4", 30080), "10.0.0.1:8080 | 10.0.0.1:8080 *");
    assert_eq!(reach(&table, "web", "node6", 30080), "[fd00::1]:8080 | [fd00::1]:8080 *");
    table.apply(&[delete_slice("web-6")]);
    assert_eq!(reach(&table, "web", "fd00:96::1", 80), "reject | reject");
    assert_eq!(reach(&table, "web", "10.96.0.1", 80), "10.0.0.1:8080 | 10.0.0.1:8080 *");
    // The Service loses a family: every place of it goes.
    table.apply(&[service("web", &["10.96.0.1"]).node_port(30080).external(&["2001:db8::1"]).set()]);
    assert!(table.plan(&named("web")).unwrap().frontends.iter().all(|one| one.at.is_ipv4()));
    assert!(table.problems().next().unwrap().to_string().contains("family"));
}

#[test]
fn corner_18_a_pod_may_reach_itself_through_its_service() {
    let table =
        table(vec![service("web", &["10.96.0.1"]).set(), slice("web-1", "web", vec![endpoint("10.0.0.1", "here")])]);
    assert_eq!(reach(&table, "web", "10.96.0.1", 80), "10.0.0.1:8080 | 10.0.0.1:8080 *");
}

#[test]
fn corner_20_and_21_nodes_agree_on_the_table_of_one_service() {
    let tables: Vec<Vec<u32>> = ["here", "there"]
        .into_iter()
        .map(|node| {
            let mut table = ServiceTable::new(NodeView::new(NodeName::from(node)), Options::default());
            let backwards = node == "there";
            let mut endpoints = vec![endpoint("10.0.0.1", "here"), endpoint("10.0.0.2", "there")];
            if backwards {
                endpoints.reverse();
            }
            let web = service("web", &["10.96.0.1"]).annotation("seaway.dev/algorithm", "maglev");
            table.apply(&[web.set(), slice("web-1", "web", endpoints), ServiceChange::Synced]);
            maglev::table(&table.plan(&named("web")).unwrap().sets[0], maglev::SLOTS)
        })
        .collect();
    assert_eq!(tables[0], tables[1]);
}

#[test]
fn corner_22_a_service_made_anew_in_one_batch_is_the_new_one() {
    let endpoints = slice("web-1", "web", vec![endpoint("10.0.0.1", "here")]);
    let mut table = table(vec![service("web", &["10.96.0.1"]).set(), endpoints]);
    let again = service("web", &["10.96.0.1"]).with(|web| web.uid = "second".into());
    assert_eq!(changed(&table.apply(&[delete("web"), again.set()])), "", "same place, same endpoints");
    let moved = service("web", &["10.96.0.7"]).with(|web| web.uid = "third".into());
    assert_eq!(changed(&table.apply(&[delete("web"), moved.set()])), "+web");
    assert_eq!(table.plan(&named("web")).unwrap().frontends.len(), 1);
}

#[test]
fn corner_22_two_services_swap_their_places_in_one_batch() {
    let pair = |first: (&'static str, u16), second: (&'static str, u16)| {
        [service("a", &[first.0]).node_port(first.1).set(), service("b", &[second.0]).node_port(second.1).set()]
    };
    let (one, two) = (("10.96.0.1", 30001), ("10.96.0.2", 30002));
    let mut table = table(pair(one, two).to_vec());
    let swapped = table.apply(&pair(two, one));
    assert_eq!(changed(&swapped), "+a +b");
    frontend(&table, "a", "10.96.0.2", 80);
    frontend(&table, "b", "node4", 30001);
    assert_eq!(table.problems().count(), 0);
}

#[test]
fn corner_22_overlapping_external_addresses_are_one_after_the_other() {
    let with = |name: &str, age| service(name, &[&format!("10.96.0.{age}")]).external(&["203.0.113.9"]).created_at(age);
    let mut table = table(vec![with("old", 1).set(), with("new", 2).set()]);
    assert_eq!(table.plan(&named("new")).unwrap().frontends.len(), 1, "its ClusterIP only");
    assert_eq!(changed(&table.apply(&[delete("old")])), "-old +new");
    frontend(&table, "new", "203.0.113.9", 80);
    // The older one comes back: what gives up a place stands before what takes it.
    assert_eq!(changed(&table.apply(&[with("old", 1).set()])), "+new +old");
}

#[test]
fn changes_of_a_policy_alone_are_seen() {
    let with = |policy| service("web", &["10.96.0.1"]).node_port(30080).with(|web| web.external_policy = policy);
    let endpoints = slice("web-1", "web", vec![endpoint("10.0.0.1", "here"), endpoint("10.0.0.2", "there")]);
    let mut table = table(vec![with(TrafficPolicy::Cluster).set(), endpoints]);
    assert_eq!(changed(&table.apply(&[with(TrafficPolicy::Local).set()])), "+web");
    assert_eq!(reach(&table, "web", "node4", 30080), "10.0.0.1:8080 10.0.0.2:8080 | 10.0.0.1:8080");
    assert_eq!(changed(&table.apply(&[with(TrafficPolicy::Cluster).set()])), "+web");
}
