//! `IPBlock`: a part of a pool that one node holds.
#![expect(clippy::duplicated_attributes, reason = "printer columns of one type are not duplicates")]

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// A block of a pool that one node holds. Its name is made from its range, so creating it is the claim. Written by Seaway only.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "seaway.dev",
    version = "v1alpha1",
    kind = "IPBlock",
    plural = "ipblocks",
    doc = "A block of a pool that one node holds. Its name is made from its range, so creating it is the claim. Written by Seaway only.",
    status = "IPBlockStatus",
    derive = "PartialEq",
    category = "seaway",
    selectable = ".spec.node",
    printcolumn(name = "CIDR", type_ = "string", json_path = ".spec.cidr"),
    printcolumn(name = "Node", type_ = "string", json_path = ".spec.node"),
    printcolumn(name = "Pool", type_ = "string", json_path = ".spec.pool"),
    printcolumn(name = "Used", type_ = "integer", json_path = ".status.used"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("self == oldSelf", "an IPBlock is immutable: it is created and deleted"))]
pub(crate) struct IPBlockSpec {
    /// The range.
    #[schemars(length(min = 1, max = 43))]
    #[x_kube(validation = ("isCIDR(self)", "cidr must be an address range"))]
    pub(crate) cidr: String,
    /// Name of the `IPPool`.
    #[schemars(length(min = 1, max = 253))]
    pub(crate) pool: String,
    /// Name of the Node.
    #[schemars(length(min = 1, max = 253))]
    pub(crate) node: String,
}

/// Record of the addresses in use, written by the node a moment after the fact.
#[derive(schemars::JsonSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct IPBlockStatus {
    /// How many.
    pub(crate) used: i64,
    /// Which, by address.
    pub(crate) allocations: Vec<BlockAllocationStatus>,
}

/// An address that a pod holds.
#[derive(schemars::JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BlockAllocationStatus {
    /// The address.
    pub(crate) address: String,
    /// Container id of the pod's sandbox.
    pub(crate) container_id: String,
    /// Interface in the sandbox.
    pub(crate) interface: String,
    /// The pod, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pod: Option<PodReference>,
}

/// A pod by name.
#[derive(schemars::JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PodReference {
    /// Its namespace.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) name: String,
}
