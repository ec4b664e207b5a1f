//! One configuration, ready to answer from.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use seaway_model::IpNet;

use super::Found;
use super::names::NameSet;
use super::rewrite::Rewrite;
use super::static_zone::StaticZone;
use super::upstreams::ViewUpstreams;
use crate::wire::{Name, OwnedName};

/// One `DNSConfig`, or the files of the server.
#[derive(Debug, Default)]
pub struct Config {
    /// Clients by range; the first match decides: whether they are answered.
    pub access: Vec<(IpNet, bool)>,
    /// Names that are kept from clients; the first match decides.
    pub blocks: Vec<Block>,
    /// Addresses of names by wire form.
    pub hosts: HashMap<Box<[u8]>, Box<[IpAddr]>>,
    /// Names that stand for others; the first match decides.
    pub rewrites: Vec<Rewrite>,
    /// Zones, the longest name first.
    pub zones: Vec<Arc<StaticZone>>,
    /// Who answers for domains, the longest first.
    pub forward: Vec<(OwnedName, Arc<ViewUpstreams>)>,
    /// Whether search lists of pods are walked.
    pub search: Option<bool>,
}

/// Names that are kept from clients.
#[derive(Debug, Clone)]
pub struct Block {
    /// Which.
    pub names: Arc<NameSet>,
    /// What is answered.
    pub answer: BlockAnswer,
}

/// What is answered for a name that is kept from a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlockAnswer {
    /// The name does not exist.
    NameError,
    /// It has no records.
    NoData,
    /// Refused.
    Refused,
    /// Other addresses.
    Addresses(Box<[IpAddr]>),
    /// It is not kept from them.
    Allow,
}

// === impl Config ===

impl Config {
    /// What this configuration says of a name besides block lists: see [`super::View::find`].
    #[must_use]
    pub fn find(&self, name: &Name, asked: bool, least_labels: usize) -> Option<Found<'_>> {
        if !self.hosts.is_empty()
            && let Some(addresses) = self.hosts.get(name.wire())
        {
            return Some(Found::Host(addresses));
        }
        if asked && let Some(rewrite) = self.rewrites.iter().find(|rewrite| rewrite.matches(name)) {
            return Some(Found::Rewrite(rewrite));
        }
        let holds = |domain: &OwnedName| domain.labels() >= least_labels && name.below(domain).is_some();
        let zone = self.zones.iter().find(|zone| holds(&zone.apex));
        let forward = self.forward.iter().find(|(domain, _)| holds(domain));
        match (zone, forward) {
            (Some(zone), Some((domain, upstreams))) if domain.labels() > zone.apex.labels() => {
                Some(Found::Forward(upstreams))
            }
            (Some(zone), _) => Some(Found::Zone(zone)),
            (None, Some((_, upstreams))) => Some(Found::Forward(upstreams)),
            (None, None) => None,
        }
    }
}
