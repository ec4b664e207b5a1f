use std::net::{IpAddr, SocketAddr};

use seaway_model::feed::FeedChange;
use seaway_model::{LabelSelector, Labels, Namespace, Pod};

use super::*;
use crate::zone::tests::{begin, pod_ref, tell_pod};

const RED_POD: &str = "10.1.0.1";
const BLUE_POD: &str = "10.1.0.2";

fn tell(of: &str, spec: DnsSpec) -> FeedChange {
    FeedChange::DnsConfig { of: of.to_owned(), now: Some(Arc::new(spec)) }
}

fn only(team: &str, spec: DnsSpec) -> DnsSpec {
    let match_labels = Labels::from([("team".to_owned(), team.to_owned())]);
    DnsSpec { namespace_selector: Some(LabelSelector { match_labels, ..LabelSelector::default() }), ..spec }
}

fn namespace(name: &str, team: &str) -> FeedChange {
    let labels = Labels::from([("team".to_owned(), team.to_owned())]);
    FeedChange::Namespace { of: name.to_owned(), now: Some(Arc::new(Namespace { labels })) }
}

fn keeper(more: Vec<FeedChange>) -> (Arc<Views>, Keeper) {
    let views = Arc::new(Views::new());
    let own: SocketAddr = "10.0.0.10:53".parse().unwrap();
    let mut keeper = Keeper::new(Arc::clone(&views), vec![own]);
    let mut facts = vec![
        begin(),
        namespace("red", "red"),
        namespace("blue", "blue"),
        tell_pod("red/client", RED_POD, "n1"),
        tell_pod("blue/client", BLUE_POD, "n1"),
    ];
    facts.extend(more);
    facts.push(FeedChange::Synced);
    keeper.apply(&facts);
    (views, keeper)
}

/// The first address that a client's view has for a name.
fn seen(views: &Views, client: &str, asked: &str) -> Option<String> {
    views.with(&client.parse::<IpAddr>().unwrap(), |view| match view?.find(&name(asked), true, 0)? {
        Found::Host(addresses) => Some(addresses[0].to_string()),
        Found::Forward(upstreams) => Some(upstreams.members[0].0.to_string()),
        other => panic!("{other:?}"),
    })
}

fn is_blocked(views: &Views, client: &str, asked: &str) -> bool {
    views.with(&client.parse::<IpAddr>().unwrap(), |view| view.is_some_and(|v| v.blocks(&name(asked)).is_some()))
}

#[test]
fn without_a_configuration_there_is_no_view() {
    let (views, mut keeper) = keeper(Vec::new());
    let some = |views: &Views| views.with(&IpAddr::from([10, 1, 0, 1]), |view| view.is_some());
    assert!(!some(&views));
    keeper.apply(&[tell("a", hosts("x.example", "192.0.2.1"))]);
    assert!(some(&views));
    keeper.apply(&[FeedChange::DnsConfig { of: "a".into(), now: None }]);
    assert!(!some(&views));
}

#[test]
fn a_configuration_with_a_selector_comes_first_and_then_the_name_decides() {
    let (views, _keeper) = keeper(vec![
        tell("a-general", hosts("x.example", "192.0.2.1")),
        tell("b-general", hosts("x.example", "192.0.2.2")),
        tell("z-red", only("red", hosts("x.example", "192.0.2.3"))),
        tell("y-red", only("red", hosts("y.example", "192.0.2.4"))),
        tell("zz-red", only("red", hosts("y.example", "192.0.2.5"))),
    ]);
    for (client, asked, wanted) in [
        (RED_POD, "x.example", Some("192.0.2.3")),
        (BLUE_POD, "x.example", Some("192.0.2.1")),
        ("10.9.9.9", "x.example", Some("192.0.2.1")),
        (RED_POD, "y.example", Some("192.0.2.4")),
        (BLUE_POD, "y.example", None),
        ("10.9.9.9", "y.example", None),
    ] {
        assert_eq!(seen(&views, client, asked).as_deref(), wanted, "{client} {asked}");
    }
}

#[test]
fn a_view_follows_labels_pods_and_addresses() {
    let (views, mut keeper) = keeper(vec![tell("red", only("red", hosts("x.example", "192.0.2.1")))]);
    let sees = |views: &Views, client| seen(views, client, "x.example").is_some();
    assert!(sees(&views, RED_POD) && !sees(&views, BLUE_POD));
    keeper.apply(&[namespace("blue", "red")]);
    assert!(sees(&views, BLUE_POD), "the label came");
    keeper.apply(&[namespace("blue", "blue")]);
    assert!(!sees(&views, BLUE_POD), "and went");
    // The address goes to a pod of the other namespace before the first is told gone.
    keeper.apply(&[tell_pod("blue/next", RED_POD, "n1")]);
    keeper.apply(&[FeedChange::Pod { of: pod_ref("red/client"), now: None }]);
    assert!(!sees(&views, RED_POD));
    let host = Pod { host_network: true, addresses: vec!["10.7.0.1".parse().unwrap()], ..Pod::default() };
    keeper.apply(&[FeedChange::Pod { of: pod_ref("red/host"), now: Some(Arc::new(host)) }]);
    assert!(!sees(&views, "10.7.0.1"), "the node's address is of no pod alone");
}

