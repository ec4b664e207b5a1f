//! DEL while the agent is away. A pod must not hang in Terminating because of
//! that, so the deletion is written down for the agent's next start and DEL
//! succeeds. The kernel has taken the link away with the sandbox by then; what
//! is left for the agent is its own memory of the attachment.
//!
//! No deletion is lost between the two: the agent first listens and then reads
//! the folder; the plugin first writes the file and then tries to connect once
//! more. One of them sees the other.

use std::fs;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use seaway_model::agent_api::{Attachment, PENDING_DELETES_DIRECTORY, Request};

use crate::error::CniError;

/// Writes the deletion down; the file is whole or not there at all.
pub(crate) fn keep(socket: &Path, attachment: &Attachment) -> Result<PathBuf, CniError> {
    let directory = socket.parent().unwrap_or(Path::new("/")).join(PENDING_DELETES_DIRECTORY);
    // Neither part can hold a '/': both were checked when they were read.
    let name = format!("{}@{}", attachment.key.container_id, attachment.key.interface);
    let path = directory.join(format!("{name}.json"));
    let failed = |source| CniError::DeletionNotKept { path: path.clone(), source };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(failed)?;
    let text = serde_json::to_vec(&Request::Delete(attachment.clone())).map_err(|error| failed(error.into()))?;
    let unfinished = directory.join(format!(".{name}.{}", std::process::id()));
    let written = fs::File::create(&unfinished)
        .and_then(|mut file| file.write_all(&text))
        .and_then(|()| fs::rename(&unfinished, &path));
    if let Err(error) = written {
        // Best effort: a file that starts with a dot is never read.
        let _ = fs::remove_file(&unfinished);
        return Err(failed(error));
    }
    Ok(path)
}

/// The agent took it after all.
pub(crate) fn forget(path: &Path) {
    // The agent may have been faster; carrying out a deletion twice is harmless.
    let _ = fs::remove_file(path);
}
