//! The configuration file `/etc/seaway/config.yaml`, shared by all daemons.
//!
//! Two steps: [`load`] reads text into a [`RawConfig`] that mirrors the file
//! (unknown keys refused, defaults filled in), then [`RawConfig::agent`] or
//! [`RawConfig::controller`] checks the values and gives the typed
//! configuration of one daemon. All that is wrong is reported at once.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use seaway_model::{Encapsulation, IpPool, NodeName};
use serde::{Deserialize, Serialize};

mod dns;
mod error;
mod raw;
#[cfg(test)]
mod tests;
mod validate;

pub use dns::{DnsCache, DnsConfig, DnsExternalZone, DnsPods, DnsPolicy, DnsTls, DnsTransport, DnsUpstream, RawDns};
pub use error::{ConfigError, InvalidField};
pub use raw::{RawConfig, load};

/// Where daemons look for the file when nothing else is said.
pub const CONFIG_FILE: &str = "/etc/seaway/config.yaml";

/// Configuration of `seaway agent`, valid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentConfig {
    /// Node this agent serves.
    pub node: NodeName,
    /// How to reach the Kubernetes API.
    pub api: ApiAccess,
    /// Which data path to use.
    pub backend: Backend,
    /// How its programs are attached to pod links.
    pub pod_link_hook: PodLinkHook,
    /// Where pod addresses come from.
    pub ipam: Ipam,
    /// The tunnel device.
    pub vxlan: Vxlan,
    /// MTU in bytes of pod interfaces; `None`: derived from the underlay, per pool.
    pub mtu_bytes: Option<u32>,
    /// Destinations outside the pools that see pod addresses unchanged.
    pub non_masquerade: Vec<IpNet>,
    /// Ranges of Service addresses; pools must not overlap them.
    pub service_cidrs: Vec<IpNet>,
    /// What is written into the CNI configuration.
    pub cni: Cni,
    /// Places on the host as this process sees them.
    pub paths: Paths,
    /// Where the admin server listens.
    pub admin: SocketAddr,
    /// Pause between two comparisons of kernel and plan; `None`: only on request.
    pub audit_interval: Option<Duration>,
    /// Services; `None`: somebody else (kube-proxy) serves them.
    pub services: Option<Services>,
    /// Logs.
    pub log: Log,
}

/// How this node serves Services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Services {
    /// Which of the node's addresses NodePorts are served on.
    pub node_port_addresses: NodePortAddresses,
    /// Serve NodePorts on loopback addresses too.
    pub node_port_on_loopback: bool,
    /// Where `/healthz` and `/livez` answer for outside load balancers.
    pub health_address: SocketAddr,
    /// Frontends (address, protocol, port) that the data path has room for.
    pub max_frontends: u32,
    /// Backends, counted once for each set they are in.
    pub max_backends: u32,
    /// Translated connections that are remembered at once.
    pub max_connections: u32,
    /// Whether devices' drivers send packets on by XDP.
    pub xdp: Xdp,
}

/// Whether devices' drivers send packets of Services on by XDP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Xdp {
    /// Where the driver runs XDP itself, but not on veth devices.
    #[default]
    Auto,
    /// On veth devices too.
    Always,
    /// Nowhere.
    Off,
}

/// Which of the node's addresses NodePorts are served on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum NodePortAddresses {
    /// The node's `InternalIP`s.
    Primary,
    /// Every address of the node in one of these ranges.
    Ranges(Vec<IpNet>),
}

/// Configuration of `seaway controller`, valid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ControllerConfig {
    /// Name under which this replica holds the lease.
    pub identity: String,
    /// How to reach the Kubernetes API.
    pub api: ApiAccess,
    /// Where pod addresses come from.
    pub ipam: Ipam,
    /// Pools to create when the cluster has none.
    pub default_pools: Vec<IpPool>,
    /// Ranges of Service addresses; pools must not overlap them.
    pub service_cidrs: Vec<IpNet>,
    /// Where the admin server listens.
    pub admin: SocketAddr,
    /// Logs.
    pub log: Log,
}

