//! The programs for sockets, on the root of the node's cgroup hierarchy. Their links are pinned,
//! so they work on when the agent dies; a new agent puts its version in the place of the old.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::ptr;

use libbpf_sys::{
    BPF_CGROUP_INET_SOCK_RELEASE, BPF_CGROUP_INET4_CONNECT, BPF_CGROUP_INET4_GETPEERNAME, BPF_CGROUP_INET6_CONNECT,
    BPF_CGROUP_INET6_GETPEERNAME, BPF_CGROUP_UDP4_RECVMSG, BPF_CGROUP_UDP4_SENDMSG, BPF_CGROUP_UDP6_RECVMSG,
    BPF_CGROUP_UDP6_SENDMSG, BPF_FUNC_set_retval, BPF_PROG_TYPE_CGROUP_SOCK_ADDR, bpf_attach_type,
};
use nix::sys::statfs::{FsType, fstatfs};

use crate::kernel::bpf::{BpfError, sys};

/// Programs by name in the object, with their places. What names peers comes before what
/// translates, so that no translation is seen.
const PROGRAMS: [(&str, bpf_attach_type); 9] = [
    ("sw_sock_release", BPF_CGROUP_INET_SOCK_RELEASE),
    ("sw_getpeername4", BPF_CGROUP_INET4_GETPEERNAME),
    ("sw_getpeername6", BPF_CGROUP_INET6_GETPEERNAME),
    ("sw_recvmsg4", BPF_CGROUP_UDP4_RECVMSG),
    ("sw_recvmsg6", BPF_CGROUP_UDP6_RECVMSG),
    ("sw_connect4", BPF_CGROUP_INET4_CONNECT),
    ("sw_connect6", BPF_CGROUP_INET6_CONNECT),
    ("sw_sendmsg4", BPF_CGROUP_UDP4_SENDMSG),
    ("sw_sendmsg6", BPF_CGROUP_UDP6_SENDMSG),
];

/// `CGROUP2_SUPER_MAGIC` in linux/magic.h.
const CGROUP2_MAGIC: FsType = FsType(0x6367_7270);
/// Where hybrid hierarchies keep version 2, below the folder of all.
const HYBRID: &str = "unified";

/// The programs, and where they go.
pub(super) struct SocketPrograms {
    links_dir: PathBuf,
    cgroup: File,
    cgroup_path: PathBuf,
    programs: BTreeMap<String, OwnedFd>,
}

/// Whether programs can choose the error that applications see (Linux 5.18).
pub(in crate::kernel) fn can_set_error() -> bool {
    // SAFETY: plain values; null options mean the defaults.
    let result = unsafe {
        libbpf_sys::libbpf_probe_bpf_helper(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_FUNC_set_retval, ptr::null())
    };
    result == 1
}

// === impl SocketPrograms ===

impl SocketPrograms {
    /// Takes charge of loaded programs. `cgroup_root` is the root of the version 2 hierarchy, or
    /// of the folder with all hierarchies.
    pub(super) fn new(
        links_dir: PathBuf,
        cgroup_root: &Path,
        programs: BTreeMap<String, OwnedFd>,
    ) -> Result<Self, BpfError> {
        let (cgroup, cgroup_path) = open_cgroup(cgroup_root)?;
        Ok(Self { links_dir, cgroup, cgroup_path, programs })
    }

    /// Whether an earlier process attached programs here.
    pub(super) fn are_attached(&self) -> bool {
        PROGRAMS.iter().any(|(name, _)| self.links_dir.join(name).exists())
    }

