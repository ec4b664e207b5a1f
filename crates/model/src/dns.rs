//! What an operator writes about names beside the cluster's (`DNSConfig`), as it is written: the
//! DNS server gives it meaning, and says which field has none.

use serde::{Deserialize, Serialize};

use crate::labels::LabelSelector;

/// The specification of one `DNSConfig`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DnsSpec {
    /// Namespaces whose pods see it; absent: every client does.
    pub namespace_selector: Option<LabelSelector>,
    /// Clients that are answered; the first match decides.
    pub access: Vec<DnsAccess>,
    /// Names that are kept from clients; the first match decides.
    pub block: Vec<DnsBlock>,
    /// Addresses of names.
    pub hosts: Vec<DnsHost>,
    /// Names that are answered as if another had been asked; the first match decides.
    pub rewrites: Vec<DnsRewrite>,
    /// Zones with records of their own.
    pub zones: Vec<DnsZone>,
    /// Who answers for a domain; the longest match decides.
    pub forward: Vec<DnsForward>,
    /// Whether the search lists of pods are walked by the server; absent: as the server is configured.
    pub search: Option<bool>,
}

/// One rule about clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsAccess {
    /// What happens to them.
    pub action: DnsAccessAction,
    /// Address ranges.
    pub clients: Vec<String>,
}

/// What happens to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DnsAccessAction {
    /// It is answered.
    Allow,
    /// It is refused.
    Deny,
}

/// One rule about names that are kept from clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsBlock {
    /// Names; `*.example.org` is all names below.
    pub names: Vec<String>,
    /// What is answered.
    #[serde(default)]
    pub action: DnsBlockAction,
    /// With [`DnsBlockAction::Addresses`]: which.
    #[serde(default)]
    pub addresses: Vec<String>,
}

/// What is answered for a name that is kept from a client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DnsBlockAction {
    /// The name does not exist.
    #[default]
    Nxdomain,
    /// The name has no records.
    Nodata,
    /// Refused.
    Refused,
    /// Other addresses.
    Addresses,
    /// It is not blocked, whatever later rules say.
    Allow,
}

/// Addresses of a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsHost {
    /// The name.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<String>,
}

/// A name, or a part of names, that stands for another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsRewrite {
    /// Which part of the name is compared and replaced.
    #[serde(rename = "match")]
    pub part: DnsRewritePart,
    /// What the client asks for.
    pub from: String,
    /// What is looked up in its place.
    pub to: String,
}

/// Which part of a name is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DnsRewritePart {
    /// All of it.
    Exact,
    /// Its last labels.
    Suffix,
    /// How it begins; may end within a label.
    Prefix,
}

/// A zone with records of its own. Either `text` or `records`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsZone {
    /// Its name.
    pub name: String,
    /// Its records in master file format (RFC 1035 §5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Its records one by one.
    #[serde(default)]
    pub records: Vec<DnsRecord>,
}

/// Records of one name and type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DnsRecord {
    /// The name: `@` is the zone's own, one without a final dot is below the zone.
    pub name: String,
    /// The type: `A`, `MX`, `TYPE65280`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Seconds that they may be kept.
    #[serde(default = "usual_ttl")]
    pub ttl_seconds: u32,
    /// Data of each, as a master file has it.
    pub values: Vec<String>,
}

/// Who answers for a domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsForward {
    /// The domain and what is below it; `.` is every name.
    pub domain: String,
    /// Whom to ask: `10.0.0.1`, `10.0.0.1:5353`, `tcp://…`, `tls://…#name`.
    pub upstreams: Vec<String>,
    /// Whom first.
    #[serde(default)]
    pub policy: DnsForwardPolicy,
}

/// How one of several upstreams is picked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DnsForwardPolicy {
    /// Any.
    #[default]
    Random,
    /// One after the other.
    RoundRobin,
    /// The first that works.
    Sequential,
}

/// Seconds that records may be kept unless they say.
const USUAL_TTL_SECONDS: u32 = 300;

fn usual_ttl() -> u32 {
    USUAL_TTL_SECONDS
}
