//! Who answers when the holder of the sockets was killed.
//!
//! The end of a container's first process ends all of them, so the holder's worker dies
//! with it, and the kubelet takes a second or more to start both again. A second container
//! of the pod has the sockets too: it learns of the end at once, starts a worker of its
//! own, and offers the sockets to the holder that comes next. Where processes are nobody's
//! first, the worker itself outlives its holder the same way.

use std::io::PipeReader;
use std::path::Path;
use std::time::{Duration, Instant};

use seaway_runtime::config::DnsConfig;
use seaway_runtime::shutdown::CancellationToken;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use crate::daemon::deaths::Deaths;
use crate::daemon::end;
use crate::error::DnsError;
use crate::handover::{self, Holder};
use crate::server::socket::Listening;

/// Pause before a holder is looked for again, and between looks at who holds.
const LOOK: Duration = Duration::from_millis(50);

/// A new holder's worker is answering by then; both answer until then.
const OVERLAP: Duration = Duration::from_secs(2);

/// Keeps the sockets of this node's holder, and answers by `worker` while there is none,
/// until `stop` is cancelled.
///
/// # Errors
/// When the sockets cannot be offered, or no worker can be started.
pub async fn stand_by(
    config: &DnsConfig,
    worker: impl Fn(&Path) -> tokio::process::Command,
    stop: &CancellationToken,
) -> Result<(), DnsError> {
    let public = handover::public(&config.run);
    while !stop.is_cancelled() {
        let Ok(held) = handover::take_watched(&public) else {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => continue,
                () = stop.cancelled() => return Ok(()),
            }
        };
        tracing::info!(addresses = held.listening.len(), "standing by");
        tokio::select! {
            () = ended(held.life) => {}
            // An update: the pod before has other sockets only when its addresses changed.
            () = replaced(&public) => continue,
            () = stop.cancelled() => return Ok(()),
        }
        if stop.is_cancelled() {
            return Ok(());
        }
        tracing::error!("the holder of the sockets ended; answering until another comes");
        answer(Holder::offer(&config.run, held.listening)?, &worker, stop).await?;
    }
    Ok(())
}

/// Offers duplicates of a worker's sockets when its holder at `path` dies, and cancels
/// `stop` once another holder has taken them.
pub async fn outlive(config: DnsConfig, spare: Vec<Listening>, life: PipeReader, stop: CancellationToken) {
    tokio::select! {
        () = ended(life) => {}
        () = stop.cancelled() => return,
    }
    // Told to end together, the holder may be first.
    tokio::select! {
        () = tokio::time::sleep(LOOK) => {}
        () = stop.cancelled() => return,
    }
    tracing::error!("the holder of the sockets ended; answering until another comes");
    match Holder::offer(&config.run, spare) {
        Ok(holder) => {
            tokio::select! {
                () = followed(&holder) => stop.cancel(),
                () = stop.cancelled() => {}
            }
        }
        Err(error) => tracing::error!(%error, "sockets cannot be offered to the next holder"),
    }
}

/// Answers by workers until another holder has taken over.
async fn answer(
    holder: Holder,
    worker: &impl Fn(&Path) -> tokio::process::Command,
    stop: &CancellationToken,
) -> Result<(), DnsError> {
    let failed = |source| DnsError::Worker { source };
    let mut deaths = Deaths::default();
    loop {
        let begun = Instant::now();
        let mut child = worker(&holder.path).spawn().map_err(failed)?;
        tokio::select! {
            ended = child.wait() => {
                tracing::error!(status = %ended.map_err(failed)?, "worker ended; starting the next");
                tokio::time::sleep(deaths.pause_after(begun.elapsed())).await;
            }
            () = followed(&holder) => {
                end(&mut child).await;
                return Ok(());
            }
            () = stop.cancelled() => {
                end(&mut child).await;
                return Ok(());
            }
        }
        if stop.is_cancelled() {
            return Ok(());
        }
    }
}

/// Returns when another holder offers the sockets and its worker had time to start.
async fn followed(holder: &Holder) {
    while !holder.is_replaced() {
        tokio::time::sleep(LOOK).await;
    }
    tokio::time::sleep(OVERLAP).await;
}

/// Returns when the link to the holder's socket leads elsewhere.
async fn replaced(public: &Path) {
    let now = || std::fs::read_link(public).ok();
    let first = now();
    while now() == first || now().is_none() {
        tokio::time::sleep(LOOK).await;
    }
}

/// Returns when the writing end of the pipe is closed: its holder is dead.
async fn ended(life: PipeReader) {
    match pipe::Receiver::from_owned_fd(life.into()) {
        // Nobody writes: this returns at the end.
        Ok(mut life) => drop(life.read(&mut [0; 1]).await),
        Err(error) => {
            tracing::error!(%error, "cannot watch the holder of the sockets");
            std::future::pending().await
        }
    }
}
