//! What is known of one Service, for people: its frontends, and of each endpoint whether it serves
//! and why.

use std::net::IpAddr;

use seaway_model::service::{ServiceKind, TrafficPolicy};
use seaway_model::{Diagnose, EndpointSlice, NodeName, PodRef, Protocol, Service, ServiceRef};
use serde::{Deserialize, Serialize};

use crate::annotations::{self, Wishes};
use crate::compile::wanted;
use crate::endpoints::{Candidate, Choice, Fate, NodeView, Wanted};
use crate::endpoints::{address_flaw, candidate, candidates, is_of_family, ports_of};
use crate::plan::{Algorithm, Forwarding, Frontend, FrontendKind, HealthCheck, Reach, ServicePlan};
use crate::table::{ServiceTable, is_served};

/// One Service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceReport {
    /// Which.
    pub service: ServiceRef,
    /// `spec.type`.
    pub kind: ServiceKind,
    /// Why nothing of it is programmed, if so.
    pub not_served: Option<String>,
    /// `spec.internalTrafficPolicy`.
    pub internal_policy: TrafficPolicy,
    /// `spec.externalTrafficPolicy`.
    pub external_policy: TrafficPolicy,
    /// Where clients reach it.
    pub frontends: Vec<FrontendReport>,
    /// Its endpoints, per port and family.
    pub ports: Vec<PortReport>,
    /// Port of its health check and how many endpoints of this node are ready.
    pub health_check: Option<HealthCheck>,
    /// What is wrong.
    pub problems: Vec<ProblemReport>,
}

/// One place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FrontendReport {
    /// Address, or a word for the node's addresses.
    pub at: String,
    /// Protocol.
    pub protocol: Protocol,
    /// Port.
    pub port: u16,
    /// What kind of place.
    pub kind: FrontendKind,
    /// Name of the Service port.
    pub port_name: String,
    /// For clients of this node.
    pub inside: ReachReport,
    /// For packets from elsewhere.
    pub outside: ReachReport,
    /// Who may use it; empty: everyone.
    pub source_ranges: Vec<ipnet::IpNet>,
    /// Timeout of session affinity.
    pub affinity_timeout_seconds: Option<u32>,
    /// How a backend is chosen.
    pub algorithm: Algorithm,
    /// How packets go to other nodes.
    pub forwarding: Forwarding,
}

/// What becomes of a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "reach")]
pub enum ReachReport {
    /// It goes to one of so many backends.
    #[serde(rename_all = "camelCase")]
    Backends {
        /// How many.
        count: usize,
        /// Whether they see the node instead of the client.
        hide_client: bool,
    },
    /// Refused.
    Reject,
    /// Dropped.
    Drop,
}

/// The endpoints of one port in one family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortReport {
    /// Name of the Service port; may be empty.
    pub name: String,
    /// Protocol.
    pub protocol: Protocol,
    /// Number of the Service port.
    pub port: u16,
    /// IPv4, else IPv6.
    pub ipv4: bool,
    /// Every endpoint of every slice of the Service.
    pub endpoints: Vec<EndpointReport>,
}

/// One endpoint for one port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointReport {
    /// Address; none when the endpoint has none.
    pub address: Option<IpAddr>,
    /// Port; none when its slice has no such port.
    pub port: Option<u16>,
    /// Name of its slice.
    pub slice: String,
    /// Its pod.
    pub pod: Option<PodRef>,
    /// Its node.
    pub node: Option<NodeName>,
    /// Its zone.
    pub zone: Option<String>,
    /// Its share.
    pub weight: u16,
    /// What becomes of it where policy Cluster holds.
    pub cluster: Fate,
    /// What becomes of it where policy Local holds.
    pub local: Fate,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProblemReport {
    /// As in the reference of errors.
    pub id: String,
    /// What.
    pub message: String,
    /// What to do.
    pub fix: String,
}

// === impl ServiceTable ===

impl ServiceTable {
    /// Everything about one Service; none when there is no such Service.
    #[must_use]
    pub fn explain(&self, name: &ServiceRef) -> Option<ServiceReport> {
        let service = self.service(name)?;
        let plan = self.plan(name);
        let problem = |one: &crate::ServiceProblem| ProblemReport {
            id: one.id().to_string(),
            message: one.to_string(),
            fix: one.fix(),
        };
        Some(ServiceReport {
            service: name.clone(),
            kind: service.kind,
            not_served: (!is_served(service, &self.options)).then(|| why_not_served(service)),
            internal_policy: service.internal_policy,
            external_policy: service.external_policy,
            frontends: plan.map(|plan| frontends(plan)).unwrap_or_default(),
            ports: self.ports(name, service),
            health_check: plan.and_then(|plan| plan.health_check),
            problems: self.problems_of(name).iter().map(problem).collect(),
        })
    }

