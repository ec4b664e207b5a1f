//! Many datagrams in one system call: those that came.

use std::io::IoSliceMut;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg};

/// Datagrams taken at once: enough to make the system call cheap, few enough that the
/// first of them does not wait for the last.
pub const BATCH: usize = 64;

/// Largest message read; more is cut off and cannot be read then. Upstreams are asked for
/// less, but not all of them listen. No power of two: the beginnings of all messages
/// would share a few lines of the processor's cache.
const MESSAGE_OCTETS: usize = 4096 + 128;

/// Room for one batch of messages.
pub struct Batch {
    messages: Box<[[u8; MESSAGE_OCTETS]]>,
    lengths: [usize; BATCH],
    peers: [Option<SocketAddr>; BATCH],
    /// One for each family: the kernel leaves the length of the last sender's address in
    /// them, and takes it as the room for the next.
    headers: [MultiHeaders<SockaddrStorage>; 2],
}

// === impl Batch ===

impl Batch {
    /// Empty.
    #[must_use]
    pub fn new() -> Self {
        Self {
            messages: vec![[0; MESSAGE_OCTETS]; BATCH].into_boxed_slice(),
            lengths: [0; BATCH],
            peers: [None; BATCH],
            headers: [MultiHeaders::preallocate(BATCH, None), MultiHeaders::preallocate(BATCH, None)],
        }
    }

    /// Takes what waits at a socket, without waiting; tells how many datagrams.
    ///
    /// # Errors
    /// What the kernel says, which may be the fate of a datagram sent earlier; nothing waits: none.
    pub fn receive(&mut self, socket: &impl AsRawFd, ipv6: bool) -> Result<usize, Errno> {
        let Self { messages, lengths, peers, headers: [v4_headers, v6_headers] } = self;
        let headers = if ipv6 { v6_headers } else { v4_headers };
        let mut space = messages.iter_mut();
        let mut slices: [[IoSliceMut<'_>; 1]; BATCH] = std::array::from_fn(|_| {
            [IoSliceMut::new(space.next().map(<[u8; MESSAGE_OCTETS]>::as_mut_slice).unwrap_or_default())]
        });
        let taken = recvmmsg(socket.as_raw_fd(), headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None);
        let taken = match taken {
            Ok(taken) => taken,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(0),
            Err(error) => return Err(error),
        };
        let mut received = 0;
        for ((message, length), peer) in taken.zip(lengths.iter_mut()).zip(peers.iter_mut()) {
            *length = message.bytes;
            *peer = message.address.as_ref().and_then(socket_address);
            received += 1;
        }
        Ok(received)
    }

    /// Datagram `index` of those received, and its sender.
    #[must_use]
    pub fn message(&self, index: usize) -> Option<(&[u8], SocketAddr)> {
        let octets = self.messages.get(index)?.get(..*self.lengths.get(index)?)?;
        Some((octets, (*self.peers.get(index)?)?))
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

/// The address in what the kernel says.
#[must_use]
pub fn address(peer: &SockaddrStorage) -> Option<IpAddr> {
    socket_address(peer).map(|address| address.ip())
}

/// The address and port in what the kernel says.
#[must_use]
#[inline]
pub fn socket_address(peer: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = peer.as_sockaddr_in().map(|peer| SocketAddr::new(peer.ip().into(), peer.port()));
    v4.or_else(|| peer.as_sockaddr_in6().map(|peer| SocketAddr::V6((*peer).into())))
}
