//! A zone with records of its own: what is there, in a form that is found by name.

use std::collections::{BTreeMap, HashMap};

use super::zone_file::{TextFault, ZoneRecord};
use crate::wire::OwnedName;
use crate::wire::number::kind;

/// TTL of what is made up, and of negative answers then.
const USUAL_TTL_SECONDS: u32 = 300;
/// SOA values after the serial: refresh, retry and expire for a secondary that does not exist.
const SOA_TIMES: [u32; 3] = [7200, 1800, 86_400];

/// A zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticZone {
    /// Its name.
    pub apex: OwnedName,
    /// Every name of the zone with its records, also those that exist only because of names below.
    pub(super) nodes: HashMap<Box<[u8]>, Node>,
    /// Data of the SOA record.
    pub(super) soa: Box<[u8]>,
    /// Seconds that negative answers may be kept (RFC 2308 §5).
    pub(super) negative_ttl_seconds: u32,
    /// Whether names below the apex have name servers of their own.
    pub(super) delegates: bool,
    /// Whether its records are known; if not, its names fail and are not denied.
    pub(super) usable: bool,
    /// Whether names stand for all names below another (RFC 6672).
    pub(super) redirects: bool,
}

/// The records of a name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) sets: Vec<RecordSet>,
}

/// Records of one name and type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RecordSet {
    pub(super) kind: u16,
    pub(super) ttl_seconds: u32,
    pub(super) data: Vec<Box<[u8]>>,
}

// === impl StaticZone ===

impl StaticZone {
    /// A zone of these records. SOA and NS of the apex are made up when they are absent.
    ///
    /// # Errors
    /// The first record that cannot be in the zone.
    pub fn new(apex: OwnedName, records: Vec<ZoneRecord>) -> Result<Self, TextFault> {
        let serial = serial(&records);
        let mut nodes: BTreeMap<OwnedName, Node> = BTreeMap::new();
        for record in records {
            if !is_below(record.owner.wire(), &apex) {
                let reason = format!("{} does not belong to zone {apex}", record.owner);
                return Err(TextFault::at_line(record.line, reason));
            }
            let line = record.line;
            let node = nodes.entry(record.owner.clone()).or_default();
            node.add(&record, record.owner == apex).map_err(|reason| TextFault::at_line(line, reason))?;
        }
        let node = nodes.entry(apex.clone()).or_default();
        let made_up = |data: &[u8]| -> Box<[u8]> { data.into() };
        let server = [b"\x02ns\x03dns".as_slice(), apex.wire()].concat();
        if node.set(kind::SOA).is_none() {
            let mut data = [server.as_slice(), b"\x0ahostmaster", apex.wire()].concat();
            data.extend(serial.to_be_bytes());
            data.extend(SOA_TIMES.into_iter().chain([USUAL_TTL_SECONDS]).flat_map(u32::to_be_bytes));
            let data = vec![made_up(&data)];
            node.sets.push(RecordSet { kind: kind::SOA, ttl_seconds: USUAL_TTL_SECONDS, data });
        }
        if node.set(kind::NS).is_none() && node.set(kind::CNAME).is_none() {
            let data = vec![made_up(&server)];
            node.sets.push(RecordSet { kind: kind::NS, ttl_seconds: USUAL_TTL_SECONDS, data });
        }
        let soa_set = node.set(kind::SOA);
        let (soa, soa_ttl) =
            soa_set.and_then(|set| Some((set.data.first()?.clone(), set.ttl_seconds))).unwrap_or_default();
        let minimum = soa.last_chunk::<4>().map_or(0, |octets| u32::from_be_bytes(*octets));
        let delegates = nodes.iter().any(|(name, node)| *name != apex && node.set(kind::NS).is_some());
        let redirects = nodes.values().any(|node| node.set(kind::DNAME).is_some());
        Ok(Self {
            nodes: with_ancestors(nodes, &apex),
            negative_ttl_seconds: soa_ttl.min(minimum),
            soa,
            apex,
            delegates,
            usable: true,
            redirects,
        })
    }

    /// A zone whose records cannot be read.
    #[must_use]
    pub fn unusable(apex: OwnedName) -> Self {
        Self {
            apex,
            nodes: HashMap::new(),
            soa: Box::default(),
            negative_ttl_seconds: 0,
            delegates: false,
            usable: false,
            redirects: false,
        }
    }