#[test]
fn block_lists_come_before_everything_unless_the_view_allows() {
    let general = block(&["*.social.example", "social.example"], DnsBlockAction::Nxdomain);
    let (views, mut keeper) = keeper(vec![
        tell("block", general),
        tell("red", only("red", forward(".", "192.0.2.53"))),
        tell("blue", only("blue", block(&["*.social.example"], DnsBlockAction::Allow))),
    ]);
    assert!(is_blocked(&views, RED_POD, "www.social.example"), "whom a view asks does not matter");
    assert!(!is_blocked(&views, BLUE_POD, "www.social.example"));
    assert!(is_blocked(&views, BLUE_POD, "social.example"), "only what is allowed");
    assert!(is_blocked(&views, "10.9.9.9", "www.social.example"));
    keeper.apply(&[FeedChange::DnsConfig { of: "blue".into(), now: None }]);
    assert!(is_blocked(&views, BLUE_POD, "www.social.example"));
}

#[test]
fn the_first_range_that_holds_a_client_decides() {
    let mut spec = access(DnsAccessAction::Deny, &["10.1.0.2", "10.2.0.0/16"]);
    spec.access.extend(access(DnsAccessAction::Allow, &["10.0.0.0/8"]).access);
    spec.access.extend(access(DnsAccessAction::Deny, &["0.0.0.0/0"]).access);
    let view = View { configs: vec![Arc::new(compiled(&spec))] };
    for (client, allowed) in
        [("10.1.0.1", true), ("10.1.0.2", false), ("10.2.3.4", false), ("192.0.2.1", false), ("fd00::1", true)]
    {
        assert_eq!(view.allows(client.parse().unwrap()), allowed, "{client}");
    }
}

#[test]
fn the_longest_domain_of_one_configuration_wins() {
    let mut spec = forward("corp.example", "192.0.2.53");
    spec.forward.extend(forward("lab.corp.example", "192.0.2.54").forward);
    spec.forward.extend(forward(".", "192.0.2.55").forward);
    let (views, _keeper) = keeper(vec![tell("a", spec)]);
    assert_eq!(seen(&views, RED_POD, "www.corp.example").as_deref(), Some("192.0.2.53:53"));
    assert_eq!(seen(&views, RED_POD, "x.lab.corp.example").as_deref(), Some("192.0.2.54:53"));
    assert_eq!(seen(&views, RED_POD, "example.org").as_deref(), Some("192.0.2.55:53"));
}

#[test]
fn a_broken_configuration_leaves_its_last_good_form_in_force() {
    let (views, mut keeper) = keeper(vec![tell("a", hosts("x.example", "192.0.2.1"))]);
    let mut broken = hosts("x.example", "192.0.2.2");
    broken.hosts.push(host("y.example", "ten"));
    keeper.apply(&[tell("a", broken.clone())]);
    assert_eq!(seen(&views, RED_POD, "x.example").as_deref(), Some("192.0.2.1"), "nothing is half applied");
    assert_eq!(views.configs(), (1, 1));
    let (fresh, mut restarted) = self::keeper(Vec::new());
    restarted.restore(keeper.save());
    assert_eq!(seen(&fresh, RED_POD, "x.example").as_deref(), Some("192.0.2.1"), "also after a restart");
    restarted.apply(&[begin(), tell("a", broken), FeedChange::Synced]);
    assert_eq!(seen(&fresh, RED_POD, "x.example").as_deref(), Some("192.0.2.1"));
    restarted.apply(&[tell("a", hosts("x.example", "192.0.2.3"))]);
    assert_eq!(seen(&fresh, RED_POD, "x.example").as_deref(), Some("192.0.2.3"));
    assert_eq!(fresh.configs(), (1, 0));
}

#[test]
fn a_restart_knows_whose_names_are_kept_from_whom() {
    let red = only("red", block(&["secret.example"], DnsBlockAction::Nxdomain));
    let (_views, keeper) = keeper(vec![tell("red", red)]);
    let text = serde_json::to_string(&keeper.save()).unwrap();
    let views = Arc::new(Views::new());
    let mut restarted = Keeper::new(Arc::clone(&views), Vec::new());
    restarted.restore(serde_json::from_str(&text).unwrap());
    assert!(is_blocked(&views, RED_POD, "secret.example"), "before the agent tells anything");
    assert!(!is_blocked(&views, BLUE_POD, "secret.example"));
    restarted.apply(&[begin(), FeedChange::Synced]);
    assert!(!is_blocked(&views, RED_POD, "secret.example"), "what is not told again is gone");
}

#[test]
fn a_view_never_asks_the_server_itself() {
    let mut spec = forward("loop.example", "10.0.0.10");
    spec.forward[0].upstreams.push("192.0.2.53".to_owned());
    let (views, _keeper) = keeper(vec![tell("a", spec)]);
    assert_eq!(seen(&views, RED_POD, "x.loop.example").as_deref(), Some("192.0.2.53:53"));
}

#[test]
fn the_same_upstreams_keep_their_cache_and_others_have_their_own() {
    let mut numbers = Numbers::default();
    let mut number = |spec: &DnsSpec| compile(spec, &mut numbers).unwrap().forward[0].1.number;
    let first = number(&forward("a.example", "192.0.2.53"));
    assert_eq!(number(&forward("b.example", "192.0.2.53")), first);
    assert_ne!(number(&forward("a.example", "192.0.2.54")), first);
    assert_ne!(number(&forward("a.example", "tcp://192.0.2.53")), first);
}
