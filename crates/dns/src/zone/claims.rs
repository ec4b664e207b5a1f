//! Names that objects ask for in zones of our own: by annotation, as a listener or route of a
//! Gateway, or as a node. When several ask for one name the oldest object has it; which one that is
//! does not depend on the order in which they were told.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use seaway_model::names::{GatewayRef, RouteRef};
use seaway_model::{Labels, Node, NodeName, Service, ServiceRef};
use serde::{Deserialize, Serialize};

use super::catalogue::Known;
use crate::wire::OwnedName;

/// Annotations that name host names, by comma, and how long they may be kept.
const HOSTNAMES: [&str; 2] = ["seaway.dev/hostname", "external-dns.alpha.kubernetes.io/hostname"];
const TTLS: [&str; 2] = ["seaway.dev/hostname-ttl", "external-dns.alpha.kubernetes.io/ttl"];
/// Answers with these instead of the object's own addresses.
const TARGET: &str = "external-dns.alpha.kubernetes.io/target";
/// A longer time is cut to this.
const LONGEST_TTL_SECONDS: u32 = 86_400;

/// Who asks for a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// A node: `<node>.node.<zone>`.
    Node(NodeName),
    /// A Service with addresses outside.
    Service(ServiceRef),
    /// A Gateway: its listeners.
    Gateway(GatewayRef),
    /// A route of a Gateway.
    Route(RouteRef),
}

/// What a name answers with. Without anything: it exists because there are names below it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameRecords {
    /// Addresses.
    pub addresses: Box<[IpAddr]>,
    /// Another name, when there are no addresses.
    pub target: Option<OwnedName>,
    /// Seconds that it may be kept; none: as the rest of the zone.
    pub ttl_seconds: Option<u32>,
    /// It is a node's, and no Service can stand in front of it.
    pub pinned: bool,
}

/// The names one object asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) created_at_seconds: i64,
    pub(super) names: BTreeMap<OwnedName, Arc<NameRecords>>,
}

/// A claim as it is kept in a file: who, since when, what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptClaim(Source, i64, Vec<(OwnedName, NameRecords)>);

/// A name that several ask for, with different answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Contested {
    /// The name.
    pub name: String,
    /// Who has it.
    pub holder: String,
    /// Who does not.
    pub others: Vec<String>,
}

/// All claims.
#[derive(Debug)]
pub(super) struct Claims {
    zones: Vec<OwnedName>,
    by_source: HashMap<Source, Known<Claim>>,
    by_name: HashMap<Box<[u8]>, Vec<Claimant>>,
    /// How many names or Services stand below a name.
    below: HashMap<Box<[u8]>, usize>,
    contested: BTreeSet<Box<[u8]>>,
    contested_changed: bool,
    nothing: Arc<NameRecords>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Claimant {
    created_at_seconds: i64,
    source: Source,
    records: Arc<NameRecords>,
}

// === impl Claims ===

impl Claims {
    pub(super) fn new(zones: Vec<OwnedName>) -> Self {
        Self {
            zones,
            by_source: HashMap::new(),
            by_name: HashMap::new(),
            below: HashMap::new(),
            contested: BTreeSet::new(),
            contested_changed: false,
            nothing: Arc::default(),
        }
    }

    /// What a node asks for.
    pub(super) fn of_node(&self, of: &NodeName, node: &Node) -> Option<Claim> {
        let records = Arc::new(NameRecords {
            addresses: node.addresses.as_slice().into(),
            pinned: true,
            ..NameRecords::default()
        });
        let names = self.zones.iter().filter_map(|zone| {
            let name = OwnedName::parse(&format!("{of}.node.{zone}")).ok()?;
            Some((name, Arc::clone(&records)))
        });
        // Nodes come before all others.
        let claim = Claim { created_at_seconds: i64::MIN, names: names.collect() };
        (!node.addresses.is_empty() && !claim.names.is_empty()).then_some(claim)
    }

    /// What a Service asks for by annotation.
    pub(super) fn of_service(&self, service: &Service) -> Option<Claim> {
        let balancer = service.ingress.iter().filter_map(|ingress| ingress.address);
        let addresses: Vec<IpAddr> = service.external_ips.iter().copied().chain(balancer).collect();
        let hostname = service.ingress.iter().find_map(|ingress| ingress.hostname.as_deref());
        let records = records(addresses, hostname, &service.annotations)?;
        let names = hostnames(&service.annotations).filter_map(|text| self.admit(text));
        let names: BTreeMap<_, _> = names.map(|name| (name, Arc::clone(&records))).collect();
        (!names.is_empty()).then_some(Claim { created_at_seconds: service.created_at_seconds, names })
    }

