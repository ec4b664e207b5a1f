//! Who claims which place, and who may have it.
//!
//! A place is an address, a protocol and a port. Of several Services that claim one, the oldest
//! has it; claims that are refused do not count. An address that is another Service's ClusterIP or
//! in a range of pods, and an external IP that is a node's address, are refused: whoever may write
//! a Service must not be able to take traffic that is meant for others.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use seaway_model::service::IngressMode;
use seaway_model::service::ServiceKind;
use seaway_model::{Protocol, Service, ServiceRef};

use super::Options;
use crate::endpoints::{NodeView, is_special};
use crate::plan::{FrontendAddress, FrontendKind};
use crate::problem::ServiceProblem;

/// A place that at most one Service serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub(crate) at: FrontendAddress,
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
}

/// A place a Service would like to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) place: Place,
    pub(crate) kind: FrontendKind,
    /// Index into `spec.ports`.
    pub(crate) port: usize,
}

/// Everything Services claim.
#[derive(Debug, Default)]
pub(super) struct Claims {
    places: HashMap<Place, Vec<Arc<ServiceRef>>>,
    /// Owners of ClusterIPs.
    cluster_ips: HashMap<IpAddr, Vec<Arc<ServiceRef>>>,
    /// Services with an external or load balancer address there.
    guests: HashMap<IpAddr, Vec<Arc<ServiceRef>>>,
}

/// What one Service has in the index.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Footprint {
    places: Vec<Place>,
    cluster_ips: Vec<IpAddr>,
    guests: Vec<IpAddr>,
    /// Its age decides over others.
    created_at_seconds: i64,
}

/// Whether a Service is ours to serve at all.
pub(crate) fn is_served(service: &Service, options: &Options) -> bool {
    let proxy = service.labels.get("service.kubernetes.io/service-proxy-name");
    service.kind != ServiceKind::ExternalName
        && !service.headless
        && !service.cluster_ips.is_empty()
        && proxy == options.proxy_name.as_ref()
        && !service.labels.contains_key("service.kubernetes.io/headless")
}

/// The places a Service would like to have, each once; ClusterIPs first, as nobody may refuse them.
pub(crate) fn wishes(service: &Service, options: &Options) -> Vec<Wish> {
    let mut wishes: Vec<Wish> = Vec::new();
    if !is_served(service, options) {
        return wishes;
    }
    for (kind, address) in addresses(service) {
        if !has_family(service, &address) || (kind != FrontendKind::ClusterIp && is_special(&address)) {
            continue;
        }
        for (index, port) in service.ports.iter().enumerate().filter(|(_, port)| port.port != 0) {
            let place = Place { at: FrontendAddress::Ip(address), protocol: port.protocol, port: port.port };
            push_new(&mut wishes, Wish { place, kind, port: index });
        }
    }
    if matches!(service.kind, ServiceKind::NodePort | ServiceKind::LoadBalancer) {
        let families = [(FrontendAddress::NodeIpv4, true), (FrontendAddress::NodeIpv6, false)];
        let has = |ipv4| service.cluster_ips.iter().any(|address| address.is_ipv4() == ipv4);
        for (at, _) in families.into_iter().filter(|(_, ipv4)| has(*ipv4)) {
            for (index, port) in service.ports.iter().enumerate().filter(|(_, port)| port.port != 0) {
                let Some(node_port) = port.node_port.filter(|port| *port != 0) else { continue };
                let place = Place { at, protocol: port.protocol, port: node_port };
                push_new(&mut wishes, Wish { place, kind: FrontendKind::NodePort, port: index });
            }
        }
    }
    wishes
}

fn push_new(wishes: &mut Vec<Wish>, wish: Wish) {
    if !wishes.iter().any(|known| known.place == wish.place) {
        wishes.push(wish);
    }
}

/// Every address of a Service with its kind, before any check.
pub(crate) fn addresses(service: &Service) -> impl Iterator<Item = (FrontendKind, IpAddr)> {
    let cluster = service.cluster_ips.iter().map(|address| (FrontendKind::ClusterIp, *address));
    let external = service.external_ips.iter().map(|address| (FrontendKind::ExternalIp, *address));
    cluster.chain(ingress(service).map(|address| (FrontendKind::LoadBalancer, address))).chain(external)
}

/// Load balancer addresses whose packets arrive here unchanged (KEP-1860).
fn ingress(service: &Service) -> impl Iterator<Item = IpAddr> {
    let is_balanced = service.kind == ServiceKind::LoadBalancer;
    let arriving = service.ingress.iter().filter(move |one| is_balanced && one.mode == IngressMode::Vip);
    arriving.filter_map(|one| one.address)
}

/// Whether a Service has endpoints of the address's family.
pub(crate) fn has_family(service: &Service, address: &IpAddr) -> bool {
    service.cluster_ips.iter().any(|ip| ip.is_ipv4() == address.is_ipv4())
}

/// The field that claims a place of that kind.
pub(crate) fn field(kind: FrontendKind) -> &'static str {
    match kind {
        FrontendKind::ClusterIp => "spec.clusterIPs",
        FrontendKind::ExternalIp => "spec.externalIPs",
        FrontendKind::LoadBalancer => "status.loadBalancer.ingress",
        FrontendKind::NodePort => "spec.ports[].nodePort",
    }
}

// === impl Footprint ===

impl Footprint {
    pub(super) fn of(service: Option<&Service>, options: &Options) -> Footprint {
        let Some(service) = service else { return Footprint::default() };
        let wishes = wishes(service, options);
        let mut guests: Vec<IpAddr> = wishes.iter().filter_map(Wish::guest_address).collect();
        guests.sort_unstable();
        guests.dedup();
        Footprint {
            places: wishes.iter().map(|wish| wish.place).collect(),
            cluster_ips: service.cluster_ips.clone(),
            guests,
            created_at_seconds: service.created_at_seconds,
        }
    }
}

