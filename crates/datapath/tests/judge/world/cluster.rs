//! What the API server would hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use seaway_model::{EndpointSlice, Service, ServiceChange, ServiceRef, SliceRef};

/// Services and slices after some changes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cluster {
    pub(crate) services: BTreeMap<ServiceRef, Arc<Service>>,
    pub(crate) slices: BTreeMap<SliceRef, Arc<EndpointSlice>>,
}

// === impl Cluster ===

impl Cluster {
    /// Takes changes.
    pub(crate) fn apply(&mut self, changes: &[ServiceChange]) {
        for change in changes {
            match change {
                ServiceChange::Service { of, now: Some(now) } => drop(self.services.insert(of.clone(), now.clone())),
                ServiceChange::Service { of, now: None } => drop(self.services.remove(of)),
                ServiceChange::Slice { of, now: Some(now) } => drop(self.slices.insert(of.clone(), now.clone())),
                ServiceChange::Slice { of, now: None } => drop(self.slices.remove(of)),
                ServiceChange::Synced => {}
            }
        }
    }

    /// Everything there is, as a stream of changes begins.
    pub(crate) fn all(&self) -> Vec<ServiceChange> {
        let service = |(of, now): (&ServiceRef, &Arc<Service>)| ServiceChange::Service {
            of: of.clone(),
            now: Some(Arc::clone(now)),
        };
        let slice = |(of, now): (&SliceRef, &Arc<EndpointSlice>)| ServiceChange::Slice {
            of: of.clone(),
            now: Some(Arc::clone(now)),
        };
        self.services.iter().map(service).chain(self.slices.iter().map(slice)).collect()
    }
}
