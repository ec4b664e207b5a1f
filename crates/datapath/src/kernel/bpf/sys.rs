//! The few BPF system calls that libbpf-rs does not wrap, each behind a safe function.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::ptr;

use libbpf_sys::{
    BPF_TC_EGRESS, BPF_TC_F_REPLACE, BPF_TC_INGRESS, BPF_TCX_EGRESS, BPF_TCX_INGRESS, BPF_XDP, bpf_tc_hook, bpf_tc_opts,
};

/// Handle and priority of our filter on a clsact queue: one per direction, so fixed
/// numbers find it again. 83 is our number for routes, too.
const FILTER_HANDLE: u32 = 1;
const FILTER_PRIORITY: u32 = 83;

/// Side of an interface, as the host sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// What the interface receives.
    Ingress,
    /// What the interface sends.
    Egress,
}

/// What the kernel says of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TcxLink {
    /// The interface; 0: it has gone, and the link does nothing.
    pub(super) interface_index: u32,
    /// The program that runs.
    pub(super) program_id: u32,
}

/// Puts a program on an interface of the calling thread's network namespace, behind those
/// already there. It stays as long as the link is open or pinned.
pub(super) fn attach_tcx(program: BorrowedFd<'_>, index: u32, direction: Direction) -> io::Result<OwnedFd> {
    let attach_type = match direction {
        Direction::Ingress => BPF_TCX_INGRESS,
        Direction::Egress => BPF_TCX_EGRESS,
    };
    // SAFETY: both numbers are plain values; null options mean the defaults.
    let fd = unsafe { libbpf_sys::bpf_link_create(program.as_raw_fd(), signed(index)?, attach_type, ptr::null()) };
    // SAFETY: on success the call returns a descriptor that nobody else owns.
    check(fd).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Has the driver of an interface run a program on what it receives, before the kernel makes a
/// buffer for it.
pub(super) fn attach_xdp(program: BorrowedFd<'_>, index: u32) -> io::Result<OwnedFd> {
    /// `XDP_FLAGS_DRV_MODE` in linux/if_link.h: in the driver or not at all.
    const IN_DRIVER: u32 = 1 << 2;
    let options = libbpf_sys::bpf_link_create_opts {
        sz: size_of::<libbpf_sys::bpf_link_create_opts>() as u64,
        flags: IN_DRIVER,
        ..Default::default()
    };
    // SAFETY: both numbers are plain values; the options are a filled struct that outlives the call.
    let fd = unsafe { libbpf_sys::bpf_link_create(program.as_raw_fd(), signed(index)?, BPF_XDP, &options) };
    // SAFETY: on success the call returns a descriptor that nobody else owns.
    check(fd).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Replaces the program of a link; no packet sees neither.
pub(in crate::kernel) fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: both descriptors are open for the duration of the call.
    check(unsafe { libbpf_sys::bpf_link_update(link.as_raw_fd(), program.as_raw_fd(), ptr::null()) }).map(drop)
}

/// Takes the link's program off its interface at once, whoever else holds the link.
pub(in crate::kernel) fn detach_link(link: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the descriptor is open for the duration of the call.
    check(unsafe { libbpf_sys::bpf_link_detach(link.as_raw_fd()) }).map(drop)
}

/// What a link is.
pub(super) fn link_info(link: BorrowedFd<'_>) -> io::Result<TcxLink> {
    let mut info = libbpf_sys::bpf_link_info::default();
    let mut length = u32::try_from(size_of_val(&info)).map_err(io::Error::other)?;
    // SAFETY: `info` is a plain struct of `length` bytes that outlives the call.
    check(unsafe {
        libbpf_sys::bpf_obj_get_info_by_fd(link.as_raw_fd(), ptr::from_mut(&mut info).cast(), &mut length)
    })?;
    // SAFETY: every variant of the union is made of plain integers, and the whole was zeroed.
    let interface_index = unsafe { info.__bindgen_anon_1.tcx.ifindex };
    Ok(TcxLink { interface_index, program_id: info.prog_id })
}

/// How many instructions the verifier looked at (Linux 5.16; 0 before).
#[cfg(test)]
pub(super) fn verified_instructions(program: BorrowedFd<'_>) -> io::Result<u32> {
    let mut info = libbpf_sys::bpf_prog_info::default();
    let mut length = u32::try_from(size_of_val(&info)).map_err(io::Error::other)?;
    // SAFETY: `info` is a plain struct of `length` bytes that outlives the call.
    check(unsafe {
        libbpf_sys::bpf_obj_get_info_by_fd(program.as_raw_fd(), ptr::from_mut(&mut info).cast(), &mut length)
    })?;
    Ok(info.verified_insns)
}

/// Gives an object a name in a BPF file system.
pub(in crate::kernel) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    // SAFETY: the path is a terminated string that outlives the call.
    check(unsafe { libbpf_sys::bpf_obj_pin(object.as_raw_fd(), path.as_ptr()) }).map(drop)
}

