//! Deletions that the plugin kept while no agent was there.

use std::fs;
use std::path::{Path, PathBuf};

use seaway_model::agent_api::{PENDING_DELETES_DIRECTORY, Request};

use crate::AgentError;

/// A kept deletion and its file.
#[derive(Debug)]
pub(crate) struct KeptDeletion {
    pub(crate) path: PathBuf,
    pub(crate) request: Result<Request, AgentError>,
}

/// Reads what was kept, oldest name first. Call it once the socket is listened on:
/// a plugin that writes later finds it.
pub(crate) fn read(run_directory: &Path) -> Vec<KeptDeletion> {
    let directory = run_directory.join(PENDING_DELETES_DIRECTORY);
    let Ok(entries) = fs::read_dir(&directory) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
        // A file whose name starts with a dot is not finished.
        .filter(|path| path.file_name().is_some_and(|name| !name.as_encoded_bytes().starts_with(b".")))
        .collect();
    paths.sort();
    paths.into_iter().map(|path| KeptDeletion { request: parse(&path), path }).collect()
}

fn parse(path: &Path) -> Result<Request, AgentError> {
    let failed = |problem: String| AgentError::KeptDeletion { path: path.to_owned(), problem };
    let text = fs::read(path).map_err(|error| failed(error.to_string()))?;
    match serde_json::from_slice(&text) {
        Ok(request @ Request::Delete(_)) => Ok(request),
        Ok(_) => Err(failed("it is no deletion".into())),
        Err(error) => Err(failed(error.to_string())),
    }
}
