//! Tables, sets and maps, and how their elements look in the kernel.
//!
//! Everything that changes with Services is an element of a hash: no chains and no rules per
//! Service, since the kernel walks all chains of a table to commit a change of rules, and
//! all elements of a verdict map to check it. A frontend leads to a *class* (how to choose, and
//! among how many) and to a *set id*; the chain of the class draws a slot and looks up
//! (set id, slot) for the backend. A changed backend set gets a new id, so that a packet sees
//! the old set or the new one whole.

use std::fmt;
use std::net::IpAddr;

use super::batch::Writer;

pub(super) const NFPROTO_INET: u8 = 1;
/// The table that translates.
pub(super) const SERVICES_TABLE: &str = "seaway-services";
/// The table that refuses.
pub(super) const GUARD_TABLE: &str = "seaway-guard";

const NFT_SET_INTERVAL: u32 = 0x04;
const NFT_SET_MAP: u32 = 0x08;
const NFT_SET_TIMEOUT: u32 = 0x10;
const NFT_SET_EVAL: u32 = 0x20;
const NFT_SET_CONCAT: u32 = 0x80;
/// Type of verdicts in maps.
const NFT_DATA_VERDICT: u32 = 0xffff_ff00;
/// Clients that affinity remembers, per family. The kernel wants a limit for sets that packets
/// write to.
const AFFINITY_LIMIT: u32 = 1 << 20;

/// Types as the `nft` program numbers them, so that it shows our sets well.
mod types {
    pub(super) const IPV4_ADDR: u32 = 7;
    pub(super) const IPV6_ADDR: u32 = 8;
    pub(super) const INET_PROTO: u32 = 12;
    pub(super) const INET_SERVICE: u32 = 13;
    pub(super) const MARK: u32 = 19;
}

/// What a set is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Purpose {
    /// Place → class, set id, affinity id.
    Frontends,
    /// The same for packets from elsewhere, where it differs.
    Outside,
    /// Set id, slot → backend.
    Slots,
    /// Backend, set id: members of sets with affinity.
    Members,
    /// Affinity id, client → backend, for a time.
    Affinity,
    /// Places whose backends do not see clients from elsewhere.
    Hide,
    /// Backends of this node, each with itself.
    Hairpin,
    /// Ranges of this node's pods.
    LocalPods,
    /// Places that not everyone may use.
    Ranged,
    /// Place, client range: who may.
    Allowed,
    /// Class → chain, for places of `Frontends`.
    InsideClasses,
    /// Class → chain, for places of `Outside`.
    OutsideClasses,
    /// Places without endpoints.
    Rejected,
    /// Places without endpoints on this node.
    Dropped,
    /// Addresses of Services.
    Addresses,
    /// Ranges of Service addresses.
    ServiceRanges,
}

/// One set in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SetId {
    /// What it is for.
    pub(super) purpose: Purpose,
    /// Of IPv6.
    pub(super) v6: bool,
    /// Which process made it, for sets that are not taken over but made anew; 0 for others.
    pub(super) generation: u32,
}

/// How a set is made.
#[derive(Debug, Clone)]
pub(super) struct SetDefinition {
    pub(super) id: SetId,
    pub(super) flags: u32,
    pub(super) key_type: u32,
    pub(super) key_bytes: u32,
    /// Type and bytes of what a map leads to.
    pub(super) data: Option<(u32, u32)>,
    pub(super) limit: Option<u32>,
    /// Bytes of the fields of a concatenation with ranges.
    pub(super) fields_bytes: Vec<u32>,
}

/// A few bytes, in place: a key or what it leads to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Bytes {
    length: u8,
    bytes: [u8; Bytes::MAX],
}

/// An element of a set or map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Element {
    pub(super) set: SetId,
    pub(super) key: Bytes,
    /// What a map leads to; the end of a range; empty otherwise.
    pub(super) data: Bytes,
}

// === impl Purpose ===

impl Purpose {
    /// Those of the table that translates.
    const SERVICES: [Purpose; 10] = [
        Purpose::Frontends,
        Purpose::Outside,
        Purpose::Affinity,
        Purpose::Hide,
        Purpose::Hairpin,
        Purpose::LocalPods,
        Purpose::Ranged,
        Purpose::Allowed,
        Purpose::InsideClasses,
        Purpose::OutsideClasses,
    ];
    /// Those of the table that refuses.
    const GUARD: [Purpose; 4] = [Purpose::Rejected, Purpose::Dropped, Purpose::Addresses, Purpose::ServiceRanges];

