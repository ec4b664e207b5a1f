//! From a Service's plan to the elements that the kernel holds for it. Pure.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::IpNet;
use seaway_services::maglev;
use seaway_services::plan::{
    Algorithm, Backend, BackendSet, Frontend, FrontendAddress, FrontendKind, Reach, ServicePlan,
};
use sha2::{Digest as _, Sha256};

use super::layout::{Bytes, Element, Purpose, SetId};
use super::rules::{Choice, Class, UNTRANSLATED};
use crate::ServiceNode;

/// Slots of one set at most; beyond it weights are rounded.
const SLOTS_LIMIT: u64 = 16_384;

/// A Service as the kernel holds it.
#[derive(Debug, Clone)]
pub(super) struct Programmed {
    pub(super) plan: Arc<ServicePlan>,
    /// Id in the kernel of each of the plan's sets; 0 for sets that nothing refers to.
    pub(super) ids: Box<[u32]>,
}

/// Numbers of classes.
pub(super) trait ClassNumbers {
    /// The number of a class.
    fn number(&self, class: &Class) -> u32;

    /// Generation of the sets that the classes' chains look into.
    fn generation(&self) -> u32;
}

// === impl Programmed ===

impl Programmed {
    /// Names the sets of a plan; sets that are as before keep their id.
    pub(super) fn new(plan: Arc<ServicePlan>, before: Option<&Programmed>, mut next_id: impl FnMut() -> u32) -> Self {
        let mut ids = vec![0; plan.sets.len()].into_boxed_slice();
        for (index, id) in ids.iter_mut().enumerate() {
            let Some(frontend) = frontends_of(&plan, index).next() else { continue };
            let same = before.and_then(|before| before.id_of(&plan, index, frontend.algorithm));
            *id = same.unwrap_or_else(&mut next_id);
        }
        Self { plan, ids }
    }

    /// The id of a set that is the same as `plan`'s and is chosen from in the same way.
    fn id_of(&self, plan: &ServicePlan, index: usize, algorithm: Algorithm) -> Option<u32> {
        let wanted = plan.sets.get(index)?;
        let position = self.plan.sets.iter().position(|set| set == wanted)?;
        let chosen_the_same = frontends_of(&self.plan, position).all(|frontend| frontend.algorithm == algorithm)
            && frontends_of(plan, index).all(|frontend| frontend.algorithm == algorithm);
        // One set in the plan has one id, so two equal ones in the new plan must not share it.
        let first = plan.sets.iter().position(|set| set == wanted) == Some(index);
        self.ids.get(position).copied().filter(|id| *id != 0 && chosen_the_same && first)
    }

    fn id(&self, set: usize) -> u32 {
        self.ids.get(set).copied().unwrap_or_default()
    }

    /// Classes that its frontends lead to.
    pub(super) fn classes(&self) -> Vec<Class> {
        let mut classes: Vec<Class> = Vec::new();
        for frontend in &self.plan.frontends {
            let inside = self.class(frontend, frontend.inside, false);
            let outside = outside_differs(frontend).then(|| self.class(frontend, frontend.outside, true)).flatten();
            classes.extend(inside.into_iter().chain(outside));
        }
        classes.sort_unstable();
        classes.dedup();
        classes
    }

    fn class(&self, frontend: &Frontend, reach: Reach, outside: bool) -> Option<Class> {
        let Reach::Backends { set, .. } = reach else { return None };
        let slots = slot_count(self.plan.sets.get(set)?, frontend.algorithm);
        let choice = match frontend.algorithm {
            Algorithm::Random => Choice::Random(slots),
            // Connections of a backend are not counted by nftables: they are dealt out evenly.
            Algorithm::RoundRobin | Algorithm::LeastConnection => Choice::Next { slots, set: self.id(set) },
            Algorithm::SourceHash => Choice::Client(slots),
            Algorithm::Maglev => Choice::Flow(slots),
        };
        let affinity_seconds = frontend.affinity_timeout_seconds;
        (slots > 0).then_some(Class { outside, v6: !frontend.at.is_ipv4(), choice, affinity_seconds })
    }

