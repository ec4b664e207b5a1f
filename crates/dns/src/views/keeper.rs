//! The one writer of the views: changes in, views brought up to date. A configuration that cannot
//! be used leaves its last good form in force.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use seaway_model::feed::FeedChange;
use seaway_model::{Diagnose, DnsSpec, LabelSelector, Labels, Pod, PodRef};
use serde::{Deserialize, Serialize};

use super::config::Config;
use super::upstreams::{Numbers, ViewUpstreams};
use super::{Flaw, View, Views, compile};
use crate::error::DnsError;
use crate::files::Looked;

/// Keeps [`Views`] up to date.
#[derive(Debug)]
pub struct Keeper {
    views: Arc<Views>,
    numbers: Numbers,
    /// Our own addresses: asking them would be a loop.
    own: Vec<SocketAddr>,
    configs: BTreeMap<String, Known<Kept>>,
    files: Option<Arc<Config>>,
    namespaces: HashMap<String, Known<Labels>>,
    pods: HashMap<PodRef, Known<Vec<IpAddr>>>,
    /// Which pod was last given an address.
    pod_at: HashMap<IpAddr, PodRef>,
    /// Counts streams: what an old one told and the new one does not is gone.
    stream: u32,
}

/// Something known, and which stream told it last.
#[derive(Debug)]
struct Known<T> {
    stream: u32,
    value: T,
}

/// A configuration: as it was told last, and in its last good form.
#[derive(Debug)]
struct Kept {
    told: Arc<DnsSpec>,
    good: Option<(Arc<DnsSpec>, Arc<Config>)>,
    flaws: Vec<Flaw>,
}

/// What a restart must know. Pods are part of it, so that those whose names are kept from them
/// do not get at them before the agent has told who they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedViews {
    configs: Vec<(String, DnsSpec)>,
    namespaces: Vec<(String, Labels)>,
    pods: Vec<(PodRef, Vec<IpAddr>)>,
}

/// What a batch of changes touched.
#[derive(Debug, Default)]
struct Touched {
    configs: bool,
    namespaces: bool,
    addresses: HashSet<IpAddr>,
}

// === impl Keeper ===

impl Keeper {
    /// Fills `views`, which no other writes. `own`: addresses that are never asked.
    #[must_use]
    pub fn new(views: Arc<Views>, own: Vec<SocketAddr>) -> Self {
        Self {
            views,
            numbers: Numbers::default(),
            own,
            configs: BTreeMap::new(),
            files: None,
            namespaces: HashMap::new(),
            pods: HashMap::new(),
            pod_at: HashMap::new(),
            stream: 0,
        }
    }

    /// Takes changes in; readers see them when this returns.
    pub fn apply(&mut self, changes: &[FeedChange]) {
        let mut touched = Touched::default();
        for change in changes {
            match change {
                FeedChange::Begin { .. } => self.stream = self.stream.wrapping_add(1),
                FeedChange::DnsConfig { of, now } => {
                    self.config(of, now.as_ref());
                    touched.configs = true;
                }
                FeedChange::Namespace { of, now } => {
                    touched.namespaces = true;
                    match now {
                        Some(now) => {
                            let known = Known { stream: self.stream, value: now.labels.clone() };
                            self.namespaces.insert(of.clone(), known);
                        }
                        None => drop(self.namespaces.remove(of)),
                    }
                }
                FeedChange::Pod { of, now } => self.pod(of, now.as_deref(), &mut touched),
                FeedChange::Synced => self.sweep(&mut touched),
                _ => {}
            }
        }
        self.publish(&touched);
    }

    /// The configuration that the server's files make, behind all others.
    pub fn set_files(&mut self, looked: Looked) {
        self.views.counts.unusable_files.store(looked.unusable, Ordering::Relaxed);
        self.files = Some(looked.config);
        self.publish(&Touched { configs: true, ..Touched::default() });
    }

    /// What a restart must know.
    #[must_use]
    pub fn save(&self) -> SavedViews {
        let good = |(name, known): (&String, &Known<Kept>)| {
            known.value.good.as_ref().map(|(spec, _)| (name.clone(), DnsSpec::clone(spec)))
        };
        let configs: Vec<_> = self.configs.iter().filter_map(good).collect();
        if !configs.iter().any(|(_, spec)| spec.namespace_selector.is_some()) {
            return SavedViews { configs, ..SavedViews::default() };
        }
        let namespaces = self.namespaces.iter().map(|(name, known)| (name.clone(), known.value.clone()));
        let pods = self.pods.iter().map(|(pod, known)| (pod.clone(), known.value.clone()));
        SavedViews { configs, namespaces: namespaces.collect(), pods: pods.collect() }
    }

    /// Takes back what an earlier process saved.
    pub fn restore(&mut self, saved: SavedViews) {
        let mut touched = Touched { configs: true, namespaces: true, ..Touched::default() };
        for (name, spec) in saved.configs {
            self.config(&name, Some(&Arc::new(spec)));
        }
        let stream = self.stream;
        let namespaces = saved.namespaces.into_iter();
        self.namespaces.extend(namespaces.map(|(name, value)| (name, Known { stream, value })));
        for (pod, addresses) in saved.pods {
            self.addresses_of(&pod, &addresses, &mut touched);
        }
        self.publish(&touched);
    }