    /// Puts each program in its place, or this version where an earlier one is.
    /// Returns the names of those that were missing.
    pub(super) fn attach(&self) -> Result<Vec<&'static str>, BpfError> {
        let mut missing = Vec::new();
        for (name, place) in PROGRAMS {
            let program = self.program(name)?;
            let path = self.links_dir.join(name);
            let failed = |source| BpfError::AttachCgroup { program: name, path: self.cgroup_path.clone(), source };
            if let Some(link) = self.live_link(&path)? {
                sys::update_link(link.as_fd(), program).map_err(failed)?;
                continue;
            }
            missing.push(name);
            let link = attach(program, self.cgroup.as_fd(), place).map_err(failed)?;
            sys::pin(link.as_fd(), &path).map_err(|source| pin_error("create", &path, source))?;
        }
        Ok(missing)
    }

    /// The names of programs that are not in their places.
    pub(super) fn missing(&self) -> Result<Vec<&'static str>, BpfError> {
        let mut missing = Vec::new();
        for (name, _) in PROGRAMS {
            if self.live_link(&self.links_dir.join(name))?.is_none() {
                missing.push(name);
            }
        }
        Ok(missing)
    }

    /// Takes all programs away, those that translate first.
    pub(super) fn detach(&self) -> Result<(), BpfError> {
        detach_all(&self.links_dir)
    }

    fn program(&self, name: &str) -> Result<BorrowedFd<'_>, BpfError> {
        let missing = || BpfError::MissingPart { what: "program", name: name.to_owned() };
        self.programs.get(name).map(|program| program.as_fd()).ok_or_else(missing)
    }

    /// The pinned link, if it is on our cgroup; one that is on another, which has gone or is not
    /// the root, is removed.
    fn live_link(&self, path: &Path) -> Result<Option<OwnedFd>, BpfError> {
        let link = match sys::open_pinned(path) {
            Ok(link) => link,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(pin_error("open", path, error)),
        };
        let place = cgroup_of(link.as_fd()).map_err(|error| pin_error("read", path, error))?;
        let ours = self.cgroup.metadata().map_err(|error| pin_error("read", &self.cgroup_path, error))?.ino();
        if place == ours {
            return Ok(Some(link));
        }
        detach_pinned(path).map_err(|error| pin_error("remove", path, error))?;
        Ok(None)
    }
}

/// Takes all programs away, whichever version left them. Needs nothing loaded.
pub(super) fn detach_all(links_dir: &Path) -> Result<(), BpfError> {
    PROGRAMS.iter().rev().try_for_each(|(name, _)| {
        let path = links_dir.join(name);
        detach_pinned(&path).map_err(|error| pin_error("remove", &path, error))
    })
}

fn open_cgroup(root: &Path) -> Result<(File, PathBuf), BpfError> {
    let mut result = Err(io::Error::from(ErrorKind::NotFound));
    for path in [root.to_owned(), root.join(HYBRID)] {
        let is_version_2 = |folder: &File| Ok::<_, io::Error>(fstatfs(folder)?.filesystem_type() == CGROUP2_MAGIC);
        result = match File::open(&path).and_then(|folder| Ok((is_version_2(&folder)?, folder))) {
            Ok((true, folder)) => return Ok((folder, path)),
            Ok((false, _)) => Err(io::Error::other("another file system is mounted there")),
            // What is wrong with the root says more than that it holds no hybrid.
            Err(error) => result.or(Err(error)),
        };
    }
    result.map_err(|source| BpfError::CgroupRoot { path: root.to_owned(), source })
}

fn attach(program: BorrowedFd<'_>, cgroup: BorrowedFd<'_>, place: bpf_attach_type) -> io::Result<OwnedFd> {
    // SAFETY: plain values; both descriptors are open during the call; null options mean the
    // defaults.
    let fd = unsafe { libbpf_sys::bpf_link_create(program.as_raw_fd(), cgroup.as_raw_fd(), place, ptr::null()) };
    // SAFETY: on success the call returns a descriptor that nobody else owns.
    sys::check(fd).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Number of the cgroup that a link is on; 0: it has gone. The same as the folder's inode.
fn cgroup_of(link: BorrowedFd<'_>) -> io::Result<u64> {
    let mut info = libbpf_sys::bpf_link_info::default();
    let mut length = u32::try_from(size_of_val(&info)).map_err(io::Error::other)?;
    // SAFETY: `info` is a plain struct of `length` bytes that outlives the call.
    sys::check(unsafe {
        libbpf_sys::bpf_obj_get_info_by_fd(link.as_raw_fd(), ptr::from_mut(&mut info).cast(), &mut length)
    })?;
    // SAFETY: every variant of the union is made of plain integers, and the whole was zeroed.
    Ok(unsafe { info.__bindgen_anon_1.cgroup.cgroup_id })
}

fn detach_pinned(path: &Path) -> io::Result<()> {
    match sys::open_pinned(path) {
        Ok(link) => {
            // A link whose cgroup has gone answers ENOLINK.
            match sys::detach_link(link.as_fd()) {
                Err(error) if error.raw_os_error() != Some(libc::ENOLINK) => return Err(error),
                _ => {}
            }
            fs::remove_file(path)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn pin_error(operation: &'static str, path: &Path, source: io::Error) -> BpfError {
    BpfError::Pin { operation, path: path.to_owned(), source }
}
