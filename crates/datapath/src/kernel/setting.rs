//! Kernel settings below `/proc/sys`. `/proc/sys/net` is that of the calling thread's
//! network namespace, wherever it is mounted.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use crate::DatapathError;

/// The settings as this process sees them: a container's own `/proc/sys` is read-only, so
/// that the host's is mounted elsewhere.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    root: PathBuf,
}

// === impl Settings ===

impl Settings {
    /// The settings below `root`, usually `/proc/sys`.
    pub(crate) fn below(root: PathBuf) -> Self {
        Self { root }
    }

    /// Reads a setting; none when this kernel has no such setting.
    pub(crate) fn read(&self, setting: &str) -> Result<Option<String>, DatapathError> {
        match fs::read_to_string(self.root.join(setting)) {
            Ok(value) => Ok(Some(value.trim().to_owned())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(DatapathError::Setting { path: setting.to_owned(), value: "(read)".to_owned(), source }),
        }
    }

    /// Writes a setting.
    pub(crate) fn write(&self, setting: &str, value: &str) -> Result<(), DatapathError> {
        fs::write(self.root.join(setting), value).map_err(|source| DatapathError::Setting {
            path: setting.to_owned(),
            value: value.to_owned(),
            source,
        })
    }
}
