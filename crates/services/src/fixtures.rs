//! Builders of Services, slices and endpoints that read as a sentence.

use std::net::IpAddr;
use std::sync::Arc;

use seaway_model::service::{
    AddressType, Endpoint, EndpointPort, IngressMode, LoadBalancerIngress, ServiceKind, ServicePort, TrafficPolicy,
};
use seaway_model::{EndpointSlice, NodeName, PodRef, Protocol, Service, ServiceChange, ServiceRef, SliceRef};

use crate::endpoints::NodeView;
use crate::plan::{Frontend, FrontendAddress, PlanChange, Reach, ServicePlan};
use crate::table::{Options, ServiceTable};

/// A Service of namespace `shop` with TCP port 80 named `http`.
pub(crate) struct ServiceBuilder {
    name: ServiceRef,
    service: Service,
}

pub(crate) fn service(name: &str, cluster_ips: &[&str]) -> ServiceBuilder {
    let service = Service {
        uid: format!("uid-{name}"),
        created_at_seconds: 100,
        kind: ServiceKind::ClusterIP,
        cluster_ips: cluster_ips.iter().map(|text| ip(text)).collect(),
        headless: false,
        ports: vec![port("http", Protocol::Tcp, 80, None)],
        external_ips: Vec::new(),
        ingress: Vec::new(),
        load_balancer_class: None,
        source_ranges: Vec::new(),
        affinity_timeout_seconds: None,
        internal_policy: TrafficPolicy::Cluster,
        external_policy: TrafficPolicy::Cluster,
        health_check_node_port: None,
        publish_not_ready_addresses: false,
        traffic_distribution: Default::default(),
        external_name: None,
        labels: Default::default(),
        annotations: Default::default(),
    };
    ServiceBuilder { name: named(name), service }
}

pub(crate) fn port(name: &str, protocol: Protocol, port: u16, node_port: Option<u16>) -> ServicePort {
    ServicePort { name: name.into(), protocol, port, node_port, app_protocol: None }
}

pub(crate) fn named(name: &str) -> ServiceRef {
    ServiceRef::new("shop", name)
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

impl ServiceBuilder {
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Service)) -> Self {
        change(&mut self.service);
        self
    }

    pub(crate) fn node_port(self, number: u16) -> Self {
        self.with(|service| {
            service.kind = ServiceKind::NodePort;
            service.ports[0].node_port = Some(number);
        })
    }

    pub(crate) fn load_balancer(self, addresses: &[&str]) -> Self {
        self.with(|service| {
            service.kind = ServiceKind::LoadBalancer;
            let entry =
                |text: &&str| LoadBalancerIngress { address: Some(ip(text)), hostname: None, mode: IngressMode::Vip };
            service.ingress = addresses.iter().map(entry).collect();
        })
    }

    pub(crate) fn external(self, addresses: &[&str]) -> Self {
        self.with(|service| service.external_ips = addresses.iter().map(|text| ip(text)).collect())
    }

    pub(crate) fn internally_local(self) -> Self {
        self.with(|service| service.internal_policy = TrafficPolicy::Local)
    }

    pub(crate) fn externally_local(self) -> Self {
        self.with(|service| service.external_policy = TrafficPolicy::Local)
    }

    pub(crate) fn created_at(self, seconds: i64) -> Self {
        self.with(|service| service.created_at_seconds = seconds)
    }

    pub(crate) fn label(self, key: &str, value: &str) -> Self {
        self.with(|service| drop(service.labels.insert(key.into(), value.into())))
    }

    pub(crate) fn annotation(self, key: &str, value: &str) -> Self {
        self.with(|service| drop(service.annotations.insert(key.into(), value.into())))
    }

    pub(crate) fn set(self) -> ServiceChange {
        ServiceChange::Service { of: self.name, now: Some(Arc::new(self.service)) }
    }
}

pub(crate) fn delete(name: &str) -> ServiceChange {
    ServiceChange::Service { of: named(name), now: None }
}

/// A ready endpoint on node `node`.
pub(crate) fn endpoint(address: &str, node: &str) -> Endpoint {
    Endpoint {
        addresses: vec![ip(address)],
        ready: true,
        serving: true,
        terminating: false,
        hostname: None,
        node: Some(NodeName::from(node)),
        zone: None,
        pod: Some(PodRef { namespace: "shop".into(), name: format!("pod-{address}") }),
        zone_hints: Vec::new(),
        node_hints: Vec::new(),
    }
}

pub(crate) trait EndpointExt {
    fn not_ready(self) -> Endpoint;
    fn terminating(self) -> Endpoint;
    fn dead(self) -> Endpoint;
    fn for_zones(self, zones: &[&str]) -> Endpoint;
    fn for_nodes(self, nodes: &[&str]) -> Endpoint;
}

