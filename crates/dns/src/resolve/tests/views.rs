//! What the operator says of names, on every way to an answer.

use seaway_model::dns::{DnsAccessAction, DnsBlockAction, DnsRewritePart, DnsSpec};
use seaway_model::{LabelSelector, Labels, Namespace};

use super::*;
use crate::views::Keeper;
use crate::views::tests::{access, block, forward, hosts, rewrite, zone_text};

const NOBODY: &str = "10.9.9.9";

/// A resolver with these configurations; `shop` in front of a name: for that namespace only.
fn with(configs: Vec<(&str, DnsSpec)>) -> Resolver {
    let resolver = resolver(vec![
        tell_service("shop/outer", external("ads.example")),
        tell_service("shop/alias", external("www.corp.example")),
    ]);
    let mut keeper = Keeper::new(Arc::clone(&resolver.views), Vec::new());
    let labels = Labels::from([("name".to_owned(), "shop".to_owned())]);
    let mut facts = vec![
        begin(),
        FeedChange::Namespace { of: "shop".into(), now: Some(Arc::new(Namespace { labels: labels.clone() })) },
        tell_pod("shop/client", POD, "n1"),
    ];
    for (name, mut spec) in configs {
        if name.starts_with("shop") {
            spec.namespace_selector = Some(LabelSelector { match_labels: labels.clone(), ..Default::default() });
        }
        facts.push(FeedChange::DnsConfig { of: name.to_owned(), now: Some(Arc::new(spec)) });
    }
    facts.push(FeedChange::Synced);
    keeper.apply(&facts);
    assert_eq!(resolver.views.configs().1, 0, "a configuration of the test cannot be used");
    resolver
}

/// Corner case 32: what is kept from a client does not come from the cache either.
#[test]
fn a_blocked_name_is_not_answered_from_the_cache() {
    let resolver = with(vec![("shop-block", block(&["ads.example"], DnsBlockAction::Nxdomain))]);
    known(&resolver, "ads.example", 0);
    assert_eq!(answer(&resolver, NOBODY, "ads.example.", "A").data(), ["A 192.0.2.1"], "it is there for others");
    let told = answer(&resolver, POD, "ads.example.", "A");
    assert!(told.is_nxdomain(), "{told:?}");
    assert!(told.authority[0].starts_with("ads.example 5 SOA"), "{told:?}");
    assert_eq!(resolver.views.kept_away().0, 1);
}

#[test]
fn no_detour_leads_to_a_blocked_name() {
    let resolver = with(vec![("shop-block", block(&["*.example", "ads.example"], DnsBlockAction::Nxdomain))]);
    known(&resolver, "ads.example", 0);
    let searched = answer(&resolver, POD, "ads.example.shop.svc.cluster.local.", "A");
    assert!(searched.is_nxdomain(), "by the search list: {searched:?}");
    let alias = answer(&resolver, POD, "outer.shop.svc.cluster.local.", "A");
    assert_eq!((alias.rcode.as_str(), alias.data()), ("NXDOMAIN", vec!["CNAME ads.example".to_owned()]));
    assert_eq!(answer(&resolver, NOBODY, "outer.shop.svc.cluster.local.", "A").data().len(), 2);
    let detour = with(vec![
        ("shop-block", block(&["ads.example"], DnsBlockAction::Nxdomain)),
        ("shop-rewrite", rewrite(DnsRewritePart::Exact, "harmless.example", "ads.example")),
    ]);
    known(&detour, "ads.example", 0);
    assert_eq!(answer(&detour, POD, "harmless.example.", "A").rcode, "NXDOMAIN", "by a rewrite");
}

