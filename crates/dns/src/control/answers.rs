//! A question answered as for a client, with each step.

use std::net::IpAddr;
use std::str::FromStr;

use domain::base::Rtype;
use seaway_model::PodRef;
use seaway_model::dns_api::{DnsQuestion, Lookup, QueryReport};
use tokio::sync::oneshot;

use super::{Desk, client_of, records};
use crate::error::DnsError;
use crate::resolve::explain::{Scene, steps};
use crate::server::{Explained, Message};
use crate::wire::OwnedName;
use crate::wire::number::rcode;

/// Names with fewer dots get the search list first (`ndots:5`, as the kubelet writes it).
const NDOTS: usize = 5;

// === impl Desk ===

impl Desk {
    /// Answers a question as for its client.
    pub(super) async fn query(&self, question: &DnsQuestion) -> Result<QueryReport, DnsError> {
        let client = client_of(self, question)?;
        let kind = Rtype::from_str(&question.kind)
            .map_err(|_| DnsError::Request { why: format!("{:?} is no type of record", question.kind) })?;
        let pod = self.server.hub.pod(client);
        let mut lookups = Vec::new();
        for name in self.candidates(&question.name, pod.as_ref())? {
            let lookup = self.lookup(&name, kind, client).await?;
            let missing = lookup.rcode == rcode::name(rcode::NXDOMAIN);
            lookups.push(lookup);
            if !missing {
                break;
            }
        }
        Ok(QueryReport { client, pod, lookups })
    }

    /// The names that the client's resolver asks for, one after the other.
    fn candidates(&self, text: &str, pod: Option<&PodRef>) -> Result<Vec<OwnedName>, DnsError> {
        let name = |text: &str| {
            OwnedName::parse(text).map_err(|error| DnsError::Request { why: format!("{text:?} is no name: {error}") })
        };
        let plain = name(text)?;
        let Some(pod) = pod.filter(|_| !text.ends_with('.')) else { return Ok(vec![plain]) };
        let domain = self.server.resolver.index.settings.domain.to_string();
        let suffixes = [format!("{}.svc.{domain}", pod.namespace), format!("svc.{domain}"), domain];
        // What becomes too long for a name is passed over, as resolvers do.
        let searched = suffixes.iter().filter_map(|suffix| name(&format!("{text}.{suffix}")).ok());
        let dots = text.bytes().filter(|octet| *octet == b'.').count();
        Ok(if dots < NDOTS {
            searched.chain([plain]).collect()
        } else {
            std::iter::once(plain.clone()).chain(searched).collect()
        })
    }

    async fn lookup(&self, name: &OwnedName, kind: Rtype, client: IpAddr) -> Result<Lookup, DnsError> {
        let unanswered = || DnsError::Request { why: "the server has too much to do".to_owned() };
        let (reply, answer) = oneshot::channel();
        let shard = self.shards.first().ok_or_else(unanswered)?;
        let query = message(name, kind).into();
        shard.leave(Message::Explain { query, client, reply }).map_err(|_| unanswered())?;
        let Explained { octets, way, notes, asked, upstreams, since_micros, took_micros } =
            answer.await.map_err(|_| unanswered())?;
        let resolver = &self.server.resolver;
        let scene = Scene { index: &resolver.index, rules: &resolver.rules, upstreams: &upstreams };
        let told = records::told(&octets);
        Ok(Lookup {
            name: name.to_string(),
            kind: kind.to_string(),
            rcode: told.rcode.to_owned(),
            flags: told.flags,
            way,
            took_micros,
            answer: told.answer,
            authority: told.authority,
            steps: steps(&notes, &asked, since_micros, scene),
        })
    }
}

/// A query that wants recursion, and takes more than 512 octets.
fn message(name: &OwnedName, kind: Rtype) -> Vec<u8> {
    let mut octets = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    octets.extend(name.wire());
    octets.extend(kind.to_int().to_be_bytes());
    octets.extend([0, 1]);
    octets.extend([0, 0, 41, 0xff, 0xff, 0, 0, 0, 0, 0, 0]);
    octets
}