impl EndpointExt for Endpoint {
    fn not_ready(self) -> Endpoint {
        Endpoint { ready: false, serving: false, ..self }
    }

    fn terminating(self) -> Endpoint {
        Endpoint { ready: false, serving: true, terminating: true, ..self }
    }

    fn dead(self) -> Endpoint {
        Endpoint { ready: false, serving: false, terminating: true, ..self }
    }

    fn for_zones(self, zones: &[&str]) -> Endpoint {
        Endpoint { zone_hints: zones.iter().map(|zone| (*zone).into()).collect(), ..self }
    }

    fn for_nodes(self, nodes: &[&str]) -> Endpoint {
        Endpoint { node_hints: nodes.iter().map(|node| NodeName::from(*node)).collect(), ..self }
    }
}

/// A slice of `service` whose port `http` is 8080; its family is that of its first endpoint.
pub(crate) fn slice(name: &str, of: &str, endpoints: Vec<Endpoint>) -> ServiceChange {
    slice_with_ports(name, of, &[("http", Protocol::Tcp, 8080)], endpoints)
}

pub(crate) fn slice_with_ports(
    name: &str,
    of: &str,
    ports: &[(&str, Protocol, u16)],
    endpoints: Vec<Endpoint>,
) -> ServiceChange {
    let ipv4 = endpoints.first().and_then(Endpoint::address).is_none_or(|address| address.is_ipv4());
    let port = |(name, protocol, port): &(&str, Protocol, u16)| EndpointPort {
        name: (*name).into(),
        protocol: *protocol,
        port: Some(*port),
        app_protocol: None,
    };
    let now = EndpointSlice {
        imported: None,
        changed_at_milliseconds: None,
        service: Some(of.into()),
        address_type: if ipv4 { AddressType::IPv4 } else { AddressType::IPv6 },
        ports: ports.iter().map(port).collect(),
        endpoints,
    };
    ServiceChange::Slice { of: slice_named(name), now: Some(Arc::new(now)) }
}

pub(crate) fn delete_slice(name: &str) -> ServiceChange {
    ServiceChange::Slice { of: slice_named(name), now: None }
}

pub(crate) fn slice_named(name: &str) -> SliceRef {
    SliceRef { namespace: "shop".into(), name: name.into() }
}

/// Node `here` in zone `west`.
pub(crate) fn here() -> NodeView {
    NodeView { zone: Some("west".into()), ..NodeView::new(NodeName::from("here")) }
}

/// A table of node `here` that was told this and that this is all.
pub(crate) fn table(changes: Vec<ServiceChange>) -> ServiceTable {
    let mut table = ServiceTable::new(here(), Options::default());
    assert!(table.apply(&changes).is_empty(), "nothing is said before everything was told");
    table.apply(&[ServiceChange::Synced]);
    table
}

/// The frontend of a Service at an address and port.
pub(crate) fn frontend<'a>(table: &'a ServiceTable, name: &str, at: &str, port: u16) -> &'a Frontend {
    let plan = table.plan(&named(name)).unwrap_or_else(|| panic!("{name} has no plan"));
    let at = match at {
        "node4" => FrontendAddress::NodeIpv4,
        "node6" => FrontendAddress::NodeIpv6,
        address => FrontendAddress::Ip(ip(address)),
    };
    let found = plan.frontends.iter().find(|one| one.at == at && one.port == port);
    found.unwrap_or_else(|| panic!("{name} has no frontend at {at} port {port}: {plan:?}"))
}

/// Where a reach goes, as people write it: `reject`, `drop`, or addresses with ports; a star when the client is hidden.
pub(crate) fn went(plan: &ServicePlan, reach: Reach) -> String {
    match reach {
        Reach::Reject => "reject".into(),
        Reach::Drop => "drop".into(),
        Reach::Backends { hide_client, .. } => {
            let backends = plan.backends(reach).iter().map(|one| std::net::SocketAddr::new(one.address, one.port));
            let text = backends.map(|one| one.to_string()).collect::<Vec<_>>().join(" ");
            if hide_client { format!("{text} *") } else { text }
        }
    }
}

/// `inside | outside` of a frontend.
pub(crate) fn reach(table: &ServiceTable, name: &str, at: &str, port: u16) -> String {
    let plan = table.plan(&named(name)).unwrap();
    let one = frontend(table, name, at, port);
    format!("{} | {}", went(plan, one.inside), went(plan, one.outside))
}

/// The names that a batch sets and removes.
pub(crate) fn changed(changes: &[PlanChange]) -> String {
    let name = |change: &PlanChange| match change {
        PlanChange::Set(plan) => format!("+{}", plan.service.name),
        PlanChange::Remove(service) => format!("-{}", service.name),
    };
    changes.iter().map(name).collect::<Vec<_>>().join(" ")
}
