//! The threads that a daemon's tasks run on.

use seaway_model::{Diagnose, ErrorId};
use tokio::runtime::{Builder, Runtime};

/// Threads that tasks share. Daemons wait more than they compute, and a node's
/// processors belong to its pods.
const WORKERS: usize = 2;

/// Why there are no threads.
#[derive(Debug, thiserror::Error)]
#[error("cannot start worker threads")]
pub struct WorkersError {
    /// What the kernel said.
    pub source: std::io::Error,
}

/// Starts the threads; dropping the runtime ends them.
///
/// # Errors
/// When the kernel gives no threads.
pub fn start() -> Result<Runtime, WorkersError> {
    Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name("seaway")
        .enable_all()
        .build()
        .map_err(|source| WorkersError { source })
}

// === impl WorkersError ===

impl Diagnose for WorkersError {
    fn id(&self) -> ErrorId {
        ErrorId(509)
    }

    fn fix(&self) -> String {
        "raise the limits on processes and file descriptors of this pod or host (pids cgroup, ulimit -u, ulimit -n)"
            .to_owned()
    }
}
