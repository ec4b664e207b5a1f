//! Records in master file format (RFC 1035 §5), read by the `domain` crate one entry at a time, so
//! that every fault has a line and a column, also those that only the zone as a whole shows.

use bytes::Bytes;
use domain::base::Name as DomainName;
use domain::base::iana::Class;
use domain::base::name::ToName;
use domain::base::rdata::{ComposeRecordData, RecordData};
use domain::zonefile::inplace::{Entry, Zonefile};

use crate::wire::OwnedName;
use crate::wire::number::kind;

/// Octets of one entry. The largest record has 64 KiB, and its text is not ten times that.
const LONGEST_ENTRY: usize = 640 << 10;

/// One record as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneRecord {
    /// Whose it is.
    pub owner: OwnedName,
    /// Type.
    pub kind: u16,
    /// Seconds that it may be kept.
    pub ttl_seconds: u32,
    /// Data without compression.
    pub data: Box<[u8]>,
    /// Line on which its entry begins.
    pub line: usize,
}

/// A fault in text, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {reason}")]
pub struct TextFault {
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1.
    pub column: usize,
    /// What is wrong.
    pub reason: String,
}

// === impl TextFault ===

impl TextFault {
    pub(super) fn at_line(line: usize, reason: impl Into<String>) -> Self {
        Self { line, column: 1, reason: reason.into() }
    }
}

/// Reads records; names without a final dot are below `origin`.
///
/// # Errors
/// The first fault.
pub fn parse(text: &str, origin: &OwnedName) -> Result<Vec<ZoneRecord>, TextFault> {
    let mut file = Zonefile::new();
    let name = DomainName::<Bytes>::from_octets(Bytes::copy_from_slice(origin.wire()));
    file.set_origin(name.map_err(|error| TextFault::at_line(1, error.to_string()))?);
    file.set_default_class(Class::IN);
    let mut records = Vec::new();
    for (line, entry) in entries(text) {
        if entry.len() > LONGEST_ENTRY {
            return Err(TextFault::at_line(line, "the entry is longer than 640 KiB; is a quote or parenthesis open?"));
        }
        file.extend_from_slice(entry.as_bytes());
        if !entry.ends_with('\n') {
            file.extend_from_slice(b"\n");
        }
        while let Some(read) = file.next_entry().map_err(|error| positioned(&error.to_string(), line, entry))? {
            records.push(record(read).map_err(|reason| TextFault::at_line(line, reason))?);
            if let Some(record) = records.last_mut() {
                record.line = line;
            }
        }
    }
    Ok(records)
}

fn record(entry: Entry) -> Result<ZoneRecord, String> {
    let Entry::Record(record) = entry else { return Err("$INCLUDE is not followed: put the records here".to_owned()) };
    if record.class() != Class::IN {
        return Err(format!("class {} is not served, only IN", record.class()));
    }
    let number = record.data().rtype().to_int();
    // Types of questions and of the protocol itself (RFC 6895 §3.1).
    if matches!(number, 0 | kind::OPT | 128..=255) {
        return Err(format!("{} is no type of a record", record.data().rtype()));
    }
    let mut data = Vec::new();
    record.data().compose_rdata(&mut data).map_err(|_| "the record is too long".to_owned())?;
    if data.len() > usize::from(u16::MAX) {
        return Err("the record is longer than 65535 octets".to_owned());
    }
    let owner: DomainName<Vec<u8>> = record.owner().to_name();
    let owner = OwnedName::from_wire(owner.as_octets()).map_err(|error| error.to_string())?;
    Ok(ZoneRecord { owner, kind: number, ttl_seconds: record.ttl().as_secs(), data: data.into(), line: 0 })
}

/// The parser says `line:column: reason`, where it stopped: behind the word that is wrong. Its lines
/// count on from entry to entry.
fn positioned(text: &str, line: usize, entry: &str) -> TextFault {
    let mut parts = text.splitn(3, ':').map(str::trim);
    let mut number = || parts.next()?.parse::<usize>().ok();
    let (Some(at), Some(column)) = (number(), number()) else { return TextFault::at_line(line, text) };
    let reason = parts.next().unwrap_or(text).to_owned();
    let mut rest = entry;
    for _ in line..at {
        rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
    }
    let stopped = (entry.len() - rest.len() + column.saturating_sub(1)).min(entry.len());
    let before = entry.as_bytes().get(..stopped).unwrap_or_default().trim_ascii_end();
    let word = before.iter().rposition(u8::is_ascii_whitespace).map_or(0, |at| at + 1);
    let before = before.get(..word).unwrap_or_default();
    let line_begins = before.iter().rposition(|octet| *octet == b'\n').map_or(0, |at| at + 1);
    let lines = before.iter().filter(|octet| **octet == b'\n').count();
    TextFault { line: line + lines, column: word - line_begins + 1, reason }
}

/// Entries with the number of their first line: lines, unless quotes or parentheses are open.
fn entries(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let (mut rest, mut line) = (text, 1);
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (entry, after) = rest.split_at(entry_octets(rest.as_bytes()));
        let found = (line, entry);
        line += entry.bytes().filter(|octet| *octet == b'\n').count();
        rest = after;
        Some(found)
    })
}

/// Where the first entry ends: behind its line feed, or with the text.
fn entry_octets(text: &[u8]) -> usize {
    let (mut open, mut quoted, mut comment, mut escaped) = (0u32, false, false, false);
    for (at, octet) in text.iter().enumerate() {
        if escaped {
            escaped = false;
            continue;
        }
        match octet {
            b'\n' if !quoted && open == 0 => return at + 1,
            b'\n' => comment = false,
            _ if comment => {}
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b';' => comment = true,
            b'(' => open = open.saturating_add(1),
            b')' => open = open.saturating_sub(1),
            _ => {}
        }
    }
    text.len()
}
