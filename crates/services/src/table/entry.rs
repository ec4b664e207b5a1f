//! What is known of one Service, and what is wrong with its objects by themselves.

use std::net::IpAddr;
use std::sync::Arc;

use seaway_model::service::AddressType;
use seaway_model::{EndpointSlice, Service, ServiceRef, SliceRef};

use super::{Options, addresses, field, has_family};
use crate::annotations;
use crate::compile::source_ranges;
use crate::endpoints::{address_flaw, is_special};
use crate::plan::{FrontendAddress, FrontendKind, ServicePlan};
use crate::problem::ServiceProblem;

/// A Service, its slices, and its plan.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) service: Option<Arc<Service>>,
    /// By name.
    pub(super) slices: Vec<(Box<str>, Arc<EndpointSlice>)>,
    pub(super) plan: Option<Arc<ServicePlan>>,
    pub(super) problems: Box<[ServiceProblem]>,
}

impl Entry {
    pub(super) fn set_slice(&mut self, name: &str, now: Option<Arc<EndpointSlice>>) {
        let at = self.slices.binary_search_by(|(known, _)| known.as_ref().cmp(name));
        match (at, now) {
            (Ok(index), None) => drop(self.slices.remove(index)),
            (Ok(index), Some(now)) => {
                if let Some((_, slice)) = self.slices.get_mut(index) {
                    *slice = now;
                }
            }
            (Err(_), None) => {}
            (Err(index), Some(now)) => {
                // Most Services have one slice per family.
                self.slices.reserve_exact(1);
                self.slices.insert(index, (name.into(), now));
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.service.is_none() && self.slices.is_empty()
    }
}

/// What is wrong with a Service and its slices whatever the others do.
pub(super) fn flaws(
    name: &ServiceRef,
    service: &Service,
    slices: &[(Box<str>, Arc<EndpointSlice>)],
    options: &Options,
    problems: &mut Vec<ServiceProblem>,
) {
    let owner = || name.clone();
    for (annotation, value) in annotations::read(service).unknown {
        problems.push(ServiceProblem::UnknownAnnotationValue { service: owner(), annotation, value });
    }
    for port in service.ports.iter().filter(|port| port.port == 0) {
        problems.push(ServiceProblem::PortIsZero { service: owner(), name: port.name.clone() });
    }
    for (kind, address) in addresses(service) {
        problems.extend(address_problem(name, service, kind, address));
    }
    for port in super::wishes(service, options) {
        let is_node_port = matches!(port.place.at, FrontendAddress::NodeIpv4 | FrontendAddress::NodeIpv6);
        if is_node_port && options.ephemeral_ports.contains(&port.place.port) {
            let (first, last) = (*options.ephemeral_ports.start(), *options.ephemeral_ports.end());
            let port = port.place.port;
            problems.push(ServiceProblem::NodePortIsEphemeral { service: owner(), port, first, last });
        }
    }
    for (slice_name, slice) in slices {
        let slice_ref = || SliceRef { namespace: name.namespace.clone(), name: slice_name.to_string() };
        for port in slice.ports.iter().filter(|port| port.port.is_none_or(|port| port == 0)) {
            let (slice, name) = (slice_ref(), port.name.clone());
            problems.push(ServiceProblem::SlicePortMissing { service: owner(), slice, name });
        }
        if let Some((address, count)) = unusable_endpoints(slice) {
            problems.push(ServiceProblem::UnusableEndpoints { service: owner(), slice: slice_ref(), address, count });
        }
    }
}

fn address_problem(
    name: &ServiceRef,
    service: &Service,
    kind: FrontendKind,
    address: IpAddr,
) -> Option<ServiceProblem> {
    let owner = name.clone();
    if kind == FrontendKind::ClusterIp {
        return None;
    }
    if is_special(&address) {
        return Some(ServiceProblem::UnusableAddress { service: owner, field: field(kind), address });
    }
    if !has_family(service, &address) {
        return Some(ServiceProblem::FamilyMissing { service: owner, field: field(kind), address });
    }
    let ranges = source_ranges(service, address.is_ipv4());
    let shut_out = kind == FrontendKind::LoadBalancer
        && !ranges.is_empty()
        && ranges.iter().all(|range| range.addr().is_ipv4() != address.is_ipv4());
    shut_out.then_some(ServiceProblem::NoSourceRangeOfFamily { service: owner, address })
}

/// The first endpoint whose address cannot serve, and how many there are.
fn unusable_endpoints(slice: &EndpointSlice) -> Option<(Option<IpAddr>, usize)> {
    let ipv4 = match slice.address_type {
        AddressType::IPv4 => true,
        AddressType::IPv6 => false,
        AddressType::Name => return None,
    };
    let mut unusable = slice.endpoints.iter().filter(|endpoint| address_flaw(endpoint, ipv4).is_some());
    let first = unusable.next()?.address();
    Some((first, 1 + unusable.count()))
}
