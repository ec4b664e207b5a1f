//! Reading one request and the descriptor that comes with it.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::io::Interest;
use tokio::net::UnixStream;

use crate::AgentError;

/// Largest request: GC lists about 150 bytes per sandbox.
const REQUEST_LIMIT_BYTES: usize = 16 << 20;
/// How much is read at once.
const CHUNK_BYTES: usize = 16 << 10;

/// Reads until the client closes its writing side.
pub(crate) async fn receive(stream: &UnixStream) -> Result<(Vec<u8>, Option<OwnedFd>), AgentError> {
    let malformed = |error: io::Error| AgentError::RequestMalformed { problem: error.to_string() };
    let (mut text, mut namespace) = (Vec::new(), None);
    loop {
        let (chunk, descriptor) =
            stream.async_io(Interest::READABLE, || receive_chunk(stream)).await.map_err(malformed)?;
        if chunk.is_empty() {
            return Ok((text, namespace));
        }
        text.extend_from_slice(&chunk);
        namespace = namespace.or(descriptor);
        if text.len() > REQUEST_LIMIT_BYTES {
            let problem = format!("it is larger than {REQUEST_LIMIT_BYTES} bytes");
            return Err(AgentError::RequestMalformed { problem });
        }
    }
}

fn receive_chunk(stream: &UnixStream) -> io::Result<(Vec<u8>, Option<OwnedFd>)> {
    let mut chunk = vec![0u8; CHUNK_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(
        stream,
        &mut [IoSliceMut::new(&mut chunk)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT,
    )?;
    // Only the first descriptor is kept; others are closed as they are dropped.
    let mut descriptor = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            descriptor = descriptors.into_iter().next().or(descriptor);
        }
    }
    chunk.truncate(received.bytes);
    Ok((chunk, descriptor))
}
