//! What was decided on the way to an answer: always where it came from, and every step
//! when somebody wants to know.

use std::cell::{Cell, RefCell};

use seaway_model::dns_api::Way;

use crate::forward::Freshness;
use crate::wire::Name;
use crate::zone::Outcome;

/// One step, about one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The cluster's zone was asked.
    Zone(Outcome),
    /// The name is an address of the cluster, spelled for reverse lookup.
    Reverse,
    /// Configured, or one that never leaves a host.
    Hosts,
    /// The rest of a search list is walked: this name is tried.
    Search,
    /// The client's search list has no name that exists.
    SearchEnds,
    /// Nobody is asked: there is no upstream for it, or recursion is not wanted.
    Refused,
    /// The cache was asked for what this group of upstreams said.
    Cache(usize, Option<Freshness>),
    /// This group of upstreams just answered.
    Fresh(usize),
    /// Something else, and the object that caused it.
    Other(String, Option<String>),
}

/// A name in wire form, and what was decided of it.
pub type Step = (Box<[u8]>, Note);

/// The steps of one query.
#[derive(Debug, Default)]
pub struct Trail {
    way: Cell<Way>,
    notes: RefCell<Option<Vec<Step>>>,
}

// === impl Trail ===

impl Trail {
    /// Steps are written down from now on, or not.
    pub fn record(&self, steps: bool) {
        self.notes.replace(steps.then(Vec::new));
    }

    /// The answer comes from there.
    #[inline]
    pub fn came(&self, way: Way) {
        self.way.set(way);
    }

    /// Writes a step down when somebody wants to know.
    #[inline]
    pub fn note(&self, name: &Name, note: impl FnOnce() -> Note) {
        if let Some(notes) = self.notes.borrow_mut().as_mut() {
            notes.push((name.wire().into(), note()));
        }
    }

    /// Where the answer came from.
    #[must_use]
    pub fn way(&self) -> Way {
        self.way.get()
    }

    /// The steps, in order.
    #[must_use]
    pub fn take(&self) -> Vec<Step> {
        self.notes.take().unwrap_or_default()
    }
}
