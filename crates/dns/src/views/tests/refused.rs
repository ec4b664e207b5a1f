use super::*;

fn flaws(spec: &DnsSpec) -> Vec<String> {
    compile(spec, &mut Numbers::default()).unwrap_err().iter().map(ToString::to_string).collect()
}

fn records(records: &[(&str, &str, &str)]) -> DnsSpec {
    let records = records.iter().map(|(name, kind, value)| DnsRecord {
        name: (*name).to_owned(),
        kind: (*kind).to_owned(),
        ttl_seconds: 60,
        values: vec![(*value).to_owned()],
    });
    let zone = DnsZone { name: "corp.example".to_owned(), text: None, records: records.collect() };
    DnsSpec { zones: vec![zone], ..DnsSpec::default() }
}

#[test]
fn every_field_that_cannot_be_used_is_told_by_its_path() {
    let forms = "is none of 10.0.0.1, 10.0.0.1:5353, tcp://10.0.0.1, tls://10.0.0.1#dns.example.org";
    let table = [
        (hosts("a..b", "192.0.2.1"), "spec.hosts[0].name: \"a..b\" is no domain name".to_owned()),
        (hosts("a.b", "192.0.2"), "spec.hosts[0].addresses[0]: \"192.0.2\" is no IP address".to_owned()),
        (
            access(DnsAccessAction::Deny, &["10.0.0.0/8", "10.0.0.1/8"]),
            "spec.access[0].clients[1]: \"10.0.0.1/8\" is no address range as 10.0.0.0/8".to_owned(),
        ),
        (
            block(&["ok.example", "a.*.b"], DnsBlockAction::Nxdomain),
            "spec.block[0].names[1]: \"a.*.b\" is no domain name".to_owned(),
        ),
        (block(&["a"], DnsBlockAction::Addresses), "spec.block[0].addresses: holds no address".to_owned()),
        (
            rewrite(DnsRewritePart::Suffix, "a.example", "b..c"),
            "spec.rewrites[0].to: is no name: a label is empty, longer than 63 octets, or a pointer".to_owned(),
        ),
        (forward("corp", "dns.corp"), format!("spec.forward[0].upstreams[0]: \"dns.corp\" {forms}")),
        (
            zone_text("corp.example", "www A 192.0.2.1\nwww A 192.0.2.256\n"),
            "spec.zones[0].text: line 2, column 7: ".to_owned(),
        ),
        (
            zone_text("corp.example", "@ A 192.0.2.1\nelse.where. A 192.0.2.1\n"),
            "spec.zones[0].text: line 2, column 1: else.where. does not belong to zone corp.example.".to_owned(),
        ),
        (
            records(&[("a", "A", "192.0.2.1"), ("a", "CNAME", "b")]),
            "spec.zones[0].records[1]: a.corp.example. cannot be an alias: it has other records".to_owned(),
        ),
        (records(&[("a", "A", "x")]), "spec.zones[0].records[0].values[0]: \"x\" is no data of type A: ".to_owned()),
        (records(&[("a", "NONE", "x")]), "spec.zones[0].records[0].values[0]: ".to_owned()),
        (
            records(&[("a", "TXT", "x ; y")]),
            "spec.zones[0].records[0].values[0]: holds a semicolon or parenthesis outside of quotes".to_owned(),
        ),
        (
            records(&[("a", "TXT", "x\n@ A 192.0.2.1")]),
            "spec.zones[0].records[0].values[0]: holds a control character".to_owned(),
        ),
        (records(&[("a b", "A", "192.0.2.1")]), "spec.zones[0].records[0].name: ".to_owned()),
    ];
    for (spec, wanted) in table {
        let told = flaws(&spec);
        assert!(told.len() == 1 && told[0].starts_with(&wanted), "{told:?} is not {wanted}");
    }
}

#[test]
fn what_stands_twice_is_told() {
    let mut spec = hosts("a.example", "192.0.2.1");
    spec.hosts.push(host("A.example.", "192.0.2.2"));
    spec.forward = [forward("b.example", "192.0.2.1").forward, forward("b.example", "192.0.2.2").forward].concat();
    assert_eq!(flaws(&spec), ["spec.hosts[1].name: stands here already", "spec.forward: b.example. stands here twice"]);
}

#[test]
fn at_most_ten_flaws_are_told() {
    let names: Vec<String> = (0..100).map(|number| format!("a..{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(flaws(&block(&names, DnsBlockAction::Nxdomain)).len(), 10);
}
