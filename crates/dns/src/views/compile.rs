//! From what an operator wrote to what is answered from. All or nothing: one field that cannot be
//! used, and the configuration is refused with its path.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use seaway_model::dns::{
    DnsAccess, DnsAccessAction, DnsBlock, DnsBlockAction, DnsForward, DnsForwardPolicy, DnsRecord, DnsSpec, DnsZone,
};
use seaway_model::{IpNet, Ipv4Net, Ipv6Net};
use seaway_runtime::config::{DnsTransport, DnsUpstream};

use super::config::{Block, BlockAnswer, Config};
use super::names::{NameSet, NameSetBuilder};
use super::rewrite::Rewrite;
use super::static_zone::StaticZone;
use super::upstreams::Numbers;
use super::zone_file::{self, ZoneRecord};
use crate::forward::{Policy, Transport};
use crate::wire::OwnedName;

/// A field that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct Flaw {
    /// Its path: `spec.zones[0].records[2].values[1]`.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Flaws that are told; one is enough to refuse.
const MOST_FLAWS: usize = 10;

/// Makes a configuration ready to answer from.
///
/// # Errors
/// Every field that cannot be used, at most ten.
pub fn compile(spec: &DnsSpec, numbers: &mut Numbers) -> Result<Config, Vec<Flaw>> {
    let mut flaws = Flaws::default();
    let config = Config {
        access: each(&spec.access, "spec.access", |path, rule| access(rule, path, &mut flaws)).concat(),
        blocks: each(&spec.block, "spec.block", |path, rule| block(rule, path, &mut flaws)),
        hosts: {
            let hosts = each(&spec.hosts, "spec.hosts", |path, host| {
                let name = flaws.name(&format!("{path}.name"), &host.name);
                let addresses = addresses(&host.addresses, &format!("{path}.addresses"), &mut flaws);
                name.map(|name| (path.to_owned(), name, addresses))
            });
            let mut known = std::collections::HashMap::new();
            for (path, name, addresses) in hosts.into_iter().flatten() {
                if known.insert(name.wire().into(), addresses).is_some() {
                    flaws.add(format!("{path}.name"), "stands here already".to_owned());
                }
            }
            known
        },
        rewrites: each(&spec.rewrites, "spec.rewrites", |path, rule| {
            let read = Rewrite::new(rule.part, &rule.from, &rule.to);
            read.map_err(|(field, error)| flaws.add(format!("{path}.{field}"), format!("is no name: {error}"))).ok()
        })
        .into_iter()
        .flatten()
        .collect(),
        zones: {
            let zones = each(&spec.zones, "spec.zones", |path, written| zone(written, path, &mut flaws));
            let mut zones: Vec<Arc<StaticZone>> = zones.into_iter().flatten().map(Arc::new).collect();
            zones.sort_by_key(|zone| std::cmp::Reverse(zone.apex.labels()));
            zones
        },
        forward: {
            let rules = each(&spec.forward, "spec.forward", |path, rule| forward(rule, path, numbers, &mut flaws));
            let mut rules: Vec<_> = rules.into_iter().flatten().collect();
            rules.sort_by_key(|(domain, _)| std::cmp::Reverse(domain.labels()));
            rules
        },
        search: spec.search,
    };
    doubles("spec.zones", config.zones.iter().map(|zone| &zone.apex), &mut flaws);
    doubles("spec.forward", config.forward.iter().map(|(domain, _)| domain), &mut flaws);
    if flaws.0.is_empty() { Ok(config) } else { Err(flaws.0) }
}

#[derive(Debug, Default)]
struct Flaws(Vec<Flaw>);

// === impl Flaws ===

impl Flaws {
    fn add(&mut self, field: String, reason: String) {
        if self.0.len() < MOST_FLAWS {
            self.0.push(Flaw { field, reason });
        }
    }

    fn name(&mut self, path: &str, text: &str) -> Option<OwnedName> {
        match OwnedName::parse(text) {
            Ok(name) if !text.is_empty() => Some(name),
            _ => {
                self.add(path.to_owned(), format!("{text:?} is no domain name"));
                None
            }
        }
    }
}

fn each<'i, I, T>(items: &'i [I], path: &str, mut read: impl FnMut(&str, &'i I) -> T) -> Vec<T> {
    items.iter().enumerate().map(|(index, item)| read(&format!("{path}[{index}]"), item)).collect()
}

