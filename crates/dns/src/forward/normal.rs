//! Reading what an upstream answered: is it the answer to what was asked, and which
//! of its records belong to it. Nothing else is passed on or kept.

use domain::base::iana::{Class, Opcode};
use domain::base::name::ToName;
use domain::base::rdata::ComposeRecordData;
use domain::base::{Message, Name as DomainName, ParsedRecord};
use domain::rdata::AllRecordData;

use super::cache::CacheLimits;
use super::entry::{Entry, KeptOwner, KeptRecord};
use crate::wire::number::{kind, rcode};
use crate::wire::{Name, Section};

/// What was asked.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'n> {
    /// Id of the query.
    pub id: u16,
    /// Question as it was sent, with its random case.
    pub question: &'n [u8],
    /// The name, lower case.
    pub name: &'n Name,
    /// Type.
    pub kind: u16,
}

/// What came back is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// Not a response, or with another id or question: somebody guesses.
    #[error("it is not the answer to what was asked")]
    NotMine,
    /// The id and the name are right, but not its case: a guess, or a server that
    /// changes names. TCP tells.
    #[error("the name came back in another case")]
    CaseChanged,
    /// It does not fit a datagram.
    #[error("it is truncated")]
    Truncated,
    /// Its records cannot be read.
    #[error("its records are malformed")]
    Malformed,
    /// The server says it does not understand EDNS.
    #[error("the server does not understand EDNS")]
    NoEdns,
}

/// An answer has no honest reason to follow more aliases (BIND and Unbound stop at 11–16).
const MOST_ALIASES: usize = 16;
/// Names with hundreds of addresses exist, with thousands not.
const MOST_RECORDS: usize = 2048;

type Record = domain::base::Record<DomainName<Vec<u8>>, (u16, Vec<u8>)>;

/// Reads an answer.
///
/// # Errors
/// Why it is none.
pub fn read(octets: &[u8], expected: Expected<'_>, limits: &CacheLimits, now_millis: u64) -> Result<Entry, Rejected> {
    let message = Message::from_octets(octets).map_err(|_| Rejected::NotMine)?;
    let header = message.header();
    if !header.qr() || header.id() != expected.id || header.opcode() != Opcode::QUERY {
        return Err(Rejected::NotMine);
    }
    let code = header.rcode().to_int();
    let question = octets.get(12..12 + expected.question.len());
    if message.header_counts().qdcount() == 0 && matches!(code, rcode::FORMERR | rcode::NOTIMP) {
        return Err(Rejected::NoEdns);
    }
    if message.header_counts().qdcount() != 1 || !question.is_some_and(|q| q.eq_ignore_ascii_case(expected.question)) {
        return Err(Rejected::NotMine);
    }
    if question != Some(expected.question) {
        return Err(Rejected::CaseChanged);
    }
    if header.tc() {
        return Err(Rejected::Truncated);
    }
    if matches!(code, rcode::FORMERR | rcode::NOTIMP) {
        return Err(Rejected::NoEdns);
    }
    let (answer, authority) = sections(&message).ok_or(Rejected::Malformed)?;
    let mut kept = Vec::new();
    let answered = keep_chain(&answer, expected, &mut kept);
    let negative = !answered && matches!(code, rcode::NOERROR | rcode::NXDOMAIN);
    let soa_seconds = if negative { keep_denial(&authority, expected, &mut kept) } else { None };
    let ttl = match (code, answered) {
        (rcode::NOERROR, true) => kept.iter().map(|r| r.ttl_seconds).min().unwrap_or(0).min(limits.positive_seconds),
        // RFC 2308 §5: without an SOA there is no time to keep it for.
        (rcode::NOERROR | rcode::NXDOMAIN, _) => {
            let aliases = kept.iter().filter(|r| r.section == Section::Answer).map(|r| r.ttl_seconds).min();
            soa_seconds.map_or(0, |soa| soa.min(aliases.unwrap_or(u32::MAX)).min(limits.negative_seconds))
        }
        _ => 0,
    };
    Ok(Entry::new(code, header.ad(), ttl, now_millis, &kept))
}

fn sections(message: &Message<&[u8]>) -> Option<(Vec<Record>, Vec<Record>)> {
    let (_, answer, authority, _) = message.sections().ok()?;
    let mut total = 0;
    let mut read = |section: domain::base::message::RecordSection<'_, &[u8]>| {
        let mut records = Vec::new();
        for record in section {
            let record = record.ok()?;
            total += 1;
            if total > MOST_RECORDS {
                return None;
            }
            if record.class() == Class::IN {
                records.push(flatten(&record)?);
            }
        }
        Some(records)
    };
    Some((read(answer)?, read(authority)?))
}

