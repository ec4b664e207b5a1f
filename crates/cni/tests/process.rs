//! The plugin as the process a runtime starts: exit codes, standard output, and
//! the race with an agent that starts while a deletion is being kept.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a step that fails fails the test"
)]

#[path = "support/stand_in.rs"]
mod stand_in;

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use stand_in::{Agent, Sandbox};

fn plugin(variables: &[(&str, &str)], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_seaway-cni"))
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The plugin may end without reading everything.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn config(socket: &std::path::Path) -> String {
    json!({"cniVersion": "1.1.0", "name": "seaway", "type": "seaway-cni", "agentSocket": socket}).to_string()
}

#[test]
fn version_does_not_read_standard_input() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_seaway-cni"))
        .env_clear()
        .env("CNI_COMMAND", "VERSION")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Kept open: a plugin that reads it would never end.
    let input = child.stdin.take();
    let output = child.wait_with_output().unwrap();
    drop(input);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["cniVersion"], "1.1.0");
    assert!(output.status.success());
}

#[test]
fn the_agent_gets_the_namespace_that_the_runtime_named() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("agent.sock");
    let sandbox = Sandbox::new();
    let agent = Agent::start(&socket, json!({"answer": "done"}));
    let output = plugin(
        &[("CNI_COMMAND", "DEL"), ("CNI_CONTAINERID", "c1"), ("CNI_IFNAME", "eth0"), ("CNI_NETNS", sandbox.path())],
        &config(&socket),
    );
    assert!(output.status.success(), "{output:?}");
    assert!(output.stdout.is_empty(), "DEL has no result");
    let questions = agent.stop();
    assert_eq!(questions.len(), 1);
    assert_eq!(questions[0].namespace.as_deref(), Some(sandbox.name()));
}

#[test]
fn the_node_itself_is_refused_before_the_agent_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("agent.sock");
    let agent = Agent::start(&socket, json!({"answer": "done"}));
    for verb in ["ADD", "CHECK"] {
        let output = plugin(
            &[
                ("CNI_COMMAND", verb),
                ("CNI_CONTAINERID", "c1"),
                ("CNI_IFNAME", "eth0"),
                ("CNI_NETNS", "/proc/self/ns/net"),
            ],
            &json!({"cniVersion": "1.0.0", "name": "seaway", "agentSocket": socket,
                    "prevResult": {"interfaces": [{"name": "eth0", "sandbox": "x"}]}})
            .to_string(),
        );
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(answer["code"], 4, "{answer}");
        assert!(answer["msg"].as_str().unwrap().starts_with("SW0713"), "{answer}");
    }
    assert!(agent.stop().is_empty());
}

#[test]
fn a_deletion_without_an_agent_is_kept_and_succeeds() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("run/agent.sock");
    let variables = [("CNI_COMMAND", "DEL"), ("CNI_CONTAINERID", "c1"), ("CNI_IFNAME", "eth0")];
    for _ in 0..2 {
        assert!(plugin(&variables, &config(&socket)).status.success());
    }
    let kept = folder.path().join("run/deletes/c1@eth0.json");
    let request: Value = serde_json::from_str(&std::fs::read_to_string(kept).unwrap()).unwrap();
    assert_eq!(request["verb"], "delete");
    assert_eq!(request["containerId"], "c1");
    assert_eq!(std::fs::read_dir(folder.path().join("run/deletes")).unwrap().count(), 1);
}
