//! Handle to one node: start programs in it, run commands in it, dial from it.

use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};

use super::control::{Answer, ProgramSpec, ProgramStatus, Request, ask};
use super::dir::LabDir;
use super::layout::HostLayout;
use super::process::ProcessId;
use super::socket::SocketKind;
use crate::error::{IoContext, LabError, Result};
use crate::patience::patience;

/// Directories of a node that are on the lab's disk: they survive a power
/// cycle, and are no overlay (containerd's snapshotter needs that).
pub(super) const DISK_DIRECTORIES: [&str; 11] = [
    "/var/lib/containerd",
    "/var/lib/kubelet",
    "/var/lib/etcd",
    "/var/lib/cni",
    "/var/log/pods",
    "/var/log/containers",
    "/etc/cni/net.d",
    "/opt/cni/bin",
    "/etc/kubernetes",
    "/etc/containerd",
    "/etc/seaway",
];

/// Time a connection into a node's network may take.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// Time a program has to end by itself when stopped.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// One host of a lab's underlay.
#[derive(Debug, Clone)]
pub struct Node {
    pub(super) dir: LabDir,
    pub(super) layout: HostLayout,
    pub(super) init: Option<ProcessId>,
}

// === impl Node ===

impl Node {
    /// Its name: `n1`, `n2`, … or `outside`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.layout.name
    }

    /// Its rack, which is its zone.
    #[must_use]
    pub fn rack(&self) -> &str {
        &self.layout.rack
    }

    /// Its place in the lab: addresses, gateways, link.
    #[must_use]
    pub fn layout(&self) -> &HostLayout {
        &self.layout
    }

    /// Its addresses, IPv4 first.
    #[must_use]
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.layout.addresses.iter().map(ipnet::IpNet::addr).collect()
    }

    /// Its init process, unless it is powered off or dead.
    pub fn init(&self) -> Result<ProcessId> {
        self.init.filter(|init| init.alive()).ok_or_else(|| LabError::NodeDown { node: self.name().to_owned() })
    }

    /// Starts a program.
    pub fn start(&self, program: ProgramSpec) -> Result<ProgramStatus> {
        let name = program.name.clone();
        let statuses = self.ask(&Request::Start { program }, &format!("start {name}"))?;
        find(self.name(), &name, statuses)
    }

    /// Stops a program and waits for its end.
    pub fn stop(&self, program: &str) -> Result<()> {
        let grace_millis = u64::try_from(STOP_GRACE.as_millis()).unwrap_or(u64::MAX);
        let request = Request::Stop { name: program.to_owned(), grace_millis };
        let mut statuses = self.ask(&request, &format!("stop {program}"))?;
        let give_up = Instant::now() + STOP_GRACE + STOP_GRACE;
        while find(self.name(), program, statuses)?.pid.is_some() {
            if Instant::now() > give_up {
                return Err(LabError::Refused {
                    node: self.name().to_owned(),
                    request: format!("stop {program}"),
                    reason: "it does not end, even killed".into(),
                });
            }
            std::thread::sleep(Duration::from_millis(5));
            statuses = self.programs()?;
        }
        Ok(())
    }

    /// How all programs fare.
    pub fn programs(&self) -> Result<Vec<ProgramStatus>> {
        self.ask(&Request::List, "list programs")
    }

    /// How one program fares.
    pub fn program(&self, name: &str) -> Result<ProgramStatus> {
        find(self.name(), name, self.programs()?)
    }

    /// The log of a program on the host.
    #[must_use]
    pub fn log_file(&self, program: &str) -> PathBuf {
        self.dir.logs(self.name()).join(format!("{program}.log"))
    }

    /// The command that runs `argv` inside the node when spawned on the host.
    pub fn command<S: AsRef<std::ffi::OsStr>>(&self, argv: &[S]) -> Result<Command> {
        super::enter::command(self.dir.name(), self.name(), self.init()?, argv)
    }

    /// Runs `argv` inside the node and waits for it.
    pub fn exec<S: AsRef<std::ffi::OsStr>>(&self, argv: &[S]) -> Result<Output> {
        self.command(argv)?.output().on_system("run a command", self.name())
    }

    /// Runs `work` on a thread that is in the node's network namespace (and in
    /// no other of its namespaces). Sockets it opens stay there; programs it
    /// spawns are born there.
    pub fn run_in<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        in_network_of(self.init()?, self.name(), work)
    }

    /// Connects as a process of the node would.
    pub fn dial(&self, address: SocketAddr) -> Result<TcpStream> {
        self.dial_within(address, patience(DIAL_TIMEOUT))
    }

    /// The same, with another patience.
    pub fn dial_within(&self, address: SocketAddr, patience: Duration) -> Result<TcpStream> {
        let made = self.make_socket(SocketKind { ipv6: address.is_ipv6(), datagram: false })?;
        let connected = super::socket::connect(made, address, patience);
        connected.map_err(|source| LabError::Dial { node: self.name().to_owned(), address, source })
    }

    /// A UDP socket as a process of the node would make it, not bound yet.
    pub fn datagram_socket(&self, ipv6: bool) -> Result<UdpSocket> {
        self.make_socket(SocketKind { ipv6, datagram: true }).map(super::socket::datagram)
    }

    fn make_socket(&self, kind: SocketKind) -> Result<OwnedFd> {
        self.init()?;
        super::socket::ask(&self.dir.control(self.name()), kind).on_system("make a socket", self.name())
    }

    /// Where the host finds what the node has at `inside`. For directories on
    /// the node's disk that is so while the node is off, too.
    #[must_use]
    pub fn path(&self, inside: impl AsRef<Path>) -> PathBuf {
        let inside = inside.as_ref();
        let relative = inside.strip_prefix("/").unwrap_or(inside);
        if DISK_DIRECTORIES.iter().any(|directory| inside.starts_with(directory)) {
            return self.dir.disk(self.name()).join(relative);
        }
        let pid = self.init.map_or(0, |init| init.pid);
        Path::new("/proc").join(pid.to_string()).join("root").join(relative)
    }

    fn ask(&self, request: &Request, what: &str) -> Result<Vec<ProgramStatus>> {
        self.init()?;
        match ask(&self.dir.control(self.name()), request).on_system("ask the init process", self.name())? {
            Answer::Done(statuses) => Ok(statuses),
            Answer::Refused(reason) => {
                Err(LabError::Refused { node: self.name().to_owned(), request: what.to_owned(), reason })
            }
        }
    }
}

/// Runs `work` on a thread in the network namespace of `init`.
pub(crate) fn in_network_of<T: Send>(init: ProcessId, name: &str, work: impl FnOnce() -> T + Send) -> Result<T> {
    let descriptor = init.open().ok_or_else(|| LabError::NodeDown { node: name.to_owned() })?;
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || setns(descriptor, CloneFlags::CLONE_NEWNET).map(|()| work()));
        match thread.join() {
            Ok(result) => result.on_system("enter the network namespace", name),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn find(node: &str, name: &str, statuses: Vec<ProgramStatus>) -> Result<ProgramStatus> {
    statuses
        .into_iter()
        .find(|status| status.name == name)
        .ok_or_else(|| LabError::NoSuchProgram { node: node.to_owned(), program: name.to_owned() })
}
