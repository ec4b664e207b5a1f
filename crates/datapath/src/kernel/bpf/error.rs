//! What can go wrong with programs, maps and hooks (SW0330–SW0359).

use std::io;
use std::path::PathBuf;

use seaway_model::{Diagnose, ErrorId};

/// A failure of the fast path.
#[derive(Debug, thiserror::Error)]
pub enum BpfError {
    /// The folder for pins is on another file system.
    #[error("{path} is not on a BPF file system, so programs and maps there would not outlive the agent")]
    NotBpfFileSystem {
        /// The folder.
        path: PathBuf,
    },
    /// A folder or file of the BPF file system.
    #[error("cannot {operation} {path}: {source}")]
    Pin {
        /// `create`, `remove`, `read`, …
        operation: &'static str,
        /// Which.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The programs cannot be opened or loaded.
    #[error("the kernel refused the programs of the fast path: {reason}")]
    Load {
        /// libbpf's words; its log has the verifier's.
        reason: String,
    },
    /// The embedded object lacks something: a bug in our build.
    #[error("the embedded object has no {what} named {name}")]
    MissingPart {
        /// `map` or `program`.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// A map cannot be read or changed.
    #[error("cannot {operation} map {map}: {reason}")]
    Map {
        /// `read`, `write`, `delete from`.
        operation: &'static str,
        /// Its name.
        map: String,
        /// The kernel's answer.
        reason: String,
    },
    /// A map holds values of another size than we wrote.
    #[error("map {map} holds a record of {found_bytes} bytes where {expected_bytes} are expected")]
    MapLayout {
        /// Its name.
        map: String,
        /// Size found.
        found_bytes: usize,
        /// Size we know.
        expected_bytes: usize,
    },
    /// A program cannot be put on an interface.
    #[error("cannot attach program {program} to interface {interface_index} by {hook}: {source}")]
    Attach {
        /// Which program.
        program: &'static str,
        /// Which interface.
        interface_index: u32,
        /// `TCX` or `clsact`.
        hook: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A program cannot be taken off an interface.
    #[error("cannot detach program {program} from interface {interface_index}: {source}")]
    Detach {
        /// Which program.
        program: &'static str,
        /// Which interface.
        interface_index: u32,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A map has no room for what should be written.
    #[error("map {map} is full: it holds {limit} entries, or the kernel has no memory for more")]
    MapFull {
        /// Its name.
        map: String,
        /// Entries it may hold.
        limit: u64,
    },
    /// The root of the cgroup hierarchy cannot be used.
    #[error("{path} is not the root of a cgroup v2 hierarchy, on which programs for sockets go: {source}")]
    CgroupRoot {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A program cannot be put on the cgroup hierarchy.
    #[error("cannot attach program {program} to cgroup {path}: {source}")]
    AttachCgroup {
        /// Which program.
        program: &'static str,
        /// Which cgroup.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The ring buffer of events cannot be read.
    #[error("cannot read events of the fast path: {source}")]
    Events {
        /// The kernel's answer.
        source: io::Error,
    },
}

// === impl BpfError ===

impl Diagnose for BpfError {
    fn id(&self) -> ErrorId {
        ErrorId(match self {
            Self::NotBpfFileSystem { .. } => 330,
            Self::Pin { .. } => 331,
            Self::Load { .. } => 332,
            Self::MissingPart { .. } => 333,
            Self::Map { .. } => 334,
            Self::MapLayout { .. } => 335,
            Self::Attach { .. } => 336,
            Self::Detach { .. } => 337,
            Self::Events { .. } => 338,
            Self::MapFull { .. } => 339,
            Self::CgroupRoot { .. } => 340,
            Self::AttachCgroup { .. } => 341,
        })
    }

    fn fix(&self) -> String {
        match self {
            Self::NotBpfFileSystem { path } => format!(
                "mount one: `mount -t bpf bpf /sys/fs/bpf` on the node, and pass {} into the agent's container",
                path.display()
            ),
            Self::Pin { .. } => "give the agent the capabilities of deploy/ and a writable BPF file system".into(),
            Self::Load { .. } => {
                "run `seaway check --pre` on the node; without CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON nothing can be \
                 loaded, and kernels before 5.10 lack what is needed"
                    .into()
            }
            Self::MissingPart { .. } => "build Seaway anew; report it when it stays".into(),
            Self::Map { .. } => "when it says the map is full, raise its size in the configuration".into(),
            Self::MapLayout { .. } => "another version left the map: restart the agent, which replaces it".into(),
            Self::Attach { .. } => "the interface may have gone; the audit tries again".into(),
            Self::Detach { .. } => "run `seaway audit` on the node".into(),
            Self::MapFull { .. } => {
                "raise its size in the configuration, or remove Services; what did not fit stays as it was".into()
            }
            Self::CgroupRoot { path, .. } => format!(
                "mount cgroup v2 on the node and pass its root into the agent's container at {}",
                path.display()
            ),
            Self::AttachCgroup { .. } => {
                "run `seaway check --pre` on the node: programs for sockets need CONFIG_CGROUP_BPF".into()
            }
            Self::Events { .. } => "restart the agent; packets are not affected".into(),
        }
    }
}