    /// Everything the kernel holds for the Service in the table that refuses, sorted.
    pub(super) fn guard_elements(&self, node: &ServiceNode) -> Vec<Element> {
        let mut elements = Vec::new();
        for frontend in &self.plan.frontends {
            let v6 = !frontend.at.is_ipv4();
            for address in addresses(frontend, node) {
                let refusal = match (frontend.outside, frontend.inside) {
                    (Reach::Reject, _) => Some(Purpose::Rejected),
                    (Reach::Drop, _) => Some(Purpose::Dropped),
                    (_, Reach::Reject) => Some(Purpose::Rejected),
                    (_, Reach::Drop) => Some(Purpose::Dropped),
                    _ => None,
                };
                let place = place(address, frontend);
                elements.extend(refusal.map(|purpose| Element::new(purpose, v6, place, Bytes::EMPTY)));
                if frontend.kind == FrontendKind::ClusterIp {
                    let key = Bytes::EMPTY.address(address);
                    elements.push(Element::new(Purpose::Addresses, v6, key, Bytes::EMPTY));
                }
            }
        }
        elements.sort_unstable();
        elements.dedup();
        elements
    }

    /// Everything the kernel holds for the Service in the table that translates, sorted.
    pub(super) fn service_elements(&self, node: &ServiceNode, classes: &impl ClassNumbers) -> Vec<Element> {
        let mut elements = Vec::new();
        for frontend in &self.plan.frontends {
            for address in addresses(frontend, node) {
                self.frontend_elements(frontend, (address, node), classes, &mut elements);
            }
        }
        for (index, id) in self.ids.iter().enumerate().filter(|(_, id)| **id != 0) {
            self.set_elements(index, *id, classes.generation(), &mut elements);
        }
        elements.sort_unstable();
        elements.dedup();
        elements
    }

    fn frontend_elements(
        &self,
        frontend: &Frontend,
        (address, node): (IpAddr, &ServiceNode),
        classes: &impl ClassNumbers,
        elements: &mut Vec<Element>,
    ) {
        let v6 = address.is_ipv6();
        let place = place(address, frontend);
        let leads_to = |reach: Reach, outside: bool| {
            let Reach::Backends { set, .. } = reach else { return None };
            let class = self.class(frontend, reach, outside)?;
            let data = Bytes::EMPTY.u32(classes.number(&class)).u32(self.id(set));
            Some(data.u64(affinity_id(&self.plan, frontend)))
        };
        let inside = leads_to(frontend.inside, false);
        elements.extend(inside.map(|data| Element::new(Purpose::Frontends, v6, place, data)));
        if outside_differs(frontend) {
            let untranslated = || inside.map(|_| Bytes::EMPTY.u32(UNTRANSLATED).u32(0).u64(0));
            let outside = leads_to(frontend.outside, true).or_else(untranslated);
            elements.extend(outside.map(|data| Element::new(Purpose::Outside, v6, place, data)));
        }
        if matches!(frontend.outside, Reach::Backends { hide_client: true, .. }) {
            elements.push(Element::new(Purpose::Hide, v6, place, Bytes::EMPTY));
        }
        if !frontend.source_ranges.is_empty() {
            elements.push(Element::new(Purpose::Ranged, v6, place, Bytes::EMPTY));
        }
        let mut ranges: Vec<_> =
            frontend.source_ranges.iter().filter(|range| range.addr().is_ipv6() == v6).copied().collect();
        // Where the address was put on a device of the node, processes call it from itself.
        if node.node_addresses.iter().any(|own| ranges.iter().any(|range| range.contains(own))) {
            ranges.push(IpNet::from(address));
        }
        for range in ipnet::IpNet::aggregate(&ranges) {
            let (from, to) = (place.address(range.network()), place.address(range.broadcast()));
            elements.push(Element::new(Purpose::Allowed, v6, from, to));
        }
    }

    fn set_elements(&self, index: usize, id: u32, generation: u32, elements: &mut Vec<Element>) {
        let Some(frontend) = frontends_of(&self.plan, index).next() else { return };
        let Some(set) = self.plan.sets.get(index) else { return };
        let affinity = frontends_of(&self.plan, index).any(|frontend| frontend.affinity_timeout_seconds.is_some());
        for (slot, backend) in slots(set, frontend.algorithm).into_iter().enumerate() {
            let key = Bytes::EMPTY.u32(id).u32(u32::try_from(slot).unwrap_or(u32::MAX));
            let data = Bytes::EMPTY.address(backend.address).port(backend.port);
            elements.push(Element { set: SetId::of(Purpose::Slots, backend.address.is_ipv6(), generation), key, data });
        }
        for backend in &set.backends {
            let v6 = backend.address.is_ipv6();
            if affinity {
                let key = Bytes::EMPTY.address(backend.address).port(backend.port).u32(id);
                let set = SetId::of(Purpose::Members, v6, generation);
                elements.push(Element { set, key, data: Bytes::EMPTY });
            }
            if backend.local {
                let key = Bytes::EMPTY.address(backend.address).address(backend.address);
                elements.push(Element::new(Purpose::Hairpin, v6, key, Bytes::EMPTY));
            }
        }
    }
}

