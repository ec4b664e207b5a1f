//! The table of nodes that `up` ends in and `lab status` shows.

use std::collections::BTreeMap;
use std::time::Duration;

use seaway_model::agent_api::NodeStatus;
use serde_json::Value;

mod agents;

use super::api::{ApiClient, NODE, Scope, has_condition};
use super::error::ClusterError;
use super::up::AGENT_TAINT;
use crate::machine::Machine;
use crate::patience::patience;
use crate::spec::NetworkChoice;

/// An API server that answers lists its nodes at once.
const LIST_TIMEOUT: Duration = Duration::from_secs(5);

/// Of an agent that takes pods.
const READY: &str = "ready";

/// A node as people want to see it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeRow {
    /// Name.
    pub node: String,
    /// Rack.
    pub rack: String,
    /// Addresses on the underlay.
    pub addresses: Vec<String>,
    /// Ranges its pods have addresses from.
    pub pod_cidrs: Vec<String>,
    /// `Ready`, `NotReady`, `unknown`, `off`.
    pub state: String,
    /// Of the network agent: `ready`, `not ready`, or who connects pods instead.
    pub agent: String,
    /// What the agent says of itself, if it answers.
    pub agent_status: Option<NodeStatus>,
    /// Programs: `kubelet running`, `etcd ended (signal 9)`.
    pub programs: Vec<String>,
}

/// Collects the rows; an API server that does not answer leaves states unknown.
#[must_use]
pub fn rows(machine: &Machine, api: Option<&ApiClient>) -> Vec<NodeRow> {
    let list = |kind| {
        let api = api?;
        api.watch_until("the list is", kind, Scope::default(), patience(LIST_TIMEOUT), &mut || Ok(()), |objects| {
            Ok(objects.clone())
        })
        .ok()
    };
    let nodes = list(NODE);
    let blocks = match machine.spec().network {
        NetworkChoice::Seaway => api.and_then(|api| block_ranges(api).ok()).unwrap_or_default(),
        _ => BTreeMap::new(),
    };
    let mut agents = match machine.spec().network {
        NetworkChoice::Seaway => agents::ask_all(machine),
        _ => BTreeMap::new(),
    };
    machine
        .nodes()
        .iter()
        .map(|node| {
            let object = nodes.as_ref().and_then(|nodes| nodes.get(node.name()));
            let pod_cidrs = blocks.get(node.name()).cloned().unwrap_or_else(|| node_ranges(object));
            NodeRow {
                node: node.name().to_owned(),
                rack: node.rack().to_owned(),
                addresses: node.addresses().iter().map(ToString::to_string).collect(),
                pod_cidrs,
                state: state(node.init().is_ok(), object).to_owned(),
                agent: agent(machine.spec().network, object),
                agent_status: agents.remove(node.name()),
                programs: programs(node),
            }
        })
        .collect()
}

/// The rows as text; `times` adds when each node became Ready.
#[must_use]
pub fn table(rows: &[NodeRow], times: Option<&BTreeMap<String, Duration>>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    let last = if times.is_some() { "READY AFTER" } else { "PROGRAMS" };
    table.set_header(["NODE", "RACK", "STATE", "ADDRESSES", "POD CIDRS", "AGENT", last]);
    for row in rows {
        let last = match times {
            Some(times) => times.get(&row.node).map_or_else(String::new, |time| format!("{:.1} s", time.as_secs_f64())),
            None => row.programs.join("\n"),
        };
        table.add_row([
            row.node.clone(),
            row.rack.clone(),
            row.state.clone(),
            row.addresses.join("\n"),
            row.pod_cidrs.join("\n"),
            agent_cell(row),
            last,
        ]);
    }
    table.trim_fmt()
}

/// What the agents complain of, with the node each speaks for; and which do
/// not answer although the cluster believes them well.
#[must_use]
pub fn agent_remarks(rows: &[NodeRow]) -> Vec<String> {
    let mut remarks = Vec::new();
    for row in rows {
        match &row.agent_status {
            Some(status) => {
                let said = status.problems.iter().map(|problem| format!("{}: {problem}", row.node));
                remarks.extend(
                    said.chain(status.warnings.iter().map(|warning| format!("{}: warning: {warning}", row.node))),
                );
            }
            None if row.agent == READY => remarks.push(format!("{}: does not answer", row.node)),
            None => {}
        }
    }
    remarks
}

/// `ready, ebpf, 12 pods`.
fn agent_cell(row: &NodeRow) -> String {
    match &row.agent_status {
        Some(status) => format!("{}, {}, {} pods", row.agent, status.backend, status.endpoints),
        None => row.agent.clone(),
    }
}

fn state(powered: bool, object: Option<&Value>) -> &'static str {
    match (powered, object) {
        (false, _) => "off",
        (true, None) => "unknown",
        (true, Some(node)) if has_condition(node, "Ready") => "Ready",
        (true, Some(_)) => "NotReady",
    }
}

fn agent(network: NetworkChoice, object: Option<&Value>) -> String {
    if network != NetworkChoice::Seaway {
        return network.to_string();
    }
    let Some(node) = object else { return "unknown".to_owned() };
    let taints = node.pointer("/spec/taints").and_then(Value::as_array);
    let tainted = taints.into_iter().flatten().any(|taint| taint["key"] == AGENT_TAINT);
    if tainted { "not ready" } else { READY }.to_owned()
}

fn node_ranges(object: Option<&Value>) -> Vec<String> {
    let ranges = object.and_then(|node| node.pointer("/spec/podCIDRs")).and_then(Value::as_array);
    ranges.into_iter().flatten().filter_map(|range| range.as_str().map(str::to_owned)).collect()
}

/// Ranges of the blocks each node has claimed.
fn block_ranges(api: &ApiClient) -> Result<BTreeMap<String, Vec<String>>, ClusterError> {
    let list = api.get("/apis/seaway.dev/v1alpha1/ipblocks")?;
    let mut ranges: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for block in list.get("items").and_then(Value::as_array).into_iter().flatten() {
        let text = |pointer| block.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        if let (Some(node), Some(range)) = (text("/spec/node"), text("/spec/cidr")) {
            ranges.entry(node).or_default().push(range);
        }
    }
    Ok(ranges)
}

fn programs(node: &crate::machine::Node) -> Vec<String> {
    let statuses = node.programs().unwrap_or_default();
    statuses
        .iter()
        .map(|status| match (&status.pid, &status.last_exit) {
            (Some(_), None) => format!("{} running", status.name),
            (Some(_), Some(_)) => {
                format!("{} running, restarted {} times", status.name, status.starts.saturating_sub(1))
            }
            (None, how) => format!("{} ended ({})", status.name, how.as_deref().unwrap_or("not started")),
        })
        .collect()
}

#[cfg(test)]
mod tests;
