//! Directories that are in use, seen from other processes: whoever uses one
//! holds a shared lock on it, which the kernel drops with the process. What a
//! killed process left behind is therefore told from what is being worked on.

use std::fs::{self, File};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::error::ImageError;

/// Marks a file or directory as in use until the result is dropped.
pub(super) fn hold(path: &Path) -> Result<File, ImageError> {
    let file = File::open(path).map_err(ImageError::store("open", path))?;
    flock(&file, FlockOperation::LockShared).map_err(|errno| ImageError::store("lock", path)(errno.into()))?;
    Ok(file)
}

/// Waits until no other process works on it and keeps others out until the
/// result is dropped.
pub(super) fn alone(path: &Path) -> Result<File, ImageError> {
    let file = File::open(path).map_err(ImageError::store("open", path))?;
    flock(&file, FlockOperation::LockExclusive).map_err(|errno| ImageError::store("lock", path)(errno.into()))?;
    Ok(file)
}

/// Whether some process holds it.
pub(super) fn is_held(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    flock(&file, FlockOperation::NonBlockingLockExclusive).is_err()
}

/// Removes what killed processes left in `directory` under names with one of
/// these prefixes. What cannot be removed now is tried again the next time.
pub(super) fn remove_abandoned(directory: &Path, prefixes: &[&str]) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let matches = name.to_str().is_some_and(|name| prefixes.iter().any(|prefix| name.starts_with(prefix)));
        if matches && !is_held(&entry.path()) {
            let path = entry.path();
            let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_holds_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["incoming-a", "incoming-b", "blobs"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        let held = directory.path().join("incoming-b");
        let hold = hold(&held).unwrap();
        assert!(is_held(&held));
        remove_abandoned(directory.path(), &["incoming-"]);
        let mut left: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["blobs", "incoming-b"]);
        drop(hold);
        remove_abandoned(directory.path(), &["incoming-"]);
        assert!(!held.exists());
    }
}
