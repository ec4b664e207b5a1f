//! The answer to a rewritten question, with the names that the client asked for.

use super::rewrite::Rewrite;
use crate::wire::name::Place;
use crate::wire::number::kind;
use crate::wire::response::Owner;
use crate::wire::{Name, Response, Section};

/// Mail, services and aliases: the names in their data are looked up next, so they come back as
/// what the client would ask for.
const MX: u16 = 15;

/// Who asked for what.
#[derive(Debug, Clone, Copy)]
pub struct Restored<'r> {
    /// The rule that was followed.
    pub rewrite: &'r Rewrite,
    /// What the client asked for.
    pub asked: &'r Name,
    /// What was looked up.
    pub looked_up: &'r Name,
}

impl Restored<'_> {
    /// Copies the records of a finished answer to the looked-up question into the response to the
    /// client, with names put back. None: the answer cannot be read.
    pub fn copy(&self, answer: &[u8], response: &mut Response<'_>) -> Option<()> {
        let flags = u16::from_be_bytes([*answer.get(2)?, *answer.get(3)?]);
        let counts =
            [6, 8, 10].map(|at| answer.get(at..at + 2).map_or(0, |c| c.iter().fold(0, |n, o| n << 8 | u16::from(*o))));
        response.set_rcode((flags & 0xf) as u8);
        if flags & 0x0400 != 0 {
            response.set_authoritative();
        }
        if flags & 0x0020 != 0 {
            response.set_authentic();
        }
        if flags & 0x0200 != 0 {
            response.set_truncated();
        }
        let mut at = name_at(answer, Response::HEADER_OCTETS)?.1 + 4;
        for (section, count) in [Section::Answer, Section::Authority, Section::Additional].into_iter().zip(counts) {
            for _ in 0..count {
                at = self.record(answer, at, section, response)?;
            }
        }
        Some(())
    }

    fn record(&self, answer: &[u8], at: usize, section: Section, response: &mut Response<'_>) -> Option<usize> {
        let (owner, fixed) = name_at(answer, at)?;
        let [k0, k1, _, _, t0, t1, t2, t3, l0, l1] = *answer.get(fixed..)?.first_chunk::<10>()?;
        let begin = fixed + 10;
        let end = begin + usize::from(u16::from_be_bytes([l0, l1]));
        let data = answer.get(begin..end)?;
        let record_kind = u16::from_be_bytes([k0, k1]);
        let names = match record_kind {
            kind::CNAME | kind::NS | kind::PTR | kind::DNAME => Some(0),
            MX => Some(2),
            kind::SRV => Some(6),
            _ => None,
        };
        let owner = self.restored(owner);
        let place =
            if owner.wire() == self.asked.wire() { Owner::At(Place::QUESTION) } else { Owner::Name(owner.wire()) };
        let ttl = u32::from_be_bytes([t0, t1, t2, t3]);
        match (names, record_kind) {
            (Some(before), _) => {
                let target = name_at(answer, begin + before)?.0;
                let target = if record_kind == kind::PTR { target } else { self.restored(target) };
                let pieces = [data.get(..before)?, target.wire()];
                response.push(section, place, record_kind, ttl, &pieces);
            }
            (None, kind::SOA) => {
                let (server, next) = name_at(answer, begin)?;
                let (mailbox, rest) = name_at(answer, next)?;
                let pieces = [server.wire(), mailbox.wire(), answer.get(rest..end)?];
                response.push(section, place, record_kind, ttl, &pieces);
            }
            // All other types came from others without compression (RFC 3597 §4).
            (None, _) => {
                response.push(section, place, record_kind, ttl, &[data]);
            }
        }
        Some(end)
    }

    fn restored(&self, name: Name) -> Name {
        self.rewrite.restore(&name, self.asked, self.looked_up).unwrap_or(name)
    }
}

/// A name of a message, written out, and where it ends.
fn name_at(message: &[u8], at: usize) -> Option<(Name, usize)> {
    let mut wire = Vec::with_capacity(64);
    let (mut from, mut end) = (at, None);
    // A name has at most 127 labels, and each may be behind a pointer.
    for _ in 0..256 {
        let size = *message.get(from)?;
        match size {
            0 => {
                wire.push(0);
                let mut name = Name::root();
                name.assign(&wire).ok()?;
                return Some((name, end.unwrap_or(from + 1)));
            }
            1..=63 => {
                wire.extend(message.get(from..=from + usize::from(size))?);
                from += 1 + usize::from(size);
            }
            192.. => {
                end = end.or(Some(from + 2));
                from = usize::from(size & 0x3f) << 8 | usize::from(*message.get(from + 1)?);
            }
            _ => return None,
        }
    }
    None
}
