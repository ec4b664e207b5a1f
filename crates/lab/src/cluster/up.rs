//! `lab up`: everything at once, in the order only that dependencies force.
//!
//! ```text
//! machine ──┬─ images ─ containerd per node ─┬─ kubelets ─────────────────┐
//! programs ─┤                                ├─ controllers               ├─ nodes Ready ─ DNS answers
//! keys ─────┴─ etcd ─ API server ready ──────┴─ network, kube-proxy, DNS ─┘
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use time::OffsetDateTime;

use super::api::ApiClient;
use super::config::{ClusterSettings, NodeSettings, Taint};
use super::error::ClusterError;
use super::files::{KEY_DIRECTORY, NodeFiles};
use super::pki::{self, KeyFiles};
use super::programs::{ALWAYS, ProgramSource, Programs};
use super::progress::Progress;
use super::{files, forwarder};
use crate::error::{LabError, Result};
use crate::machine::{LabDir, Machine, Node};
use crate::patience::patience;
use crate::spec::{DnsChoice, LabSpec, NetworkChoice, ServicesChoice};

mod dns;
mod images;
mod install;
mod network;
mod programs;
mod ready;
mod seaway_dns;

pub use ready::died;

/// Name of the taint that keeps pods away until the agent serves the node.
pub const AGENT_TAINT: &str = "seaway.dev/agent-not-ready";

/// How long a step of `up` may take; 25 nodes on 2 cores need about one.
const STEP_TIMEOUT: Duration = Duration::from_secs(180);

/// First port tried on the host for the API server.
const FIRST_API_PORT: u16 = 16443;

/// The cluster domain; the one every tutorial assumes.
const CLUSTER_DOMAIN: &str = "cluster.local";

/// How `up` is done.
#[derive(Debug, Clone)]
pub struct UpOptions {
    /// What is wanted.
    pub spec: LabSpec,
    /// Folder with release binaries.
    pub release_directory: Option<PathBuf>,
    /// Leave everything as it is when a step fails.
    pub keep_on_failure: bool,
}

/// Brings a lab up and waits until its pods can run.
///
/// # Errors
/// Any step's; what was made is removed again unless `keep_on_failure`.
pub fn up(options: &UpOptions, progress: &Progress) -> Result<Lab> {
    let options = &UpOptions { spec: options.spec.settled(), ..options.clone() };
    let dir = LabDir::new(&options.spec.name);
    let (machine, programs) = std::thread::scope(|scope| {
        let programs = scope.spawn(|| find_programs(options, progress));
        let machine = progress.step("nodes and wire made", || Machine::create(&options.spec, &dir));
        let programs = programs.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // A machine that could be made is removed below when programs are missing.
        machine.map(|machine| (machine, programs))
    })?;
    let result = programs.map_err(LabError::from).and_then(|mut programs| {
        super::limits::raise()?;
        if let Some(hidden) = &options.release_directory {
            programs.make_visible(hidden, &dir.shared().join("programs"))?;
        }
        let ready_after = Up::new(options, progress, &machine, programs)?.run()?;
        machine.set_complete()?;
        Ok(ready_after)
    });
    match result {
        Ok(ready_after) => Ok(Lab { machine, ready_after }),
        Err(error) => {
            if !options.keep_on_failure {
                progress.line("failed: removing what was made");
                // Its lock is in the way of the removal.
                drop(machine);
                if let Err(error) = super::down(&dir) {
                    progress.line(&error.to_string());
                }
            }
            Err(error)
        }
    }
}

/// A lab that is up.
#[derive(Debug)]
pub struct Lab {
    /// Its nodes.
    pub machine: Machine,
    /// When each node became Ready, after the start of the command.
    pub ready_after: BTreeMap<String, Duration>,
}

fn find_programs(options: &UpOptions, progress: &Progress) -> Result<Programs, ClusterError> {
    let spec = &options.spec;
    let mut names = ALWAYS.to_vec();
    if matches!(spec.services, ServicesChoice::KubeProxy(_)) {
        names.push("kube-proxy");
    }
    if spec.network == NetworkChoice::Flannel {
        names.push("flannel");
    }
    if spec.dns == DnsChoice::Coredns {
        names.push("coredns");
    }
    let source = program_source(options.release_directory.clone());
    progress.step("programs found", || Programs::find(&names, &source, &mut |line| progress.passing(line)))
}

/// Where programs are looked for, given `--kubernetes-bin`.
#[must_use]
pub fn program_source(release_directory: Option<PathBuf>) -> ProgramSource {
    ProgramSource { release_directory, cache_directory: crate::machine::cache_dir().join("programs") }
}

/// One run of `up`, with all that its steps share.
struct Up<'a> {
    spec: &'a LabSpec,
    progress: &'a Progress,
    machine: &'a Machine,
    programs: Programs,
    settings: ClusterSettings,
    keys: KeyFiles,
    runtime: PathBuf,
    sandbox_image: String,
}

// === impl Up ===

