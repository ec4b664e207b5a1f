//! Sockets that belong to a node, for a process of the host to use. The node's init process makes
//! them and passes them on: a thread that only enters the node's network namespace would make
//! sockets of the host's cgroup, and programs that translate addresses where the node's processes
//! connect would not see them.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socket_with,
};
use serde::{Deserialize, Serialize};

use super::control::{Request, SOCKET};

/// What kind of socket is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SocketKind {
    /// IPv6 rather than IPv4.
    pub ipv6: bool,
    /// UDP rather than TCP.
    pub datagram: bool,
}

/// Makes one; called by the init process, in its own namespaces and cgroups.
pub(super) fn make(kind: SocketKind) -> io::Result<OwnedFd> {
    let family = if kind.ipv6 { AddressFamily::INET6 } else { AddressFamily::INET };
    let way = if kind.datagram { SocketType::DGRAM } else { SocketType::STREAM };
    Ok(socket_with(family, way, SocketFlags::CLOEXEC, None)?)
}

/// Answers with `line`, and the socket beside it.
pub(super) fn answer(stream: &UnixStream, line: &[u8], socket: &OwnedFd) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    let descriptors = [socket.as_fd()];
    if !beside.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("no room for a descriptor"));
    }
    sendmsg(stream, &[IoSlice::new(line)], &mut beside, SendFlags::empty())?;
    Ok(())
}

/// Asks the init process whose control socket is in `directory`.
pub(super) fn ask(directory: &Path, kind: SocketKind) -> io::Result<OwnedFd> {
    let opened = File::open(directory)?;
    let stream = UnixStream::connect(format!("/proc/self/fd/{}/{SOCKET}", opened.as_raw_fd()))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut line = serde_json::to_vec(&Request::Socket { kind })?;
    line.push(b'\n');
    (&stream).write_all(&line)?;
    let mut answer = [0u8; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(&stream, &mut [IoSliceMut::new(&mut answer)], &mut beside, RecvFlags::CMSG_CLOEXEC)?;
    for message in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(mut descriptors) = message
            && let Some(descriptor) = descriptors.next()
        {
            return Ok(descriptor);
        }
    }
    let text = String::from_utf8_lossy(answer.get(..received.bytes).unwrap_or_default()).into_owned();
    Err(io::Error::other(format!("no socket came with the answer {text:?}")))
}

/// Connects a stream socket that `ask` gave.
pub(super) fn connect(socket: OwnedFd, address: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::from(socket);
    stream.set_nonblocking(true)?;
    match rustix::net::connect(&stream, &address) {
        Ok(()) => {}
        Err(rustix::io::Errno::INPROGRESS) => {
            let limit = Timespec::try_from(patience).map_err(io::Error::other)?;
            let mut waiting = [PollFd::new(&stream, PollFlags::OUT)];
            if poll(&mut waiting, Some(&limit))? == 0 {
                return Err(io::ErrorKind::TimedOut.into());
            }
            if let Some(error) = stream.take_error()? {
                return Err(error);
            }
        }
        Err(error) => return Err(error.into()),
    }
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// A datagram socket that `ask` gave, as the standard library has it.
pub(super) fn datagram(socket: OwnedFd) -> UdpSocket {
    UdpSocket::from(socket)
}
