//! Services that want what others have, and objects nobody should have written.

use seaway_model::Diagnose;

use super::*;

fn problems(table: &ServiceTable) -> Vec<String> {
    let mut all: Vec<String> = table.problems().map(|one| format!("{} {one}", one.id())).collect();
    all.sort();
    all
}

#[test]
fn the_older_service_keeps_a_place_whatever_the_order_of_events() {
    let young = service("young", &["10.96.0.1"]).node_port(30080).created_at(20).set();
    let old = service("old", &["10.96.0.2"]).node_port(30080).created_at(10).set();
    for changes in [vec![young.clone(), old.clone()], vec![old, young]] {
        let table = table(changes);
        frontend(&table, "old", "node4", 30080);
        assert_eq!(table.plan(&named("young")).unwrap().frontends.len(), 1);
        let text = "SW1100 Service shop/young: spec.ports[].nodePort: TCP port 30080 of the nodes' IPv4 addresses \
                    belongs to the older Service shop/old";
        assert_eq!(problems(&table), [text]);
    }
}

#[test]
fn of_equals_in_age_the_name_decides() {
    let table = table(vec![
        service("b", &["10.96.0.1"]).external(&["203.0.113.1"]).set(),
        service("a", &["10.96.0.2"]).external(&["203.0.113.1"]).set(),
    ]);
    frontend(&table, "a", "203.0.113.1", 80);
    assert_eq!(table.plan(&named("b")).unwrap().frontends.len(), 1);
}

#[test]
fn two_services_with_one_cluster_ip_share_it_by_age() {
    let mut table =
        table(vec![service("a", &["10.96.0.1"]).created_at(2).set(), service("b", &["10.96.0.1"]).created_at(1).set()]);
    assert!(table.plan(&named("a")).is_none());
    assert_eq!(changed(&table.apply(&[delete("b")])), "-b +a");
}

#[test]
fn one_address_serves_many_services_on_different_ports() {
    let on = |name: &str, ip: &str, number| {
        service(name, &[ip]).load_balancer(&["203.0.113.1"]).with(|one| one.ports[0].port = number)
    };
    let table = table(vec![on("a", "10.96.0.1", 80).set(), on("b", "10.96.0.2", 443).set()]);
    frontend(&table, "a", "203.0.113.1", 80);
    frontend(&table, "b", "203.0.113.1", 443);
    assert_eq!(table.problems().count(), 0);
}

#[test]
fn an_external_ip_may_not_be_a_node() {
    let mut table = table(vec![service("thief", &["10.96.0.1"]).external(&["192.0.2.1"]).set()]);
    frontend(&table, "thief", "192.0.2.1", 80);
    let with_node = NodeView { cluster_node_addresses: [ip("192.0.2.1")].into(), ..here() };
    assert_eq!(changed(&table.set_node(with_node)), "+thief");
    assert_eq!(table.plan(&named("thief")).unwrap().frontends.len(), 1);
    assert!(problems(&table)[0].starts_with("SW1101 Service shop/thief"));
    assert_eq!(changed(&table.set_node(here())), "+thief", "the node is gone");
}

#[test]
fn nobody_takes_a_pods_address() {
    let thief = service("thief", &["10.96.0.1"]).external(&["10.244.1.7"]).load_balancer(&["10.244.9.9"]);
    let mut table = table(vec![thief.set()]);
    frontend(&table, "thief", "10.244.1.7", 80);
    let with_pods = |ranges: &[&str]| {
        let pod_ranges = ranges.iter().map(|range| range.parse().unwrap()).collect();
        NodeView { pod_ranges, ..here() }
    };
    assert_eq!(changed(&table.set_node(with_pods(&["10.244.0.0/16", "fd00::/64"]))), "+thief");
    assert_eq!(table.plan(&named("thief")).unwrap().frontends.len(), 1);
    let texts = [
        "SW1111 Service shop/thief: spec.externalIPs: 10.244.1.7 lies in the range 10.244.0.0/16 of pods and is refused",
        "SW1111 Service shop/thief: status.loadBalancer.ingress: 10.244.9.9 lies in the range 10.244.0.0/16 of pods \
         and is refused",
    ];
    assert_eq!(problems(&table), texts);
    assert_eq!(changed(&table.set_node(with_pods(&["10.244.9.0/24"]))), "+thief", "a pool becomes smaller");
    frontend(&table, "thief", "10.244.1.7", 80);
    assert_eq!(problems(&table).len(), 1);
}

