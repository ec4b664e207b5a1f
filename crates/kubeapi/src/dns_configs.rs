//! What the controller writes of `DNSConfig` objects.

use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::cluster::request;
use crate::resources::dns_config::{DNSConfig, DNSConfigCondition};
use crate::{Cluster, KubeApiError};

/// What the controller may do with `DNSConfig` objects.
#[derive(Clone, Debug)]
pub struct DnsConfigs {
    api: Api<DNSConfig>,
}

/// Whether a `DNSConfig` can be used: its condition `Accepted`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// It can.
    pub accepted: bool,
    /// One word that says why.
    pub reason: String,
    /// The fields that cannot be used.
    pub message: String,
    /// Generation of the object that was looked at.
    pub generation: i64,
    /// When `accepted` changed last, as the API writes it; empty: now.
    pub since: String,
}

// === impl Accepted ===

impl Accepted {
    /// Type of the condition.
    pub const CONDITION: &'static str = "Accepted";
}

impl From<&DNSConfigCondition> for Accepted {
    fn from(condition: &DNSConfigCondition) -> Self {
        Self {
            accepted: condition.status == "True",
            reason: condition.reason.clone(),
            message: condition.message.clone(),
            generation: condition.observed_generation,
            since: condition.last_transition_time.clone(),
        }
    }
}

// === impl DnsConfigs ===

impl DnsConfigs {
    /// Those of `cluster`.
    #[must_use]
    pub fn new(cluster: &Cluster) -> Self {
        Self { api: Api::all(cluster.client.clone()) }
    }

    /// Writes the condition `Accepted`.
    pub async fn write_accepted(&self, name: &str, accepted: &Accepted) -> Result<(), KubeApiError> {
        let since = if accepted.since.is_empty() { Timestamp::now().to_string() } else { accepted.since.clone() };
        let condition = DNSConfigCondition {
            kind: Accepted::CONDITION.to_owned(),
            status: if accepted.accepted { "True" } else { "False" }.to_owned(),
            reason: accepted.reason.clone(),
            message: accepted.message.clone(),
            observed_generation: accepted.generation,
            last_transition_time: since,
        };
        let patch = Patch::Merge(json!({ "status": { "conditions": [condition] } }));
        let action = format!("write the status of DNSConfig {name}");
        request(action, self.api.patch_status(name, &PatchParams::default(), &patch)).await?;
        Ok(())
    }
}
