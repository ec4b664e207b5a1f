//! Golden table: for each file in `tests/golden`, the variables and the input
//! of a call, what the agent is then asked and answers, and what is printed.
//! `SEAWAY_REWRITE_GOLDEN=1` writes what happened into the files; look at the
//! difference before committing it. Needs root for the sandbox's namespace.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a step that fails fails the test"
)]

#[path = "support/stand_in.rs"]
mod stand_in;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use stand_in::{Agent, Sandbox};

#[test]
fn every_call_is_answered_as_written_down() {
    let sandbox = Sandbox::new();
    let rewrite = std::env::var_os("SEAWAY_REWRITE_GOLDEN").is_some();
    let mut wrong = Vec::new();
    for path in cases() {
        let text = fs::read_to_string(&path).unwrap();
        let case: Map<String, Value> =
            serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let seen = call(&case, &sandbox);
        if rewrite {
            let mut text = serde_json::to_string_pretty(&seen).unwrap();
            text.push('\n');
            fs::write(&path, text).unwrap();
        } else if seen != case {
            let shown = serde_json::to_string_pretty(&seen).unwrap();
            wrong.push(format!("{}:\n{shown}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "not as written down:\n{}", wrong.join("\n"));
}

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() > 20, "the golden folder is empty");
    paths
}

/// The case with what really happened in `asked`, `namespacePassed`, `output`, `success`.
fn call(case: &Map<String, Value>, sandbox: &Sandbox) -> Map<String, Value> {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("agent.sock");
    let agent = case.get("agent").map(|answer| Agent::start(&socket, answer.clone()));
    let places = [("$SOCKET", socket.to_str().unwrap()), ("$NETNS", sandbox.path())];
    let fill = |text: &str| places.iter().fold(text.to_owned(), |t, (name, v)| t.replace(name, v));
    let blank = |text: &str| places.iter().fold(text.to_owned(), |t, (name, v)| t.replace(v, name));

    let variables = case["environment"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.clone(), fill(value.as_str().unwrap())))
        .collect();
    let input = match &case["input"] {
        Value::String(text) => fill(text),
        object => fill(&object.to_string()),
    };
    let outcome = seaway_cni::run(&variables, &mut input.as_bytes());

    let mut seen = case.clone();
    let output = outcome.output.unwrap_or(Value::Null).to_string();
    seen.insert("output".into(), serde_json::from_str(&blank(&output)).unwrap());
    seen.insert("success".into(), Value::Bool(outcome.success));
    let asked = agent.map(Agent::stop).unwrap_or_default();
    let requests: Vec<Value> =
        asked.iter().map(|question| serde_json::from_str(&blank(&question.text)).unwrap()).collect();
    let passed = asked.iter().map(|question| Value::Bool(question.namespace.is_some())).collect();
    seen.insert("asked".into(), Value::Array(requests));
    seen.insert("namespacePassed".into(), Value::Array(passed));
    let mut kept: Vec<Value> = fs::read_dir(folder.path().join("deletes"))
        .into_iter()
        .flatten()
        .map(|entry| Value::String(entry.unwrap().file_name().into_string().unwrap()))
        .collect();
    kept.sort_by_key(ToString::to_string);
    seen.insert("keptDeletions".into(), Value::Array(kept));
    seen
}
