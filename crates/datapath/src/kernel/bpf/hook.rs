//! Programs on interfaces: TCX links, or filters on a clsact queue where the kernel has no
//! TCX (before 6.6). Either way they stay when the agent dies.
//!
//! The folder of links is the record: a pinned link `sw_from_pod-12` is that program on
//! interface 12 by TCX; an empty folder of such a name says that it is there by clsact, and
//! a folder `clsact-12` says that the queue is ours, too.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::error::BpfError;
use super::sys::{self, Direction};

/// A program of the fast path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Program {
    /// What pods send.
    FromPod,
    /// What the host stack delivers to pods.
    ToPod,
    /// What comes out of the VXLAN device.
    FromTunnel,
    /// What the underlay device receives.
    FromUnderlay,
    /// What goes into the VXLAN device.
    ToNetwork,
    /// What goes into the underlay device.
    ToUnderlay,
}

/// How programs are put on interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// A link of its own (Linux 6.6).
    Tcx,
    /// A filter on a clsact queue.
    Clsact,
}

/// A program on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attachment {
    /// Which program.
    pub program: Program,
    /// Index of the interface.
    pub interface_index: u32,
}

/// The interfaces' side of the fast path.
pub(super) struct Hooks {
    links_dir: PathBuf,
    hook: Hook,
    programs: BTreeMap<Program, OwnedFd>,
}

// === impl Program ===

impl Program {
    /// Every program.
    pub const ALL: [Self; 6] =
        [Self::FromPod, Self::ToPod, Self::FromTunnel, Self::FromUnderlay, Self::ToNetwork, Self::ToUnderlay];

    /// Name in the object and in pins.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FromPod => "sw_from_pod",
            Self::ToPod => "sw_to_pod",
            Self::FromTunnel => "sw_from_tunnel",
            Self::FromUnderlay => "sw_from_underlay",
            Self::ToNetwork => "sw_to_network",
            Self::ToUnderlay => "sw_to_underlay",
        }
    }

    fn direction(self) -> Direction {
        match self {
            Self::FromPod | Self::FromTunnel | Self::FromUnderlay => Direction::Ingress,
            Self::ToPod | Self::ToNetwork | Self::ToUnderlay => Direction::Egress,
        }
    }
}

// === impl Hook ===

impl Hook {
    /// Name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcx => "TCX",
            Self::Clsact => "clsact",
        }
    }
}

// === impl Attachment ===

impl Attachment {
    fn file_name(self) -> String {
        format!("{}-{}", self.program.name(), self.interface_index)
    }

    fn from_file_name(name: &str) -> Option<Self> {
        let (program, index) = name.rsplit_once('-')?;
        let program = Program::ALL.into_iter().find(|known| known.name() == program)?;
        Some(Self { program, interface_index: index.parse().ok()? })
    }
}

// === impl Hooks ===

impl Hooks {
    pub(super) fn new(links_dir: PathBuf, hook: Hook, programs: BTreeMap<Program, OwnedFd>) -> Self {
        Self { links_dir, hook, programs }
    }

    /// How programs are attached.
    pub(super) fn hook(&self) -> Hook {
        self.hook
    }

    /// Puts a program on an interface by `hook`, or this version of it where an earlier one
    /// is, by whatever hook.
    pub(super) fn attach(&self, wanted: Attachment, hook: Hook) -> Result<(), BpfError> {
        let program = self.program(wanted.program)?;
        let path = self.links_dir.join(wanted.file_name());
        let by_filter = path.is_dir();
        let hook = if by_filter { Hook::Clsact } else { hook };
        let failed = |source| BpfError::Attach {
            program: wanted.program.name(),
            interface_index: wanted.interface_index,
            hook: hook.name(),
            source,
        };
        if !by_filter && let Some(link) = open_live_link(&path, wanted.interface_index)? {
            return sys::update_link(link.as_fd(), program).map_err(failed);
        }
        match hook {
            Hook::Tcx => {
                let link = sys::attach_tcx(program, wanted.interface_index, wanted.program.direction());
                let link = link.map_err(failed)?;
                sys::pin(link.as_fd(), &path).map_err(|source| BpfError::Pin { operation: "create", path, source })
            }
            Hook::Clsact => {
                let marker = self.links_dir.join(queue_marker(wanted.interface_index));
                let direction = wanted.program.direction();
                make_dir(&path)?;
                // The queue that a link's first program made serves the second; asking the
                // kernel for it again costs a call and a warning.
                if marker.is_dir() && sys::attach_clsact(program, wanted.interface_index, direction).is_ok() {
                    return Ok(());
                }
                if sys::create_clsact(wanted.interface_index).map_err(failed)? {
                    make_dir(&marker)?;
                }
                sys::attach_clsact(program, wanted.interface_index, direction).map_err(failed)
            }
        }
    }

    /// Takes a program off an interface; both may be gone already.
    pub(super) fn detach(&self, unwanted: Attachment) -> Result<(), BpfError> {
        detach(&self.links_dir, unwanted)
    }

    /// Puts this version of the programs wherever an earlier one runs, and forgets
    /// interfaces that have gone. Returns what runs.
    pub(super) fn refresh(&self) -> Result<Vec<Attachment>, BpfError> {
        let attached = attachments(&self.links_dir)?;
        attached.iter().try_for_each(|attachment| self.attach(*attachment, self.hook))?;
        Ok(attached)
    }

