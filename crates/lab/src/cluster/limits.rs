//! The one setting of the machine a lab needs changed: how many inotify
//! instances root may have. A node's programs hold about ten, the usual limit
//! is 128, and what it hits fails with "too many open files".
//!
//! The kernel counts per user and not per namespace, so it is raised while labs
//! exist and given back with the last one. What it was is kept in `/run`, which
//! a reboot empties as it resets the setting.

use std::fs;
use std::path::Path;

use super::error::ClusterError;
use crate::machine::LabDir;

const SETTING: &str = "/proc/sys/fs/inotify/max_user_instances";
const RECORD: &str = "/run/seaway-lab-inotify-instances";

/// Room for the 200 nodes a lab may have, at 20 each.
const WANTED: u32 = 4096;

/// Raises the limit if it is low, and remembers what it was.
///
/// # Errors
/// The setting cannot be read or written.
pub fn raise() -> Result<(), ClusterError> {
    let current = read(SETTING)?;
    if current >= WANTED {
        return Ok(());
    }
    if !Path::new(RECORD).exists() {
        write(RECORD, current)?;
    }
    write(SETTING, WANTED)
}

/// Gives the limit back when no lab is left, unless somebody else set it meanwhile.
///
/// # Errors
/// The setting cannot be read or written.
pub fn restore() -> Result<(), ClusterError> {
    let labs_left = LabDir::list().map_or(true, |labs| !labs.is_empty());
    if labs_left || !Path::new(RECORD).exists() {
        return Ok(());
    }
    let before = read(RECORD)?;
    if read(SETTING)? == WANTED {
        write(SETTING, before)?;
    }
    fs::remove_file(RECORD).map_err(storage(RECORD))
}

fn read(path: &str) -> Result<u32, ClusterError> {
    let text = fs::read_to_string(path).map_err(storage(path))?;
    text.trim().parse().map_err(|error| storage(path)(std::io::Error::new(std::io::ErrorKind::InvalidData, error)))
}

fn write(path: &str, value: u32) -> Result<(), ClusterError> {
    fs::write(path, format!("{value}\n")).map_err(storage(path))
}

fn storage(path: &str) -> impl FnOnce(std::io::Error) -> ClusterError {
    let path = path.into();
    move |source| ClusterError::Storage { path, source }
}
