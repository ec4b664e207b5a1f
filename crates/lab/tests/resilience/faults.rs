//! Cables cut, racks partitioned, nodes switched off: named, healed, and gone.

use serde_json::Value;

use super::lab::{Lab, wait_for};
use super::ledger;

/// A finding, and no failure of the test itself.
const FOUND_BROKEN: Option<i32> = Some(3);

pub(crate) fn a_cut_link_is_named(lab: &Lab) {
    broken_is_named(lab, &["break", "link", "n2"], "node n2 ");
}

pub(crate) fn a_partition_is_named(lab: &Lab) {
    broken_is_named(lab, &["break", "partition", "r2"], "rack r2");
}

fn broken_is_named(lab: &Lab, fault: &[&str], name: &str) {
    lab.wait_until_all_reach_all();
    lab.must(fault);
    let output = lab.run(&["test"]);
    lab.must(&["heal", "--all"]);
    let told = String::from_utf8_lossy(&output.stdout);
    let findings = told.split_once("Broken:").map_or("", |(_, findings)| findings);
    assert_eq!(output.status.code(), FOUND_BROKEN, "{told}");
    assert_eq!(findings.lines().filter(|line| line.starts_with("  ")).count(), 1, "one cause, one sentence: {told}");
    assert!(findings.contains(name), "{told}");
    lab.wait_until_all_reach_all();
}

/// What can be killed or frozen, where, and the pattern by which its processes, and none that name it, are found.
const PROGRAMS: [(&str, &str, &str); 5] = [
    ("n2", "agent", "^[^ ]*/seaway agent"),
    ("n2", "kubelet", "^[^ ]*/kubelet "),
    ("n2", "containerd", "^[^ ]*/containerd "),
    ("n1", "kube-apiserver", "^[^ ]*/kube-apiserver "),
    ("n1", "etcd", "^[^ ]*/etcd "),
];

pub(crate) fn killed_programs_come_back(lab: &Lab) {
    for (node, program, pattern) in PROGRAMS {
        lab.wait_until_all_reach_all();
        let before = processes(lab, node, pattern);
        assert!(!before.is_empty(), "{program} runs on {node}");
        lab.must(&["break", "kill", node, program]);
        wait_for(&format!("{program} runs again on {node}"), || {
            let now = processes(lab, node, pattern);
            let again = !now.is_empty() && now.iter().all(|(pid, _)| before.iter().all(|(old, _)| old != pid));
            if again { Ok(()) } else { Err(now) }
        });
    }
    lab.wait_until_all_reach_all();
}

pub(crate) fn frozen_programs_go_on_when_healed(lab: &Lab) {
    lab.wait_until_all_reach_all();
    for (node, program, pattern) in PROGRAMS {
        let stopped = |lab: &Lab| processes(lab, node, pattern).iter().filter(|(_, state)| state == "T").count();
        lab.must(&["break", "freeze", node, program]);
        assert!(stopped(lab) > 0, "{program} on {node}: {:?}", processes(lab, node, pattern));
        let healed = lab.must(&["heal", "freeze", node, program]);
        assert!(healed.contains(program), "{healed}");
        assert_eq!(stopped(lab), 0, "{program} on {node}");
    }
    lab.wait_until_all_reach_all();
}

/// Process ids and states of what runs on the node and matches.
fn processes(lab: &Lab, node: &str, pattern: &str) -> Vec<(String, String)> {
    let line = format!("for p in $(pgrep -f '{pattern}'); do cut -d' ' -f1,3 /proc/$p/stat; done 2>/dev/null; true");
    let shown = lab.on(node, &["sh", "-c", &line]);
    shown.lines().filter_map(|line| line.split_once(' ')).map(|(pid, state)| (pid.into(), state.into())).collect()
}

pub(crate) fn a_power_cycled_node_comes_back(lab: &Lab) {
    comes_back(lab, "n3", || {
        lab.must(&["break", "power-cycle", "n3"]);
    });
}

pub(crate) fn a_stopped_control_plane_comes_back(lab: &Lab) {
    comes_back(lab, "n1", || {
        lab.must(&["break", "stop", "n1"]);
        lab.must(&["heal", "power", "n1"]);
    });
}

/// The node, its agent and its pods are back, the record of addresses is right,
/// and everybody reaches everybody.
fn comes_back(lab: &Lab, node: &str, interrupt: impl FnOnce()) {
    lab.wait_until_all_reach_all();
    let boot = boot_id(lab, node);
    let pods = ledger::pods_on(lab, node);
    assert!(!pods.is_empty(), "{node} runs pods");
    interrupt();
    wait_for(&format!("{node} is Ready again"), || {
        let output = lab.kubectl_command(&["get", "node", node, "-o", "json"]).output().unwrap();
        let object: Value = serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
        let conditions = object.pointer("/status/conditions").and_then(Value::as_array).cloned().unwrap_or_default();
        let ready = conditions.iter().any(|entry| entry["type"] == "Ready" && entry["status"] == "True");
        if ready && boot_id(lab, node) != boot { Ok(()) } else { Err(format!("{conditions:?}")) }
    });
    lab.wait_for_agents();
    lab.kubectl(&["wait", "--for=condition=Ready", "--timeout=120s", "pods", "-A", "--all"]);
    ledger::must_match_pods(lab);
    assert_eq!(ledger::pods_on(lab, node), pods, "the same pods run again on {node}");
    lab.wait_until_all_reach_all();
}

/// Something that only a new start of the node changes: its network namespace.
fn boot_id(lab: &Lab, node: &str) -> String {
    let output = lab.run(&["exec", node, "--", "readlink", "/proc/1/ns/net"]);
    String::from_utf8_lossy(&output.stdout).into_owned()
}
