//! Plans that read as sentences.

use std::net::IpAddr;

use seaway_model::{Protocol, ServiceRef};
use seaway_services::plan::{
    Algorithm, Backend, BackendSet, Forwarding, Frontend, FrontendAddress, FrontendKind, PlanChange, Reach, ServicePlan,
};

use super::world::{at, ip};

/// A Service of that name without anything.
pub(super) fn service(name: &str) -> ServicePlan {
    ServicePlan {
        service: ServiceRef::new("shop", name),
        frontends: Vec::new(),
        sets: Vec::new(),
        terminating: Vec::new(),
        health_check: None,
    }
}

/// The Service is no more.
pub(super) fn removal(name: &str) -> PlanChange {
    PlanChange::Remove(ServiceRef::new("shop", name))
}

/// Builders; each frontend goes to the backends that were named last.
pub(super) trait Plan: Sized {
    /// These, all on one port, are the backends of the frontends that follow.
    fn backends(self, addresses: &[&str], port: u16) -> Self;
    /// The same with weights.
    fn weighted(self, backends: &[(&str, u16)], port: u16) -> Self;
    /// These terminate.
    fn terminating(self, addresses: &[&str], port: u16) -> Self;
    fn cluster_ip(self, address: &str, protocol: Protocol, port: u16) -> Self;
    fn node_port(self, port: u16) -> Self;
    /// Changes the last frontend.
    fn with(self, change: impl FnOnce(&mut Frontend)) -> Self;
    fn affinity(self, seconds: u32) -> Self {
        self.with(|frontend| frontend.affinity_timeout_seconds = Some(seconds))
    }
    fn algorithm(self, algorithm: Algorithm) -> Self {
        self.with(|frontend| frontend.algorithm = algorithm)
    }
    /// The last frontend has no backends.
    fn reach(self, reach: Reach) -> Self {
        self.with(|frontend| (frontend.inside, frontend.outside) = (reach, reach))
    }
}

impl Plan for ServicePlan {
    fn backends(self, addresses: &[&str], port: u16) -> Self {
        let backends: Vec<_> = addresses.iter().map(|address| (*address, 1)).collect();
        self.weighted(&backends, port)
    }

    fn weighted(mut self, backends: &[(&str, u16)], port: u16) -> Self {
        let mut backends: Vec<_> =
            backends.iter().map(|(address, weight)| backend(ip(address), port, *weight)).collect();
        backends.sort();
        self.sets.push(BackendSet { backends });
        self
    }

    fn terminating(mut self, addresses: &[&str], port: u16) -> Self {
        self.terminating = addresses.iter().map(|address| at(address, port)).collect();
        self
    }

    fn cluster_ip(mut self, address: &str, protocol: Protocol, port: u16) -> Self {
        let frontend = frontend(FrontendAddress::Ip(ip(address)), FrontendKind::ClusterIp, protocol, port, &self);
        self.frontends.push(frontend);
        self
    }

    fn node_port(mut self, port: u16) -> Self {
        for place in [FrontendAddress::NodeIpv4, FrontendAddress::NodeIpv6] {
            let wanted =
                |set: &BackendSet| set.backends.iter().all(|backend| backend.address.is_ipv4() == place.is_ipv4());
            let Some(set) = self.sets.iter().rposition(wanted) else { continue };
            let mut frontend = frontend(place, FrontendKind::NodePort, Protocol::Tcp, port, &self);
            frontend.inside = Reach::Backends { set, hide_client: true };
            frontend.outside = frontend.inside;
            self.frontends.push(frontend);
        }
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Frontend)) -> Self {
        change(self.frontends.last_mut().expect("a frontend"));
        self
    }
}

fn frontend(at: FrontendAddress, kind: FrontendKind, protocol: Protocol, port: u16, plan: &ServicePlan) -> Frontend {
    let reach = match plan.sets.len().checked_sub(1) {
        Some(set) => Reach::Backends { set, hide_client: false },
        None => Reach::Reject,
    };
    Frontend {
        at,
        protocol,
        port,
        kind,
        port_name: String::new(),
        inside: reach,
        outside: reach,
        source_ranges: Vec::new(),
        affinity_timeout_seconds: None,
        algorithm: Algorithm::Random,
        forwarding: Forwarding::Nat,
    }
}

fn backend(address: IpAddr, port: u16, weight: u16) -> Backend {
    Backend { address, port, weight, local: true, node: Some("a".into()) }
}
