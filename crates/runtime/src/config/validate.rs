//! From the written file to the configuration of one daemon.

use std::path::Path;
use std::time::Duration;

use ipnet::IpNet;
use seaway_model::{IpPool, NodeName};

use super::raw::{RawIpam, RawPool, RawServices};
use super::{
    AgentConfig, ApiAccess, Cni, ConfigError, ControllerConfig, InvalidField, Ipam, NodePortAddresses, RawConfig,
    Services, Vxlan,
};

/// Smallest MTU a host must accept for IPv4 (RFC 791 §3.2). The plan asks for
/// 1280 (RFC 8200 §5) once it knows that a pool is IPv6.
const MTU_BYTES_MIN: u32 = 576;
/// Largest IPv4 packet, and the largest MTU of a veth.
const MTU_BYTES_MAX: u32 = 65_535;
/// A VXLAN network identifier has 24 bits (RFC 7348 §5); 0 is refused by some hardware.
const VXLAN_ID_MAX: u32 = (1 << 24) - 1;
/// A day: longer would make a pool run dry for no gain.
const COOLDOWN_SECONDS_MAX: u64 = 86_400;
/// An audit reads every object we own back from the kernel.
const AUDIT_INTERVAL_SECONDS_MIN: u64 = 5;
/// A table smaller than this fits no cluster.
const TABLE_ENTRIES_MIN: u32 = 64;
/// The kernel lays out a bucket for each entry in advance: 16 bytes each.
const TABLE_ENTRIES_MAX: u32 = 1 << 26;

/// Collects what is wrong, so that one run names all of it.
#[derive(Default)]
pub(super) struct Findings(Vec<InvalidField>);

impl RawConfig {
    /// The agent's configuration on `node`.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with every unusable value.
    pub fn agent(self, node: NodeName) -> Result<AgentConfig, ConfigError> {
        let mut findings = Findings::default();
        findings.api(&self);
        findings.vxlan(&self);
        findings.mtu(self.mtu_bytes);
        findings.networks("nonMasqueradeCIDRs", &self.non_masquerade_cidrs);
        findings.networks("serviceCIDRs", &self.service_cidrs);
        findings.cooldown(self.ipam.cooldown_seconds);
        findings.cni(&self);
        findings.paths(&self);
        if self.audit.enabled && self.audit.interval_seconds < AUDIT_INTERVAL_SECONDS_MIN {
            findings.add(
                "audit.intervalSeconds",
                self.audit.interval_seconds,
                format!("must be at least {AUDIT_INTERVAL_SECONDS_MIN}"),
            );
        }
        let services = findings.services(&self.services);
        findings.into_result()?;
        Ok(AgentConfig {
            api: ApiAccess { server: self.api_server, kubeconfig: self.kubeconfig },
            backend: self.node_backends.get(node.as_str()).copied().unwrap_or(self.backend),
            pod_link_hook: self.pod_link_hook,
            node,
            ipam: ipam(&self.ipam),
            vxlan: Vxlan { port: self.vxlan.port, id: self.vxlan.id },
            mtu_bytes: self.mtu_bytes,
            non_masquerade: self.non_masquerade_cidrs,
            service_cidrs: self.service_cidrs,
            cni: Cni { network: self.cni.network, chained_plugins: self.cni.chained_plugins },
            paths: self.paths,
            admin: self.admin.agent,
            audit_interval: self.audit.enabled.then(|| Duration::from_secs(self.audit.interval_seconds)),
            services,
            log: self.log,
        })
    }

    /// The controller's configuration for the replica called `identity`.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with every unusable value.
    pub fn controller(self, identity: String) -> Result<ControllerConfig, ConfigError> {
        let mut findings = Findings::default();
        findings.api(&self);
        findings.networks("serviceCIDRs", &self.service_cidrs);
        findings.cooldown(self.ipam.cooldown_seconds);
        let ranges: Vec<IpNet> = self.ipam.default_pools.iter().map(|pool| pool.cidr).collect();
        findings.networks("ipam.defaultPools[].cidr", &ranges);
        findings.into_result()?;
        Ok(ControllerConfig {
            identity,
            api: ApiAccess { server: self.api_server, kubeconfig: self.kubeconfig },
            ipam: ipam(&self.ipam),
            default_pools: self.ipam.default_pools.into_iter().map(pool).collect(),
            service_cidrs: self.service_cidrs,
            admin: self.admin.controller,
            log: self.log,
        })
    }
}

fn ipam(raw: &RawIpam) -> Ipam {
    Ipam { source: raw.source, node_pod_cidrs: raw.node_pod_cidrs, cooldown: Duration::from_secs(raw.cooldown_seconds) }
}

/// The pool as the API would hold it. Sizes are judged there, by the rules of the custom resource.
fn pool(raw: RawPool) -> IpPool {
    // 64 addresses a block, as in the custom resource.
    let usual_block = raw.cidr.max_prefix_len() - 6;
    let block_prefix_length = raw.block_prefix_length.unwrap_or(usual_block);
    IpPool {
        encapsulation: raw.encapsulation,
        masquerade: raw.masquerade,
        ..IpPool::new(raw.name, raw.cidr, block_prefix_length)
    }
}

// === impl Findings ===

impl Findings {
    pub(super) fn add(&mut self, field: &'static str, value: impl ToString, reason: impl Into<String>) {
        self.0.push(InvalidField { field, value: value.to_string(), reason: reason.into() });
    }

