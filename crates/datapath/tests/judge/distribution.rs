//! Whether connections are spread as the algorithm says: by a chi-square test whose bounds are so
//! wide that chance alone does not reach them in the lifetime of the project.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use seaway_datapath::{ServiceDatapath, ServiceNode};
use seaway_model::service::ServicePort;
use seaway_model::{EndpointSlice, PodRef, Protocol, ServiceChange, ServiceRef, SliceRef};
use seaway_services::{Options, ServiceTable};

use crate::generate::{plain_endpoint, plain_service};
use crate::packets::node::Node;
use crate::world::addresses::{HERE, Kind, address};
use crate::world::scenario::{Client, JudgedNode, NODE_NAME, Probe};

/// Backends; the first has the weight that a test gives.
const BACKENDS: u8 = 4;
/// Connections made.
const CONNECTIONS: u16 = 1_200;
/// Clients that make them, one after the other, where the client decides.
const CLIENTS: u8 = 200;
const PORT: u16 = 80;

/// An algorithm, and how far from the wanted shares it may come.
pub(crate) struct Spread {
    pub(crate) algorithm: &'static str,
    /// Weight of the first backend.
    pub(crate) weight: u16,
    /// Largest chi-square value, with three degrees of freedom.
    pub(crate) bound: f64,
}

/// What all data paths keep. Random choice exceeds 50 in one of ten billion runs; where clients'
/// addresses decide, each counts as its six connections.
pub(crate) const SPREADS: [Spread; 6] = [
    Spread { algorithm: "random", weight: 1, bound: 50.0 },
    Spread { algorithm: "random", weight: 3, bound: 50.0 },
    Spread { algorithm: "round-robin", weight: 1, bound: 0.1 },
    Spread { algorithm: "round-robin", weight: 3, bound: 0.5 },
    Spread { algorithm: "maglev", weight: 1, bound: 80.0 },
    Spread { algorithm: "source-hash", weight: 1, bound: 300.0 },
];

/// Makes connections and holds their spread against the bound.
pub(crate) fn check(node: &mut Node, services: &mut dyn ServiceDatapath, client: fn(u8) -> Client) {
    let judged = JudgedNode { zone: None, serves_second_address: false, serves_loopback: false };
    let settings: ServiceNode = judged.settings();
    services.set_node(&settings).expect("telling what the node is");
    let mut table = ServiceTable::new(judged.view(), Options::default());
    let mut changes = table.apply(&[ServiceChange::Synced]);
    for spread in &SPREADS {
        changes.extend(table.apply(&service(spread)));
        services.apply(&changes).expect("applying");
        changes.clear();
        let counts = count(node, client);
        let value = chi_square(&counts, spread.weight);
        assert!(value <= spread.bound, "{} with weight {}: {value}: {counts:?}", spread.algorithm, spread.weight);
    }
    services.uninstall().expect("removing everything");
}

fn count(node: &mut Node, client: fn(u8) -> Client) -> BTreeMap<SocketAddr, u16> {
    let mut counts = BTreeMap::new();
    for connection in 0..CONNECTIONS {
        let number = u8::try_from(connection % u16::from(CLIENTS)).expect("a client") + 1;
        let to = address(Kind::Service, 1, true);
        let probe = Probe { client: client(number), to, port: PORT, protocol: Protocol::Udp };
        let (_, observed) = node.probe(&probe);
        let (_, flow) = observed.delivered.first().unwrap_or_else(|| panic!("{probe:?}: {observed}"));
        *counts.entry(flow.to).or_insert(0) += 1;
    }
    counts
}

/// How far counts are from shares; the first backend's is `weight`, the others' are one.
fn chi_square(counts: &BTreeMap<SocketAddr, u16>, weight: u16) -> f64 {
    let total = f64::from(weight + u16::from(BACKENDS) - 1);
    (1..=BACKENDS)
        .map(|number| {
            let share = if number == 1 { f64::from(weight) } else { 1.0 };
            let wanted = f64::from(CONNECTIONS) * share / total;
            let at = SocketAddr::new(address(Kind::Pod(HERE), number, true), PORT);
            let found = f64::from(counts.get(&at).copied().unwrap_or(0));
            (found - wanted).powi(2) / wanted
        })
        .sum()
}

fn service(spread: &Spread) -> Vec<ServiceChange> {
    let of = ServiceRef::new("shop", "spread");
    let mut service = plain_service(vec![address(Kind::Service, 1, true)]);
    let port =
        ServicePort { name: String::new(), protocol: Protocol::Udp, port: PORT, node_port: None, app_protocol: None };
    service.ports = vec![port];
    service.annotations.insert("seaway.dev/algorithm".into(), spread.algorithm.into());
    service.annotations.insert("seaway.dev/weights".into(), format!("pod/pod-1={}", spread.weight));
    let endpoint = |number: u8| {
        let mut endpoint = plain_endpoint(address(Kind::Pod(HERE), number, true), Some(NODE_NAME));
        endpoint.pod = Some(PodRef { namespace: "shop".into(), name: format!("pod-{number}") });
        endpoint
    };
    let slice = EndpointSlice {
        imported: None,
        service: Some(of.name.clone()),
        address_type: seaway_model::service::AddressType::IPv4,
        ports: vec![seaway_model::service::EndpointPort {
            name: String::new(),
            protocol: Protocol::Udp,
            port: Some(PORT),
            app_protocol: None,
        }],
        endpoints: (1..=BACKENDS).map(endpoint).collect(),
        changed_at_milliseconds: None,
    };
    let slice_of = SliceRef { namespace: "shop".into(), name: "spread-1".into() };
    vec![
        ServiceChange::Service { of, now: Some(Arc::new(service)) },
        ServiceChange::Slice { of: slice_of, now: Some(Arc::new(slice)) },
    ]
}
