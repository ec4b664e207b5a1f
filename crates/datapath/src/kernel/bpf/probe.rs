//! What this kernel can do for the fast path, found by trying, not by its version.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::path::Path;
use std::ptr;

use libbpf_sys::{
    BPF_FUNC_redirect_neigh, BPF_FUNC_redirect_peer, BPF_FUNC_ringbuf_reserve, BPF_MAP_TYPE_LPM_TRIE,
    BPF_MAP_TYPE_LRU_HASH, BPF_MAP_TYPE_RINGBUF, BPF_PROG_TYPE_SCHED_CLS, BPF_PROG_TYPE_XDP, bpf_prog_type,
};
use nix::sched::{CloneFlags, unshare};

use super::sys::{self, Direction};

/// Index of the loopback interface of a new network namespace.
const LOOPBACK_INDEX: u32 = 1;
/// Verdicts of linux/pkt_cls.h and linux/bpf.h: go on as if the program were not there.
const TC_ACT_UNSPEC: i32 = -1;
const XDP_PASS: i32 = 2;

/// What was found. Each is `Ok`, or why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BpfSupport {
    /// Programs for traffic control hooks can be loaded at all.
    pub programs: Result<(), String>,
    /// Hash, prefix and LRU maps.
    pub maps: Result<(), String>,
    /// Ring buffer (Linux 5.8).
    pub ring_buffer: Result<(), String>,
    /// `bpf_redirect_peer` (Linux 5.10).
    pub redirect_peer: Result<(), String>,
    /// `bpf_redirect_neigh` (Linux 5.10).
    pub redirect_neigh: Result<(), String>,
    /// TCX links (Linux 6.6); without them programs go on clsact queues.
    pub tcx: Result<(), String>,
    /// XDP programs; whether the driver of a device runs them is for that device to say.
    pub xdp: Result<(), String>,
    /// The kernel describes its types; nothing of ours needs it.
    pub btf: Result<(), String>,
}

/// Tries everything.
#[must_use]
pub fn probe() -> BpfSupport {
    BpfSupport {
        programs: load_constant_program(BPF_PROG_TYPE_SCHED_CLS, TC_ACT_UNSPEC)
            .map(drop)
            .map_err(|error| explain(&error)),
        maps: probe_map(BPF_MAP_TYPE_LPM_TRIE).and_then(|()| probe_map(BPF_MAP_TYPE_LRU_HASH)),
        ring_buffer: probe_map(BPF_MAP_TYPE_RINGBUF).and_then(|()| probe_helper(BPF_FUNC_ringbuf_reserve)),
        redirect_peer: probe_helper(BPF_FUNC_redirect_peer),
        redirect_neigh: probe_helper(BPF_FUNC_redirect_neigh),
        tcx: probe_tcx().map_err(|error| explain(&error)),
        xdp: load_constant_program(BPF_PROG_TYPE_XDP, XDP_PASS).map(drop).map_err(|error| explain(&error)),
        btf: match Path::new("/sys/kernel/btf/vmlinux").exists() {
            true => Ok(()),
            false => Err("the kernel has no /sys/kernel/btf/vmlinux".to_owned()),
        },
    }
}

/// Whether a TCX link can be made: tries it on the loopback interface of a new network
/// namespace, whose only inhabitant is the thread that tries.
pub(super) fn probe_tcx() -> io::Result<()> {
    std::thread::scope(|scope| {
        let attempt = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            let program = load_constant_program(BPF_PROG_TYPE_SCHED_CLS, TC_ACT_UNSPEC)?;
            sys::attach_tcx(program.as_fd(), LOOPBACK_INDEX, Direction::Ingress).map(drop)
        });
        attempt.join().unwrap_or_else(|_| Err(io::Error::other("the probing thread died")))
    })
}

/// Loads `return XDP_PASS`.
#[cfg(test)]
pub(super) fn load_xdp_pass() -> io::Result<OwnedFd> {
    load_constant_program(BPF_PROG_TYPE_XDP, XDP_PASS)
}

/// Loads a program that returns a number.
fn load_constant_program(program_type: bpf_prog_type, number: i32) -> io::Result<OwnedFd> {
    let set_result = libbpf_sys::bpf_insn {
        // BPF_ALU64 | BPF_MOV | BPF_K: r0 = number
        code: 0xb7,
        imm: number,
        ..Default::default()
    };
    // BPF_JMP | BPF_EXIT
    let exit = libbpf_sys::bpf_insn { code: 0x95, ..Default::default() };
    let instructions = [set_result, exit];
    // SAFETY: two valid instructions, terminated strings, and null options outlive the call.
    let fd = unsafe {
        libbpf_sys::bpf_prog_load(
            program_type,
            c"sw_probe".as_ptr(),
            c"GPL".as_ptr(),
            instructions.as_ptr(),
            instructions.len() as u64,
            ptr::null_mut(),
        )
    };
    // SAFETY: on success the call returns a descriptor that nobody else owns.
    sys::check(fd).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

fn probe_map(map_type: u32) -> Result<(), String> {
    // SAFETY: plain values; null options mean the defaults.
    let result = unsafe { libbpf_sys::libbpf_probe_bpf_map_type(map_type, ptr::null()) };
    // libbpf says 0 also to users without the right to make maps.
    let refused = result == 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EPERM);
    verdict(if refused { -libc::EPERM } else { result }, "the kernel has no such map type")
}

fn probe_helper(helper: u32) -> Result<(), String> {
    // SAFETY: plain values; null options mean the defaults.
    let result = unsafe { libbpf_sys::libbpf_probe_bpf_helper(BPF_PROG_TYPE_SCHED_CLS, helper, ptr::null()) };
    verdict(result, "the kernel has no such helper")
}

/// libbpf says 1: there, 0: not there, negative: could not tell.
fn verdict(result: i32, absent: &str) -> Result<(), String> {
    match sys::check(result) {
        Ok(0) => Err(absent.to_owned()),
        Ok(_) => Ok(()),
        Err(error) => Err(explain(&error)),
    }
}

fn explain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => "not permitted: CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN are needed".into(),
        Some(libc::EINVAL) => "the kernel does not know it".into(),
        _ => error.to_string(),
    }
}

/// Whether the folder is on a BPF file system (`BPF_FS_MAGIC` in linux/magic.h).
pub(super) fn is_on_bpf_file_system(folder: BorrowedFd<'_>) -> io::Result<bool> {
    let info = nix::sys::statfs::fstatfs(folder)?;
    Ok(info.filesystem_type() == nix::sys::statfs::FsType(0xcafe_4a11))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernel_has_all_that_is_needed() {
        let support = probe();
        assert_eq!(support.programs, Ok(()), "needs root");
        assert_eq!(support.maps, Ok(()));
        assert_eq!(support.ring_buffer, Ok(()));
        assert_eq!(support.redirect_peer, Ok(()));
        assert_eq!(support.redirect_neigh, Ok(()));
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(verdict(0, "absent"), Err("absent".to_owned()));
        assert!(verdict(-libc::EPERM, "absent").unwrap_err().contains("CAP_BPF"));
        assert_eq!(verdict(1, "absent"), Ok(()));
    }
}
