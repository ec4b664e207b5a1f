//! Waiting for the nodes, and noticing programs that do not live.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::{STEP_TIMEOUT, Up};
use crate::cluster::api::{ApiClient, NODE, Scope, has_condition};
use crate::cluster::error::ClusterError;
use crate::error::Result;
use crate::machine::{Node, ProgramStatus};
use crate::patience::patience;
use crate::spec::NetworkChoice;

/// Starts after which a program that keeps ending is given up.
const TOO_MANY_STARTS: u32 = 4;

/// Where Seaway's own pods are.
const SYSTEM_NAMESPACE: &str = "seaway-system";

/// Lines of a dead program's log that are shown.
const LAST_LINES: usize = 12;

impl Up<'_> {
    /// Waits; returns when each node became Ready, after the start of the command. Without a network none
    /// does before somebody installs one: then that they are registered is enough.
    pub(super) fn wait_for_nodes(&self, api: &ApiClient) -> Result<BTreeMap<String, Duration>> {
        let names: Vec<&str> = self.machine.nodes().iter().map(Node::name).collect();
        let mut ready_after = BTreeMap::new();
        let mut failed = || {
            died(self.machine.nodes())?;
            // The client waits inside its own runtime, where it cannot be asked again.
            std::thread::scope(|scope| {
                let check = scope.spawn(|| crashing_pod(api));
                check.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
        };
        api.watch_until("all nodes are", NODE, Scope::default(), patience(STEP_TIMEOUT), &mut failed, |objects| {
            let waits_for_network = self.spec.network != NetworkChoice::None;
            let is_ready =
                |name: &str| objects.get(name).is_some_and(|node| !waits_for_network || has_condition(node, "Ready"));
            let (ready, waiting): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| is_ready(name));
            for name in ready {
                ready_after.entry(name.to_owned()).or_insert_with(|| self.progress.elapsed());
            }
            self.progress.passing(&format!("waiting for {}", waiting.join(", ")));
            let reason = waiting.first().map(|name| reason(objects.get(*name))).unwrap_or_default();
            if waiting.is_empty() { Ok(()) } else { Err(format!("not Ready: {} ({reason})", waiting.join(", "))) }
        })?;
        Ok(ready_after)
    }
}

/// What a node says of itself.
fn reason(node: Option<&Value>) -> String {
    let Some(node) = node else { return "not registered".to_owned() };
    let conditions = node.pointer("/status/conditions").and_then(Value::as_array);
    let ready = conditions.into_iter().flatten().find(|condition| condition["type"] == "Ready");
    ready.and_then(|condition| condition["message"].as_str()).unwrap_or("it says nothing").to_owned()
}

/// Fails when a pod of the network keeps ending, with its last lines.
fn crashing_pod(api: &ApiClient) -> Result<(), ClusterError> {
    // An API server that is too busy to answer is asked again soon.
    let Ok(list) = api.get(&format!("/api/v1/namespaces/{SYSTEM_NAMESPACE}/pods")) else { return Ok(()) };
    for pod in list.get("items").and_then(Value::as_array).into_iter().flatten() {
        let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        for statuses in ["/status/initContainerStatuses", "/status/containerStatuses"] {
            let statuses = pod.pointer(statuses).and_then(Value::as_array);
            for status in statuses.into_iter().flatten() {
                if status["restartCount"].as_u64().unwrap_or_default() < u64::from(TOO_MANY_STARTS) {
                    continue;
                }
                let container = status["name"].as_str().unwrap_or_default();
                let log = format!(
                    "/api/v1/namespaces/{SYSTEM_NAMESPACE}/pods/{}/log?container={container}&previous=true&tailLines={LAST_LINES}",
                    text("/metadata/name")
                );
                let code = status.pointer("/lastState/terminated/exitCode").and_then(Value::as_i64);
                return Err(ClusterError::ProgramDied {
                    program: format!("{} ({container})", text("/metadata/name")),
                    node: text("/spec/nodeName").to_owned(),
                    how: code.map_or_else(|| "killed".to_owned(), |code| format!("exit status {code}")),
                    last_lines: api.get_text(&log).unwrap_or_default(),
                });
            }
        }
    }
    Ok(())
}

/// Fails when a program of `nodes` has ended for good, with its last lines.
///
/// # Errors
/// The first such program.
pub fn died(nodes: &[Node]) -> Result<(), ClusterError> {
    for node in nodes {
        // A node whose init process does not answer is told of by whoever needs it next.
        for status in node.programs().unwrap_or_default() {
            if gave_up(&status) {
                return Err(ClusterError::ProgramDied {
                    program: status.name.clone(),
                    node: node.name().to_owned(),
                    how: status.last_exit.clone().unwrap_or_default(),
                    last_lines: last_lines(node, &status),
                });
            }
        }
    }
    Ok(())
}

fn gave_up(status: &ProgramStatus) -> bool {
    status.last_exit.is_some() && status.starts >= TOO_MANY_STARTS
}

fn last_lines(node: &Node, status: &ProgramStatus) -> String {
    let text = std::fs::read_to_string(node.log_file(&status.name)).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(LAST_LINES)..).unwrap_or_default().join("\n")
}
