//! The demo application as the guide uses it: plain kubectl from the host.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use super::lab::{Lab, wait_for, wait_until};
use super::ledger;
use super::verbs::Running;

const PARTS: [&str; 3] = ["productpage", "details", "reviews"];

pub(crate) fn is_used_from_the_host(lab: &Lab) {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/bookinfo/bookinfo.yaml");
    let manifest = manifest.to_str().unwrap();
    lab.kubectl(&["apply", "-f", manifest]);
    lab.kubectl(&["wait", "--for=condition=Available", "--timeout=120s", "deployment", "--all"]);
    let url = lab.must(&["url", "productpage"]);
    let address = url.strip_prefix("http://").unwrap().trim_end_matches('/').to_owned();
    // kube-proxy needs a moment for a new Service.
    wait_for("every part of the page answers", || whole_page(&address));

    lab.kubectl(&["scale", "deployment/details-v1", "--replicas=3"]);
    lab.kubectl(&["rollout", "status", "deployment/details-v1", "--timeout=120s"]);
    let help = lab.kubectl(&["exec", "deployment/details-v1", "--", "/bookinfo", "--help"]);
    assert!(help.contains("Usage: bookinfo"), "{help}");
    let log = lab.kubectl(&["logs", "deployment/details-v1"]);
    assert!(!log.is_empty(), "a part says that it listens");
    forwarded_port_answers(lab);

    lab.kubectl(&["delete", "-f", manifest, "--timeout=120s"]);
    wait_until("the demo's pods are gone", || ledger::items(&lab.kubectl_json(&["get", "pods"])).count() == 0);
    ledger::must_match_pods(lab);
}

/// `kubectl port-forward` to a port of its own choice.
fn forwarded_port_answers(lab: &Lab) {
    let mut command = lab.kubectl_command(&["port-forward", "--address=127.0.0.1", "deployment/details-v1", ":9080"]);
    let mut forward = Running(command.stdout(Stdio::piped()).spawn().unwrap());
    // Kept open: kubectl tells of every connection, and ends when nobody listens.
    let mut told = BufReader::new(forward.0.stdout.take().unwrap());
    let mut line = String::new();
    told.read_line(&mut line).unwrap();
    // "Forwarding from 127.0.0.1:40211 -> 9080"
    let address = line.split(' ').nth(2).unwrap_or_else(|| panic!("port-forward says {line:?}"));
    assert!(get(address, "/details/0").unwrap().contains("author"));
}

fn whole_page(address: &str) -> Result<(), String> {
    let page: Value = serde_json::from_str(&get(address, "/api/v1/products/0")?).map_err(|error| error.to_string())?;
    let parts = page["parts"].as_array().cloned().unwrap_or_default();
    for name in PARTS {
        let part = parts.iter().find(|part| part["part"] == name).ok_or(format!("no {name} in {page}"))?;
        if !part["error"].is_null() || part.pointer("/servedBy/pod").is_none() {
            return Err(part.to_string());
        }
    }
    let html = get(address, "/productpage")?;
    if html.contains("<html") { Ok(()) } else { Err(html) }
}

/// The body of an answer without an error.
pub(crate) fn get(address: &str, path: &str) -> Result<String, String> {
    let fetch = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = fetch().map_err(|error| format!("{address}{path}: {error}"))?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.to_owned()),
        _ => Err(format!("{address}{path}: {answer:?}")),
    }
}
