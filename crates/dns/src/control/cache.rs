//! What is kept of others' answers, as people read it.

use domain::base::Rtype;
use seaway_model::dns_api::{CachedAnswer, DnsAnswer};

use super::{Desk, records};
use crate::error::DnsError;
use crate::forward::Entry;
use crate::server::clock::now_micros;
use crate::watch::hub;
use crate::wire::name::Place;
use crate::wire::number::rcode;
use crate::wire::{Name, OwnedName, Response, query};

// === impl Desk ===

impl Desk {
    /// What is kept, for one name or all: those that end last come first.
    pub(super) fn cache(&self, name: Option<&str>, limit: usize) -> Result<DnsAnswer, DnsError> {
        let wanted = name.map(parsed).transpose()?;
        let now_millis = now_micros() / 1000;
        let kept = self.server.resolver.cache.entries();
        let mine = kept.iter().filter(|(key, _)| wanted.as_ref().is_none_or(|name| key.get(4..) == Some(name.wire())));
        let mut entries: Vec<CachedAnswer> =
            mine.filter_map(|(key, entry)| self.described(key, entry, now_millis)).collect();
        let total = entries.len();
        entries.sort_by(|a, b| b.left_seconds.cmp(&a.left_seconds).then_with(|| a.name.cmp(&b.name)));
        entries.truncate(limit);
        Ok(DnsAnswer::Cache { entries, total })
    }

    /// Forgets answers for one name or all.
    pub(super) fn flush(&self, name: Option<&str>) -> Result<DnsAnswer, DnsError> {
        let wanted = name.map(parsed).transpose()?;
        let forgotten = self
            .server
            .resolver
            .cache
            .forget(|key| wanted.as_ref().is_none_or(|name| key.get(4..) == Some(name.wire())));
        tracing::info!(name, forgotten, "answers forgotten by an operator");
        Ok(DnsAnswer::Flushed { entries: forgotten })
    }

    fn described(&self, key: &[u8], entry: &Entry, now_millis: u64) -> Option<CachedAnswer> {
        let ([flags, group, k0, k1], wire) = key.split_first_chunk::<4>()?;
        let ends = entry.stored_millis + u64::from(entry.ttl_seconds) * 1000;
        // Above the flags are the upper bits of the group; those of views are not listed here.
        let group = self.groups.get(usize::from(*flags >> 2) << 8 | usize::from(*group));
        let numbers = group.map(|group| group.upstreams.as_slice()).unwrap_or_default();
        let upstreams = numbers.iter().filter_map(|number| self.upstreams.get(*number));
        Some(CachedAnswer {
            name: hub::text(wire),
            kind: Rtype::from_int(u16::from_be_bytes([*k0, *k1])).to_string(),
            rcode: rcode::name(entry.rcode).to_owned(),
            upstreams: upstreams.map(ToString::to_string).collect(),
            left_seconds: (ends as i64 - now_millis as i64).div_euclid(1000),
            hits: entry.hits(),
            octets: entry.octets() + key.len(),
            records: written(wire, [*k0, *k1], entry, now_millis),
        })
    }
}

fn parsed(text: &str) -> Result<OwnedName, DnsError> {
    OwnedName::parse(text).map_err(|error| DnsError::Request { why: format!("{text:?} is no name: {error}") })
}

/// The records as a client would get them now.
fn written(wire: &[u8], kind: [u8; 2], entry: &Entry, now_millis: u64) -> Vec<String> {
    let asked = [&[0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0], wire, &kind, &[0, 1]].concat();
    let mut name = Name::root();
    let Ok(query) = query::read(&asked, &mut name) else { return Vec::new() };
    let mut space = vec![0; usize::from(u16::MAX)];
    let mut response = Response::new(&mut space, usize::from(u16::MAX), &query);
    entry.write(&name, Place::QUESTION, now_millis, false, &mut response);
    let told = records::told(response.finish(None));
    [told.answer, told.authority].concat()
}
