//! The operators' socket: `/run/seaway/dns.sock`, see `seaway_model::dns_api`.
//!
//! A Unix socket that only root of the node may open, in a directory that pods do not see:
//! what pods ask is nobody else's business, and forgetting the cache is no right of a
//! client. The worker listens; the next one takes the path over.

mod answers;
mod cache;
mod records;
mod top;

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use seaway_model::Diagnose;
use seaway_model::agent_api::Failure;
use seaway_model::dns_api::{DnsAnswer, DnsQuestion, DnsRequest, LogFilter};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::error::DnsError;
use crate::forward::{Group, Upstream};
use crate::server::clock::chance;
use crate::server::{Server, ShardDesk};
use crate::watch::{Census, hub};

/// Conversations at once.
const CONVERSATIONS: usize = 32;
/// Largest request.
const REQUEST_OCTETS: u64 = 1 << 16;
/// Who says nothing, or does not take the answer, is hung up on.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether a listener to whom nothing is told has gone.
const GONE_CHECK: Duration = Duration::from_secs(1);

/// What operators can ask about.
#[derive(Debug)]
pub struct Desk {
    /// Zone, cache, rules, and who listens.
    pub server: Arc<Server>,
    /// All shards.
    pub shards: Vec<ShardDesk>,
    /// All upstreams, by number.
    pub upstreams: Vec<Upstream>,
    /// Their groups, by number.
    pub groups: Vec<Group>,
    /// What threads count.
    pub censuses: Vec<Arc<Mutex<Census>>>,
    /// When counting began.
    pub since: Instant,
}

/// The socket; gone with this, unless another took the path over.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
    inode: u64,
}

// === impl Control ===

impl Control {
    /// Listens at `path`, in place of whoever did before.
    ///
    /// # Errors
    /// [`DnsError::Control`].
    pub fn open(path: &Path) -> Result<Self, DnsError> {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        let failed = |source| DnsError::Control { path: path.to_owned(), source };
        let beside = path.with_extension(format!("{:08x}", chance() as u32));
        let listener = UnixListener::bind(&beside).map_err(failed)?;
        // Nobody can connect before this: the name is known to us alone.
        std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        let inode = std::fs::metadata(&beside).map_err(failed)?.ino();
        std::fs::rename(&beside, path).map_err(failed)?;
        Ok(Self { listener, path: path.to_owned(), inode })
    }

    /// Answers until `stop` is cancelled.
    pub async fn serve(self, desk: Arc<Desk>, stop: CancellationToken) {
        let room = Arc::new(Semaphore::new(CONVERSATIONS));
        loop {
            let stream = tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        tracing::warn!(%error, "operators' socket cannot accept");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                },
                () = stop.cancelled() => return,
            };
            let (desk, stop) = (Arc::clone(&desk), stop.clone());
            let Ok(permit) = Arc::clone(&room).try_acquire_owned() else { continue };
            tokio::spawn(async move {
                tokio::select! {
                    () = converse(stream, &desk) => {}
                    () = stop.cancelled() => {}
                }
                drop(permit);
            });
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        use std::os::unix::fs::MetadataExt;
        if std::fs::metadata(&self.path).is_ok_and(|metadata| metadata.ino() == self.inode) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

async fn converse(mut stream: UnixStream, desk: &Desk) {
    let mut text = Vec::new();
    let read = timeout(PATIENCE, (&mut stream).take(REQUEST_OCTETS).read_to_end(&mut text)).await;
    if !matches!(read, Ok(Ok(_))) {
        return;
    }
    let answer = match serde_json::from_slice(&text) {
        Ok(DnsRequest::Log { filter }) => return log(stream, desk, filter).await,
        Ok(DnsRequest::Query(question)) => desk.query(&question).await.map(DnsAnswer::Queried),
        Ok(DnsRequest::Cache { name, limit }) => desk.cache(name.as_deref(), limit),
        Ok(DnsRequest::Flush { name }) => desk.flush(name.as_deref()),
        Ok(DnsRequest::Top { limit }) => Ok(DnsAnswer::Top(desk.top(limit))),
        Err(error) => Err(DnsError::Request { why: error.to_string() }),
    };
    say(&mut stream, &answer.unwrap_or_else(|error| DnsAnswer::Failed(failure(&error)))).await;
}

async fn log(mut stream: UnixStream, desk: &Desk, filter: LogFilter) {
    let Some(mut listening) = desk.server.hub.listen(filter) else {
        let why = format!("{} listen already", hub::MOST_LISTENERS);
        say(&mut stream, &DnsAnswer::Failed(failure(&DnsError::Request { why }))).await;
        return;
    };
    if !say(&mut stream, &DnsAnswer::Listening).await {
        return;
    }
    let mut look = tokio::time::interval(GONE_CHECK);
    loop {
        let record = tokio::select! {
            record = listening.records.recv() => record,
            _ = look.tick() => {
                if is_gone(&stream) {
                    return;
                }
                continue;
            }
        };
        let Some(record) = record else { return };
        let missed = listening.missed.swap(0, Ordering::Relaxed);
        if missed > 0 && !say(&mut stream, &DnsAnswer::Missed { queries: missed }).await {
            return;
        }
        if !say(&mut stream, &DnsAnswer::Query(record)).await {
            return;
        }
    }
}

/// Whether the client closed. That it shut down its writing side says nothing: it did so at the beginning.
fn is_gone(stream: &UnixStream) -> bool {
    let mut look = [PollFd::new(stream.as_fd(), PollFlags::empty())];
    let _ = poll(&mut look, PollTimeout::ZERO);
    look.iter().any(|look| look.revents().is_some_and(|told| told.intersects(PollFlags::POLLHUP | PollFlags::POLLERR)))
}

/// One line; tells whether it was taken.
async fn say(stream: &mut UnixStream, answer: &DnsAnswer) -> bool {
    let Ok(mut line) = serde_json::to_vec(answer) else { return false };
    line.push(b'\n');
    matches!(timeout(PATIENCE, stream.write_all(&line)).await, Ok(Ok(())))
}

fn failure(error: &DnsError) -> Failure {
    Failure { id: error.id().to_string(), message: error.to_string(), fix: error.fix(), cni_code: 0 }
}

/// The client that a question is answered for.
fn client_of(desk: &Desk, question: &DnsQuestion) -> Result<IpAddr, DnsError> {
    let Some(from) = &question.from else { return Ok(Ipv4Addr::LOCALHOST.into()) };
    if let Ok(address) = from.parse() {
        return Ok(address);
    }
    let why = || format!("{from:?} is neither an address nor a pod of this node as namespace/name");
    let (namespace, name) = from.split_once('/').ok_or_else(|| DnsError::Request { why: why() })?;
    let pod = seaway_model::PodRef { namespace: namespace.to_owned(), name: name.to_owned() };
    let found = desk.server.resolver.index.addresses_of_pod(&pod);
    found.first().copied().ok_or_else(|| DnsError::Request { why: why() })
}
