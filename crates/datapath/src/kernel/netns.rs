//! Doing something inside another network namespace.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;

use nix::sched::{CloneFlags, setns};
use nix::sys::stat::fstat;

/// Runs `work` on a thread of its own inside the namespace. Sockets opened there stay in
/// it; threads of ours are never moved, so nothing has to be moved back.
pub(crate) fn inside<T: Send>(netns: BorrowedFd<'_>, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let visitor = thread::Builder::new().name("seaway-netns".to_owned()).spawn_scoped(scope, || {
            setns(netns, CloneFlags::CLONE_NEWNET)?;
            Ok::<T, io::Error>(work())
        })?;
        visitor.join().map_err(|_| io::Error::other("the thread inside the namespace panicked"))?
    })
}

/// The calling thread's own namespace.
pub(crate) fn own() -> io::Result<OwnedFd> {
    Ok(std::fs::File::open("/proc/thread-self/ns/net")?.into())
}

/// Whether two descriptors are of one namespace.
pub(crate) fn same(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> io::Result<bool> {
    let (one, other) = (fstat(one.as_fd())?, fstat(other.as_fd())?);
    Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}