    pub(super) fn into_result(self) -> Result<(), ConfigError> {
        if self.0.is_empty() { Ok(()) } else { Err(ConfigError::Invalid { fields: self.0 }) }
    }

    fn api(&mut self, raw: &RawConfig) {
        if let Some(server) = &raw.api_server {
            let bare = server.host.trim_start_matches('[').trim_end_matches(']');
            let is_address = bare.parse::<std::net::IpAddr>().is_ok();
            let is_name = !bare.is_empty() && bare.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
            if !is_address && !is_name {
                self.add("apiServer.host", format!("{:?}", server.host), "is neither an IP address nor a DNS name");
            }
            if server.port == 0 {
                self.add("apiServer.port", 0, "must be 1 to 65535");
            }
        }
        if let Some(path) = &raw.kubeconfig {
            self.absolute("kubeconfig", path);
        }
    }

    fn vxlan(&mut self, raw: &RawConfig) {
        if raw.vxlan.port == 0 {
            self.add("vxlan.port", 0, "must be 1 to 65535");
        }
        if !(1..=VXLAN_ID_MAX).contains(&raw.vxlan.id) {
            self.add("vxlan.id", raw.vxlan.id, format!("must be 1 to {VXLAN_ID_MAX}"));
        }
    }

    fn mtu(&mut self, mtu_bytes: Option<u32>) {
        if let Some(mtu) = mtu_bytes
            && !(MTU_BYTES_MIN..=MTU_BYTES_MAX).contains(&mtu)
        {
            self.add("mtuBytes", mtu, format!("must be {MTU_BYTES_MIN} to {MTU_BYTES_MAX}, or absent to derive it"));
        }
    }

    fn cooldown(&mut self, seconds: u64) {
        if seconds > COOLDOWN_SECONDS_MAX {
            self.add("ipam.cooldownSeconds", seconds, format!("must be at most {COOLDOWN_SECONDS_MAX}"));
        }
    }

    pub(super) fn networks(&mut self, field: &'static str, networks: &[IpNet]) {
        let mut seen: Vec<IpNet> = Vec::new();
        for network in networks {
            if network.addr() != network.network() {
                self.add(field, network, format!("has bits set beyond its prefix; write {}", network.trunc()));
            }
            if let Some(other) = seen.iter().find(|n| n.contains(network) || network.contains(*n)) {
                self.add(field, network, format!("overlaps {other}"));
            }
            seen.push(*network);
        }
    }

    fn cni(&mut self, raw: &RawConfig) {
        // CNI 1.1 §1: a network name starts with an alphanumeric and goes on with those, `_`, `.` and `-`.
        let name = &raw.cni.network;
        let starts_well = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        if !starts_well || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b)) {
            self.add(
                "cni.network",
                format!("{name:?}"),
                "must start with a letter or digit and hold only those, _ . and -",
            );
        }
        for plugin in &raw.cni.chained_plugins {
            if plugin.program.is_empty() || plugin.program.contains('/') {
                self.add(
                    "cni.chainedPlugins[].type",
                    format!("{:?}", plugin.program),
                    "must be a file name without slashes",
                );
            }
        }
    }

    fn services(&mut self, raw: &RawServices) -> Option<Services> {
        let node_port_addresses = self.node_port_addresses(&raw.node_port_addresses);
        let sizes = [
            ("services.maxFrontends", raw.max_frontends),
            ("services.maxBackends", raw.max_backends),
            ("services.maxConnections", raw.max_connections),
        ];
        for (field, size) in sizes {
            if !(TABLE_ENTRIES_MIN..=TABLE_ENTRIES_MAX).contains(&size) {
                self.add(field, size, format!("must be {TABLE_ENTRIES_MIN} to {TABLE_ENTRIES_MAX}"));
            }
        }
        raw.enabled.then_some(Services {
            node_port_addresses,
            node_port_on_loopback: raw.node_port_on_loopback,
            health_address: raw.health_address,
            max_frontends: raw.max_frontends,
            max_backends: raw.max_backends,
            max_connections: raw.max_connections,
            xdp: raw.xdp,
        })
    }

    /// `primary`, or ranges; kube-proxy's `nodePortAddresses` has the same words.
    fn node_port_addresses(&mut self, words: &[String]) -> NodePortAddresses {
        if words.len() == 1 && words.first().is_some_and(|word| word == "primary") {
            return NodePortAddresses::Primary;
        }
        let mut ranges = Vec::new();
        for word in words {
            match word.parse::<IpNet>() {
                Ok(range) => ranges.push(range),
                Err(_) => self.add(
                    "services.nodePortAddresses",
                    word,
                    "is neither a range like 10.0.0.0/8 nor, alone, primary",
                ),
            }
        }
        self.networks("services.nodePortAddresses", &ranges);
        NodePortAddresses::Ranges(ranges)
    }

    fn paths(&mut self, raw: &RawConfig) {
        let paths = &raw.paths;
        self.absolute("paths.procSys", &paths.proc_sys);
        self.absolute("paths.run", &paths.run);
        self.absolute("paths.bpf", &paths.bpf);
        self.absolute("paths.cgroup", &paths.cgroup);
        self.absolute("paths.cniConfiguration", &paths.cni_configuration);
        self.absolute("paths.cniPrograms", &paths.cni_programs);
    }

    fn absolute(&mut self, field: &'static str, path: &Path) {
        if !path.is_absolute() {
            self.add(field, path.display(), "must be an absolute path");
        }
    }
}
