//! Orderly end: SIGTERM or SIGINT cancels one token that every task watches.

use seaway_model::{Diagnose, ErrorId};
use tokio::signal::unix::{Signal, SignalKind, signal};
pub use tokio_util::sync::CancellationToken;

/// Why signals cannot be handled.
#[derive(Debug, thiserror::Error)]
#[error("cannot handle {signal}")]
pub struct ShutdownError {
    /// Name of the signal.
    pub signal: &'static str,
    /// What the kernel said.
    pub source: std::io::Error,
}

/// A token that the first SIGTERM or SIGINT cancels. Call it in a tokio runtime.
///
/// # Errors
/// When a handler cannot be installed.
pub fn token() -> Result<CancellationToken, ShutdownError> {
    let mut terminate = handler(SignalKind::terminate(), "SIGTERM")?;
    let mut interrupt = handler(SignalKind::interrupt(), "SIGINT")?;
    let token = CancellationToken::new();
    let child = token.clone();
    tokio::spawn(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
            () = child.cancelled() => return,
        };
        tracing::info!(signal = name, "shutting down");
        child.cancel();
    });
    Ok(token)
}

fn handler(kind: SignalKind, name: &'static str) -> Result<Signal, ShutdownError> {
    signal(kind).map_err(|source| ShutdownError { signal: name, source })
}

// === impl ShutdownError ===

impl Diagnose for ShutdownError {
    fn id(&self) -> ErrorId {
        ErrorId(506)
    }

    fn fix(&self) -> String {
        "the process is out of file descriptors: raise its limit (ulimit -n)".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[tokio::test]
    async fn sigterm_cancels_the_token() {
        let token = token().unwrap();
        assert!(!token.is_cancelled());
        let kill = Command::new("kill").args(["-TERM", &std::process::id().to_string()]).status().unwrap();
        assert!(kill.success());
        token.cancelled().await;
    }
}
