//! Times CNI ADD as the runtime would call it: start the plugin, wait for its
//! answer. The namespaces are made beforehand and are not part of the time.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use super::super::error::BenchError;
use super::Measurement;

/// Where the plugins of every lab node are.
const PLUGIN_DIRECTORY: &str = "/opt/cni/bin";

/// A network: the first plugin of its list.
struct Plugin {
    program: PathBuf,
    configuration: String,
}

pub(super) fn measure(conflist: &Path, count: u16) -> Result<Measurement, BenchError> {
    let plugin = Plugin::read(conflist)?;
    let namespaces: Vec<String> = (0..count).map(|n| format!("bench{n}")).collect();
    ip_batch("add", &namespaces)?;
    let measured = measure_in(&plugin, &namespaces);
    for namespace in &namespaces {
        // Deleting what was never added succeeds (CNI specification, "DEL").
        plugin.call("DEL", namespace)?;
    }
    ip_batch("delete", &namespaces)?;
    measured
}

fn measure_in(plugin: &Plugin, namespaces: &[String]) -> Result<Measurement, BenchError> {
    let start = Instant::now();
    let mut nanos = Vec::with_capacity(namespaces.len());
    for namespace in namespaces {
        let begin = Instant::now();
        plugin.call("ADD", namespace)?;
        nanos.push(u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    Ok(Measurement::of_transactions(nanos, start.elapsed().as_secs_f64()))
}

fn ip_batch(verb: &str, namespaces: &[String]) -> Result<(), BenchError> {
    let lines: String = namespaces.iter().map(|name| format!("netns {verb} {name}\n")).collect();
    feed(Command::new("ip").args(["-batch", "-"]), &lines, "ip").map(|_| ())
}

/// Runs a program with `input` and returns what it printed.
fn feed(command: &mut Command, input: &str, name: &str) -> Result<String, BenchError> {
    let failed = |reason: String| BenchError::Program { program: name.to_owned(), reason };
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).map_err(|error| failed(error.to_string()))?;
    }
    let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(failed([output.stdout, output.stderr].iter().map(|text| String::from_utf8_lossy(text)).collect()))
}

// === impl Plugin ===

impl Plugin {
    fn read(conflist: &Path) -> Result<Self, BenchError> {
        let unusable = |reason: String| BenchError::Conflist { path: conflist.to_owned(), reason };
        let text = std::fs::read_to_string(conflist).map_err(|error| unusable(error.to_string()))?;
        let list: Value = serde_json::from_str(&text).map_err(|error| unusable(error.to_string()))?;
        let mut first = list.pointer("/plugins/0").cloned().unwrap_or_default();
        let kind = first.get("type").and_then(Value::as_str).map(str::to_owned);
        let kind = kind.ok_or_else(|| unusable("it has no plugins[0].type".to_owned()))?;
        for field in ["name", "cniVersion"] {
            let value = list.get(field).cloned().unwrap_or_default();
            if let Some(object) = first.as_object_mut() {
                object.insert(field.to_owned(), value);
            }
        }
        Ok(Self { program: Path::new(PLUGIN_DIRECTORY).join(kind), configuration: first.to_string() })
    }

    fn call(&self, verb: &str, namespace: &str) -> Result<(), BenchError> {
        let mut command = Command::new(&self.program);
        command
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", format!("{namespace}-00000000000000000000000000000000"))
            .env("CNI_NETNS", format!("/run/netns/{namespace}"))
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", PLUGIN_DIRECTORY)
            .env("CNI_ARGS", format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={namespace}"));
        feed(&mut command, &self.configuration, &format!("{} {verb}", self.program.display())).map(|_| ())
    }
}
