//! Two nodes that serve Services, with a pod each, and a client of neither, on one link.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use ipnet::IpNet;
use seaway_model::abi::conntrack::{CONNTRACK_FORWARD, ConntrackEntry, ConntrackKey};
use seaway_model::{MacAddress, abi};
use seaway_services::plan::PlanChange;

use super::super::super::{FastPathConfig, ServicePackets, ServiceTables, XdpChoice};
use super::super::hand::{Node, Pod};
use super::super::namespaces::Namespace;
use super::plan::TARGET_PORT;
use super::talk::serve;
use crate::Options;
use crate::kernel::services::ebpf::EbpfServices;
use crate::kernel::services::ebpf::tests::world::Cgroup;
use crate::services::{ServiceDatapath as _, ServiceNode};

pub(super) const UNDERLAY_MTU_BYTES: u32 = 1_500;
/// VXLAN over IPv4 costs 50 bytes.
pub(super) const TUNNEL_MTU_BYTES: u32 = 1_450;

/// How the nodes' pods reach each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Between {
    Tunnel,
    Direct,
}

pub(super) struct Cluster {
    pub(super) nodes: [ServingNode; 2],
    pub(super) client: Namespace,
    /// The link: a bridge, with a port for each.
    pub(super) hub: Namespace,
}

pub(super) struct ServingNode {
    pub(super) node: Node,
    pub(super) pod: Pod,
    pub(super) number: u8,
    services: Arc<Mutex<Option<EbpfServices>>>,
    cgroup: Cgroup,
}

fn node_ipv4(number: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, number).into()
}

fn node_ipv6(number: u8) -> IpAddr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number.into()).into()
}

/// Address of a node, by number and family.
pub(super) fn node(number: u8, ipv4: bool) -> IpAddr {
    if ipv4 { node_ipv4(number) } else { node_ipv6(number) }
}

/// Address of the client, by family.
pub(super) fn client(ipv4: bool) -> IpAddr {
    node(Cluster::CLIENT, ipv4)
}

/// A cluster whose pods serve.
pub(super) fn serving(between: Between) -> Cluster {
    serving_with(between, XdpChoice::Off)
}

/// The same, whose devices may run the XDP program.
pub(super) fn serving_with(between: Between, xdp: XdpChoice) -> Cluster {
    let cluster = Cluster::with(between, xdp);
    for node in &cluster.nodes {
        serve(&node.pod.namespace, SocketAddr::new(node.pod.ipv4.into(), TARGET_PORT));
        serve(&node.pod.namespace, SocketAddr::new(node.pod.ipv6.into(), TARGET_PORT));
    }
    cluster
}

// === impl Cluster ===

impl Cluster {
    /// Number of the client on the link.
    pub(super) const CLIENT: u8 = 9;

    pub(super) fn new(between: Between) -> Self {
        Self::with(between, XdpChoice::Off)
    }

    pub(super) fn with(between: Between, xdp: XdpChoice) -> Self {
        let hub = Namespace::new();
        hub.ip("link add hub type bridge");
        hub.ip("link set hub up");
        let client = Namespace::new();
        plug(&hub, &client, Self::CLIENT);
        let nodes = [1, 2].map(|number| ServingNode::new(&hub, number, xdp));
        for node in &nodes {
            match between {
                Between::Tunnel => node.join_by_tunnel(),
                Between::Direct => node.join_directly(),
            }
            node.serve();
        }
        Self { nodes, client, hub }
    }

    /// Applies changes on both nodes, each with its own view of what is local.
    pub(super) fn apply(&self, change: impl Fn(&ServingNode) -> PlanChange) {
        for node in &self.nodes {
            node.apply(change(node));
        }
    }

    /// Drops of both nodes, for the failure's message.
    pub(super) fn drops(&self) -> String {
        format!("{:?}", self.nodes.each_ref().map(|node| node.node.counters().drops))
    }
}

// === impl ServingNode ===

impl ServingNode {
    fn new(hub: &Namespace, number: u8, xdp: XdpChoice) -> Self {
        let node = Node::new();
        plug(hub, &node.namespace, number);
        let pod = node.add_pod(number, 1);
        let cgroup = Cgroup::new(&node.namespace);
        let serving = Self { node, pod, number, services: Arc::default(), cgroup };
        serving.reload(xdp);
        serving.node.attach(&serving.pod);
        let device = serving.node.namespace.index("eth0");
        serving.node.with(move |fast_path| fast_path.attach_underlay(device).unwrap());
        serving
    }

    /// Has another loader take over.
    pub(super) fn reload(&self, xdp: XdpChoice) {
        let mut config = fast_path_config();
        config.services = config.services.map(|packets| ServicePackets { xdp, ..packets });
        self.node.load(config);
    }

    fn peer(&self) -> u8 {
        3 - self.number
    }

    fn join_by_tunnel(&self) {
        let (number, peer, mac) = (self.number, self.peer(), format!("02:53:00:00:00:0{}", self.peer()));
        let mtu = TUNNEL_MTU_BYTES;
        for command in [
            format!("link add sw_vxlan type vxlan id 83 dstport 4789 local 192.0.2.{number} dev eth0 nolearning"),
            format!("link set sw_vxlan address 02:53:00:00:00:0{number} mtu {mtu} up"),
            format!("addr add 10.88.{number}.0/32 dev sw_vxlan"),
            format!("neigh add 192.0.2.{peer} lladdr {mac} dev sw_vxlan nud permanent"),
            format!("neigh add fe80::{peer} lladdr {mac} dev sw_vxlan nud permanent"),
            format!("route add 10.88.{peer}.0/24 via 192.0.2.{peer} dev sw_vxlan onlink mtu {mtu}"),
            format!("route add fd88:0:0:{peer}::/64 via fe80::{peer} dev sw_vxlan onlink mtu {mtu}"),
        ] {
            self.node.namespace.ip(&command);
        }
        self.node.namespace.exec(&format!("bridge fdb add {mac} dev sw_vxlan dst 192.0.2.{peer}"));
        self.pod.namespace.ip(&format!("link set eth0 mtu {mtu}"));
        self.node.namespace.ip(&format!("link set {} mtu {mtu}", self.pod.interface));
        let device = self.node.namespace.index("sw_vxlan");
        let own = MacAddress(self.node.namespace.mac("sw_vxlan"));
        self.node.with(move |fast_path| fast_path.attach_tunnel(device, own).unwrap());
        self.set_routes(abi::ROUTE_TUNNEL, device, mtu, mac.parse::<MacAddress>().unwrap().0);
    }

