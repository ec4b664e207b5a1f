//! `DNSConfig`: names beside the cluster's.
#![expect(clippy::duplicated_attributes, reason = "printer columns of one type are not duplicates")]

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::Selector;

/// What the DNS servers of the cluster say of names beside the cluster's, for all clients or for the pods of some namespaces.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "seaway.dev",
    version = "v1alpha1",
    kind = "DNSConfig",
    plural = "dnsconfigs",
    doc = "What the DNS servers of the cluster say of names beside the cluster's, for all clients or for the pods of some namespaces.",
    status = "DNSConfigStatus",
    derive = "PartialEq",
    category = "seaway",
    printcolumn(name = "Accepted", type_ = "string", json_path = ".status.conditions[?(@.type==\"Accepted\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Accepted\")].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DNSConfigSpec {
    /// Namespaces whose pods see this; every client does unless given. Where several apply, those with a selector come first, then they follow by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) namespace_selector: Option<Selector>,
    /// Clients that are answered; the first match of all rules that apply decides, and without one a client is answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub(crate) access: Vec<AccessRule>,
    /// Names that are kept from clients; the first match decides. Comes before everything else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub(crate) block: Vec<BlockRule>,
    /// Addresses of names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4096))]
    pub(crate) hosts: Vec<HostEntry>,
    /// Names that are answered as if another had been asked; the answer names what was asked. The first match decides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub(crate) rewrites: Vec<RewriteRule>,
    /// Zones with records of their own, answered with authority.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub(crate) zones: Vec<StaticZone>,
    /// Who answers for a domain and what is below it; the longest domain decides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub(crate) forward: Vec<ForwardRule>,
    /// Whether search lists of pods are walked by the server; as the server is configured unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) search: Option<bool>,
}

/// A rule about clients.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct AccessRule {
    /// allow: the client is answered; deny: it is refused.
    pub(crate) action: AccessAction,
    /// Address ranges: 10.0.0.0/8, fd00::/8, or single addresses.
    #[schemars(length(min = 1, max = 256), inner(length(min = 2, max = 43)))]
    pub(crate) clients: Vec<String>,
}

/// What happens to a client.
#[derive(schemars::JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum AccessAction {
    Allow,
    Deny,
}

/// Names that are kept from clients.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[x_kube(
    validation = ("self.action == 'addresses' ? has(self.addresses) && size(self.addresses) > 0 : !has(self.addresses) || size(self.addresses) == 0", "addresses are given with action addresses, and only then")
)]
pub(crate) struct BlockRule {
    /// Names: ads.example.org is that name, *.example.org every name below, * every name.
    #[schemars(length(min = 1, max = 50000), inner(length(min = 1, max = 256)))]
    pub(crate) names: Vec<String>,
    /// What is answered: nxdomain (no such name), nodata (no such record), refused, addresses; allow ends the search for a block.
    #[serde(default)]
    pub(crate) action: BlockAction,
    /// Addresses that are answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 2, max = 39)))]
    pub(crate) addresses: Vec<String>,
}

/// What is answered for a blocked name.
#[derive(schemars::JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum BlockAction {
    #[default]
    Nxdomain,
    Nodata,
    Refused,
    Addresses,
    Allow,
}

/// Addresses of a name.
#[derive(schemars::JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct HostEntry {
    /// The name.
    #[schemars(length(min = 1, max = 254))]
    pub(crate) name: String,
    /// Its IPv4 and IPv6 addresses.
    #[schemars(length(min = 1, max = 64), inner(length(min = 2, max = 39)))]
    pub(crate) addresses: Vec<String>,
}

/// A name, or a part of names, that stands for another.
#[derive(schemars::JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RewriteRule {
    /// Which part of the name is compared and replaced: exact (all), suffix (the last labels), prefix (how it begins).
    #[serde(rename = "match")]
    pub(crate) part: RewritePart,
    /// What the client asks for.
    #[schemars(length(min = 1, max = 254))]
    pub(crate) from: String,
    /// What is looked up in its place.
    #[schemars(length(max = 254))]
    pub(crate) to: String,
}

/// Which part of a name is replaced.
#[derive(schemars::JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum RewritePart {
    Exact,
    Suffix,
    Prefix,
}

/// A zone with records of its own.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[x_kube(
    validation = ("!(has(self.text) && has(self.records) && size(self.records) > 0)", "give either text or records")
)]
pub(crate) struct StaticZone {
    /// Its name.
    #[schemars(length(min = 1, max = 254))]
    pub(crate) name: String,
    /// Its records in master file format (RFC 1035 §5). SOA and NS are made up when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 524288))]
    pub(crate) text: Option<String>,
    /// Its records one by one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4096))]
    pub(crate) records: Vec<ZoneRecord>,
}

/// Records of one name and type.
#[derive(schemars::JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ZoneRecord {
    /// The name: @ is the zone's own; without a final dot it is below the zone; * stands for all names that do not exist.
    #[schemars(length(min = 1, max = 254))]
    pub(crate) name: String,
    /// The type: A, AAAA, CNAME, MX, SRV, TXT, TYPE65280.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 16))]
    pub(crate) kind: String,
    /// Seconds that they may be kept.
    #[serde(default = "usual_ttl")]
    #[schemars(range(max = 2147483647))]
    pub(crate) ttl_seconds: u32,
    /// Data of each record as a master file has it: 192.0.2.1, 10 mail.example.org., "text in quotes".
    #[schemars(length(min = 1, max = 256), inner(length(min = 1, max = 4096)))]
    pub(crate) values: Vec<String>,
}

/// Who answers for a domain.
#[derive(schemars::JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ForwardRule {
    /// The domain and what is below it; "." is every name.
    #[schemars(length(min = 1, max = 254))]
    pub(crate) domain: String,
    /// Whom to ask: 10.0.0.1, 10.0.0.1:5353, tcp://10.0.0.1, tls://10.0.0.1#dns.example.org.
    #[schemars(length(min = 1, max = 16), inner(length(min = 2, max = 320)))]
    pub(crate) upstreams: Vec<String>,
    /// Whom first: random, roundRobin, or sequential (the first that works).
    #[serde(default)]
    pub(crate) policy: ForwardPolicy,
}

/// How one of several upstreams is picked.
#[derive(schemars::JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum ForwardPolicy {
    #[default]
    Random,
    RoundRobin,
    Sequential,
}

/// Whether it is in force.
#[derive(schemars::JsonSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct DNSConfigStatus {
    /// Accepted: whether every field can be used. While it is False the last good form stays in force.
    #[schemars(length(max = 8))]
    pub(crate) conditions: Vec<DNSConfigCondition>,
}

/// One aspect of the state.
#[derive(schemars::JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DNSConfigCondition {
    /// Accepted.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// True, False or Unknown.
    pub(crate) status: String,
    /// One word that says why.
    pub(crate) reason: String,
    /// The fields that cannot be used, and why.
    pub(crate) message: String,
    /// Generation of the object that was looked at.
    pub(crate) observed_generation: i64,
    /// When the status changed last.
    pub(crate) last_transition_time: String,
}

fn usual_ttl() -> u32 {
    300
}
