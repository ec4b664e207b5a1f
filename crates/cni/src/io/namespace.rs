//! Opening `CNI_NETNS` and making sure of what it is.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::error::CniError;

/// Opens a network namespace that must exist and must not be our own: checked
/// before anything is done, since the agent would otherwise rename and
/// configure the node's own interfaces.
pub(crate) fn open_sandbox(path: &Path, own_allowed: bool) -> Result<File, CniError> {
    let missing = |source| CniError::SandboxMissing { path: path.to_owned(), source };
    let file = File::open(path).map_err(missing)?;
    if !is_network_namespace(&file) {
        return Err(CniError::NotANamespace { path: path.to_owned() });
    }
    if !own_allowed && is_own(&file).map_err(missing)? {
        return Err(CniError::OwnNamespace { path: path.to_owned() });
    }
    Ok(file)
}

/// For DEL: whatever of the namespace is left. A path that is gone, that is a
/// left-over file, or that by now names the node's own namespace (a reused
/// process id) is as good as none: the agent finds the attachment by its key.
pub(crate) fn open_remains(path: &Path, own_allowed: bool) -> Option<File> {
    open_sandbox(path, own_allowed).ok()
}

/// nsfs shows a network namespace as a link to `net:[<inode>]`.
fn is_network_namespace(file: &File) -> bool {
    use std::os::fd::AsRawFd;
    std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))
        .is_ok_and(|target| target.to_string_lossy().starts_with("net:["))
}

fn is_own(file: &File) -> std::io::Result<bool> {
    let theirs = file.metadata()?;
    let ours = std::fs::metadata("/proc/thread-self/ns/net")?;
    Ok(theirs.dev() == ours.dev() && theirs.ino() == ours.ino())
}
