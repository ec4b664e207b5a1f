//! Everything that followers may be told.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use seaway_model::feed::{FeedChange, Interest};
use seaway_model::names::{Gateway, GatewayRef, Route, RouteRef, ServiceImport};
use seaway_model::service::{EndpointSlice, Service};
use seaway_model::{
    DnsSpec, NameChange, Namespace, Node, NodeName, Pod, PodChange, PodRef, ServiceChange, ServiceRef, SliceRef,
    Snapshot,
};

/// Changes told in one line when a follower begins: bounds the memory of the copy.
const CHANGES_PER_LINE: usize = 512;

/// Everything there is. Objects are shared with whoever else holds them.
pub(super) struct Known {
    node: NodeName,
    services: BTreeMap<ServiceRef, Arc<Service>>,
    slices: BTreeMap<SliceRef, Arc<EndpointSlice>>,
    pods: BTreeMap<PodRef, Arc<Pod>>,
    /// Pods of other nodes that have addresses of their own.
    pods_elsewhere: HashMap<PodRef, Arc<Pod>>,
    namespaces: BTreeMap<String, Arc<Namespace>>,
    nodes: BTreeMap<NodeName, Arc<Node>>,
    dns_configs: BTreeMap<String, Arc<DnsSpec>>,
    imports: Told<ServiceRef, ServiceImport>,
    gateways: Told<GatewayRef, Gateway>,
    routes: Told<RouteRef, Route>,
    /// Counts watches of names.
    round: u32,
    heard_services: bool,
    heard_snapshot: bool,
    heard_dns_configs: bool,
    heard_pods: bool,
    /// Which names are watched, and which of them were told whole.
    watched_names: Interest,
    heard_names: Interest,
    /// Followers that want all pods, imports, Gateways.
    wishes: [usize; 3],
    told: Complete,
}

/// Objects, each with the watch that told it last.
type Told<K, V> = BTreeMap<K, (u32, Arc<V>)>;

/// What is known whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Complete {
    /// Services, the snapshot, and configurations of DNS.
    pub(super) cluster: bool,
    pub(super) pods: bool,
    pub(super) imports: bool,
    pub(super) gateways: bool,
}

// === impl Known ===

impl Known {
    pub(super) fn new(node: NodeName) -> Known {
        Known {
            node,
            services: BTreeMap::new(),
            slices: BTreeMap::new(),
            pods: BTreeMap::new(),
            pods_elsewhere: HashMap::new(),
            namespaces: BTreeMap::new(),
            nodes: BTreeMap::new(),
            dns_configs: BTreeMap::new(),
            imports: BTreeMap::new(),
            gateways: BTreeMap::new(),
            routes: BTreeMap::new(),
            round: 0,
            heard_services: false,
            heard_snapshot: false,
            heard_dns_configs: false,
            heard_pods: false,
            watched_names: Interest::default(),
            heard_names: Interest::default(),
            wishes: [0; 3],
            told: Complete::default(),
        }
    }

    pub(super) fn complete(&self) -> Complete {
        Complete {
            cluster: self.heard_services && self.heard_snapshot && self.heard_dns_configs,
            pods: self.heard_pods,
            imports: self.heard_names.imports,
            gateways: self.heard_names.gateways,
        }
    }

    /// Notes what followers hear of being complete; true when that is news.
    pub(super) fn note_told(&mut self, complete: Complete) -> bool {
        std::mem::replace(&mut self.told, complete) != complete
    }

    pub(super) fn wish(&mut self, interest: Interest) {
        for (count, wanted) in self.wishes.iter_mut().zip(flags(interest)) {
            *count += usize::from(wanted);
        }
    }

    pub(super) fn wish_no_more(&mut self, interest: Interest) {
        for (count, wanted) in self.wishes.iter_mut().zip(flags(interest)) {
            *count = count.saturating_sub(usize::from(wanted));
        }
    }

    pub(super) fn wanted(&self) -> Interest {
        let [all_pods, imports, gateways] = self.wishes.map(|count| count > 0);
        Interest { all_pods, imports, gateways }
    }

    pub(super) fn forget_but(&mut self, wanted: Interest) {
        if !wanted.all_pods {
            self.pods_elsewhere = HashMap::new();
            self.heard_pods = false;
        }
        if !wanted.imports {
            self.imports.clear();
            self.heard_names.imports = false;
        }
        if !wanted.gateways {
            self.gateways.clear();
            self.routes.clear();
            self.heard_names.gateways = false;
        }
        self.told = self.complete();
    }

