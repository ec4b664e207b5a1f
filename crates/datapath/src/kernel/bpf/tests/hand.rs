//! A node and its pods, made by hand: links, routes and neighbors as the slow path has
//! them, so that every test sees what the fast path adds.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use seaway_model::{MacAddress, abi};

use super::super::{Adoption, FastPath, FastPathConfig, FastPathCounters};
use super::namespaces::Namespace;

/// Where a node of the tests keeps its pins: each has a BPF file system of its own.
pub(super) const PIN_DIR: &str = "/sys/fs/bpf/seaway";

/// A node: a namespace with forwarding on, and perhaps the fast path.
pub(super) struct Node {
    pub(super) namespace: Namespace,
    fast_path: Arc<Mutex<Option<FastPath>>>,
}

/// A pod of a node.
pub(super) struct Pod {
    pub(super) namespace: Namespace,
    pub(super) ipv4: Ipv4Addr,
    pub(super) ipv6: Ipv6Addr,
    pub(super) id: u32,
    pub(super) interface: String,
    pub(super) index: u32,
    pub(super) pod_mac: [u8; 6],
    pub(super) host_mac: [u8; 6],
}

// === impl Node ===

impl Node {
    pub(super) fn new() -> Self {
        let namespace = Namespace::new();
        for setting in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            namespace.run(move || std::fs::write(format!("/proc/sys/net/{setting}"), "1").unwrap());
        }
        Self { namespace, fast_path: Arc::default() }
    }

    /// Loads the fast path, or adopts what is pinned.
    pub(super) fn load(&self, config: FastPathConfig) -> Adoption {
        let slot = Arc::clone(&self.fast_path);
        self.namespace.run(move || {
            let (fast_path, adoption) = FastPath::load_or_adopt(&PathBuf::from(PIN_DIR), &config).unwrap();
            *slot.lock().unwrap() = Some(fast_path);
            adoption
        })
    }

    /// Does something with the loaded fast path, inside the node.
    pub(super) fn with<T: Send + 'static>(&self, job: impl FnOnce(&mut FastPath) -> T + Send + 'static) -> T {
        let slot = Arc::clone(&self.fast_path);
        self.namespace.run(move || job(slot.lock().unwrap().as_mut().expect("the fast path is loaded")))
    }

    /// Forgets the loaded fast path, as a killed agent does.
    pub(super) fn forget(&self) {
        self.fast_path.lock().unwrap().take();
    }

    /// Makes a pod with a link to this node; number `id` of block 10.88.`node`.0/24.
    pub(super) fn add_pod(&self, node: u8, id: u8) -> Pod {
        let pod = self.add_silent_pod(node, id);
        let Pod { ipv4, ipv6, interface, .. } = &pod;
        let (pod_mac, host_mac) = (MacAddress(pod.pod_mac), MacAddress(pod.host_mac));
        for command in [
            format!("addr add {ipv4}/32 dev eth0"),
            format!("addr add {ipv6}/128 dev eth0 nodad"),
            "link set eth0 up".to_owned(),
            format!("neigh add 169.254.1.1 lladdr {host_mac} dev eth0 nud permanent"),
            format!("neigh add fe80::1 lladdr {host_mac} dev eth0 nud permanent"),
            "route add default via 169.254.1.1 dev eth0 onlink".to_owned(),
            "route add default via fe80::1 dev eth0".to_owned(),
        ] {
            pod.namespace.ip(&command);
        }
        for command in [
            format!("link set {interface} up"),
            format!("neigh add {ipv4} lladdr {pod_mac} dev {interface} nud permanent"),
            format!("neigh add {ipv6} lladdr {pod_mac} dev {interface} nud permanent"),
            format!("route add {ipv4}/32 dev {interface}"),
            format!("route add {ipv6}/128 dev {interface}"),
        ] {
            self.namespace.ip(&command);
        }
        pod
    }

    /// Makes a pod whose link stays down: no packets but those of the test.
    pub(super) fn add_silent_pod(&self, node: u8, id: u8) -> Pod {
        let namespace = Namespace::new();
        let interface = format!("swpod{id}");
        let netns = namespace.path().display().to_string();
        self.namespace.ip(&format!("link add {interface} type veth peer name eth0 netns {netns}"));
        Pod {
            ipv4: Ipv4Addr::new(10, 88, node, id),
            ipv6: Ipv6Addr::new(0xfd88, 0, 0, node.into(), 0, 0, 0, id.into()),
            id: id.into(),
            index: self.namespace.index(&interface),
            pod_mac: namespace.mac("eth0"),
            host_mac: self.namespace.mac(&interface),
            interface,
            namespace,
        }
    }

    /// Gives a pod's link to the fast path.
    pub(super) fn attach(&self, pod: &Pod) {
        let (index, link, endpoints) = (pod.index, pod.link(), pod.endpoints());
        self.with(move |fast_path| fast_path.attach_pod_link(index, &link, &endpoints).unwrap());
    }

    pub(super) fn counters(&self) -> FastPathCounters {
        self.with(|fast_path| fast_path.counters().unwrap())
    }

    pub(super) fn events(&self) -> Vec<abi::Event> {
        self.with(|fast_path| {
            let mut events = Vec::new();
            fast_path.drain_events(&mut |event| events.push(*event)).unwrap();
            events
        })
    }

    /// What an endpoint sent and received.
    pub(super) fn traffic(&self, pod: &Pod) -> abi::EndpointCounters {
        self.counters().endpoints[&pod.id]
    }
}

// === impl Pod ===

impl Pod {
    pub(super) fn link(&self) -> abi::Link {
        abi::Link {
            endpoint_id: self.id,
            pod_mac: self.pod_mac,
            flags: 0,
            ipv4: self.ipv4.octets(),
            ipv6: self.ipv6.octets(),
        }
    }

    pub(super) fn endpoint(&self) -> abi::Endpoint {
        abi::Endpoint { interface_index: self.index, id: self.id, pod_mac: self.pod_mac, host_mac: self.host_mac }
    }

    pub(super) fn endpoints(&self) -> Vec<(IpAddr, abi::Endpoint)> {
        vec![(self.ipv4.into(), self.endpoint()), (self.ipv6.into(), self.endpoint())]
    }

    /// Pings from inside: whether every one of `count` was answered.
    pub(super) fn pings(&self, address: impl Into<IpAddr>, count: u32) -> bool {
        let address: IpAddr = address.into();
        let command = format!("ping -n -c {count} -i 0.01 -W 2 {address}");
        let (_, output) = self.namespace.try_exec(&command);
        output.contains(&format!(" {count} received"))
    }
}