    fn ports(&self, name: &ServiceRef, service: &Service) -> Vec<PortReport> {
        let slices: Vec<(&str, &EndpointSlice)> = self.slices(name).collect();
        let weights = annotations::read(service);
        let mut ports = Vec::new();
        for (index, port) in service.ports.iter().enumerate() {
            for ipv4 in [true, false] {
                let Some(wanted) = wanted(service, index, ipv4) else { continue };
                let endpoints = endpoints(&slices, wanted, &self.node, &weights);
                let is_ours = service.cluster_ips.iter().any(|address| address.is_ipv4() == ipv4);
                if !endpoints.is_empty() || is_ours {
                    let (name, protocol, port) = (port.name.clone(), port.protocol, port.port);
                    ports.push(PortReport { name, protocol, port, ipv4, endpoints });
                }
            }
        }
        ports
    }
}

fn why_not_served(service: &Service) -> String {
    let why = if service.kind == ServiceKind::ExternalName {
        "type ExternalName is a name in DNS only"
    } else if service.headless || service.labels.contains_key("service.kubernetes.io/headless") {
        "a headless Service is names in DNS only"
    } else if service.cluster_ips.is_empty() {
        "it has no address yet"
    } else {
        "its label service.kubernetes.io/service-proxy-name leaves it to another proxy"
    };
    why.to_owned()
}

fn frontends(plan: &ServicePlan) -> Vec<FrontendReport> {
    let reach = |reach: Reach| match reach {
        Reach::Backends { hide_client, .. } => ReachReport::Backends { count: plan.backends(reach).len(), hide_client },
        Reach::Reject => ReachReport::Reject,
        Reach::Drop => ReachReport::Drop,
    };
    let report = |one: &Frontend| FrontendReport {
        at: one.at.to_string(),
        protocol: one.protocol,
        port: one.port,
        kind: one.kind,
        port_name: one.port_name.clone(),
        inside: reach(one.inside),
        outside: reach(one.outside),
        source_ranges: one.source_ranges.clone(),
        affinity_timeout_seconds: one.affinity_timeout_seconds,
        algorithm: one.algorithm,
        forwarding: one.forwarding,
    };
    plan.frontends.iter().map(report).collect()
}

fn endpoints(
    slices: &[(&str, &EndpointSlice)],
    wanted: Wanted<'_>,
    node: &NodeView,
    weights: &Wishes,
) -> Vec<EndpointReport> {
    let chosen = candidates(slices.iter().map(|(_, slice)| *slice), wanted, node);
    let choice = Choice::new(&chosen, node);
    let mut reports = Vec::new();
    for (name, slice) in slices.iter().filter(|(_, slice)| is_of_family(slice, wanted.ipv4)) {
        let mut offered: Vec<Option<u16>> = ports_of(slice, wanted).map(Some).collect();
        if offered.is_empty() {
            offered.push(None);
        }
        for (endpoint, port) in slice.endpoints.iter().flat_map(|one| offered.iter().map(move |port| (one, *port))) {
            let one = port.and_then(|port| candidate(endpoint, port, wanted, node));
            let (cluster, local) = match (address_flaw(endpoint, wanted.ipv4), port, one) {
                (Some(flaw), _, _) => (flaw, flaw),
                (None, Some(_), Some(one)) if is_chosen(&chosen, &one) => (choice.cluster(&one), choice.local(&one)),
                (None, Some(_), _) => (Fate::Duplicate, Fate::Duplicate),
                (None, None, _) => (Fate::NoSuchPort, Fate::NoSuchPort),
            };
            reports.push(EndpointReport {
                address: endpoint.address(),
                port,
                slice: (*name).to_owned(),
                pod: endpoint.pod.clone(),
                node: endpoint.node.clone(),
                zone: endpoint.zone.as_deref().map(str::to_owned),
                weight: weights.weight_of(endpoint),
                cluster,
                local,
            });
        }
    }
    reports
}

/// Whether of all endpoints with that address and port this very one counts.
fn is_chosen(chosen: &[Candidate<'_>], one: &Candidate<'_>) -> bool {
    let found = chosen.binary_search_by_key(&(one.address, one.port), |other| (other.address, other.port));
    let found = found.ok().and_then(|index| chosen.get(index));
    found.is_some_and(|other| std::ptr::eq(other.endpoint, one.endpoint))
}
