//! A node with pods, pods elsewhere, a host outside; servers that say who they are.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ipnet::IpNet;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt};
use seaway_model::{Protocol, ServiceRef};
use seaway_services::plan::{
    Algorithm, Backend, BackendSet, Forwarding, Frontend, FrontendAddress, FrontendKind, PlanChange, Reach, ServicePlan,
};

use super::super::NftablesServices;
use crate::kernel::bpf::tests::namespaces::Namespace;
use crate::{Difference, ServiceDatapath, ServiceNode, ServiceReport};

/// What arrives does so within this time.
const PATIENCE: Duration = Duration::from_secs(5);
/// What is dropped did not arrive within this time.
const DROPPED: Duration = Duration::from_millis(400);
/// Addresses of the host outside.
pub(super) const OUTSIDE: [&str; 2] = ["192.0.2.100", "2001:db8::100"];
/// Addresses of the node.
pub(super) const NODE: [&str; 2] = ["192.0.2.1", "2001:db8::1"];

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(super) fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

pub(super) fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip(address), port)
}

/// What became of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A server answered: its name, and the client's address as it saw it.
    Answered {
        server: String,
        client: IpAddr,
    },
    Refused,
    Silence,
}

pub(super) struct World {
    pub(super) node: Namespace,
    pub(super) outside: Namespace,
    pub(super) services: Option<Arc<Mutex<NftablesServices>>>,
    pub(super) settings: ServiceNode,
}

/// A namespace behind the node, with an address of each family.
pub(super) struct Host {
    pub(super) namespace: Namespace,
    pub(super) v4: IpAddr,
    pub(super) v6: IpAddr,
    name: String,
}

// === impl Outcome ===

impl Outcome {
    pub(super) fn server(&self) -> &str {
        match self {
            Outcome::Answered { server, .. } => server,
            Outcome::Refused => "refused",
            Outcome::Silence => "silence",
        }
    }

    pub(super) fn client(&self) -> IpAddr {
        match self {
            Outcome::Answered { client, .. } => *client,
            other => panic!("{other:?}"),
        }
    }
}

// === impl World ===

impl World {
    pub(super) fn new() -> Self {
        let node = Namespace::new();
        for setting in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
            node.run(move || std::fs::write(format!("/proc/sys/{setting}"), "1").unwrap());
        }
        let outside = Namespace::new();
        link(&node, "eth0", &outside);
        for (host, addresses) in [(&node, NODE), (&outside, OUTSIDE)] {
            host.ip(&format!("addr add {}/24 dev eth0", addresses[0]));
            host.ip(&format!("-6 addr add {}/64 dev eth0 nodad", addresses[1]));
        }
        // Service addresses and pods are reached through the node.
        outside.ip("route add default via 192.0.2.1");
        outside.ip("-6 route add default via 2001:db8::1");
        // The rest of the world: not where strangers come from, or they would be redirected there.
        node.ip("link add world0 type veth peer name world1");
        node.ip("link set world0 up");
        node.ip("link set world1 up");
        node.ip("route add default dev world0");
        node.ip("-6 route add default dev world0");
        let settings = ServiceNode {
            node_port_addresses: NODE.map(ip).to_vec(),
            node_addresses: NODE.map(ip).to_vec(),
            service_cidrs: vec![net("10.96.0.0/16"), net("fd96::/112")],
            pod_cidrs: vec![net("10.83.0.0/16"), net("fd83::/48")],
            local_pod_cidrs: vec![net("10.83.1.0/24"), net("fd83:0:0:1::/64")],
            ..ServiceNode::default()
        };
        let mut world = Self { node, outside, services: None, settings };
        world.start();
        world
    }

    /// Starts an agent, as far as the kernel is concerned.
    pub(super) fn start(&mut self) {
        let settings = self.settings.clone();
        let services = self.node.run(move || {
            let mut services = NftablesServices::open("/proc/sys".into()).unwrap();
            services.set_node(&settings).unwrap();
            services
        });
        self.services = Some(Arc::new(Mutex::new(services)));
    }

    pub(super) fn with<T: Send + 'static>(&self, call: impl FnOnce(&mut NftablesServices) -> T + Send + 'static) -> T {
        let services = self.services.clone().expect("an agent");
        self.node.run(move || call(&mut services.lock().unwrap()))
    }

    pub(super) fn set(&self, plans: Vec<ServicePlan>) -> ServiceReport {
        self.apply(plans.into_iter().map(|plan| PlanChange::Set(Arc::new(plan))).collect())
    }

    pub(super) fn apply(&self, changes: Vec<PlanChange>) -> ServiceReport {
        self.with(move |services| services.apply(&changes).unwrap())
    }

    pub(super) fn audit(&self) -> Vec<Difference> {
        self.with(|services| services.audit().unwrap())
    }

    /// A pod of this node.
    pub(super) fn pod(&self, number: u8) -> Host {
        self.host(&format!("pod-{number}"), &format!("sw0000000{number}"), 1, number)
    }

    /// A pod of another node.
    pub(super) fn far_pod(&self, number: u8) -> Host {
        self.host(&format!("far-{number}"), &format!("eth{number}"), 2, number)
    }

    fn host(&self, name: &str, interface: &str, node: u8, number: u8) -> Host {
        let namespace = Namespace::new();
        link(&self.node, interface, &namespace);
        let (v4, v6) = (format!("10.83.{node}.{number}"), format!("fd83:0:0:{node}::{number}"));
        namespace.ip(&format!("addr add {v4}/32 dev eth0"));
        namespace.ip(&format!("-6 addr add {v6}/128 dev eth0 nodad"));
        namespace.ip("route add 169.254.1.1 dev eth0");
        namespace.ip("route add default via 169.254.1.1 dev eth0");
        namespace.ip("-6 route add default via fe80::1 dev eth0");
        self.node.ip(&format!("addr add 169.254.1.1/32 dev {interface} scope link"));
        self.node.ip(&format!("-6 addr add fe80::1/64 dev {interface} nodad"));
        self.node.ip(&format!("route add {v4} dev {interface}"));
        self.node.ip(&format!("-6 route add {v6} dev {interface}"));
        Host { namespace, v4: ip(&v4), v6: ip(&v6), name: name.to_owned() }
    }
}