    pub(super) fn service(&mut self, change: &ServiceChange) {
        match change {
            ServiceChange::Service { of, now: Some(now) } => {
                self.services.insert(of.clone(), Arc::clone(now));
            }
            ServiceChange::Service { of, now: None } => {
                self.services.remove(of);
            }
            ServiceChange::Slice { of, now: Some(now) } => {
                self.slices.insert(of.clone(), Arc::clone(now));
            }
            ServiceChange::Slice { of, now: None } => {
                self.slices.remove(of);
            }
            ServiceChange::Synced => self.heard_services = true,
        }
    }

    /// What differs, and pods that are now known from elsewhere alone: one of the same name may
    /// have been made on another node before the one of this node was told gone.
    pub(super) fn snapshot(&mut self, snapshot: &Snapshot) -> (Vec<FeedChange>, Vec<FeedChange>) {
        self.heard_snapshot |= snapshot.generation > 0;
        let (mut changes, mut elsewhere) = (Vec::new(), Vec::new());
        let pods_elsewhere = &self.pods_elsewhere;
        take_over(&mut self.pods, &snapshot.pods, |of, now| {
            if now.is_none()
                && let Some(other) = pods_elsewhere.get(&of)
            {
                elsewhere.push(FeedChange::Pod { of: of.clone(), now: Some(Arc::clone(other)) });
            }
            changes.push(FeedChange::Pod { of, now });
        });
        take_over(&mut self.namespaces, &snapshot.namespaces, |of, now| {
            changes.push(FeedChange::Namespace { of, now });
        });
        take_over(&mut self.nodes, &snapshot.nodes, |of, now| changes.push(FeedChange::Node { of, now }));
        (changes, elsewhere)
    }

    /// What differs among the configurations of DNS.
    pub(super) fn dns_configs(&mut self, now: &BTreeMap<String, Arc<DnsSpec>>) -> Vec<FeedChange> {
        self.heard_dns_configs = true;
        let gone: Vec<String> = self.dns_configs.keys().filter(|name| !now.contains_key(*name)).cloned().collect();
        let mut changes = Vec::new();
        for of in gone {
            self.dns_configs.remove(&of);
            changes.push(FeedChange::DnsConfig { of, now: None });
        }
        for (of, spec) in now {
            if self.dns_configs.get(of) != Some(spec) {
                self.dns_configs.insert(of.clone(), Arc::clone(spec));
                changes.push(FeedChange::DnsConfig { of: of.clone(), now: Some(Arc::clone(spec)) });
            }
        }
        changes
    }

    /// Takes note of pods of the whole cluster; those of this node are known from the snapshot.
    pub(super) fn pods(&mut self, changes: Vec<PodChange>) -> Vec<FeedChange> {
        let mut told = Vec::new();
        for change in changes {
            let PodChange::Pod { of, now } = change else {
                self.heard_pods = true;
                continue;
            };
            let mine = |pod: &Pod| pod.node.as_ref() == Some(&self.node);
            let now = now.filter(|pod| !mine(pod) && !pod.host_network && !pod.addresses.is_empty());
            let before = match &now {
                Some(pod) => self.pods_elsewhere.insert(of.clone(), Arc::clone(pod)),
                None => self.pods_elsewhere.remove(&of),
            };
            if before != now && !self.pods.contains_key(&of) {
                told.push(FeedChange::Pod { of, now });
            }
        }
        told
    }

    pub(super) fn begin_names(&mut self, watched: Interest) {
        self.round = self.round.wrapping_add(1);
        self.watched_names = watched;
    }

    /// What differs among imports, Gateways and routes.
    pub(super) fn names(&mut self, changes: Vec<NameChange>) -> Vec<FeedChange> {
        let round = self.round;
        let mut told = Vec::new();
        for change in changes {
            let differs = match &change {
                NameChange::Import { of, now } => note(&mut self.imports, round, of, now.as_ref()),
                NameChange::Gateway { of, now } => note(&mut self.gateways, round, of, now.as_ref()),
                NameChange::Route { of, now } => note(&mut self.routes, round, of, now.as_ref()),
                NameChange::Synced => {
                    told.extend(gone(&mut self.imports, round).map(|of| FeedChange::Import { of, now: None }));
                    told.extend(gone(&mut self.gateways, round).map(|of| FeedChange::Gateway { of, now: None }));
                    told.extend(gone(&mut self.routes, round).map(|of| FeedChange::Route { of, now: None }));
                    self.heard_names = self.watched_names;
                    false
                }
            };
            if differs {
                told.extend(FeedChange::of_name(change));
            }
        }
        told
    }