#[test]
fn a_block_answers_as_it_says() {
    let mut spec = block(&["nodata.example"], DnsBlockAction::Nodata);
    spec.block.extend(block(&["refused.example"], DnsBlockAction::Refused).block);
    spec.block.extend(block(&["*.sink.example"], DnsBlockAction::Addresses).block);
    spec.block[2].addresses = vec!["192.0.2.66".to_owned(), "192.0.2.67".to_owned()];
    spec.block.extend(block(&["web.shop.svc.cluster.local"], DnsBlockAction::Nxdomain).block);
    let resolver = with(vec![("a", spec)]);
    assert!(answer(&resolver, POD, "nodata.example.", "A").is_nodata());
    assert_eq!(answer(&resolver, POD, "refused.example.", "A").rcode, "REFUSED");
    assert_eq!(answer(&resolver, POD, "x.sink.example.", "A").data(), ["A 192.0.2.66", "A 192.0.2.67"]);
    assert!(answer(&resolver, POD, "x.sink.example.", "AAAA").is_nodata());
    assert!(answer(&resolver, POD, "web.shop.svc.cluster.local.", "A").is_nxdomain(), "also names of the cluster");
}

#[test]
fn a_denied_client_gets_nothing_at_all() {
    let resolver = with(vec![("a", access(DnsAccessAction::Deny, &["10.9.0.0/16"]))]);
    known(&resolver, "example.org", 0);
    for asked in ["example.org.", "web.shop.svc.cluster.local.", "localhost."] {
        let told = answer(&resolver, NOBODY, asked, "A");
        assert_eq!((told.rcode.as_str(), told.answer.len()), ("REFUSED", 0), "{asked}");
        assert_eq!(answer(&resolver, POD, asked, "A").rcode, "NOERROR", "{asked}");
    }
}

#[test]
fn each_view_asks_its_own_upstreams_and_has_a_cache_of_its_own() {
    let resolver = with(vec![("shop-forward", forward("example.org", "192.0.2.53"))]);
    known(&resolver, "example.org", 0);
    assert_eq!(answer(&resolver, NOBODY, "example.org.", "A").data(), ["A 192.0.2.1"]);
    let Came::Question(question) = ask(&resolver, POD, "example.org.", "A") else { panic!("from another's cache") };
    let upstreams = question.upstreams.unwrap();
    assert_eq!(upstreams.members[0].0, "192.0.2.53:53".parse().unwrap());
    assert_eq!(question.group, usize::from(upstreams.number));
    let Came::Question(other) = ask(&resolver, NOBODY, "www.example.org.", "A") else { panic!() };
    assert!(other.upstreams.is_none());
}

#[test]
fn a_domain_above_the_clusters_does_not_hide_it_and_one_below_does() {
    let mut spec = forward(".", "192.0.2.53");
    spec.zones = zone_text("local", "x.cluster A 192.0.2.9\n").zones;
    spec.zones.extend(zone_text("far.svc.cluster.local", "web A 192.0.2.10\n").zones);
    spec.hosts = hosts("web.prod.svc.cluster.local", "192.0.2.11").hosts;
    let resolver = with(vec![("a", spec)]);
    assert_eq!(answer(&resolver, POD, "web.shop.svc.cluster.local.", "A").data(), ["A 10.0.0.1"]);
    assert_eq!(answer(&resolver, POD, "1.0.0.10.in-addr.arpa.", "PTR").data(), ["PTR web.shop.svc.cluster.local"]);
    assert_eq!(answer(&resolver, POD, "web.far.svc.cluster.local.", "A").data(), ["A 192.0.2.10"]);
    assert_eq!(answer(&resolver, POD, "web.prod.svc.cluster.local.", "A").data(), ["A 192.0.2.11"]);
    assert!(answer(&resolver, POD, "x.cluster.local.", "A").is_nxdomain());
    assert_eq!(asked(&resolver, POD, "example.org.").1, usize::from(crate::views::upstreams::FIRST_NUMBER));
}