    /// A name that may be asked for: inside a zone of ours, and not kept for the zone itself or nodes.
    pub(super) fn admit(&self, text: &str) -> Option<OwnedName> {
        let name = OwnedName::parse(text).ok()?;
        let zone = self.zone_of(name.wire())?;
        let before = name.wire().get(..name.wire().len() - zone.wire().len())?;
        let kept = before.ends_with(b"\x03dns") || before.ends_with(b"\x04node");
        (!kept).then_some(name)
    }

    /// Sets what a source asks for now; none: nothing.
    pub(super) fn set(&mut self, source: Source, claim: Option<Claim>, stream: u32, touched: &mut BTreeSet<Box<[u8]>>) {
        if let (Some(known), Some(claim)) = (self.by_source.get_mut(&source), &claim)
            && known.value == *claim
        {
            known.stream = stream;
            return;
        }
        if let Some(before) = self.by_source.remove(&source) {
            for name in before.value.names.keys() {
                self.release(name.wire(), &source, touched);
            }
        }
        let Some(claim) = claim else { return };
        for (name, records) in &claim.names {
            let claimant = Claimant {
                created_at_seconds: claim.created_at_seconds,
                source: source.clone(),
                records: Arc::clone(records),
            };
            self.take(name.wire(), claimant, touched);
        }
        self.by_source.insert(source, Known { stream, value: claim });
    }

    /// Forgets sources that this stream did not tell.
    pub(super) fn sweep(&mut self, which: impl Fn(&Source) -> bool, stream: u32, touched: &mut BTreeSet<Box<[u8]>>) {
        let gone = self.by_source.iter().filter(|(source, known)| known.stream != stream && which(source));
        let gone: Vec<Source> = gone.map(|(source, _)| source.clone()).collect();
        for source in gone {
            self.set(source, None, stream, touched);
        }
    }

    /// A Service `key` has names in all zones now, or no more: `<namespace>.<zone>` exists with it.
    pub(super) fn namespace_of(&mut self, key: &[u8], is: bool, touched: &mut BTreeSet<Box<[u8]>>) {
        let service = key.first().map_or(0, |size| usize::from(*size) + 1);
        let namespace = key.get(service..).unwrap_or_default();
        for zone in self.zones.clone() {
            self.stand_below(&[namespace, zone.wire()].concat(), is, touched);
        }
    }

    /// What readers see of a name; none: it does not exist.
    pub(super) fn published(&self, name: &[u8]) -> Option<Arc<NameRecords>> {
        let claimed = self.by_name.get(name).and_then(|claimants| claimants.first());
        let claimed = claimed.map(|claimant| Arc::clone(&claimant.records));
        claimed.or_else(|| self.below.contains_key(name).then(|| Arc::clone(&self.nothing)))
    }

    /// Names that several ask for, if that changed.
    pub(super) fn contested(&mut self) -> Option<Vec<Contested>> {
        std::mem::take(&mut self.contested_changed).then(|| {
            let names = self.contested.iter().filter_map(|name| {
                let (holder, others) = self.by_name.get(name)?.split_first()?;
                let name = OwnedName::from_wire(name).ok()?.to_string();
                let others = others.iter().map(|claimant| claimant.source.to_string());
                Some(Contested { name, holder: holder.source.to_string(), others: others.collect() })
            });
            names.collect()
        })
    }

    pub(super) fn save(&self) -> Vec<KeptClaim> {
        let kept = self.by_source.iter().map(|(source, known)| {
            let names = known.value.names.iter().map(|(name, records)| (name.clone(), (**records).clone()));
            KeptClaim(source.clone(), known.value.created_at_seconds, names.collect())
        });
        kept.collect()
    }

    pub(super) fn restore(&mut self, kept: Vec<KeptClaim>, stream: u32, touched: &mut BTreeSet<Box<[u8]>>) {
        for KeptClaim(source, created_at_seconds, names) in kept {
            let names = names.into_iter().filter(|(name, _)| self.zone_of(name.wire()).is_some());
            let names = names.map(|(name, records)| (name, Arc::new(records))).collect();
            self.set(source, Some(Claim { created_at_seconds, names }), stream, touched);
        }
    }

    fn take(&mut self, name: &[u8], claimant: Claimant, touched: &mut BTreeSet<Box<[u8]>>) {
        let claimants = self.by_name.entry(name.into()).or_default();
        let first = claimants.is_empty();
        let rank = |claimant: &Claimant| (claimant.created_at_seconds, claimant.source.clone());
        let at = claimants.partition_point(|other| rank(other) < rank(&claimant));
        claimants.insert(at, claimant);
        touched.insert(name.into());
        self.look_for_contest(name);
        if first {
            self.stand_below_all_above(name, true, touched);
        }
    }

    fn release(&mut self, name: &[u8], source: &Source, touched: &mut BTreeSet<Box<[u8]>>) {
        let Some(claimants) = self.by_name.get_mut(name) else { return };
        claimants.retain(|claimant| claimant.source != *source);
        let last = claimants.is_empty();
        touched.insert(name.into());
        if last {
            self.by_name.remove(name);
            self.stand_below_all_above(name, false, touched);
        }
        self.look_for_contest(name);
    }