impl<'a> Up<'a> {
    fn new(options: &'a UpOptions, progress: &'a Progress, machine: &'a Machine, programs: Programs) -> Result<Self> {
        let spec = &options.spec;
        let control_plane = control_plane(machine)?;
        let settings = ClusterSettings {
            pod_cidrs: spec.pod_ranges(),
            service_cidrs: spec.service_ranges(),
            cluster_domain: CLUSTER_DOMAIN.to_owned(),
            dns_addresses: spec.dns_addresses(),
            control_plane_addresses: control_plane.addresses(),
            keys: PathBuf::from(KEY_DIRECTORY),
            allocate_node_cidrs: true,
        };
        let mut api_server_addresses = settings.kubernetes_service_addresses();
        api_server_addresses.extend(control_plane.addresses());
        let subjects = pki::Subjects {
            api_server_addresses,
            cluster_domain: settings.cluster_domain.clone(),
            nodes: machine.nodes().iter().map(|node| (node.name().to_owned(), node.addresses())).collect(),
        };
        let keys = pki::issue(&subjects, OffsetDateTime::now_utc())?;
        Ok(Self {
            spec,
            progress,
            machine,
            programs,
            settings,
            keys,
            runtime: find_runtime()?,
            sandbox_image: images::sandbox()?.to_string(),
        })
    }

    fn run(&self) -> Result<BTreeMap<String, Duration>> {
        let control_plane = control_plane(self.machine)?;
        let api = std::thread::scope(|scope| {
            let nodes = scope.spawn(|| self.prepare_nodes());
            let api = self.start_api(control_plane);
            // A node that did not start is told of first.
            nodes.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).and(api)
        })?;
        self.progress.step("controllers and kubelets started", || {
            self.start_controllers(control_plane)?;
            self.on_all_nodes(|node| self.start_kubelet(node))
        })?;
        self.install(&api)?;
        let step = if self.spec.network == NetworkChoice::None { "all nodes registered" } else { "all nodes Ready" };
        let ready_after = self.progress.step(step, || self.wait_for_nodes(&api))?;
        self.wait_for_dns()?;
        Ok(ready_after)
    }

    fn start_api(&self, control_plane: &Node) -> Result<ApiClient> {
        self.node_files().write_control_plane(control_plane)?;
        self.progress.step("API server started", || self.start_api_server(control_plane))?;
        let api = self.open_host_access(control_plane)?;
        self.progress.step("API server ready", || {
            api.wait_until_ready(patience(STEP_TIMEOUT), &mut || died(std::slice::from_ref(control_plane)))
        })?;
        Ok(api)
    }

    fn node_files(&self) -> NodeFiles<'_> {
        NodeFiles {
            settings: &self.settings,
            keys: &self.keys,
            sandbox_image: &self.sandbox_image,
            runtime: &self.runtime,
        }
    }

    fn node_settings(&self, node: &Node) -> NodeSettings {
        let mut labels = self.spec.node_labels.get(node.name()).cloned().unwrap_or_default();
        labels.entry("topology.kubernetes.io/zone".to_owned()).or_insert_with(|| node.rack().to_owned());
        let taints = match self.spec.network {
            NetworkChoice::Seaway => vec![Taint { key: AGENT_TAINT.to_owned(), effect: "NoSchedule".to_owned() }],
            _ => Vec::new(),
        };
        NodeSettings {
            name: node.name().to_owned(),
            addresses: node.addresses(),
            labels,
            taints,
            // The node's cgroup namespace makes its own group the root.
            cgroup_root: "/".to_owned(),
            max_pods: 250,
        }
    }

    /// Starts the forwarder and writes the host's kubeconfig.
    fn open_host_access(&self, control_plane: &Node) -> Result<ApiClient> {
        let dir = self.machine.dir();
        forwarder::start(dir)?;
        let address = self
            .settings
            .control_plane_addresses
            .first()
            .copied()
            .ok_or(ClusterError::TestSetup { reason: "the control plane's node has no address".into() })?;
        let forward = forwarder::request(
            dir,
            &forwarder::ForwardRequest {
                port: FIRST_API_PORT,
                or_next: true,
                node: control_plane.name().to_owned(),
                target: (address, super::config::API_SERVER_PORT).into(),
            },
        )?;
        let server = format!("https://127.0.0.1:{}", forward.port);
        let context = format!("seaway-lab-{}", dir.name());
        let kubeconfig = super::config::kubeconfig::kubeconfig(&self.keys, &context, &server, "admin")?;
        let text = serde_saphyr::to_string(&kubeconfig)
            .map_err(|error| ClusterError::Kubeconfig { reason: error.to_string() })?;
        files::write_private(&files::host_kubeconfig(dir), &text)?;
        let link = files::kubectl(dir);
        std::os::unix::fs::symlink(self.programs.path("kubectl")?, &link)
            .map_err(|source| ClusterError::Storage { path: link, source })?;
        Ok(ApiClient::new(&text)?)
    }
}

/// The node that runs the control plane: the first.
pub(crate) fn control_plane(machine: &Machine) -> Result<&Node> {
    machine.node("n1")
}

/// runc first: crun before 1.14 refuses the version of the configuration that
/// containerd 2 writes.
fn find_runtime() -> Result<PathBuf, ClusterError> {
    ["/usr/sbin/runc", "/usr/bin/runc", "/usr/local/sbin/runc", "/usr/local/bin/runc", "/usr/bin/crun"]
        .iter()
        .map(PathBuf::from)
        .find(|path| path.is_file())
        .ok_or(ClusterError::NoRuntime)
}
