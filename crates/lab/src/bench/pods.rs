//! The pods a benchmark measures between, and running programs in their networks.
//!
//! The load runs as a process of the node inside the pod's network namespace:
//! its packets take the pod's way, and no image has to carry it.

use std::net::{IpAddr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::error::BenchError;
use super::load::{Measurement, Pattern};
use crate::cluster::ClusterError;
use crate::cluster::api::{ApiClient, POD, Scope, has_condition};
use crate::error::Result;
use crate::machine::Node;

/// Port of the load's server in every pod.
pub(super) const LOAD_PORT: u16 = 7001;
/// The same, of servers that share the client's processor.
const ONE_PROCESSOR_PORT: u16 = 7002;
/// That processor: every machine has it.
const PROCESSOR: &str = "0";
/// How long the pods of a benchmark may take to become Ready.
const PODS_TIMEOUT: Duration = Duration::from_secs(120);
/// Image of pods that only hold a network: what every lab node has.
const IMAGE: &str = "seaway/pause:1";

/// A pod, and the way into its network namespace.
#[derive(Debug)]
pub(super) struct Pod<'a> {
    node: &'a Node,
    address: IpAddr,
    namespace: String,
}

/// A running server; ends with this value.
#[derive(Debug)]
pub(super) struct Server(Child);

/// A load that runs until its input ends, or by itself.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    what: String,
}

/// Starts a pod on each of these nodes and waits until they have networks.
pub(super) fn start<'a>(api: &ApiClient, nodes: &[(&str, &'a Node)]) -> Result<Vec<Pod<'a>>> {
    for (name, node) in nodes {
        api.apply_object(&manifest(name, node.name()))?;
    }
    let addresses = api.watch_until(
        "the benchmark's pods are Ready",
        POD,
        Scope { namespace: Some("default"), labels: Some("app=seaway-bench") },
        PODS_TIMEOUT,
        &mut || Ok::<(), ClusterError>(()),
        |pods| {
            let address = |(name, _): &(&str, &Node)| {
                let pod = pods.get(&format!("default/{name}")).filter(|pod| has_condition(pod, "Ready"));
                pod.and_then(|pod| pod.pointer("/status/podIP")?.as_str()?.parse::<IpAddr>().ok())
            };
            nodes.iter().map(address).collect::<Option<Vec<_>>>().ok_or_else(|| format!("{} pods seen", pods.len()))
        },
    )?;
    nodes.iter().zip(addresses).map(|((_, node), address)| Pod::find(node, address)).collect()
}

/// Time until `count` pods of a new Deployment on `node` are Ready, in seconds.
pub(super) fn burst(api: &ApiClient, node: &Node, count: u32) -> Result<f64> {
    let begin = std::time::Instant::now();
    api.apply_object(&deployment(node.name(), count))?;
    let wanted = count as usize;
    api.watch_until(
        "the burst of pods is Ready",
        POD,
        Scope { namespace: Some("default"), labels: Some("app=seaway-burst") },
        PODS_TIMEOUT,
        &mut || Ok::<(), ClusterError>(()),
        |pods| {
            let ready = pods.values().filter(|pod| has_condition(pod, "Ready")).count();
            if ready >= wanted { Ok(()) } else { Err(format!("{ready} of {wanted} are Ready")) }
        },
    )?;
    let seconds = begin.elapsed().as_secs_f64();
    api.delete("/apis/apps/v1/namespaces/default/deployments/seaway-burst")?;
    api.watch_until(
        "the burst of pods is gone",
        POD,
        Scope { namespace: Some("default"), labels: Some("app=seaway-burst") },
        PODS_TIMEOUT,
        &mut || Ok::<(), ClusterError>(()),
        |pods| if pods.is_empty() { Ok(()) } else { Err(format!("{} are left", pods.len())) },
    )?;
    Ok(seconds)
}

fn manifest(name: &str, node: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": "default", "labels": { "app": "seaway-bench" } },
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 0,
            "containers": [{ "name": "pause", "image": IMAGE, "imagePullPolicy": "Never" }],
        },
    })
}

fn deployment(node: &str, replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "seaway-burst", "namespace": "default" },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "app": "seaway-burst" } },
            "template": {
                "metadata": { "labels": { "app": "seaway-burst" } },
                "spec": {
                    "nodeSelector": { "kubernetes.io/hostname": node },
                    "terminationGracePeriodSeconds": 0,
                    "containers": [{ "name": "pause", "image": IMAGE, "imagePullPolicy": "Never" }],
                },
            },
        },
    })
}

fn client_arguments(server: SocketAddr, pattern: Pattern, seconds: u64) -> Vec<String> {
    let (server, seconds) = (server.to_string(), seconds.to_string());
    ["client", "--server", &server, "--pattern", pattern.name(), "--seconds", &seconds].map(str::to_owned).into()
}

/// The arguments that run this program's load inside a node.
pub(super) fn load_program() -> Result<String, BenchError> {
    let program = std::env::current_exe();
    let program =
        program.map_err(|error| BenchError::Program { program: "seaway".into(), reason: error.to_string() })?;
    Ok(program.display().to_string())
}

/// Reads what a load printed.
pub(super) fn run_load<T: DeserializeOwned>(mut command: Command, what: &str) -> Result<T, BenchError> {
    let failed = |reason: String| BenchError::Program { program: what.to_owned(), reason };
    let output = command.output().map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| failed(error.to_string()))
}

