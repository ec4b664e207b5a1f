//! Reading a query (RFC 1035 §4.1, RFC 6891, RFC 7873, RFC 9619).

use super::name::{Name, NameError};
use super::number::{kind, rcode};
use super::response::Response;

const FLAG_RESPONSE: u16 = 0x8000;
const FLAG_RECURSION_DESIRED: u16 = 0x0100;
const FLAG_AUTHENTIC_DATA: u16 = 0x0020;
const FLAG_CHECKING_DISABLED: u16 = 0x0010;
const OPCODE_MASK: u16 = 0x7800;
const OPTION_COOKIE: u16 = 10;
const DNSSEC_OK: u32 = 0x8000;

/// A readable query; the name that is asked for is beside it.
#[derive(Debug, Clone, Copy)]
pub struct Query<'m> {
    /// Chosen by the client.
    pub id: u16,
    /// Flags of the header, of which RD, AD and CD matter.
    pub flags: u16,
    /// The question as it was sent: its case comes back in the answer.
    pub question: &'m [u8],
    /// Type asked for.
    pub kind: u16,
    /// Class asked for.
    pub class: u16,
    /// EDNS, when the client speaks it.
    pub edns: Option<Edns>,
}

/// What the client's OPT record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edns {
    /// Largest datagram the client takes; at least 512.
    pub payload_octets: u16,
    /// Version; only 0 is known.
    pub version: u8,
    /// The client wants DNSSEC records.
    pub dnssec: bool,
    /// The client's cookie and how many of its octets are set: 8, or 16–40 with the server's part.
    pub cookie: Option<Cookie>,
}

/// A cookie as the client sent it (RFC 7873 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cookie {
    /// The client's part.
    pub client: [u8; 8],
    /// The server's part in the form of RFC 9018, when it has that length.
    pub server: Option<[u8; 16]>,
}

/// Why a message is not a query that can be answered by looking something up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// Not a query at all; answering would help someone make two servers talk forever.
    Silence,
    /// Answer with the header alone.
    Refuse {
        /// Id to give back.
        id: u16,
        /// Flags to give back.
        flags: u16,
        /// Why.
        rcode: u8,
    },
}

/// Reads `message`, and the name asked for into `name`.
///
/// # Errors
/// What to do with a message that cannot be read.
pub fn read<'m>(message: &'m [u8], name: &mut Name) -> Result<Query<'m>, Malformed> {
    let header = message.first_chunk::<{ Response::HEADER_OCTETS }>().ok_or(Malformed::Silence)?;
    let [i0, i1, f0, f1, q0, q1, a0, a1, n0, n1, x0, x1] = *header;
    let (id, flags) = (u16::from_be_bytes([i0, i1]), u16::from_be_bytes([f0, f1]));
    if flags & FLAG_RESPONSE != 0 {
        return Err(Malformed::Silence);
    }
    let refuse = |rcode| Malformed::Refuse { id, flags, rcode };
    if flags & OPCODE_MASK != 0 {
        return Err(refuse(rcode::NOTIMP));
    }
    if [q0, q1] != [0, 1] {
        return Err(refuse(rcode::FORMERR));
    }
    let malformed = |_: NameError| refuse(rcode::FORMERR);
    let end = name.read(message, Response::HEADER_OCTETS).map_err(malformed)?;
    let question = message.get(Response::HEADER_OCTETS..end + 4).ok_or_else(|| refuse(rcode::FORMERR))?;
    let [.., k0, k1, c0, c1] = *question else { return Err(refuse(rcode::FORMERR)) };
    let earlier = u16::from_be_bytes([a0, a1]).saturating_add(u16::from_be_bytes([n0, n1]));
    let additional = u16::from_be_bytes([x0, x1]);
    let edns = match (earlier, additional) {
        (0, 0) => None,
        _ => edns(message, end + 4, earlier, additional).map_err(|Unreadable| refuse(rcode::FORMERR))?,
    };
    if edns.is_some_and(|edns| edns.version != 0) {
        return Err(refuse(rcode::BADVERS));
    }
    Ok(Query { id, flags, question, kind: u16::from_be_bytes([k0, k1]), class: u16::from_be_bytes([c0, c1]), edns })
}

