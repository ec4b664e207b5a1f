//! A node in a network namespace of the calling thread: its pods behind one device, the rest of
//! the world behind another.

use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, CpuSet, sched_getaffinity, sched_setaffinity, unshare};
use nix::unistd::Pid;
use seaway_model::Protocol;

use super::device::{Device, ip};
use super::frame::{self, Flow, Seen};
use super::local::Local;
use super::sockets::{Call, Cgroup};
use crate::world::addresses::{HERE, Kind, SECOND, address, local_pod_ranges};
use crate::world::scenario::{Client, Probe};

/// Settings of the node; those that this kernel lacks are not needed there.
const SETTINGS: [(&str, &str); 11] = [
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv6/conf/all/forwarding", "1"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/default/send_redirects", "0"),
    // Every refusal is answered.
    ("net/ipv4/icmp_ratelimit", "0"),
    ("net/ipv4/icmp_msgs_per_sec", "1000000"),
    ("net/ipv4/icmp_msgs_burst", "1000000"),
    ("net/ipv6/icmp/ratelimit", "0"),
    ("net/ipv6/conf/default/accept_dad", "0"),
];
/// Name of the device that pods are behind.
pub(crate) const PODS: &str = "pods";
/// Name of the device that all else is behind.
pub(crate) const WORLD: &str = "world";

/// The judged node.
#[derive(Debug)]
pub(crate) struct Node {
    pods: Device,
    world: Device,
    local: Local,
    /// Processes use sockets, in this cgroup; none: they send packets.
    cgroup: Option<Cgroup>,
    /// The last call that a process made.
    call: Option<Call>,
    /// Number of the last packet.
    last: u32,
}

/// Where a packet left the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// To its pods.
    Pods,
    /// To elsewhere.
    World,
    /// To a process of the node.
    Process,
}

/// What became of a packet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Observed {
    /// Where it came out.
    pub(crate) delivered: Vec<(Exit, Flow)>,
    /// The client was told that nobody is there.
    pub(crate) refused: bool,
    /// Other answers.
    pub(crate) errors: Vec<(u8, u8)>,
    /// Another error of a socket.
    pub(crate) failed: Option<Errno>,
    /// The peer that a socket claims to have.
    pub(crate) peer: Option<SocketAddr>,
}

// === impl Node ===

impl Node {
    /// Puts the calling thread into new namespaces and builds the node there.
    pub(crate) fn new() -> Self {
        Self::with(Device::new)
    }

    /// A node whose processes use sockets, and whose pods have links that programs serve.
    pub(crate) fn with_links() -> Self {
        let node = Self::with(Device::with_far_end);
        Self { cgroup: Some(Cgroup::enter()), ..node }
    }

    fn with(pods: fn(&str) -> Device) -> Self {
        enter();
        let (pods, world) = (pods(PODS), Device::new(WORLD));
        for (setting, value) in SETTINGS {
            let path = format!("/proc/sys/{setting}");
            if fs::exists(&path).unwrap_or(false) {
                fs::write(&path, value).unwrap_or_else(|error| panic!("{path}: {error}"));
            }
        }
        ip(&links());
        Self { pods, world, local: Local::new(), cgroup: None, call: None, last: 0 }
    }

    /// A node whose processes use sockets, which programs on a cgroup see.
    pub(crate) fn with_sockets() -> Self {
        let node = Self::new();
        Self { cgroup: Some(Cgroup::enter()), ..node }
    }

    /// The cgroup of its processes.
    pub(crate) fn cgroup(&self) -> Option<PathBuf> {
        self.cgroup.as_ref().map(Cgroup::path)
    }

    /// How many packets were sent; each left an entry in connection tracking.
    pub(crate) fn packets(&self) -> u32 {
        self.last
    }

    /// Sends a packet and says what became of it.
    pub(crate) fn probe(&mut self, probe: &Probe) -> (Flow, Observed) {
        self.last += 1;
        let port = 1024 + u16::try_from(self.last % 60_000).expect("a port");
        let from = SocketAddr::new(probe.from(), port);
        let to = SocketAddr::new(probe.to, probe.port);
        let flow = Flow { from, to, protocol: probe.protocol, number: self.last };
        self.call = None;
        match probe.client {
            Client::Pod(_) => self.pods.send(&frame::build(&flow)),
            Client::Process if self.cgroup.is_some() && probe.protocol != Protocol::Sctp => {
                self.call = Some(Call::new(port, to, probe.protocol, self.last));
            }
            Client::Process => self.local.send(&frame::build(&flow), probe.to),
            Client::Elsewhere(..) => self.world.send(&frame::build(&flow)),
        }
        let mut observed = Observed { peer: self.call.as_ref().and_then(|call| call.peer), ..Observed::default() };
        self.observe(&flow, &mut observed);
        (flow, observed)
    }

