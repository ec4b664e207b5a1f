//! Waiting for the nodes, and noticing programs that do not live.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{STEP_TIMEOUT, Up};
use crate::cluster::api::{ApiClient, NODE, Scope, has_condition};
use crate::cluster::error::ClusterError;
use crate::error::Result;
use crate::machine::{Node, ProgramStatus};

/// Starts after which a program that keeps ending is given up.
const TOO_MANY_STARTS: u32 = 4;

/// Lines of a dead program's log that are shown.
const LAST_LINES: usize = 12;

impl Up<'_> {
    /// Waits; returns when each node became Ready, after the start of the command.
    pub(super) fn wait_for_nodes(&self, api: &ApiClient) -> Result<BTreeMap<String, Duration>> {
        let names: Vec<&str> = self.machine.nodes().iter().map(Node::name).collect();
        let mut ready_after = BTreeMap::new();
        let mut failed = || died(self.machine.nodes());
        api.watch_until("all nodes are", NODE, Scope::default(), STEP_TIMEOUT, &mut failed, |objects| {
            let is_ready = |name: &str| objects.get(name).is_some_and(|node| has_condition(node, "Ready"));
            let (ready, waiting): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| is_ready(name));
            for name in ready {
                ready_after.entry(name.to_owned()).or_insert_with(|| self.progress.elapsed());
            }
            self.progress.passing(&format!("waiting for {}", waiting.join(", ")));
            if waiting.is_empty() { Ok(()) } else { Err(format!("not Ready: {}", waiting.join(", "))) }
        })?;
        Ok(ready_after)
    }
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