/// Connects a namespace to the node as `eth0`.
fn link(node: &Namespace, interface: &str, namespace: &Namespace) {
    node.ip(&format!("link add {interface} type veth peer name eth0 netns {}", namespace.path().display()));
    node.ip(&format!("link set {interface} addrgenmode none"));
    node.ip(&format!("link set {interface} up"));
    namespace.ip("link set eth0 addrgenmode none");
    namespace.ip("link set eth0 up");
    namespace.ip(&format!("-6 addr add fe80::{:x}/64 dev eth0 nodad", 100 + namespace.index("eth0")));
    let deadline = std::time::Instant::now() + PATIENCE;
    while !namespace.exec("ip -o link show eth0").contains("state UP") {
        assert!(std::time::Instant::now() < deadline, "eth0 does not come up");
        std::thread::yield_now();
    }
}

// === impl Host ===

impl Host {
    pub(super) fn address(&self, v6: bool) -> IpAddr {
        if v6 { self.v6 } else { self.v4 }
    }

    /// Answers on TCP and UDP of both families until the process ends.
    pub(super) fn serve(&self, port: u16) {
        for address in [self.v4, self.v6] {
            serve(&self.namespace, &self.name, SocketAddr::new(address, port));
        }
    }

    pub(super) fn backend(&self, v6: bool, port: u16) -> Backend {
        Backend {
            address: self.address(v6),
            port,
            weight: 1,
            local: self.name.starts_with("pod"),
            node: Some(if self.name.starts_with("pod") { "a" } else { "b" }.into()),
        }
    }
}

/// Answers every connection and datagram with a name and the client's address.
pub(super) fn serve(namespace: &Namespace, name: &str, address: SocketAddr) {
    let (listener, socket) =
        namespace.run(move || (TcpListener::bind(address).unwrap(), UdpSocket::bind(address).unwrap()));
    let answer = |name: &str, client: SocketAddr| format!("{name} {}", client.ip());
    let server = name.to_owned();
    std::thread::spawn(move || {
        while let Ok((mut stream, client)) = listener.accept() {
            let _ = stream.write_all(answer(&server, client).as_bytes());
        }
    });
    let server = name.to_owned();
    std::thread::spawn(move || {
        let mut buffer = [0; 100];
        while let Ok((_, client)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(answer(&server, client).as_bytes(), client);
        }
    });
}

