//! Installing what connects the pods.

use std::collections::BTreeMap;
use std::path::Path;

use ipnet::IpNet;
use serde_json::Value;

use super::{STEP_TIMEOUT, Up, died};
use crate::cluster::ClusterError;
use crate::cluster::api::{ApiClient, NODE, Scope};
use crate::cluster::files::{self, write_private};
use crate::error::Result;
use crate::machine::{Node, ProgramSpec, WIRE};
use crate::patience::patience;
use crate::peers::{self, PeerNode, bridge, flannel};
use crate::spec::NetworkChoice;

mod seaway;

/// Where a node's network configurations are.
const CONFLIST_DIRECTORY: &str = "/etc/cni/net.d";

/// The underlay's interface on every node.
const UNDERLAY_INTERFACE: &str = "eth0";

/// How often a file that a program writes is looked for.
const FILE_INTERVAL: std::time::Duration = std::time::Duration::from_millis(10);

impl Up<'_> {
    /// Installs the network that was chosen.
    pub(super) fn install_network(&self, api: &ApiClient) -> Result<()> {
        match self.spec.network {
            NetworkChoice::Seaway => self.install_seaway(api),
            NetworkChoice::Bridge => self.install_bridge(api),
            NetworkChoice::Flannel => self.install_flannel(api),
            NetworkChoice::None => Ok(()),
        }
    }

    fn install_bridge(&self, api: &ApiClient) -> Result<()> {
        let peers = self.nodes_with_ranges(api)?;
        let router = batch(&bridge::router_routes(&peers));
        feed(&self.machine.inside(WIRE)?, &["ip", "-batch", "-"], &router)?;
        let rules = bridge::masquerade_rules(&self.settings.pod_cidrs);
        self.on_all_nodes(|node| {
            let Some(peer) = peers.iter().find(|peer| peer.name == node.name()) else { return Ok(()) };
            let folder = Path::new(files::CONFIGURATION_DIRECTORY);
            let (rules_file, routes_file) = (folder.join("bridge.nft"), folder.join("bridge.routes"));
            write_private(&node.path(&rules_file), &rules)?;
            write_private(&node.path(&routes_file), &batch(&bridge::routes(peer, &peers)))?;
            node.start(static_routes(&rules_file, &routes_file))?;
            link_reference_plugins(node)?;
            write_conflist(node, &bridge::conflist(peer, self.spec.link_mtu_bytes))
        })
    }

    fn install_flannel(&self, api: &ApiClient) -> Result<()> {
        api.apply("flannel", flannel::MANIFEST)?;
        // The daemon gives up on a node without a range.
        self.nodes_with_ranges(api)?;
        let network = flannel::network_file(&self.settings.pod_cidrs);
        let program = self.programs.path("flannel")?;
        self.on_all_nodes(|node| {
            write_private(&node.path(flannel::NETWORK_FILE), &network)?;
            let argv = flannel::argv(program, &files::kubeconfig_of("kubelet"), UNDERLAY_INTERFACE);
            node.start(ProgramSpec {
                name: "flannel".to_owned(),
                argv,
                env: flannel::environment(node.name()),
                restart: true,
                ..ProgramSpec::default()
            })?;
            link_reference_plugins(node)?;
            let text = self.wait_for_file(node, Path::new(flannel::SUBNET_FILE))?;
            let conflist = flannel::conflist(&text).map_err(|error| ClusterError::Manifest {
                name: flannel::SUBNET_FILE.into(),
                reason: error.to_string(),
            })?;
            write_conflist(node, &conflist)
        })
    }

    /// Waits until Kubernetes has given every node its pod ranges.
    fn nodes_with_ranges(&self, api: &ApiClient) -> Result<Vec<PeerNode>> {
        let count = self.machine.nodes().len();
        let mut failed = || died(self.machine.nodes());
        let ranges: BTreeMap<String, Vec<IpNet>> = api.watch_until(
            "pod ranges of the nodes are",
            NODE,
            Scope::default(),
            patience(STEP_TIMEOUT),
            &mut failed,
            |nodes| {
                let ranges = nodes.iter().map(|(name, node)| (name.clone(), pod_ranges(node)));
                let ranges: BTreeMap<_, _> = ranges.filter(|(_, ranges)| !ranges.is_empty()).collect();
                if ranges.len() == count {
                    Ok(ranges)
                } else {
                    Err(format!("{} of {count} nodes have one", ranges.len()))
                }
            },
        )?;
        let peer = |node: &Node| PeerNode {
            name: node.name().to_owned(),
            addresses: node.layout().addresses.clone(),
            gateways: node.layout().gateways.iter().map(IpNet::addr).collect(),
            pod_cidrs: ranges.get(node.name()).cloned().unwrap_or_default(),
        };
        Ok(self.machine.nodes().iter().map(peer).collect())
    }

    /// Does `work` for all nodes at the same time.
    pub(super) fn on_all_nodes(&self, work: impl Fn(&Node) -> Result<()> + Sync) -> Result<()> {
        std::thread::scope(|scope| {
            let work = &work;
            let nodes: Vec<_> = self.machine.nodes().iter().map(|node| scope.spawn(move || work(node))).collect();
            nodes.into_iter().try_for_each(|node| node.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })
    }

    fn wait_for_file(&self, node: &Node, inside: &Path) -> Result<String> {
        let path = node.path(inside);
        let give_up = std::time::Instant::now() + patience(STEP_TIMEOUT);
        loop {
            match std::fs::read_to_string(&path) {
                Ok(text) if text.ends_with('\n') => return Ok(text),
                _ => died(std::slice::from_ref(node))?,
            }
            if std::time::Instant::now() > give_up {
                let what = format!("{} on node {} is", inside.display(), node.name());
                let state = "not written".to_owned();
                return Err(ClusterError::NotReady { what, seconds: patience(STEP_TIMEOUT).as_secs(), state }.into());
            }
            std::thread::sleep(FILE_INTERVAL);
        }
    }
}