    /// How many names exist.
    #[must_use]
    pub fn names(&self) -> usize {
        self.nodes.len()
    }

    /// The records of a name by its wire form.
    pub(super) fn node(&self, wire: &[u8]) -> Option<&Node> {
        self.nodes.get(wire)
    }
}

/// Adds the names between those that have records and the apex (RFC 8020).
fn with_ancestors(nodes: BTreeMap<OwnedName, Node>, apex: &OwnedName) -> HashMap<Box<[u8]>, Node> {
    let mut all: HashMap<Box<[u8]>, Node> = HashMap::with_capacity(nodes.len());
    for (name, node) in nodes {
        let mut rest = name.wire();
        while rest.len() > apex.wire().len() {
            let size = rest.first().map_or(0, |size| usize::from(*size));
            rest = rest.get(1 + size..).unwrap_or_default();
            if all.contains_key(rest) {
                break;
            }
            all.insert(rest.into(), Node::default());
        }
        let known = all.entry(name.wire().into()).or_default();
        *known = node;
    }
    all
}

fn is_below(wire: &[u8], apex: &OwnedName) -> bool {
    let mut rest = wire;
    loop {
        if rest == apex.wire() {
            return true;
        }
        match rest.split_first() {
            Some((size, after)) if *size > 0 => rest = after.get(usize::from(*size)..).unwrap_or_default(),
            _ => return false,
        }
    }
}

/// A number that changes with the records (FNV-1a): the same on every node.
fn serial(records: &[ZoneRecord]) -> u32 {
    let mut hash = 0x811c_9dc5_u32;
    let mut add = |octets: &[u8]| {
        for octet in octets {
            hash = (hash ^ u32::from(*octet)).wrapping_mul(0x0100_0193);
        }
    };
    for record in records {
        add(record.owner.wire());
        add(&record.kind.to_be_bytes());
        add(&record.ttl_seconds.to_be_bytes());
        add(&record.data);
    }
    hash.max(1)
}

// === impl Node ===

impl Node {
    pub(super) fn set(&self, wanted: u16) -> Option<&RecordSet> {
        self.sets.iter().find(|set| set.kind == wanted)
    }

    /// Signatures over the records of a type (RFC 4034 §3.1.1: the type comes first).
    pub(super) fn signatures(&self, covered: u16) -> impl Iterator<Item = (u32, &[u8])> {
        let all = self.sets.iter().filter(|set| set.kind == kind::RRSIG);
        let all = all.flat_map(|set| set.data.iter().map(|data| (set.ttl_seconds, &**data)));
        all.filter(move |(_, data)| data.starts_with(&covered.to_be_bytes()))
    }

    fn add(&mut self, record: &ZoneRecord, apex: bool) -> Result<(), String> {
        let owner = &record.owner;
        // An alias has no other records but those of DNSSEC (RFC 1034 §3.6.2, RFC 4034 §3).
        let beside = |kind: u16| kind != kind::CNAME && !matches!(kind, kind::RRSIG | kind::NSEC | kind::NSEC3);
        let alias = self.set(kind::CNAME).is_some();
        if record.kind == kind::CNAME && (alias || apex || self.sets.iter().any(|set| beside(set.kind))) {
            return Err(format!("{owner} cannot be an alias: it has other records"));
        }
        if alias && beside(record.kind) {
            return Err(format!("{owner} is an alias and can have no other records"));
        }
        if record.kind == kind::SOA && !(apex && self.set(kind::SOA).is_none()) {
            return Err(format!("{owner} cannot have an SOA record: the zone has one, at its own name"));
        }
        let set = match self.sets.iter_mut().find(|set| set.kind == record.kind) {
            Some(set) => set,
            None => {
                let ttl_seconds = record.ttl_seconds;
                self.sets.push(RecordSet { kind: record.kind, ttl_seconds, data: Vec::new() });
                self.sets.last_mut().ok_or_else(String::new)?
            }
        };
        // Records of one name and type have one TTL (RFC 2181 §5.2): the shortest.
        set.ttl_seconds = set.ttl_seconds.min(record.ttl_seconds);
        if !set.data.contains(&record.data) {
            set.data.push(record.data.clone());
        }
        Ok(())
    }
}
