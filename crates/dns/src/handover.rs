//! Sockets that outlive who reads them.
//!
//! ```text
//!  seaway dns (holder: owns the sockets, does nothing) ──starts──▶ seaway dns --worker
//!      ▲ takes its sockets (SCM_RIGHTS)                              answers
//!  seaway dns of the next version
//! ```
//!
//! A worker that is killed leaves its sockets with the holder: the kernel keeps what
//! arrives, and the next worker, started at once, answers it. An update takes the very
//! sockets over, so nothing is in one that closes.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

use crate::error::DnsError;
use crate::server::clock::chance;
use crate::server::socket::Listening;

/// Where the sockets of this node's DNS can be had: a link to the holder's own socket.
const PUBLIC: &str = "dns-sockets.sock";

/// Sockets in one message: the kernel takes 253 (`SCM_MAX_FD`).
pub const MOST_SOCKETS: usize = 128;

/// A holder that does not answer within this is no holder.
const PATIENCE: Duration = Duration::from_secs(1);

/// Gives sockets to whoever may open the socket file: root of this node.
#[derive(Debug)]
pub struct Holder {
    /// The holder's own socket.
    pub path: PathBuf,
    public: PathBuf,
}

// === impl Holder ===

impl Holder {
    /// Offers `listening` in the directory `run`, in place of the holder before.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn offer(run: &Path, listening: Vec<Listening>) -> Result<Self, DnsError> {
        let public = run.join(PUBLIC);
        let path = run.join(format!("dns-sockets.{:08x}.sock", chance() as u32));
        let failed = |source| DnsError::Handover { path: path.clone(), source };
        std::fs::create_dir_all(run).map_err(failed)?;
        let listener = UnixListener::bind(&path).map_err(failed)?;
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).map_err(failed)?;
        let beside = path.with_extension("link");
        let name = path.file_name().unwrap_or_default();
        std::os::unix::fs::symlink(name, &beside).map_err(failed)?;
        std::fs::rename(&beside, &public).map_err(failed)?;
        let listening = Arc::new(listening);
        std::thread::Builder::new()
            .name("dns-holder".to_owned())
            .spawn(move || {
                for stream in listener.incoming().flatten() {
                    // Who does not take them has died.
                    let _ = give(&stream, &listening);
                }
            })
            .map_err(|source| DnsError::Thread { source })?;
        Ok(Self { path, public })
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let ours = std::fs::read_link(&self.public).is_ok_and(|to| Some(to.as_os_str()) == self.path.file_name());
        if ours {
            let _ = std::fs::remove_file(&self.public);
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The sockets of the holder in this directory; none when there is none.
#[must_use]
pub fn take_over(run: &Path) -> Vec<Listening> {
    take(&run.join(PUBLIC)).unwrap_or_default()
}

/// The sockets of the holder at `path`.
///
/// # Errors
/// [`DnsError::Handover`].
pub fn take(path: &Path) -> Result<Vec<Listening>, DnsError> {
    let failed = |source| DnsError::Handover { path: path.to_owned(), source };
    let stream = UnixStream::connect(path).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    let mut all = Vec::new();
    while let Some(listening) = take_one(&stream).map_err(failed)? {
        all.push(listening);
    }
    Ok(all)
}

/// One message for each address: its text, and its sockets with the stream's last.
fn give(stream: &UnixStream, all: &[Listening]) -> std::io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    for listening in all {
        let mut fds: Vec<BorrowedFd<'_>> = listening.datagrams.iter().map(AsFd::as_fd).collect();
        fds.truncate(MOST_SOCKETS - 1);
        fds.push(listening.stream.as_fd());
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SOCKETS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&fds));
        let mut text = listening.address.to_string().into_bytes();
        // A fixed length keeps one message apart from the next on a stream.
        text.resize(TEXT_OCTETS, b' ');
        sendmsg(stream, &[IoSlice::new(&text)], &mut control, SendFlags::NOSIGNAL)?;
    }
    Ok(())
}

/// The longest address with scope and port, and some.
const TEXT_OCTETS: usize = 80;

fn take_one(stream: &UnixStream) -> std::io::Result<Option<Listening>> {
    let mut text = [0; TEXT_OCTETS];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SOCKETS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(stream, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if received.bytes == 0 {
        return Ok(None);
    }
    let malformed = || std::io::Error::other("the holder's message is malformed");
    let address: SocketAddr =
        std::str::from_utf8(&text).ok().and_then(|text| text.trim_end().parse().ok()).ok_or_else(malformed)?;
    let mut fds: Vec<OwnedFd> = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    let stream = fds.pop().ok_or_else(malformed)?.into();
    Ok(Some(Listening { address, datagrams: fds.into_iter().map(Into::into).collect(), stream }))
}
