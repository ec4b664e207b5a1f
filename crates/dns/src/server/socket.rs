//! Opening sockets. Each is bound to one address and never to a wildcard, so that
//! an answer leaves from the address that was asked, also with several on one device.

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket, sockopt,
};

use crate::error::DnsError;

/// Queries that the kernel holds for us while we are busy or being replaced: half a
/// second at 16,000 a second. What comes when it is full is dropped, newest first.
const RECEIVE_OCTETS: usize = 8 << 20;

/// The sockets of one address: a datagram socket per shard, and one for streams.
#[derive(Debug)]
pub struct Listening {
    /// Where.
    pub address: SocketAddr,
    /// One per shard.
    pub datagrams: Vec<UdpSocket>,
    /// For TCP.
    pub stream: TcpListener,
}

// === impl Listening ===

impl Listening {
    /// Opens the sockets of one address for so many shards.
    ///
    /// # Errors
    /// When the address is taken or not ours.
    pub fn open(address: SocketAddr, shards: usize) -> Result<Self, DnsError> {
        let failed = |source: nix::Error| DnsError::Listen { address, source: source.into() };
        let mut address = address;
        let mut datagrams = Vec::with_capacity(shards);
        for _ in 0..shards.max(1) {
            let socket = UdpSocket::from(open(address, SockType::Datagram).map_err(failed)?);
            // With port 0 the first socket decides.
            if let Ok(given) = socket.local_addr() {
                address = given;
            }
            datagrams.push(socket);
        }
        Ok(Self { address, datagrams, stream: stream(address)? })
    }

    /// The same sockets under descriptors of their own, for who may have to offer them.
    ///
    /// # Errors
    /// When the kernel gives no descriptors.
    pub fn duplicate(&self) -> std::io::Result<Self> {
        let datagrams = self.datagrams.iter().map(UdpSocket::try_clone).collect::<std::io::Result<_>>()?;
        Ok(Self { address: self.address, datagrams, stream: self.stream.try_clone()? })
    }
}

/// A socket for streams at an address where the server that is replaced may listen still.
///
/// # Errors
/// When the address is taken or not ours.
pub fn stream(address: SocketAddr) -> Result<TcpListener, DnsError> {
    let failed = |source: nix::Error| DnsError::Listen { address, source: source.into() };
    let stream = open(address, SockType::Stream).map_err(failed)?;
    listen(&stream, Backlog::new(1024).unwrap_or(Backlog::MAXALLOWABLE)).map_err(failed)?;
    Ok(TcpListener::from(stream))
}

fn open(address: SocketAddr, kind: SockType) -> nix::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    setsockopt(&fd, sockopt::ReusePort, &true)?;
    if address.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
    }
    if kind == SockType::Datagram {
        // More than the limit of the system needs CAP_NET_ADMIN; what is given without is enough to run.
        if setsockopt(&fd, sockopt::RcvBufForce, &RECEIVE_OCTETS).is_err() {
            setsockopt(&fd, sockopt::RcvBuf, &RECEIVE_OCTETS)?;
        }
    }
    bind(std::os::fd::AsRawFd::as_raw_fd(&fd), &SockaddrStorage::from(address))?;
    Ok(fd)
}

/// A socket that takes datagrams of one upstream only, from a port that the kernel picks at random.
///
/// # Errors
/// When there are no descriptors, or no route.
pub fn connected(to: SocketAddr) -> std::io::Result<UdpSocket> {
    let any: SocketAddr = if to.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any)?;
    socket.set_nonblocking(true)?;
    socket.connect(to)?;
    Ok(socket)
}

/// The addresses of this host that a wildcard means.
///
/// # Errors
/// When the kernel does not tell.
pub fn host_addresses() -> Result<Vec<IpAddr>, DnsError> {
    let found = nix::ifaddrs::getifaddrs().map_err(|source| DnsError::HostAddresses { source: source.into() })?;
    let mut addresses: Vec<IpAddr> = found
        .filter_map(|entry| entry.address)
        .filter_map(|address| super::batch::address(&address))
        // Link-local addresses of IPv6 need a scope that a configuration cannot know.
        .filter(|address| !matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local()))
        .collect();
    addresses.sort();
    addresses.dedup();
    Ok(addresses)
}
