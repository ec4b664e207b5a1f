//! Why the controller cannot run.

use seaway_kubeapi::KubeApiError;
use seaway_model::{Diagnose, ErrorId};
use seaway_runtime::admin::AdminError;

/// The controller could not start or had to end.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// No connection to the API.
    #[error("the controller cannot connect to the Kubernetes API")]
    Api {
        /// Why.
        #[from]
        source: KubeApiError,
    },
    /// No admin server.
    #[error("the controller cannot serve health and metrics")]
    Admin {
        /// Why.
        #[from]
        source: AdminError,
    },
}

// === impl ControllerError ===

impl Diagnose for ControllerError {
    fn id(&self) -> ErrorId {
        ErrorId(match self {
            Self::Api { .. } => 1000,
            Self::Admin { .. } => 1001,
        })
    }

    fn fix(&self) -> String {
        match self {
            Self::Api { source } => source.fix(),
            Self::Admin { source } => source.fix(),
        }
    }
}
