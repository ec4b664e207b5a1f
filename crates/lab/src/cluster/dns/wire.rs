//! The few octets of RFC 1035 that one question needs. Pure.

use std::net::IpAddr;

/// RFC 1035 §3.2.2 and RFC 3596 §2.1.
const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
/// RFC 1035 §3.2.4: the Internet.
const CLASS_IN: u16 = 1;
/// RFC 1035 §4.1.1: recursion desired.
const FLAGS_QUERY: u16 = 0x0100;
/// Length of a message's header.
const HEADER_BYTES: usize = 12;

/// A question for the addresses of `name`.
#[must_use]
pub fn question(id: u16, name: &str, ipv6: bool) -> Vec<u8> {
    let mut message = Vec::new();
    for field in [id, FLAGS_QUERY, 1, 0, 0, 0] {
        message.extend(field.to_be_bytes());
    }
    for label in name.split('.').filter(|label| !label.is_empty()) {
        message.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(if ipv6 { TYPE_AAAA } else { TYPE_A }.to_be_bytes());
    message.extend(CLASS_IN.to_be_bytes());
    message
}

/// The addresses in an answer to question `id`.
///
/// # Errors
/// The message is cut short, answers something else, or says that it failed.
pub fn addresses(id: u16, message: &[u8]) -> Result<Vec<IpAddr>, String> {
    let short = || "the answer is cut short".to_owned();
    if u16_at(message, 0).ok_or_else(short)? != id {
        return Err("the answer is for another question".to_owned());
    }
    let code = u16_at(message, 2).ok_or_else(short)? & 0xf;
    if code != 0 {
        return Err(format!("the server answered with code {code}"));
    }
    let questions = u16_at(message, 4).ok_or_else(short)?;
    let answers = u16_at(message, 6).ok_or_else(short)?;
    let mut at = HEADER_BYTES;
    for _ in 0..questions {
        at = after_name(message, at).ok_or_else(short)? + 4;
    }
    let mut found = Vec::new();
    for _ in 0..answers {
        at = after_name(message, at).ok_or_else(short)?;
        let kind = u16_at(message, at).ok_or_else(short)?;
        let length = usize::from(u16_at(message, at + 8).ok_or_else(short)?);
        let data = message.get(at + 10..at + 10 + length).ok_or_else(short)?;
        match kind {
            TYPE_A => found.extend(<[u8; 4]>::try_from(data).map(IpAddr::from)),
            TYPE_AAAA => found.extend(<[u8; 16]>::try_from(data).map(IpAddr::from)),
            _ => {}
        }
        at += 10 + length;
    }
    Ok(found)
}

fn u16_at(message: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?))
}

/// Where the name at `at` ends; a pointer (RFC 1035 §4.1.4) ends it.
pub(crate) fn after_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            length if length & 0xc0 == 0xc0 => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_with_a_compressed_name_is_read() {
        let mut message = question(7, "kubernetes.default.svc.cluster.local", false);
        message[2..4].copy_from_slice(&0x8580u16.to_be_bytes());
        message[6..8].copy_from_slice(&1u16.to_be_bytes());
        message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 10, 96, 0, 1]);
        assert_eq!(addresses(7, &message).unwrap(), ["10.96.0.1".parse::<IpAddr>().unwrap()]);
        assert!(addresses(8, &message).is_err());
        for length in 0..message.len() {
            assert!(addresses(7, &message[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn a_name_error_is_an_error() {
        let mut message = question(7, "nowhere", true);
        message[2..4].copy_from_slice(&0x8583u16.to_be_bytes());
        assert_eq!(addresses(7, &message).unwrap_err(), "the server answered with code 3");
    }
}