    fn join_directly(&self) {
        let peer = self.peer();
        self.node.namespace.ip(&format!("route add 10.88.{peer}.0/24 via 192.0.2.{peer} dev eth0"));
        self.node.namespace.ip(&format!("route add fd88:0:0:{peer}::/64 via 2001:db8::{peer} dev eth0"));
        let device = self.node.namespace.index("eth0");
        self.set_routes(abi::ROUTE_DIRECT, device, UNDERLAY_MTU_BYTES, [0; 6]);
    }

    fn set_routes(&self, kind: u32, device: u32, mtu_bytes: u32, tunnel_mac: [u8; 6]) {
        let remote = abi::Route { kind, interface_index: device, mtu_bytes, tunnel_mac, pad: [0; 2] };
        let local = abi::Route { kind: abi::ROUTE_LOCAL_BLOCK, interface_index: 0, ..remote };
        let blocks = |number: u8| [format!("10.88.{number}.0/24"), format!("fd88:0:0:{number}::/64")];
        let prefix = |text: String| text.parse::<IpNet>().unwrap();
        let own = blocks(self.number).map(|block| (prefix(block), local));
        let routes: Vec<_> = own.into_iter().chain(blocks(self.peer()).map(|block| (prefix(block), remote))).collect();
        self.node.with(move |fast_path| fast_path.set_routes(&routes, &[]).unwrap());
    }

    fn serve(&self) {
        let options =
            Options { cgroup_root: self.cgroup.path().into(), fast_path: fast_path_config(), ..Options::default() };
        let own = vec![node_ipv4(self.number), node_ipv6(self.number)];
        let settings = ServiceNode {
            node_port_addresses: own.clone(),
            node_addresses: own,
            cluster_node_addresses: [1, 2]
                .into_iter()
                .flat_map(|number| [node_ipv4(number), node_ipv6(number)])
                .collect(),
            service_cidrs: vec!["10.96.0.0/16".parse().unwrap(), "fd96::/112".parse().unwrap()],
            pod_cidrs: vec!["10.88.0.0/16".parse().unwrap(), "fd88::/48".parse().unwrap()],
            ..ServiceNode::default()
        };
        let slot = Arc::clone(&self.services);
        self.node.namespace.run(move || {
            let mut services = EbpfServices::open(&options).unwrap();
            services.set_node(&settings).unwrap();
            *slot.lock().unwrap() = Some(services);
        });
    }

    pub(super) fn with<T: Send + 'static>(&self, job: impl FnOnce(&mut EbpfServices) -> T + Send + 'static) -> T {
        let slot = Arc::clone(&self.services);
        self.node.namespace.run(move || job(slot.lock().unwrap().as_mut().expect("Services are served")))
    }

    pub(super) fn apply(&self, change: PlanChange) -> crate::services::ServiceReport {
        self.with(move |services| services.apply(&[change]).unwrap())
    }

    /// The source port that a client's connection has towards its backend.
    pub(super) fn port_towards(&self, client_port: u16) -> u16 {
        let entries = self.with(|services| services.conntrack().unwrap().unwrap().entries().unwrap());
        let of_client = |key: &ConntrackKey, entry: &ConntrackEntry| {
            entry.flags & CONNTRACK_FORWARD != 0 && u16::from_be(key.source_port) == client_port
        };
        let entry = entries.iter().rev().find(|(key, entry)| of_client(key, entry)).expect("there is a connection").1;
        u16::from_be(entry.source_port)
    }

    /// A backend as this node sees it.
    pub(super) fn sees(&self, pod: &Pod, ipv4: bool) -> (IpAddr, bool) {
        (if ipv4 { pod.ipv4.into() } else { pod.ipv6.into() }, pod.ipv4 == self.pod.ipv4)
    }
}

impl Drop for ServingNode {
    fn drop(&mut self) {
        self.services.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if !std::thread::panicking() {
            self.cgroup.remove(&self.node.namespace);
        }
    }
}

fn fast_path_config() -> FastPathConfig {
    FastPathConfig {
        service_tables: ServiceTables { affine_clients: 1024, datagram_peers: 1024, ..ServiceTables::default() },
        services: Some(ServicePackets { max_connections: 1024, ..ServicePackets::default() }),
        ..FastPathConfig::default()
    }
}

/// Puts a namespace on the link, as 192.0.2.`number` and 2001:db8::`number`.
fn plug(hub: &Namespace, namespace: &Namespace, number: u8) {
    let path = namespace.path().display().to_string();
    hub.ip(&format!("link add port{number} type veth peer name eth0 netns {path}"));
    hub.ip(&format!("link set port{number} master hub up"));
    namespace.ip("link set eth0 up");
    namespace.ip(&format!("addr add 192.0.2.{number}/24 dev eth0"));
    namespace.ip(&format!("addr add 2001:db8::{number}/64 dev eth0 nodad"));
}
