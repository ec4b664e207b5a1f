//! The configuration file as it is written: one struct, defaults, no meaning yet.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use seaway_model::Encapsulation;
use serde::{Deserialize, Serialize};

use super::dns::RawDns;
use super::{ApiServer, Backend, ChainedPlugin, ConfigError, IpamSource, Log, NodePodCidrs, Paths, PodLinkHook, Xdp};

/// The configuration file. `docs/reference/configuration.md` describes each key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RawConfig {
    pub(super) api_server: Option<ApiServer>,
    pub(super) kubeconfig: Option<PathBuf>,
    pub(super) backend: Backend,
    pub(super) node_backends: BTreeMap<String, Backend>,
    pub(super) pod_link_hook: PodLinkHook,
    pub(super) ipam: RawIpam,
    pub(super) vxlan: RawVxlan,
    pub(super) mtu_bytes: Option<u32>,
    #[serde(rename = "nonMasqueradeCIDRs")]
    pub(super) non_masquerade_cidrs: Vec<IpNet>,
    #[serde(rename = "serviceCIDRs")]
    pub(super) service_cidrs: Vec<IpNet>,
    pub(super) cni: RawCni,
    pub(super) paths: Paths,
    pub(super) admin: RawAdmin,
    pub(super) audit: RawAudit,
    pub(super) services: RawServices,
    pub(super) dns: RawDns,
    pub(super) log: Log,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RawIpam {
    pub(super) source: IpamSource,
    #[serde(rename = "nodePodCIDRs")]
    pub(super) node_pod_cidrs: NodePodCidrs,
    pub(super) cooldown_seconds: u64,
    pub(super) default_pools: Vec<RawPool>,
}

/// A pool that the controller creates when there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawPool {
    pub(super) name: String,
    pub(super) cidr: IpNet,
    #[serde(default)]
    pub(super) block_prefix_length: Option<u8>,
    #[serde(default)]
    pub(super) encapsulation: Encapsulation,
    #[serde(default = "yes")]
    pub(super) masquerade: bool,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RawVxlan {
    pub(super) port: u16,
    pub(super) id: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RawCni {
    pub(super) network: String,
    pub(super) chained_plugins: Vec<ChainedPlugin>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RawAdmin {
    pub(super) agent: SocketAddr,
    pub(super) controller: SocketAddr,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RawAudit {
    pub(super) enabled: bool,
    pub(super) interval_seconds: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RawServices {
    pub(super) enabled: bool,
    pub(super) node_port_addresses: Vec<String>,
    pub(super) node_port_on_loopback: bool,
    pub(super) health_address: SocketAddr,
    pub(super) max_frontends: u32,
    pub(super) max_backends: u32,
    pub(super) max_connections: u32,
    pub(super) xdp: Xdp,
}

/// Reads and parses the file at `path`.
///
/// # Errors
/// [`ConfigError::Unreadable`] or [`ConfigError::Malformed`].
pub fn load(path: &Path) -> Result<RawConfig, ConfigError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    RawConfig::parse(&text, &path.display().to_string())
}

// === impl RawConfig ===

impl RawConfig {
    /// Parses the text of a configuration file; `origin` names it in errors.
    /// An empty file is all defaults.
    ///
    /// # Errors
    /// [`ConfigError::Malformed`] for bad YAML, an unknown key or a wrong type.
    pub fn parse(text: &str, origin: &str) -> Result<Self, ConfigError> {
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Ok(Self::default());
        }
        serde_saphyr::from_str(text)
            .map_err(|error| ConfigError::Malformed { origin: origin.to_owned(), reason: error.to_string() })
    }
}

// === defaults ===

impl Default for RawIpam {
    fn default() -> Self {
        // Long enough for a peer's connections to a dead pod to have been
        // reset or timed out at the application, short enough for a /26 block.
        Self {
            source: IpamSource::default(),
            node_pod_cidrs: NodePodCidrs::default(),
            cooldown_seconds: 30,
            default_pools: Vec::new(),
        }
    }
}

impl Default for RawVxlan {
    fn default() -> Self {
        // 4789 is IANA's port (RFC 7348 §4); 83 is ours, as is route protocol 83.
        Self { port: 4789, id: 83 }
    }
}

impl Default for RawCni {
    fn default() -> Self {
        let capabilities = serde_json::json!({ "portMappings": true });
        let settings = [("capabilities".to_owned(), capabilities)].into_iter().collect();
        Self {
            network: "seaway".to_owned(),
            chained_plugins: vec![ChainedPlugin { program: "portmap".to_owned(), settings }],
        }
    }
}

impl Default for RawAdmin {
    fn default() -> Self {
        let any = |port| SocketAddr::from(([0, 0, 0, 0], port));
        Self { agent: any(9850), controller: any(9851) }
    }
}

impl Default for RawAudit {
    fn default() -> Self {
        Self { enabled: true, interval_seconds: 60 }
    }
}

impl Default for RawServices {
    fn default() -> Self {
        // Twice what the largest clusters we know of have. An entry takes memory when it is used;
        // only connections are laid out in advance, at about 350 bytes each.
        Self {
            enabled: true,
            node_port_addresses: vec!["primary".to_owned()],
            node_port_on_loopback: true,
            health_address: SocketAddr::from(([0, 0, 0, 0], 10_256)),
            max_frontends: 262_144,
            max_backends: 1_048_576,
            max_connections: 131_072,
            xdp: Xdp::Auto,
        }
    }
}
