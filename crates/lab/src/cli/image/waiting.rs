//! Images that came while a node was off: one file per node, one name per line.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use crate::error::{IoContext, Result};
use crate::image::ImageName;
use crate::machine::LabDir;

/// Adds to what the node gets when it is on again.
pub(super) fn add(dir: &LabDir, node: &str, names: &[ImageName]) -> Result<()> {
    let path = file(dir, node);
    let mut file = fs::OpenOptions::new().append(true).create(true).open(&path).on_file("open", &path)?;
    let lines: String = names.iter().map(|name| format!("{name}\n")).collect();
    file.write_all(lines.as_bytes()).on_file("write", &path)
}

/// What the node has not got yet.
pub(super) fn of(dir: &LabDir, node: &str) -> Result<Vec<ImageName>> {
    let path = file(dir, node);
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.on_file("read", &path)?,
    };
    // A line cut short by a full disk is not worth failing for.
    Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
}

/// The node has got everything.
pub(super) fn clear(dir: &LabDir, node: &str) -> Result<()> {
    let path = file(dir, node);
    match fs::remove_file(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other.on_file("remove", &path),
    }
}

fn file(dir: &LabDir, node: &str) -> PathBuf {
    dir.host(node).join("waiting-images")
}
