//! Kernel settings below `/proc/sys`. `/proc/sys/net` is that of the calling thread's
//! network namespace.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use crate::DatapathError;

fn path_of(setting: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(setting)
}

/// Reads a setting; none when this kernel has no such setting.
pub(crate) fn read(setting: &str) -> Result<Option<String>, DatapathError> {
    match fs::read_to_string(path_of(setting)) {
        Ok(value) => Ok(Some(value.trim().to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DatapathError::Setting { path: setting.to_owned(), value: "(read)".to_owned(), source }),
    }
}

/// Writes a setting.
pub(crate) fn write(setting: &str, value: &str) -> Result<(), DatapathError> {
    fs::write(path_of(setting), value).map_err(|source| DatapathError::Setting {
        path: setting.to_owned(),
        value: value.to_owned(),
        source,
    })
}
