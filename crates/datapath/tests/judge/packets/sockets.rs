//! Connections that a process makes with sockets, as programs on a cgroup see them.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrStorage, bind, connect, getpeername, getsockopt, send, sendto,
    setsockopt, socket, sockopt,
};
use seaway_model::Protocol;

const MOUNT_POINT: &str = "/sys/fs/cgroup";

/// A cgroup of the calling thread alone. Gone when dropped.
#[derive(Debug)]
pub(crate) struct Cgroup {
    path: PathBuf,
    before: PathBuf,
}

/// A connection attempt.
#[derive(Debug)]
pub(crate) struct Call {
    socket: OwnedFd,
    /// The call itself failed with this.
    failed: Option<Errno>,
    /// The peer that the socket claims to have.
    pub(crate) peer: Option<SocketAddr>,
}

// === impl Cgroup ===

impl Cgroup {
    /// Moves the calling thread, which must have mounts of its own, into a new cgroup.
    pub(crate) fn enter() -> Self {
        mount(Some("cgroup2"), MOUNT_POINT, Some("cgroup2"), MsFlags::empty(), None::<&str>).expect("cgroup v2");
        let own = fs::read_to_string("/proc/thread-self/cgroup").expect("a cgroup");
        let own = own.lines().find_map(|line| line.strip_prefix("0::/")).expect("cgroup v2 is needed");
        let before = PathBuf::from(MOUNT_POINT).join(own);
        let path = before.join(format!("seaway-judge-{}-{}", std::process::id(), nix::unistd::gettid()));
        fs::create_dir(&path).expect("making a cgroup needs root");
        fs::write(path.join("cgroup.type"), "threaded").expect("a cgroup for threads");
        fs::write(path.join("cgroup.threads"), "0").expect("entering the cgroup");
        Self { path, before }
    }

    /// Where programs are attached.
    pub(crate) fn path(&self) -> PathBuf {
        self.path.clone()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A failed test leaves an empty folder behind at worst.
        let _ = fs::write(self.before.join("cgroup.threads"), "0");
        let _ = fs::remove_dir(&self.path);
        // The next node of this thread begins with the mounts that this one leaves.
        let _ = umount2(MOUNT_POINT, MntFlags::MNT_DETACH);
    }
}

// === impl Call ===

impl Call {
    /// Calls `to` from a port, with a number where datagrams carry one. Datagrams go through connected
    /// sockets and unconnected ones by turns.
    pub(crate) fn new(from_port: u16, to: SocketAddr, protocol: Protocol, number: u32) -> Self {
        let (family, any): (_, IpAddr) = match to {
            SocketAddr::V4(_) => (AddressFamily::Inet, Ipv4Addr::UNSPECIFIED.into()),
            SocketAddr::V6(_) => (AddressFamily::Inet6, Ipv6Addr::UNSPECIFIED.into()),
        };
        let kind = if protocol == Protocol::Tcp { SockType::Stream } else { SockType::Datagram };
        let socket = socket(family, kind, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC, None).expect("a socket");
        setsockopt(&socket, sockopt::ReuseAddr, &true).expect("a port that may be in use");
        if protocol == Protocol::Tcp {
            // Nothing is said again after the socket is closed.
            let reset = libc::linger { l_onoff: 1, l_linger: 0 };
            setsockopt(&socket, sockopt::Linger, &reset).expect("no farewell");
        } else if to.is_ipv4() {
            setsockopt(&socket, sockopt::Ipv4RecvErr, &true).expect("errors of datagrams");
        } else {
            setsockopt(&socket, sockopt::Ipv6RecvErr, &true).expect("errors of datagrams");
        }
        let number_in = socket.as_raw_fd();
        bind(number_in, &SockaddrStorage::from(SocketAddr::new(any, from_port))).expect("a free port");
        let to = SockaddrStorage::from(to);
        let payload = number.to_be_bytes();
        let is_connected = protocol == Protocol::Tcp || number.is_multiple_of(2);
        let result = match (protocol, is_connected) {
            (Protocol::Tcp, _) => connect(number_in, &to),
            (_, true) => connect(number_in, &to).and_then(|()| send(number_in, &payload, MsgFlags::empty()).map(drop)),
            (_, false) => sendto(number_in, &payload, &to, MsgFlags::empty()).map(drop),
        };
        let failed = result.err().filter(|error| *error != Errno::EINPROGRESS);
        let peer = if is_connected { getpeername::<SockaddrStorage>(number_in).ok() } else { None };
        Self { socket, failed, peer: peer.as_ref().and_then(address) }
    }

    /// What went wrong with it until now.
    pub(crate) fn error(&self) -> Option<Errno> {
        let pending = || getsockopt(&self.socket, sockopt::SocketError).ok().filter(|error| *error != 0);
        self.failed.or_else(|| pending().map(Errno::from_raw))
    }
}

fn address(of: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = of.as_sockaddr_in().map(|v4| SocketAddr::new(v4.ip().into(), v4.port()));
    v4.or_else(|| of.as_sockaddr_in6().map(|v6| SocketAddr::new(v6.ip().into(), v6.port())))
}
