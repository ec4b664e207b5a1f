//! The thread against a data path in memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use seaway_datapath::ServiceNode;
use seaway_datapath::fake::FakeServices;
use seaway_datapath::services::Refusal;
use seaway_model::agent_api::ServiceQuestion;
use seaway_model::service::{AddressType, Endpoint, EndpointPort, EndpointSlice, IngressMode, LoadBalancerIngress};
use seaway_model::service::{Service, ServiceKind, ServicePort, TrafficDistribution, TrafficPolicy};
use seaway_model::{Labels, Protocol, ServiceChange, ServiceRef, SliceRef};
use seaway_services::{NodeView, Options, ServiceTable};
use tokio::sync::{mpsc, watch};

use super::facts::Facts;
use super::health::{HealthPorts, NodeHealth};
use super::metrics::ServiceMetrics;
use super::worker::{Message, Outputs, ServicesHandle, start};

/// Long enough for any machine; a test that works never waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

struct World {
    handle: ServicesHandle,
    kernel: FakeServices,
    refusals: mpsc::UnboundedReceiver<Refusal>,
    ports: watch::Receiver<Arc<HealthPorts>>,
}

fn world() -> World {
    let kernel = FakeServices::default();
    let (health_ports, ports) = watch::channel(Arc::default());
    let (refused, refusals) = mpsc::unbounded_channel();
    let (troubles, _) = watch::channel(Vec::new());
    let outputs = Outputs { health_ports, health: NodeHealth::default(), refusals: refused, troubles };
    let table = ServiceTable::new(NodeView::new("n1".into()), Options::default());
    let handle = start(table, Box::new(kernel.clone()), ServiceMetrics::new(), outputs, None).unwrap();
    World { handle, kernel, refusals, ports }
}

fn facts() -> Message {
    let view = NodeView::new("n1".into());
    Message::Facts(Box::new(Facts { view, node: ServiceNode::default(), leaving: false }))
}

/// A load-balanced Service with policy Local and one endpoint on this node.
fn service(name: &str, address: &str, health_port: Option<u16>) -> [ServiceChange; 2] {
    let of = ServiceRef::new("shop", name);
    let port =
        ServicePort { name: String::new(), protocol: Protocol::Tcp, port: 80, node_port: None, app_protocol: None };
    let ingress = LoadBalancerIngress { address: None, hostname: Some("lb".into()), mode: IngressMode::Vip };
    let now = Service {
        uid: name.to_owned(),
        created_at_seconds: 1,
        kind: ServiceKind::LoadBalancer,
        cluster_ips: vec![address.parse().unwrap()],
        headless: false,
        ports: vec![port],
        external_ips: Vec::new(),
        ingress: vec![ingress],
        load_balancer_class: None,
        source_ranges: Vec::new(),
        affinity_timeout_seconds: None,
        internal_policy: TrafficPolicy::Cluster,
        external_policy: TrafficPolicy::Local,
        health_check_node_port: health_port,
        publish_not_ready_addresses: false,
        traffic_distribution: TrafficDistribution::Any,
        external_name: None,
        labels: Labels::new(),
        annotations: Labels::new(),
    };
    let endpoint = Endpoint {
        addresses: vec!["10.244.0.7".parse().unwrap()],
        ready: true,
        serving: true,
        terminating: false,
        hostname: None,
        node: Some("n1".into()),
        zone: None,
        pod: None,
        zone_hints: Vec::new(),
        node_hints: Vec::new(),
    };
    let slice = EndpointSlice {
        imported: None,
        changed_at_milliseconds: None,
        service: Some(name.to_owned()),
        address_type: AddressType::IPv4,
        ports: vec![EndpointPort {
            name: String::new(),
            protocol: Protocol::Tcp,
            port: Some(8080),
            app_protocol: None,
        }],
        endpoints: vec![endpoint],
    };
    let slice_name = SliceRef { namespace: "shop".into(), name: format!("{name}-1") };
    [
        ServiceChange::Service { of, now: Some(Arc::new(now)) },
        ServiceChange::Slice { of: slice_name, now: Some(Arc::new(slice)) },
    ]
}

impl World {
    async fn tell(&self, changes: Vec<ServiceChange>) {
        self.handle.send(Message::Changes(changes, Instant::now())).await;
    }

    /// Returns when all that was sent before is in the kernel, or was refused by it.
    async fn settle(&self) {
        tokio::time::timeout(PATIENCE, self.handle.audit()).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn nothing_goes_to_the_kernel_before_all_is_heard_and_the_node_is_known() {
    let world = world();
    world.tell(service("web", "10.96.0.5", None).to_vec()).await;
    world.handle.send(facts()).await;
    world.settle().await;
    assert_eq!(world.kernel.state().plans.len(), 0, "half of the truth would refuse connections");
    assert!(world.handle.ask(ServiceQuestion::List).await.is_err(), "an unfinished list is no answer");
    world.tell(vec![ServiceChange::Synced]).await;
    world.settle().await;
    assert_eq!(world.kernel.state().plans.len(), 1);
    assert!(world.kernel.state().synced);
    let list = world.handle.ask(ServiceQuestion::List).await.unwrap();
    assert_eq!(list[0]["backends"], 1, "{list}");
}

#[tokio::test]
async fn a_batch_that_fails_is_tried_again_with_what_came_meanwhile() {
    let world = world();
    world.handle.send(facts()).await;
    world.kernel.state().fail_next = true;
    world.tell([service("a", "10.96.0.5", None).to_vec(), vec![ServiceChange::Synced]].concat()).await;
    world.settle().await;
    world.tell(service("b", "10.96.0.6", None).to_vec()).await;
    let deadline = Instant::now() + PATIENCE;
    while world.kernel.state().plans.len() < 2 {
        assert!(Instant::now() < deadline, "the failed batch was never tried again");
        world.settle().await;
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_does_not_fit_is_told_once_and_gets_in_when_there_is_room() {
    let mut world = world();
    world.handle.send(facts()).await;
    world.kernel.state().room = Some(1);
    let all = [service("a", "10.96.0.5", None).to_vec(), service("b", "10.96.0.6", None).to_vec()].concat();
    world.tell([all, vec![ServiceChange::Synced]].concat()).await;
    world.settle().await;
    let refused = world.refusals.try_recv().unwrap().service;
    assert!(world.refusals.try_recv().is_err());
    let held = if refused.name == "a" { "b" } else { "a" };
    world.tell(vec![ServiceChange::Service { of: ServiceRef::new("shop", held), now: None }]).await;
    world.settle().await;
    let plans: Vec<_> = world.kernel.state().plans.keys().cloned().collect();
    assert_eq!(plans, [refused]);
}

#[tokio::test]
async fn health_check_ports_follow_the_service_and_are_freed_with_its_policy() {
    let world = world();
    world.handle.send(facts()).await;
    world.tell([service("a", "10.96.0.5", Some(31000)).to_vec(), vec![ServiceChange::Synced]].concat()).await;
    world.settle().await;
    assert_eq!(world.ports.borrow()[&31000].local_ready_endpoints, 1);
    world.tell(service("a", "10.96.0.5", None)[..1].to_vec()).await;
    world.settle().await;
    assert!(world.ports.borrow().is_empty(), "the port stays open for nobody");
}
