//! What CoreDNS answers for small clusters, told as facts in the files of `coredns/`:
//! who replaces it must answer the same. Where we answer otherwise, the table says what
//! CoreDNS does and why we do not (`differs`).
//!
//! ```text
//! option pods verified          how the zone is set up
//! object service ns/name 10.0.0.1 http:80
//! origin cluster.local.         names without a final dot are below it
//! ask web.shop.svc A            a question, and below it what must be told:
//!  A 10.0.0.1                   a record of the answer
//!  + web.shop.svc A 10.0.0.1    an additional record
//!  nodata | nxdomain | elsewhere
//! ```

use seaway_model::names::ServiceImport;
use seaway_model::service::{ImportedSlice, IngressMode, LoadBalancerIngress};

use super::judge::{Cluster, Told, settings};
use super::*;
use crate::wire::OwnedName;

#[test]
fn services() {
    judge(include_str!("coredns/services.names"));
}

#[test]
fn imports_from_other_clusters() {
    judge(include_str!("coredns/clusterset.names"));
}

#[test]
fn zones_of_headless_services() {
    judge(include_str!("coredns/zones.names"));
}

#[test]
fn names_of_addresses() {
    judge(include_str!("coredns/reverse.names"));
}

#[test]
fn pods_insecure() {
    judge(include_str!("coredns/pods_insecure.names"));
}

#[test]
fn pods_verified() {
    judge(include_str!("coredns/pods_verified.names"));
}

#[test]
fn pods_disabled() {
    judge(include_str!("coredns/pods_disabled.names"));
}

#[test]
fn zones_for_addresses_outside() {
    judge(include_str!("coredns/external.names"));
}

/// A question of a table and what must be told.
#[derive(Debug)]
struct Row {
    name: String,
    kind: String,
    verdict: String,
    answer: Vec<String>,
    additional: Vec<String>,
}

/// A table being read.
struct Table {
    settings: ZoneSettings,
    objects: Vec<FeedChange>,
    origin: String,
    rows: Vec<Row>,
}

fn judge(text: &str) {
    let mut table = Table { settings: settings(), objects: vec![begin()], origin: String::new(), rows: Vec::new() };
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        table.read(line);
    }
    table.objects.extend([FeedChange::Synced, FeedChange::SyncedNames]);
    let mut cluster = Cluster::new(table.settings, table.objects);
    for row in &table.rows {
        let told = cluster.ask(&row.name, &row.kind);
        row.compare(&told);
    }
    assert!(!table.rows.is_empty());
}

