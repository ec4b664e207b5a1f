//! What the API said of imports, Gateways and routes, and what of it is new.

use std::collections::BTreeSet;
use std::hash::Hash;

use seaway_model::names::{Gateway, GatewayRef, Route, RouteKind, RouteRef, ServiceImport};
use seaway_model::{NameChange, ServiceRef};

use super::NameKinds;
use crate::InvalidObject;
use crate::watch::WatchHealth;
use crate::watch::batches::Differences;
use crate::watch::known::{Converted, Known};
use crate::watch::store::Update;

/// A kind that a cluster may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Import,
    Gateway,
    Route(RouteKind),
}

/// What one of the watches says.
#[derive(Debug)]
pub(super) enum Change {
    /// Why definitions cannot be followed now, if they cannot.
    Definitions(Option<String>),
    /// The cluster does not have this kind.
    Absent(Kind),
    Import(Update<ServiceRef, Converted<ServiceImport>>),
    Gateway(Update<GatewayRef, Converted<Gateway>>),
    Route(RouteKind, Update<RouteRef, Converted<Route>>),
}

/// All kinds.
#[derive(Debug, Default)]
pub(super) struct Store {
    definitions: Option<String>,
    imports: Known<ServiceRef, ServiceImport>,
    gateways: Known<GatewayRef, Gateway>,
    http_routes: Known<RouteRef, Route>,
    grpc_routes: Known<RouteRef, Route>,
    tls_routes: Known<RouteRef, Route>,
    /// Wanted and not listed yet.
    outstanding: BTreeSet<Kind>,
    was_synced: bool,
}

// === impl Kind ===

impl Kind {
    pub(super) const ALL: [Kind; 5] = [
        Kind::Import,
        Kind::Gateway,
        Kind::Route(RouteKind::Http),
        Kind::Route(RouteKind::Grpc),
        Kind::Route(RouteKind::Tls),
    ];

    pub(super) fn is_wanted(self, wanted: NameKinds) -> bool {
        if self == Kind::Import { wanted.imports } else { wanted.gateways }
    }

    pub(super) fn group(self) -> &'static str {
        if self == Kind::Import { "multicluster.x-k8s.io" } else { "gateway.networking.k8s.io" }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Import => "ServiceImport",
            Kind::Gateway => "Gateway",
            Kind::Route(route) => route.name(),
        }
    }

    pub(super) fn plural(self) -> &'static str {
        match self {
            Kind::Import => "serviceimports",
            Kind::Gateway => "gateways",
            Kind::Route(RouteKind::Http) => "httproutes",
            Kind::Route(RouteKind::Grpc) => "grpcroutes",
            Kind::Route(RouteKind::Tls) => "tlsroutes",
        }
    }

    /// Name of the definition.
    pub(super) fn definition(self) -> String {
        format!("{}.{}", self.plural(), self.group())
    }
}

// === impl Store ===

impl Store {
    pub(super) fn new(kinds: &[Kind]) -> Self {
        Self { outstanding: kinds.iter().copied().collect(), ..Self::default() }
    }

    fn routes(&mut self, kind: RouteKind) -> &mut Known<RouteRef, Route> {
        match kind {
            RouteKind::Http => &mut self.http_routes,
            RouteKind::Grpc => &mut self.grpc_routes,
            RouteKind::Tls => &mut self.tls_routes,
        }
    }

    fn invalid(&self) -> impl Iterator<Item = &InvalidObject> {
        let routes = [&self.http_routes, &self.grpc_routes, &self.tls_routes];
        let routes = routes.into_iter().flat_map(|known| known.invalid.values());
        self.imports.invalid.values().chain(self.gateways.invalid.values()).chain(routes).flatten()
    }
}

impl Differences for Store {
    type Update = Change;
    type Change = NameChange;

