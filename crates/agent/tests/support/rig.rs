//! An agent without Kubernetes: the real data path, a snapshot made by hand, and
//! a stand-in that grants every block.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus_client::registry::Registry;
use seaway_agent::KernelHost;
use seaway_agent::core::{Core, Handle, Parts, Wishes};
use seaway_agent::decide::{Input, Settings};
use seaway_agent::owner::Host;
use seaway_agent::work::ApiWork;
use seaway_datapath::BackendChoice;
use seaway_datapath::kernel::{Options, open};
use seaway_model::agent_api::{Answer, Failure, Request};
use seaway_model::{InterfaceName, IpBlock, IpPool, Node, NodeName, Snapshot};
use seaway_routing::plan::{NetworkOptions, Underlay};
use seaway_runtime::config::{ChainedPlugin, Cni, Paths};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const NODE: &str = "n1";
const REFERENCE_PLUGINS: &str = "/usr/lib/cni";

/// A node with an agent, and `cnitool` to call it as a runtime does.
pub(crate) struct Rig {
    runtime: Runtime,
    core: Option<Core>,
    paths: Paths,
    backend: BackendChoice,
    chain: Vec<Value>,
    snapshot: Arc<Mutex<Snapshot>>,
    cnitool: PathBuf,
}

/// The host, telling when the CNI configuration was written.
struct ToldHost {
    inner: KernelHost,
    written: watch::Sender<bool>,
}

impl Host for ToldHost {
    fn underlay(&mut self, addresses: &[std::net::IpAddr]) -> Result<Underlay, Failure> {
        self.inner.underlay(addresses)
    }

    fn path_mtus(&mut self) -> Result<BTreeMap<IpAddr, u32>, Failure> {
        self.inner.path_mtus()
    }

    fn link_exists(&mut self, name: &InterfaceName) -> bool {
        self.inner.link_exists(name)
    }

    fn write_configuration(&mut self) -> Result<Vec<Failure>, Failure> {
        let outcome = self.inner.write_configuration();
        self.written.send_replace(true);
        outcome
    }
}

impl Rig {
    /// Prepares a node whose CNI configuration has these plugins after ours; call
    /// [`Rig::start`] next.
    pub(crate) fn new(backend: BackendChoice, chain: Vec<Value>) -> Rig {
        let paths = Paths {
            proc_sys: "/proc/sys".into(),
            run: "/run/seaway".into(),
            bpf: "/run/bpf/seaway".into(),
            cgroup: "/sys/fs/cgroup".into(),
            cni_configuration: "/run/net.d".into(),
            cni_programs: "/run/cni-bin".into(),
        };
        std::fs::create_dir_all(&paths.cni_programs).unwrap();
        for plugin in ["portmap", "bandwidth", "tuning"] {
            let program = Path::new(REFERENCE_PLUGINS).join(plugin);
            assert!(program.is_file(), "{} is missing: apt-get install containernetworking-plugins", program.display());
            std::os::unix::fs::symlink(program, paths.cni_programs.join(plugin)).unwrap();
        }
        std::os::unix::fs::symlink(seaway_cni(), paths.cni_programs.join("seaway-cni")).unwrap();
        Rig {
            runtime: tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap(),
            core: None,
            paths,
            backend,
            chain,
            snapshot: Arc::new(Mutex::new(snapshot())),
            cnitool: cnitool(),
        }
    }

    /// Starts the agent and waits until the node is ready for pods.
    pub(crate) fn start(&mut self) {
        let (written, mut ready) = watch::channel(false);
        let options =
            Options { pin_dir: self.paths.bpf.clone(), proc_sys: self.paths.proc_sys.clone(), ..Options::default() };
        let (datapath, chosen) = open(self.backend, options).unwrap();
        let parts = Parts {
            settings: settings(chosen.backend.name()),
            datapath,
            host: Box::new(ToldHost { inner: KernelHost { paths: self.paths.clone(), cni: self.cni() }, written }),
            run_directory: self.paths.run.clone(),
            audit_interval: None,
            services: None,
            registry: Registry::default(),
        };
        let (core, wishes) = self.runtime.block_on(Core::start(parts, CancellationToken::new())).unwrap();
        let (handle, snapshot) = (core.handle(), Arc::clone(&self.snapshot));
        self.runtime.spawn(grant_everything(wishes, handle.clone(), Arc::clone(&snapshot)));
        self.runtime.block_on(async move {
            let current = Arc::new(snapshot.lock().unwrap().clone());
            handle.snapshot(current).await;
            ready.wait_for(|written| *written).await.unwrap();
        });
        self.core = Some(core);
    }

