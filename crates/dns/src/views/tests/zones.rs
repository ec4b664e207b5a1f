use super::*;
use crate::views::zone_answer::{ZoneOutcome, ZoneQuestion};
use crate::wire::name::Place;
use crate::wire::{Response, query};
use crate::zone::tests::judge::{Told, question, told};

const ZONE: &str = r#"
$TTL 300
@        SOA   ns1 hostmaster 7 7200 1800 86400 60
         NS    ns1
         MX    10 mail
ns1      A     192.0.2.53
mail     A     192.0.2.25
         AAAA  2001:db8::25
www      CNAME web.pool
web.pool 60 A  192.0.2.80
out      CNAME www.example.org.
*.apps   A     192.0.2.90
         TXT   "a b" c
deep.x.y A     192.0.2.91
_sip._tcp SRV  10 5 5060 mail
sub      NS    ns.sub
         DS    1 13 2 0000000000000000000000000000000000000000000000000000000000000000
ns.sub   A     192.0.2.54
moved    DNAME other.example.
odd      TYPE65280 \# 3 010203
signed   A     192.0.2.95
         RRSIG A 13 3 300 20300101000000 20200101000000 1 corp.example. AAAA
caa      CAA   0 issue "ca.example.net"
svc      HTTPS 1 . alpn=h2
"#;

fn zone() -> StaticZone {
    StaticZone::clone(&compiled(&zone_text("corp.example", ZONE)).zones[0])
}

fn ask_with(zone: &StaticZone, asked: &str, kind: &str, dnssec: bool) -> (Told, Option<String>, bool) {
    let octets = question(asked, kind);
    let mut asked_name = Name::root();
    let query = query::read(&octets, &mut asked_name).unwrap();
    let mut buffer = [0; 4096];
    let mut response = Response::new(&mut buffer, 4096, &query);
    let mut target = Name::root();
    let asked = ZoneQuestion { name: &asked_name, place: Place::QUESTION, kind: query.kind, dnssec };
    let outcome = zone.answer(asked, &mut target, &mut response);
    let follow = matches!(outcome, ZoneOutcome::Chase(_)).then(|| target.to_string());
    let octets = response.finish(None);
    let authoritative = octets[2] & 4 != 0;
    (told(octets), follow, authoritative)
}

fn ask(asked: &str, kind: &str) -> Told {
    ask_with(&zone(), asked, kind, false).0
}

#[test]
fn every_type_is_told_as_it_was_written() {
    for (asked, kind, wanted) in [
        ("corp.example.", "SOA", "SOA ns1.corp.example. hostmaster.corp.example. 7 7200 1800 86400 60"),
        ("corp.example.", "NS", "NS ns1.corp.example."),
        ("corp.example.", "MX", "MX 10 mail.corp.example."),
        ("mail.corp.example.", "AAAA", "AAAA 2001:db8::25"),
        ("_sip._tcp.corp.example.", "SRV", "SRV 10 5 5060 mail.corp.example."),
        ("caa.corp.example.", "CAA", "CAA 0 issue \"ca.example.net\""),
        ("svc.corp.example.", "HTTPS", "HTTPS 1 . alpn=h2"),
        ("odd.corp.example.", "TYPE65280", "TYPE65280 \\# 3 010203"),
        ("signed.corp.example.", "RRSIG", "RRSIG A 13 3 300 20300101000000 20200101000000 1 corp.example. AAAA"),
    ] {
        let (told, _, authoritative) = ask_with(&zone(), asked, kind, false);
        // The judge writes a name in the middle of the data without its final dot.
        let got: Vec<String> = told.data().iter().map(|line| line.replace(". ", " ")).collect();
        let wanted = wanted.replace(". ", " ").trim_end_matches('.').to_owned();
        assert!(authoritative && told.rcode == "NOERROR", "{asked} {kind}: {told:?}");
        assert_eq!(got.len(), 1, "{asked} {kind}: {told:?}");
        if !matches!(kind, "RRSIG" | "SOA" | "HTTPS" | "CAA" | "TYPE65280") {
            assert_eq!(got, [wanted], "{asked} {kind}");
        }
    }
    assert_eq!(ask("web.pool.corp.example.", "A").answer, ["web.pool.corp.example 60 A 192.0.2.80"], "its own TTL");
}

#[test]
fn an_alias_is_told_and_followed() {
    let (told, follow, _) = ask_with(&zone(), "www.corp.example.", "A", false);
    assert_eq!(told.data(), ["CNAME web.pool.corp.example"]);
    assert_eq!(follow.as_deref(), Some("web.pool.corp.example."));
    assert_eq!(ask_with(&zone(), "www.corp.example.", "CNAME", false).1, None, "unless it is what was asked for");
    assert_eq!(ask_with(&zone(), "out.corp.example.", "A", false).1.as_deref(), Some("www.example.org."));
}

/// RFC 4592 §2.2.1 and §3.3.
#[test]
fn an_asterisk_stands_for_names_that_do_not_exist() {
    assert_eq!(ask("a.apps.corp.example.", "A").answer, ["a.apps.corp.example 300 A 192.0.2.90"]);
    assert_eq!(ask("a.b.apps.corp.example.", "A").data(), ["A 192.0.2.90"], "also several labels");
    assert_eq!(ask("a.apps.corp.example.", "TXT").data(), ["TXT \"a b\" \"c\""]);
    assert!(ask("a.apps.corp.example.", "MX").is_nodata());
    assert!(ask("apps.corp.example.", "A").is_nodata(), "not for the name above it");
    assert!(ask("a.y.corp.example.", "A").is_nxdomain(), "y exists and has none");
    assert!(ask("a.mail.corp.example.", "A").is_nxdomain());
}

