//! Many datagrams in one system call.

use std::io::{IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg};

use super::reply::DATAGRAM_OCTETS;

/// Datagrams taken at once: enough to make the system call cheap, few enough that the
/// first of them does not wait for the last.
pub const BATCH: usize = 32;

/// Largest query read; more is cut off and cannot be read then.
const QUERY_OCTETS: usize = 1536;

/// Room for one batch of queries and one of answers.
pub struct Batch {
    queries: Box<[[u8; QUERY_OCTETS]; BATCH]>,
    lengths: [usize; BATCH],
    peers: [Option<SockaddrStorage>; BATCH],
    received: usize,
    answers: Box<[[u8; DATAGRAM_OCTETS]; BATCH]>,
    answer_lengths: [usize; BATCH],
    answer_peers: [Option<SockaddrStorage>; BATCH],
    answered: usize,
    /// One for each family: the kernel leaves the length of the last sender's address in
    /// them, and takes it as the room for the next.
    receive_headers: [MultiHeaders<SockaddrStorage>; 2],
    send_headers: MultiHeaders<SockaddrStorage>,
}

// === impl Batch ===

impl Batch {
    /// Empty.
    #[must_use]
    pub fn new() -> Self {
        Self {
            queries: Box::new([[0; QUERY_OCTETS]; BATCH]),
            lengths: [0; BATCH],
            peers: [None; BATCH],
            received: 0,
            answers: Box::new([[0; DATAGRAM_OCTETS]; BATCH]),
            answer_lengths: [0; BATCH],
            answer_peers: [None; BATCH],
            answered: 0,
            receive_headers: [MultiHeaders::preallocate(BATCH, None), MultiHeaders::preallocate(BATCH, None)],
            send_headers: MultiHeaders::preallocate(BATCH, None),
        }
    }

    /// Takes what waits at a socket, without waiting; tells how many datagrams.
    pub fn receive(&mut self, socket: &impl AsRawFd, ipv6: bool) -> usize {
        let Self { queries, lengths, peers, receive_headers, received, .. } = self;
        *received = 0;
        let [v4_headers, v6_headers] = receive_headers;
        let receive_headers = if ipv6 { v6_headers } else { v4_headers };
        let mut slices = queries.each_mut().map(|query| [IoSliceMut::new(query)]);
        let outcome = recvmmsg(socket.as_raw_fd(), receive_headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None);
        let Ok(messages) = outcome else { return 0 };
        for ((message, length), peer) in messages.zip(lengths.iter_mut()).zip(peers.iter_mut()) {
            *length = message.bytes;
            *peer = message.address;
            *received += 1;
        }
        *received
    }

    /// Datagram `index` of those received, its sender, and room for an answer.
    pub fn exchange(&mut self, index: usize) -> Option<(&[u8], SockaddrStorage, &mut [u8])> {
        let query = self.queries.get(index)?.get(..*self.lengths.get(index)?)?;
        let peer = (*self.peers.get(index)?)?;
        Some((query, peer, self.answers.get_mut(self.answered)?))
    }

    /// The answer just written has this length and goes to the sender of datagram `index`.
    pub fn answer(&mut self, index: usize, length: usize) {
        let peer = self.peers.get(index).copied().flatten();
        let slots = (self.answer_lengths.get_mut(self.answered), self.answer_peers.get_mut(self.answered));
        if let (Some(to), Some(to_peer)) = slots {
            *to = length;
            *to_peer = peer;
            self.answered += 1;
        }
    }

    /// Sends all answers from the socket that was asked, so they come from the address asked.
    pub fn send(&mut self, socket: &impl AsRawFd) {
        let total = std::mem::take(&mut self.answered);
        let mut sent = 0;
        while sent < total {
            let Self { answers, answer_lengths, answer_peers, send_headers, .. } = self;
            let slices: [[IoSlice<'_>; 1]; BATCH] = std::array::from_fn(|index| {
                let at = index + sent;
                let octets = answers.get(at).zip(answer_lengths.get(at)).and_then(|(a, length)| a.get(..*length));
                [IoSlice::new(octets.unwrap_or_default())]
            });
            let peers = answer_peers.get(sent..total).unwrap_or_default();
            let outcome = sendmmsg(
                socket.as_raw_fd(),
                send_headers,
                slices.iter().take(total - sent),
                peers,
                [],
                MsgFlags::empty(),
            );
            sent += match outcome {
                Ok(messages) => messages.count().max(1),
                Err(Errno::EINTR) => 0,
                // One that cannot be sent is left out: its client asks again.
                Err(_) => 1,
            };
        }
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

/// The address in what the kernel says.
#[must_use]
#[inline]
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
