//! One question to the agent: JSON out, the namespace with the first byte, JSON back.

use std::io::{self, BufRead, BufReader, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use seaway_model::agent_api::{Answer, Request};

use crate::error::CniError;

/// How long the agent may take. Its own work is milliseconds; the rest is
/// queueing behind other sandboxes. The runtimes themselves give up after
/// minutes, and should hear our reason before that.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(45);

/// Largest answer that is read.
const ANSWER_LIMIT_BYTES: u64 = 1 << 20;

/// Asks and waits for the answer.
pub(crate) fn ask(socket: &Path, request: &Request, namespace: Option<BorrowedFd<'_>>) -> Result<Answer, CniError> {
    let away = |source| CniError::AgentAway { socket: socket.to_owned(), source };
    let silent = |source| CniError::AgentSilent { socket: socket.to_owned(), source };
    let malformed =
        |error: serde_json::Error| CniError::AnswerMalformed { socket: socket.to_owned(), problem: error.to_string() };
    let message = serde_json::to_vec(request).map_err(malformed)?;
    let stream = UnixStream::connect(socket).map_err(away)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(away)?;
    stream.set_write_timeout(Some(ANSWER_TIMEOUT)).map_err(away)?;
    send(&stream, &message, namespace).map_err(silent)?;
    stream.shutdown(Shutdown::Write).map_err(silent)?;
    let mut line = String::new();
    BufReader::new(stream.take(ANSWER_LIMIT_BYTES)).read_line(&mut line).map_err(silent)?;
    if line.is_empty() {
        return Err(silent(io::Error::from(io::ErrorKind::UnexpectedEof)));
    }
    serde_json::from_str(&line).map_err(malformed)
}

fn send(mut stream: &UnixStream, message: &[u8], namespace: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let Some(namespace) = namespace else { return stream.write_all(message) };
    let descriptors = [namespace];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("no room for one descriptor"));
    }
    let parts = [IoSlice::new(message)];
    let sent = rustix::net::sendmsg(stream.as_fd(), &parts, &mut control, SendFlags::NOSIGNAL)?;
    // The descriptor went with the first byte; a long message may need more writes.
    stream.write_all(message.get(sent..).unwrap_or_default())
}
