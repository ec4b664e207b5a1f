//! What can go wrong in the agent itself (SW0600–SW0639), and how any error
//! becomes an answer on the socket.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use seaway_datapath::DatapathError;
use seaway_model::agent_api::{AttachmentKey, Failure};
use seaway_model::{Diagnose, ErrorId, ServiceRef};
use seaway_routing::ipam::IpamError;

/// CNI: try again later.
pub(crate) const TRY_AGAIN: u32 = 11;
/// CNI: no ADD can succeed now.
pub(crate) const NOT_AVAILABLE: u32 = 50;
/// CNI: no ADD can succeed now, and attached sandboxes may suffer too.
pub(crate) const LIMITED: u32 = 51;

/// Why the agent could not do what it was asked or started for.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// A part of the start is not done yet.
    #[error("the agent is not ready: waiting for {waiting_for}")]
    NotReady {
        /// What is missing.
        waiting_for: &'static str,
    },
    /// Two agents on one node.
    #[error("another agent runs on this node: it holds {}", .lock.display())]
    AnotherAgent {
        /// The lock file.
        lock: PathBuf,
    },
    /// A file or directory of the agent's own cannot be used.
    #[error("cannot {operation} {}: {source}", .path.display())]
    File {
        /// `listen on`, `write`, …
        operation: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What came over the socket is no request.
    #[error("the request on the agent's socket is malformed: {problem}")]
    RequestMalformed {
        /// What is wrong.
        problem: String,
    },
    /// ADD or CHECK without the sandbox's namespace.
    #[error("the request for container {} interface {} came without a network namespace", .key.container_id, .key.interface)]
    NamespaceMissing {
        /// The attachment.
        key: AttachmentKey,
    },
    /// CHECK of something that was never added or is deleted.
    #[error("container {} interface {} is not attached on this node", .key.container_id, .key.interface)]
    NotAttached {
        /// The attachment.
        key: AttachmentKey,
    },
    /// CHECK of other addresses than ADD gave.
    #[error("container {} interface {} has {held:?}, but the runtime remembers {expected:?}", .key.container_id, .key.interface)]
    AddressesDiffer {
        /// The attachment.
        key: AttachmentKey,
        /// What the agent gave.
        held: Vec<IpAddr>,
        /// What the runtime says.
        expected: Vec<IpAddr>,
    },
    /// A chained plugin cannot be run.
    #[error("CNI plugin {plugin} cannot be run from {}: {problem}; the CNI configuration is written without it", .directory.display())]
    ChainedPlugin {
        /// Its name.
        plugin: String,
        /// Where it was looked for.
        directory: PathBuf,
        /// Why.
        problem: String,
    },
    /// Another configuration sorts first.
    #[error("the runtime reads {} before Seaway's CNI configuration, so new pods do not get Seaway's network", .file.display())]
    EarlierConfiguration {
        /// The other file.
        file: PathBuf,
    },
    /// The daemon ends.
    #[error("the agent is stopping")]
    Stopping,
    /// No room for another subscriber.
    #[error("{limit} connections to the agent's socket are open already")]
    TooManyConnections {
        /// The limit.
        limit: usize,
    },
    /// A queued deletion cannot be read.
    #[error("the deletion kept in {} cannot be read: {problem}", .path.display())]
    KeptDeletion {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// Steps of `uninstall` that failed; all others were done.
    #[error("not everything could be removed: {}", .failures.join("; "))]
    Leftovers {
        /// Each failed step.
        failures: Vec<String>,
    },
    /// The owner's thread could not be started, or ended by itself.
    #[error("the thread that owns the data path is gone: {problem}")]
    Owner {
        /// Why.
        problem: String,
    },
    /// The API server does not tell about changes.
    #[error("the API server does not tell about changes of {kind}: {reason}")]
    WatchFailing {
        /// Kind of the objects.
        kind: &'static str,
        /// Why.
        reason: String,
    },
    /// A step of the start failed in a lower layer.
    #[error("{message}")]
    Start {
        /// The lower layer's id.
        cause: ErrorId,
        /// Its message.
        message: String,
        /// Its fix.
        fix: String,
    },
    /// Somebody asked about a Service that is not there.
    #[error("there is no Service {service}")]
    NoSuchService {
        /// Which.
        service: ServiceRef,
    },
    /// Services are served by somebody else.
    #[error("this agent does not serve Services: services.enabled is false")]
    ServicesDisabled,
    /// A Service does not fit.
    #[error(
        "Service {service} does not fit into the data path: table {table} holds {limit} entries; it stays as it was"
    )]
    ServiceRefused {
        /// Which.
        service: ServiceRef,
        /// The table.
        table: String,
        /// Its size.
        limit: u64,
    },
    /// GC could not remove all.
    #[error("{} stale attachments could not be removed: {}", .failures.len(), .failures.join("; "))]
    GarbageLeft {
        /// Each, with the reason.
        failures: Vec<String>,
    },
}

