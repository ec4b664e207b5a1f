//! An answer as it is kept: records without compression, to be written below any
//! name that leads to them.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::wire::name::Place;
use crate::wire::number::{kind, rcode};
use crate::wire::response::Owner;
use crate::wire::{Name, Response, Section};

/// How the owner of a kept record is found again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeptOwner {
    /// The name that was asked for.
    Asked,
    /// The target of the last CNAME before.
    LastTarget,
    /// A name above the one asked for: so many octets further on.
    Above(u8),
    /// Another name, in wire form.
    Other(Box<[u8]>),
}

/// One kept record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptRecord {
    /// Where it goes.
    pub section: Section,
    /// Whose it is.
    pub owner: KeptOwner,
    /// Type.
    pub kind: u16,
    /// As it was received.
    pub ttl_seconds: u32,
    /// Data without compression.
    pub data: Box<[u8]>,
}

/// An answer to one question.
#[derive(Debug)]
pub struct Entry {
    /// Records one after the other: see [`Entry::pack`].
    packed: Box<[u8]>,
    /// Response code.
    pub rcode: u8,
    /// The upstream vouched for the signatures.
    pub authentic: bool,
    /// How long it may be used, from `stored_millis` on; 0: for this one question.
    pub ttl_seconds: u32,
    /// When it came, in milliseconds of the clock that callers use.
    pub stored_millis: u64,
    /// How often it was used.
    hits: AtomicU32,
}

/// Stale answers are given out for so long at most (RFC 8767 §5).
pub const STALE_TTL_SECONDS: u32 = 30;

const ASKED: u8 = 0;
const LAST_TARGET: u8 = 1;
const ABOVE: u8 = 2;
const OTHER: u8 = 3;

// === impl Entry ===

impl Entry {
    /// Keeps records.
    #[must_use]
    pub fn new(rcode: u8, authentic: bool, ttl_seconds: u32, stored_millis: u64, records: &[KeptRecord]) -> Self {
        let hits = AtomicU32::new(0);
        Self { packed: Self::pack(records), rcode, authentic, ttl_seconds, stored_millis, hits }
    }

    /// Nobody answered.
    #[must_use]
    pub fn failure(stored_millis: u64, ttl_seconds: u32) -> Self {
        Self::new(rcode::SERVFAIL, false, ttl_seconds, stored_millis, &[])
    }

    /// Section, owner, type, TTL, size, data; numbers in network order.
    fn pack(records: &[KeptRecord]) -> Box<[u8]> {
        let mut packed = Vec::new();
        for record in records {
            packed.push(match record.section {
                Section::Answer => 0,
                Section::Authority => 1,
                Section::Additional => 2,
            });
            match &record.owner {
                KeptOwner::Asked => packed.extend([ASKED, 0]),
                KeptOwner::LastTarget => packed.extend([LAST_TARGET, 0]),
                KeptOwner::Above(octets) => packed.extend([ABOVE, *octets]),
                KeptOwner::Other(name) => {
                    packed.extend([OTHER, name.len() as u8]);
                    packed.extend(name.iter());
                }
            }
            packed.extend(record.kind.to_be_bytes());
            packed.extend(record.ttl_seconds.to_be_bytes());
            packed.extend((record.data.len() as u16).to_be_bytes());
            packed.extend(record.data.iter());
        }
        packed.into()
    }

    /// Writes the records for `name`, which stands at `place` of the response, and
    /// leaves `name`'s question answered there. `stale`: its time is over.
    pub fn write(&self, name: &Name, place: Place, now_millis: u64, stale: bool, response: &mut Response<'_>) {
        response.set_rcode(self.rcode);
        let age = u32::try_from(now_millis.saturating_sub(self.stored_millis) / 1000).unwrap_or(u32::MAX);
        let mut last_target = place;
        let mut rest = &*self.packed;
        while let Some(record) = take(&mut rest) {
            let owner = match record.owner {
                (ASKED, ..) => Owner::At(place),
                (LAST_TARGET, ..) => Owner::At(last_target),
                (ABOVE, octets, _) if usize::from(octets) < name.wire().len() => {
                    Owner::At(place.plus(usize::from(octets)))
                }
                (_, _, other) => Owner::Name(other),
            };
            let ttl = if stale { STALE_TTL_SECONDS } else { record.ttl_seconds.saturating_sub(age) };
            let written = response.push(record.section, owner, record.kind, ttl, &[record.data]);
            if let (Some(at), kind::CNAME) = (written, record.kind) {
                last_target = at;
            }
        }
    }

    /// Octets it takes in memory, roughly.
    #[must_use]
    pub fn octets(&self) -> usize {
        size_of::<Self>() + self.packed.len()
    }

    /// How often it was used.
    #[must_use]
    pub fn hits(&self) -> u32 {
        self.hits.load(Ordering::Relaxed)
    }

    /// Says that it was used; tells how often that was.
    pub fn used(&self) -> u32 {
        self.hits.fetch_add(1, Ordering::Relaxed) + 1
    }
}

struct Packed<'p> {
    section: Section,
    owner: (u8, u8, &'p [u8]),
    kind: u16,
    ttl_seconds: u32,
    data: &'p [u8],
}

fn take<'p>(rest: &mut &'p [u8]) -> Option<Packed<'p>> {
    let ([section, how, size], after) = rest.split_first_chunk::<3>()?;
    let (name, after) = after.split_at_checked(if *how == OTHER { usize::from(*size) } else { 0 })?;
    let ([k0, k1, t0, t1, t2, t3, l0, l1], after) = after.split_first_chunk::<8>()?;
    let (data, after) = after.split_at_checked(usize::from(u16::from_be_bytes([*l0, *l1])))?;
    *rest = after;
    Some(Packed {
        section: match section {
            0 => Section::Answer,
            1 => Section::Authority,
            _ => Section::Additional,
        },
        owner: (*how, *size, name),
        kind: u16::from_be_bytes([*k0, *k1]),
        ttl_seconds: u32::from_be_bytes([*t0, *t1, *t2, *t3]),
        data,
    })
}