    /// Ends the agent as SIGTERM does: the kernel goes on.
    pub(crate) fn stop(&mut self) {
        let core = self.core.take().unwrap();
        self.runtime.block_on(core.stop());
    }

    pub(crate) fn ask(&self, request: Request) -> Answer {
        let handle = self.core.as_ref().unwrap().handle();
        self.runtime.block_on(handle.ask(request))
    }

    fn cni(&self) -> Cni {
        let plugin = |value: &Value| serde_json::from_value::<ChainedPlugin>(value.clone()).unwrap();
        Cni { network: "seaway".into(), chained_plugins: self.chain.iter().map(plugin).collect() }
    }

    /// Calls `cnitool VERB seaway NAMESPACE`.
    pub(crate) fn cnitool(&self, verb: &str, container: &str, namespace: &str, capabilities: &str) -> Output {
        let path = self.paths.cni_programs.display();
        let mut command = Command::new(&self.cnitool);
        command
            .args([verb, "seaway", namespace])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("NETCONFPATH", &self.paths.cni_configuration)
            .env("CNI_PATH", path.to_string())
            .env("CNI_ARGS", format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME={container}"));
        if !capabilities.is_empty() {
            command.env("CAP_ARGS", capabilities);
        }
        command.output().unwrap()
    }

    /// Calls our plugin itself.
    pub(crate) fn plugin(&self, verb: &str, container_id: &str, namespace: &str, input: &Value) -> Output {
        let mut command = Command::new(self.paths.cni_programs.join("seaway-cni"));
        command
            .env_clear()
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", container_id)
            .env("CNI_IFNAME", "eth0")
            .env("CNI_NETNS", namespace)
            .env("CNI_PATH", &self.paths.cni_programs);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Removes everything of ours from the kernel, as `seaway agent uninstall` does.
    pub(crate) fn uninstall(&self) {
        let options = Options { pin_dir: self.paths.bpf.clone(), ..Options::default() };
        let (mut datapath, _) = open(self.backend, options).unwrap();
        datapath.adopt().unwrap();
        datapath.uninstall().unwrap();
    }
}

async fn grant_everything(mut wishes: Wishes, owner: Handle, snapshot: Arc<Mutex<Snapshot>>) {
    while let Some(wish) = wishes.work.recv().await {
        let ApiWork::Claim { claim, candidates } = wish else { continue };
        let block = IpBlock { cidr: candidates[0], pool: claim.pool.clone(), node: NodeName::from(NODE) };
        let current = {
            let mut snapshot = snapshot.lock().unwrap();
            snapshot.blocks.insert(block.cidr, block.clone());
            snapshot.generation += 1;
            Arc::new(snapshot.clone())
        };
        owner.outcome(Input::Claimed { claim, outcome: Ok(Some(block)), taken: Vec::new() }).await;
        owner.snapshot(current).await;
    }
}

fn snapshot() -> Snapshot {
    let mut snapshot = Snapshot { generation: 1, ..Snapshot::default() };
    let addresses = vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
    snapshot.nodes.insert(NodeName::from(NODE), Node { addresses, ..Node::default() });
    for (name, cidr, block_prefix_length) in [("v4", "10.244.0.0/16", 26), ("v6", "fd00:10:244::/112", 122)] {
        let pool = IpPool::new(name, cidr.parse().unwrap(), block_prefix_length);
        snapshot.pools.insert(name.into(), pool);
    }
    snapshot
}

fn settings(backend: &str) -> Settings {
    Settings {
        node: NodeName::from(NODE),
        options: NetworkOptions {
            vxlan_port: 4789,
            vxlan_id: 83,
            non_masquerade: Vec::new(),
            mtu_bytes: None,
            service_cidrs: Vec::new(),
        },
        node_pod_cidrs: None,
        cooldown: Duration::from_secs(30),
        version: "0.0.0".into(),
        backend: backend.into(),
        backend_reason: "a test".into(),
    }
}

/// The plugin, which lies beside the test programs' folder.
fn seaway_cni() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.parent().and_then(Path::parent).unwrap().join("seaway-cni");
    assert!(program.is_file(), "{} is missing: cargo build -p seaway-cni", program.display());
    program
}

/// The CNI project's own tool: from `SEAWAY_CNITOOL`, or from the programs that labs have built.
fn cnitool() -> PathBuf {
    if let Some(path) = std::env::var_os("SEAWAY_CNITOOL") {
        return path.into();
    }
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home).unwrap();
    let programs = std::fs::read_dir(cache.join("seaway/programs")).into_iter().flatten().flatten();
    let built = programs.map(|folder| folder.path().join("cnitool")).find(|path| path.is_file());
    built.expect("cnitool is missing: build it with `go install tool` in kubernetes/cni, and name it in SEAWAY_CNITOOL")
}
