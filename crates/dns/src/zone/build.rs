//! The one writer of the index: changes in, index brought up to date.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use seaway_model::feed::FeedChange;
use seaway_model::{NodeName, Pod, PodRef, ServiceRef, SliceRef};

use super::index::{Index, PodIdentity};
use super::saved::Saved;
use super::service::{ServiceRecords, SliceRecords, Spec, Target};
use crate::wire::name::push_label;

/// Labels `<service>.<namespace>` in wire form.
type Key = Arc<[u8]>;

/// Keeps an [`Index`] up to date.
#[derive(Debug)]
pub struct Builder {
    index: Arc<Index>,
    node: Option<NodeName>,
    services: HashMap<Key, Known<Arc<Spec>>>,
    slices: HashMap<SliceRef, Known<(Key, Arc<SliceRecords>)>>,
    by_service: HashMap<Key, Vec<SliceRef>>,
    pods: HashMap<PodRef, Known<Vec<IpAddr>>>,
    /// Which pod was last given an address.
    pod_at: HashMap<IpAddr, PodRef>,
    namespaces: HashMap<String, Known<()>>,
    /// Which keys give an address as theirs.
    claims: HashMap<IpAddr, Vec<Key>>,
    /// Counts streams: what an old one told and the new one does not is gone.
    stream: u32,
}

/// Something known, and which stream told it last.
#[derive(Debug)]
struct Known<T> {
    stream: u32,
    value: T,
}

/// What a batch of changes touched.
#[derive(Debug, Default)]
struct Touched {
    services: BTreeSet<Key>,
    pods: Vec<(IpAddr, Option<Arc<PodIdentity>>)>,
    namespaces: bool,
}

// === impl Builder ===

impl Builder {
    /// Fills `index`, which no other writes.
    #[must_use]
    pub fn new(index: Arc<Index>) -> Self {
        Self {
            index,
            node: None,
            services: HashMap::new(),
            slices: HashMap::new(),
            by_service: HashMap::new(),
            pods: HashMap::new(),
            pod_at: HashMap::new(),
            namespaces: HashMap::new(),
            claims: HashMap::new(),
            stream: 0,
        }
    }

    /// Takes changes in; readers see all of them when this returns.
    pub fn apply(&mut self, changes: impl IntoIterator<Item = FeedChange>) {
        let mut touched = Touched::default();
        let mut synced = false;
        for change in changes {
            match change {
                FeedChange::Begin { node } => {
                    self.stream = self.stream.wrapping_add(1);
                    self.node = Some(node);
                }
                FeedChange::Service { of, now } => self.service(&of, now.map(|s| Spec::of(&s)), &mut touched),
                FeedChange::Slice { of, now } => {
                    let pod_names = self.index.settings.endpoint_pod_names;
                    let now = now.and_then(|slice| {
                        let service = ServiceRef::new(of.namespace.clone(), slice.service.clone()?);
                        Some((service, SliceRecords::of(&slice, pod_names)))
                    });
                    self.slice(of, now, &mut touched);
                }
                FeedChange::Pod { of, now } => self.pod(of, now.as_deref(), &mut touched),
                FeedChange::Namespace { of, now } => {
                    touched.namespaces = true;
                    match now {
                        Some(_) => self.namespaces.insert(of, Known { stream: self.stream, value: () }),
                        None => self.namespaces.remove(&of),
                    };
                }
                FeedChange::Node { .. } => {}
                FeedChange::Synced => {
                    self.sweep(&mut touched);
                    synced = true;
                }
            }
        }
        self.publish(touched);
        if synced {
            self.index.synced.store(true, Ordering::Release);
        }
    }