#[test]
fn a_refused_address_keeps_nobody_away() {
    let thief = service("thief", &["10.96.0.1"]).external(&["192.0.2.1"]).created_at(1);
    let balanced = service("balanced", &["10.96.0.2"]).load_balancer(&["192.0.2.1"]).created_at(2);
    let mut table = table(vec![thief.set(), balanced.set()]);
    assert_eq!(table.plan(&named("balanced")).unwrap().frontends.len(), 1);
    let with_node = NodeView { cluster_node_addresses: [ip("192.0.2.1")].into(), ..here() };
    assert_eq!(changed(&table.set_node(with_node)), "+thief +balanced");
    frontend(&table, "balanced", "192.0.2.1", 80);
}

#[test]
fn nobody_takes_the_cluster_ip_of_another_on_any_port() {
    let thief = || {
        let thief = service("thief", &["10.96.0.1"]).created_at(1).external(&["10.96.0.2"]);
        thief.with(|thief| thief.ports[0].port = 5432)
    };
    let mut table = table(vec![thief().set()]);
    frontend(&table, "thief", "10.96.0.2", 5432);
    let victim = service("victim", &["10.96.0.2"]).created_at(2).set();
    assert_eq!(changed(&table.apply(&[victim])), "+thief +victim");
    assert_eq!(table.plan(&named("thief")).unwrap().frontends.len(), 1);
    let text =
        "SW1102 Service shop/thief: spec.externalIPs: 10.96.0.2 is the ClusterIP of Service shop/victim and is refused";
    assert_eq!(problems(&table), [text]);
    assert_eq!(changed(&table.apply(&[delete("victim")])), "-victim +thief");
    let balanced = service("balanced", &["10.96.0.9"]).load_balancer(&["10.96.0.1"]);
    table.apply(&[balanced.set()]);
    assert_eq!(table.plan(&named("balanced")).unwrap().frontends.len(), 1);
}

#[test]
fn nonsense_is_left_out_and_named() {
    let web = service("web", &["10.96.0.1"]).external(&["127.0.0.1", "fd00::1", "224.0.0.1"]).with(|web| {
        web.ports.push(port("zero", seaway_model::Protocol::Tcp, 0, Some(30000)));
    });
    let slices = slice_with_ports(
        "web-1",
        "web",
        &[("http", seaway_model::Protocol::Tcp, 0)],
        vec![endpoint("169.254.0.1", "here"), endpoint("10.0.0.1", "here")],
    );
    let table = table(vec![web.annotation("seaway.dev/algorithm", "best").set(), slices]);
    let ids: Vec<String> = problems(&table).iter().map(|text| text[..6].to_owned()).collect();
    assert_eq!(ids, ["SW1103", "SW1103", "SW1104", "SW1106", "SW1107", "SW1108", "SW1109"]);
    assert_eq!(reach(&table, "web", "10.96.0.1", 80), "reject | reject");
    assert_eq!(table.plan(&named("web")).unwrap().frontends.len(), 1);
}

#[test]
fn problems_are_told_when_they_change() {
    let mut table = table(vec![service("web", &["10.96.0.1"]).node_port(40000).set()]);
    let told = table.take_changed_problems();
    assert_eq!((told.len(), told[0].1.len()), (1, 1));
    assert!(table.take_changed_problems().is_empty());
    table.apply(&[delete("web")]);
    assert_eq!(table.take_changed_problems(), [(named("web"), Vec::new())]);
}

#[test]
fn a_slice_that_changes_its_owner_leaves_the_first() {
    let mut table = table(vec![
        service("a", &["10.96.0.1"]).set(),
        service("b", &["10.96.0.2"]).set(),
        slice("s", "a", vec![endpoint("10.0.0.1", "here")]),
    ]);
    assert_eq!(changed(&table.apply(&[slice("s", "b", vec![endpoint("10.0.0.1", "here")])])), "+a +b");
    assert_eq!(reach(&table, "a", "10.96.0.1", 80), "reject | reject");
    assert_eq!(reach(&table, "b", "10.96.0.2", 80), "10.0.0.1:8080 | 10.0.0.1:8080 *");
}

#[test]
fn a_list_that_comes_again_changes_nothing() {
    let everything = vec![
        service("a", &["10.96.0.1"]).node_port(30001).set(),
        service("b", &["10.96.0.2"]).external(&["203.0.113.1"]).set(),
        slice("a-1", "a", vec![endpoint("10.0.0.1", "here")]),
    ];
    let mut table = table(everything.clone());
    assert_eq!(changed(&table.apply(&everything)), "");
    assert_eq!(changed(&table.apply(&[ServiceChange::Synced])), "");
}
