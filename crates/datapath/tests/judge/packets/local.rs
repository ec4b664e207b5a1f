//! The node's own processes: packets they send, and packets that reach them.

#![expect(unsafe_code, reason = "nix makes no raw sockets of SCTP")]

use std::io::IoSliceMut;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::sockopt::Ipv6RecvPacketInfo;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, recvmsg, sendto, setsockopt};

use super::frame::{self, Seen};

/// Protocols that are read, with the number each has in IPv4 and IPv6.
const READ: [(i32, i32); 4] = [
    (libc::IPPROTO_TCP, libc::IPPROTO_TCP),
    (libc::IPPROTO_UDP, libc::IPPROTO_UDP),
    (libc::IPPROTO_SCTP, libc::IPPROTO_SCTP),
    (libc::IPPROTO_ICMP, libc::IPPROTO_ICMPV6),
];

/// Raw sockets of the calling thread's network namespace.
#[derive(Debug)]
pub(crate) struct Local {
    send_v4: OwnedFd,
    send_v6: OwnedFd,
    receive_v4: Vec<OwnedFd>,
    /// With the protocol each receives.
    receive_v6: Vec<(OwnedFd, u8)>,
}

// === impl Local ===

impl Local {
    /// Opens the sockets.
    pub(crate) fn new() -> Self {
        let receive_v6 = READ.map(|(_, protocol)| {
            let socket = raw(libc::AF_INET6, protocol);
            setsockopt(&socket, Ipv6RecvPacketInfo, &true).expect("asking for destinations");
            (socket, u8::try_from(protocol).expect("a protocol"))
        });
        Self {
            send_v4: raw(libc::AF_INET, libc::IPPROTO_RAW),
            send_v6: raw(libc::AF_INET6, libc::IPPROTO_RAW),
            receive_v4: READ.map(|(protocol, _)| raw(libc::AF_INET, protocol)).into(),
            receive_v6: receive_v6.into(),
        }
    }

    /// Sends an IP packet as a process would. What a firewall says to the sender is no news: the
    /// packet does not arrive, or its answer does.
    pub(crate) fn send(&self, packet: &[u8], to: IpAddr) {
        let sent = match to {
            IpAddr::V4(to) => {
                let to = SockaddrIn::from(SocketAddrV4::new(to, 0));
                sendto(self.send_v4.as_raw_fd(), packet, &to, MsgFlags::empty())
            }
            IpAddr::V6(to) => {
                let to = SockaddrIn6::from(SocketAddrV6::new(to, 0, 0, 0));
                sendto(self.send_v6.as_raw_fd(), packet, &to, MsgFlags::empty())
            }
        };
        match sent {
            Ok(_) | Err(Errno::EPERM | Errno::EINVAL | Errno::ECONNREFUSED) => {}
            Err(error) => panic!("sending to {to}: {error}"),
        }
    }

    /// Hands over what reached processes of the node.
    pub(crate) fn drain(&self, mut sink: impl FnMut(Seen)) {
        let mut buffer = [0; 2048];
        for socket in &self.receive_v4 {
            while let Some((length, ..)) = receive(socket, &mut buffer) {
                sink(frame::read(&buffer[..length]));
            }
        }
        for (socket, protocol) in &self.receive_v6 {
            while let Some((length, from, to)) = receive(socket, &mut buffer) {
                let payload = &buffer[..length];
                let seen = if i32::from(*protocol) == libc::IPPROTO_ICMPV6 {
                    frame::icmp(to, false, payload)
                } else {
                    frame::transport(from, to, *protocol, payload)
                };
                sink(seen.unwrap_or(Seen::Other));
            }
        }
    }
}

fn raw(family: i32, protocol: i32) -> OwnedFd {
    let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: the call takes numbers only.
    let number = unsafe { libc::socket(family, kind, protocol) };
    assert!(number >= 0, "raw sockets need root: {}", std::io::Error::last_os_error());
    // SAFETY: the kernel just gave us this descriptor.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// Length, source and destination of a packet; the addresses of IPv4 stand in the packet itself.
fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> Option<(usize, IpAddr, IpAddr)> {
    let mut parts = [IoSliceMut::new(buffer)];
    let mut control = nix::cmsg_space!(libc::in6_pktinfo);
    let received = recvmsg::<SockaddrIn6>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty());
    let message = match received {
        Ok(message) => message,
        Err(Errno::EAGAIN) => return None,
        Err(error) => panic!("receiving: {error}"),
    };
    let mut to = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    for part in message.cmsgs().expect("control messages") {
        if let ControlMessageOwned::Ipv6PacketInfo(info) = part {
            to = IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr));
        }
    }
    let from = message.address.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |from| IpAddr::V6(from.ip()));
    Some((message.bytes, from, to))
}
