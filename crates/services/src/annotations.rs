//! What annotations of a Service say to the data path.
//!
//! | Annotation | Values | Aliases |
//! |---|---|---|
//! | `seaway.dev/algorithm` | `random`, `maglev`, `source-hash`, `round-robin`, `least-connection` | IPVS's `rr`, `wrr`, `lc`, `wlc`, `sh`, `mh`; `service.cilium.io/lb-algorithm` |
//! | `seaway.dev/forwarding` | `nat`, `dsr` | `service.cilium.io/forwarding-mode` with `snat`, `dsr` |
//! | `seaway.dev/weights` | list of `pod/NAME=W`, `node/NAME=W`, `zone/NAME=W`, W from 1 to 1000 | |
//!
//! The most specific weight counts: of the pod, else of its node, else of its zone, else 1. A
//! value that is not understood changes nothing and is reported.

use std::str::FromStr;

use seaway_model::Service;
use seaway_model::service::Endpoint;

use crate::plan::{Algorithm, Forwarding};

/// Largest weight. Tables have some thousand slots, so that finer shares could not be kept.
pub const LARGEST_WEIGHT: u16 = 1000;

const ALGORITHM: [&str; 2] = ["seaway.dev/algorithm", "service.cilium.io/lb-algorithm"];
const FORWARDING: [&str; 2] = ["seaway.dev/forwarding", "service.cilium.io/forwarding-mode"];
const WEIGHTS: &str = "seaway.dev/weights";

/// What the annotations of one Service say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wishes {
    pub(crate) algorithm: Option<Algorithm>,
    pub(crate) forwarding: Option<Forwarding>,
    pub(crate) weights: Vec<Weight>,
    /// Annotation and value that were not understood.
    pub(crate) unknown: Vec<(&'static str, String)>,
}

/// Share of the endpoints that a term selects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Weight {
    of: Selected,
    weight: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Selected {
    Pod(String),
    Node(String),
    Zone(String),
}

pub(crate) fn read(service: &Service) -> Wishes {
    let mut wishes = Wishes::default();
    if service.annotations.is_empty() {
        return wishes;
    }
    let mut unknown = Vec::new();
    wishes.algorithm = first(service, ALGORITHM, algorithm, &mut unknown);
    wishes.forwarding = first(service, FORWARDING, forwarding, &mut unknown);
    if let Some(text) = service.annotations.get(WEIGHTS) {
        for term in text.split(',').map(str::trim).filter(|term| !term.is_empty()) {
            match term.parse() {
                Ok(weight) => wishes.weights.push(weight),
                Err(()) => unknown.push((WEIGHTS, term.to_owned())),
            }
        }
        // Pod before node before zone: the first that matches is the most specific.
        wishes.weights.sort_by(|a, b| a.of.cmp(&b.of));
    }
    wishes.unknown = unknown;
    wishes
}

/// The value of the first annotation that is there: ours before its alias.
fn first<T>(
    service: &Service,
    names: [&'static str; 2],
    parse: fn(&str) -> Option<T>,
    unknown: &mut Vec<(&'static str, String)>,
) -> Option<T> {
    let (name, text) = names.iter().find_map(|name| Some((*name, service.annotations.get(*name)?)))?;
    let value = parse(text.trim());
    if value.is_none() {
        unknown.push((name, text.clone()));
    }
    value
}

fn algorithm(text: &str) -> Option<Algorithm> {
    Some(match text {
        "random" => Algorithm::Random,
        "maglev" | "mh" => Algorithm::Maglev,
        "source-hash" | "sh" => Algorithm::SourceHash,
        "round-robin" | "rr" | "wrr" => Algorithm::RoundRobin,
        "least-connection" | "lc" | "wlc" => Algorithm::LeastConnection,
        _ => return None,
    })
}

fn forwarding(text: &str) -> Option<Forwarding> {
    Some(match text {
        "nat" | "snat" => Forwarding::Nat,
        "dsr" => Forwarding::DirectReturn,
        _ => return None,
    })
}

// === impl Wishes ===

impl Wishes {
    /// The share of an endpoint.
    pub(crate) fn weight_of(&self, endpoint: &Endpoint) -> u16 {
        self.weights.iter().find(|weight| weight.of.selects(endpoint)).map_or(1, |weight| weight.weight)
    }
}

// === impl Selected ===

impl Selected {
    fn selects(&self, endpoint: &Endpoint) -> bool {
        match self {
            Selected::Pod(name) => endpoint.pod.as_ref().is_some_and(|pod| pod.name == *name),
            Selected::Node(name) => endpoint.node.as_ref().is_some_and(|node| node.as_str() == name),
            Selected::Zone(name) => endpoint.zone.as_deref() == Some(name),
        }
    }
}

// === impl Weight ===

impl FromStr for Weight {
    type Err = ();

    fn from_str(term: &str) -> Result<Weight, ()> {
        let (selected, weight) = term.split_once('=').ok_or(())?;
        let weight: u16 = weight.trim().parse().map_err(|_| ())?;
        let (kind, name) = selected.trim().split_once('/').ok_or(())?;
        let of = match kind {
            "pod" => Selected::Pod(name.to_owned()),
            "node" => Selected::Node(name.to_owned()),
            "zone" => Selected::Zone(name.to_owned()),
            _ => return Err(()),
        };
        if name.is_empty() || !(1..=LARGEST_WEIGHT).contains(&weight) {
            return Err(());
        }
        Ok(Weight { of, weight })
    }
}
