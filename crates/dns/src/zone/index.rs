//! What server threads read: Services, addresses, namespaces and pods by key.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use arc_swap::ArcSwap;

use super::service::ServiceRecords;
use super::sharded::Sharded;
use crate::wire::OwnedName;

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
    pub(super) services: Sharded<Box<[u8]>, Arc<ServiceRecords>>,
    pub(super) addresses: Sharded<IpAddr, Arc<[Arc<[u8]>]>>,
    pub(super) pods: Sharded<IpAddr, Arc<PodIdentity>>,
    pub(super) namespaces: ArcSwap<HashSet<Box<[u8]>>>,
    pub(super) synced: AtomicBool,
    pub(super) serial: AtomicU32,
}

// === impl Index ===

impl Index {
    /// Nothing known yet.
    #[must_use]
    pub fn new(settings: ZoneSettings) -> Self {
        Self {
            settings,
            services: Sharded::new(),
            addresses: Sharded::new(),
            pods: Sharded::new(),
            namespaces: ArcSwap::default(),
            synced: AtomicBool::new(false),
            serial: AtomicU32::new(1),
        }
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
