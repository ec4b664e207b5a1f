//! Opening `CNI_NETNS` and making sure of what it is.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::error::CniError;

/// `NSFS_MAGIC` of `linux/magic.h`.
const NSFS_MAGIC: rustix::fs::FsWord = 0x6e73_6673;

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

/// Namespaces are files of nsfs, under whatever path they are bound to. One that is
/// opened in /proc shows its kind as well (`uts:[<inode>]`); that a bound one is of
/// networks the agent finds out when it enters it.
fn is_network_namespace(file: &File) -> bool {
    use std::os::fd::AsRawFd;
    let is_namespace = rustix::fs::fstatfs(file).is_ok_and(|file_system| file_system.f_type == NSFS_MAGIC);
    let shown = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap_or_default();
    let shown = shown.to_string_lossy();
    is_namespace && (shown.starts_with("net:[") || shown.starts_with('/'))
}

fn is_own(file: &File) -> std::io::Result<bool> {
    let theirs = file.metadata()?;
    let ours = std::fs::metadata("/proc/thread-self/ns/net")?;
    Ok(theirs.dev() == ours.dev() && theirs.ino() == ours.ino())
}