    fn name(self) -> &'static str {
        match self {
            Purpose::Frontends => "frontends",
            Purpose::Outside => "outside",
            Purpose::Slots => "slots",
            Purpose::Members => "members",
            Purpose::Affinity => "affinity",
            Purpose::Hide => "hide",
            Purpose::Hairpin => "hairpin",
            Purpose::LocalPods => "local-pods",
            Purpose::Ranged => "ranged",
            Purpose::Allowed => "allowed",
            Purpose::InsideClasses => "inside-classes",
            Purpose::OutsideClasses => "outside-classes",
            Purpose::Rejected => "rejected",
            Purpose::Dropped => "dropped",
            Purpose::Addresses => "addresses",
            Purpose::ServiceRanges => "ranges",
        }
    }

    /// Whether its elements are asked for by Services, rather than made from the node, classes
    /// or packets.
    pub(super) fn belongs_to_services(self) -> bool {
        !matches!(
            self,
            Purpose::Affinity
                | Purpose::LocalPods
                | Purpose::ServiceRanges
                | Purpose::InsideClasses
                | Purpose::OutsideClasses
        )
    }

    /// Whether several Services may ask for one element.
    pub(super) fn is_shared(self) -> bool {
        matches!(self, Purpose::Hairpin | Purpose::Addresses)
    }

    /// Whether its elements go only after nothing leads to them any more.
    pub(super) fn goes_last(self) -> bool {
        matches!(self, Purpose::Slots | Purpose::Members)
    }
}

// === impl SetId ===

impl SetId {
    pub(super) const fn new(purpose: Purpose, v6: bool) -> Self {
        Self { purpose, v6, generation: 0 }
    }

    /// A set of a generation.
    pub(super) const fn of(purpose: Purpose, v6: bool, generation: u32) -> Self {
        Self { purpose, v6, generation }
    }

    /// The sets that every process makes for itself.
    pub(super) fn of_generation(generation: u32) -> [SetId; 4] {
        [(Purpose::Slots, false), (Purpose::Slots, true), (Purpose::Members, false), (Purpose::Members, true)]
            .map(|(purpose, v6)| SetId::of(purpose, v6, generation))
    }

    /// All sets of a table, besides those of generations.
    pub(super) fn of_table(table: &str) -> Vec<SetId> {
        let purposes: &[Purpose] = if table == GUARD_TABLE { &Purpose::GUARD } else { &Purpose::SERVICES };
        purposes.iter().flat_map(|purpose| [false, true].map(|v6| SetId::new(*purpose, v6))).collect()
    }

    pub(super) fn table(self) -> &'static str {
        if Purpose::GUARD.contains(&self.purpose) { GUARD_TABLE } else { SERVICES_TABLE }
    }

    pub(super) fn name(self) -> String {
        let name = format!("{}{}", self.purpose.name(), if self.v6 { 6 } else { 4 });
        if self.generation == 0 { name } else { format!("{name}-{}", self.generation) }
    }

    pub(super) fn definition(self) -> SetDefinition {
        let (address, address_bytes) = if self.v6 { (types::IPV6_ADDR, 16) } else { (types::IPV4_ADDR, 4) };
        let place = vec![(address, address_bytes), (types::INET_PROTO, 4), (types::INET_SERVICE, 4)];
        let backend = vec![(address, address_bytes), (types::INET_SERVICE, 4)];
        let mark = (types::MARK, 4);
        let (key, data, flags) = match self.purpose {
            Purpose::Frontends | Purpose::Outside => (place, vec![mark; 4], NFT_SET_MAP),
            Purpose::Slots => (vec![mark; 2], backend, NFT_SET_MAP),
            Purpose::Members => ([backend, vec![mark]].concat(), vec![], 0),
            Purpose::Affinity => {
                (vec![mark, mark, (address, address_bytes)], backend, NFT_SET_MAP | NFT_SET_TIMEOUT | NFT_SET_EVAL)
            }
            Purpose::Hide | Purpose::Ranged | Purpose::Rejected | Purpose::Dropped => (place, vec![], 0),
            Purpose::Hairpin => (vec![(address, address_bytes); 2], vec![], 0),
            Purpose::LocalPods | Purpose::ServiceRanges => (vec![(address, address_bytes)], vec![], NFT_SET_INTERVAL),
            Purpose::Addresses => (vec![(address, address_bytes)], vec![], 0),
            Purpose::Allowed => {
                ([place, vec![(address, address_bytes)]].concat(), vec![], NFT_SET_INTERVAL | NFT_SET_CONCAT)
            }
            Purpose::InsideClasses | Purpose::OutsideClasses => (vec![mark], vec![(NFT_DATA_VERDICT, 0)], NFT_SET_MAP),
        };
        let bytes = |fields: &[(u32, u32)]| fields.iter().map(|field| field.1).sum();
        SetDefinition {
            id: self,
            flags,
            key_type: concatenated(&key),
            key_bytes: bytes(&key),
            data: (!data.is_empty()).then(|| (concatenated(&data), bytes(&data))),
            limit: (self.purpose == Purpose::Affinity).then_some(AFFINITY_LIMIT),
            fields_bytes: if flags & NFT_SET_CONCAT == 0 { vec![] } else { key.iter().map(|field| field.1).collect() },
        }
    }
}