/// Opens a pinned object.
pub(in crate::kernel) fn open_pinned(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    // SAFETY: the path is a terminated string that outlives the call.
    let fd = unsafe { libbpf_sys::bpf_obj_get(path.as_ptr()) };
    // SAFETY: on success the call returns a descriptor that nobody else owns.
    check(fd).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes the clsact queue of an interface. Returns whether it was missing.
pub(super) fn create_clsact(index: u32) -> io::Result<bool> {
    let mut hook = tc_hook(index, BPF_TC_INGRESS | BPF_TC_EGRESS)?;
    // SAFETY: `hook` is a filled struct that outlives the call.
    match check(unsafe { libbpf_sys::bpf_tc_hook_create(&mut hook) }) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes the clsact queue of an interface, with all filters on it.
pub(super) fn destroy_clsact(index: u32) -> io::Result<()> {
    let mut hook = tc_hook(index, BPF_TC_INGRESS | BPF_TC_EGRESS)?;
    // SAFETY: `hook` is a filled struct that outlives the call.
    check(unsafe { libbpf_sys::bpf_tc_hook_destroy(&mut hook) }).map(drop)
}

/// Puts a program on a clsact queue, or replaces ours there.
pub(super) fn attach_clsact(program: BorrowedFd<'_>, index: u32, direction: Direction) -> io::Result<()> {
    let hook = tc_hook(index, tc_point(direction))?;
    let mut options = tc_options();
    options.flags = BPF_TC_F_REPLACE;
    options.prog_fd = program.as_raw_fd();
    // SAFETY: both structs are filled and outlive the call.
    check(unsafe { libbpf_sys::bpf_tc_attach(&hook, &mut options) }).map(drop)
}

/// Whether our filter is on a clsact queue: the id of its program.
pub(super) fn query_clsact(index: u32, direction: Direction) -> io::Result<Option<u32>> {
    let hook = tc_hook(index, tc_point(direction))?;
    let mut options = tc_options();
    // SAFETY: both structs are filled and outlive the call.
    match check(unsafe { libbpf_sys::bpf_tc_query(&hook, &mut options) }) {
        Ok(_) => Ok(Some(options.prog_id)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Takes our filter off a clsact queue; it may be gone already.
pub(super) fn detach_clsact(index: u32, direction: Direction) -> io::Result<()> {
    let hook = tc_hook(index, tc_point(direction))?;
    let options = tc_options();
    // SAFETY: both structs are filled and outlive the call.
    match check(unsafe { libbpf_sys::bpf_tc_detach(&hook, &options) }) {
        Err(error) if !is_absent(&error) => Err(error),
        _ => Ok(()),
    }
}

/// Whether an answer means that the interface, queue or filter is not there. The kernel
/// says EINVAL when the queue is missing.
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV | libc::EINVAL))
}

fn tc_point(direction: Direction) -> u32 {
    match direction {
        Direction::Ingress => BPF_TC_INGRESS,
        Direction::Egress => BPF_TC_EGRESS,
    }
}

fn tc_hook(index: u32, attach_point: u32) -> io::Result<bpf_tc_hook> {
    Ok(bpf_tc_hook {
        sz: size_of::<bpf_tc_hook>() as u64,
        ifindex: signed(index)?,
        attach_point,
        ..bpf_tc_hook::default()
    })
}

fn tc_options() -> bpf_tc_opts {
    bpf_tc_opts {
        sz: size_of::<bpf_tc_opts>() as u64,
        handle: FILTER_HANDLE,
        priority: FILTER_PRIORITY,
        ..bpf_tc_opts::default()
    }
}

fn signed(index: u32) -> io::Result<i32> {
    i32::try_from(index).map_err(|_| io::Error::from_raw_os_error(libc::ENODEV))
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

/// libbpf returns negative error numbers.
pub(in crate::kernel) fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(result) }
}
