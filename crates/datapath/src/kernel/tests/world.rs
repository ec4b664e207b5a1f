//! A small cluster: nodes on a switch, pods on nodes, a host outside.

use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use ipnet::IpNet;
use seaway_model::agent_api::AttachmentKey;
use seaway_model::{Encapsulation, IpBlock, IpPool, LabelSelector, NodeName, PodRef, Snapshot, abi};
use seaway_routing::plan::{NetworkOptions, NetworkPlan, network_plan};

use super::traffic::PATIENCE;
use crate::kernel::bpf::tests::namespaces::Namespace;
use crate::kernel::node::KernelDatapath;
use crate::support::Backend;
use crate::{AttachedLink, Counters, Datapath, DatapathError, Difference, Options, PodLink};

/// Both backends, for tests that hold for either.
pub(super) const BACKENDS: [Backend; 2] = [Backend::Ebpf, Backend::Nftables];
/// Address of the host outside of the cluster.
pub(super) const OUTSIDE_V4: &str = "192.0.2.100";
/// Its IPv6 address.
pub(super) const OUTSIDE_V6: &str = "2001:db8::100";

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(super) fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

/// Nodes `a` and `b` with a block per family each, on one switch.
pub(super) struct World {
    _switch: Namespace,
    pub(super) outside: Namespace,
    pub(super) a: Node,
    pub(super) b: Node,
}

/// A node with an open data path.
pub(super) struct Node {
    pub(super) namespace: Namespace,
    pub(super) addresses: Vec<IpAddr>,
    number: u8,
    pub(super) backend: Backend,
    pub(super) plan: NetworkPlan,
    /// None while no agent lives.
    datapath: Option<Arc<Mutex<KernelDatapath>>>,
    /// The node before Seaway came.
    pub(super) before_install: String,
}

/// A connected pod.
pub(super) struct Pod {
    pub(super) namespace: Namespace,
    pub(super) wanted: PodLink,
    pub(super) link: AttachedLink,
}

fn pool(cidr: &str, block_prefix_length: u8, encapsulation: Encapsulation) -> IpPool {
    IpPool {
        name: format!("pool-{}", if cidr.contains(':') { 6 } else { 4 }),
        cidr: net(cidr),
        block_prefix_length,
        encapsulation,
        node_selector: LabelSelector::default(),
        namespace_selector: LabelSelector::default(),
        masquerade: true,
        disabled: false,
    }
}

fn snapshot(encapsulation: Encapsulation) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for pool in [pool("10.83.0.0/16", 24, encapsulation), pool("fd83::/48", 64, encapsulation)] {
        snapshot.pools.insert(pool.name.clone(), pool);
    }
    for (name, number) in [("a", 1), ("b", 2)] {
        let addresses = vec![ip(&format!("192.0.2.{number}")), ip(&format!("2001:db8::{number}"))];
        snapshot.nodes.insert(name.into(), seaway_model::Node { addresses, ..Default::default() });
        for (pool, cidr) in [("pool-4", format!("10.83.{number}.0/24")), ("pool-6", format!("fd83:0:0:{number}::/64"))]
        {
            let block = IpBlock { cidr: net(&cidr), pool: pool.into(), node: name.into() };
            snapshot.blocks.insert(block.cidr, block);
        }
    }
    snapshot
}

/// Connects a namespace to the switch as `eth0`.
fn plug(switch: &Namespace, namespace: &Namespace, number: u8) {
    let port = format!("port{number}");
    switch.ip(&format!("link add {port} type veth peer name eth0 netns {}", namespace.path().display()));
    switch.ip(&format!("link set {port} master bridge0 up"));
    // A link-local address that does not come up by itself a second later.
    namespace.ip("link set eth0 addrgenmode none");
    namespace.ip(&format!("-6 addr add fe80::{number}/64 dev eth0 nodad"));
    namespace.ip(&format!("addr add 192.0.2.{number}/24 dev eth0"));
    namespace.ip(&format!("-6 addr add 2001:db8::{number}/64 dev eth0 nodad"));
    namespace.ip("link set eth0 up");
    let deadline = Instant::now() + PATIENCE;
    // The carrier and the routes to the own addresses come a moment later.
    let settled = |namespace: &Namespace| {
        let local = namespace.exec("ip -6 route show table local dev eth0");
        let addresses = local.lines().filter(|line| line.starts_with("local")).count();
        namespace.exec("ip -o link show eth0").contains("state UP") && addresses == 2
    };
    while !settled(namespace) {
        assert!(Instant::now() < deadline, "eth0 does not come up");
        std::thread::yield_now();
    }
}

/// Everything that Seaway may leave behind, read with other programs than ours.
fn observe(namespace: &Namespace) -> String {
    [
        "ip -o link",
        "ip addr",
        "ip route show table all",
        "ip -6 route show table all",
        "ip rule",
        "ip neigh show nud permanent",
        "nft list ruleset",
        "sysctl net.ipv4.ip_forward net.ipv6.conf.all.forwarding",
        "ls /sys/fs/bpf",
    ]
    .map(|command| format!("# {command}\n{}", namespace.exec(command)))
    .concat()
}

// === impl World ===

impl World {
    /// Builds the world and applies the plans.
    pub(super) fn new(backend: Backend, encapsulation: Encapsulation) -> Self {
        let switch = Namespace::new();
        switch.ip("link add bridge0 type bridge");
        switch.ip("link set bridge0 up");
        let outside = Namespace::new();
        plug(&switch, &outside, 100);
        let snapshot = snapshot(encapsulation);
        let a = Node::new(&switch, "a", 1, backend, &snapshot);
        let b = Node::new(&switch, "b", 2, backend, &snapshot);
        Self { _switch: switch, outside, a, b }
    }
}