    pub(super) fn everything(&self, interest: Interest) -> Vec<Vec<FeedChange>> {
        let mut all = vec![FeedChange::Begin { node: self.node.clone() }];
        all.extend(self.nodes.iter().map(|(of, now)| FeedChange::Node { of: of.clone(), now: Some(Arc::clone(now)) }));
        let namespaces = self.namespaces.iter();
        all.extend(namespaces.map(|(of, now)| FeedChange::Namespace { of: of.clone(), now: Some(Arc::clone(now)) }));
        // Before the names: what is kept from clients must not be told meanwhile.
        let configs = self.dns_configs.iter();
        all.extend(configs.map(|(of, now)| FeedChange::DnsConfig { of: of.clone(), now: Some(Arc::clone(now)) }));
        all.extend(self.pods.iter().map(|(of, now)| FeedChange::Pod { of: of.clone(), now: Some(Arc::clone(now)) }));
        if interest.all_pods {
            let elsewhere = self.pods_elsewhere.iter().filter(|(of, _)| !self.pods.contains_key(*of));
            all.extend(elsewhere.map(|(of, now)| FeedChange::Pod { of: of.clone(), now: Some(Arc::clone(now)) }));
        }
        let services = self.services.iter();
        all.extend(services.map(|(of, now)| FeedChange::Service { of: of.clone(), now: Some(Arc::clone(now)) }));
        all.extend(
            self.slices.iter().map(|(of, now)| FeedChange::Slice { of: of.clone(), now: Some(Arc::clone(now)) }),
        );
        if interest.imports {
            let imports = self.imports.iter();
            all.extend(imports.map(|(of, (_, now))| FeedChange::Import { of: of.clone(), now: Some(Arc::clone(now)) }));
        }
        if interest.gateways {
            let gateways = self.gateways.iter();
            all.extend(
                gateways.map(|(of, (_, now))| FeedChange::Gateway { of: of.clone(), now: Some(Arc::clone(now)) }),
            );
            let routes = self.routes.iter();
            all.extend(routes.map(|(of, (_, now))| FeedChange::Route { of: of.clone(), now: Some(Arc::clone(now)) }));
        }
        all.chunks(CHANGES_PER_LINE).map(<[FeedChange]>::to_vec).collect()
    }
}

fn flags(interest: Interest) -> [bool; 3] {
    [interest.all_pods, interest.imports, interest.gateways]
}

/// Notes an object; true when it differs from what was known.
fn note<K: Ord + Clone, V: PartialEq>(known: &mut Told<K, V>, round: u32, of: &K, now: Option<&Arc<V>>) -> bool {
    match now {
        Some(now) => {
            let before = known.insert(of.clone(), (round, Arc::clone(now)));
            before.is_none_or(|(_, before)| before != *now)
        }
        None => known.remove(of).is_some(),
    }
}

/// Forgets what this round did not tell.
fn gone<K: Ord + Clone, V>(known: &mut Told<K, V>, round: u32) -> impl Iterator<Item = K> {
    let gone: Vec<K> = known.iter().filter(|(_, (told, _))| *told != round).map(|(of, _)| of.clone()).collect();
    for of in &gone {
        known.remove(of);
    }
    gone.into_iter()
}

/// Makes `known` equal to `now` and says each difference.
fn take_over<K: Ord + Clone, V: Clone + PartialEq>(
    known: &mut BTreeMap<K, Arc<V>>,
    now: &BTreeMap<K, V>,
    mut say: impl FnMut(K, Option<Arc<V>>),
) {
    let gone: Vec<K> = known.keys().filter(|key| !now.contains_key(*key)).cloned().collect();
    for key in gone {
        known.remove(&key);
        say(key, None);
    }
    for (key, value) in now {
        if known.get(key).is_none_or(|held| **held != *value) {
            let value = Arc::new(value.clone());
            known.insert(key.clone(), Arc::clone(&value));
            say(key.clone(), Some(value));
        }
    }
}
