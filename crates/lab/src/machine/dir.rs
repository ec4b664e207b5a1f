//! Where a lab keeps its files on the machine: one directory per lab, removed
//! by `down`, and one cache that outlives labs.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{IoContext, LabError, Result};

/// Parent of all labs' directories.
const STATE_ROOT: &str = "/var/lib/seaway-lab";

/// File beside the labs with the cgroup controllers the first of them made the
/// machine hand down; the last of them takes these back. No lab has this name.
const CONTROLLERS: &str = "controllers_handed_down";

/// Directory of one lab, existing or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabDir {
    name: String,
    path: PathBuf,
}

/// The right to change a lab; given back on drop, or by the kernel when the
/// process dies.
#[derive(Debug)]
pub struct LabLock {
    _directory: File,
}

/// Directory of programs, images and other things all labs share:
/// `$XDG_CACHE_HOME/seaway`, else `~/.cache/seaway`.
#[must_use]
pub fn cache_dir() -> PathBuf {
    let from = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    from("XDG_CACHE_HOME")
        .or_else(|| from("HOME").map(|home| home.join(".cache")))
        .unwrap_or_else(|| PathBuf::from("/root/.cache"))
        .join("seaway")
}

// === impl LabDir ===

impl LabDir {
    /// The directory of the lab named `name`.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), path: Path::new(STATE_ROOT).join(name) }
    }

    /// Names of the labs that have a directory.
    pub fn list() -> Result<Vec<String>> {
        let root = Path::new(STATE_ROOT);
        let entries = match fs::read_dir(root) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.on_file("list", root)?,
        };
        let mut names: Vec<String> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        names.retain(|name| name != CONTROLLERS);
        names.sort();
        Ok(names)
    }

    /// Name of the lab.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The directory itself; other parts of the lab keep their files in it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the directory exists.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.path.is_dir()
    }

    /// Logs of a node's programs, `PROGRAM.log` each; the node sees it as
    /// `/var/log/seaway-lab`.
    #[must_use]
    pub fn logs(&self, node: &str) -> PathBuf {
        self.path.join("logs").join(node)
    }

    /// The part of a node's file system that survives a power cycle.
    #[must_use]
    pub fn disk(&self, node: &str) -> PathBuf {
        self.host(node).join("disk")
    }

    /// Directory that every node sees at this same path.
    #[must_use]
    pub fn shared(&self) -> PathBuf {
        self.path.join("shared")
    }

    /// Files of one namespace set: configuration, control socket, disk.
    #[must_use]
    pub fn host(&self, node: &str) -> PathBuf {
        self.path.join("hosts").join(node)
    }

    /// Directory with the control socket of a node's init process.
    #[must_use]
    pub fn control(&self, node: &str) -> PathBuf {
        self.host(node).join("control")
    }

    /// The machine layer's state file.
    #[must_use]
    pub fn state_file(&self) -> PathBuf {
        self.path.join("machine.json")
    }

    /// Makes the directory if it is missing, and takes its lock without waiting.
    pub fn create_and_lock(&self) -> Result<LabLock> {
        loop {
            fs::create_dir_all(&self.path).on_file("create", &self.path)?;
            if let Some(lock) = self.try_lock()? {
                return Ok(lock);
            }
        }
    }

    /// Takes the lock without waiting; `None` when there is no such directory.
    pub fn try_lock(&self) -> Result<Option<LabLock>> {
        let directory = match File::open(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.on_file("open", &self.path)?,
        };
        match directory.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(LabError::Busy { name: self.name.clone() }),
            Err(fs::TryLockError::Error(error)) => return Err(error).on_file("lock", &self.path),
        }
        // Another process may have removed the directory between open and lock.
        let held = directory.metadata().on_file("look at", &self.path)?;
        match fs::metadata(&self.path) {
            Ok(now) if (now.dev(), now.ino()) == (held.dev(), held.ino()) => {
                Ok(Some(LabLock { _directory: directory }))
            }
            _ => Ok(None),
        }
    }

    /// Remembers controllers that the machine did not hand down before.
    pub(super) fn note_controllers(&self, controllers: &[String]) -> Result<()> {
        if controllers.is_empty() {
            return Ok(());
        }
        let path = Path::new(STATE_ROOT).join(CONTROLLERS);
        let mut all = self.noted_controllers();
        all.extend_from_slice(controllers);
        fs::write(&path, all.join("\n")).on_file("write", &path)
    }

    /// What [`Self::note_controllers`] remembered, of all labs.
    pub(super) fn noted_controllers(&self) -> Vec<String> {
        let text = fs::read_to_string(Path::new(STATE_ROOT).join(CONTROLLERS)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Removes what is in the directory, but not the directory, which carries
    /// the lock.
    pub fn clear(&self) -> Result<()> {
        let entries = match fs::read_dir(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            other => other.on_file("list", &self.path)?,
        };
        for entry in entries {
            let path = entry.on_file("list", &self.path)?.path();
            if path.is_dir() && !path.is_symlink() {
                fs::remove_dir_all(&path).on_file("remove", &path)?;
            } else {
                fs::remove_file(&path).on_file("remove", &path)?;
            }
        }
        Ok(())
    }

    /// Removes the directory, and the parent of all labs when it is empty.
    pub fn remove(&self) -> Result<()> {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).on_file("remove", &self.path)?,
            _ => {}
        }
        if Self::list()?.is_empty() {
            let _ = fs::remove_file(Path::new(STATE_ROOT).join(CONTROLLERS));
        }
        // It is not empty while other labs run.
        let _ = fs::remove_dir(STATE_ROOT);
        Ok(())
    }
}
