//! The record of addresses in the API against the pods that hold them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::Value;

use super::lab::{Lab, wait_for};

/// Waits until the blocks' records name exactly the addresses that pods hold,
/// each once; the record is written a moment after the fact.
pub(crate) fn must_match_pods(lab: &Lab) {
    wait_for("the record of addresses is that of the pods", || {
        let pods = held_by_pods(lab)?;
        let record = recorded(lab)?;
        let leaked: Vec<_> = record.iter().filter(|(address, _)| !pods.contains_key(*address)).collect();
        let missing: Vec<_> = pods.iter().filter(|(address, _)| !record.contains_key(*address)).collect();
        let differ: Vec<_> =
            pods.iter().filter(|(address, pod)| record.get(*address).is_some_and(|other| other != *pod)).collect();
        if leaked.is_empty() && missing.is_empty() && differ.is_empty() {
            return Ok(());
        }
        Err(format!(
            "recorded without a pod: {leaked:?}; held without a record: {missing:?}; of another pod: {differ:?}"
        ))
    });
}

/// Names of the pods with a network of their own on `node`.
pub(crate) fn pods_on(lab: &Lab, node: &str) -> BTreeSet<String> {
    let pods = lab.kubectl_json(&["get", "pods", "-A", "--field-selector", &format!("spec.nodeName={node}")]);
    items(&pods).filter(|pod| has_own_network(pod)).map(name_of).collect()
}

/// Addresses of a pod, as its status has them.
pub(crate) fn addresses_of(pod: &Value) -> Vec<IpAddr> {
    let addresses = pod.pointer("/status/podIPs").and_then(Value::as_array).into_iter().flatten();
    addresses.filter_map(|entry| entry.get("ip")?.as_str()?.parse().ok()).collect()
}

pub(crate) fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.get("items").and_then(Value::as_array).into_iter().flatten()
}

/// Address to pod; an address of two pods is an error at once.
fn held_by_pods(lab: &Lab) -> Result<BTreeMap<IpAddr, String>, String> {
    let pods = lab.kubectl_json(&["get", "pods", "-A"]);
    let mut held = BTreeMap::new();
    for pod in items(&pods).filter(|pod| has_own_network(pod)) {
        let addresses = addresses_of(pod);
        if addresses.is_empty() {
            return Err(format!("{} has no address yet", name_of(pod)));
        }
        for address in addresses {
            if let Some(other) = held.insert(address, name_of(pod)) {
                return Err(format!("{address} is held by {other} and {}", name_of(pod)));
            }
        }
    }
    Ok(held)
}

fn recorded(lab: &Lab) -> Result<BTreeMap<IpAddr, String>, String> {
    let blocks = lab.kubectl_json(&["get", "ipblocks"]);
    let mut record = BTreeMap::new();
    for entry in items(&blocks).filter_map(|block| block.pointer("/status/allocations")?.as_array()).flatten() {
        let text = |pointer: &str| entry.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let address = text("/address").parse().map_err(|error| format!("{entry}: {error}"))?;
        let pod = format!("{}/{}", text("/pod/namespace"), text("/pod/name"));
        if let Some(other) = record.insert(address, pod) {
            return Err(format!("{address} is recorded twice, for {other} as well"));
        }
    }
    Ok(record)
}

fn has_own_network(pod: &Value) -> bool {
    let phase = pod.pointer("/status/phase").and_then(Value::as_str).unwrap_or_default();
    let on_host = pod.pointer("/spec/hostNetwork").and_then(Value::as_bool).unwrap_or(false);
    !on_host && !matches!(phase, "Succeeded" | "Failed")
}

fn name_of(pod: &Value) -> String {
    let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    format!("{}/{}", text("/metadata/namespace"), text("/metadata/name"))
}