// === impl Node ===

impl Node {
    fn new(switch: &Namespace, name: &str, number: u8, backend: Backend, snapshot: &Snapshot) -> Self {
        let namespace = Namespace::new();
        plug(switch, &namespace, number);
        let addresses = snapshot.nodes[&NodeName::from(name)].addresses.clone();
        let found = namespace.run({
            let addresses = addresses.clone();
            move || crate::underlay(&addresses).unwrap()
        });
        assert_eq!(found.device, "eth0");
        let options = NetworkOptions {
            vxlan_port: 4789,
            vxlan_id: 83,
            non_masquerade: Vec::new(),
            mtu_bytes: None,
            service_cidrs: Vec::new(),
        };
        let plan = network_plan(snapshot, &name.into(), &found, &options).unwrap();
        let before_install = observe(&namespace);
        let mut node = Self { namespace, addresses, number, backend, plan, datapath: None, before_install };
        node.open();
        node.apply().unwrap();
        node
    }

    fn open(&mut self) {
        let options = Options { node_addresses: self.addresses.clone(), ..Options::default() };
        let backend = self.backend;
        let opened = self.namespace.run(move || KernelDatapath::open(backend, options).unwrap());
        self.datapath = Some(Arc::new(Mutex::new(opened)));
    }

    /// What other programs than ours see of the node.
    pub(super) fn observe(&self) -> String {
        observe(&self.namespace)
    }

    /// Calls the data path from inside the node.
    pub(super) fn with<T: Send + 'static>(&self, call: impl FnOnce(&mut KernelDatapath) -> T + Send + 'static) -> T {
        let datapath = self.datapath.clone().expect("an agent");
        self.namespace.run(move || call(&mut datapath.lock().unwrap()))
    }

    pub(super) fn apply(&self) -> Result<Vec<String>, DatapathError> {
        let plan = self.plan.clone();
        self.with(move |datapath| datapath.apply(&plan).map(|report| report.operations))
    }

    pub(super) fn audit(&self) -> Vec<Difference> {
        let plan = self.plan.clone();
        self.with(move |datapath| datapath.audit(&plan).unwrap())
    }

    /// Kills the agent, as far as the kernel is concerned.
    pub(super) fn kill(&mut self) {
        self.datapath = None;
    }

    /// Kills the agent and starts another, which adopts.
    pub(super) fn restart(&mut self) -> Vec<AttachedLink> {
        self.kill();
        self.open();
        self.with(|datapath| datapath.adopt().unwrap())
    }

    pub(super) fn counters(&self) -> Counters {
        self.with(|datapath| datapath.counters().unwrap())
    }

    pub(super) fn events(&self) -> Vec<abi::Event> {
        self.with(|datapath| {
            let mut events = Vec::new();
            datapath.drain_events(&mut |event| events.push(*event)).unwrap();
            events
        })
    }

    /// What is asked for when the pod of this number is connected.
    pub(super) fn pod_link(&self, number: u8) -> PodLink {
        let node = self.number;
        PodLink {
            key: AttachmentKey {
                container_id: format!("sandbox-{node}-{number}").as_str().into(),
                interface: "eth0".into(),
            },
            network: "seaway".into(),
            pod: Some(PodRef { namespace: "shop".into(), name: format!("web-{node}-{number}") }),
            pod_uid: Some(format!("uid-{node}-{number}")),
            addresses: vec![ip(&format!("10.83.{node}.{number}")), ip(&format!("fd83:0:0:{node}::{number}"))],
            mac: None,
            mtu_bytes: self.plan.pod_mtu_bytes,
            shaped: false,
        }
    }

    pub(super) fn attach(&self, namespace: &Namespace, wanted: &PodLink) -> Result<AttachedLink, DatapathError> {
        let netns = File::open(namespace.path()).unwrap();
        let wanted = wanted.clone();
        self.with(move |datapath| datapath.attach_pod(netns.as_fd(), &wanted))
    }

    /// Connects a new pod.
    pub(super) fn pod(&self, number: u8) -> Pod {
        let namespace = Namespace::new();
        let wanted = self.pod_link(number);
        let link = self.attach(&namespace, &wanted).unwrap();
        Pod { namespace, wanted, link }
    }

    pub(super) fn check(&self, pod: &Pod) -> Result<(), DatapathError> {
        let netns = File::open(pod.namespace.path()).unwrap();
        let wanted = pod.wanted.clone();
        self.with(move |datapath| datapath.check_pod(netns.as_fd(), &wanted))
    }

    pub(super) fn detach(&self, key: &AttachmentKey) -> Result<(), DatapathError> {
        let key = key.clone();
        self.with(move |datapath| datapath.detach_pod(&key, None))
    }

    /// The node's address of the family of `like`.
    pub(super) fn address_like(&self, like: IpAddr) -> IpAddr {
        *self.addresses.iter().find(|address| address.is_ipv4() == like.is_ipv4()).unwrap()
    }
}

// === impl Pod ===

impl Pod {
    pub(super) fn v4(&self) -> IpAddr {
        self.link.addresses[0]
    }

    pub(super) fn v6(&self) -> IpAddr {
        self.link.addresses[1]
    }
}
