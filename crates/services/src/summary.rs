//! One line about each Service, for lists.

use std::collections::BTreeSet;
use std::net::IpAddr;

use seaway_model::service::ServiceKind;
use seaway_model::{Protocol, Service, ServiceRef};
use serde::{Deserialize, Serialize};

use crate::plan::{Frontend, Reach, ServicePlan};
use crate::table::ServiceTable;

/// A Service in one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceSummary {
    /// Which.
    pub service: ServiceRef,
    /// `spec.type`.
    pub kind: ServiceKind,
    /// ClusterIPs, then load balancer addresses, then external IPs.
    pub addresses: Vec<IpAddr>,
    /// Its ports.
    pub ports: Vec<PortSummary>,
    /// Backends that serve clients of this node; over all ports and families, each address once.
    pub backends: usize,
    /// Those of them that run on this node.
    pub local_backends: usize,
    /// What is wrong with it.
    pub problems: Vec<String>,
}

/// One port of a Service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortSummary {
    /// Port.
    pub port: u16,
    /// Protocol.
    pub protocol: Protocol,
    /// NodePort.
    pub node_port: Option<u16>,
}

impl ServiceTable {
    /// All Services, in order of their names.
    #[must_use]
    pub fn summaries(&self) -> Vec<ServiceSummary> {
        let line = |(name, service): (&ServiceRef, &std::sync::Arc<Service>)| {
            let problems = self.problems_of(name).iter().map(ToString::to_string).collect();
            summary(name, service, self.plan(name).map(AsRef::as_ref), problems)
        };
        self.services().into_iter().map(line).collect()
    }
}

fn summary(name: &ServiceRef, service: &Service, plan: Option<&ServicePlan>, problems: Vec<String>) -> ServiceSummary {
    let balancers = service.ingress.iter().filter_map(|ingress| ingress.address);
    let addresses = service.cluster_ips.iter().copied().chain(balancers).chain(service.external_ips.iter().copied());
    let ports = service.ports.iter();
    let (backends, local_backends) = plan.map(backends).unwrap_or_default();
    ServiceSummary {
        service: name.clone(),
        kind: service.kind,
        addresses: addresses.collect(),
        ports: ports
            .map(|port| PortSummary { port: port.port, protocol: port.protocol, node_port: port.node_port })
            .collect(),
        backends,
        local_backends,
        problems,
    }
}

/// Addresses that clients of this node may reach, all and local ones.
fn backends(plan: &ServicePlan) -> (usize, usize) {
    let reach = |frontend: &Frontend| match frontend.inside {
        Reach::Backends { set, .. } => plan.sets.get(set),
        Reach::Reject | Reach::Drop => None,
    };
    let all: BTreeSet<(IpAddr, bool)> = plan
        .frontends
        .iter()
        .filter_map(reach)
        .flat_map(|set| set.backends.iter().map(|backend| (backend.address, backend.local)))
        .collect();
    (all.len(), all.iter().filter(|(_, local)| *local).count())
}
