//! Many datagrams in one system call: those that leave.
//!
//! What one peer is sent goes down the network stack once where its datagrams are of one
//! length (UDP_SEGMENT, `udp(7)`): the kernel cuts them apart at the far end. Whoever
//! asks much at once is answered for half the price.

use std::io::IoSlice;
use std::net::SocketAddr;
use std::os::fd::RawFd;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg};

use super::reply::DATAGRAM_OCTETS;

/// Datagrams that leave together.
pub const OUTBOX: usize = 128;
/// The kernel takes 64 segments at once (`UDP_MAX_SEGMENTS` before Linux 6.9) ...
const MOST_SEGMENTS: usize = 64;
/// ... and as many octets as a packet of IPv4 can have, less its headers.
const MOST_SEGMENT_OCTETS: usize = 65_000;
/// Datagrams that must be spared before they are worth a system call of their own.
const LEAST_SPARED: usize = 2;

/// Where a datagram goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Destination {
    /// From which socket; the number is the caller's.
    pub socket: u32,
    /// To whom, unless the socket knows.
    pub peer: Option<SocketAddr>,
}

#[derive(Debug, Clone)]
struct Slot {
    octets: [u8; DATAGRAM_OCTETS],
    length: usize,
    to: Destination,
}

/// Datagrams that wait to be sent.
#[derive(Debug)]
pub struct Outbox {
    slots: Box<[Slot]>,
    filled: usize,
    /// The kernel cuts segments apart.
    segments: bool,
}

/// What the kernel reads; it holds pointers, so it is made where it is used.
pub struct SendHeaders {
    plain: MultiHeaders<SockaddrStorage>,
    segments: MultiHeaders<SockaddrStorage>,
}

// === impl SendHeaders ===

impl SendHeaders {
    /// Empty.
    #[must_use]
    pub fn new() -> Self {
        Self {
            plain: MultiHeaders::preallocate(OUTBOX, None),
            segments: MultiHeaders::preallocate(OUTBOX, Some(nix::cmsg_space!(u16))),
        }
    }
}

impl Default for SendHeaders {
    fn default() -> Self {
        Self::new()
    }
}

// === impl Outbox ===

impl Outbox {
    /// Empty.
    #[must_use]
    pub fn new() -> Self {
        let empty = Slot { octets: [0; DATAGRAM_OCTETS], length: 0, to: Destination { socket: 0, peer: None } };
        Self { slots: vec![empty; OUTBOX].into_boxed_slice(), filled: 0, segments: true }
    }

    /// Whether it must be sent before more can be put in.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.filled >= self.slots.len()
    }

    /// Room for the next datagram, when there is some.
    pub fn space(&mut self) -> Option<&mut [u8]> {
        self.slots.get_mut(self.filled).map(|slot| slot.octets.as_mut_slice())
    }

    /// The datagram that was written into [`Self::space`] has this length.
    pub fn put(&mut self, to: Destination, length: usize) {
        if let Some(slot) = self.slots.get_mut(self.filled) {
            slot.length = length.min(DATAGRAM_OCTETS);
            slot.to = to;
            self.filled += 1;
        }
    }

    /// Takes a copy; tells whether there was room.
    pub fn push(&mut self, to: Destination, octets: &[u8]) -> bool {
        let Some(space) = self.space().and_then(|space| space.get_mut(..octets.len())) else { return false };
        space.copy_from_slice(octets);
        self.put(to, octets.len());
        true
    }

    /// Sends everything; `socket`: the one of a number, unless it is gone.
    pub fn send(&mut self, headers: &mut SendHeaders, socket: impl Fn(u32) -> Option<RawFd>) {
        let slots = self.slots.get(..std::mem::take(&mut self.filled)).unwrap_or_default();
        let mut order: [&Slot; OUTBOX] = match slots.first() {
            Some(first) => [first; OUTBOX],
            None => return,
        };
        for (to, slot) in order.iter_mut().zip(slots) {
            *to = slot;
        }
        let order = order.get_mut(..slots.len()).unwrap_or_default();
        // Their place keeps those to one peer in order.
        order.sort_unstable_by_key(|slot| (slot.to, slot.length, std::ptr::from_ref(*slot)));
        for of_socket in order.chunk_by(|a, b| a.to.socket == b.to.socket) {
            let Some(fd) = of_socket.first().and_then(|slot| socket(slot.to.socket)) else { continue };
            let length = if self.segments { worth_joining(of_socket) } else { None };
            if let Some(length) = length {
                self.segments = send_joined(fd, of_socket, length, headers);
            }
            // All of them again when the kernel took no segments.
            let left = |slot: &&&Slot| !self.segments || Some(slot.length) != length;
            let mut rest = [None; OUTBOX];
            let mut count = 0;
            for (to, slot) in rest.iter_mut().zip(of_socket.iter().filter(left)) {
                *to = Some(*slot);
                count += 1;
            }
            send_apart(fd, rest.get(..count).unwrap_or_default(), headers);
        }
    }
}

