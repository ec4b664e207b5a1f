//! The one writer of the index: changes in, index brought up to date.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use seaway_model::feed::{FeedChange, Interest};
use seaway_model::service::EndpointSlice;
use seaway_model::{NodeName, Pod, PodRef, Service, ServiceRef, SliceRef};

use super::catalogue::{Catalogue, Key, Known};
use super::claims::{Claims, Contested, Source};
use super::gateways::Gateways;
use super::index::{Index, PodIdentity, PodNames};
use super::saved::Saved;
use super::service::{ServiceRecords, SliceRecords, Spec, Target};
use crate::views::SavedViews;
use crate::wire::name::push_label;

/// Who a pod is, and its addresses.
type PodAddresses = (Arc<PodIdentity>, Box<[IpAddr]>);

/// Keeps an [`Index`] up to date.
#[derive(Debug)]
pub struct Builder {
    index: Arc<Index>,
    node: Option<NodeName>,
    services: Catalogue,
    imports: Catalogue,
    names: Claims,
    gateways: Gateways,
    pods: HashMap<PodRef, Known<PodAddresses>>,
    /// Which pod was last given an address.
    pod_at: HashMap<IpAddr, Arc<PodIdentity>>,
    namespaces: HashMap<String, Known<Arc<[u8]>>>,
    /// Which keys give an address as theirs.
    claims: HashMap<IpAddr, Vec<Key>>,
    /// Counts streams: what an old one told and the new one does not is gone.
    stream: u32,
}

/// What a batch of changes touched.
#[derive(Debug, Default)]
struct Touched {
    services: BTreeSet<Key>,
    imports: BTreeSet<Key>,
    names: BTreeSet<Box<[u8]>>,
    pods: Vec<(IpAddr, Option<Arc<PodIdentity>>)>,
    namespaces: bool,
}

// === impl Builder ===

impl Builder {
    /// Fills `index`, which no other writes.
    #[must_use]
    pub fn new(index: Arc<Index>) -> Self {
        let names = Claims::new(index.settings.external.iter().map(|zone| zone.name.clone()).collect());
        Self {
            index,
            node: None,
            services: Catalogue::default(),
            imports: Catalogue::default(),
            names,
            gateways: Gateways::default(),
            pods: HashMap::new(),
            pod_at: HashMap::new(),
            namespaces: HashMap::new(),
            claims: HashMap::new(),
            stream: 0,
        }
    }

    /// What the zones need to be told beside what all followers are told.
    #[must_use]
    pub fn interest(&self) -> Interest {
        let settings = &self.index.settings;
        Interest {
            all_pods: settings.pods == PodNames::Verified,
            imports: settings.cluster_set.is_some(),
            gateways: !settings.external.is_empty(),
        }
    }

    /// Takes changes in; readers see all of them when this returns.
    pub fn apply(&mut self, changes: impl IntoIterator<Item = FeedChange>) {
        let mut touched = Touched::default();
        let (mut synced, mut synced_names) = (false, false);
        for change in changes {
            match change {
                FeedChange::Synced => {
                    self.sweep(&mut touched);
                    synced = true;
                }
                FeedChange::SyncedNames => {
                    self.sweep_names(&mut touched);
                    synced_names = true;
                }
                other => self.change(other, &mut touched),
            }
        }
        self.publish(touched);
        if synced {
            self.index.synced.store(true, Ordering::Release);
        }
        if synced_names {
            self.index.names_synced.store(true, Ordering::Release);
        }
    }

