//! `IPPool`: a range of pod addresses.
#![expect(clippy::duplicated_attributes, reason = "printer columns of one type are not duplicates")]

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::Selector;

/// Block prefix length of IPv4 pools that do not say: 64 addresses.
pub(crate) const DEFAULT_IPV4_BLOCK: u8 = 26;
/// Block prefix length of IPv6 pools that do not say: 64 addresses.
pub(crate) const DEFAULT_IPV6_BLOCK: u8 = 122;

/// A range of addresses for pods. Nodes take blocks of it as they need them.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "seaway.dev",
    version = "v1alpha1",
    kind = "IPPool",
    plural = "ippools",
    doc = "A range of addresses for pods. Nodes take blocks of it as they need them.",
    status = "IPPoolStatus",
    derive = "PartialEq",
    shortname = "pool",
    category = "seaway",
    printcolumn(name = "CIDR", type_ = "string", json_path = ".spec.cidr"),
    printcolumn(name = "Encapsulation", type_ = "string", json_path = ".spec.encapsulation"),
    printcolumn(name = "Used", type_ = "integer", json_path = ".status.usedAddresses"),
    printcolumn(name = "Total", type_ = "integer", json_path = ".status.totalAddresses"),
    printcolumn(name = "Disabled", type_ = "boolean", json_path = ".spec.disabled"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("!isCIDR(self.cidr) || !has(self.blockPrefixLength) || (cidr(self.cidr).ip().family() == 4 ? self.blockPrefixLength >= 16 && self.blockPrefixLength <= 30 : self.blockPrefixLength >= 64 && self.blockPrefixLength <= 126)", "blockPrefixLength must lie between 16 and 30 for IPv4 and between 64 and 126 for IPv6"),
    validation = ("!isCIDR(self.cidr) || cidr(self.cidr).prefixLength() <= (has(self.blockPrefixLength) ? self.blockPrefixLength : (cidr(self.cidr).ip().family() == 4 ? 26 : 122))", "cidr must hold at least one block: its prefix length must not exceed blockPrefixLength (26 for IPv4 and 122 for IPv6 unless given)"),
    validation = ("has(self.blockPrefixLength) == has(oldSelf.blockPrefixLength) && (!has(self.blockPrefixLength) || self.blockPrefixLength == oldSelf.blockPrefixLength)", "blockPrefixLength is immutable: create another pool and delete this one")
)]
pub(crate) struct IPPoolSpec {
    /// The range, IPv4 or IPv6: 10.244.0.0/16, fd00:10:244::/56. Immutable.
    #[schemars(length(min = 1, max = 43))]
    #[x_kube(
        validation = ("isCIDR(self)", "cidr must be an address range as 10.244.0.0/16 or fd00:10:244::/56"),
        validation = ("!isCIDR(self) || cidr(self).masked() == cidr(self)", "cidr must not have bits set to the right of its prefix"),
        validation = ("self == oldSelf", "cidr is immutable: create another pool and delete this one")
    )]
    pub(crate) cidr: String,
    /// Prefix length of the blocks that nodes take: 16–30 for IPv4 (26 unless given), 64–126 for IPv6 (122 unless given). Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) block_prefix_length: Option<u8>,
    /// How packets travel between nodes: vxlan (always tunneled), none (never), crossSubnet (tunneled only to nodes on other subnets).
    #[serde(default)]
    pub(crate) encapsulation: EncapsulationMode,
    /// Nodes that may take blocks; all unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) node_selector: Option<Selector>,
    /// Namespaces whose pods get addresses of this pool; all unless given. Pools with a selector come first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) namespace_selector: Option<Selector>,
    /// Whether packets that leave the cluster get the address of the node.
    #[serde(default = "yes")]
    pub(crate) masquerade: bool,
    /// Gives no new addresses; those in use stay.
    #[serde(default)]
    pub(crate) disabled: bool,
}

/// How packets of a pool travel between nodes.
#[derive(schemars::JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum EncapsulationMode {
    #[default]
    Vxlan,
    None,
    CrossSubnet,
}

/// How full the pool is. Counts beyond 2^63 − 1 are shown as that.
#[derive(schemars::JsonSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct IPPoolStatus {
    /// Addresses that pods hold.
    pub(crate) used_addresses: i64,
    /// Addresses of the range.
    pub(crate) total_addresses: i64,
    /// Blocks that nodes hold.
    pub(crate) claimed_blocks: i64,
    /// Blocks of the range.
    pub(crate) total_blocks: i64,
    /// Why the pool is not in force; empty: it is.
    pub(crate) problems: Vec<String>,
    /// What keeps a pool that is being deleted: its blocks, each with its node and addresses in use.
    pub(crate) held_by: Vec<String>,
}

fn yes() -> bool {
    true
}
