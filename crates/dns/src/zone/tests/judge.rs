//! Asks an index as a client would, and reads the answer with an independent parser.

use std::sync::Arc;

use domain::base::{Message, MessageBuilder, Name as DomainName, Rtype};
use domain::rdata::AllRecordData;
use seaway_model::feed::FeedChange;

use crate::wire::name::Place;
use crate::wire::{Name, OwnedName, Response, query};
use crate::zone::answer::{Asked, Outcome, rcode_of};
use crate::zone::{Builder, Index, PodNames, Scratch, ZoneSettings, reverse};

/// An index and its writer.
pub(crate) struct Cluster {
    pub(crate) index: Arc<Index>,
    pub(crate) builder: Builder,
    scratch: Scratch,
}

/// What came back, records as text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) rcode: String,
    pub(crate) answer: Vec<String>,
    pub(crate) authority: Vec<String>,
    pub(crate) additional: Vec<String>,
    pub(crate) truncated: bool,
}

pub(crate) fn settings() -> ZoneSettings {
    ZoneSettings {
        domain: OwnedName::parse("cluster.local").unwrap(),
        ttl_seconds: 5,
        pods: PodNames::Insecure,
        endpoint_pod_names: false,
        servers: vec!["10.96.0.10".parse().unwrap()],
        cluster_set: Some(OwnedName::parse("clusterset.local").unwrap()),
        external: Vec::new(),
    }
}

/// A query as the `domain` crate writes it.
pub(crate) fn question(name: &str, kind: &str) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec().question();
    builder.header_mut().set_id(0x1234);
    builder.header_mut().set_rd(true);
    let kind: Rtype = kind.parse().unwrap();
    builder.push((name.parse::<DomainName<Vec<u8>>>().unwrap(), kind)).unwrap();
    builder.finish()
}

/// Reads a response.
pub(crate) fn told(octets: &[u8]) -> Told {
    let message = Message::from_octets(octets).unwrap();
    let (_, answer, authority, additional) = message.sections().unwrap();
    let text = |section: domain::base::message::RecordSection<'_, &[u8]>| {
        let records = section.limit_to::<AllRecordData<_, _>>();
        let mut lines: Vec<String> = records
            .map(|record| record.unwrap())
            .filter(|record| record.rtype() != Rtype::OPT)
            .map(|record| format!("{} {} {} {}", record.owner(), record.ttl().as_secs(), record.rtype(), record.data()))
            .map(|line| line.replace(". ", " "))
            .collect();
        lines.iter_mut().for_each(|line| *line = line.trim_end_matches('.').to_owned());
        lines
    };
    Told {
        rcode: message.header().rcode().to_string(),
        answer: text(answer),
        authority: text(authority),
        additional: text(additional),
        truncated: message.header().tc(),
    }
}

impl Cluster {
    pub(crate) fn new(settings: ZoneSettings, changes: Vec<FeedChange>) -> Self {
        let index = Arc::new(Index::new(settings));
        let mut builder = Builder::new(Arc::clone(&index));
        builder.apply(changes);
        Self { index, builder, scratch: Scratch::default() }
    }

    /// Asks with room for `limit` octets.
    pub(crate) fn ask_limited(&mut self, name: &str, kind: &str, limit: usize) -> Told {
        let octets = question(name, kind);
        let mut asked_name = Name::root();
        let query = query::read(&octets, &mut asked_name).unwrap();
        let mut buffer = vec![0; 65_535];
        let mut response = Response::new(&mut buffer, limit, &query);
        let mut asked = Asked { name: &asked_name, before: 0, kind: query.kind, place: Place::QUESTION };
        let outcome = match (self.index.zone_of(&asked_name), reverse::address_of(&asked_name)) {
            (Some((zone, before)), _) => {
                asked.before = before;
                self.index.answer_in(zone, asked, &mut self.scratch, &mut response)
            }
            (None, Some(address)) if self.index.answer_reverse(address, asked, &mut response) => Outcome::Answered,
            _ => Outcome::Unknown,
        };
        response.set_rcode(rcode_of(outcome));
        if matches!(outcome, Outcome::NoData | Outcome::NameError) {
            self.index.push_negative(asked, &mut response);
        }
        told(response.finish(None))
    }

    pub(crate) fn ask(&mut self, name: &str, kind: &str) -> Told {
        self.ask_limited(name, kind, 65_535)
    }
}

impl Told {
    /// One line per record of the answer without owner and TTL, sorted.
    pub(crate) fn data(&self) -> Vec<String> {
        let mut lines: Vec<String> =
            self.answer.iter().map(|line| line.splitn(3, ' ').nth(2).unwrap().to_owned()).collect();
        lines.sort();
        lines
    }

    /// `NOERROR` with nothing and an SOA.
    pub(crate) fn is_nodata(&self) -> bool {
        self.rcode == "NOERROR" && self.answer.is_empty() && self.authority.iter().any(|line| line.contains(" SOA "))
    }

    pub(crate) fn is_nxdomain(&self) -> bool {
        self.rcode == "NXDOMAIN" && self.answer.is_empty() && self.authority.iter().any(|line| line.contains(" SOA "))
    }
}