fn outcome(answer: std::io::Result<String>) -> Outcome {
    match answer {
        Ok(text) => {
            let (server, client) = text.split_once(' ').expect("a name and an address");
            Outcome::Answered { server: server.to_owned(), client: ip(client) }
        }
        // A process of the node itself is told at once that its datagram was not sent.
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::PermissionDenied) => {
            Outcome::Refused
        }
        Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => Outcome::Silence,
        Err(error) => panic!("{error}"),
    }
}

/// Connects over TCP and says what came of it; waits long for an answer.
pub(super) fn tcp(client: &Namespace, target: SocketAddr) -> Outcome {
    connect(client, target, PATIENCE)
}

/// Connects over TCP, for places that drop.
pub(super) fn tcp_briefly(client: &Namespace, target: SocketAddr) -> Outcome {
    connect(client, target, DROPPED)
}

fn connect(client: &Namespace, target: SocketAddr, patience: Duration) -> Outcome {
    outcome(client.run(move || {
        let mut stream = TcpStream::connect_timeout(&target, patience)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut text = String::new();
        stream.read_to_string(&mut text).map(|_| text)
    }))
}

/// Asks over UDP from a new socket.
pub(super) fn udp(client: &Namespace, target: SocketAddr) -> Outcome {
    let socket = udp_socket(client, target);
    ask(&socket)
}

/// A UDP socket that talks to one place.
pub(super) fn udp_socket(client: &Namespace, target: SocketAddr) -> UdpSocket {
    client.run(move || {
        let any: IpAddr = if target.is_ipv4() { ip("0.0.0.0") } else { ip("::") };
        let socket = UdpSocket::bind((any, 0)).unwrap();
        socket.connect(target).unwrap();
        socket
    })
}

/// A UDP socket from a port that others have too.
pub(super) fn reused_udp_socket(client: &Namespace, from: SocketAddr, target: SocketAddr) -> UdpSocket {
    client.run(move || {
        let family = if from.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let socket = socket(family, SockType::Datagram, SockFlag::empty(), None).unwrap();
        setsockopt(&socket, sockopt::ReuseAddr, &true).unwrap();
        bind(socket.as_raw_fd(), &SockaddrStorage::from(from)).unwrap();
        let socket = UdpSocket::from(socket);
        socket.connect(target).unwrap();
        socket
    })
}

/// Sends a datagram and waits for the answer.
pub(super) fn ask(socket: &UdpSocket) -> Outcome {
    socket.set_read_timeout(Some(DROPPED)).unwrap();
    let mut buffer = [0; 100];
    let answer = socket.send(b"who?").and_then(|_| {
        loop {
            match socket.recv(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                received => return received,
            }
        }
    });
    outcome(answer.map(|length| String::from_utf8_lossy(&buffer[..length]).into_owned()))
}

/// A Service with one set of backends and one place, to be changed by tests.
pub(super) fn plan(name: &str, place: &str, port: u16, backends: Vec<Backend>) -> ServicePlan {
    let reach = if backends.is_empty() { Reach::Reject } else { Reach::Backends { set: 0, hide_client: false } };
    let frontend = |protocol| Frontend {
        at: FrontendAddress::Ip(ip(place)),
        protocol,
        port,
        kind: FrontendKind::ClusterIp,
        port_name: "web".to_owned(),
        inside: reach,
        outside: reach,
        source_ranges: Vec::new(),
        affinity_timeout_seconds: None,
        algorithm: Algorithm::Random,
        forwarding: Forwarding::Nat,
    };
    ServicePlan {
        service: ServiceRef::new("shop", name),
        frontends: vec![frontend(Protocol::Tcp), frontend(Protocol::Udp)],
        sets: if backends.is_empty() { Vec::new() } else { vec![BackendSet { backends }] },
        terminating: Vec::new(),
        health_check: None,
    }
}

/// The plan with all its frontends changed.
pub(super) fn changed(mut plan: ServicePlan, change: impl Fn(&mut Frontend)) -> ServicePlan {
    plan.frontends.iter_mut().for_each(change);
    plan
}
