//! What the agent says of its own node.

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use seaway_model::NodeName;
use serde_json::json;

use crate::cluster::request;
use crate::{Cluster, KubeApiError};

/// Keeps pods off a node until its agent is ready.
pub const AGENT_NOT_READY_TAINT: &str = "seaway.dev/agent-not-ready";

/// Writers of a node are few (kubelet, controllers): more conflicts than this in a row are not chance.
const ATTEMPTS: u32 = 8;

/// What an agent may write of its node.
#[derive(Clone, Debug)]
pub struct NodeWriter {
    api: Api<core::Node>,
    node: NodeName,
}

// === impl NodeWriter ===

impl NodeWriter {
    /// Writes to `node` only.
    #[must_use]
    pub fn new(cluster: &Cluster, node: NodeName) -> Self {
        Self { api: Api::all(cluster.client.clone()), node }
    }

    /// Lets pods come; does nothing when the taint is gone. True when it was there.
    pub async fn remove_taint(&self) -> Result<bool, KubeApiError> {
        let name = self.node.as_str();
        let action = format!("remove taint {AGENT_NOT_READY_TAINT} from node {name}");
        for _ in 0..ATTEMPTS {
            let node = request(action.as_str(), self.api.get(name)).await?;
            let taints = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
            let kept: Vec<_> = taints.iter().filter(|taint| taint.key != AGENT_NOT_READY_TAINT).collect();
            if kept.len() == taints.len() {
                return Ok(false);
            }
            // The list is replaced as a whole, so the version guards taints that others add meanwhile.
            let patch =
                json!({ "metadata": { "resourceVersion": node.resource_version() }, "spec": { "taints": kept } });
            match request(action.as_str(), self.api.patch(name, &PatchParams::default(), &Patch::Merge(patch))).await {
                Ok(_) => return Ok(true),
                Err(KubeApiError::Refused { code: 409, .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(KubeApiError::Contended { action, attempts: ATTEMPTS })
    }

    /// Sets the condition `NetworkUnavailable`, which the scheduler and people look at.
    pub async fn set_network_available(&self, available: bool, message: &str) -> Result<(), KubeApiError> {
        let now = Timestamp::now().to_string();
        let (status, reason) = if available { ("False", "SeawayIsUp") } else { ("True", "SeawayIsDown") };
        let condition = json!({
            "type": "NetworkUnavailable",
            "status": status,
            "reason": reason,
            "message": message,
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        });
        let patch = Patch::Strategic(json!({ "status": { "conditions": [condition] } }));
        let action = format!("set condition NetworkUnavailable of node {}", self.node);
        request(action, self.api.patch_status(self.node.as_str(), &PatchParams::default(), &patch)).await?;
        Ok(())
    }
}
