//! The program as a person at a terminal meets it: names, exit codes, pipes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a step that fails fails the test")]

use std::process::{Command, Output};

fn seaway(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_seaway")).args(arguments).env_remove("SEAWAY_SOCKET").output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn every_verb_explains_itself_with_examples() {
    for verb in ["status", "check", "endpoints", "ipam", "monitor", "audit", "agent", "controller", "completion"] {
        let output = seaway(&[verb, "--help"]);
        assert_eq!(output.status.code(), Some(0), "{verb}");
        assert!(text(&output.stdout).contains("Examples:\n"), "{verb} has no examples");
    }
    assert_eq!(seaway(&[]).status.code(), Some(2));
    assert_eq!(seaway(&["statsu"]).status.code(), Some(2));
}

#[test]
fn a_missing_agent_is_one_report_and_no_output() {
    let output = seaway(&["status", "--socket", "/nonexistent/agent.sock"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let report = text(&output.stderr);
    assert!(report.starts_with("SW0801: no agent on this host: /nonexistent/agent.sock"), "{report}");
    assert!(report.contains("\n  fix:   "), "{report}");
}

#[test]
fn unusable_configuration_ends_with_64_and_names_all_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    std::fs::write(&file, "vxlan: {id: 0}\nmtuBytes: 1\n").unwrap();
    let output = seaway(&["agent", "--node-name", "n1", "--validate", "--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(64));
    let report = text(&output.stderr);
    assert!(
        report.contains("SW0503") && report.contains("vxlan.id = 0") && report.contains("mtuBytes = 1"),
        "{report}"
    );
    std::fs::write(&file, "backend: nftables\n").unwrap();
    for daemon in ["agent", "controller"] {
        let output = seaway(&[daemon, "--validate", "--config", file.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(shown["log"]["format"], "text");
    }
}

#[test]
fn the_manifests_configuration_is_valid() {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/seaway.yaml");
    let manifest = std::fs::read_to_string(manifest).unwrap();
    let (_, rest) = manifest.split_once("config.yaml: |\n").unwrap();
    let config: Vec<_> = rest.lines().map_while(|line| line.strip_prefix("    ")).collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    std::fs::write(&file, config.join("\n")).unwrap();
    let output = seaway(&["agent", "--node-name", "n1", "--validate", "--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("/host/proc/sys"));
}

#[test]
fn a_reader_that_stops_early_is_no_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output =
        Command::new(env!("CARGO_BIN_EXE_seaway")).args(["completion", "bash"]).stdout(writer).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn as_kubectl_plugin_it_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let plugin = folder.path().join("kubectl-seaway");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_seaway"), &plugin).unwrap();
    let output = Command::new(plugin).args(["status", "--help"]).output().unwrap();
    assert!(text(&output.stdout).contains("Usage: kubectl seaway status"), "{}", text(&output.stdout));
}