/// Starts a load and waits until it says that it is ready.
fn spawn_load(mut command: Command, what: &str) -> Result<Child, BenchError> {
    let failed = |error: std::io::Error| BenchError::Program { program: what.to_owned(), reason: error.to_string() };
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(failed)?;
    let mut ready = [0u8; b"ready\n".len()];
    if let Some(stdout) = child.stdout.as_mut() {
        std::io::Read::read_exact(stdout, &mut ready).map_err(failed)?;
    }
    Ok(child)
}

// === impl Pod ===

impl<'a> Pod<'a> {
    /// Looks through the node's network namespaces for the pod's address.
    fn find(node: &'a Node, address: IpAddr) -> Result<Self> {
        let script = format!(
            "for n in /run/netns/*; do nsenter --net=$n ip -o address show | grep -qF ' {address}/' && echo $n; done; true"
        );
        let output = node.exec(&["sh", "-c", &script])?;
        let namespace = String::from_utf8_lossy(&output.stdout).lines().next().map(str::to_owned);
        let namespace = namespace
            .ok_or_else(|| BenchError::NoNamespace { node: node.name().to_owned(), address: address.to_string() })?;
        Ok(Self { node, address, namespace })
    }

    fn load(&self, arguments: &[String]) -> Result<Command> {
        self.load_through(&[], arguments)
    }

    /// The load on the processor that both ends share.
    fn load_on_one_processor(&self, arguments: &[String]) -> Result<Command> {
        self.load_through(&["taskset", "--cpu-list", PROCESSOR], arguments)
    }

    fn load_through(&self, wrapper: &[&str], arguments: &[String]) -> Result<Command> {
        let mut argv = vec!["nsenter".to_owned(), format!("--net={}", self.namespace)];
        argv.extend(wrapper.iter().map(|word| (*word).to_owned()));
        argv.extend([load_program()?, "lab".to_owned(), "load".to_owned()]);
        argv.extend_from_slice(arguments);
        self.node.command(&argv)
    }

    /// Starts the load's server in the pod's network.
    pub(super) fn serve(&self) -> Result<Server> {
        self.serve_as("server")
    }

    /// Starts the server that tells clients which backend it is.
    pub(super) fn serve_whoami(&self) -> Result<Server> {
        self.serve_as("whoami")
    }

    fn serve_as(&self, role: &str) -> Result<Server> {
        let command = self.load(&[role.into(), "--port".into(), LOAD_PORT.to_string()])?;
        Ok(Server(spawn_load(command, &format!("seaway lab load {role}"))?))
    }

    /// Starts the load's server in the pod's network, on the processor that both ends share.
    pub(super) fn serve_on_one_processor(&self) -> Result<Server> {
        let command =
            self.load_on_one_processor(&["server".into(), "--port".into(), ONE_PROCESSOR_PORT.to_string()])?;
        Ok(Server(spawn_load(command, "seaway lab load server")?))
    }

    /// Its address.
    pub(super) fn address(&self) -> IpAddr {
        self.address
    }

    /// Where its server listens.
    pub(super) fn server(&self) -> SocketAddr {
        SocketAddr::new(self.address, LOAD_PORT)
    }

    /// Runs a load in the pod's network and reads what it printed.
    pub(super) fn run<T: DeserializeOwned>(&self, arguments: &[String]) -> Result<T> {
        let what = format!("load {} in {}", arguments.join(" "), self.node.name());
        Ok(run_load(self.load(arguments)?, &what)?)
    }

    /// Starts a load in the pod's network.
    pub(super) fn begin(&self, arguments: &[String]) -> Result<Running> {
        let what = format!("load {} in {}", arguments.join(" "), self.node.name());
        let child = spawn_load(self.load(arguments)?, &what)?;
        Ok(Running { child, what })
    }

    /// Measures from this pod to `server`.
    pub(super) fn measure(&self, server: &Pod<'_>, pattern: Pattern, seconds: u64) -> Result<Measurement> {
        let address = server.server();
        let command = self.load(&client_arguments(address, pattern, seconds))?;
        Ok(run_load(command, &format!("{} to {address} in {}", pattern.name(), self.node.name()))?)
    }

    /// Measures from this pod to `server`, both on one processor: waking the other end then takes the same
    /// time with every network, and none depends on where the scheduler puts them.
    pub(super) fn measure_on_one_processor(
        &self,
        server: IpAddr,
        pattern: Pattern,
        seconds: u64,
    ) -> Result<Measurement> {
        let address = SocketAddr::new(server, ONE_PROCESSOR_PORT);
        let command = self.load_on_one_processor(&client_arguments(address, pattern, seconds))?;
        Ok(run_load(command, &format!("{} to {address} in {}", pattern.name(), self.node.name()))?)
    }
}

// === impl Running ===

impl Running {
    /// Starts a load and waits until it says that it is ready.
    pub(super) fn start(command: Command, what: &str) -> Result<Self, BenchError> {
        Ok(Self { child: spawn_load(command, what)?, what: what.to_owned() })
    }

    /// Ends its input, waits for its end and reads what it printed.
    pub(super) fn finish<T: DeserializeOwned>(mut self) -> Result<T, BenchError> {
        drop(self.child.stdin.take());
        let failed = |reason: String| BenchError::Program { program: self.what.clone(), reason };
        let output = self.child.wait_with_output().map_err(|error| failed(error.to_string()))?;
        serde_json::from_slice(&output.stdout).map_err(|error| failed(error.to_string()))
    }
}

// === impl Server ===

impl Drop for Server {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