    /// The program's descriptor.
    pub(super) fn program(&self, program: Program) -> Result<BorrowedFd<'_>, BpfError> {
        let missing = || BpfError::MissingPart { what: "program", name: program.name().to_owned() };
        self.programs.get(&program).map(|fd| fd.as_fd()).ok_or_else(missing)
    }

    /// What runs now.
    pub(super) fn attachments(&self) -> Result<Vec<Attachment>, BpfError> {
        attachments(&self.links_dir)
    }
}

/// What the folder of links records and the kernel confirms. Records of interfaces that
/// have gone are removed.
pub(super) fn attachments(links_dir: &Path) -> Result<Vec<Attachment>, BpfError> {
    let mut found = Vec::new();
    for name in names_in(links_dir)? {
        let Some(attachment) = Attachment::from_file_name(&name) else { continue };
        let path = links_dir.join(&name);
        let index = attachment.interface_index;
        let live = if path.is_dir() {
            match sys::query_clsact(index, attachment.program.direction()) {
                Ok(program) => program.is_some(),
                Err(error) => return Err(pin_error("read", &path, error)),
            }
        } else {
            open_live_link(&path, index)?.is_some()
        };
        if live {
            found.push(attachment);
        } else if path.is_dir() {
            detach(links_dir, attachment)?;
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Takes every program off every interface and removes the folder. Goes on past failures
/// and returns the first.
pub(super) fn detach_all(links_dir: &Path) -> Result<(), BpfError> {
    let mut result = Ok(());
    for name in names_in(links_dir)? {
        let step = match Attachment::from_file_name(&name) {
            Some(attachment) => detach(links_dir, attachment),
            // A program that only another version knows.
            None if !links_dir.join(&name).is_dir() => {
                let path = links_dir.join(&name);
                detach_pinned(&path).map_err(|error| pin_error("remove", &path, error))
            }
            None => Ok(()),
        };
        result = result.and(step);
    }
    for name in names_in(links_dir)? {
        // Markers of queues on interfaces that have gone.
        result = result.and(remove_dir(&links_dir.join(name)));
    }
    result.and(remove_dir(links_dir))
}

fn detach(links_dir: &Path, unwanted: Attachment) -> Result<(), BpfError> {
    let path = links_dir.join(unwanted.file_name());
    let Attachment { program, interface_index } = unwanted;
    let failed = |source| BpfError::Detach { program: program.name(), interface_index, source };
    if !path.is_dir() {
        return detach_pinned(&path).map_err(failed);
    }
    sys::detach_clsact(interface_index, program.direction()).map_err(failed)?;
    remove_dir(&path)?;
    let marker = links_dir.join(queue_marker(interface_index));
    let others = Program::ALL.map(|program| links_dir.join(Attachment { program, interface_index }.file_name()));
    if marker.is_dir() && !others.iter().any(|other| other.is_dir()) {
        match sys::destroy_clsact(interface_index) {
            Err(error) if !sys::is_absent(&error) => return Err(failed(error)),
            _ => remove_dir(&marker)?,
        }
    }
    Ok(())
}

/// Detaches and forgets a pinned link, if there is one.
pub(super) fn detach_pinned(path: &Path) -> std::io::Result<()> {
    match sys::open_pinned(path) {
        Ok(link) => {
            // A link whose interface has gone answers ENOLINK.
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

/// The pinned link, if it is on that interface; the pin of one whose interface has gone is
/// removed, for the kernel gives the number to another interface.
pub(super) fn open_live_link(path: &Path, index: u32) -> Result<Option<OwnedFd>, BpfError> {
    let link = match sys::open_pinned(path) {
        Ok(link) => link,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(pin_error("open", path, error)),
    };
    let info = sys::link_info(link.as_fd()).map_err(|error| pin_error("read", path, error))?;
    if info.interface_index == index {
        return Ok(Some(link));
    }
    fs::remove_file(path).map_err(|error| pin_error("remove", path, error))?;
    Ok(None)
}

fn queue_marker(index: u32) -> String {
    format!("clsact-{index}")
}

pub(super) fn names_in(links_dir: &Path) -> Result<Vec<String>, BpfError> {
    let entries = match fs::read_dir(links_dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(pin_error("read", links_dir, error)),
    };
    let name =
        |entry: std::io::Result<fs::DirEntry>| entry.map(|entry| entry.file_name().to_string_lossy().into_owned());
    entries.map(name).collect::<Result<_, _>>().map_err(|error| pin_error("read", links_dir, error))
}

fn make_dir(path: &Path) -> Result<(), BpfError> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(pin_error("create", path, error)),
        _ => Ok(()),
    }
}

fn remove_dir(path: &Path) -> Result<(), BpfError> {
    match fs::remove_dir(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(pin_error("remove", path, error)),
        _ => Ok(()),
    }
}

pub(super) fn pin_error(operation: &'static str, path: &Path, source: std::io::Error) -> BpfError {
    BpfError::Pin { operation, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_attachments_are_read_as_they_are_written() {
        for program in Program::ALL {
            let attachment = Attachment { program, interface_index: 4_000_000_000 };
            assert_eq!(Attachment::from_file_name(&attachment.file_name()), Some(attachment));
        }
        for other in ["clsact-7", "sw_from_pod", "sw_from_pod-", "sw_other-3", "sw_to_pod-x"] {
            assert_eq!(Attachment::from_file_name(other), None, "{other}");
        }
    }
}