/// Puts rules and routes in place, again after a power cycle too.
fn static_routes(rules: &Path, routes: &Path) -> ProgramSpec {
    let script = format!("nft -f {} && ip -batch {} && exec sleep infinity", rules.display(), routes.display());
    ProgramSpec {
        name: "static-routes".to_owned(),
        argv: ["sh", "-c", &script].map(str::to_owned).into(),
        restart: true,
        ..ProgramSpec::default()
    }
}

fn pod_ranges(node: &Value) -> Vec<IpNet> {
    let ranges = node.pointer("/spec/podCIDRs").and_then(Value::as_array);
    ranges.into_iter().flatten().filter_map(|range| range.as_str()?.parse().ok()).collect()
}

/// Lines for `ip -batch`, which sees the family by the address.
fn batch(routes: &[bridge::Route]) -> String {
    routes.iter().map(|route| format!("route replace {} via {}\n", route.destination, route.via)).collect()
}

/// Puts the reference plugins where the container runtime looks, as Kubernetes' own packages do.
fn link_reference_plugins(node: &Node) -> Result<()> {
    for plugin in peers::REFERENCE_PLUGINS {
        let program = Path::new(peers::REFERENCE_PLUGIN_DIRECTORY).join(plugin);
        if !program.is_file() {
            return Err(crate::error::LabError::ProgramMissing {
                program: program.display().to_string(),
                package: "containernetworking-plugins".to_owned(),
            });
        }
        let link = node.path("/opt/cni/bin").join(plugin);
        // No symbolic link: the agent's container sees this folder, but not Debian's.
        let made = std::fs::hard_link(&program, &link).or_else(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => Ok(()),
            _ => std::fs::copy(&program, &link).map(drop),
        });
        made.map_err(|source| ClusterError::Storage { path: link, source })?;
    }
    Ok(())
}

/// Written last and in one step: the runtime reads it as soon as it is there.
fn write_conflist(node: &Node, text: &str) -> Result<()> {
    let folder = node.path(CONFLIST_DIRECTORY);
    let draft = folder.join(".conflist");
    write_private(&draft, text)?;
    let path = folder.join(peers::CONFLIST_FILE);
    std::fs::rename(&draft, &path).map_err(|source| ClusterError::Storage { path, source })?;
    Ok(())
}

/// Runs a command in a node with `text` as its input.
fn feed(node: &Node, argv: &[&str], text: &str) -> Result<()> {
    use std::io::Write;
    use std::process::Stdio;
    let name = argv.first().copied().unwrap_or_default();
    let failed = |stderr: String| crate::error::LabError::Tool {
        program: name.to_owned(),
        object: format!("node {}", node.name()),
        stderr,
    };
    let mut command = node.command(argv)?;
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(text.as_bytes()).map_err(|error| failed(error.to_string()))?;
    }
    let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}
