//! A response as text. Pure.

use domain::base::Message;
use domain::base::message::RecordSection;
use domain::rdata::AllRecordData;

use crate::wire::number::rcode;

/// A response as text.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) rcode: &'static str,
    pub(super) flags: Vec<String>,
    pub(super) answer: Vec<String>,
    pub(super) authority: Vec<String>,
}

/// Reads a response of ours.
pub(super) fn told(octets: &[u8]) -> Told {
    let Ok(message) = Message::from_octets(octets) else { return Told::default() };
    let header = message.header();
    let flags = [("aa", header.aa()), ("tc", header.tc()), ("ra", header.ra()), ("ad", header.ad())];
    let mut told = Told {
        rcode: rcode::name(header.rcode().to_int()),
        flags: flags.iter().filter(|(_, set)| *set).map(|(name, _)| (*name).to_owned()).collect(),
        ..Told::default()
    };
    if let Ok((_, answer, authority, _)) = message.sections() {
        told.answer = lines(answer);
        told.authority = lines(authority);
    }
    told
}

fn lines(section: RecordSection<'_, &[u8]>) -> Vec<String> {
    let texts = section.filter_map(Result::ok).filter_map(|record| {
        let known = record.to_record::<AllRecordData<_, _>>().ok()??;
        let (owner, ttl) = (known.owner(), known.ttl().as_secs());
        let owner = owner.to_string();
        let dot = if owner.ends_with('.') { "" } else { "." };
        Some(format!("{owner}{dot} {ttl} {} {}", known.rtype(), known.data()))
    });
    texts.collect()
}