/// How a daemon reaches the Kubernetes API.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiAccess {
    /// Address that replaces the `kubernetes` Service's, needed where nothing
    /// translates Service addresses before this agent runs.
    pub server: Option<ApiServer>,
    /// A kubeconfig file instead of the pod's service account.
    pub kubeconfig: Option<PathBuf>,
}

/// Address of the API server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApiServer {
    /// IP address or DNS name that the server's certificate covers.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// Which data path to use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Backend {
    /// The best this kernel can do.
    #[default]
    Auto,
    /// eBPF, or fail.
    Ebpf,
    /// nftables and kernel routing, or fail.
    Nftables,
}

/// How the eBPF backend's programs are attached to pod links.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PodLinkHook {
    /// What connects a pod soonest: a clsact queue, but TCX where another plugin shapes the pod and
    /// the kernel has it.
    #[default]
    Auto,
    /// TCX where the kernel has it (6.6).
    Tcx,
    /// A clsact queue, on devices too.
    Clsact,
}

/// Where pod addresses come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ipam {
    /// Which objects hold the ranges.
    pub source: IpamSource,
    /// What pools say of themselves and `Node.spec.podCIDRs` cannot.
    pub node_pod_cidrs: NodePodCidrs,
    /// How long a released address rests before it is given out again.
    pub cooldown: Duration,
}

/// Which objects hold the ranges of pod addresses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum IpamSource {
    /// `IPPool` objects, split into blocks that nodes claim.
    #[default]
    Pools,
    /// `Node.spec.podCIDRs`, as the controller manager hands them out.
    #[serde(rename = "nodePodCIDRs")]
    NodePodCidrs,
}

/// How the ranges of `Node.spec.podCIDRs` are connected; pools say it each for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct NodePodCidrs {
    /// How packets travel between nodes.
    pub encapsulation: Encapsulation,
    /// Whether what leaves the cluster gets the node's address.
    pub masquerade: bool,
}

/// The tunnel device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Vxlan {
    /// UDP port.
    pub port: u16,
    /// VXLAN network identifier, 24 bits.
    pub id: u32,
}

/// What is written into the CNI configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cni {
    /// Network name.
    pub network: String,
    /// Plugins called after `seaway-cni`, in order, as CNI writes them.
    pub chained_plugins: Vec<ChainedPlugin>,
}

/// One plugin entry of a CNI configuration list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainedPlugin {
    /// Name of the plugin's program.
    #[serde(rename = "type")]
    pub program: String,
    /// Everything else, passed on unchanged.
    #[serde(flatten)]
    pub settings: serde_json::Map<String, serde_json::Value>,
}

/// Places on the host as this process sees them: in a container they are mounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Paths {
    /// `/proc/sys`, writable below `net`. A container's own is read-only, and
    /// the kernel resolves `net` by the caller's network namespace anyway.
    pub proc_sys: PathBuf,
    /// Directory of the agent's socket.
    pub run: PathBuf,
    /// Directory on a BPF file system for pinned maps and links.
    pub bpf: PathBuf,
    /// Root of the host's cgroup2 tree, where sockets of all pods and processes are seen.
    pub cgroup: PathBuf,
    /// Directory where the container runtime looks for CNI configuration.
    pub cni_configuration: PathBuf,
    /// Directory where the container runtime looks for CNI programs.
    pub cni_programs: PathBuf,
}

/// Logs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Log {
    /// Shape of a line.
    pub format: LogFormat,
    /// What is logged, in the syntax of `RUST_LOG`: `info,seaway_agent=debug`.
    pub filter: String,
}

/// Shape of a log line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

// === impl NodePodCidrs ===

impl Default for NodePodCidrs {
    fn default() -> Self {
        Self { encapsulation: Encapsulation::default(), masquerade: true }
    }
}

// === impl Paths ===

impl Default for Paths {
    fn default() -> Self {
        Self {
            proc_sys: "/proc/sys".into(),
            run: "/run/seaway".into(),
            bpf: "/sys/fs/bpf/seaway".into(),
            cgroup: "/sys/fs/cgroup".into(),
            cni_configuration: "/etc/cni/net.d".into(),
            cni_programs: "/opt/cni/bin".into(),
        }
    }
}

// === impl Log ===

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info".to_owned() }
    }
}