impl Diagnose for AgentError {
    fn id(&self) -> ErrorId {
        ErrorId(match self {
            AgentError::NotReady { .. } => 600,
            AgentError::AnotherAgent { .. } => 601,
            AgentError::File { .. } => 602,
            AgentError::RequestMalformed { .. } => 603,
            AgentError::NamespaceMissing { .. } => 604,
            AgentError::NotAttached { .. } => 605,
            AgentError::AddressesDiffer { .. } => 606,
            AgentError::ChainedPlugin { .. } => 607,
            AgentError::EarlierConfiguration { .. } => 608,
            AgentError::Stopping => 609,
            AgentError::TooManyConnections { .. } => 610,
            AgentError::KeptDeletion { .. } => 611,
            AgentError::Leftovers { .. } => 612,
            AgentError::Owner { .. } => 613,
            AgentError::GarbageLeft { .. } => 614,
            AgentError::WatchFailing { .. } => 615,
            AgentError::NoSuchService { .. } => 616,
            AgentError::ServicesDisabled => 617,
            AgentError::ServiceRefused { .. } => 618,
            // Shown under the id of what really failed.
            AgentError::Start { cause, .. } => cause.0,
        })
    }

    fn fix(&self) -> String {
        match self {
            AgentError::Start { fix, .. } => fix,
            AgentError::WatchFailing { .. } => {
                "the last known state stays in force; look whether the API server runs and the agent's RBAC is complete"
            }
            AgentError::NotReady { .. } => "wait, the runtime tries again; `seaway status` says what is missing",
            AgentError::AnotherAgent { .. } => "stop the other agent, or remove one of two Seaway installations",
            AgentError::File { .. } => {
                "look at the directory's owner, rights and free space; deploy/seaway.yaml mounts what the agent needs"
            }
            AgentError::RequestMalformed { .. } => {
                "use the seaway and seaway-cni programs of the agent's own version: restart the agent's pod, which installs them"
            }
            AgentError::NamespaceMissing { .. } => "let seaway-cni ask: it passes the namespace that CNI_NETNS names",
            AgentError::NotAttached { .. } | AgentError::AddressesDiffer { .. } => {
                "delete the pod: its replacement is attached anew"
            }
            AgentError::ChainedPlugin { .. } => {
                "install it (Debian: containernetworking-plugins) where the runtime looks for plugins and restart the agent, or take it out of cni.chainedPlugins"
            }
            AgentError::EarlierConfiguration { .. } => {
                "remove the file if its plugin is no longer used; the runtime takes the first file in the order of names"
            }
            AgentError::Stopping => "none needed: the runtime tries again",
            AgentError::TooManyConnections { .. } => "end some `seaway monitor`, or look for a runtime that never closes connections",
            AgentError::KeptDeletion { .. } => "remove the file; if its pod's address is still in use, `seaway endpoints` shows it",
            AgentError::Leftovers { .. } => "run `seaway agent uninstall` again as root, with the mounts of deploy/uninstall.yaml",
            AgentError::Owner { .. } => "the agent restarts by itself; report its log",
            AgentError::NoSuchService { .. } => "`seaway service list` names those there are; write NAMESPACE/NAME",
            AgentError::ServicesDisabled => "set services.enabled in the configuration, or ask kube-proxy",
            AgentError::ServiceRefused { .. } => {
                "raise services.maxFrontends or services.maxBackends and restart the agent, or remove Services that nobody needs"
            }
            AgentError::GarbageLeft { .. } => "the runtime tries again; the agent's log has each error",
        }
        .to_owned()
    }
}

// === impl AgentError ===

impl AgentError {
    /// An error of a lower layer that ends the start.
    #[must_use]
    pub fn start(error: &dyn Diagnose) -> AgentError {
        let shown = failure(error, TRY_AGAIN);
        AgentError::Start { cause: error.id(), message: shown.message, fix: shown.fix }
    }
}

/// An error as the socket carries it.
pub(crate) fn failure(error: &dyn Diagnose, cni_code: u32) -> Failure {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let text = inner.to_string();
        // Many of our messages end with their source already.
        if !message.ends_with(&text) {
            message = format!("{message}: {text}");
        }
        cause = inner.source();
    }
    Failure { id: error.id().to_string(), message, fix: error.fix(), cni_code }
}

/// Code of our own: 100 and above are free for plugins, and our ids are.
fn own_code(error: &dyn Diagnose) -> u32 {
    u32::from(error.id().0).max(100)
}

pub(crate) fn agent_failure(error: &AgentError) -> Failure {
    let code = match error {
        AgentError::NotReady { .. } | AgentError::Stopping | AgentError::TooManyConnections { .. } => TRY_AGAIN,
        other => own_code(other),
    };
    failure(error, code)
}

pub(crate) fn ipam_failure(error: &IpamError) -> Failure {
    failure(error, if error.is_transient() { TRY_AGAIN } else { own_code(error) })
}

pub(crate) fn datapath_failure(error: &DatapathError) -> Failure {
    failure(error, own_code(error))
}
