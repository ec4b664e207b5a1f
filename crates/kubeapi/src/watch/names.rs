//! The watch of objects that only DNS needs: imports of other clusters, Gateways and their routes.
//!
//! Their kinds come from custom resources that somebody may install, upgrade or remove at any time.
//! One watch of all definitions (their metadata alone) tells which are there; only those are watched,
//! in the most stable version that the server has. A kind that is not there is complete and empty.
//!
//! ```text
//! definitions ─▶ follow_definitions ──starts, ends──▶ follow_kind ─▶ Store ─▶ Vec<NameChange>
//! ```

mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::DynamicObject;
use kube::core::PartialObjectMeta;
use kube::discovery::{self, ApiResource};
use kube::runtime::watcher::{self, watcher};
use kube::{Api, ResourceExt};
use seaway_model::NameChange;
use seaway_model::names::RouteKind;
use tokio::sync::{mpsc, watch as channel};
use tokio::task::JoinHandle;

use super::batches::{self, WAITING_BATCHES};
use super::known::Converted;
use super::service_ranges::is_absent;
use super::store::Update;
use super::{WatchHealth, streams};
use crate::{Cluster, convert};
use store::{Change, Kind, Store};

/// Updates that wait for the store.
const WAITING_UPDATES: usize = 256;
/// A definition is served a moment after it is there; one without a version that is served never is.
const NOT_SERVED_PAUSE: Duration = Duration::from_secs(1);

/// Which of the kinds are wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NameKinds {
    /// `ServiceImport` of `multicluster.x-k8s.io`.
    pub imports: bool,
    /// `Gateway`, `HTTPRoute`, `GRPCRoute` and `TLSRoute` of `gateway.networking.k8s.io`.
    pub gateways: bool,
}

/// A running watch; it ends when this is dropped.
#[derive(Debug)]
pub struct NameWatch {
    /// Changes, in order.
    pub changes: mpsc::Receiver<Vec<NameChange>>,
    /// What is wrong with the watches or with single objects.
    pub health: channel::Receiver<Arc<WatchHealth>>,
    tasks: [JoinHandle<()>; 2],
}

/// Of definitions their metadata alone: schemas are large.
type Definition = PartialObjectMeta<CustomResourceDefinition>;

/// A task that ends when this is dropped.
#[derive(Debug)]
struct Running(JoinHandle<()>);

/// Watches the kinds that are wanted, as far and as long as the cluster has them.
#[must_use]
pub fn watch_names(cluster: &Cluster, wanted: NameKinds) -> NameWatch {
    let (sender, changes) = mpsc::channel(WAITING_BATCHES);
    let (health_sender, health) = channel::channel(Arc::new(WatchHealth::default()));
    let (say, mut said) = mpsc::channel(WAITING_UPDATES);
    let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| kind.is_wanted(wanted)).collect();
    let updates = futures::stream::poll_fn(move |context| said.poll_recv(context));
    let store = Store::new(&kinds);
    let tasks = [
        tokio::spawn(batches::run(updates, store, sender, health_sender)),
        tokio::spawn(follow_definitions(cluster.clone(), kinds, say)),
    ];
    NameWatch { changes, health, tasks }
}

/// Which of the kinds the cluster has, as its definitions come and go.
struct Presence {
    kinds: Vec<Kind>,
    there: BTreeSet<Kind>,
    /// What the list under way named until now.
    listing: BTreeSet<Kind>,
}

// === impl Presence ===

impl Presence {
    fn new(kinds: Vec<Kind>) -> Self {
        Self { kinds, there: BTreeSet::new(), listing: BTreeSet::new() }
    }

    /// Takes in what the watch of definitions said; nothing while a list is under way, else why it fails, if it does.
    fn take(&mut self, update: Update<String, ()>) -> Option<Option<String>> {
        let kind_of = |name: &str| self.kinds.iter().copied().find(|kind| kind.definition() == name);
        match update {
            Update::Begin => {
                self.listing.clear();
                return None;
            }
            Update::Listed(name, ()) => {
                self.listing.extend(kind_of(&name));
                return None;
            }
            Update::Failed(reason) => return Some(Some(reason)),
            Update::End => self.there = std::mem::take(&mut self.listing),
            Update::Set(name, ()) => self.there.extend(kind_of(&name)),
            Update::Delete(name) => {
                if let Some(kind) = kind_of(&name) {
                    self.there.remove(&kind);
                }
            }
            Update::Resumed => {}
        }
        Some(None)
    }
}

