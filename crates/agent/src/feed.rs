//! What the agent knows, for the other daemons of its node: [`Feed`] holds the newest state and
//! passes changes on. See `seaway_model::feed` for what a follower reads.
//!
//! Pods of other nodes, imports, Gateways and routes are known only while somebody asks for them:
//! [`Feed::demand`] says what to watch.

mod known;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use seaway_model::feed::{FeedChange, Interest};
use seaway_model::{DnsSpec, NameChange, NodeName, PodChange, ServiceChange, Snapshot};
use tokio::sync::{broadcast, watch};

use known::{Complete, Known};

/// Batches kept for a slow follower before it has to begin again.
const BATCHES_KEPT: usize = 1024;

/// The hub between the watches and the followers. Clones share it.
#[derive(Clone)]
pub(crate) struct Feed {
    known: Arc<Mutex<Known>>,
    batches: broadcast::Sender<Batch>,
    demand: Arc<watch::Sender<Interest>>,
}

/// Changes, who is to hear them, and what is known whole after them.
#[derive(Clone)]
struct Batch {
    audience: Audience,
    changes: Arc<Vec<FeedChange>>,
    complete: Complete,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Audience {
    Everyone,
    AllPods,
    /// Whoever asked for the kind.
    Names,
}

/// A follower's view: what to say first, then what comes.
pub(crate) struct Following {
    /// Lines to say before anything else.
    pub(crate) beginning: Vec<Vec<FeedChange>>,
    batches: broadcast::Receiver<Batch>,
    interest: Interest,
    told: Told,
    _wish: Wish,
}

/// Which ends a follower was told.
#[derive(Default)]
struct Told {
    synced: bool,
    names: bool,
}

/// What a follower wants, for as long as it is there.
struct Wish {
    feed: Feed,
    interest: Interest,
}

// === impl Feed ===

impl Feed {
    pub(crate) fn new(node: NodeName) -> Feed {
        Feed {
            known: Arc::new(Mutex::new(Known::new(node))),
            batches: broadcast::channel(BATCHES_KEPT).0,
            demand: Arc::new(watch::channel(Interest::default()).0),
        }
    }

    /// What followers want now.
    pub(crate) fn demand(&self) -> watch::Receiver<Interest> {
        self.demand.subscribe()
    }

    /// Takes note of Services and slices, and tells the followers.
    pub(crate) fn services(&self, changes: &[ServiceChange]) {
        let mut known = self.lock();
        changes.iter().for_each(|change| known.service(change));
        let told = changes.iter().cloned().filter_map(FeedChange::of_service).collect();
        self.tell(&mut known, Audience::Everyone, told);
    }

    /// Takes note of the rest of the cluster, and tells the followers what differs.
    pub(crate) fn snapshot(&self, snapshot: &Snapshot) {
        let mut known = self.lock();
        let (changes, elsewhere) = known.snapshot(snapshot);
        self.tell(&mut known, Audience::Everyone, changes);
        self.tell(&mut known, Audience::AllPods, elsewhere);
    }

    /// Takes note of all `DNSConfig` objects, and tells the followers what differs.
    pub(crate) fn dns_configs(&self, now: &BTreeMap<String, Arc<DnsSpec>>) {
        let mut known = self.lock();
        let changes = known.dns_configs(now);
        self.tell(&mut known, Audience::Everyone, changes);
    }

    /// Takes note of pods of other nodes.
    pub(crate) fn pods(&self, changes: Vec<PodChange>) {
        let mut known = self.lock();
        let changes = known.pods(changes);
        self.tell(&mut known, Audience::AllPods, changes);
    }

    /// A watch of imports, Gateways and routes begins: what it does not tell until its
    /// [`NameChange::Synced`] is gone.
    pub(crate) fn begin_names(&self, watched: Interest) {
        self.lock().begin_names(watched);
    }

    /// Takes note of imports, Gateways and routes.
    pub(crate) fn names(&self, changes: Vec<NameChange>) {
        let mut known = self.lock();
        let changes = known.names(changes);
        self.tell(&mut known, Audience::Names, changes);
    }

    /// Forgets what no follower wants any more. Tells what they want: only that may be watched on.
    pub(crate) fn forget_unwanted(&self) -> Interest {
        let mut known = self.lock();
        let wanted = known.wanted();
        known.forget_but(wanted);
        wanted
    }

    /// Everything there is that `interest` asks for, and then what changes.
    pub(crate) fn follow(&self, interest: Interest) -> Following {
        let mut known = self.lock();
        known.wish(interest);
        self.say_demand(&known);
        let mut told = Told::default();
        // Under the lock: nothing is missed, nothing told twice.
        let mut beginning = known.everything(interest);
        let ends = told.ends(known.complete(), interest);
        if !ends.is_empty() {
            beginning.push(ends);
        }
        let wish = Wish { feed: self.clone(), interest };
        Following { beginning, batches: self.batches.subscribe(), interest, told, _wish: wish }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, known: &mut Known, audience: Audience, changes: Vec<FeedChange>) {
        let complete = known.complete();
        let news = known.note_told(complete);
        if !changes.is_empty() || news {
            // Nobody follows: nobody is told.
            let _ = self.batches.send(Batch { audience, changes: Arc::new(changes), complete });
        }
    }

    fn say_demand(&self, known: &Known) {
        let wanted = known.wanted();
        self.demand.send_if_modified(|demand| {
            let changed = *demand != wanted;
            *demand = wanted;
            changed
        });
    }
}

// === impl Following ===

impl Following {
    /// What happened next.
    pub(crate) async fn next(&mut self) -> Result<Vec<FeedChange>, broadcast::error::RecvError> {
        loop {
            let batch = self.batches.recv().await?;
            let told = self.of(&batch);
            if !told.is_empty() {
                return Ok(told);
            }
        }
    }

    fn of(&mut self, batch: &Batch) -> Vec<FeedChange> {
        let interest = self.interest;
        let heard = |change: &&FeedChange| match (batch.audience, change) {
            (Audience::Everyone, _) => true,
            (Audience::AllPods, _) => interest.all_pods,
            (Audience::Names, FeedChange::Import { .. }) => interest.imports,
            (Audience::Names, _) => interest.gateways,
        };
        let mut told: Vec<FeedChange> = batch.changes.iter().filter(heard).cloned().collect();
        told.extend(self.told.ends(batch.complete, interest));
        told
    }
}

impl Told {
    /// The ends that are due now.
    fn ends(&mut self, complete: Complete, interest: Interest) -> Vec<FeedChange> {
        let mut ends = Vec::new();
        if !self.synced && complete.cluster && (complete.pods || !interest.all_pods) {
            self.synced = true;
            ends.push(FeedChange::Synced);
        }
        let names = (complete.imports || !interest.imports) && (complete.gateways || !interest.gateways);
        if self.synced && !self.names && names && (interest.imports || interest.gateways) {
            self.names = true;
            ends.push(FeedChange::SyncedNames);
        }
        ends
    }
}

// === impl Wish ===

impl Drop for Wish {
    fn drop(&mut self) {
        let mut known = self.feed.lock();
        known.wish_no_more(self.interest);
        self.feed.say_demand(&known);
    }
}