    /// Notes whether those who ask for a name would answer differently.
    fn look_for_contest(&mut self, name: &[u8]) {
        let claimants = self.by_name.get(name).map(Vec::as_slice).unwrap_or_default();
        let contested = match claimants.split_first() {
            Some((holder, others)) => others.iter().any(|other| other.records != holder.records),
            None => false,
        };
        self.contested_changed |= contested || self.contested.contains(name);
        if contested {
            self.contested.insert(name.into());
        } else {
            self.contested.remove(name);
        }
    }

    /// The names between a name and its zone exist with it (RFC 8020).
    fn stand_below_all_above(&mut self, name: &[u8], is: bool, touched: &mut BTreeSet<Box<[u8]>>) {
        let Some(zone) = self.zone_of(name).map(|zone| zone.wire().len()) else { return };
        let mut rest = name;
        while let Some((size, after)) = rest.split_first() {
            rest = after.get(usize::from(*size)..).unwrap_or_default();
            if rest.len() <= zone {
                return;
            }
            self.stand_below(rest, is, touched);
        }
    }

    fn stand_below(&mut self, name: &[u8], is: bool, touched: &mut BTreeSet<Box<[u8]>>) {
        let count = self.below.get(name).copied().unwrap_or_default();
        let count = if is { count + 1 } else { count.saturating_sub(1) };
        if count == 0 {
            self.below.remove(name);
        } else {
            self.below.insert(name.into(), count);
        }
        touched.insert(name.into());
    }

    /// The longest zone of ours that a name is in.
    fn zone_of(&self, name: &[u8]) -> Option<&OwnedName> {
        let inside = |zone: &&OwnedName| {
            let mut rest = name;
            while rest.len() > zone.wire().len() {
                let Some((size, after)) = rest.split_first() else { return false };
                rest = after.get(usize::from(*size)..).unwrap_or_default();
            }
            rest == zone.wire()
        };
        self.zones.iter().filter(inside).max_by_key(|zone| zone.labels())
    }
}

/// Host names that annotations ask for.
pub(super) fn hostnames(annotations: &Labels) -> impl Iterator<Item = &str> {
    let texts = HOSTNAMES.into_iter().filter_map(|key| annotations.get(key));
    texts.flat_map(|text| text.split(',')).map(str::trim).filter(|name| !name.is_empty())
}

/// What an object's names answer with; none: it has no address yet.
pub(super) fn records(
    addresses: Vec<IpAddr>,
    hostname: Option<&str>,
    annotations: &Labels,
) -> Option<Arc<NameRecords>> {
    let (mut addresses, mut hostname) = (addresses, hostname);
    if let Some(targets) = annotations.get(TARGET) {
        let targets = || targets.split(',').map(str::trim).filter(|target| !target.is_empty());
        addresses = targets().filter_map(|target| target.parse().ok()).collect();
        hostname = targets().find(|target| target.parse::<IpAddr>().is_err());
    }
    let target = hostname.filter(|_| addresses.is_empty()).and_then(|name| OwnedName::parse(name).ok());
    if addresses.is_empty() && target.is_none() {
        return None;
    }
    let ttl = TTLS.into_iter().find_map(|key| annotations.get(key));
    let ttl_seconds = ttl.and_then(|text| seconds(text)).map(|seconds| seconds.min(LONGEST_TTL_SECONDS));
    Some(Arc::new(NameRecords { addresses: addresses.into(), target, ttl_seconds, pinned: false }))
}

/// Reads `60`, `60s`, `1m30s`, `2h`.
fn seconds(text: &str) -> Option<u32> {
    if let Ok(seconds) = text.parse() {
        return Some(seconds);
    }
    let (mut total, mut rest) = (0u32, text);
    while !rest.is_empty() {
        let end = rest.find(|letter: char| !letter.is_ascii_digit())?;
        let (number, unit) = rest.split_at(end);
        let factor = match unit.chars().next()? {
            'h' => 3600,
            'm' => 60,
            's' => 1,
            _ => return None,
        };
        total = total.checked_add(number.parse::<u32>().ok()?.checked_mul(factor)?)?;
        rest = unit.get(1..)?;
    }
    (total > 0).then_some(total)
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Node(node) => write!(f, "Node {node}"),
            Source::Service(service) => write!(f, "Service {service}"),
            Source::Gateway(gateway) => write!(f, "Gateway {gateway}"),
            Source::Route(route) => write!(f, "{route}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn times_are_numbers_or_have_units() {
        for (text, wanted) in [("60", Some(60)), ("1m30s", Some(90)), ("2h", Some(7200)), ("x", None), ("5d", None)] {
            assert_eq!(seconds(text), wanted, "{text}");
        }
        assert_eq!(seconds("99999999999h"), None);
    }
}