/// Starts and ends the watches of kinds as their definitions come and go.
async fn follow_definitions(cluster: Cluster, kinds: Vec<Kind>, say: mpsc::Sender<Change>) {
    let objects = watcher(Api::<Definition>::all(cluster.client.clone()), watcher::Config::default());
    let name = |object: Definition| (object.name_any(), ());
    let mut updates = streams::stream(objects, |update: Update<String, ()>| update, name);
    let mut running: BTreeMap<Kind, Running> = BTreeMap::new();
    let mut presence = Presence::new(kinds.clone());
    while let Some(update) = updates.next().await {
        let Some(failure) = presence.take(update) else { continue };
        let known = failure.is_none();
        if say.send(Change::Definitions(failure)).await.is_err() {
            return;
        }
        for kind in kinds.iter().copied().filter(|_| known) {
            match (presence.there.contains(&kind), running.remove(&kind)) {
                (true, Some(task)) => drop(running.insert(kind, task)),
                (true, None) => {
                    tracing::info!(kind = kind.plural(), "watching a kind that the cluster has");
                    let task = tokio::spawn(follow_kind(cluster.clone(), kind, say.clone()));
                    running.insert(kind, Running(task));
                }
                (false, task) => {
                    if let Some(mut task) = task {
                        tracing::info!(kind = kind.plural(), "a kind is gone from the cluster");
                        // What it still had to say must not come after this.
                        task.0.abort();
                        let _ = (&mut task.0).await;
                    }
                    if say.send(Change::Absent(kind)).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

/// Watches one kind in the version that is served, and in another when that changes.
async fn follow_kind(cluster: Cluster, kind: Kind, say: mpsc::Sender<Change>) {
    loop {
        let Some(resource) = served(&cluster, kind).await else {
            tokio::time::sleep(NOT_SERVED_PAUSE).await;
            continue;
        };
        let api = Api::<DynamicObject>::all_with(cluster.client.clone(), &resource);
        let gone = match kind {
            Kind::Import => pass_on(api, convert::import, Change::Import, &say).await,
            Kind::Gateway => pass_on(api, convert::gateway, Change::Gateway, &say).await,
            Kind::Route(route) => {
                let wrap = move |update| Change::Route(route, update);
                match route {
                    RouteKind::Http => pass_on(api, convert::http_route, wrap, &say).await,
                    RouteKind::Grpc => pass_on(api, convert::grpc_route, wrap, &say).await,
                    RouteKind::Tls => pass_on(api, convert::tls_route, wrap, &say).await,
                }
            }
        };
        if gone {
            return;
        }
        tokio::time::sleep(NOT_SERVED_PAUSE).await;
    }
}

/// Passes on what the watch of a kind says, until the server does not know the kind; true when
/// nobody listens.
async fn pass_on<K, V>(
    api: Api<DynamicObject>,
    reduce: fn(DynamicObject) -> (K, Converted<V>),
    wrap: impl Fn(Update<K, Converted<V>>) -> Change,
    say: &mpsc::Sender<Change>,
) -> bool
where
    K: Send + 'static,
    V: Send + 'static,
{
    let objects = watcher(api, watcher::Config::default());
    let mut updates = streams::stream(objects, |update: Update<K, Converted<V>>| update, reduce);
    while let Some(update) = updates.next().await {
        if matches!(&update, Update::Failed(reason) if is_absent(reason)) {
            return false;
        }
        if say.send(wrap(update)).await.is_err() {
            return true;
        }
    }
    false
}

/// The most stable version of a kind that the server has.
async fn served(cluster: &Cluster, kind: Kind) -> Option<ApiResource> {
    let group = discovery::group(&cluster.client, kind.group()).await;
    let group = group.inspect_err(|error| tracing::debug!(%error, kind = kind.plural(), "not served yet")).ok()?;
    let resources = group.resources_by_stability();
    resources.into_iter().map(|(resource, _)| resource).find(|resource| resource.kind == kind.name())
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Drop for NameWatch {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}
