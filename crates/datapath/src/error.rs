//! What can go wrong between us and the kernel (SW0300–SW0329).

use std::fmt;

use seaway_model::{Diagnose, ErrorId};

use crate::kernel::bpf::BpfError;

/// A failed operation on the kernel.
#[derive(Debug, thiserror::Error)]
pub enum DatapathError {
    /// The kernel refused an operation.
    #[error("the kernel refused to {operation} {object}: {source}")]
    Kernel {
        /// `add`, `delete`, `read`, …
        operation: &'static str,
        /// The object, for people.
        object: String,
        /// Its answer.
        source: std::io::Error,
    },
    /// The interface that was asked for is taken.
    #[error("interface {interface} already exists in the sandbox of container {container}")]
    InterfaceExists {
        /// Name inside the sandbox.
        interface: String,
        /// The sandbox.
        container: String,
    },
    /// The host side's name is taken by something else.
    #[error("interface {interface} already exists on the node and {holder}")]
    HostInterfaceExists {
        /// Name on the node.
        interface: String,
        /// What is known of its holder.
        holder: String,
    },
    /// The sandbox's network namespace cannot be used.
    #[error("network namespace of container {container} cannot be used: {source}")]
    Namespace {
        /// The sandbox.
        container: String,
        /// Why.
        source: std::io::Error,
    },
    /// CHECK found something missing or changed.
    #[error("container {container}: {problem}")]
    LinkChanged {
        /// The sandbox.
        container: String,
        /// What is not as ADD left it.
        problem: String,
    },
    /// A kernel setting cannot be written or read.
    #[error("kernel setting {path} cannot be set to {value:?}: {source}")]
    Setting {
        /// Below `/proc/sys`.
        path: String,
        /// Wanted value.
        value: String,
        /// Why.
        source: std::io::Error,
    },
    /// Rights are missing.
    #[error("missing right to {operation}: {source}")]
    NotPermitted {
        /// What was tried.
        operation: String,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// No device of the host holds one of the node's addresses.
    #[error("no network device holds the node's address {addresses}")]
    NoUnderlay {
        /// The node's addresses.
        addresses: String,
    },
    /// The chosen backend cannot run on this kernel.
    #[error("the {backend} backend cannot run on this kernel: {reason}")]
    BackendUnsupported {
        /// `ebpf` or `nftables`.
        backend: &'static str,
        /// What is missing.
        reason: String,
    },
    /// A name or record given to the data path cannot be carried out.
    #[error("pod link of container {container} cannot be made: {problem}")]
    InvalidLink {
        /// The sandbox.
        container: String,
        /// What is wrong with it.
        problem: String,
    },
    /// nftables refused a transaction.
    #[error("nftables refused to {operation} table {table}: {reason}")]
    Nftables {
        /// `write`, `read`, `delete`.
        operation: &'static str,
        /// Family and name.
        table: String,
        /// Its answer.
        reason: String,
    },
    /// The kernel answered with something that makes no sense.
    #[error("the kernel's answer to {request} could not be read: {problem}")]
    Answer {
        /// What was asked.
        request: &'static str,
        /// What was wrong with the answer.
        problem: String,
    },
    /// BPF programs or maps.
    #[error(transparent)]
    FastPath(#[from] BpfError),
    /// A fault injected by a test.
    #[error("injected fault at {step}")]
    Injected {
        /// Where.
        step: &'static str,
    },
}

/// Several failures of one tear-down.
#[derive(Debug, Default, thiserror::Error)]
pub struct DatapathErrors(pub Vec<DatapathError>);

// === impl DatapathError ===

impl Diagnose for DatapathError {
    fn id(&self) -> ErrorId {
        ErrorId(match self {
            Self::Kernel { .. } => 300,
            Self::InterfaceExists { .. } => 301,
            Self::HostInterfaceExists { .. } => 302,
            Self::Namespace { .. } => 303,
            Self::LinkChanged { .. } => 304,
            Self::Setting { .. } => 305,
            Self::NotPermitted { .. } => 306,
            Self::NoUnderlay { .. } => 307,
            Self::BackendUnsupported { .. } => 308,
            Self::InvalidLink { .. } => 309,
            Self::Nftables { .. } => 310,
            Self::Answer { .. } => 311,
            Self::FastPath(error) => return error.id(),
            Self::Injected { .. } => 329,
        })
    }

    fn fix(&self) -> String {
        match self {
            Self::Kernel { .. } => "run `seaway check --pre` on the node: it names missing kernel features".into(),
            Self::InterfaceExists { .. } => {
                "another CNI plugin made it, or an ADD was repeated without DEL: leave one plugin in /etc/cni/net.d".into()
            }
            Self::HostInterfaceExists { .. } => "delete the interface when nothing uses it; the runtime tries again".into(),
            Self::Namespace { .. } => "the sandbox is gone or is no network namespace; the runtime makes a new one".into(),
            Self::LinkChanged { .. } => "run `seaway audit` on the node, or delete the pod so that it is connected anew".into(),
            Self::Setting { .. } => "mount /proc/sys writable in the agent's container".into(),
            Self::NotPermitted { .. } => "give the agent the capabilities of deploy/: NET_ADMIN, SYS_ADMIN, BPF, PERFMON, NET_RAW".into(),
            Self::NoUnderlay { .. } => "the Node's InternalIP must be an address of the node: correct kubelet's --node-ip".into(),
            Self::BackendUnsupported { .. } => "`seaway check --pre`, run as root, lists what is missing: choose `backend: auto`, or give the agent the kernel or the rights".into(),
            Self::InvalidLink { .. } => "correct the CNI configuration or the runtime's arguments".into(),
            Self::Nftables { .. } => "the kernel needs CONFIG_NF_TABLES with inet, counter, masquerade: `seaway check --pre` says which is missing".into(),
            Self::Answer { .. } => "report the kernel's version with this message".into(),
            Self::FastPath(error) => error.fix(),
            Self::Injected { .. } => "only tests do this".into(),
        }
    }
}

// === impl DatapathErrors ===

impl fmt::Display for DatapathErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} steps failed", self.0.len())?;
        for error in &self.0 {
            write!(f, "; {error}")?;
        }
        Ok(())
    }
}

impl DatapathErrors {
    /// Remembers the error of a step and goes on.
    pub fn collect<T>(&mut self, result: Result<T, DatapathError>) -> Option<T> {
        result.map_err(|error| self.0.push(error)).ok()
    }

    /// Success when no step failed.
    pub fn into_result(self) -> Result<(), Self> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }
}
