//! Services for tests, built by naming only what matters.

use std::net::IpAddr;
use std::sync::Arc;

use seaway_model::{Protocol, ServiceRef};
use seaway_services::plan::{
    Algorithm, Backend, BackendSet, Forwarding, Frontend, FrontendAddress, FrontendKind, PlanChange, Reach, ServicePlan,
};

/// Ports that clients and backends use, if nothing else is said.
pub(super) const PORT: u16 = 80;
pub(super) const NODE_PORT: u16 = 30_080;
pub(super) const TARGET_PORT: u16 = 8080;

/// A Service to be: one frontend, one set.
#[derive(Clone)]
pub(super) struct Service {
    name: String,
    backends: Vec<(IpAddr, u16, bool)>,
    frontend: Frontend,
    hide_client: bool,
}

/// A Service on a NodePort of the addresses' family, policy Cluster, TCP.
pub(super) fn node_port(name: &str, backends: &[(IpAddr, bool)]) -> Service {
    let at = if backends[0].0.is_ipv4() { FrontendAddress::NodeIpv4 } else { FrontendAddress::NodeIpv6 };
    service(name, backends, at, FrontendKind::NodePort, NODE_PORT)
}

/// A Service on an address of its own, policy Cluster, TCP.
pub(super) fn load_balancer(name: &str, backends: &[(IpAddr, bool)], address: &str) -> Service {
    let at = FrontendAddress::Ip(address.parse().unwrap());
    service(name, backends, at, FrontendKind::LoadBalancer, PORT)
}

fn service(name: &str, backends: &[(IpAddr, bool)], at: FrontendAddress, kind: FrontendKind, port: u16) -> Service {
    let frontend = Frontend {
        at,
        protocol: Protocol::Tcp,
        port,
        kind,
        port_name: String::new(),
        inside: Reach::Reject,
        outside: Reach::Reject,
        source_ranges: Vec::new(),
        affinity_timeout_seconds: None,
        algorithm: Algorithm::Random,
        forwarding: Forwarding::Nat,
    };
    let backends = backends.iter().map(|(address, local)| (*address, TARGET_PORT, *local)).collect();
    Service { name: name.to_owned(), backends, frontend, hide_client: true }
}

// === impl Service ===

impl Service {
    /// Policy Local: backends see the client.
    pub(super) fn keep_client(mut self) -> Self {
        self.hide_client = false;
        self
    }

    pub(super) fn protocol(mut self, protocol: Protocol) -> Self {
        self.frontend.protocol = protocol;
        self
    }

    pub(super) fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.frontend.algorithm = algorithm;
        self
    }

    pub(super) fn target_port(mut self, port: u16) -> Self {
        self.backends.iter_mut().for_each(|backend| backend.1 = port);
        self
    }

    pub(super) fn source_range(mut self, range: &str) -> Self {
        self.frontend.source_ranges.push(range.parse().unwrap());
        self
    }

    pub(super) fn direct_return(mut self) -> Self {
        self.frontend.forwarding = Forwarding::DirectReturn;
        self.keep_client()
    }

    /// Nobody from elsewhere reaches a backend.
    pub(super) fn outside(self, reach: Reach) -> PlanChange {
        let PlanChange::Set(plan) = self.build() else { unreachable!("it builds a plan") };
        let mut plan = Arc::unwrap_or_clone(plan);
        plan.frontends[0].outside = reach;
        PlanChange::Set(Arc::new(plan))
    }

    pub(super) fn build(mut self) -> PlanChange {
        self.frontend.inside = Reach::Backends { set: 0, hide_client: self.hide_client };
        self.frontend.outside = self.frontend.inside;
        self.backends.sort();
        let backend = |(address, port, local): &(IpAddr, u16, bool)| Backend {
            address: *address,
            port: *port,
            weight: 1,
            local: *local,
            node: Some(if *local { "here" } else { "there" }.into()),
        };
        let backends = self.backends.iter().map(backend).collect();
        PlanChange::Set(Arc::new(ServicePlan {
            service: ServiceRef::new("shop", self.name),
            frontends: vec![self.frontend],
            sets: vec![BackendSet { backends }],
            terminating: Vec::new(),
            health_check: None,
        }))
    }
}
