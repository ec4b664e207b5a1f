//! Names of addresses (specification 1.1.0 §2.3.3, §2.4.3): `in-addr.arpa` and
//! `ip6.arpa`. What is not ours is somebody else's: the caller asks upstream.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::answer::Asked;
use super::headless::EndpointLabel;
use super::index::Index;
use super::service::{ServiceRecords, Target};
use crate::wire::number::kind;
use crate::wire::response::Owner;
use crate::wire::{Name, Response, Section};

/// Reads a name below `in-addr.arpa` or `ip6.arpa` that spells a whole address.
#[must_use]
pub fn address_of(name: &Name) -> Option<IpAddr> {
    let last = name.labels();
    match (last, name.suffix(last.checked_sub(2)?)) {
        (6, b"\x07in-addr\x04arpa\x00") => {
            let mut octets = [0; 4];
            for (index, octet) in octets.iter_mut().rev().enumerate() {
                let text = std::str::from_utf8(name.label(index)).ok()?;
                // A leading zero or sign is another name.
                let number: u8 = text.parse().ok()?;
                if !text.starts_with('+') && (text == "0" || !text.starts_with('0')) {
                    *octet = number;
                } else {
                    return None;
                }
            }
            Some(Ipv4Addr::from(octets).into())
        }
        (34, b"\x03ip6\x04arpa\x00") => {
            let mut number: u128 = 0;
            for index in (0..32).rev() {
                let [digit] = name.label(index) else { return None };
                number = number << 4 | u128::from(char::from(*digit).to_digit(16)?);
            }
            Some(Ipv6Addr::from(number).into())
        }
        _ => None,
    }
}

// === impl Index ===

impl Index {
    /// Writes the names of `address`; tells whether there is any.
    pub fn answer_reverse(&self, address: IpAddr, asked: Asked<'_>, response: &mut Response<'_>) -> bool {
        let Some(keys) = self.addresses.with(&address, std::sync::Arc::clone) else { return false };
        let mut found = false;
        for key in keys.iter() {
            let names = self.services.with(&**key, |records| self.push_names(records, address, asked, response));
            found |= names.unwrap_or_default();
        }
        found
    }

    fn push_names(
        &self,
        records: &ServiceRecords,
        address: IpAddr,
        asked: Asked<'_>,
        response: &mut Response<'_>,
    ) -> bool {
        let Some(spec) = records.spec.as_deref() else { return false };
        if let Target::Addresses(own) = &spec.target
            && own.contains(&address)
        {
            self.push_name(&[], records, asked, response);
            return true;
        }
        let mut found = false;
        if let (Some(outside), Some(zone)) = (&spec.outside, self.settings.external.first())
            && outside.addresses.contains(&address)
        {
            push_pointer(&[&records.key, zone.name.wire()], asked, self.settings.ttl_seconds, response);
            found = true;
        }
        let headless = spec.target == Target::Headless;
        let mut label = EndpointLabel::default();
        // Endpoints on their way from one slice to another stand in both.
        let mut told: Vec<&[u8]> = Vec::new();
        for slice in &records.slices {
            for endpoint in &slice.endpoints {
                let mine = endpoint.address() == address && endpoint.shown(spec) && (headless || endpoint.named());
                if !mine || told.contains(&slice.name(endpoint)) {
                    continue;
                }
                if records.repeats {
                    told.push(slice.name(endpoint));
                }
                self.push_name(label.write(slice, endpoint), records, asked, response);
                found = true;
            }
        }
        found
    }

    fn push_name(&self, host: &[u8], records: &ServiceRecords, asked: Asked<'_>, response: &mut Response<'_>) {
        let data: [&[u8]; 4] = [host, &records.key, b"\x03svc", self.settings.domain.wire()];
        push_pointer(&data, asked, self.settings.ttl_seconds, response);
    }
}

fn push_pointer(data: &[&[u8]], asked: Asked<'_>, ttl: u32, response: &mut Response<'_>) {
    if asked.kind == kind::PTR {
        response.push(Section::Answer, Owner::At(asked.place), kind::PTR, ttl, data);
    }
}