fn doubles<'n>(path: &str, names: impl Iterator<Item = &'n OwnedName>, flaws: &mut Flaws) {
    let mut known = std::collections::HashSet::new();
    for name in names {
        if !known.insert(name) {
            flaws.add(path.to_owned(), format!("{name} stands here twice"));
        }
    }
}

fn access(rule: &DnsAccess, path: &str, flaws: &mut Flaws) -> Vec<(IpNet, bool)> {
    let allowed = rule.action == DnsAccessAction::Allow;
    let ranges = each(&rule.clients, &format!("{path}.clients"), |path, text| {
        let read = range(text);
        if read.is_none() {
            flaws.add(path.to_owned(), format!("{text:?} is no address range as 10.0.0.0/8"));
        }
        read.map(|range| (range, allowed))
    });
    ranges.into_iter().flatten().collect()
}

/// A range, or one address.
fn range(text: &str) -> Option<IpNet> {
    let one = |address| match address {
        IpAddr::V4(address) => Ipv4Net::new(address, 32).map(IpNet::V4).ok(),
        IpAddr::V6(address) => Ipv6Net::new(address, 128).map(IpNet::V6).ok(),
    };
    let range: Option<IpNet> = text.parse().ok().or_else(|| one(text.parse().ok()?));
    range.filter(|range| range.addr() == range.network())
}

fn addresses(texts: &[String], path: &str, flaws: &mut Flaws) -> Box<[IpAddr]> {
    let read = each(texts, path, |path, text| match text.parse::<IpAddr>() {
        Ok(address) => Some(address),
        Err(_) => {
            flaws.add(path.to_owned(), format!("{text:?} is no IP address"));
            None
        }
    });
    if texts.is_empty() {
        flaws.add(path.to_owned(), "holds no address".to_owned());
    }
    read.into_iter().flatten().collect()
}

fn block(rule: &DnsBlock, path: &str, flaws: &mut Flaws) -> Block {
    let mut names = NameSetBuilder::new();
    for (index, text) in rule.names.iter().enumerate() {
        match pattern(text) {
            Some((name, below)) => names.add(name.wire(), below),
            None => flaws.add(format!("{path}.names[{index}]"), format!("{text:?} is no domain name")),
        }
    }
    let answer = match rule.action {
        DnsBlockAction::Nxdomain => BlockAnswer::NameError,
        DnsBlockAction::Nodata => BlockAnswer::NoData,
        DnsBlockAction::Refused => BlockAnswer::Refused,
        DnsBlockAction::Allow => BlockAnswer::Allow,
        DnsBlockAction::Addresses => {
            BlockAnswer::Addresses(addresses(&rule.addresses, &format!("{path}.addresses"), flaws))
        }
    };
    if rule.action != DnsBlockAction::Addresses && !rule.addresses.is_empty() {
        flaws.add(format!("{path}.addresses"), "are told with action addresses only".to_owned());
    }
    Block { names: Arc::<NameSet>::new(names.finish()), answer }
}

/// A name, or `*.` and the name above those that are meant.
pub(super) fn pattern(text: &str) -> Option<(OwnedName, bool)> {
    let (text, below) = match text.strip_prefix("*.") {
        Some(rest) => (rest, true),
        None if text == "*" => (".", true),
        None => (text, false),
    };
    let name = OwnedName::parse(text).ok().filter(|_| !text.is_empty() && !text.contains('*'))?;
    // The root itself is no name that anybody means.
    (below || name.labels() > 0).then_some((name, below))
}

fn zone(written: &DnsZone, path: &str, flaws: &mut Flaws) -> Option<StaticZone> {
    let apex = flaws.name(&format!("{path}.name"), &written.name)?;
    let before = flaws.0.len();
    let mut records = Vec::new();
    match &written.text {
        Some(_) if !written.records.is_empty() => {
            flaws.add(format!("{path}.text"), "cannot stand beside records".to_owned());
        }
        Some(text) => match zone_file::parse(text, &apex) {
            Ok(read) => records = read,
            Err(fault) => flaws.add(format!("{path}.text"), fault.to_string()),
        },
        None => {
            for (index, record) in written.records.iter().enumerate() {
                let mut read = typed(record, &apex, &format!("{path}.records[{index}]"), flaws);
                read.iter_mut().for_each(|record| record.line = index);
                records.extend(read);
            }
        }
    }
    if flaws.0.len() > before {
        return None;
    }
    let field = |line: usize| match written.text {
        Some(_) => format!("{path}.text"),
        None => format!("{path}.records[{line}]"),
    };
    let refused = |fault: zone_file::TextFault| match written.text {
        Some(_) => (field(fault.line), fault.to_string()),
        None => (field(fault.line), fault.reason),
    };
    let made = StaticZone::new(apex, records).map_err(refused);
    made.map_err(|(field, reason)| flaws.add(field, reason)).ok()
}