/// A record with its names written out: what it points to in the message is of no use later.
fn flatten(record: &ParsedRecord<'_, &[u8]>) -> Option<Record> {
    let parsed = record.to_record::<AllRecordData<_, _>>().ok()??;
    let mut data = Vec::new();
    parsed.data().compose_rdata(&mut data).ok()?;
    if data.len() > usize::from(u16::MAX) {
        return None;
    }
    let mut owner: DomainName<Vec<u8>> = parsed.owner().try_to_name().ok()?;
    owner.make_canonical();
    Some(Record::new(owner, record.class(), record.ttl(), (record.rtype().to_int(), data)))
}

/// Follows the aliases from the asked name, and keeps what belongs to the names on
/// that way. Tells whether records of the asked type were among it.
fn keep_chain(answer: &[Record], expected: Expected<'_>, kept: &mut Vec<KeptRecord>) -> bool {
    let mut current: Vec<u8> = expected.name.wire().to_vec();
    let mut owner = KeptOwner::Asked;
    for _ in 0..MOST_ALIASES {
        let mine = || answer.iter().filter(|record| record.owner().as_slice() == current);
        let keep = |kept: &mut Vec<KeptRecord>, kind: u16| {
            for record in mine().filter(|record| record.data().0 == kind) {
                kept.push(kept_record(record, Section::Answer, owner.clone()));
            }
        };
        let before = kept.len();
        keep(kept, expected.kind);
        if kept.len() > before {
            keep_signatures(mine(), expected.kind, &owner, kept);
            return true;
        }
        let Some(alias) = mine().find(|record| record.data().0 == kind::CNAME) else { return false };
        kept.push(kept_record(alias, Section::Answer, owner.clone()));
        keep_signatures(mine(), kind::CNAME, &owner, kept);
        let mut target = Name::root();
        if target.assign(&alias.data().1).is_err() {
            return false;
        }
        current = target.wire().to_vec();
        owner = KeptOwner::LastTarget;
    }
    false
}

fn keep_signatures<'r>(
    mine: impl Iterator<Item = &'r Record>,
    covered: u16,
    owner: &KeptOwner,
    kept: &mut Vec<KeptRecord>,
) {
    for record in mine {
        if record.data().0 == kind::RRSIG && record.data().1.get(..2) == Some(&covered.to_be_bytes()) {
            kept.push(kept_record(record, Section::Answer, owner.clone()));
        }
    }
}

/// Keeps the proof that there is nothing: the SOA of a zone that the name (or its
/// last alias) lies in, and DNSSEC's records. Tells how long it holds.
fn keep_denial(authority: &[Record], expected: Expected<'_>, kept: &mut Vec<KeptRecord>) -> Option<u32> {
    let last_alias = kept.iter().rev().find(|record| record.kind == kind::CNAME).map(|record| record.data.to_vec());
    let about = last_alias.unwrap_or_else(|| expected.name.wire().to_vec()).to_ascii_lowercase();
    let soa =
        authority.iter().find(|record| record.data().0 == kind::SOA && is_below(&about, record.owner().as_slice()))?;
    let ttl = soa.ttl().as_secs();
    let minimum = soa_minimum(&soa.data().1)?;
    let above = above(expected.name, soa.owner().as_slice());
    kept.push(KeptRecord { ttl_seconds: ttl.min(minimum), ..kept_record(soa, Section::Authority, above) });
    let zone = soa.owner().as_slice();
    for record in authority {
        let proof = matches!(record.data().0, kind::RRSIG | kind::NSEC | kind::NSEC3);
        if proof && is_below(record.owner().as_slice(), zone) {
            let owner = KeptOwner::Other(record.owner().as_slice().into());
            kept.push(kept_record(record, Section::Authority, owner));
        }
    }
    Some(ttl.min(minimum))
}

/// The last four octets of an SOA record's data (RFC 2308 §4).
fn soa_minimum(data: &[u8]) -> Option<u32> {
    data.last_chunk::<4>().map(|octets| u32::from_be_bytes(*octets))
}

/// Whether `name` is `zone` or below it; both in wire form.
fn is_below(name: &[u8], zone: &[u8]) -> bool {
    let mut rest = name;
    loop {
        if rest == zone {
            return true;
        }
        match rest.split_first() {
            Some((size, after)) if *size > 0 => rest = after.get(usize::from(*size)..).unwrap_or_default(),
            _ => return false,
        }
    }
}

fn above(name: &Name, owner: &[u8]) -> KeptOwner {
    let offset = name.wire().len().checked_sub(owner.len());
    match offset.and_then(|offset| u8::try_from(offset).ok()) {
        Some(octets) if is_below(name.wire(), owner) && owner.len() > 1 => KeptOwner::Above(octets),
        _ => KeptOwner::Other(owner.into()),
    }
}

fn kept_record(record: &Record, section: Section, owner: KeptOwner) -> KeptRecord {
    let (kind, data) = record.data();
    // RFC 2181 §8: a TTL with the highest bit set counts as zero.
    let ttl_seconds = record.ttl().as_secs();
    let ttl_seconds = if ttl_seconds > i32::MAX as u32 { 0 } else { ttl_seconds };
    KeptRecord { section, owner, kind: *kind, ttl_seconds, data: data.as_slice().into() }
}