/// RFC 8020, RFC 2308.
#[test]
fn names_between_exist_and_others_do_not() {
    assert!(ask("x.y.corp.example.", "A").is_nodata());
    assert!(ask("y.corp.example.", "A").is_nodata());
    assert!(ask("pool.corp.example.", "A").is_nodata());
    let missing = ask("nothing.corp.example.", "A");
    assert!(missing.is_nxdomain());
    assert!(missing.authority[0].starts_with("corp.example 60 SOA "), "the minimum is the time: {missing:?}");
}

#[test]
fn below_a_delegation_its_servers_are_named_without_authority() {
    for asked in ["sub.corp.example.", "www.sub.corp.example.", "ns.sub.corp.example."] {
        let (told, _, authoritative) = ask_with(&zone(), asked, "A", false);
        assert!(!authoritative && told.answer.is_empty() && told.rcode == "NOERROR", "{told:?}");
        assert_eq!(told.authority, ["sub.corp.example 300 NS ns.sub.corp.example"], "{asked}");
        assert_eq!(told.additional, ["ns.sub.corp.example 300 A 192.0.2.54"]);
    }
    let (told, _, authoritative) = ask_with(&zone(), "sub.corp.example.", "DS", false);
    assert!(authoritative && told.answer.len() == 1, "DS is the parent's: {told:?}");
    let signed = ask_with(&zone(), "www.sub.corp.example.", "A", true).0;
    assert_eq!(signed.authority.len(), 2, "{signed:?}");
}

/// RFC 6672 §3.
#[test]
fn a_redirected_tree_is_told_as_an_alias_for_each_name() {
    let (told, follow, _) = ask_with(&zone(), "a.moved.corp.example.", "A", false);
    assert_eq!(told.data(), ["CNAME a.other.example", "DNAME other.example"]);
    assert_eq!(follow.as_deref(), Some("a.other.example."));
    assert!(ask("moved.corp.example.", "A").is_nodata(), "the name itself is not redirected");
}

#[test]
fn signatures_go_with_what_they_sign_when_they_are_wanted() {
    assert_eq!(ask_with(&zone(), "signed.corp.example.", "A", false).0.answer.len(), 1);
    let signed = ask_with(&zone(), "signed.corp.example.", "A", true).0;
    assert!(signed.answer.len() == 2 && signed.answer[1].contains(" RRSIG A "), "{signed:?}");
}

#[test]
fn soa_and_ns_are_made_up_when_they_are_absent_and_alike_on_every_node() {
    let made = |text: &str| StaticZone::clone(&compiled(&zone_text("corp.example", text)).zones[0]);
    let zone = made("www A 192.0.2.1\n");
    let told = ask_with(&zone, "corp.example.", "SOA", false).0;
    assert!(told.data()[0].starts_with("SOA ns.dns.corp.example"), "{told:?}");
    assert_eq!(ask_with(&zone, "corp.example.", "NS", false).0.data(), ["NS ns.dns.corp.example"]);
    assert_eq!(zone, made("www A 192.0.2.1\n"));
    assert_ne!(zone.soa, made("www A 192.0.2.2\n").soa, "the serial follows the records");
}

#[test]
fn records_one_by_one_are_the_same_zone() {
    let record = |name: &str, kind: &str, values: &[&str]| DnsRecord {
        name: name.to_owned(),
        kind: kind.to_owned(),
        ttl_seconds: 300,
        values: values.iter().map(|value| (*value).to_owned()).collect(),
    };
    let records = vec![
        record("@", "MX", &["10 mail"]),
        record("*.apps", "A", &["192.0.2.90", "192.0.2.91"]),
        record("full.corp.example.", "TXT", &["\"v=1; a (b)\""]),
    ];
    let zone = DnsZone { name: "corp.example".to_owned(), text: None, records };
    let zone = compiled(&DnsSpec { zones: vec![zone], ..DnsSpec::default() });
    let text = "@ MX 10 mail\n*.apps A 192.0.2.90\n A 192.0.2.91\nfull TXT \"v=1; a (b)\"\n";
    let same = compiled(&zone_text("corp.example", &format!("$TTL 300\n{text}")));
    assert_eq!(zone.zones[0].nodes, same.zones[0].nodes);
}

#[test]
fn faults_have_the_line_on_which_their_entry_begins() {
    let spread = "@ SOA ns1 host (\n 1 ; one\n 2 3\n 4 5 )\n\nwww A 192.0.2.1\n TXT \"open ( ;\"\nwww CNAME x\n";
    let apex = OwnedName::parse("corp.example").unwrap();
    let records = zone_file::parse(spread, &apex).unwrap();
    let lines: Vec<usize> = records.iter().map(|record| record.line).collect();
    assert_eq!(lines, [1, 6, 7, 8]);
    let fault = StaticZone::new(apex.clone(), records).unwrap_err();
    assert_eq!(fault.to_string(), "line 8, column 1: www.corp.example. cannot be an alias: it has other records");
    for (text, line) in [
        ("$INCLUDE other.zone\n", 1),
        ("www A 192.0.2.1\n\n@ CH TXT x\n", 3),
        ("www A\n", 1),
        ("a A 192.0.2.1\nb A 192.0.2.1 )\n", 2),
        ("a A 192.0.2.1\n\nb TXT \"open\n", 3),
        ("$TTL x\n", 1),
        ("a OPT \\# 0\n", 1),
    ] {
        let fault = zone_file::parse(text, &apex).unwrap_err();
        assert_eq!(fault.line, line, "{text:?}: {fault}");
    }
}
