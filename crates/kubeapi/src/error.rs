//! What can go wrong between Seaway and the Kubernetes API.

use std::time::Duration;

use seaway_model::{Diagnose, ErrorId};

/// A failed operation on the API.
#[derive(Debug, thiserror::Error)]
pub enum KubeApiError {
    /// The service account of this pod cannot be read.
    #[error("cannot read the pod's service account: {source}")]
    ServiceAccount {
        /// Why.
        source: Box<kube::config::InClusterError>,
    },
    /// The kubeconfig cannot be used.
    #[error("cannot use kubeconfig {}: {source}", path.display())]
    Kubeconfig {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: Box<kube::config::KubeconfigError>,
    },
    /// The configured address is no host and port.
    #[error("API server address {host}:{port} is not valid: {reason}")]
    ServerAddress {
        /// Host as configured.
        host: String,
        /// Port as configured.
        port: u16,
        /// Why.
        reason: String,
    },
    /// No client could be made from the configuration.
    #[error("cannot set up the connection to the Kubernetes API: {source}")]
    Setup {
        /// Why.
        source: Box<kube::Error>,
    },
    /// The API server did not answer in time.
    #[error("cannot {action}: the API server did not answer within {} seconds", limit.as_secs())]
    NoAnswer {
        /// What was tried.
        action: String,
        /// How long was waited.
        limit: Duration,
    },
    /// The API server could not be reached.
    #[error("cannot {action}: {source}")]
    Unreachable {
        /// What was tried.
        action: String,
        /// Why.
        source: Box<kube::Error>,
    },
    /// The API server refused.
    #[error("cannot {action}: the API server says {code} {reason}: {message}")]
    Refused {
        /// What was tried.
        action: String,
        /// HTTP status.
        code: u16,
        /// Its `reason`.
        reason: String,
        /// Its message.
        message: String,
    },
    /// Somebody else changed the object all the time.
    #[error("cannot {action}: others changed the object {attempts} times in a row")]
    Contended {
        /// What was tried.
        action: String,
        /// How often.
        attempts: u32,
    },
    /// A custom resource definition was not accepted in time.
    #[error("custom resource definition {name} was not established within {} seconds", limit.as_secs())]
    NotEstablished {
        /// Its name.
        name: String,
        /// How long was waited.
        limit: Duration,
    },
    /// The block belongs to another node.
    #[error("IPBlock {name} belongs to node {owner}, not to {node}")]
    NotOurs {
        /// Object name.
        name: String,
        /// Who has it.
        owner: String,
        /// Who asked.
        node: String,
    },
}

/// An object of the API that cannot be used. It does not stop anything else.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {name}: {field} {value:?} {reason}")]
pub struct InvalidObject {
    /// `IPPool`, `IPBlock`, `Service`, `EndpointSlice`, `ServiceCIDR`.
    pub kind: &'static str,
    /// Object name.
    pub name: String,
    /// Path of the field.
    pub field: &'static str,
    /// What it holds.
    pub value: String,
    /// What is wrong with that, as a predicate: `is not a CIDR`.
    pub reason: String,
}

// === impl KubeApiError ===

impl KubeApiError {
    pub(crate) fn from_kube(action: impl Into<String>, error: kube::Error) -> Self {
        let action = action.into();
        match error {
            kube::Error::Api(status) => {
                Self::Refused { action, code: status.code, reason: status.reason, message: status.message }
            }
            source => Self::Unreachable { action, source: Box::new(source) },
        }
    }

    /// Whether the same operation may succeed later without anyone's help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::NoAnswer { .. } | Self::Unreachable { .. } | Self::Contended { .. } | Self::NotEstablished { .. } => {
                true
            }
            Self::Refused { code, .. } => *code == 409 || *code == 429 || *code >= 500,
            _ => false,
        }
    }
}

impl Diagnose for KubeApiError {
    fn id(&self) -> ErrorId {
        ErrorId(match self {
            Self::ServiceAccount { .. } => 400,
            Self::Kubeconfig { .. } => 401,
            Self::ServerAddress { .. } => 402,
            Self::Setup { .. } => 403,
            Self::NoAnswer { .. } => 404,
            Self::Unreachable { .. } => 405,
            Self::Refused { .. } => 406,
            Self::Contended { .. } => 407,
            Self::NotEstablished { .. } => 408,
            Self::NotOurs { .. } => 409,
        })
    }

    fn fix(&self) -> String {
        match self {
            Self::ServiceAccount { .. } => {
                "run in a pod with a mounted service account token, or configure `api.kubeconfig`".into()
            }
            Self::Kubeconfig { path, .. } => format!("check the file: `kubectl --kubeconfig {} version`", path.display()),
            Self::ServerAddress { .. } => "write an IP address or DNS name and a port in `api.server`".into(),
            Self::Setup { .. } => "check certificates and credentials in the kubeconfig or service account".into(),
            Self::NoAnswer { .. } | Self::Unreachable { .. } => {
                "check that the API server runs and that this node reaches it; Seaway tries again and keeps its last good state".into()
            }
            Self::Refused { code: 403, .. } => "grant the right in the ClusterRole; the message names verb and resource".into(),
            Self::Refused { code: 404, .. } => "install the custom resource definitions, or check that the object exists".into(),
            Self::Refused { .. } => "follow the API server's message".into(),
            Self::Contended { .. } => "none needed: it is tried again; if it lasts, look who else writes the object".into(),
            Self::NotEstablished { name, .. } => format!("look at its conditions: `kubectl describe crd {name}`"),
            Self::NotOurs { .. } => "none needed: the node takes another block".into(),
        }
    }
}

impl Diagnose for InvalidObject {
    fn id(&self) -> ErrorId {
        ErrorId(420)
    }

    fn fix(&self) -> String {
        if matches!(self.kind, "Service" | "EndpointSlice" | "ServiceCIDR") {
            return format!("correct {} {}; until then it goes without what that field says", self.kind, self.name);
        }
        format!(
            "correct {} {} (create it again if it was deleted); until then its last good state stays in force",
            self.kind, self.name
        )
    }
}
