//! Agents killed, and agents replaced, while pods talk.

use serde_json::json;

use super::lab::{IDLE_IMAGE, Lab};
use super::ledger;
use super::traffic::{PodNetwork, Traffic};

const NODES: [&str; 3] = ["n1", "n2", "n3"];
const TALKERS: [(&str, &str); 3] = [("talks", "n1"), ("near", "n1"), ("far", "n2")];
/// Pods that come while there is no agent.
const NEWCOMERS: usize = 6;

pub(crate) fn killed_lose_nothing(lab: &Lab) {
    lab.wait_for_agents();
    lab.start_pods(&TALKERS);
    let links = NODES.map(|node| ledger::pods_on(lab, node).len());
    let traffic = start_traffic(lab);
    for node in NODES {
        lab.must(&["break", "kill", node, "agent"]);
    }
    // Pods that come while no agent answers wait for it.
    start_newcomers(lab);
    traffic.goes_on();
    lab.wait_for_agents();
    for (node, links) in NODES.iter().zip(links) {
        let log = lab.kubectl(&["logs", "-n", "seaway-system", &agent_pod(lab, node), "-c", "agent"]);
        let adopted = format!("took up what the kernel holds links={links}");
        assert!(log.contains(&adopted), "no {adopted:?} on {node} in:\n{log}");
    }
    lab.kubectl(&["rollout", "status", "deployment/newcomers", "--timeout=120s"]);
    ledger::must_match_pods(lab);
    traffic.goes_on();
    traffic.must_be_whole();
    lab.wait_until_all_reach_all();
    stop(lab);
}

pub(crate) fn replaced_lose_nothing(lab: &Lab) {
    lab.wait_for_agents();
    lab.start_pods(&TALKERS);
    let traffic = start_traffic(lab);
    lab.kubectl(&["rollout", "restart", "-n", "seaway-system", "daemonset/seaway-agent"]);
    start_newcomers(lab);
    lab.kubectl(&["rollout", "status", "-n", "seaway-system", "daemonset/seaway-agent", "--timeout=120s"]);
    lab.kubectl(&["rollout", "status", "deployment/newcomers", "--timeout=120s"]);
    ledger::must_match_pods(lab);
    traffic.goes_on();
    traffic.must_be_whole();
    lab.wait_until_all_reach_all();
    stop(lab);
}

fn start_traffic(lab: &Lab) -> Traffic {
    let [talks, near, far] = TALKERS.map(|(name, _)| PodNetwork::of(lab, name));
    Traffic::start(&talks, &[&near, &far])
}

fn start_newcomers(lab: &Lab) {
    lab.apply(&json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "newcomers", "namespace": "default" },
        "spec": {
            "replicas": NEWCOMERS,
            "selector": { "matchLabels": { "app": "newcomers" } },
            "template": {
                "metadata": { "labels": { "app": "newcomers" } },
                "spec": {
                    "terminationGracePeriodSeconds": 0,
                    "containers": [{ "name": "main", "image": IDLE_IMAGE }],
                },
            },
        },
    }));
}

fn stop(lab: &Lab) {
    lab.kubectl(&["delete", "deployment", "newcomers", "--cascade=foreground", "--timeout=120s"]);
    lab.delete_pods(&TALKERS);
    ledger::must_match_pods(lab);
}

pub(crate) fn agent_pod(lab: &Lab, node: &str) -> String {
    let selector = format!("spec.nodeName={node}");
    lab.kubectl(&[
        "get",
        "pods",
        "-n",
        "seaway-system",
        "-l",
        "app.kubernetes.io/name=seaway-agent",
        "--field-selector",
        &selector,
        "-o",
        "name",
    ])
}
