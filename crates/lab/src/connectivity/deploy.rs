//! The pods and the Service that the test needs; they stay until `down`.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};

use super::plan::{HTTP_PORT, TestNode, TestPod, TestService, Topology, UDP_PORT};
use crate::cluster::ClusterError;
use crate::cluster::api::{ApiClient, NODE, Objects, POD, Scope, has_condition};
use crate::error::Result;
use crate::image::Builtin;
use crate::machine::Machine;
use crate::patience::patience;
use crate::spec::{DnsChoice, ServicesChoice};

/// Namespace of the test's objects.
pub const NAMESPACE: &str = "seaway-test";

/// Name of the Service, and label of the pods.
const PROBE: &str = "probe";

/// How long pods may take to become Ready; nodes without are named then.
const POD_TIMEOUT: Duration = Duration::from_secs(60);

/// Whether an earlier test left its Service.
#[must_use]
pub fn is_deployed(api: &ApiClient) -> bool {
    api.get(&format!("/api/v1/namespaces/{NAMESPACE}/services/{PROBE}")).is_ok()
}

/// Deploys the test and waits for its pods, those of broken nodes only a while.
///
/// # Errors
/// The API server refuses, or not one pod runs.
pub fn deploy(machine: &Machine, api: &ApiClient) -> Result<Topology> {
    for object in objects() {
        api.apply_object(&object)?;
    }
    let spec = machine.spec();
    let ready_nodes = ready_nodes(api)?;
    let scope = Scope { namespace: Some(NAMESPACE), labels: Some("app=probe") };
    let mut last = Objects::new();
    let waited = api.watch_until("the test pods are", POD, scope, patience(POD_TIMEOUT), &mut || Ok(()), |pods| {
        last.clone_from(pods);
        let missing = missing_pods(pods, &ready_nodes);
        if missing.is_empty() { Ok(()) } else { Err(format!("waiting for test pods on {}", missing.join(", "))) }
    });
    let pods = running_pods(&last);
    if pods.is_empty() {
        waited?;
        return Err(ClusterError::TestSetup { reason: "not one test pod runs".into() }.into());
    }
    let service = match spec.services {
        ServicesChoice::None => None,
        ServicesChoice::Seaway | ServicesChoice::KubeProxy(_) => Some(service(api)?),
    };
    let dns = match (spec.dns, &service) {
        (DnsChoice::Seaway | DnsChoice::Coredns, Some(_)) => spec.dns_addresses(),
        _ => Vec::new(),
    };
    let nodes = machine
        .nodes()
        .iter()
        .map(|node| TestNode { name: node.name().to_owned(), addresses: node.addresses() })
        .collect();
    Ok(Topology { nodes, pods, service, dns, outside: Vec::new() })
}

/// Only these can be waited for: a dead node's pods will not come.
fn ready_nodes(api: &ApiClient) -> Result<Vec<String>> {
    Ok(api.watch_until(
        "the list of nodes is",
        NODE,
        Scope::default(),
        patience(POD_TIMEOUT),
        &mut || Ok(()),
        |nodes| {
            Ok(nodes.iter().filter(|(_, node)| has_condition(node, "Ready")).map(|(name, _)| name.clone()).collect())
        },
    )?)
}

fn missing_pods(pods: &Objects, nodes: &[String]) -> Vec<String> {
    let ready = |node: &str| pods.values().filter(|pod| is_on(pod, node) && has_condition(pod, "Ready")).count();
    nodes.iter().filter(|node| ready(node) < DAEMON_SETS.len()).cloned().collect()
}

fn is_on(pod: &Value, node: &str) -> bool {
    pod.pointer("/spec/nodeName").and_then(Value::as_str) == Some(node)
}

/// Pods with addresses, by name. One that is not Ready is tested all the same:
/// its node may be cut off.
fn running_pods(pods: &Objects) -> Vec<TestPod> {
    let text = |pod: &Value, pointer| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let addresses = |pod: &Value| -> Vec<IpAddr> {
        let list = pod.pointer("/status/podIPs").and_then(Value::as_array).cloned().unwrap_or_default();
        list.iter().filter_map(|entry| entry["ip"].as_str()?.parse().ok()).collect()
    };
    pods.values()
        .filter(|pod| text(pod, "/status/phase") == "Running" && pod.pointer("/metadata/deletionTimestamp").is_none())
        .map(|pod| TestPod {
            name: text(pod, "/metadata/name"),
            uid: text(pod, "/metadata/uid"),
            node: text(pod, "/spec/nodeName"),
            addresses: addresses(pod),
        })
        .filter(|pod| !pod.addresses.is_empty())
        .collect()
}

fn service(api: &ApiClient) -> Result<TestService> {
    let object = api.get(&format!("/api/v1/namespaces/{NAMESPACE}/services/{PROBE}"))?;
    let addresses = object.pointer("/spec/clusterIPs").and_then(Value::as_array).cloned().unwrap_or_default();
    let node_port = object.pointer("/spec/ports/0/nodePort").and_then(Value::as_u64).unwrap_or_default();
    Ok(TestService {
        name: format!("{PROBE}.{NAMESPACE}.svc.cluster.local"),
        addresses: addresses.iter().filter_map(|address| address.as_str()?.parse().ok()).collect(),
        node_port: u16::try_from(node_port).unwrap_or_default(),
    })
}

/// Two pods per node, so that there is a pair on each.
const DAEMON_SETS: [&str; 2] = ["probe-a", "probe-b"];

fn objects() -> Vec<Value> {
    let mut objects = vec![
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } }),
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "name": PROBE, "namespace": NAMESPACE },
            "spec": {
                "type": "NodePort",
                "ipFamilyPolicy": "PreferDualStack",
                "selector": { "app": PROBE },
                "ports": [{ "name": "http", "port": HTTP_PORT, "targetPort": HTTP_PORT }],
            },
        }),
    ];
    objects.extend(DAEMON_SETS.map(daemon_set));
    objects
}

fn daemon_set(name: &str) -> Value {
    let labels = json!({ "app": PROBE, "set": name });
    let port_flags = [format!("--http-port={HTTP_PORT}"), format!("--udp-port={UDP_PORT}")];
    json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": { "name": name, "namespace": NAMESPACE },
        "spec": {
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": {
                    "automountServiceAccountToken": false,
                    "terminationGracePeriodSeconds": 1,
                    "tolerations": [{ "operator": "Exists" }],
                    "containers": [{
                        "name": "agnhost",
                        "image": Builtin::Agnhost.reference(),
                        "imagePullPolicy": "IfNotPresent",
                        "args": ["netexec", port_flags[0], port_flags[1]],
                        "readinessProbe": {
                            "httpGet": { "path": "/hostname", "port": HTTP_PORT },
                            "periodSeconds": 1,
                        },
                    }],
                },
            },
        },
    })
}
