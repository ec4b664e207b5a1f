//! A node whose backends listen on addresses of its own, and clients that are watched.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use seaway_services::plan::{PlanChange, ServicePlan};

use super::super::EbpfServices;
use crate::kernel::bpf::tests::namespaces::{Namespace, Running};
use crate::kernel::bpf::{ServicePackets, ServiceTables};
use crate::{Difference, Options, ServiceDatapath as _, ServiceNode, ServiceReport};

/// What arrives does so within this time.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// What is dropped did not arrive within this time.
const DROPPED: Duration = Duration::from_millis(300);
/// Addresses of the node.
pub(super) const NODE: [&str; 2] = ["192.0.2.1", "2001:db8::1"];
const MOUNT_POINT: &str = "/sys/fs/cgroup";
const NETNS_DIR: &str = "/run/netns";

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(super) fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip(address), port)
}

/// What became of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A backend answered: its own address.
    Answered(SocketAddr),
    Refused,
    Silence,
}

/// A node with an open data path.
pub(super) struct World {
    pub(super) node: Namespace,
    pub(super) options: Options,
    pub(super) settings: ServiceNode,
    services: Option<Arc<Mutex<EbpfServices>>>,
    cgroup: Cgroup,
}

/// A cgroup for the threads of one test. Gone when dropped.
pub(in crate::kernel) struct Cgroup {
    name: String,
}

// === impl Cgroup ===

impl Cgroup {
    /// Makes it below that of the test program, for threads: a process has but one other.
    pub(in crate::kernel) fn new(namespace: &Namespace) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        mount_cgroups(namespace);
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let own = own.lines().find_map(|line| line.strip_prefix("0::/")).expect("cgroup v2 is needed").to_owned();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = Path::new(&own).join(format!("seaway-test-{}-{number}", std::process::id()));
        let cgroup = Self { name: name.to_str().unwrap().to_owned() };
        let path = cgroup.path();
        namespace.run(move || {
            fs::create_dir(&path).expect("making a cgroup needs root");
            fs::write(format!("{path}/cgroup.type"), "threaded").unwrap();
        });
        cgroup
    }

    pub(in crate::kernel) fn path(&self) -> String {
        format!("{MOUNT_POINT}/{}", self.name)
    }

    pub(in crate::kernel) fn remove(&self, namespace: &Namespace) {
        let path = self.path();
        namespace.run(move || {
            let deadline = Instant::now() + PATIENCE;
            // A thread leaves its cgroup a moment after it was joined.
            while fs::remove_dir(&path).is_err_and(|error| error.raw_os_error() == Some(libc::EBUSY)) {
                assert!(Instant::now() < deadline, "{path} stays busy");
                std::thread::yield_now();
            }
        });
    }
}

fn mount_cgroups(namespace: &Namespace) {
    namespace.run(|| {
        let none = None::<&str>;
        mount(Some("cgroup2"), MOUNT_POINT, Some("cgroup2"), MsFlags::empty(), none).unwrap();
    });
}

// === impl World ===

impl World {
    pub(super) fn new() -> Self {
        Self::with_tables(ServiceTables { affine_clients: 1024, datagram_peers: 1024, ..ServiceTables::default() })
    }

    pub(super) fn with_tables(service_tables: ServiceTables) -> Self {
        let node = Namespace::new();
        node.ip("link add eth0 type bridge");
        node.ip("link set eth0 up");
        node.ip(&format!("addr add {}/24 dev eth0", NODE[0]));
        node.ip(&format!("-6 addr add {}/64 dev eth0 nodad", NODE[1]));
        for number in 1..=9 {
            node.ip(&format!("addr add 10.83.1.{number}/32 dev lo"));
            node.ip(&format!("-6 addr add fd83:0:0:1::{number}/128 dev lo nodad"));
        }
        node.ip("route add default dev eth0");
        node.ip("-6 route add default dev eth0");
        let cgroup = Cgroup::new(&node);
        // The node's namespace has mounts of its own: nobody else sees these.
        node.run(|| {
            fs::create_dir_all(NETNS_DIR).unwrap();
            mount(Some("tmpfs"), NETNS_DIR, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        });
        let netns_dir = NETNS_DIR.into();
        let mut options = Options { cgroup_root: cgroup.path().into(), netns_dir, ..Options::default() };
        options.fast_path.service_tables = service_tables;
        options.fast_path.services = Some(ServicePackets::default());
        let settings = ServiceNode {
            node_port_addresses: NODE.map(ip).to_vec(),
            node_port_on_loopback: true,
            node_addresses: NODE.map(ip).to_vec(),
            service_cidrs: vec!["10.96.0.0/16".parse().unwrap(), "fd96::/112".parse().unwrap()],
            pod_cidrs: vec!["10.83.0.0/16".parse().unwrap(), "fd83::/48".parse().unwrap()],
            local_pod_cidrs: vec!["10.83.1.0/24".parse().unwrap(), "fd83:0:0:1::/64".parse().unwrap()],
            ..ServiceNode::default()
        };
        let mut world = Self { node, options, settings, services: None, cgroup };
        world.start();
        world
    }

    /// Starts an agent, as far as the kernel is concerned.
    pub(super) fn start(&mut self) {
        self.start_with(EbpfServices::open);
    }

    pub(super) fn start_with(&mut self, open: fn(&Options) -> Result<EbpfServices, crate::DatapathError>) {
        let (options, settings) = (self.options.clone(), self.settings.clone());
        let services = self.node.run(move || {
            let mut services = open(&options).unwrap();
            services.set_node(&settings).unwrap();
            services
        });
        self.services = Some(Arc::new(Mutex::new(services)));
    }

    /// Kills the agent.
    pub(super) fn kill(&mut self) {
        self.services = None;
    }

    pub(super) fn with<T: Send + 'static>(&self, call: impl FnOnce(&mut EbpfServices) -> T + Send + 'static) -> T {
        let services = self.services.clone().expect("an agent");
        self.node.run(move || call(&mut services.lock().unwrap()))
    }