#[test]
fn a_zone_answers_with_authority_and_its_aliases_are_followed() {
    let text = "www CNAME web\nweb A 192.0.2.80\ninto CNAME web.shop.svc.cluster.local.\nout CNAME example.org.\n";
    let resolver = with(vec![("shop-zone", zone_text("corp.example", text))]);
    assert_eq!(answer(&resolver, POD, "www.corp.example.", "A").data(), ["A 192.0.2.80", "CNAME web.corp.example"]);
    let into = answer(&resolver, POD, "into.corp.example.", "A");
    assert_eq!(into.data(), ["A 10.0.0.1", "CNAME web.shop.svc.cluster.local"]);
    assert_eq!(asked(&resolver, POD, "out.corp.example.").0, "example.org.");
    let alias = answer(&resolver, POD, "alias.shop.svc.cluster.local.", "A");
    assert_eq!(alias.data(), ["A 192.0.2.80", "CNAME web.corp.example", "CNAME www.corp.example"]);
    assert!(answer(&resolver, POD, "no.corp.example.", "A").is_nxdomain());
    assert_eq!(asked(&resolver, NOBODY, "www.corp.example.").1, 1, "for others it is a stub domain");
    let searched = answer(&resolver, POD, "www.corp.example.shop.svc.cluster.local.", "A");
    assert_eq!(searched.data().len(), 3, "the search list leads to it: {searched:?}");
}

#[test]
fn the_answer_to_a_rewritten_question_names_what_was_asked() {
    let zone = "www CNAME web\nweb A 192.0.2.80\n_http._tcp SRV 0 0 80 web\n@ MX 10 web\n";
    let mut spec = zone_text("new.example", zone);
    spec.rewrites = rewrite(DnsRewritePart::Suffix, "old.example", "new.example").rewrites;
    let resolver = with(vec![("a", spec)]);
    assert_eq!(
        answer(&resolver, POD, "www.old.example.", "A").answer,
        ["www.old.example 3600 CNAME web.old.example", "web.old.example 3600 A 192.0.2.80"]
    );
    assert_eq!(
        answer(&resolver, POD, "_http._tcp.old.example.", "SRV").data(),
        ["SRV 0 0 80 web.old.example"],
        "targets too"
    );
    let missing = answer(&resolver, POD, "no.old.example.", "A");
    assert!(missing.is_nxdomain() && missing.authority[0].starts_with("old.example "), "{missing:?}");
    assert_eq!(answer(&resolver, POD, "web.new.example.", "A").answer, ["web.new.example 3600 A 192.0.2.80"]);
}

#[test]
fn a_rewrite_leads_into_the_cluster_to_others_and_to_their_answers() {
    let mut spec = rewrite(DnsRewritePart::Exact, "shop.example", "web.shop.svc.cluster.local");
    spec.rewrites.extend(rewrite(DnsRewritePart::Exact, "far.example", "example.org").rewrites);
    let resolver = with(vec![("a", spec)]);
    let told = answer(&resolver, POD, "shop.example.", "A");
    assert_eq!(told.answer, ["shop.example 5 A 10.0.0.1"]);
    assert!(answer(&resolver, POD, "shop.example.", "AAAA").is_nodata());
    assert_eq!(asked(&resolver, POD, "far.example.").0, "example.org.");
    known(&resolver, "example.org", 0);
    assert_eq!(answer(&resolver, POD, "far.example.", "A").answer, ["far.example 59 A 192.0.2.1"]);
    let searched = answer(&resolver, POD, "shop.example.shop.svc.cluster.local.", "A");
    assert!(searched.is_nxdomain(), "the client asks for it itself: {searched:?}");
}

#[test]
fn search_lists_are_walked_as_the_view_says() {
    let off = DnsSpec { search: Some(false), ..DnsSpec::default() };
    let resolver = with(vec![("shop-off", off)]);
    let name = "redis.prod.shop.svc.cluster.local.";
    assert!(answer(&resolver, POD, name, "A").is_nxdomain());
    let resolver = with(Vec::new());
    assert_eq!(answer(&resolver, POD, name, "A").rcode, "NOERROR");
}
