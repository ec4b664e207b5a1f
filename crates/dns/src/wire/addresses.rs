//! The addresses that a response tells.

use std::net::IpAddr;

use super::number::kind;
use super::response::Response;

/// Addresses among the answers of a response of ours, with the seconds they hold.
pub fn told(octets: &[u8]) -> impl Iterator<Item = (IpAddr, u32)> + '_ {
    let answers = octets.get(6..8).map_or(0, |count| count.iter().fold(0, |sum, octet| sum << 8 | usize::from(*octet)));
    let mut at = skip_name(octets, Response::HEADER_OCTETS).map(|end| end + 4);
    (0..answers)
        .map_while(move |_| {
            let fixed = skip_name(octets, at?)?;
            let [k0, k1, _, _, t0, t1, t2, t3, l0, l1] = *octets.get(fixed..)?.first_chunk::<10>()?;
            let end = fixed + 10 + usize::from(u16::from_be_bytes([l0, l1]));
            let data = octets.get(fixed + 10..end)?;
            at = Some(end);
            let address = match u16::from_be_bytes([k0, k1]) {
                kind::A => <[u8; 4]>::try_from(data).ok().map(IpAddr::from),
                kind::AAAA => <[u8; 16]>::try_from(data).ok().map(IpAddr::from),
                _ => None,
            };
            Some(address.map(|address| (address, u32::from_be_bytes([t0, t1, t2, t3]))))
        })
        .flatten()
}

fn skip_name(octets: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *octets.get(at)? {
            0 => return Some(at + 1),
            size @ 1..=63 => at += 1 + usize::from(size),
            _ => return Some(at + 2),
        }
    }
}