    fn config(&mut self, name: &str, now: Option<&Arc<DnsSpec>>) {
        let Some(spec) = now else {
            self.configs.remove(name);
            return;
        };
        let before = self.configs.remove(name);
        if let Some(mut known) = before {
            if known.value.told == *spec {
                known.stream = self.stream;
                self.configs.insert(name.to_owned(), known);
                return;
            }
            let kept = self.compiled(name, spec, known.value.good);
            self.configs.insert(name.to_owned(), Known { stream: self.stream, value: kept });
            return;
        }
        let kept = self.compiled(name, spec, None);
        self.configs.insert(name.to_owned(), Known { stream: self.stream, value: kept });
    }

    fn compiled(&mut self, name: &str, spec: &Arc<DnsSpec>, good: Option<(Arc<DnsSpec>, Arc<Config>)>) -> Kept {
        match compile(spec, &mut self.numbers) {
            Ok(mut config) => {
                for (_, upstreams) in &mut config.forward {
                    *upstreams = self.without_us(upstreams);
                }
                Kept { told: Arc::clone(spec), good: Some((Arc::clone(spec), Arc::new(config))), flaws: Vec::new() }
            }
            Err(flaws) => {
                for flaw in &flaws {
                    let error = DnsError::ConfigRefused { name: name.to_owned(), flaw: flaw.clone() };
                    tracing::warn!(id = %error.id(), fix = error.fix(), "{error}");
                }
                Kept { told: Arc::clone(spec), good, flaws }
            }
        }
    }

    fn without_us(&self, upstreams: &Arc<ViewUpstreams>) -> Arc<ViewUpstreams> {
        if !upstreams.members.iter().any(|(address, _)| self.own.contains(address)) {
            return Arc::clone(upstreams);
        }
        let members = upstreams.members.iter().filter(|(address, _)| !self.own.contains(address)).cloned().collect();
        Arc::new(ViewUpstreams { members, ..ViewUpstreams::clone(upstreams) })
    }

    fn pod(&mut self, of: &PodRef, now: Option<&Pod>, touched: &mut Touched) {
        // The addresses of a node's own network belong to no pod alone.
        let now = now.filter(|pod| !pod.host_network);
        self.addresses_of(of, now.map_or(&[], |pod| pod.addresses.as_slice()), touched);
    }

    fn addresses_of(&mut self, of: &PodRef, addresses: &[IpAddr], touched: &mut Touched) {
        for address in self.pods.remove(of).map(|known| known.value).unwrap_or_default() {
            // Another pod may have been given the address before this one was told gone.
            if self.pod_at.get(&address) == Some(of) {
                self.pod_at.remove(&address);
                touched.addresses.insert(address);
            }
        }
        if addresses.is_empty() {
            return;
        }
        for address in addresses {
            self.pod_at.insert(*address, of.clone());
            touched.addresses.insert(*address);
        }
        self.pods.insert(of.clone(), Known { stream: self.stream, value: addresses.to_vec() });
    }

    /// Forgets what this stream did not tell again.
    fn sweep(&mut self, touched: &mut Touched) {
        let stream = self.stream;
        let gone: Vec<_> = self.pods.iter().filter(|(_, k)| k.stream != stream).map(|(of, _)| of.clone()).collect();
        for of in gone {
            self.addresses_of(&of, &[], touched);
        }
        let before = (self.namespaces.len(), self.configs.len());
        self.namespaces.retain(|_, known| known.stream == stream);
        self.configs.retain(|_, known| known.stream == stream);
        touched.namespaces |= self.namespaces.len() != before.0;
        touched.configs |= self.configs.len() != before.1;
    }

    fn publish(&self, touched: &Touched) {
        let good = || self.configs.values().filter_map(|known| known.value.good.as_ref());
        let general: Vec<_> = good().filter(|(spec, _)| spec.namespace_selector.is_none()).collect();
        let general = general.into_iter().map(|(_, config)| Arc::clone(config)).chain(self.files.clone());
        let general: Vec<Arc<Config>> = general.collect();
        let selective: Vec<(&LabelSelector, &Arc<Config>)> =
            good().filter_map(|(spec, config)| Some((spec.namespace_selector.as_ref()?, config))).collect();
        let all = touched.configs || (touched.namespaces && !selective.is_empty());
        let addresses: Vec<IpAddr> = if all {
            // Also those that had a view until now and are of no pod any more.
            self.pod_at.keys().chain(&touched.addresses).copied().collect()
        } else {
            touched.addresses.iter().copied().collect()
        };
        let mut made: HashMap<Option<&str>, Option<Arc<View>>> = HashMap::new();
        let clients = addresses.into_iter().map(|address| {
            let namespace = self.pod_at.get(&address).map(|pod| pod.namespace.as_str());
            let view = made.entry(namespace).or_insert_with(|| {
                let labels = &self.namespaces.get(namespace?)?.value;
                let own = selective.iter().filter(|(selector, _)| selector.matches(labels));
                let own: Vec<_> = own.map(|(_, config)| Arc::clone(config)).collect();
                let own_any = !own.is_empty();
                own_any.then(|| Arc::new(View { configs: own.into_iter().chain(general.iter().cloned()).collect() }))
            });
            (address, view.clone())
        });
        let clients = if selective.is_empty() && !touched.configs { Vec::new() } else { clients.collect() };
        let used = !general.is_empty() || !selective.is_empty();
        if touched.configs {
            let refused = self.configs.values().filter(|known| !known.value.flaws.is_empty()).count();
            self.views.count(self.configs.len(), refused);
        }
        self.views.publish(touched.configs.then(|| View { configs: general.clone() }), clients);
        self.views.set_used(used);
    }
}
