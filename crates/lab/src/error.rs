//! What can go wrong in the lab, ids SW0901 to SW0999: the machine's own
//! errors here, and a transparent variant for each part of the lab.

use std::path::{Path, PathBuf};

use seaway_model::{Diagnose, ErrorId};

use crate::bench::BenchError;
use crate::cluster::ClusterError;
use crate::image::ImageError;
use crate::spec::SpecError;

/// An error of the lab. Ids SW0901 to SW0929 are the machine's, SW0930 to
/// SW0949 the specification's, SW0950 to SW0974 the cluster's, SW0975 to SW0999
/// those of images and peers.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// `lab.yaml` or the flags ask for something that cannot be.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The Kubernetes cluster in the lab.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// Benchmarks.
    #[error(transparent)]
    Bench(#[from] BenchError),
    /// Images and their store.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Namespaces, cgroups and mounts are root's.
    #[error("the lab must run as root, it runs as user {user_id}")]
    NotRoot {
        /// Effective user id of the process.
        user_id: u32,
    },
    /// `up` for a lab that runs.
    #[error("lab {name} is already up")]
    AlreadyUp {
        /// Name of the lab.
        name: String,
    },
    /// Two commands want to change one lab at the same time.
    #[error("lab {name} is being changed by another seaway process")]
    Busy {
        /// Name of the lab.
        name: String,
    },
    /// A verb for a lab that does not exist.
    #[error("there is no lab named {name}")]
    NoSuchLab {
        /// Name of the lab.
        name: String,
    },
    /// A verb for a node the lab does not have.
    #[error("lab {lab} has no node named {node}; it has {known}")]
    NoSuchNode {
        /// Name of the lab.
        lab: String,
        /// The name asked for.
        node: String,
        /// The names there are, separated by commas.
        known: String,
    },
    /// No process of a node matches.
    #[error("node {node} runs no program named {program}")]
    NoSuchProgram {
        /// Name of the node.
        node: String,
        /// Name of the program.
        program: String,
    },
    /// The node's init process is gone.
    #[error("node {node} is not running")]
    NodeDown {
        /// Name of the node.
        node: String,
    },
    /// The node's init process could not make the node.
    #[error("node {node} did not start: {reason}")]
    NodeStart {
        /// Name of the node.
        node: String,
        /// What its init process said.
        reason: String,
    },
    /// A node's init process refused a request.
    #[error("node {node} refused to {request}: {reason}")]
    Refused {
        /// Name of the node.
        node: String,
        /// What was asked.
        request: String,
        /// The answer.
        reason: String,
    },
    /// A file operation failed.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A system call on namespaces, mounts or processes failed.
    #[error("cannot {action} for {object}")]
    System {
        /// What was tried, as a verb.
        action: &'static str,
        /// For which object: a node, a process, a device.
        object: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A state file is not what this version writes.
    #[error("state file {} cannot be read: {reason}", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A program of the machine is missing.
    #[error("program {program} is not installed")]
    ProgramMissing {
        /// Name of the program.
        program: String,
        /// Debian package that has it.
        package: String,
    },
    /// A program of the machine ran and failed.
    #[error("{program} failed for {object}: {stderr}")]
    Tool {
        /// Name of the program.
        program: String,
        /// What it was to change.
        object: String,
        /// What it printed.
        stderr: String,
    },
    /// A fault that cannot be injected.
    #[error("cannot break {what}: {reason}")]
    Fault {
        /// The fault asked for.
        what: String,
        /// Why not.
        reason: String,
    },
    /// Nothing of what `heal` was asked for is broken.
    #[error("cannot heal {what}: {reason}")]
    NotBroken {
        /// What was asked for.
        what: String,
        /// What is broken instead.
        reason: String,
    },
    /// A connection into a node's network failed.
    #[error("cannot connect to {address} from node {node}")]
    Dial {
        /// Name of the node whose network was used.
        node: String,
        /// The address.
        address: std::net::SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// Some of a lab could not be removed.
    #[error("lab {name} is not completely removed: {}", remains.join("; "))]
    Remains {
        /// Name of the lab.
        name: String,
        /// What is left, each with the reason.
        remains: Vec<String>,
    },
}

/// Result of the lab's operations.
pub type Result<T, E = LabError> = std::result::Result<T, E>;

/// Adds what was tried, and on which object, to an I/O error.
pub(crate) trait IoContext<T> {
    /// For a path: `cannot {action} {path}`.
    fn on_file(self, action: &'static str, path: &Path) -> Result<T>;
    /// For anything else: `cannot {action} for {object}`.
    fn on_system(self, action: &'static str, object: &str) -> Result<T>;
}

// === impl LabError ===

impl Diagnose for LabError {
    fn id(&self) -> ErrorId {
        ErrorId(match self {
            Self::Spec(error) => return error.id(),
            Self::Cluster(error) => return error.id(),
            Self::Bench(error) => return error.id(),
            Self::Image(error) => return error.id(),
            Self::NotRoot { .. } => 901,
            Self::AlreadyUp { .. } => 902,
            Self::Busy { .. } => 903,
            Self::NoSuchLab { .. } => 904,
            Self::NoSuchNode { .. } => 905,
            Self::NoSuchProgram { .. } => 906,
            Self::NodeDown { .. } => 907,
            Self::NodeStart { .. } => 908,
            Self::Refused { .. } => 909,
            Self::File { .. } => 910,
            Self::System { .. } => 911,
            Self::State { .. } => 912,
            Self::ProgramMissing { .. } => 913,
            Self::Tool { .. } => 914,
            Self::Fault { .. } => 915,
            Self::Dial { .. } => 916,
            Self::Remains { .. } => 917,
            Self::NotBroken { .. } => 918,
        })
    }

    fn fix(&self) -> String {
        match self {
            Self::Spec(error) => error.fix(),
            Self::Cluster(error) => error.fix(),
            Self::Bench(error) => error.fix(),
            Self::Image(error) => error.fix(),
            Self::NotRoot { .. } => "run it with sudo or as root".into(),
            Self::AlreadyUp { name } => {
                format!("use it, remove it with `seaway lab down --name {name}`, or choose another --name")
            }
            Self::Busy { .. } => "wait for the other command to end, or choose another --name".into(),
            Self::NoSuchLab { .. } => "`seaway lab list` shows the labs there are; `seaway lab up` makes one".into(),
            Self::NoSuchNode { .. } => "choose one of the names listed".into(),
            Self::NoSuchProgram { node, .. } => {
                format!("`seaway lab status` shows the programs; `seaway lab exec {node} -- ps axf` every process")
            }
            Self::NodeDown { node } => {
                format!("`seaway lab heal power {node}` starts it again; after a reboot run `seaway lab up`")
            }
            Self::NodeStart { .. } | Self::System { .. } => {
                "`seaway check --pre` tells what this kernel lacks; `seaway lab down` removes what was made".into()
            }
            Self::Refused { node, .. } => {
                format!("`seaway lab logs {node} PROGRAM` shows what the program printed")
            }
            Self::File { .. } => "check free space, permissions and that the file system is writable".into(),
            Self::State { .. } => "remove the lab with `seaway lab down` and make it anew".into(),
            Self::ProgramMissing { package, .. } => format!("apt-get install {package}"),
            Self::Tool { .. } => "read what the program said; `seaway check --pre` tells what is missing".into(),
            Self::Fault { .. } => "`seaway lab break --help` lists the faults and their arguments".into(),
            Self::NotBroken { .. } => {
                "`seaway lab status` shows what is broken; `seaway lab heal --all` heals it".into()
            }
            Self::Dial { .. } => "check that the program listens there: `seaway lab status`".into(),
            Self::Remains { name, .. } => {
                format!("end what still uses it, then run `seaway lab down --name {name}` again")
            }
        }
    }
}

// === impl IoContext ===

impl<T, E: Into<std::io::Error>> IoContext<T> for std::result::Result<T, E> {
    fn on_file(self, action: &'static str, path: &Path) -> Result<T> {
        self.map_err(|error| LabError::File { action, path: path.to_owned(), source: error.into() })
    }

    fn on_system(self, action: &'static str, object: &str) -> Result<T> {
        self.map_err(|error| LabError::System { action, object: object.to_owned(), source: error.into() })
    }
}