impl Table {
    fn read(&mut self, line: &str) {
        let (first, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        let words: Vec<&str> = rest.split(' ').collect();
        match (line.starts_with(' '), first) {
            (false, "option") => self.option(&words),
            (false, "object") => self.object(&words),
            (false, "origin") => rest.clone_into(&mut self.origin),
            (false, "ask") => {
                let [name, kind] = words[..] else { panic!("{line}") };
                let (name, kind) = (self.absolute(name), kind.to_owned());
                self.rows.push(Row {
                    name,
                    kind,
                    verdict: "records".into(),
                    answer: Vec::new(),
                    additional: Vec::new(),
                });
            }
            // What the other server says, and why we do not: for people.
            (true, "differs") => assert!(rest.contains(": "), "{line}: without a reason"),
            (true, "+") => {
                let (name, record) = rest.split_once(' ').unwrap();
                let line = format!("{} 5 {}", self.bare(name), self.record(record));
                self.rows.last_mut().unwrap().additional.push(line);
            }
            (true, "nodata" | "nxdomain" | "elsewhere") => first.clone_into(&mut self.rows.last_mut().unwrap().verdict),
            (true, _) => {
                let record = self.record(line.trim());
                self.rows.last_mut().unwrap().answer.push(record);
            }
            _ => panic!("{line}"),
        }
    }

    fn option(&mut self, words: &[&str]) {
        match words {
            ["pods", mode] => {
                self.settings.pods = match *mode {
                    "insecure" => PodNames::Insecure,
                    "verified" => PodNames::Verified,
                    _ => PodNames::Disabled,
                }
            }
            ["external", zone] => self.settings.external.push(ExternalZone {
                name: OwnedName::parse(zone).unwrap(),
                headless: true,
                fall_through: false,
            }),
            other => panic!("{other:?}"),
        }
    }

    fn object(&mut self, words: &[&str]) {
        let number = self.objects.len();
        let change = match words {
            ["namespace", name] => tell_namespace(name),
            ["pod", name, address] => tell_pod(name, address, "n2"),
            ["alias", name, target] => tell_service(name, external(target)),
            ["headless", name] => tell_service(name, service(&[], &[])),
            ["service", name, rest @ ..] => tell_service(name, service_of(rest)),
            ["endpoints", name, ports, rest @ ..] => {
                let (namespace, service) = name.split_once('/').unwrap();
                tell_slice(&format!("{namespace}/slice-{number}"), slice_of(Some(service), ports, rest))
            }
            ["import", name, rest @ ..] => {
                FeedChange::Import { of: service_ref(name), now: Some(import_of(rest).into()) }
            }
            ["imported", cluster, name, ports, rest @ ..] => {
                let (namespace, service) = name.split_once('/').unwrap();
                let imported = ImportedSlice { service: service.to_owned(), cluster: (*cluster).to_owned() };
                let slice = EndpointSlice { imported: Some(imported.into()), ..slice_of(None, ports, rest) };
                tell_slice(&format!("{namespace}/slice-{number}"), slice)
            }
            other => panic!("{other:?}"),
        };
        self.objects.push(change);
    }

    fn absolute(&self, name: &str) -> String {
        if name.ends_with('.') { name.to_owned() } else { format!("{name}.{}", self.origin) }
    }

    fn bare(&self, name: &str) -> String {
        self.absolute(name).trim_end_matches('.').to_owned()
    }

    /// A record with its last word, when that is a name, written out.
    fn record(&self, text: &str) -> String {
        match text.split_once(' ').unwrap() {
            ("PTR" | "CNAME" | "SRV" | "NS", _) => {
                let (before, name) = text.rsplit_once(' ').unwrap();
                format!("{before} {}", self.bare(name))
            }
            _ => text.replace(". ", " "),
        }
    }
}

impl Row {
    fn compare(&self, told: &Told) {
        let right = match self.verdict.as_str() {
            "nodata" => told.is_nodata(),
            "nxdomain" => told.is_nxdomain(),
            "elsewhere" => told.rcode == "SERVFAIL" && told.answer.is_empty(),
            _ => {
                let mut additional = told.additional.clone();
                additional.sort();
                let mut answer: Vec<String> = told.data().iter().map(|line| without_serial(line)).collect();
                answer.sort();
                let (mut wanted, mut more) = (self.answer.clone(), self.additional.clone());
                wanted.sort();
                more.sort();
                let owners = told.answer.iter().all(|line| {
                    let (owner, ttl) = line.split_once(' ').unwrap();
                    owner == self.name.trim_end_matches('.') && (ttl.starts_with("5 ") || ttl.starts_with("28800 TXT"))
                });
                told.rcode == "NOERROR"
                    && owners
                    && answer == wanted
                    && additional.iter().map(|line| line.to_lowercase()).eq(more.iter().map(|line| line.to_lowercase()))
            }
        };
        assert!(right, "{} {}: told {told:#?}, wanted {self:#?}", self.name, self.kind);
    }
}

/// An SOA record without the number that grows with each change.
fn without_serial(line: &str) -> String {
    let lower = line.to_lowercase();
    let words: Vec<&str> = lower.split(' ').collect();
    match words[..] {
        ["soa", server, mail, _, ref rest @ ..] => format!("SOA {server} {mail} SERIAL {}", rest.join(" ")),
        _ => line.to_owned(),
    }
}

fn service_of(words: &[&str]) -> Service {
    let (mut addresses, mut outside, mut ingress, mut ports) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for word in words {
        if let Some(address) = word.strip_prefix("external=") {
            outside.push(address.parse().unwrap());
        } else if let Some(given) = word.strip_prefix("balancer=") {
            let (address, hostname) = given.parse().map_or((None, Some(given.to_owned())), |ip| (Some(ip), None));
            ingress.push(LoadBalancerIngress { address, hostname, mode: IngressMode::Vip });
        } else if word.parse::<IpAddr>().is_ok() {
            addresses.push(*word);
        } else {
            ports.push(port_of(word));
        }
    }
    Service { external_ips: outside, ingress, ..service(&addresses, &ports) }
}

fn import_of(words: &[&str]) -> ServiceImport {
    let addresses: Vec<IpAddr> = words.iter().filter_map(|word| word.parse().ok()).collect();
    let ports: Vec<_> = words
        .iter()
        .filter(|word| word.parse::<IpAddr>().is_err() && **word != "headless")
        .map(|word| port_of(word))
        .collect();
    ServiceImport { headless: words.contains(&"headless"), addresses, ports: service(&[], &ports).ports }
}

fn slice_of(service: Option<&str>, ports: &str, words: &[&str]) -> EndpointSlice {
    let endpoints = words.iter().map(|word| {
        let (word, zone) = word.split_once('@').map_or((*word, None), |(word, zone)| (word, Some(zone)));
        let (address, hostname) = word.split_once('=').map_or((word, None), |(address, name)| (address, Some(name)));
        Endpoint { zone: zone.map(Into::into), ..endpoint(address, hostname) }
    });
    let ports: Vec<_> = ports.split(',').filter(|port| *port != "-").map(port_of).collect();
    EndpointSlice { service: service.map(str::to_owned), ..slice("", endpoints.collect(), &ports) }
}

fn port_of(word: &str) -> (&str, u16) {
    let (name, number) = word.split_once(':').unwrap();
    (name, number.parse().unwrap())
}
