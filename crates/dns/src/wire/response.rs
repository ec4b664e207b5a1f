//! Writing a response into the caller's buffer. A record is written whole or not at
//! all; the first one that does not fit sets TC (RFC 2181 §9).

use std::net::IpAddr;

use super::name::Place;
use super::number::{class, kind};
use super::query::Query;

/// Sections that hold records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// What was asked for.
    Answer,
    /// Who says so; the SOA of negative answers.
    Authority,
    /// What will be asked next.
    Additional,
}

/// Owner of a record that is written.
#[derive(Debug, Clone, Copy)]
pub enum Owner<'n> {
    /// A name that stands in this message already.
    At(Place),
    /// A name in wire form.
    Name(&'n [u8]),
}

/// A response being written.
#[derive(Debug)]
pub struct Response<'b> {
    buffer: &'b mut [u8],
    length: usize,
    /// Octets that records may fill: room for OPT is kept.
    limit: usize,
    counts: [u16; 3],
    flags: u16,
    truncated: bool,
}

/// What the OPT record of a response carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EdnsAnswer {
    /// Largest datagram this server takes.
    pub payload_octets: u16,
    /// DO comes back as it was sent (RFC 6891 §6.1.4).
    pub dnssec: bool,
    /// Cookie of client and server.
    pub cookie: Option<[u8; 24]>,
}

const FLAG_RESPONSE: u16 = 0x8000;
const FLAG_AUTHORITATIVE: u16 = 0x0400;
const FLAG_TRUNCATED: u16 = 0x0200;
const FLAG_RECURSION_AVAILABLE: u16 = 0x0080;
const FLAG_AUTHENTIC: u16 = 0x0020;
/// Opcode, RD and CD come back as they were sent.
const FLAGS_ECHOED: u16 = 0x7910;

impl<'b> Response<'b> {
    /// Octets of the header.
    pub const HEADER_OCTETS: usize = 12;
    /// Octets of OPT with a cookie of 24 octets.
    pub const OPT_OCTETS: usize = 11 + 4 + 24;

    /// Begins the response to `query`; at most `limit` octets, and never more than `buffer`.
    #[must_use]
    pub fn new(buffer: &'b mut [u8], limit: usize, query: &Query<'_>) -> Self {
        let limit = limit.min(buffer.len()).saturating_sub(if query.edns.is_some() { Self::OPT_OCTETS } else { 0 });
        let mut response = Self {
            buffer,
            length: Self::HEADER_OCTETS,
            limit,
            counts: [0; 3],
            flags: FLAG_RESPONSE | FLAG_RECURSION_AVAILABLE | (query.flags & FLAGS_ECHOED),
            truncated: false,
        };
        response.put_at(0, &query.id.to_be_bytes());
        response.put_at(4, &[0, 1, 0, 0, 0, 0, 0, 0]);
        response.put(query.question);
        response
    }

    /// Forgets all records: another answer is written instead.
    pub fn restart(&mut self, question_octets: usize) {
        self.length = Self::HEADER_OCTETS + question_octets;
        self.counts = [0; 3];
        self.truncated = false;
        self.flags &= !(FLAG_AUTHORITATIVE | FLAG_AUTHENTIC | 0x000f);
    }