/// The `nft` program's number for fields in a row.
fn concatenated(fields: &[(u32, u32)]) -> u32 {
    match fields {
        [(only, _)] => *only,
        _ => fields.iter().fold(0, |all, (field, _)| all << 6 | field),
    }
}

impl fmt::Display for SetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.table(), self.name())
    }
}

// === impl Bytes ===

impl Bytes {
    /// The longest key: an IPv6 place and a client.
    pub(super) const MAX: usize = 40;
    pub(super) const EMPTY: Bytes = Bytes { length: 0, bytes: [0; Bytes::MAX] };

    /// Stands for the end of a range.
    pub(super) const MARK: Bytes = Bytes { length: 1, bytes: [0; Bytes::MAX] };

    /// What `bytes` holds, when it is not too long.
    pub(super) fn from_slice(bytes: &[u8]) -> Option<Self> {
        let mut copy = Self::EMPTY;
        copy.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        copy.length = u8::try_from(bytes.len()).ok()?;
        Some(copy)
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }

    fn with(mut self, bytes: &[u8]) -> Self {
        let (start, end) = (usize::from(self.length), usize::from(self.length) + bytes.len());
        // The definitions of all sets fit, and a test makes the longest key.
        if let Some(field) = self.bytes.get_mut(start..end) {
            field.copy_from_slice(bytes);
            self.length += u8::try_from(bytes.len()).unwrap_or_default();
        }
        self
    }

    pub(super) fn address(self, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => self.with(&v4.octets()),
            IpAddr::V6(v6) => self.with(&v6.octets()),
        }
    }

    /// A number in the byte order of registers.
    pub(super) fn u32(self, value: u32) -> Self {
        self.with(&value.to_ne_bytes())
    }

    pub(super) fn u64(self, value: u64) -> Self {
        self.with(&value.to_ne_bytes())
    }

    /// A protocol, filled up to a register.
    pub(super) fn protocol(self, number: u8) -> Self {
        self.with(&[number, 0, 0, 0])
    }

    /// A port, filled up to a register.
    pub(super) fn port(self, port: u16) -> Self {
        let [high, low] = port.to_be_bytes();
        self.with(&[high, low, 0, 0])
    }

    /// A number at `offset`, in the byte order of registers.
    pub(super) fn u32_at(&self, offset: usize) -> Option<u32> {
        self.as_slice().get(offset..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

// === impl Element ===

impl Element {
    pub(super) fn new(purpose: Purpose, v6: bool, key: Bytes, data: Bytes) -> Self {
        Self { set: SetId::new(purpose, v6), key, data }
    }

    /// Appends the element's attributes.
    pub(super) fn write(&self, writer: &mut Writer) {
        writer.nest(1, |writer| writer.attribute(1, self.key.as_slice()));
        let data = self.data.as_slice();
        match self.set.purpose {
            Purpose::LocalPods | Purpose::ServiceRanges if !data.is_empty() => writer.u32(3, 1),
            Purpose::Allowed => writer.nest(10, |writer| writer.attribute(1, data)),
            _ if data.is_empty() => {}
            _ => writer.nest(2, |writer| writer.attribute(1, data)),
        }
    }
}