impl Wish {
    /// The address, when it is one that may be refused.
    fn guest_address(&self) -> Option<IpAddr> {
        match (self.kind, self.place.at) {
            (FrontendKind::ExternalIp | FrontendKind::LoadBalancer, FrontendAddress::Ip(address)) => Some(address),
            _ => None,
        }
    }
}

// === impl Claims ===

impl Claims {
    pub(super) fn add(&mut self, service: &Arc<ServiceRef>, footprint: &Footprint) {
        insert(&mut self.places, &footprint.places, service);
        insert(&mut self.cluster_ips, &footprint.cluster_ips, service);
        insert(&mut self.guests, &footprint.guests, service);
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty() && self.cluster_ips.is_empty() && self.guests.is_empty()
    }

    pub(super) fn remove(&mut self, service: &ServiceRef, footprint: &Footprint) {
        remove(&mut self.places, &footprint.places, service);
        remove(&mut self.cluster_ips, &footprint.cluster_ips, service);
        remove(&mut self.guests, &footprint.guests, service);
    }

    /// Services whose places may be decided anew when a Service with this footprint comes or goes.
    pub(super) fn affected<'a>(&'a self, footprint: &'a Footprint) -> impl Iterator<Item = &'a Arc<ServiceRef>> {
        let rivals = footprint.places.iter().filter_map(|place| self.places.get(place)).flatten();
        rivals.chain(footprint.cluster_ips.iter().flat_map(|address| self.guests_of(address)))
    }

    /// Services with an external or load balancer address in one of the ranges.
    pub(super) fn guests_within<'a>(&'a self, ranges: &'a [IpNet]) -> impl Iterator<Item = &'a Arc<ServiceRef>> {
        let is_within = |address: &IpAddr| ranges.iter().any(|range| range.contains(address));
        self.guests.iter().filter(move |(address, _)| is_within(address)).flat_map(|(_, guests)| guests)
    }

    /// Services with an external or load balancer address there.
    pub(super) fn guests_of(&self, address: &IpAddr) -> impl Iterator<Item = &Arc<ServiceRef>> {
        self.guests.get(address).into_iter().flatten()
    }

    /// Why `service` may not have what it wishes; none: it may.
    pub(super) fn objection<'s>(
        &self,
        service: (&ServiceRef, &Service),
        wish: &Wish,
        node: &NodeView,
        look_up: impl Fn(&ServiceRef) -> Option<&'s Service>,
        options: &Options,
    ) -> Option<ServiceProblem> {
        let (name, object) = service;
        if let Some(refusal) = self.refusal(name, wish, node) {
            return Some(refusal);
        }
        let rivals = self.places.get(&wish.place).into_iter().flatten().filter(|rival| rival.as_ref() != name);
        let mut older: Option<(i64, &ServiceRef)> = None;
        for rival in rivals {
            let Some(other) = look_up(rival) else { continue };
            let rank = (other.created_at_seconds, rival.as_ref());
            if rank > (object.created_at_seconds, name) || older.is_some_and(|first| first < rank) {
                continue;
            }
            let theirs = wishes(other, options).into_iter().find(|theirs| theirs.place == wish.place);
            if theirs.is_some_and(|theirs| self.refusal(rival, &theirs, node).is_none()) {
                older = Some(rank);
            }
        }
        let Place { at, protocol, port } = wish.place;
        older.map(|(_, owner)| {
            let (service, owner) = (name.clone(), owner.clone());
            ServiceProblem::PlaceTaken { service, field: field(wish.kind), at, protocol, port, owner }
        })
    }

    fn refusal(&self, service: &ServiceRef, wish: &Wish, node: &NodeView) -> Option<ServiceProblem> {
        let address = wish.guest_address()?;
        if wish.kind == FrontendKind::ExternalIp && node.cluster_node_addresses.contains(&address) {
            return Some(ServiceProblem::ExternalIpIsNode { service: service.clone(), address });
        }
        let of_pods = node.pod_ranges.iter().find(|range| range.contains(&address));
        if let Some(range) = of_pods {
            let (service, field) = (service.clone(), field(wish.kind));
            return Some(ServiceProblem::AddressIsPods { service, field, address, range: *range });
        }
        // The smallest name, so that the message does not depend on the order of events.
        let owners = self.cluster_ips.get(&address)?.iter().filter(|owner| owner.as_ref() != service);
        let owner = owners.min()?.as_ref().clone();
        Some(ServiceProblem::AddressIsClusterIp { service: service.clone(), field: field(wish.kind), address, owner })
    }
}

fn insert<K: Copy + Eq + std::hash::Hash>(
    index: &mut HashMap<K, Vec<Arc<ServiceRef>>>,
    keys: &[K],
    service: &Arc<ServiceRef>,
) {
    for key in keys {
        match index.get_mut(key) {
            Some(claimants) => claimants.push(Arc::clone(service)),
            // Exactly one place: nearly all keys have one claimant, and there are very many keys.
            None => drop(index.insert(*key, vec![Arc::clone(service)])),
        }
    }
}

fn remove<K: Copy + Eq + std::hash::Hash>(
    index: &mut HashMap<K, Vec<Arc<ServiceRef>>>,
    keys: &[K],
    service: &ServiceRef,
) {
    for key in keys {
        let Some(claimants) = index.get_mut(key) else { continue };
        claimants.retain(|claimant| claimant.as_ref() != service);
        if claimants.is_empty() {
            index.remove(key);
        }
    }
}