    pub(super) fn apply(&self, changes: Vec<PlanChange>) -> ServiceReport {
        self.with(move |services| services.apply(&changes).unwrap())
    }

    pub(super) fn set(&self, plan: ServicePlan) -> ServiceReport {
        self.apply(vec![PlanChange::Set(Arc::new(plan))])
    }

    pub(super) fn audit(&self) -> Vec<Difference> {
        self.with(|services| services.audit().unwrap())
    }

    /// Another network namespace of the node, as a pod is: it reaches the node's addresses.
    pub(super) fn pod(&self, number: u8) -> Namespace {
        let pod = Namespace::new();
        mount_cgroups(&pod);
        let interface = format!("sw0000000{number}");
        self.node.ip(&format!("link add {interface} type veth peer name eth0 netns {}", pod.path().display()));
        self.node.ip(&format!("link set {interface} up"));
        self.node.ip(&format!("route add 10.83.9.{number} dev {interface}"));
        pod.ip("link set eth0 up");
        pod.ip(&format!("addr add 10.83.9.{number}/32 dev eth0"));
        pod.ip("route add 169.254.1.1 dev eth0");
        pod.ip(&format!("route add default via 169.254.1.1 dev eth0 src 10.83.9.{number}"));
        self.node.ip(&format!("addr add 169.254.1.1/32 dev {interface} scope link"));
        pod
    }

    /// Puts a pod's namespace where a container runtime would.
    pub(super) fn name_namespace(&self, pod: &Namespace, name: &str) {
        let (from, to) = (pod.path().to_owned(), format!("{NETNS_DIR}/{name}"));
        self.node.run(move || {
            fs::write(&to, "").unwrap();
            mount(Some(&from), to.as_str(), None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
        });
    }

    /// Starts a client that the programs see, in a namespace.
    pub(super) fn start_client_in<T: Send + 'static>(
        &self,
        namespace: &Namespace,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Running<T> {
        let threads = format!("{}/cgroup.threads", self.cgroup.path());
        namespace.start(move || {
            fs::write(threads, "0").unwrap();
            work()
        })
    }

    /// Starts a client that the programs see, a process of the node itself.
    pub(super) fn start_client<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Running<T> {
        self.start_client_in(&self.node, work)
    }

    pub(super) fn client<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        self.start_client(work).join()
    }

    /// What becomes of a TCP connection of the node itself.
    pub(super) fn connect(&self, target: SocketAddr) -> Outcome {
        self.client(move || connect(target))
    }

    /// Starts a backend that tells its address, on TCP and UDP.
    pub(super) fn serve(&self, address: &str, port: u16) {
        serve_tcp(&self.node, at(address, port));
        serve_udp(&self.node, at(address, port));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.services = None;
        if std::thread::panicking() {
            // Clients may still be in it; what can go goes.
            let path = self.cgroup.path();
            self.node.run(move || drop(fs::remove_dir(path)));
        } else {
            self.cgroup.remove(&self.node);
        }
    }
}

/// What becomes of a TCP connection; called inside.
pub(super) fn connect(target: SocketAddr) -> Outcome {
    match TcpStream::connect_timeout(&target, DROPPED) {
        Ok(stream) => Outcome::Answered(told(stream)),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Outcome::Refused,
        Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => Outcome::Silence,
        Err(error) => panic!("connecting to {target}: {error}"),
    }
}

/// The address that a backend tells; then the connection is reset, so that no port stays in use.
fn told(mut stream: TcpStream) -> SocketAddr {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let reset = libc::linger { l_onoff: 1, l_linger: 0 };
    nix::sys::socket::setsockopt(&stream, nix::sys::socket::sockopt::Linger, &reset).unwrap();
    text.parse().unwrap()
}

/// Asks a backend over UDP through a socket that is given: its address, and who seemed to answer.
pub(super) fn ask(socket: &UdpSocket, target: SocketAddr) -> Option<(SocketAddr, SocketAddr)> {
    socket.set_read_timeout(Some(DROPPED)).unwrap();
    socket.send_to(b"who?", target).ok()?;
    let mut buffer = [0; 64];
    let (length, sender) = socket.recv_from(&mut buffer).ok()?;
    Some((std::str::from_utf8(&buffer[..length]).unwrap().parse().unwrap(), sender))
}

fn serve_tcp(namespace: &Namespace, address: SocketAddr) {
    let listener = namespace.run(move || TcpListener::bind(address).unwrap());
    // Ends with the test program.
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut stream = stream;
            let _ = stream.write_all(address.to_string().as_bytes());
        }
    });
}

fn serve_udp(namespace: &Namespace, address: SocketAddr) {
    let socket = namespace.run(move || UdpSocket::bind(address).unwrap());
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, client)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(address.to_string().as_bytes(), client);
        }
    });
}