struct Unreadable;

/// More records than this in a query are nobody's honest work: OPT, TSIG, and one of IXFR.
const MOST_RECORDS: u16 = 4;

fn edns(message: &[u8], mut at: usize, earlier: u16, additional: u16) -> Result<Option<Edns>, Unreadable> {
    if earlier.saturating_add(additional) > MOST_RECORDS {
        return Err(Unreadable);
    }
    let mut found = None;
    for index in 0..earlier + additional {
        let after_name = skip_name(message, at)?;
        let fixed = message.get(after_name..after_name + 10).ok_or(Unreadable)?;
        let [k0, k1, c0, c1, t0, t1, t2, t3, l0, l1] = *fixed else { return Err(Unreadable) };
        let size = usize::from(u16::from_be_bytes([l0, l1]));
        let data = message.get(after_name + 10..after_name + 10 + size).ok_or(Unreadable)?;
        if index >= earlier && u16::from_be_bytes([k0, k1]) == kind::OPT {
            // RFC 6891 §6.1.1: one at most, owned by the root.
            if found.is_some() || after_name != at + 1 {
                return Err(Unreadable);
            }
            found = Some(Edns {
                payload_octets: u16::from_be_bytes([c0, c1]).max(512),
                version: t1,
                dnssec: u32::from_be_bytes([t0, t1, t2, t3]) & DNSSEC_OK != 0,
                cookie: cookie(data)?,
            });
        }
        at = after_name + 10 + size;
    }
    Ok(found)
}

fn cookie(mut options: &[u8]) -> Result<Option<Cookie>, Unreadable> {
    let mut found = None;
    while !options.is_empty() {
        let ([o0, o1, l0, l1], rest) = options.split_first_chunk::<4>().ok_or(Unreadable)?;
        let size = usize::from(u16::from_be_bytes([*l0, *l1]));
        let (data, next) = rest.split_at_checked(size).ok_or(Unreadable)?;
        if u16::from_be_bytes([*o0, *o1]) == OPTION_COOKIE && found.is_none() {
            // RFC 7873 §5.2.2: any other length is a format error.
            if size != 8 && !(16..=40).contains(&size) {
                return Err(Unreadable);
            }
            let (client, server) = data.split_first_chunk::<8>().ok_or(Unreadable)?;
            found = Some(Cookie { client: *client, server: server.try_into().ok() });
        }
        options = next;
    }
    Ok(found)
}

/// Where a name that is of no interest ends; a pointer ends it.
fn skip_name(message: &[u8], mut at: usize) -> Result<usize, Unreadable> {
    loop {
        let size = *message.get(at).ok_or(Unreadable)?;
        match size {
            0 => return Ok(at + 1),
            1..=63 => at += 1 + usize::from(size),
            0xc0..=0xff => return Ok(at + 2),
            _ => return Err(Unreadable),
        }
    }
}

// === impl Query ===

impl Query<'_> {
    /// The client asks for recursion.
    #[must_use]
    pub fn recursion_desired(&self) -> bool {
        self.flags & FLAG_RECURSION_DESIRED != 0
    }

    /// The client checks signatures itself (RFC 4035 §3.2.2).
    #[must_use]
    pub fn checking_disabled(&self) -> bool {
        self.flags & FLAG_CHECKING_DISABLED != 0
    }

    /// The client wants DNSSEC records.
    #[must_use]
    pub fn dnssec(&self) -> bool {
        self.edns.is_some_and(|edns| edns.dnssec)
    }

    /// The client understands the AD flag (RFC 6840 §5.7).
    #[must_use]
    pub fn authentic_data_understood(&self) -> bool {
        self.dnssec() || self.flags & FLAG_AUTHENTIC_DATA != 0
    }
}
