//! Who serves the Services: switched on and off on one node, so that all meet
//! the same API server with the same objects.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::metrics::Programming;
use crate::bench::error::BenchError;
use crate::bench::load::unix_nanos;
use crate::cluster::api::ApiClient;
use crate::cluster::files::{CONFIGURATION_DIRECTORY, kubeconfig_of, write_private};
use crate::cluster::programs::{ProgramSource, Programs};
use crate::error::{IoContext, Result};
use crate::machine::{Machine, Node, ProcessId, ProgramSpec};
use crate::peers::kube_proxy;
use crate::spec::{BackendChoice, ProxyMode, UnknownChoice};

const DAEMON_SET: &str = "/apis/apps/v1/namespaces/seaway-system/daemonsets/seaway-agent";
const CONFIG_MAP: &str = "/api/v1/namespaces/seaway-system/configmaps/seaway-config";
/// A node selector that no node has pauses the agents.
const PAUSE_LABEL: &str = "seaway.dev/bench-paused";
/// Where agents serve their metrics.
const AGENT_METRICS_PORT: u16 = 9850;
/// Name of kube-proxy among the node's programs.
const KUBE_PROXY: &str = "kube-proxy";
/// How long an agent may take to go or to come.
const SWITCH_PATIENCE: Duration = Duration::from_secs(60);
/// What kube-proxy told the kernel of the node, which has nobody else's rules in these tables.
const REMOVE_TABLES: &str = "nft delete table ip kube-proxy; nft delete table ip6 kube-proxy
for program in iptables ip6tables; do for table in nat filter mangle; do
$program -w -t $table -F; $program -w -t $table -X; done; done; true";
/// What is left is a matter of seconds.
const CLEANUP_SECONDS: &str = "60";
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// A candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// Seaway with one of its data paths.
    Seaway(BackendChoice),
    /// kube-proxy in one of its modes.
    KubeProxy(ProxyMode),
}

/// The lab's node and all that switching needs.
#[derive(Debug)]
pub(super) struct Switch<'a> {
    pub(super) machine: &'a Machine,
    pub(super) node: &'a Node,
    pub(super) api: &'a ApiClient,
    kube_proxy: PathBuf,
}

// === impl Peer ===

impl std::str::FromStr for Peer {
    type Err = UnknownChoice;

    fn from_str(text: &str) -> Result<Self, UnknownChoice> {
        Ok(match text {
            "seaway" | "seaway:ebpf" => Self::Seaway(BackendChoice::Ebpf),
            "seaway:nftables" => Self::Seaway(BackendChoice::Nftables),
            "kube-proxy" | "kube-proxy:nftables" => Self::KubeProxy(ProxyMode::Nftables),
            "kube-proxy:iptables" => Self::KubeProxy(ProxyMode::Iptables),
            _ => {
                return Err(UnknownChoice::new(
                    text,
                    "seaway, seaway:nftables, kube-proxy:nftables, kube-proxy:iptables",
                ));
            }
        })
    }
}

impl Peer {
    /// Its column in the report.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Seaway(BackendChoice::Nftables) => "seaway nft",
            Self::Seaway(_) => crate::bench::report::OURS,
            Self::KubeProxy(ProxyMode::Nftables) => "kube-proxy nft",
            Self::KubeProxy(ProxyMode::Iptables) => "kube-proxy ipt",
        }
    }
}

// === impl Switch ===

impl<'a> Switch<'a> {
    pub(super) fn new(
        machine: &'a Machine,
        node: &'a Node,
        api: &'a ApiClient,
        programs: &ProgramSource,
    ) -> Result<Self> {
        let mut programs_found = Programs::find(&[KUBE_PROXY], programs, &mut |_| {})?;
        if let Some(hidden) = &programs.release_directory {
            programs_found.make_visible(hidden, &machine.dir().shared().join("programs"))?;
        }
        let kube_proxy = programs_found.path(KUBE_PROXY)?.to_owned();
        Ok(Self { machine, node, api, kube_proxy })
    }

    /// Lets a peer serve the Services from nothing; returns when its process started.
    pub(super) fn on(&self, peer: Peer) -> Result<u64> {
        match peer {
            Peer::Seaway(backend) => {
                self.pause(peer)?;
                self.configure(&json!({ "enabled": true }), backend)?;
                self.resume(peer)
            }
            Peer::KubeProxy(mode) => {
                let spec = self.machine.spec();
                let text =
                    kube_proxy::configuration(self.node.name(), mode, &spec.pod_ranges(), &kubeconfig_of(KUBE_PROXY));
                write_private(&self.node.path(configuration_file()), &text)?;
                self.resume(peer)
            }
        }
    }

    /// Ends a peer's process; what it told the kernel stays.
    pub(super) fn pause(&self, peer: Peer) -> Result<()> {
        match peer {
            Peer::Seaway(_) => {
                self.select_nodes(&json!("true"))?;
                self.poll(peer, |processes| processes.is_empty().then_some(()))
            }
            Peer::KubeProxy(_) => self.node.stop(KUBE_PROXY),
        }
    }

    /// Starts a peer's process again; returns when it started.
    pub(super) fn resume(&self, peer: Peer) -> Result<u64> {
        match peer {
            Peer::Seaway(_) => self.select_nodes(&Value::Null)?,
            Peer::KubeProxy(_) => {
                self.node.start(ProgramSpec {
                    name: KUBE_PROXY.to_owned(),
                    argv: kube_proxy::argv(&self.kube_proxy, &configuration_file()),
                    ..ProgramSpec::default()
                })?;
            }
        }
        let process = self.poll(peer, |processes| processes.first().copied())?;
        started_nanos(process)
    }