    /// A response of the header alone.
    #[must_use]
    pub fn header_only(buffer: &'b mut [u8], id: u16, flags: u16, rcode: u8) -> Option<&'b [u8]> {
        let flags = FLAG_RESPONSE | (flags & FLAGS_ECHOED) | u16::from(rcode & 0xf);
        let header = buffer.get_mut(..Self::HEADER_OCTETS)?;
        header.fill(0);
        header.get_mut(..2)?.copy_from_slice(&id.to_be_bytes());
        header.get_mut(2..4)?.copy_from_slice(&flags.to_be_bytes());
        if rcode < 16 {
            return buffer.get(..Self::HEADER_OCTETS);
        }
        // RFC 6891 §6.1.3: BADVERS needs an OPT record with the upper bits and our version.
        let opt = [0, 0, 41, 0x04, 0xd0, rcode >> 4, 0, 0, 0, 0, 0];
        buffer.get_mut(11..12)?.copy_from_slice(&[1]);
        buffer.get_mut(Self::HEADER_OCTETS..Self::HEADER_OCTETS + opt.len())?.copy_from_slice(&opt);
        buffer.get(..Self::HEADER_OCTETS + opt.len())
    }

    /// Sets the response code.
    pub fn set_rcode(&mut self, rcode: u8) {
        self.flags = (self.flags & !0x000f) | u16::from(rcode & 0xf);
    }

    /// Octets that its records may fill.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// The response code.
    #[must_use]
    pub fn rcode(&self) -> u8 {
        (self.flags & 0x000f) as u8
    }

    /// The answer comes from a zone of our own.
    pub fn set_authoritative(&mut self) {
        self.flags |= FLAG_AUTHORITATIVE;
    }

    /// The upstream vouches for the signatures.
    pub fn set_authentic(&mut self) {
        self.flags |= FLAG_AUTHENTIC;
    }

    /// Asks the client to come again by TCP.
    pub fn set_truncated(&mut self) {
        self.truncated = true;
    }

    /// A record did not fit.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// How many records a section holds.
    #[must_use]
    pub fn count(&self, section: Section) -> u16 {
        match section {
            Section::Answer => self.counts[0],
            Section::Authority => self.counts[1],
            Section::Additional => self.counts[2],
        }
    }

    /// Writes one record with data in pieces. Tells where its data stands, or that it did not fit.
    #[inline]
    pub fn push(&mut self, section: Section, owner: Owner<'_>, kind: u16, ttl: u32, data: &[&[u8]]) -> Option<Place> {
        let size: usize = data.iter().map(|piece| piece.len()).sum();
        let owner_octets = match owner {
            Owner::At(_) => 2,
            Owner::Name(name) => name.len(),
        };
        // Only the first 16 KiB of a message can be pointed to (RFC 1035 §4.1.4).
        let unreachable = matches!(owner, Owner::At(Place(place)) if place > 0x3fff);
        if unreachable || self.length + owner_octets + 10 + size > self.limit || size > usize::from(u16::MAX) {
            // What only would have been useful may be left out silently (RFC 2181 §9).
            self.truncated |= section != Section::Additional;
            return None;
        }
        match owner {
            Owner::At(place) => self.put(&(0xc000 | place.0).to_be_bytes()),
            Owner::Name(name) => self.put(name),
        }
        let [k0, k1] = kind.to_be_bytes();
        let [c0, c1] = class::IN.to_be_bytes();
        let [t0, t1, t2, t3] = ttl.to_be_bytes();
        let [l0, l1] = (size as u16).to_be_bytes();
        self.put(&[k0, k1, c0, c1, t0, t1, t2, t3, l0, l1]);
        let place = Place(self.length as u16);
        for piece in data {
            self.put(piece);
        }
        let count = match section {
            Section::Answer => &mut self.counts[0],
            Section::Authority => &mut self.counts[1],
            Section::Additional => &mut self.counts[2],
        };
        *count += 1;
        Some(place)
    }

    /// Writes an A or AAAA record.
    #[inline]
    pub fn push_address(&mut self, section: Section, owner: Owner<'_>, ttl: u32, address: IpAddr) -> Option<Place> {
        match address {
            IpAddr::V4(address) => self.push(section, owner, kind::A, ttl, &[&address.octets()]),
            IpAddr::V6(address) => self.push(section, owner, kind::AAAA, ttl, &[&address.octets()]),
        }
    }

    /// Ends the message: counts, flags, OPT. Answers its octets.
    #[must_use]
    pub fn finish(mut self, edns: Option<EdnsAnswer>) -> &'b [u8] {
        let mut additional = self.counts[2];
        if let Some(edns) = edns {
            additional += 1;
            self.put_opt(edns);
        }
        if self.truncated {
            self.flags |= FLAG_TRUNCATED;
        }
        self.put_at(2, &self.flags.to_be_bytes());
        self.put_at(6, &self.counts[0].to_be_bytes());
        self.put_at(8, &self.counts[1].to_be_bytes());
        self.put_at(10, &additional.to_be_bytes());
        self.buffer.get(..self.length).unwrap_or_default()
    }

    fn put_opt(&mut self, edns: EdnsAnswer) {
        let [p0, p1] = edns.payload_octets.to_be_bytes();
        let dnssec = if edns.dnssec { 0x80 } else { 0 };
        let size = if edns.cookie.is_some() { 28 } else { 0 };
        self.put(&[0, 0, 41, p0, p1, 0, 0, dnssec, 0, 0, size]);
        if let Some(cookie) = edns.cookie {
            self.put(&[0, 10, 0, 24]);
            self.put(&cookie);
        }
    }

    #[inline]
    fn put(&mut self, octets: &[u8]) {
        self.put_at(self.length, octets);
        self.length += octets.len();
    }

    #[inline]
    fn put_at(&mut self, at: usize, octets: &[u8]) {
        if let Some(to) = self.buffer.get_mut(at..at + octets.len()) {
            to.copy_from_slice(octets);
        }
    }
}
