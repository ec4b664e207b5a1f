//! What the API said of Services and slices, and what of it is new.

use std::collections::BTreeMap;

use seaway_model::{EndpointSlice, Service, ServiceChange, ServiceRef, SliceRef};

use super::names::Names;
use crate::InvalidObject;
use crate::watch::WatchHealth;
use crate::watch::batches::Differences;
use crate::watch::known::{Converted, Known};
use crate::watch::store::Update;

/// What one of the two watches says.
#[derive(Debug)]
pub(super) enum Change {
    Service(Update<ServiceRef, Converted<Service>>),
    Slice(Update<SliceRef, Converted<EndpointSlice>>),
}

/// Both kinds.
#[derive(Debug, Default)]
pub(super) struct Store {
    services: Known<ServiceRef, Service>,
    slices: Known<SliceRef, EndpointSlice>,
    names: Names,
    was_synced: bool,
}

// === impl Store ===

impl Differences for Store {
    type Update = Change;
    type Change = ServiceChange;

    fn apply(&mut self, change: Change, batch: &mut Vec<ServiceChange>) {
        match change {
            Change::Service(update) => {
                self.services.apply(update, |of, now| ServiceChange::Service { of, now }, batch);
            }
            Change::Slice(mut update) => {
                if let Update::Listed(_, (slice, _)) | Update::Set(_, (slice, _)) = &mut update {
                    self.names.share(slice);
                }
                self.slices.apply(update, |of, now| ServiceChange::Slice { of, now }, batch);
            }
        }
        if !self.was_synced && self.services.complete && self.slices.complete {
            self.was_synced = true;
            batch.push(ServiceChange::Synced);
        }
    }

    fn health(&self) -> WatchHealth {
        WatchHealth { failing: self.failing(), invalid: self.invalid().cloned().collect() }
    }

    fn is_as_healthy_as(&self, health: &WatchHealth) -> bool {
        self.failing() == health.failing && self.invalid().eq(health.invalid.iter())
    }
}

impl Store {
    fn failing(&self) -> BTreeMap<&'static str, String> {
        let kinds = [("services", &self.services.failure), ("endpointslices", &self.slices.failure)];
        kinds.into_iter().filter_map(|(kind, reason)| Some((kind, reason.clone()?))).collect()
    }

    fn invalid(&self) -> impl Iterator<Item = &InvalidObject> {
        self.services.invalid.values().chain(self.slices.invalid.values()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use seaway_model::service::AddressType;

    use super::*;

    fn slice(name: &str) -> (SliceRef, EndpointSlice) {
        let slice = EndpointSlice {
            imported: None,
            changed_at_milliseconds: None,
            service: Some("web".into()),
            address_type: AddressType::IPv4,
            ports: Vec::new(),
            endpoints: Vec::new(),
        };
        (SliceRef { namespace: "shop".into(), name: name.into() }, slice)
    }

    fn listed(name: &str) -> Change {
        let (name, slice) = slice(name);
        Change::Slice(Update::Listed(name, (slice, Vec::new())))
    }

    fn told(store: &mut Store, changes: Vec<Change>) -> Vec<ServiceChange> {
        let mut batch = Vec::new();
        for change in changes {
            store.apply(change, &mut batch);
        }
        batch
    }

    fn synced() -> Store {
        let mut store = Store::default();
        let (slices, end) = (Change::Slice(Update::End), Change::Service(Update::End));
        let first = told(&mut store, vec![Change::Slice(Update::Begin), listed("a"), listed("b"), slices, end]);
        assert_eq!(first.len(), 3);
        assert_eq!(first[2], ServiceChange::Synced);
        store
    }

    #[test]
    fn a_list_that_comes_again_shows_as_differences() {
        let mut store = synced();
        let again = vec![Change::Slice(Update::Begin), listed("a"), listed("b"), Change::Slice(Update::End)];
        assert_eq!(told(&mut store, again), []);
        let again = vec![Change::Slice(Update::Begin), listed("c"), listed("b"), Change::Slice(Update::End)];
        let (a, c) = (slice("a"), slice("c"));
        let added = ServiceChange::Slice { of: c.0, now: Some(Arc::new(c.1)) };
        assert_eq!(told(&mut store, again), [added, ServiceChange::Slice { of: a.0, now: None }]);
    }

    #[test]
    fn a_list_that_fails_half_way_deletes_nothing() {
        let mut store = synced();
        let failed = || Change::Slice(Update::Failed("cut".into()));
        assert_eq!(told(&mut store, vec![Change::Slice(Update::Begin), listed("a"), failed()]), []);
        assert_eq!(store.health().failing["endpointslices"], "cut");
        let again = vec![Change::Slice(Update::Begin), listed("b"), listed("a"), Change::Slice(Update::End)];
        assert_eq!(told(&mut store, again), []);
        assert!(store.is_as_healthy_as(&WatchHealth::default()));
    }

    #[test]
    fn what_is_wrong_is_told_until_it_is_corrected() {
        let mut store = synced();
        let flaw = InvalidObject {
            kind: "EndpointSlice",
            name: "shop/a".into(),
            field: "addressType",
            value: "x".into(),
            reason: "is not known".into(),
        };
        let (name, object) = slice("a");
        let spoiled = Change::Slice(Update::Set(name.clone(), (object, vec![flaw.clone()])));
        assert_eq!(told(&mut store, vec![spoiled]), []);
        assert_eq!(store.health().invalid, [flaw]);
        told(&mut store, vec![Change::Slice(Update::Delete(name))]);
        assert!(store.health().invalid.is_empty());
    }
}
