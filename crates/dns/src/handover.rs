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
//! sockets over, so nothing is in one that closes. With the sockets comes the reading end
//! of a pipe whose writing end the holder alone has: it tells when the holder died, and who
//! has the sockets too can go on ([`crate::standby`]).

use std::io::{IoSlice, IoSliceMut, PipeReader, PipeWriter};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
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

/// Comes instead of an address with the end of the holder's pipe.
const LIFE: &str = "life";

/// A holder that does not answer within this is no holder.
const PATIENCE: Duration = Duration::from_secs(1);

/// Gives sockets to whoever may open the socket file: root of this node.
#[derive(Debug)]
pub struct Holder {
    /// The holder's own socket.
    pub path: PathBuf,
    public: PathBuf,
    /// Closed by the kernel when this process ends, however it does.
    _life: PipeWriter,
}

/// Sockets, and what tells whether their holder lives.
#[derive(Debug)]
pub struct Held {
    /// The sockets.
    pub listening: Vec<Listening>,
    /// At its end when the holder is dead.
    pub life: PipeReader,
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
        let (life, writer) = std::io::pipe().map_err(failed)?;
        let given = (listening, life);
        std::thread::Builder::new()
            .name("dns-holder".to_owned())
            .spawn(move || {
                for stream in listener.incoming().flatten() {
                    // Who does not take them has died.
                    let _ = give(&stream, &given.0, &given.1);
                }
            })
            .map_err(|source| DnsError::Thread { source })?;
        Ok(Self { path, public, _life: writer })
    }
}

impl Holder {
    /// Whether another holder took its place.
    #[must_use]
    pub fn is_replaced(&self) -> bool {
        std::fs::read_link(&self.public).is_ok_and(|to| Some(to.as_os_str()) != self.path.file_name())
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
    taken(path).map(|(listening, _)| listening).map_err(|source| DnsError::Handover { path: path.to_owned(), source })
}

/// The sockets of the holder at `path`, and what tells when it dies.
///
/// # Errors
/// [`DnsError::Handover`].
pub fn take_watched(path: &Path) -> Result<Held, DnsError> {
    let held = taken(path).and_then(|(listening, life)| {
        let life = life.ok_or_else(|| std::io::Error::other("the holder does not tell whether it lives"))?;
        Ok(Held { listening, life })
    });
    held.map_err(|source| DnsError::Handover { path: path.to_owned(), source })
}

/// Where the sockets of this node's DNS can be had.
#[must_use]
pub fn public(run: &Path) -> PathBuf {
    run.join(PUBLIC)
}

fn taken(path: &Path) -> std::io::Result<(Vec<Listening>, Option<PipeReader>)> {
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let (mut all, mut life) = (Vec::new(), None);
    while let Some((text, mut fds)) = take_one(&stream)? {
        let last = fds.pop().ok_or_else(malformed)?;
        if text == LIFE {
            life = Some(last.into());
            continue;
        }
        let address: SocketAddr = text.parse().map_err(|_| malformed())?;
        all.push(Listening { address, datagrams: fds.into_iter().map(Into::into).collect(), stream: last.into() });
    }
    Ok((all, life))
}

fn malformed() -> std::io::Error {
    std::io::Error::other("the holder's message is malformed")
}

/// One message for each address: its text, and its sockets with the stream's last; then the pipe.
fn give(stream: &UnixStream, all: &[Listening], life: &PipeReader) -> std::io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    for listening in all {
        let mut fds: Vec<BorrowedFd<'_>> = listening.datagrams.iter().map(AsFd::as_fd).collect();
        fds.truncate(MOST_SOCKETS - 1);
        fds.push(listening.stream.as_fd());
        give_one(stream, &listening.address.to_string(), &fds)?;
    }
    give_one(stream, LIFE, &[life.as_fd()])
}

/// The longest address with scope and port, and some.
const TEXT_OCTETS: usize = 80;

fn give_one(stream: &UnixStream, text: &str, fds: &[BorrowedFd<'_>]) -> std::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SOCKETS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(fds));
    let mut text = text.as_bytes().to_vec();
    // A fixed length keeps one message apart from the next on a stream.
    text.resize(TEXT_OCTETS, b' ');
    sendmsg(stream, &[IoSlice::new(&text)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn take_one(stream: &UnixStream) -> std::io::Result<Option<(String, Vec<OwnedFd>)>> {
    let mut text = [0; TEXT_OCTETS];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SOCKETS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(stream, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if received.bytes == 0 {
        return Ok(None);
    }
    let text = std::str::from_utf8(&text).map_err(|_| malformed())?.trim_end().to_owned();
    let mut fds: Vec<OwnedFd> = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    Ok(Some((text, fds)))
}
