//! Calls of `ctr` on one containerd, by its socket.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::error::ImageError;
use super::store::{ImageStore, StoredImage};

/// Where the kubelet's runtime looks for images.
const NAMESPACE: &str = "k8s.io";
/// What keeps a snapshot that no image refers to yet from being collected;
/// `ctr` sets it on every snapshot it makes.
const KEPT_LABEL: &str = "containerd.io/gc.root";

/// One containerd.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ctr<'a> {
    /// The `ctr` program.
    pub(super) program: &'a Path,
    /// containerd's socket, seen from here.
    pub(super) socket: &'a Path,
}

/// One mount of a snapshot, as `ctr snapshots prepare --mounts` prints it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Mount {
    source: String,
    #[serde(default)]
    options: Vec<String>,
}

// === impl Ctr ===

impl Ctr<'_> {
    /// Whether containerd answers.
    pub(super) fn answers(&self) -> bool {
        self.run(&["version"]).is_ok()
    }

    /// Whether there is a snapshot of that name.
    pub(super) fn has_snapshot(&self, name: &str) -> bool {
        self.run(&["snapshots", "info", name]).is_ok()
    }

    /// Makes a snapshot that can be written; the directory, as containerd names
    /// it, that takes what is written.
    pub(super) fn prepare(&self, key: &str, parent: Option<&str>) -> Result<PathBuf, String> {
        let printed = self.run(&with_parent(&["snapshots", "prepare", "--mounts", key], parent))?;
        own_directory(&printed)
    }

    /// The directory of a finished snapshot, as containerd names it.
    pub(super) fn directory_of(&self, snapshot: &str) -> Result<PathBuf, String> {
        let view = format!("seaway-view-{snapshot}");
        let printed = self.run(&["snapshots", "view", "--mounts", &view, snapshot])?;
        // containerd may have collected it already: nothing refers to it.
        let _ = self.remove_snapshot(&view);
        own_directory(&printed)
    }

    /// Finishes a snapshot under its lasting name.
    pub(super) fn commit(&self, name: &str, key: &str) -> Result<(), String> {
        self.run(&["snapshots", "commit", name, key]).map(drop)
    }

    /// Removes a snapshot.
    pub(super) fn remove_snapshot(&self, name: &str) -> Result<(), String> {
        self.run(&["snapshots", "remove", name]).map(drop)
    }

    /// From now on the snapshot lives as long as an image refers to it.
    pub(super) fn release(&self, snapshot: &str) -> Result<(), String> {
        self.run(&["snapshots", "label", snapshot, &format!("{KEPT_LABEL}=")]).map(drop)
    }

    /// Imports images; layers whose snapshots are there are not unpacked.
    pub(super) fn import(&self, store: &ImageStore, images: &[StoredImage]) -> Result<(), ImportError> {
        let mut child = self
            .command(&["images", "import", "--snapshotter", "overlayfs", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| ImportError::Refused(format!("{}: {error}", self.program.display())))?;
        let written = match child.stdin.take() {
            Some(stdin) => store.export(images, io::BufWriter::with_capacity(256 * 1024, stdin)),
            None => Ok(()),
        };
        let output = child.wait_with_output().map_err(|error| ImportError::Refused(error.to_string()))?;
        if !output.status.success() {
            // It stopped reading: what it says explains the write that failed.
            return Err(ImportError::Refused(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        written.map_err(ImportError::Store)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.program);
        command.arg("--address").arg(self.socket).args(["--namespace", NAMESPACE]).args(words);
        command
    }

    fn run(&self, words: &[&str]) -> Result<Vec<u8>, String> {
        let output = self.command(words).stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
        if output.status.success() {
            Ok(output.stdout)
        } else {
            Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
        }
    }
}

/// Why an import failed.
#[derive(Debug)]
pub(super) enum ImportError {
    /// containerd's reason.
    Refused(String),
    /// The images could not be read.
    Store(ImageError),
}

fn with_parent<'a>(words: &[&'a str], parent: Option<&'a str>) -> Vec<&'a str> {
    words.iter().copied().chain(parent).collect()
}

/// Of the directories a snapshot is mounted from, the one that is its own: the
/// upper one if it can be written, else the first lower one, or the only one.
fn own_directory(mounts: &[u8]) -> Result<PathBuf, String> {
    let unclear = || format!("containerd names no directory: {}", String::from_utf8_lossy(mounts).trim());
    let mounts: Vec<Mount> = serde_json::from_slice(mounts).map_err(|error| format!("{}: {error}", unclear()))?;
    let [mount] = mounts.as_slice() else { return Err(unclear()) };
    let option = |name: &str| mount.options.iter().find_map(|option| option.strip_prefix(name));
    let path = option("upperdir=")
        .or_else(|| option("lowerdir=").and_then(|all| all.split(':').next()))
        .unwrap_or(&mount.source);
    // `…/snapshots/15/fs`: the snapshot is the directory around it.
    Path::new(path).parent().map(Path::to_owned).filter(|path| path.is_absolute()).ok_or_else(unclear)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_s_own_directory_is_found() {
        for (mounts, directory) in [
            (
                r#"[{"Type":"bind","Source":"/c/snapshots/15/fs","Target":"","Options":["rw","rbind"]}]"#,
                Some("/c/snapshots/15"),
            ),
            (
                r#"[{"Type":"overlay","Source":"overlay","Options":["workdir=/c/snapshots/16/work","upperdir=/c/snapshots/16/fs","lowerdir=/c/snapshots/15/fs","index=off"]}]"#,
                Some("/c/snapshots/16"),
            ),
            (
                r#"[{"Type":"overlay","Source":"overlay","Options":["lowerdir=/c/snapshots/17/fs:/c/snapshots/16/fs"]}]"#,
                Some("/c/snapshots/17"),
            ),
            (r#"[{"Type":"overlay","Source":"overlay","Options":[]}]"#, None),
            ("[]", None),
            ("no JSON", None),
        ] {
            assert_eq!(own_directory(mounts.as_bytes()).ok(), directory.map(PathBuf::from), "{mounts}");
        }
    }
}
