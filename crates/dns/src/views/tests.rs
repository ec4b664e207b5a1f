use seaway_model::dns::{
    DnsAccess, DnsAccessAction, DnsBlock, DnsBlockAction, DnsForward, DnsForwardPolicy, DnsHost, DnsRecord, DnsRewrite,
    DnsRewritePart, DnsSpec, DnsZone,
};

use super::upstreams::Numbers;
use super::*;
use crate::wire::OwnedName;

mod block_lists;
mod documented;
mod precedence;
mod refused;
mod rewrites;
mod zones;

/// Configurations to be told; each reads as a sentence.
pub(crate) fn host(name: &str, address: &str) -> DnsHost {
    DnsHost { name: name.to_owned(), addresses: vec![address.to_owned()] }
}

pub(crate) fn hosts(name: &str, address: &str) -> DnsSpec {
    DnsSpec { hosts: vec![host(name, address)], ..DnsSpec::default() }
}

pub(crate) fn block(names: &[&str], action: DnsBlockAction) -> DnsSpec {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    DnsSpec { block: vec![DnsBlock { names, action, addresses: Vec::new() }], ..DnsSpec::default() }
}

pub(crate) fn forward(domain: &str, upstream: &str) -> DnsSpec {
    let rule = DnsForward {
        domain: domain.to_owned(),
        upstreams: vec![upstream.to_owned()],
        policy: DnsForwardPolicy::Random,
    };
    DnsSpec { forward: vec![rule], ..DnsSpec::default() }
}

pub(crate) fn rewrite(part: DnsRewritePart, from: &str, to: &str) -> DnsSpec {
    let rule = DnsRewrite { part, from: from.to_owned(), to: to.to_owned() };
    DnsSpec { rewrites: vec![rule], ..DnsSpec::default() }
}

pub(crate) fn zone_text(name: &str, text: &str) -> DnsSpec {
    let zone = DnsZone { name: name.to_owned(), text: Some(text.to_owned()), records: Vec::new() };
    DnsSpec { zones: vec![zone], ..DnsSpec::default() }
}

pub(crate) fn access(action: DnsAccessAction, clients: &[&str]) -> DnsSpec {
    let clients = clients.iter().map(|range| (*range).to_owned()).collect();
    DnsSpec { access: vec![DnsAccess { action, clients }], ..DnsSpec::default() }
}

pub(crate) fn compiled(spec: &DnsSpec) -> Config {
    compile(spec, &mut Numbers::default()).unwrap_or_else(|flaws| panic!("{flaws:?}"))
}

pub(crate) fn name(text: &str) -> Name {
    let mut name = Name::root();
    name.assign(OwnedName::parse(text).unwrap().wire()).unwrap();
    name
}