    fn change(&mut self, change: FeedChange, touched: &mut Touched) {
        let stream = self.stream;
        match change {
            FeedChange::Begin { node } => {
                self.stream = self.stream.wrapping_add(1);
                self.node = Some(node);
            }
            FeedChange::Service { of, now } => self.service(of, now.as_deref(), touched),
            FeedChange::Slice { of, now } => self.slice(of, now.as_deref(), touched),
            FeedChange::Pod { of, now } => self.pod(of, now.as_deref(), touched),
            FeedChange::Namespace { of, now } => {
                touched.namespaces = true;
                match now {
                    Some(_) => {
                        let value = self.namespaces.get(&of).map(|known| Arc::clone(&known.value));
                        let value = value.unwrap_or_else(|| label(&of).into());
                        self.namespaces.insert(of, Known { stream, value });
                    }
                    None => {
                        self.namespaces.remove(&of);
                    }
                }
            }
            FeedChange::Node { of, now } => {
                let claim = now.and_then(|node| self.names.of_node(&of, &node));
                self.names.set(Source::Node(of), claim, stream, &mut touched.names);
            }
            FeedChange::Import { of, now } => {
                let spec = now.map(|import| Spec::of_import(&import));
                self.imports.service(&of, spec, stream, &mut touched.imports);
            }
            FeedChange::Gateway { of, now } => {
                self.gateways.gateway(of, now, stream, &mut self.names, &mut touched.names);
            }
            FeedChange::Route { of, now } => {
                self.gateways.route(of, now, stream, &mut self.names, &mut touched.names);
            }
            // Not names of the cluster: see `crate::views`.
            FeedChange::DnsConfig { .. } => {}
            FeedChange::Synced | FeedChange::SyncedNames => {}
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
        let (services, slices) = self.services.save();
        let (imports, imported_slices) = self.imports.save();
        let namespaces = self.namespaces.keys().cloned().collect();
        let (names, views) = (self.names.save(), SavedViews::default());
        Saved { namespaces, services, slices, imports, imported_slices, names, views }
    }

    /// Takes back what an earlier process saved. `complete`: it is fresh enough that
    /// what is missing does not exist.
    pub fn restore(&mut self, saved: Saved, complete: bool) {
        let stream = self.stream;
        let mut touched = Touched { namespaces: true, ..Touched::default() };
        let namespaces = saved.namespaces.into_iter().map(|name| {
            let value = label(&name).into();
            (name, Known { stream, value })
        });
        self.namespaces.extend(namespaces);
        self.services.restore((saved.services, saved.slices), stream, &mut touched.services);
        self.imports.restore((saved.imports, saved.imported_slices), stream, &mut touched.imports);
        self.names.restore(saved.names, stream, &mut touched.names);
        self.publish(touched);
        self.index.synced.store(complete, Ordering::Release);
        self.index.names_synced.store(complete, Ordering::Release);
    }

    fn service(&mut self, of: ServiceRef, now: Option<&Service>, touched: &mut Touched) {
        let outside = !self.index.settings.external.is_empty();
        let spec = now.map(|service| Spec::of(service, outside));
        self.services.service(&of, spec, self.stream, &mut touched.services);
        if outside {
            let claim = now.and_then(|service| self.names.of_service(service));
            self.names.set(Source::Service(of), claim, self.stream, &mut touched.names);
        }
    }

    /// A slice may belong to a Service of the cluster, to an import, or to both.
    fn slice(&mut self, of: SliceRef, now: Option<&EndpointSlice>, touched: &mut Touched) {
        let pod_names = self.index.settings.endpoint_pod_names;
        let service = |name: &str| ServiceRef::new(of.namespace.clone(), name);
        let own = now.and_then(|slice| Some((service(slice.service.as_ref()?), SliceRecords::of(slice, pod_names))));
        let imported = now.filter(|_| self.index.settings.cluster_set.is_some()).and_then(|slice| {
            let imported = slice.imported.as_ref()?;
            Some((service(&imported.service), SliceRecords::of_cluster(slice, pod_names, &imported.cluster)?))
        });
        self.imports.slice(of.clone(), imported, self.stream, &mut touched.imports);
        self.services.slice(of, own, self.stream, &mut touched.services);
    }

    fn pod(&mut self, of: PodRef, now: Option<&Pod>, touched: &mut Touched) {
        // The addresses of a node's own network belong to no pod alone.
        let now = now.filter(|pod| !pod.host_network && !pod.addresses.is_empty());
        if let Some(Known { value: (identity, addresses), .. }) = self.pods.remove(&of) {
            for address in addresses {
                // Another pod may have been given the address before this one was told gone.
                if self.pod_at.get(&address).is_some_and(|holder| Arc::ptr_eq(holder, &identity)) {
                    self.pod_at.remove(&address);
                    touched.pods.push((address, None));
                }
            }
        }
        let Some(pod) = now else { return };
        // Pods of a namespace share its label.
        let namespace = self.namespaces.get(&of.namespace).map(|known| Arc::clone(&known.value));
        let namespace = namespace.unwrap_or_else(|| label(&of.namespace).into());
        if namespace.is_empty() {
            return;
        }
        let local = self.node.is_some() && pod.node == self.node;
        let identity = Arc::new(PodIdentity { namespace, name: of.name.as_str().into(), local });
        for address in &pod.addresses {
            self.pod_at.insert(*address, Arc::clone(&identity));
            touched.pods.push((*address, Some(Arc::clone(&identity))));
        }
        let value = (identity, pod.addresses.as_slice().into());
        self.pods.insert(of, Known { stream: self.stream, value });
    }

    /// Forgets what this stream did not tell again.
    fn sweep(&mut self, touched: &mut Touched) {
        let stream = self.stream;
        self.services.sweep_slices(stream, &mut touched.services);
        self.services.sweep_services(stream, &mut touched.services);
        self.imports.sweep_slices(stream, &mut touched.imports);
        let cluster = |source: &Source| matches!(source, Source::Node(_) | Source::Service(_));
        self.names.sweep(cluster, stream, &mut touched.names);
        let gone: Vec<_> = self.pods.iter().filter(|(_, k)| k.stream != stream).map(|(of, _)| of.clone()).collect();
        for of in gone {
            self.pod(of, None, touched);
        }
        let before = self.namespaces.len();
        self.namespaces.retain(|_, known| known.stream == stream);
        touched.namespaces |= self.namespaces.len() != before;
    }

    fn sweep_names(&mut self, touched: &mut Touched) {
        let stream = self.stream;
        self.imports.sweep_services(stream, &mut touched.imports);
        self.gateways.sweep(stream, &mut self.names, &mut touched.names);
        let gateways = |source: &Source| matches!(source, Source::Gateway(_) | Source::Route(_));
        self.names.sweep(gateways, stream, &mut touched.names);
    }

    fn publish(&mut self, touched: Touched) {
        let Touched { services, imports, mut names, pods, namespaces } = touched;
        if services.is_empty() && imports.is_empty() && names.is_empty() && pods.is_empty() && !namespaces {
            return;
        }
        if namespaces {
            let labels = self.namespaces.values().filter(|known| !known.value.is_empty());
            let labels = labels.map(|known| Box::from(&*known.value)).collect::<HashSet<_>>();
            self.index.namespaces.store(Arc::new(labels));
        }
        let mut addresses = HashSet::new();
        let mut changed = Vec::with_capacity(services.len());
        for key in services {
            let before = self.index.services.with(&*key, Arc::clone);
            let now = self.services.records(&key);
            self.claim(&key, before.as_deref(), now.as_deref(), &mut addresses);
            let shown = |records: Option<&ServiceRecords>| records.is_some_and(|r| self.index.is_outside(r));
            let (was, is) = (shown(before.as_deref()), shown(now.as_deref()));
            if was != is {
                self.names.namespace_of(&key, is, &mut names);
            }
            changed.push((key.as_ref().into(), now));
        }
        self.index.services.update(changed);
        let changed = imports.into_iter().map(|key| (key.as_ref().into(), self.imports.records(&key)));
        self.index.imports.update(changed.collect::<Vec<_>>());
        let changed = names.into_iter().map(|name| {
            let now = self.names.published(&name);
            (name, now)
        });
        self.index.names.update(changed.collect::<Vec<_>>());
        if let Some(contested) = self.names.contested() {
            let known = self.index.contested.load_full();
            for Contested { name, holder, others } in contested.iter().filter(|contest| !known.contains(contest)) {
                tracing::warn!(name, holder, ?others, "several objects ask for a name; the oldest has it");
            }
            self.index.contested.store(Arc::new(contested));
        }
        let claims = addresses.into_iter().map(|address| {
            let keys = self.claims.get(&address).map(|keys| Arc::from(keys.as_slice()));
            (address, keys)
        });
        self.index.addresses.update(claims.collect::<Vec<_>>());
        self.index.pods.update(pods);
        self.index.serial.fetch_add(1, Ordering::Relaxed);
    }

    /// Brings `claims` up to date with what one Service gives as its addresses.
    fn claim(
        &mut self,
        key: &Key,
        before: Option<&ServiceRecords>,
        now: Option<&ServiceRecords>,
        addresses: &mut HashSet<IpAddr>,
    ) {
        if before.is_none() {
            // At the start all are new: no sets are made to find that out.
            for address in now.into_iter().flat_map(reverse_addresses) {
                let keys = self.claims.entry(address).or_default();
                if !keys.contains(key) {
                    keys.push(Arc::clone(key));
                    addresses.insert(address);
                }
            }
            return;
        }
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

/// Addresses whose PTR record leads to this Service: its own, those it has outside, and those of
/// endpoints that have a name below it.
fn reverse_addresses(records: &ServiceRecords) -> Vec<IpAddr> {
    let Some(spec) = &records.spec else { return Vec::new() };
    let own: &[IpAddr] = match &spec.target {
        Target::Addresses(addresses) => addresses,
        _ => &[],
    };
    let outside = spec.outside.iter().flat_map(|outside| outside.addresses.iter());
    let endpoints = records.slices.iter().flat_map(|slice| slice.endpoints.iter());
    let headless = spec.target == Target::Headless;
    let endpoints = endpoints.filter(|endpoint| endpoint.shown(spec) && (headless || endpoint.named()));
    own.iter().chain(outside).copied().chain(endpoints.map(|endpoint| endpoint.address())).collect()
}

/// One label in wire form; empty when it is none.
fn label(name: &str) -> Vec<u8> {
    let mut label = Vec::with_capacity(name.len() + 1);
    let pushed = push_label(&mut label, name.as_bytes());
    if pushed.is_ok() { label } else { Vec::new() }
}
