//! Following the agent, and a file of what it told, so that neither its restart nor
//! ours is felt.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use seaway_model::agent_api::{Answer, Request};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use crate::error::DnsError;
use crate::files::Files;
use crate::views::Keeper;
use crate::zone::Builder;
use crate::zone::saved::Saved;

/// First and longest pause before the agent is tried again.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LONGEST: Duration = Duration::from_secs(2);
/// The file is written at most so often, and this long after the last change at the latest.
const SAVE_INTERVAL: Duration = Duration::from_secs(2);
/// And touched so often while the agent is there.
const TOUCH_INTERVAL: Duration = Duration::from_secs(30);
/// A file older than this says what exists, but not what does not.
const TRUSTED_AGE: Duration = Duration::from_secs(600);

/// What the follower did, for metrics and readiness.
#[derive(Debug, Default)]
pub struct FeedStatus {
    connected: AtomicBool,
    changes: AtomicU64,
    connections: AtomicU64,
    lost: AtomicBool,
}

/// Follows the agent.
#[derive(Debug)]
pub struct Follower {
    socket: PathBuf,
    state: PathBuf,
    builder: Builder,
    keeper: Keeper,
    files: Files,
    status: Arc<FeedStatus>,
    saved_at: Instant,
    unsaved: bool,
}

// === impl FeedStatus ===

impl FeedStatus {
    /// Whether the agent is there.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// Whether it was away for longer than is put up with.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// Sets that.
    pub fn set_lost(&self, lost: bool) {
        self.lost.store(lost, Ordering::Relaxed);
    }

    /// Changes taken in, and connections made.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.changes.load(Ordering::Relaxed), self.connections.load(Ordering::Relaxed))
    }
}

// === impl Follower ===

impl Follower {
    /// Follows the agent at `socket`, and keeps what it tells in the file `state`.
    #[must_use]
    pub fn new(socket: PathBuf, state: PathBuf, builder: Builder, keeper: Keeper, files: Files) -> Self {
        let status = Arc::new(FeedStatus::default());
        Self { socket, state, builder, keeper, files, status, saved_at: Instant::now(), unsaved: false }
    }

    /// What it did.
    #[must_use]
    pub fn status(&self) -> Arc<FeedStatus> {
        Arc::clone(&self.status)
    }

    /// Takes back what an earlier process kept; without a usable file nothing is known yet.
    pub fn restore(&mut self) {
        let Ok(text) = std::fs::read(&self.state) else { return };
        match serde_json::from_slice::<Saved>(&text) {
            Ok(saved) => {
                let written = std::fs::metadata(&self.state).and_then(|metadata| metadata.modified()).ok();
                let age = written.and_then(|written| SystemTime::now().duration_since(written).ok());
                let fresh = age.is_some_and(|age| age < TRUSTED_AGE);
                tracing::info!(services = saved.services.len(), fresh, "answering from what was kept");
                let mut saved = saved;
                self.keeper.restore(std::mem::take(&mut saved.views));
                self.builder.restore(saved, fresh);
            }
            Err(error) => tracing::warn!(path = %self.state.display(), %error, "kept names cannot be read"),
        }
    }

    /// Reads files that changed. Large ones take a while, so not on a thread that serves.
    pub async fn look_at_files(&mut self) {
        let mut files = std::mem::take(&mut self.files);
        let looked = tokio::task::spawn_blocking(move || {
            let looked = files.look();
            (files, looked)
        });
        // It fails only when the program ends.
        let Ok((files, looked)) = looked.await else { return };
        self.files = files;
        if let Some(looked) = looked {
            self.keeper.set_files(looked);
        }
    }

    /// Follows until `stop` is cancelled.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut pause = RETRY_FIRST;
        while !stop.is_cancelled() {
            let outcome = tokio::select! {
                outcome = self.follow(&mut pause) => outcome,
                () = stop.cancelled() => break,
            };
            self.status.connected.store(false, Ordering::Relaxed);
            self.look_at_files().await;
            if let Err(error) = outcome {
                tracing::debug!(socket = %self.socket.display(), %error, "agent cannot be followed");
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(RETRY_LONGEST),
                () = stop.cancelled() => break,
            }
        }
        self.save();
    }

    async fn follow(&mut self, pause: &mut Duration) -> std::io::Result<()> {
        let mut stream = UnixStream::connect(&self.socket).await?;
        let request = serde_json::to_vec(&Request::Follow(self.builder.interest()))?;
        stream.write_all(&request).await?;
        stream.shutdown().await?;
        let mut lines = BufReader::with_capacity(1 << 16, stream);
        let mut line = Vec::new();
        let mut tick = tokio::time::interval(SAVE_INTERVAL);
        loop {
            tokio::select! {
                read = lines.read_until(b'\n', &mut line) => {
                    if read? == 0 {
                        return Ok(());
                    }
                    self.take(&line)?;
                    line.clear();
                    // One long line must not hold its memory for ever.
                    line.shrink_to(1 << 16);
                    *pause = RETRY_FIRST;
                }
                _ = tick.tick() => {
                    self.look_at_files().await;
                    if self.unsaved || self.saved_at.elapsed() > TOUCH_INTERVAL {
                        self.save();
                    }
                }
            }
        }
    }

    fn take(&mut self, line: &[u8]) -> std::io::Result<()> {
        match serde_json::from_slice(line)? {
            Answer::Changes { changes } => {
                if !self.status.connected.swap(true, Ordering::Relaxed) {
                    self.status.connections.fetch_add(1, Ordering::Relaxed);
                    tracing::info!("following the agent");
                }
                self.status.changes.fetch_add(changes.len() as u64, Ordering::Relaxed);
                // First what keeps names from clients, then the names.
                self.keeper.apply(&changes);
                self.builder.apply(changes);
                self.unsaved = true;
                Ok(())
            }
            Answer::Failed(failure) => Err(std::io::Error::other(failure)),
            other => Err(std::io::Error::other(format!("the agent answered {other:?}"))),
        }
    }

    /// Writes the file, if what is known is worth keeping.
    fn save(&mut self) {
        if !self.builder.is_synced() {
            return;
        }
        self.saved_at = Instant::now();
        self.unsaved = false;
        if let Err(error) = write(&self.state, &Saved { views: self.keeper.save(), ..self.builder.save() }) {
            tracing::warn!(%error, "state is not kept");
        }
    }
}

/// Replaces the file whole: a reader never sees half of it.
fn write(path: &Path, saved: &Saved) -> Result<(), DnsError> {
    let failed = |source| DnsError::State { path: path.to_owned(), source };
    let beside = path.with_extension("new");
    let mut file = std::io::BufWriter::new(std::fs::File::create(&beside).map_err(failed)?);
    serde_json::to_writer(&mut file, saved).map_err(|error| failed(error.into()))?;
    std::io::Write::flush(&mut file).map_err(failed)?;
    std::fs::rename(&beside, path).map_err(failed)
}