    /// Takes a peer's Services out of the kernel.
    pub(super) fn off(&self, peer: Peer) -> Result<()> {
        self.pause(peer)?;
        match peer {
            Peer::Seaway(_) => {
                self.configure(&json!({ "enabled": false }), BackendChoice::Auto)?;
                self.resume(peer).map(drop)
            }
            Peer::KubeProxy(_) => {
                // Its own way removes chain by chain, which takes minutes where there are many.
                self.node.exec(&["sh", "-c", REMOVE_TABLES])?;
                let program = self.kube_proxy.display().to_string();
                let configuration = format!("--config={}", configuration_file().display());
                let argv = ["timeout", CLEANUP_SECONDS, &program, "--cleanup", &configuration];
                let output = self.node.exec(&argv)?;
                if output.status.success() {
                    return Ok(());
                }
                let reason = String::from_utf8_lossy(&output.stderr).into_owned();
                Err(BenchError::Program { program: "kube-proxy --cleanup".into(), reason }.into())
            }
        }
    }

    /// What a peer counted of its programming so far.
    pub(super) fn programming(&self, peer: Peer) -> Result<Programming> {
        let port = match peer {
            Peer::Seaway(_) => AGENT_METRICS_PORT,
            Peer::KubeProxy(_) => kube_proxy::METRICS_PORT,
        };
        Programming::read(self.node, port)
    }

    /// Resident memory of a peer's process in MiB: now, and at most so far.
    pub(super) fn memory(&self, peer: Peer) -> Result<(f64, f64)> {
        let process = self.poll(peer, |processes| processes.first().copied())?;
        let path = PathBuf::from(format!("/proc/{}/status", process.pid));
        let text = std::fs::read_to_string(&path).on_file("read", &path)?;
        Ok((mebibytes(&text, "VmRSS:"), mebibytes(&text, "VmHWM:")))
    }

    fn configure(&self, services: &Value, backend: BackendChoice) -> Result<()> {
        let object = self.api.get(CONFIG_MAP)?;
        let text = object.pointer("/data/config.yaml").and_then(Value::as_str).unwrap_or_default();
        let unusable = |reason: String| BenchError::Program { program: "seaway-config".into(), reason };
        let mut configuration: Value = serde_saphyr::from_str(text).map_err(|error| unusable(error.to_string()))?;
        if let Some(fields) = configuration.as_object_mut() {
            fields.insert("services".to_owned(), services.clone());
            fields.insert("backend".to_owned(), json!(backend));
        }
        let text = serde_saphyr::to_string(&configuration).map_err(|error| unusable(error.to_string()))?;
        Ok(self.api.merge(CONFIG_MAP, &json!({ "data": { "config.yaml": text } }))?)
    }

    fn select_nodes(&self, value: &Value) -> Result<()> {
        let selector = json!({ PAUSE_LABEL: value });
        let patch = json!({ "spec": { "template": { "spec": { "nodeSelector": selector } } } });
        Ok(self.api.merge(DAEMON_SET, &patch)?)
    }

    fn poll<T>(&self, peer: Peer, done: impl Fn(&[ProcessId]) -> Option<T>) -> Result<T> {
        let (program, words) = match peer {
            // `seaway agent install-cni` runs before the agent.
            Peer::Seaway(_) => ("agent", 2),
            Peer::KubeProxy(_) => (KUBE_PROXY, 2),
        };
        let give_up = Instant::now() + SWITCH_PATIENCE;
        loop {
            let mut processes = self.machine.running(self.node.name(), program)?;
            processes.retain(|process| process.arguments().len() == words);
            if let Some(value) = done(&processes) {
                return Ok(value);
            }
            if Instant::now() > give_up {
                let reason = format!("after {} s it has {} processes", SWITCH_PATIENCE.as_secs(), processes.len());
                return Err(BenchError::Program { program: peer.name().to_owned(), reason }.into());
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

fn configuration_file() -> PathBuf {
    Path::new(CONFIGURATION_DIRECTORY).join("kube-proxy.json")
}

/// When a process started, on the Unix clock; exact to clock ticks.
fn started_nanos(process: ProcessId) -> Result<u64> {
    const TICK_NANOS: u64 = 10_000_000;
    let path = Path::new("/proc/uptime");
    let text = std::fs::read_to_string(path).on_file("read", path)?;
    let now = unix_nanos();
    let uptime: f64 = text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or_default();
    let age = Duration::from_secs_f64(uptime).as_nanos().saturating_sub(u128::from(process.start_ticks * TICK_NANOS));
    Ok(now.saturating_sub(u64::try_from(age).unwrap_or(u64::MAX)))
}

fn mebibytes(status: &str, field: &str) -> f64 {
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    let kibibytes: f64 = line.trim().trim_end_matches(" kB").parse().unwrap_or_default();
    kibibytes / 1_024.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_the_status_of_a_process() {
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!((mebibytes(status, "VmRSS:"), mebibytes(status, "VmHWM:")), (1.0, 2.0));
    }

    #[test]
    fn this_process_started_in_the_past() {
        let own = ProcessId::of(std::process::id().cast_signed()).unwrap();
        let age = Duration::from_nanos(unix_nanos() - started_nanos(own).unwrap());
        assert!(age < Duration::from_secs(600), "{age:?}");
    }

    #[test]
    fn peers_have_the_names_of_the_command_line() {
        assert_eq!("seaway".parse::<Peer>().unwrap().name(), "seaway");
        assert_eq!("kube-proxy:iptables".parse::<Peer>().unwrap().name(), "kube-proxy ipt");
        assert!("ipvs".parse::<Peer>().is_err());
    }
}
