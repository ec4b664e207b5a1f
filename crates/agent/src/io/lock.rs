//! One agent per node: a lock in the agent's directory, held as long as the process lives.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::AgentError;

/// Takes the lock; it ends with the returned file.
pub(crate) fn take(directory: &Path) -> Result<File, AgentError> {
    let path = directory.join("agent.lock");
    let failed = |operation, source| AgentError::File { operation, path: path.clone(), source };
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(directory)
        .map_err(|source| failed("make the directory of", source))?;
    let file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(false)
        .open(&path)
        .map_err(|source| failed("open", source))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(AgentError::AnotherAgent { lock: path.clone() }),
        Err(error) => Err(failed("lock", error.into())),
    }
}
