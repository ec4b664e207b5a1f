//! A node's `/var/lib/containerd`, made from a template in milliseconds.
//!
//! containerd's two databases are copied, because each node changes its own.
//! Blobs and unpacked snapshots are symbolic links into the template: overlay
//! mounts follow them for their lower directories, and when containerd removes
//! an image it removes the link, never what the other nodes share.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::digest::Digest;
use super::error::ImageError;

/// Blobs below a containerd root.
pub(super) const BLOBS: &str = "io.containerd.content.v1.content/blobs/sha256";
/// Unpacked layers below a containerd root.
const SNAPSHOTS: &str = "io.containerd.snapshotter.v1.overlayfs/snapshots";
const METADATA: &str = "io.containerd.metadata.v1.bolt/meta.db";
const SNAPSHOT_METADATA: &str = "io.containerd.snapshotter.v1.overlayfs/metadata.db";

/// Makes the node's root, unless the node has one already.
pub(super) fn prepare(template: &Path, node_root: &Path) -> Result<(), ImageError> {
    if node_root.join(METADATA).exists() {
        return Ok(());
    }
    note_user(template, node_root)?;
    let shared = template.join("root");
    for directory in [BLOBS, SNAPSHOTS] {
        link_all(&shared.join(directory), &node_root.join(directory))?;
    }
    let snapshots = node_root.join(SNAPSHOTS);
    // As containerd makes it: containers' files are nobody else's business.
    fs::set_permissions(&snapshots, fs::Permissions::from_mode(0o700))
        .map_err(ImageError::store("set permissions of", &snapshots))?;
    // The database that says the root is in use comes last.
    for database in [SNAPSHOT_METADATA, METADATA] {
        copy(&shared.join(database), &node_root.join(database))?;
    }
    Ok(())
}

/// Puts the template's blobs into a root whose containerd runs. An import then
/// finds them there, and writes none.
pub(super) fn share_blobs(template: &Path, node_root: &Path) -> Result<(), ImageError> {
    note_user(template, node_root)?;
    link_all(&template.join("root").join(BLOBS), &node_root.join(BLOBS))
}

/// Makes an empty snapshot of a running containerd a link to an unpacked layer;
/// both are named by their directories.
pub(super) fn share_snapshot(template: &Path, shared: &str, node_root: &Path, own: &str) -> Result<(), ImageError> {
    let own = node_root.join(SNAPSHOTS).join(own);
    let shared = template.join("root").join(SNAPSHOTS).join(shared);
    fs::remove_dir_all(&own).map_err(ImageError::store("remove", &own))?;
    symlink(shared, &own).map_err(ImageError::store("make the link", &own))
}

/// Whether a node root that was made from this template still exists.
pub(super) fn has_users(template: &Path) -> bool {
    let Ok(users) = fs::read_dir(template.join("users")) else { return false };
    users.flatten().any(|user| {
        let node_root = fs::read_to_string(user.path()).unwrap_or_default();
        let in_use = Path::new(&node_root).join(METADATA).exists();
        if !in_use {
            // A mark left over is harmless; it is looked at again next time.
            let _ = fs::remove_file(user.path());
        }
        in_use
    })
}

fn note_user(template: &Path, node_root: &Path) -> Result<(), ImageError> {
    let users = template.join("users");
    fs::create_dir_all(&users).map_err(ImageError::store("make the directory", &users))?;
    let path = node_root.to_string_lossy();
    let mark = users.join(Digest::of(path.as_bytes()).hex());
    fs::write(&mark, path.as_bytes()).map_err(ImageError::store("write", &mark))
}

fn link_all(shared: &Path, own: &Path) -> Result<(), ImageError> {
    fs::create_dir_all(own).map_err(ImageError::store("make the directory", own))?;
    for entry in fs::read_dir(shared).map_err(ImageError::store("read", shared))? {
        let entry = entry.map_err(ImageError::store("read", shared))?;
        let link: PathBuf = own.join(entry.file_name());
        match symlink(entry.path(), &link) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(ImageError::store("make the link", &link)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<(), ImageError> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).map_err(ImageError::store("make the directory", parent))?;
    }
    fs::copy(from, to).map(|_| ()).map_err(ImageError::store("copy a database to", to))
}
