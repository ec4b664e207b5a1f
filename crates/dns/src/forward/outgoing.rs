//! Queries to upstreams.

use crate::wire::Name;

/// Largest datagram we ask for: no fragments on any usual path (DNS flag day 2020).
const PAYLOAD_OCTETS: u16 = 1232;

/// What makes one query differ from another for the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flavour {
    /// Ask for DNSSEC records.
    pub dnssec: bool,
    /// The client checks signatures itself.
    pub checking_disabled: bool,
    /// Speak EDNS.
    pub edns: bool,
}

/// The question of a query: name in random case (draft-vixie-dnsext-dns0x20: bits
/// that a forger must guess too), type, class.
#[must_use]
pub fn question(name: &Name, kind: u16, mut random: u64) -> Box<[u8]> {
    let mut octets = Vec::with_capacity(name.wire().len() + 4);
    for octet in name.wire() {
        if octet.is_ascii_lowercase() {
            octets.push(if random & 1 == 1 { octet.to_ascii_uppercase() } else { *octet });
            // Rotated: names of more than 64 letters use the bits again.
            random = random.rotate_right(1);
        } else {
            octets.push(*octet);
        }
    }
    octets.extend(kind.to_be_bytes());
    octets.extend([0, 1]);
    octets.into()
}

/// A whole query.
#[must_use]
pub fn query(id: u16, question: &[u8], flavour: Flavour) -> Vec<u8> {
    let mut octets = Vec::with_capacity(12 + question.len() + 11);
    octets.extend(id.to_be_bytes());
    // RD, and AD to learn whether the upstream validated (RFC 6840 §5.7).
    octets.extend([0x01, if flavour.checking_disabled { 0x30 } else { 0x20 }]);
    octets.extend([0, 1, 0, 0, 0, 0, 0, u8::from(flavour.edns)]);
    octets.extend(question);
    if flavour.edns {
        let [p0, p1] = PAYLOAD_OCTETS.to_be_bytes();
        octets.extend([0, 0, 41, p0, p1, 0, 0, if flavour.dnssec { 0x80 } else { 0 }, 0, 0, 0]);
    }
    octets
}