/// Frontends that lead to a set.
fn frontends_of(plan: &ServicePlan, index: usize) -> impl Iterator<Item = &Frontend> {
    let leads = move |reach: Reach| matches!(reach, Reach::Backends { set, .. } if set == index);
    plan.frontends.iter().filter(move |frontend| leads(frontend.inside) || leads(frontend.outside))
}

/// Whether packets from elsewhere go elsewhere than those of the node itself.
fn outside_differs(frontend: &Frontend) -> bool {
    match (frontend.inside, frontend.outside) {
        (Reach::Backends { set: inside, .. }, Reach::Backends { set: outside, .. }) => inside != outside,
        (inside, outside) => inside != outside,
    }
}

/// Addresses that a frontend has on this node.
pub(super) fn addresses(frontend: &Frontend, node: &ServiceNode) -> Vec<IpAddr> {
    match frontend.at {
        FrontendAddress::Ip(address) => vec![address],
        FrontendAddress::NodeIpv4 | FrontendAddress::NodeIpv6 => {
            let v4 = frontend.at.is_ipv4();
            // ::1 must not leave the loopback device (RFC 4291 §2.5.3), so IPv4 only.
            let loopback = (v4 && node.node_port_on_loopback).then_some(IpAddr::V4(Ipv4Addr::LOCALHOST));
            let chosen = node.node_port_addresses.iter().copied().filter(|address| address.is_ipv4() == v4);
            chosen.chain(loopback).collect()
        }
    }
}

fn place(address: IpAddr, frontend: &Frontend) -> Bytes {
    Bytes::EMPTY.address(address).protocol(frontend.protocol.number()).port(frontend.port)
}

/// What clients of a Service's port are remembered under: the same after a restart, and for
/// all addresses of the port. 0 without affinity.
fn affinity_id(plan: &ServicePlan, frontend: &Frontend) -> u64 {
    if frontend.affinity_timeout_seconds.is_none() {
        return 0;
    }
    let name = format!("{}/{}/{}", plan.service, frontend.port_name, frontend.protocol);
    Sha256::digest(name).first_chunk::<8>().map_or(1, |bytes| u64::from_ne_bytes(*bytes))
}

/// The slots of a set, by the way it is chosen from.
fn slots(set: &BackendSet, algorithm: Algorithm) -> Vec<&Backend> {
    match algorithm {
        Algorithm::Maglev if has_table(set) => {
            let owners = maglev::table(set, maglev::SLOTS);
            owners.into_iter().filter_map(|owner| set.backends.get(usize::try_from(owner).ok()?)).collect()
        }
        _ => weighted(&set.backends),
    }
}

/// How many slots [`slots`] makes.
fn slot_count(set: &BackendSet, algorithm: Algorithm) -> u32 {
    let count = match algorithm {
        Algorithm::Maglev if has_table(set) => maglev::SLOTS,
        _ => weighted(&set.backends).len(),
    };
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Whether a Maglev table has room for all; larger sets are chosen from by the hash alone.
fn has_table(set: &BackendSet) -> bool {
    !set.backends.is_empty() && set.backends.len() <= maglev::SLOTS
}

/// Backends as often as their weight says.
fn weighted(backends: &[Backend]) -> Vec<&Backend> {
    let total: u64 = backends.iter().map(|backend| u64::from(backend.weight)).sum();
    if backends.iter().all(|backend| backend.weight == 1) || total == 0 {
        return backends.iter().collect();
    }
    let divisor = backends.iter().fold(0, |divisor, backend| greatest_common_divisor(divisor, backend.weight.into()));
    let divisor = divisor.max(total.div_ceil(SLOTS_LIMIT));
    let weighted = backends.iter().filter(|backend| backend.weight > 0);
    weighted
        .flat_map(|backend| {
            let count = (u64::from(backend.weight) / divisor).max(1);
            std::iter::repeat_n(backend, usize::try_from(count).unwrap_or(1))
        })
        .collect()
}

fn greatest_common_divisor(one: u64, other: u64) -> u64 {
    if other == 0 { one } else { greatest_common_divisor(other, one % other) }
}
