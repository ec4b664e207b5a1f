//! Names that an operator gave meaning to: hosts, zones, rewrites, block lists, forwarding and
//! access, for all clients or for the pods of some namespaces. Without I/O.
//!
//! [`compile`] makes a [`Config`] of one `DNSConfig` or says which field cannot be used;
//! [`keeper::Keeper`] is the one writer; server threads read a [`View`] from [`Views`]: the
//! configurations that hold for one client, those with a selector first, then by name.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;

use crate::wire::Name;
use crate::zone::sharded::Sharded;

pub mod block_file;
pub mod compile;
pub mod config;
pub mod keeper;
pub mod names;
pub mod restore;
pub mod rewrite;
pub mod static_zone;
#[cfg(test)]
pub(crate) mod tests;
pub mod upstreams;
pub mod zone_answer;
pub mod zone_file;

pub use compile::{Flaw, compile};
pub use config::{Block, BlockAnswer, Config};
pub use keeper::{Keeper, SavedViews};
pub use names::NameSet;
pub use rewrite::Rewrite;
pub use static_zone::StaticZone;
pub use upstreams::ViewUpstreams;

/// The configurations that hold for a client, in order of precedence.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// More specific before general, then by name.
    pub configs: Vec<Arc<Config>>,
}

/// What a view says of a name.
#[derive(Debug)]
pub enum Found<'v> {
    /// It has these addresses.
    Host(&'v [IpAddr]),
    /// It stands for another.
    Rewrite(&'v Rewrite),
    /// A zone answers for it.
    Zone(&'v StaticZone),
    /// These are asked.
    Forward(&'v Arc<ViewUpstreams>),
}

/// All views.
#[derive(Debug)]
pub struct Views {
    /// Whether any configuration exists; without one a query costs this look only.
    used: AtomicBool,
    general: ArcSwap<View>,
    by_client: Sharded<IpAddr, Arc<View>>,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    configs: AtomicUsize,
    refused_configs: AtomicUsize,
    unusable_files: AtomicUsize,
    blocked: AtomicU64,
    denied: AtomicU64,
}

// === impl View ===

impl View {
    /// Whether this client is answered.
    #[must_use]
    pub fn allows(&self, client: IpAddr) -> bool {
        let mut rules = self.configs.iter().flat_map(|config| config.access.iter());
        rules.find(|(range, _)| range.contains(&client)).is_none_or(|(_, allowed)| *allowed)
    }

    /// Whether search lists are walked; none: as the server is configured.
    #[must_use]
    pub fn search(&self) -> Option<bool> {
        self.configs.iter().find_map(|config| config.search)
    }

    /// What keeps the name from the client, and how many of its labels stand before what matched.
    /// Block lists come before everything else of all configurations.
    #[must_use]
    pub fn blocks(&self, name: &Name) -> Option<(&Block, usize)> {
        let mut all = self.configs.iter().flat_map(|config| config.blocks.iter());
        let found = all.find_map(|block| Some((block, block.names.find(name)?)))?;
        (found.0.answer != BlockAnswer::Allow).then_some(found)
    }

    /// Whether the name is not answered as it is: it is kept from the client, or stands for another.
    #[must_use]
    pub fn diverts(&self, name: &Name, least_labels: usize) -> bool {
        self.blocks(name).is_some() || matches!(self.find(name, true, least_labels), Some(Found::Rewrite(_)))
    }

    /// What the first configuration that knows the name says of it. `asked`: rewrites count; they hold
    /// for what the client asked. Zones and upstreams count when their domain has `least_labels`.
    #[must_use]
    pub fn find(&self, name: &Name, asked: bool, least_labels: usize) -> Option<Found<'_>> {
        self.configs.iter().find_map(|config| config.find(name, asked, least_labels))
    }
}

// === impl Views ===

impl Views {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self {
            used: AtomicBool::new(false),
            general: ArcSwap::default(),
            by_client: Sharded::new(),
            counts: Counts::default(),
        }
    }

    /// Configurations, and those of them whose newest form cannot be used.
    #[must_use]
    pub fn configs(&self) -> (usize, usize) {
        (self.counts.configs.load(Ordering::Relaxed), self.counts.refused_configs.load(Ordering::Relaxed))
    }

    /// Names that were kept from clients, and clients that were denied.
    #[must_use]
    pub fn kept_away(&self) -> (u64, u64) {
        (self.counts.blocked.load(Ordering::Relaxed), self.counts.denied.load(Ordering::Relaxed))
    }

    /// Files of the server's configuration that cannot be used as they are.
    #[must_use]
    pub fn unusable_files(&self) -> usize {
        self.counts.unusable_files.load(Ordering::Relaxed)
    }

    pub(crate) fn count_blocked(&self) {
        self.counts.blocked.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_denied(&self) {
        self.counts.denied.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self, configs: usize, refused: usize) {
        self.counts.configs.store(configs, Ordering::Relaxed);
        self.counts.refused_configs.store(refused, Ordering::Relaxed);
    }

    /// Calls `answer` with what holds for a client; with nothing when there is no configuration.
    #[inline]
    pub fn with<R>(&self, client: &IpAddr, answer: impl FnOnce(Option<&View>) -> R) -> R {
        if !self.used.load(Ordering::Acquire) {
            return answer(None);
        }
        match self.by_client.with(client, Arc::clone) {
            Some(view) => answer(Some(&view)),
            None => answer(Some(&self.general.load())),
        }
    }

    fn publish(&self, general: Option<View>, clients: Vec<(IpAddr, Option<Arc<View>>)>) {
        self.by_client.update(clients);
        if let Some(general) = general {
            self.general.store(Arc::new(general));
        }
    }

    fn set_used(&self, used: bool) {
        self.used.store(used, Ordering::Release);
    }
}

impl Default for Views {
    fn default() -> Self {
        Self::new()
    }
}
