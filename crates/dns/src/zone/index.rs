//! What server threads read: Services, addresses, namespaces and pods by key.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use arc_swap::ArcSwap;

use super::answer::{Asked, Outcome, Scratch};
use super::claims::{Contested, NameRecords};
use super::service::ServiceRecords;
use super::sharded::Sharded;
use crate::wire::{Name, OwnedName, Response};

/// What the operator chose for the cluster's zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneSettings {
    /// `cluster.local`.
    pub domain: OwnedName,
    /// Seconds that answers may be kept.
    pub ttl_seconds: u32,
    /// Names of pods by address.
    pub pods: PodNames,
    /// Endpoints without a host name are called as their pod, not by their address.
    pub endpoint_pod_names: bool,
    /// Addresses of this DNS service: `ns.dns.<domain>`.
    pub servers: Vec<IpAddr>,
    /// Domain of Services of other clusters; none: there are none.
    pub cluster_set: Option<OwnedName>,
    /// Zones for addresses outside.
    pub external: Vec<ExternalZone>,
}

/// A zone for addresses that are reached from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalZone {
    /// `example.org`.
    pub name: OwnedName,
    /// Headless Services have names in it, too.
    pub headless: bool,
    /// Names that it does not have are asked of others.
    pub fall_through: bool,
}

/// A zone that is answered from the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zone {
    /// The cluster's own.
    Cluster,
    /// That of Services of other clusters.
    ClusterSet,
    /// One of [`ZoneSettings::external`].
    External(usize),
}

/// `<dashed address>.<namespace>.pod.<domain>` (specification 1.1.0 §2.6).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PodNames {
    /// There are none.
    Disabled,
    /// Every address has one in every namespace that exists.
    #[default]
    Insecure,
    /// Addresses of pods of that namespace only.
    Verified,
}

/// A pod by its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodIdentity {
    /// Its namespace as one label in wire form.
    pub namespace: Arc<[u8]>,
    /// Its name.
    pub name: Box<str>,
    /// It runs on this node.
    pub local: bool,
}

/// The names of the cluster.
#[derive(Debug)]
pub struct Index {
    /// What the operator chose.
    pub settings: ZoneSettings,
    /// Their domains, the longest first.
    zones: Vec<(OwnedName, Zone)>,
    pub(super) services: Sharded<Box<[u8]>, Arc<ServiceRecords>>,
    pub(super) addresses: Sharded<IpAddr, Arc<[Arc<[u8]>]>>,
    pub(super) imports: Sharded<Box<[u8]>, Arc<ServiceRecords>>,
    pub(super) names: Sharded<Box<[u8]>, Arc<NameRecords>>,
    pub(super) contested: ArcSwap<Vec<Contested>>,
    pub(super) pods: Sharded<IpAddr, Arc<PodIdentity>>,
    pub(super) namespaces: ArcSwap<HashSet<Box<[u8]>>>,
    pub(super) synced: AtomicBool,
    pub(super) names_synced: AtomicBool,
    pub(super) serial: AtomicU32,
}

// === impl Index ===

impl Index {
    /// Nothing known yet.
    #[must_use]
    pub fn new(settings: ZoneSettings) -> Self {
        let mut zones = vec![(settings.domain.clone(), Zone::Cluster)];
        zones.extend(settings.cluster_set.iter().map(|domain| (domain.clone(), Zone::ClusterSet)));
        let external = settings.external.iter().enumerate();
        zones.extend(external.map(|(number, zone)| (zone.name.clone(), Zone::External(number))));
        // Stable: of equals the cluster's comes first.
        zones.sort_by_key(|(domain, _)| std::cmp::Reverse(domain.labels()));
        Self {
            settings,
            zones,
            imports: Sharded::new(),
            names: Sharded::new(),
            contested: ArcSwap::default(),
            names_synced: AtomicBool::new(false),
            services: Sharded::new(),
            addresses: Sharded::new(),
            pods: Sharded::new(),
            namespaces: ArcSwap::default(),
            synced: AtomicBool::new(false),
            serial: AtomicU32::new(1),
        }
    }

    /// The zone that a name lies in, and how many of its labels stand before the zone's domain.
    #[must_use]
    #[inline]
    pub fn zone_of(&self, name: &Name) -> Option<(Zone, usize)> {
        self.zones.iter().find_map(|(domain, zone)| Some((*zone, name.below(domain)?)))
    }

    /// Answers a question for a name in `zone`, which [`Index::zone_of`] told.
    #[inline]
    pub fn answer_in(
        &self,
        zone: Zone,
        asked: Asked<'_>,
        scratch: &mut Scratch,
        response: &mut Response<'_>,
    ) -> Outcome {
        let outcome = match zone {
            Zone::Cluster => return self.answer(asked, scratch, response),
            Zone::ClusterSet => self.answer_imported(asked, scratch, response),
            Zone::External(number) => match self.settings.external.get(number) {
                Some(zone) => self.answer_outside(zone, asked, scratch, response),
                None => Outcome::NameError,
            },
        };
        let known = self.is_synced() && self.names_synced.load(Ordering::Acquire);
        if outcome == Outcome::NameError && !known { Outcome::Unknown } else { outcome }
    }

    /// Whether names that a zone does not have are asked of others.
    #[must_use]
    pub fn falls_through(&self, zone: Zone) -> bool {
        matches!(zone, Zone::External(number) if self.settings.external.get(number).is_some_and(|z| z.fall_through))
    }

    /// Names that several objects ask for, with who has them.
    #[must_use]
    pub fn contested(&self) -> Arc<Vec<Contested>> {
        self.contested.load_full()
    }

    /// How many Services of other clusters there are, and how many names in zones of our own.
    #[must_use]
    pub fn more_names(&self) -> (usize, usize) {
        (self.imports.len(), self.names.len())
    }

    /// Whether everything was told once: what is not found then does not exist.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.synced.load(Ordering::Acquire)
    }

    /// Serial number of the zone: grows with each change.
    #[must_use]
    pub fn serial(&self) -> u32 {
        self.serial.load(Ordering::Relaxed)
    }

    /// The pod of this node that has an address.
    #[must_use]
    pub fn local_pod(&self, address: &IpAddr) -> Option<Arc<PodIdentity>> {
        self.pods.with(address, Arc::clone).filter(|pod| pod.local)
    }

    /// How many Services there are.
    #[must_use]
    pub fn services(&self) -> usize {
        self.services.len()
    }

    /// Whether a namespace exists; `label` in wire form.
    #[must_use]
    pub fn has_namespace(&self, label: &[u8]) -> bool {
        self.namespaces.load().contains(label)
    }
}