    fn apply(&mut self, change: Change, batch: &mut Vec<NameChange>) {
        let import = |of, now| NameChange::Import { of, now };
        let gateway = |of, now| NameChange::Gateway { of, now };
        let route = |of, now| NameChange::Route { of, now };
        let listed = match change {
            Change::Definitions(failure) => {
                self.definitions = failure;
                None
            }
            Change::Absent(kind) => {
                match kind {
                    Kind::Import => empty(&mut self.imports, import, batch),
                    Kind::Gateway => empty(&mut self.gateways, gateway, batch),
                    Kind::Route(kind) => empty(self.routes(kind), route, batch),
                }
                Some(kind)
            }
            Change::Import(update) => {
                self.imports.apply(update, import, batch);
                self.imports.complete.then_some(Kind::Import)
            }
            Change::Gateway(update) => {
                self.gateways.apply(update, gateway, batch);
                self.gateways.complete.then_some(Kind::Gateway)
            }
            Change::Route(kind, update) => {
                self.routes(kind).apply(update, route, batch);
                self.routes(kind).complete.then_some(Kind::Route(kind))
            }
        };
        if let Some(kind) = listed {
            self.outstanding.remove(&kind);
        }
        if !self.was_synced && self.outstanding.is_empty() {
            self.was_synced = true;
            batch.push(NameChange::Synced);
        }
    }

    fn health(&self) -> WatchHealth {
        let failing = [
            ("customresourcedefinitions", &self.definitions),
            (Kind::Import.plural(), &self.imports.failure),
            (Kind::Gateway.plural(), &self.gateways.failure),
            (Kind::Route(RouteKind::Http).plural(), &self.http_routes.failure),
            (Kind::Route(RouteKind::Grpc).plural(), &self.grpc_routes.failure),
            (Kind::Route(RouteKind::Tls).plural(), &self.tls_routes.failure),
        ];
        let failing = failing.into_iter().filter_map(|(kind, reason)| Some((kind, reason.clone()?))).collect();
        WatchHealth { failing, invalid: self.invalid().cloned().collect() }
    }
}

/// Forgets all objects of a kind: a list with nothing in it.
fn empty<K, V, C>(known: &mut Known<K, V>, tell: impl Fn(K, Option<std::sync::Arc<V>>) -> C, batch: &mut Vec<C>)
where
    K: Clone + Eq + Hash + Ord,
    V: PartialEq,
{
    known.apply(Update::Begin, &tell, batch);
    known.apply(Update::End, &tell, batch);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn import() -> (ServiceRef, Converted<ServiceImport>) {
        let import = ServiceImport { headless: true, addresses: Vec::new(), ports: Vec::new() };
        (ServiceRef::new("shop", "db"), (import, Vec::new()))
    }

    fn told(store: &mut Store, changes: Vec<Change>) -> Vec<NameChange> {
        let mut batch = Vec::new();
        changes.into_iter().for_each(|change| store.apply(change, &mut batch));
        batch
    }

    #[test]
    fn kinds_that_are_absent_are_complete_and_those_that_are_there_once_listed() {
        let mut store = Store::new(&[Kind::Import, Kind::Gateway]);
        let (of, object) = import();
        assert_eq!(told(&mut store, vec![Change::Definitions(None), Change::Absent(Kind::Gateway)]), []);
        let listed = vec![Change::Import(Update::Begin), Change::Import(Update::Listed(of.clone(), object))];
        assert_eq!(told(&mut store, listed).len(), 1);
        assert_eq!(told(&mut store, vec![Change::Import(Update::End)]), [NameChange::Synced]);
        let gone = NameChange::Import { of, now: None };
        assert_eq!(told(&mut store, vec![Change::Absent(Kind::Import)]), [gone], "the definition was deleted");
        assert_eq!(told(&mut store, vec![Change::Absent(Kind::Import)]), []);
    }

    #[test]
    fn a_failure_is_told_by_kind_until_it_is_over() {
        let mut store = Store::new(&Kind::ALL);
        told(&mut store, vec![Change::Definitions(Some("forbidden".into()))]);
        assert_eq!(store.health().failing["customresourcedefinitions"], "forbidden");
        told(&mut store, vec![Change::Definitions(None)]);
        assert!(store.health().failing.is_empty());
    }
}