/// The records of one name and type: each as the line that a master file would have.
fn typed(record: &DnsRecord, apex: &OwnedName, path: &str, flaws: &mut Flaws) -> Vec<ZoneRecord> {
    if record.name.is_empty()
        || !record.name.bytes().all(|octet| octet.is_ascii_graphic() && !b"\"();$".contains(&octet))
    {
        flaws.add(format!("{path}.name"), format!("{:?} is no domain name", record.name));
        return Vec::new();
    }
    if record.kind.is_empty() || !record.kind.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-') {
        flaws.add(format!("{path}.type"), format!("{:?} is no type of a record", record.kind));
        return Vec::new();
    }
    if record.values.is_empty() {
        flaws.add(format!("{path}.values"), "holds nothing".to_owned());
    }
    let read = each(&record.values, &format!("{path}.values"), |path, value| {
        if let Some(reason) = more_than_data(value) {
            flaws.add(path.to_owned(), reason.to_owned());
            return Vec::new();
        }
        let line = format!("{} {} IN {} {value}\n", record.name, record.ttl_seconds, record.kind);
        match zone_file::parse(&line, apex) {
            Ok(records) => records,
            Err(fault) => {
                flaws.add(path.to_owned(), format!("{value:?} is no data of type {}: {}", record.kind, fault.reason));
                Vec::new()
            }
        }
    });
    read.concat()
}

/// Why a value is more than the data of one record.
fn more_than_data(value: &str) -> Option<&'static str> {
    let (mut quoted, mut escaped) = (false, false);
    for octet in value.bytes() {
        match octet {
            _ if octet.is_ascii_control() => return Some("holds a control character"),
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b';' | b'(' | b')' if !quoted => return Some("holds a semicolon or parenthesis outside of quotes"),
            _ => {}
        }
    }
    if quoted { Some("has a quote that is not closed") } else { None }
}

type Forward = (OwnedName, Arc<super::ViewUpstreams>);

fn forward(rule: &DnsForward, path: &str, numbers: &mut Numbers, flaws: &mut Flaws) -> Option<Forward> {
    let domain = flaws.name(&format!("{path}.domain"), &rule.domain);
    let members = each(&rule.upstreams, &format!("{path}.upstreams"), |path, text| {
        let read = DnsUpstream::parse(text);
        if read.is_none() {
            let forms = "is none of 10.0.0.1, 10.0.0.1:5353, tcp://10.0.0.1, tls://10.0.0.1#dns.example.org";
            flaws.add(path.to_owned(), format!("{text:?} {forms}"));
        }
        read.map(|upstream| member(&upstream))
    });
    if rule.upstreams.is_empty() {
        flaws.add(format!("{path}.upstreams"), "holds none".to_owned());
    }
    let policy = match rule.policy {
        DnsForwardPolicy::Random => Policy::Random,
        DnsForwardPolicy::RoundRobin => Policy::RoundRobin,
        DnsForwardPolicy::Sequential => Policy::Sequential,
    };
    let given = numbers.give(members.into_iter().flatten().collect(), policy);
    if given.is_none() {
        flaws.add(format!("{path}.upstreams"), "are more than this server tells apart; restart it".to_owned());
    }
    Some((domain?, given?))
}

fn member(upstream: &DnsUpstream) -> (SocketAddr, Transport) {
    let transport = match &upstream.transport {
        DnsTransport::Udp => Transport::Udp,
        DnsTransport::Tcp => Transport::Tcp,
        DnsTransport::Tls(name) => Transport::Tls(name.clone()),
        DnsTransport::Https { name, path } => Transport::Https { name: name.clone(), path: path.clone() },
    };
    (upstream.address, transport)
}