impl Default for Outbox {
    fn default() -> Self {
        Self::new()
    }
}

/// Those that can leave as one: of one length, to one peer.
fn runs<'s>(sorted: &'s [&'s Slot]) -> impl Iterator<Item = &'s [&'s Slot]> {
    let runs = sorted.chunk_by(|a, b| a.to == b.to && a.length == b.length);
    runs.flat_map(|run| {
        let length = run.first().map_or(1, |slot| slot.length.max(1));
        run.chunks((MOST_SEGMENT_OCTETS / length).clamp(1, MOST_SEGMENTS))
    })
}

/// The length whose datagrams are best sent joined; all in one call must be of one length.
fn worth_joining(sorted: &[&Slot]) -> Option<usize> {
    let mut spared: [(usize, usize); 16] = [(0, 0); 16];
    for run in runs(sorted).filter(|run| run.len() > 1) {
        let length = run.first().map_or(0, |slot| slot.length);
        // Lengths beyond the room here are left apart: that costs time only.
        if let Some((known, count)) = spared.iter_mut().find(|(known, _)| *known == length || *known == 0) {
            *known = length;
            *count += run.len() - 1;
        }
    }
    let (length, count) = spared.into_iter().max_by_key(|(_, count)| *count)?;
    (count >= LEAST_SPARED).then_some(length)
}

/// Sends those of one length, joined where they go to one peer; tells whether the kernel can do that.
fn send_joined(fd: RawFd, sorted: &[&Slot], length: usize, headers: &mut SendHeaders) -> bool {
    let mut octets = [IoSlice::new(&[]); OUTBOX];
    for (to, slot) in octets.iter_mut().zip(sorted) {
        *to = IoSlice::new(slot.octets.get(..slot.length).unwrap_or_default());
    }
    let mut messages: [&[IoSlice<'_>]; OUTBOX] = [&[]; OUTBOX];
    let mut peers: [Option<SockaddrStorage>; OUTBOX] = [None; OUTBOX];
    let (mut at, mut count) = (0, 0);
    for run in runs(sorted) {
        let next = at + run.len();
        if let (Some(first), Some(message), Some(peer), Some(part)) =
            (run.first(), messages.get_mut(count), peers.get_mut(count), octets.get(at..next))
            && first.length == length
        {
            *message = part;
            *peer = first.to.peer.map(SockaddrStorage::from);
            count += 1;
        }
        at = next;
    }
    let segment = length as u16;
    let control = [ControlMessage::UdpGsoSegments(&segment)];
    let (messages, peers) = (messages.get(..count).unwrap_or_default(), peers.get(..count).unwrap_or_default());
    let mut sent = 0;
    while sent < count {
        let (rest, to) = (messages.get(sent..).unwrap_or_default(), peers.get(sent..).unwrap_or_default());
        let outcome = sendmmsg(fd, &mut headers.segments, rest, to, control, MsgFlags::empty());
        sent += match outcome.map(Iterator::count) {
            Ok(done) => done.max(1),
            Err(Errno::EINTR) => 0,
            // The device cannot, or the kernel is from before 4.18.
            Err(Errno::EINVAL | Errno::EIO | Errno::EOPNOTSUPP | Errno::EMSGSIZE) if sent == 0 => return false,
            Err(_) => 1,
        };
    }
    true
}

/// Sends each as a message of its own.
fn send_apart(fd: RawFd, slots: &[Option<&Slot>], headers: &mut SendHeaders) {
    let mut octets = [[IoSlice::new(&[])]; OUTBOX];
    let mut peers: [Option<SockaddrStorage>; OUTBOX] = [None; OUTBOX];
    for ((to, peer), slot) in octets.iter_mut().zip(&mut peers).zip(slots.iter().copied().flatten()) {
        *to = [IoSlice::new(slot.octets.get(..slot.length).unwrap_or_default())];
        *peer = slot.to.peer.map(SockaddrStorage::from);
    }
    let (mut sent, mut refused) = (0, false);
    while sent < slots.len() {
        let rest = octets.get(sent..slots.len()).unwrap_or_default();
        let to = peers.get(sent..slots.len()).unwrap_or_default();
        let outcome = sendmmsg(fd, &mut headers.plain, rest, to, [], MsgFlags::empty());
        sent += match outcome.map(Iterator::count) {
            Ok(done) => done.max(1),
            Err(Errno::EINTR) => 0,
            // The fate of an earlier datagram, told once: this one can still be sent.
            Err(Errno::ECONNREFUSED) if !refused => {
                refused = true;
                0
            }
            // One that cannot be sent is left out: its client asks again.
            Err(_) => 1,
        };
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd;

    use super::*;

    fn received(socket: &UdpSocket) -> Vec<Vec<u8>> {
        socket.set_nonblocking(true).unwrap();
        let mut all = Vec::new();
        let mut space = [0; 2048];
        while let Ok(length) = socket.recv(&mut space) {
            all.push(space[..length].to_vec());
        }
        all.sort();
        all
    }

    fn sent(segments: bool, connected: bool) {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let clients = [UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap()];
        if connected {
            server.connect(clients[0].local_addr().unwrap()).unwrap();
        }
        let mut outbox = Outbox { segments, ..Outbox::new() };
        let mut wanted = [Vec::new(), Vec::new()];
        for number in 0..OUTBOX {
            // Of several lengths, most of one, for both clients in turn.
            let length = if number % 7 == 0 { 20 + number } else { 80 };
            let to = if connected { 0 } else { number % 2 };
            let datagram = vec![number as u8; length];
            let peer = (!connected).then(|| clients[to].local_addr().unwrap());
            assert!(outbox.push(Destination { socket: 9, peer }, &datagram));
            wanted[to].push(datagram);
        }
        assert!(outbox.is_full() && !outbox.push(Destination { socket: 9, peer: None }, &[1]));
        outbox.send(&mut SendHeaders::new(), |number| (number == 9).then(|| server.as_raw_fd()));
        for (client, mut wanted) in clients.iter().zip(wanted) {
            wanted.sort();
            assert_eq!(received(client), wanted, "segments {segments}, connected {connected}");
        }
        assert!(!outbox.is_full());
    }

    #[test]
    fn every_datagram_arrives_as_it_was_whether_joined_or_not() {
        for (segments, connected) in [(true, false), (false, false), (true, true), (false, true)] {
            sent(segments, connected);
        }
    }

    #[test]
    fn only_equal_lengths_to_one_peer_are_joined() {
        let slot = |peer: u16, length| Slot {
            octets: [0; DATAGRAM_OCTETS],
            length,
            to: Destination { socket: 0, peer: Some(([10, 0, 0, 1], peer).into()) },
        };
        let slots = [slot(1, 50), slot(1, 50), slot(1, 50), slot(1, 60), slot(2, 50), slot(2, 60), slot(2, 60)];
        let sorted: Vec<&Slot> = slots.iter().collect();
        assert_eq!(runs(&sorted).map(<[_]>::len).collect::<Vec<_>>(), [3, 1, 1, 2]);
        assert_eq!(worth_joining(&sorted), Some(50), "two of 50 are spared, and one of 60");
        assert_eq!(worth_joining(&sorted[3..]), None, "one spared is not worth a call");
        let many: Vec<Slot> = (0..OUTBOX).map(|_| slot(1, 1200)).collect();
        let many: Vec<&Slot> = many.iter().collect();
        assert!(runs(&many).all(|run| run.len() * 1200 <= MOST_SEGMENT_OCTETS));
        assert_eq!(runs(&many).map(<[_]>::len).sum::<usize>(), OUTBOX);
    }
}