    /// Adds what came out since the last look.
    pub(crate) fn observe_again(&mut self, sent: &Flow, observed: &mut Observed) {
        self.observe(sent, observed);
    }

    fn observe(&mut self, sent: &Flow, observed: &mut Observed) {
        let by_socket = self.call.is_some();
        // The kernel numbers a SYN as it likes; it may also repeat it.
        let is_it = |flow: &Flow| {
            flow.number == sent.number
                || (by_socket && flow.protocol == Protocol::Tcp && flow.from.port() == sent.from.port())
        };
        let mut note = |exit, seen| match seen {
            Seen::Flow(flow) if by_socket && observed.delivered.contains(&(exit, flow)) => {}
            Seen::Flow(flow) if is_it(&flow) => observed.delivered.push((exit, flow)),
            Seen::Refusal(to, number) if number == sent.number && (by_socket || to == sent.from.ip()) => {
                observed.refused = true;
            }
            Seen::Error(kind, code) => observed.errors.push((kind, code)),
            _ => {}
        };
        let mut buffer = [0; 2048];
        while let Some(packet) = self.pods.receive(&mut buffer) {
            note(Exit::Pods, frame::read(packet));
        }
        while let Some(packet) = self.world.receive(&mut buffer) {
            note(Exit::World, frame::read(packet));
        }
        self.local.drain(|seen| note(Exit::Process, seen));
        match self.call.as_ref().and_then(Call::error) {
            Some(Errno::ECONNREFUSED) => observed.refused = true,
            // The firewall told the process that it dropped the packet.
            None | Some(Errno::EPERM) => {}
            Some(error) => observed.failed = Some(error),
        }
    }
}

/// New namespaces for this thread, which stays on one CPU: a packet then goes its whole way before
/// the call that sent it returns.
fn enter() {
    let none = None::<&str>;
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("the judge needs root");
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("own mounts");
    mount(Some("bpf"), "/sys/fs/bpf", Some("bpf"), MsFlags::empty(), none).expect("an own BPF file system");
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this).expect("CPUs");
    let first = (0..CpuSet::count()).find(|cpu| allowed.is_set(*cpu).unwrap_or(false)).expect("a CPU");
    let mut only = CpuSet::new();
    only.set(first).expect("a CPU");
    sched_setaffinity(this, &only).expect("staying on a CPU");
}

fn links() -> Vec<String> {
    let mut lines = vec!["link set lo up".to_owned()];
    for device in [PODS, WORLD] {
        lines.push(format!("link set {device} addrgenmode none address {}", Device::node_mac()));
        lines.push(format!("link set {device} up"));
        for gateway in ["169.254.1.2", "fe80::2"] {
            lines.push(format!("neigh add {gateway} lladdr {} dev {device} nud permanent", Device::neighbor_mac()));
        }
    }
    for number in [HERE, SECOND] {
        lines.push(format!("addr add {}/32 dev {WORLD}", address(Kind::Node, number, true)));
        lines.push(format!("addr add {}/128 dev {WORLD} nodad", address(Kind::Node, number, false)));
    }
    for range in local_pod_ranges() {
        let gateway = if range.addr().is_ipv4() { "169.254.1.2" } else { "fe80::2" };
        lines.push(format!("route add {range} via {gateway} dev {PODS} onlink"));
    }
    lines.push(format!("route add default via 169.254.1.2 dev {WORLD} onlink"));
    lines.push(format!("route add ::/0 via fe80::2 dev {WORLD} onlink"));
    lines
}

// === impl Observed ===

impl fmt::Display for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.delivered.is_empty() && !self.refused {
            f.write_str("it vanished; ")?;
        }
        if let Some(error) = self.failed {
            write!(f, "the call failed: {error}; ")?;
        }
        for (exit, flow) in &self.delivered {
            write!(f, "it came out to {exit:?} from {} to {}; ", flow.from, flow.to)?;
        }
        if self.refused {
            f.write_str("it was refused; ")?;
        }
        if !self.errors.is_empty() {
            write!(f, "ICMP errors {:?}; ", self.errors)?;
        }
        if let Some(peer) = self.peer {
            write!(f, "the socket's peer is {peer}; ")?;
        }
        Ok(())
    }
}
