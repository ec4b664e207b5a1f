//! Which pod on which node gave an answer.

use serde::{Deserialize, Serialize};

use crate::settings::Settings;

/// Stands in every answer as `servedBy`. What is unknown is empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// `reviews`, for example.
    pub(crate) part: String,
    /// `v2`, for example.
    pub(crate) version: String,
    /// Name of the pod.
    pub(crate) pod: String,
    /// Namespace of the pod.
    pub(crate) namespace: String,
    /// Node the pod runs on.
    pub(crate) node: String,
    /// Addresses of the pod.
    pub(crate) addresses: Vec<String>,
}

// === impl Identity ===

impl Identity {
    /// From the pod's environment.
    pub(crate) fn of(settings: &Settings) -> Self {
        let addresses = settings.addresses.split(',').map(str::trim).filter(|address| !address.is_empty());
        Self {
            part: settings.role.name().to_owned(),
            version: settings.version.clone(),
            pod: settings.pod.clone(),
            namespace: settings.namespace.clone(),
            node: settings.node.clone(),
            addresses: addresses.map(str::to_owned).collect(),
        }
    }
}
