//! Services of one zone and their slices, as they are told: those of the cluster, or those
//! imported from others.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use seaway_model::{ServiceRef, SliceRef};

use super::service::{ServiceRecords, SliceRecords, Spec};
use crate::wire::name::push_label;

/// Labels `<service>.<namespace>` in wire form.
pub(super) type Key = Arc<[u8]>;

/// Something known, and which stream told it last.
#[derive(Debug)]
pub(super) struct Known<T> {
    pub(super) stream: u32,
    pub(super) value: T,
}

/// Services and slices.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    specs: HashMap<Key, Known<Arc<Spec>>>,
    slices: HashMap<SliceRef, Known<(Key, Arc<SliceRecords>)>>,
    by_service: HashMap<Key, Vec<SliceRef>>,
}

/// Services and slices as they are kept in a file.
pub(super) type Kept = (Vec<(Key, Arc<Spec>)>, Vec<(SliceRef, Key, Arc<SliceRecords>)>);

// === impl Catalogue ===

impl Catalogue {
    /// What a Service is now; none: it is gone.
    pub(super) fn service(&mut self, of: &ServiceRef, now: Option<Spec>, stream: u32, touched: &mut BTreeSet<Key>) {
        let Some(key) = key(of) else { return };
        let key = self.specs.get_key_value(&key).map_or(key, |(known, _)| Arc::clone(known));
        let same = self.specs.get(&key).map(|known| &*known.value) == now.as_ref();
        if !same {
            touched.insert(Arc::clone(&key));
        }
        match (now, self.specs.get_mut(&key)) {
            (Some(_), Some(known)) if same => known.stream = stream,
            (Some(spec), _) => {
                self.specs.insert(key, Known { stream, value: Arc::new(spec) });
            }
            (None, _) => {
                self.specs.remove(&key);
            }
        }
    }

    /// What a slice is now, with the Service it belongs to; none: it is gone.
    pub(super) fn slice(
        &mut self,
        of: SliceRef,
        now: Option<(ServiceRef, SliceRecords)>,
        stream: u32,
        touched: &mut BTreeSet<Key>,
    ) {
        let now = now.and_then(|(service, records)| Some((key(&service)?, records)));
        if let (Some(known), Some((service, records))) = (self.slices.get_mut(&of), &now)
            && (&known.value.0, &*known.value.1) == (service, records)
        {
            known.stream = stream;
            return;
        }
        self.forget_slice(&of, touched);
        if let Some((service, records)) = now {
            touched.insert(Arc::clone(&service));
            self.by_service.entry(Arc::clone(&service)).or_default().push(of.clone());
            self.slices.insert(of, Known { stream, value: (service, Arc::new(records)) });
        }
    }

    fn forget_slice(&mut self, of: &SliceRef, touched: &mut BTreeSet<Key>) {
        let Some(Known { value: (service, _), .. }) = self.slices.remove(of) else { return };
        if let Some(slices) = self.by_service.get_mut(&service) {
            slices.retain(|slice| slice != of);
            if slices.is_empty() {
                self.by_service.remove(&service);
            }
        }
        touched.insert(service);
    }

    /// Forgets Services that this stream did not tell.
    pub(super) fn sweep_services(&mut self, stream: u32, touched: &mut BTreeSet<Key>) {
        self.specs.retain(|key, known| {
            let stays = known.stream == stream;
            if !stays {
                touched.insert(Arc::clone(key));
            }
            stays
        });
    }

    /// Forgets slices that this stream did not tell.
    pub(super) fn sweep_slices(&mut self, stream: u32, touched: &mut BTreeSet<Key>) {
        let gone: Vec<_> = self.slices.iter().filter(|(_, k)| k.stream != stream).map(|(of, _)| of.clone()).collect();
        for of in &gone {
            self.forget_slice(of, touched);
        }
    }

    /// A Service with its slices as readers see it.
    pub(super) fn records(&self, key: &Key) -> Option<Arc<ServiceRecords>> {
        let spec = Arc::clone(&self.specs.get(key)?.value);
        let slices = self.by_service.get(key).into_iter().flatten();
        let slices: Box<[_]> =
            slices.filter_map(|of| self.slices.get(of)).map(|known| Arc::clone(&known.value.1)).collect();
        let repeats = repeats(&slices);
        Some(Arc::new(ServiceRecords { key: Arc::clone(key), spec: Some(spec), slices, repeats }))
    }

    pub(super) fn save(&self) -> Kept {
        let services = self.specs.iter().map(|(key, known)| (Arc::clone(key), Arc::clone(&known.value)));
        let slices = self.slices.iter();
        let slices = slices.map(|(of, known)| (of.clone(), Arc::clone(&known.value.0), Arc::clone(&known.value.1)));
        (services.collect(), slices.collect())
    }

    pub(super) fn restore(&mut self, (services, slices): Kept, stream: u32, touched: &mut BTreeSet<Key>) {
        for (key, spec) in services {
            touched.insert(Arc::clone(&key));
            self.specs.insert(key, Known { stream, value: spec });
        }
        for (of, key, records) in slices {
            self.by_service.entry(Arc::clone(&key)).or_default().push(of.clone());
            self.slices.insert(of, Known { stream, value: (key, records) });
        }
    }
}

/// Whether an address stands in more than one slice: while endpoints move from one to another, or
/// because the slices have different ports.
fn repeats(slices: &[Arc<SliceRecords>]) -> bool {
    let mut seen = HashSet::new();
    slices.len() > 1
        && slices.iter().flat_map(|slice| slice.endpoints.iter()).any(|endpoint| !seen.insert(endpoint.address()))
}

fn key(of: &ServiceRef) -> Option<Key> {
    let mut key = Vec::with_capacity(of.namespace.len() + of.name.len() + 2);
    push_label(&mut key, of.name.as_bytes()).ok()?;
    push_label(&mut key, of.namespace.as_bytes()).ok()?;
    Some(key.into())
}
