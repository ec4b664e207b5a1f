use seaway_model::NodeName;

use super::*;

fn row(node: &str, agent: &str, agent_status: Option<NodeStatus>) -> NodeRow {
    NodeRow {
        node: node.to_owned(),
        rack: "r1".to_owned(),
        addresses: vec!["192.0.2.1".to_owned()],
        pod_cidrs: vec!["10.244.0.0/26".to_owned()],
        state: "Ready".to_owned(),
        agent: agent.to_owned(),
        agent_status,
        programs: vec!["kubelet running".to_owned()],
    }
}

fn said(problems: &[&str], warnings: &[&str]) -> NodeStatus {
    let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
    NodeStatus {
        node: NodeName::from("n1"),
        version: "0.1.0".to_owned(),
        backend: "ebpf".to_owned(),
        backend_reason: String::new(),
        applied_generation: 1,
        endpoints: 12,
        blocks: Vec::new(),
        remote_nodes: 2,
        xdp: None,
        pod_mtu_bytes: 1450,
        problems: owned(problems),
        warnings: owned(warnings),
    }
}

#[test]
fn agents_are_quoted_and_silent_ones_named() {
    let rows = [
        row("n1", READY, Some(said(&[], &[]))),
        row("n2", "not ready", Some(said(&["no block"], &["peer n3 has no address"]))),
        row("n3", READY, None),
        row("n4", "unknown", None),
    ];
    assert_eq!(agent_remarks(&rows), ["n2: no block", "n2: warning: peer n3 has no address", "n3: does not answer"]);
    let text = table(&rows, None);
    assert!(text.contains("ready, ebpf, 12 pods"), "{text}");
    assert!(text.contains("unknown"), "{text}");
}

#[test]
fn programs_read_what_the_agent_says() {
    let document = serde_json::to_value(row("n1", READY, Some(said(&["no block"], &[])))).unwrap();
    assert_eq!(document["node"], "n1");
    assert_eq!(document["podCidrs"][0], "10.244.0.0/26");
    assert_eq!(document["agentStatus"]["problems"][0], "no block");
    assert_eq!(document["agentStatus"]["endpoints"], 12);
}
