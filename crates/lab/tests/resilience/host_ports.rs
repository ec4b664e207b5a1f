//! A pod behind a port of its node, by the chained `portmap` plugin.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::lab::{ANSWERING_IMAGE, Lab, pod, wait_until};
use super::ledger;

const HOST_PORT: u16 = 18081;
const POD: (&str, &str) = ("behind-port", "n2");

pub(crate) fn answer_until_the_pod_is_gone(lab: &Lab) {
    lab.apply(&pod(
        POD.0,
        POD.1,
        &json!({
            "name": "main", "image": ANSWERING_IMAGE, "args": ["netexec"],
            "ports": [{ "containerPort": 8080, "hostPort": HOST_PORT }],
            "readinessProbe": { "httpGet": { "path": "/hostname", "port": 8080 }, "periodSeconds": 1 },
        }),
    ));
    lab.kubectl(&["wait", "--for=condition=Ready", "--timeout=120s", "pod/behind-port"]);
    for address in node_addresses(lab, POD.1) {
        for from in ["outside", "n1", "n3", "n2"] {
            // From the node itself portmap forwards IPv4 alone.
            if from != POD.1 || address.is_ipv4() {
                assert_eq!(ask(lab, from, address).as_deref(), Some(POD.0), "from {from} at {address}");
            }
        }
    }
    lab.delete_pods(&[POD]);
    ledger::must_match_pods(lab);
    for address in node_addresses(lab, POD.1) {
        wait_until(&format!("{address} answers no more"), || ask(lab, "outside", address).is_none());
    }
}

fn ask(lab: &Lab, from: &str, address: IpAddr) -> Option<String> {
    let url = match address {
        IpAddr::V4(address) => format!("http://{address}:{HOST_PORT}/hostname"),
        IpAddr::V6(address) => format!("http://[{address}]:{HOST_PORT}/hostname"),
    };
    let output = lab.run(&["exec", from, "--", "curl", "--silent", "--max-time", "5", &url]);
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn node_addresses(lab: &Lab, node: &str) -> Vec<IpAddr> {
    let node = lab.kubectl_json(&["get", "node", node]);
    let addresses = node.pointer("/status/addresses").and_then(Value::as_array).cloned().unwrap_or_default();
    addresses
        .iter()
        .filter(|entry| entry["type"] == "InternalIP")
        .filter_map(|entry| entry["address"].as_str()?.parse().ok())
        .collect()
}
