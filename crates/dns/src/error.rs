//! What can keep DNS from being served.

use std::net::SocketAddr;
use std::path::PathBuf;

use seaway_model::{Diagnose, ErrorId};

/// Why something of DNS failed.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address} for DNS")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The host's addresses cannot be listed.
    #[error("cannot list the addresses of this host")]
    HostAddresses {
        /// What the kernel said.
        source: std::io::Error,
    },
    /// A thread cannot be started.
    #[error("cannot start a thread for DNS")]
    Thread {
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The configured names or addresses cannot be used.
    #[error("configuration of DNS: {field} is {value:?}, which {why}")]
    Configuration {
        /// Key in the configuration.
        field: &'static str,
        /// What it holds.
        value: String,
        /// What is wrong.
        why: &'static str,
    },
    /// The state that lets a restart answer at once cannot be kept.
    #[error("cannot write {path}, which lets DNS answer at once after a restart")]
    State {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// Sockets cannot be handed over.
    #[error("cannot hand over sockets by {path}")]
    Handover {
        /// The socket of the one who has them.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The process that answers cannot be started or waited for.
    #[error("cannot run the worker that answers DNS")]
    Worker {
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The operators' socket cannot be opened.
    #[error("cannot listen at {path} for operators")]
    Control {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// A `DNSConfig` cannot be used as it is written.
    #[error("DNSConfig {name}: {flaw}")]
    ConfigRefused {
        /// The object.
        name: String,
        /// The field, and what is wrong with it.
        flaw: crate::views::Flaw,
    },
    /// A file with a zone or a block list cannot be read.
    #[error("cannot read {path}; its last good content stays in force")]
    FileUnreadable {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// An operator asked for something that cannot be done.
    #[error("cannot do what was asked: {why}")]
    Request {
        /// Why.
        why: String,
    },
    /// A file with a zone or a block list has a fault.
    #[error("{path}: {fault}; its last good content stays in force")]
    FileFault {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        fault: crate::views::zone_file::TextFault,
    },
    /// The admin server cannot run.
    #[error(transparent)]
    Admin(#[from] seaway_runtime::admin::AdminError),
    /// Certificates for DNS over TLS cannot be used.
    #[error("cannot use {path} for DNS over TLS")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

// === impl DnsError ===

impl Diagnose for DnsError {
    fn id(&self) -> ErrorId {
        match self {
            Self::Listen { .. } => ErrorId(1201),
            Self::HostAddresses { .. } => ErrorId(1202),
            Self::Thread { .. } => ErrorId(1203),
            Self::Configuration { .. } => ErrorId(1204),
            Self::State { .. } => ErrorId(1205),
            Self::Handover { .. } => ErrorId(1206),
            Self::Admin(error) => error.id(),
            Self::Certificate { .. } => ErrorId(1207),
            Self::Worker { .. } => ErrorId(1208),
            Self::Control { .. } => ErrorId(1209),
            Self::Request { .. } => ErrorId(1210),
            Self::ConfigRefused { .. } => ErrorId(1220),
            Self::FileUnreadable { .. } => ErrorId(1221),
            Self::FileFault { .. } => ErrorId(1222),
        }
    }

    fn fix(&self) -> String {
        match self {
            Self::Listen { .. } => {
                "another DNS server listens there, or the address is not on this host: stop that server, or set \
                 dns.listen; ports below 1024 need CAP_NET_BIND_SERVICE"
            }
            Self::HostAddresses { .. } => "name the addresses in dns.listen instead of a wildcard",
            Self::Thread { .. } => "raise the limit on processes of this pod or host (pids cgroup, ulimit -u)",
            Self::Configuration { .. } => {
                "correct the key in the configuration file; `seaway dns --validate` checks it"
            }
            Self::State { .. } => "let the pod write /run/seaway (hostPath of type DirectoryOrCreate)",
            Self::Handover { .. } => {
                "only one DNS of this node may hold the socket: remove the file if no other runs, and let the pod \
                 write /run/seaway"
            }
            Self::Worker { .. } => {
                "the program was replaced while it ran, or the limit on processes is reached: restart the pod"
            }
            Self::Control { .. } => "let the pod write /run/seaway (hostPath of type DirectoryOrCreate)",
            Self::Request { .. } => {
                "correct the name, type or pod; `kubectl get pods -o wide` tells which pods run on this node"
            }
            Self::FileUnreadable { .. } => "mount the file where dns.zoneFiles or dns.blockFiles say",
            Self::FileFault { .. } => "correct the file: it is read again as soon as it changes",
            Self::ConfigRefused { .. } => "correct the field; until then the last good form of the object is in force",
            Self::Admin(error) => return error.fix(),
            Self::Certificate { .. } => "give PEM files: the certificate chain, and its private key as PKCS#8",
        }
        .to_owned()
    }
}