    /// Whether everything was told once.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.index.is_synced()
    }

    /// What a restart must know; pods are not part of it, for who has an address may have changed.
    #[must_use]
    pub fn save(&self) -> Saved {
        Saved {
            namespaces: self.namespaces.keys().cloned().collect(),
            services: self.services.iter().map(|(key, known)| (key.to_vec(), (*known.value).clone())).collect(),
            slices: self
                .slices
                .iter()
                .map(|(of, known)| (of.clone(), known.value.0.to_vec(), (*known.value.1).clone()))
                .collect(),
        }
    }

    /// Takes back what an earlier process saved. `complete`: it is fresh enough that
    /// what is missing does not exist.
    pub fn restore(&mut self, saved: Saved, complete: bool) {
        let stream = self.stream;
        let mut touched = Touched { namespaces: true, ..Touched::default() };
        self.namespaces.extend(saved.namespaces.into_iter().map(|name| (name, Known { stream, value: () })));
        for (key, spec) in saved.services {
            let key: Key = key.into();
            touched.services.insert(Arc::clone(&key));
            self.services.insert(key, Known { stream, value: Arc::new(spec) });
        }
        for (of, key, records) in saved.slices {
            let key: Key = key.into();
            self.by_service.entry(Arc::clone(&key)).or_default().push(of.clone());
            self.slices.insert(of, Known { stream, value: (key, Arc::new(records)) });
        }
        self.publish(touched);
        self.index.synced.store(complete, Ordering::Release);
    }

    fn service(&mut self, of: &ServiceRef, now: Option<Spec>, touched: &mut Touched) {
        let Some(key) = key(of) else { return };
        let key = self.services.get_key_value(&key).map_or(key, |(known, _)| Arc::clone(known));
        let same = self.services.get(&key).map(|known| &*known.value) == now.as_ref();
        if !same {
            touched.services.insert(Arc::clone(&key));
        }
        match (now, self.services.get_mut(&key)) {
            (Some(_), Some(known)) if same => known.stream = self.stream,
            (Some(spec), _) => {
                self.services.insert(key, Known { stream: self.stream, value: Arc::new(spec) });
            }
            (None, _) => {
                self.services.remove(&key);
            }
        }
    }

    fn slice(&mut self, of: SliceRef, now: Option<(ServiceRef, SliceRecords)>, touched: &mut Touched) {
        let now = now.and_then(|(service, records)| Some((key(&service)?, records)));
        if let (Some(known), Some((service, records))) = (self.slices.get_mut(&of), &now)
            && (&known.value.0, &*known.value.1) == (service, records)
        {
            known.stream = self.stream;
            return;
        }
        self.forget_slice(&of, touched);
        if let Some((service, records)) = now {
            touched.services.insert(Arc::clone(&service));
            self.by_service.entry(Arc::clone(&service)).or_default().push(of.clone());
            self.slices.insert(of, Known { stream: self.stream, value: (service, Arc::new(records)) });
        }
    }

    fn forget_slice(&mut self, of: &SliceRef, touched: &mut Touched) {
        let Some(Known { value: (service, _), .. }) = self.slices.remove(of) else { return };
        if let Some(slices) = self.by_service.get_mut(&service) {
            slices.retain(|slice| slice != of);
            if slices.is_empty() {
                self.by_service.remove(&service);
            }
        }
        touched.services.insert(service);
    }

    fn pod(&mut self, of: PodRef, now: Option<&Pod>, touched: &mut Touched) {
        // The addresses of a node's own network belong to no pod alone.
        let now = now.filter(|pod| !pod.host_network && !pod.addresses.is_empty());
        for address in self.pods.remove(&of).map(|known| known.value).unwrap_or_default() {
            // Another pod may have been given the address before this one was told gone.
            if self.pod_at.get(&address) == Some(&of) {
                self.pod_at.remove(&address);
                touched.pods.push((address, None));
            }
        }
        let Some(pod) = now else { return };
        let mut namespace = Vec::with_capacity(of.namespace.len() + 1);
        if push_label(&mut namespace, of.namespace.as_bytes()).is_err() {
            return;
        }
        let local = self.node.is_some() && pod.node == self.node;
        let identity = Arc::new(PodIdentity { namespace: namespace.into(), name: of.name.as_str().into(), local });
        for address in &pod.addresses {
            self.pod_at.insert(*address, of.clone());
            touched.pods.push((*address, Some(Arc::clone(&identity))));
        }
        self.pods.insert(of, Known { stream: self.stream, value: pod.addresses.clone() });
    }

    /// Forgets what this stream did not tell again.
    fn sweep(&mut self, touched: &mut Touched) {
        let stream = self.stream;
        let gone: Vec<_> = self.slices.iter().filter(|(_, k)| k.stream != stream).map(|(of, _)| of.clone()).collect();
        for of in &gone {
            self.forget_slice(of, touched);
        }
        self.services.retain(|key, known| {
            let stays = known.stream == stream;
            if !stays {
                touched.services.insert(Arc::clone(key));
            }
            stays
        });
        let gone: Vec<_> = self.pods.iter().filter(|(_, k)| k.stream != stream).map(|(of, _)| of.clone()).collect();
        for of in gone {
            self.pod(of, None, touched);
        }
        let before = self.namespaces.len();
        self.namespaces.retain(|_, known| known.stream == stream);
        touched.namespaces |= self.namespaces.len() != before;
    }

    fn publish(&mut self, touched: Touched) {
        if touched.services.is_empty() && touched.pods.is_empty() && !touched.namespaces {
            return;
        }
        if touched.namespaces {
            let labels = self.namespaces.keys().filter_map(|name| {
                let mut label = Vec::with_capacity(name.len() + 1);
                push_label(&mut label, name.as_bytes()).ok().map(|()| label.into_boxed_slice())
            });
            self.index.namespaces.store(Arc::new(labels.collect::<HashSet<_>>()));
        }
        let mut addresses = HashSet::new();
        let mut services = Vec::with_capacity(touched.services.len());
        for key in touched.services {
            let before = self.index.services.with(&*key, Arc::clone);
            let now = self.records(&key);
            self.claim(&key, before.as_deref(), now.as_deref(), &mut addresses);
            services.push((key.as_ref().into(), now));
        }
        self.index.services.update(services);
        let claims = addresses.into_iter().map(|address| {
            let keys = self.claims.get(&address).map(|keys| Arc::from(keys.as_slice()));
            (address, keys)
        });
        self.index.addresses.update(claims.collect::<Vec<_>>());
        self.index.pods.update(touched.pods);
        self.index.serial.fetch_add(1, Ordering::Relaxed);
    }

    fn records(&self, key: &Key) -> Option<Arc<ServiceRecords>> {
        let spec = Arc::clone(&self.services.get(key)?.value);
        let slices = self.by_service.get(key).into_iter().flatten();
        let slices = slices.filter_map(|of| self.slices.get(of)).map(|known| Arc::clone(&known.value.1)).collect();
        Some(Arc::new(ServiceRecords { key: Arc::clone(key), spec: Some(spec), slices }))
    }

    /// Brings `claims` up to date with what one Service gives as its addresses.
    fn claim(
        &mut self,
        key: &Key,
        before: Option<&ServiceRecords>,
        now: Option<&ServiceRecords>,
        addresses: &mut HashSet<IpAddr>,
    ) {
        let before: HashSet<IpAddr> = before.into_iter().flat_map(reverse_addresses).collect();
        let now: HashSet<IpAddr> = now.into_iter().flat_map(reverse_addresses).collect();
        for address in before.difference(&now) {
            if let Some(keys) = self.claims.get_mut(address) {
                keys.retain(|known| known != key);
                if keys.is_empty() {
                    self.claims.remove(address);
                }
            }
            addresses.insert(*address);
        }
        for address in now.difference(&before) {
            self.claims.entry(*address).or_default().push(Arc::clone(key));
            addresses.insert(*address);
        }
    }
}

/// Addresses whose PTR record leads to this Service: its own, and those of endpoints
/// that have a name below it.
fn reverse_addresses(records: &ServiceRecords) -> Vec<IpAddr> {
    let Some(spec) = &records.spec else { return Vec::new() };
    let own: &[IpAddr] = match &spec.target {
        Target::Addresses(addresses) => addresses,
        _ => &[],
    };
    let endpoints = records.slices.iter().flat_map(|slice| slice.endpoints.iter());
    let headless = spec.target == Target::Headless;
    let endpoints = endpoints.filter(|endpoint| endpoint.shown(spec) && (headless || endpoint.named()));
    own.iter().copied().chain(endpoints.map(|endpoint| endpoint.address())).collect()
}

fn key(of: &ServiceRef) -> Option<Key> {
    let mut key = Vec::with_capacity(of.namespace.len() + of.name.len() + 2);
    push_label(&mut key, of.name.as_bytes()).ok()?;
    push_label(&mut key, of.namespace.as_bytes()).ok()?;
    Some(key.into())
}
