//! The eBPF data path, opened for judgement: programs for sockets alone, or with those for packets
//! where they enter the node: from elsewhere, and from pods.

use std::net::{IpAddr, SocketAddr};

use nix::net::if_::if_nametoindex;
use seaway_datapath::kernel::bpf::{FastPath, FastPathConfig, ServicePackets, ServiceTables};
use seaway_datapath::kernel::services::ebpf::EbpfServices;
use seaway_datapath::services::ServiceUsage;
use seaway_datapath::{
    DatapathError, DatapathErrors, Difference, Options, ServiceDatapath, ServiceNode, ServiceReport,
};
use seaway_model::{Protocol, abi};
use seaway_services::plan::{Forwarding, Frontend, FrontendAddress, FrontendKind, PlanChange, ServicePlan};

use crate::expected::Expected;
use crate::packets::device::Device;
use crate::packets::node::{Node, PODS, WORLD};
use crate::programmed::Served;
use crate::world::addresses::{HERE, Kind, address};
use crate::world::scenario::{Client, Probe};

/// Sockets, packets from elsewhere, and packets of pods.
struct Whole {
    services: EbpfServices,
    fast_path: FastPath,
    options: Options,
}

/// Programs for sockets.
pub(crate) fn open_sockets(node: &Node) -> Box<dyn Served> {
    Box::new(EbpfServices::open(&options(node)).expect("opening eBPF"))
}

/// Programs for sockets, and for packets that enter by the device to elsewhere and by the pods' link.
pub(crate) fn open_packets(node: &Node) -> Box<dyn Served> {
    let options = options(node);
    let (mut fast_path, _) =
        FastPath::load_or_adopt(&options.pin_dir, &options.fast_path).expect("loading programs for packets");
    let services = EbpfServices::open(&options).expect("opening eBPF");
    let device = if_nametoindex(WORLD).expect("the device");
    fast_path.attach_underlay(device).expect("attaching programs");
    fast_path.attach_pod_link(pods_device(), &link_of(1), &endpoints()).expect("attaching programs to the pods' link");
    Box::new(Whole { services, fast_path, options })
}

fn pods_device() -> u32 {
    if_nametoindex(PODS).expect("the device")
}

/// What the link of all pods may send while this one sends.
fn link_of(pod: u8) -> abi::Link {
    let (IpAddr::V4(ipv4), IpAddr::V6(ipv6)) =
        (address(Kind::Pod(HERE), pod, true), address(Kind::Pod(HERE), pod, false))
    else {
        panic!("an address of each family")
    };
    abi::Link {
        endpoint_id: pod.into(),
        pod_mac: Device::NEIGHBOR_MAC,
        flags: 0,
        ipv4: ipv4.octets(),
        ipv6: ipv6.octets(),
    }
}

/// The pods of the node, all on one link.
fn endpoints() -> Vec<(IpAddr, abi::Endpoint)> {
    let interface_index = pods_device();
    let endpoint = |number: u8| abi::Endpoint {
        interface_index,
        id: number.into(),
        pod_mac: Device::NEIGHBOR_MAC,
        host_mac: Device::NODE_MAC,
    };
    let of_pod = |number| [true, false].map(|ipv4| (address(Kind::Pod(HERE), number, ipv4), endpoint(number)));
    (1..=12).flat_map(of_pod).collect()
}

fn options(node: &Node) -> Options {
    let fast_path = FastPathConfig {
        service_tables: ServiceTables { affine_clients: 4096, datagram_peers: 1024, ..ServiceTables::default() },
        services: Some(ServicePackets { max_connections: 32_768, ..ServicePackets::default() }),
        ..FastPathConfig::default()
    };
    Options { cgroup_root: node.cgroup().expect("a node with sockets"), fast_path, ..Options::default() }
}

/// The host stack cannot tell whom a socket called that now calls a backend's address. When another
/// Service claims just that place, either may win.
pub(crate) fn owes(plans: &[&ServicePlan], probe: &Probe, expected: Expected) -> Option<Expected> {
    let is_place = |backend: &SocketAddr| {
        let frontends = plans.iter().flat_map(|plan| &plan.frontends);
        let mut there = frontends.filter(|one| one.protocol == probe.protocol && one.port == backend.port());
        there.any(|one| one.at == FrontendAddress::Ip(backend.ip()))
    };
    // Nor can this node tell a packet that another node handed to it from one that strayed here.
    let is_peer = [2, 3].iter().any(|number| probe.to == address(Kind::Node, *number, probe.to.is_ipv4()));
    let answers_directly = |one: &Frontend| {
        (one.kind, one.forwarding) == (FrontendKind::NodePort, Forwarding::DirectReturn)
            && (one.protocol, one.port) == (probe.protocol, probe.port)
    };
    if is_peer && plans.iter().flat_map(|plan| &plan.frontends).any(answers_directly) {
        return None;
    }
    let is_settled = !matches!(&expected, Expected::Backends { to, .. } if to.iter().any(is_place));
    is_settled.then_some(expected)
}

/// Packets of processes that bypass sockets are not served; this kernel has no sockets of SCTP.
pub(crate) fn asks(probe: Probe) -> Option<Probe> {
    (probe.client != Client::Process || probe.protocol != Protocol::Sctp).then_some(probe)
}

// === impl Whole ===

impl Served for EbpfServices {}

impl Served for Whole {
    fn pod_sends(&mut self, pod: u8) {
        self.fast_path.attach_pod_link(pods_device(), &link_of(pod), &[]).expect("telling which pod sends");
    }
}

impl ServiceDatapath for Whole {
    fn set_node(&mut self, node: &ServiceNode) -> Result<(), DatapathError> {
        self.services.set_node(node)
    }

    fn apply(&mut self, changes: &[PlanChange]) -> Result<ServiceReport, DatapathError> {
        self.services.apply(changes)
    }

    fn synced(&mut self) -> Result<ServiceReport, DatapathError> {
        self.services.synced()
    }

    fn audit(&mut self) -> Result<Vec<Difference>, DatapathError> {
        self.services.audit()
    }

    fn usage(&mut self) -> Result<ServiceUsage, DatapathError> {
        self.services.usage()
    }

    fn uninstall(&mut self) -> Result<(), DatapathErrors> {
        self.services.uninstall()?;
        let mut errors = DatapathErrors::default();
        let device = if_nametoindex(WORLD).expect("the device");
        errors.collect(self.fast_path.detach_underlay(device).map_err(DatapathError::from));
        errors.collect(self.fast_path.detach_pod_link(pods_device()).map_err(DatapathError::from));
        errors.collect(FastPath::uninstall(&self.options.pin_dir).map_err(DatapathError::from));
        errors.into_result()
    }
}
