//! `seaway status --all`: every node's agent on one screen, asked through `kubectl`, whose way to the cluster and
//! rights are the user's own.

use std::fmt::Write as _;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use seaway_model::agent_api::NodeStatus;
use serde::Serialize;
use serde_json::Value;

use crate::output::Mark;
use crate::{CliError, table};

/// Nodes asked at the same time.
const AT_ONCE: usize = 16;
/// A node that is off keeps `kubectl exec` waiting.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);
/// Pause between two looks at a program that has not ended.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

const NAMESPACE: &str = "seaway-system";
const AGENTS: &str = "app.kubernetes.io/name=seaway-agent";

/// What one node's agent says, or why it says nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NodeReport {
    node: String,
    /// The agent's pod.
    pod: Option<String>,
    status: Option<NodeStatus>,
    /// Why there is no status.
    error: Option<String>,
}

/// Asks the agents of all nodes.
pub(super) fn ask_all(kubectl: &Path) -> Result<Vec<NodeReport>, CliError> {
    let nodes = list(kubectl, &["get", "nodes"])?;
    let pods = list(kubectl, &["get", "pods", "--namespace", NAMESPACE, "--selector", AGENTS])?;
    let text = |object: &Value, path: &str| object.pointer(path).and_then(Value::as_str).map(str::to_owned);
    let pod_on = |node: &str| {
        let mut pods = pods.iter().filter(|pod| text(pod, "/spec/nodeName").as_deref() == Some(node));
        // While an agent is replaced there are two.
        pods.clone().find(|pod| pod.pointer("/metadata/deletionTimestamp").is_none()).or_else(|| pods.next())
    };
    let names = nodes.iter().filter_map(|node| text(node, "/metadata/name"));
    let wanted: Vec<(String, Option<String>)> =
        names.map(|node| (node.clone(), pod_on(&node).and_then(|pod| text(pod, "/metadata/name")))).collect();
    let mut reports = Vec::new();
    for some in wanted.chunks(AT_ONCE) {
        std::thread::scope(|scope| {
            let asked: Vec<_> = some.iter().map(|(node, pod)| scope.spawn(move || ask(kubectl, node, pod))).collect();
            reports.extend(asked.into_iter().filter_map(|asked| asked.join().ok()));
        });
    }
    Ok(reports)
}

fn ask(kubectl: &Path, node: &str, pod: &Option<String>) -> NodeReport {
    let report = |status, error| NodeReport { node: node.to_owned(), pod: pod.clone(), status, error };
    let Some(pod) = pod else { return report(None, Some("no agent runs there".to_owned())) };
    let words = ["exec", "--namespace", NAMESPACE, pod, "--container", "agent", "--", "seaway", "status", "-o", "json"];
    match run(kubectl, &words) {
        // An agent that is not ready ends with 3, and says why.
        Ok(answer) => match serde_json::from_str(&answer.stdout) {
            Ok(status) => report(Some(status), None),
            Err(_) => report(None, Some(answer.complaint())),
        },
        Err(error) => report(None, Some(error.to_string())),
    }
}

fn list(kubectl: &Path, words: &[&str]) -> Result<Vec<Value>, CliError> {
    let failed = |reason: String| CliError::Kubectl { program: kubectl.to_owned(), words: words.join(" "), reason };
    let answer = run(kubectl, &[words, &["--output", "json"]].concat()).map_err(|error| failed(error.to_string()))?;
    if !answer.good {
        return Err(failed(answer.complaint()));
    }
    let object: Value = serde_json::from_str(&answer.stdout).map_err(|error| failed(error.to_string()))?;
    Ok(object.get("items").and_then(Value::as_array).cloned().unwrap_or_default())
}

/// What a program left behind.
struct Ran {
    good: bool,
    stdout: String,
    stderr: String,
}

// === impl Ran ===

impl Ran {
    /// The last line that says something.
    fn complaint(&self) -> String {
        let mut lines = self.stderr.lines().map(str::trim);
        lines.rfind(|line| !line.is_empty()).unwrap_or("no answer").to_owned()
    }
}

fn run(program: &Path, words: &[&str]) -> std::io::Result<Ran> {
    let mut child =
        Command::new(program).args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    std::thread::scope(|scope| {
        let read = |pipe: Option<Box<dyn Read + Send>>| {
            scope.spawn(move || {
                let mut text = String::new();
                // What cannot be read is shown as far as it could.
                let _ = pipe.map(|mut pipe| pipe.read_to_string(&mut text));
                text
            })
        };
        let stdout = read(stdout.map(|pipe| Box::new(pipe) as Box<dyn Read + Send>));
        let stderr = read(stderr.map(|pipe| Box::new(pipe) as Box<dyn Read + Send>));
        let good = ends(&mut child)?;
        Ok(Ran { good, stdout: stdout.join().unwrap_or_default(), stderr: stderr.join().unwrap_or_default() })
    })
}

/// Whether it ended well; it is killed when it takes too long.
fn ends(child: &mut Child) -> std::io::Result<bool> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        if started.elapsed() >= ANSWER_LIMIT {
            child.kill()?;
            child.wait()?;
            return Err(std::io::Error::other(format!("no answer within {} s", ANSWER_LIMIT.as_secs())));
        }
        sleep(LOOK_AGAIN);
    }
}

// === impl NodeReport ===

impl NodeReport {
    pub(super) fn is_good(&self) -> bool {
        self.status.as_ref().is_some_and(|status| status.problems.is_empty())
    }

    fn row(&self, colour: bool) -> Vec<String> {
        let (mark, state) = match &self.status {
            Some(_) if self.is_good() => (Mark::Good, "ready"),
            Some(_) => (Mark::Bad, "not ready"),
            None if self.pod.is_none() => (Mark::Bad, "no agent"),
            None => (Mark::Bad, "no answer"),
        };
        let mut cells = vec![self.node.clone(), mark.paint(state, colour)];
        if let Some(status) = &self.status {
            let used: u64 = status.blocks.iter().map(|block| block.used).sum();
            let total: u64 = status.blocks.iter().map(|block| block.total).sum();
            cells.extend([
                status.backend.clone(),
                status.endpoints.to_string(),
                format!("{used}/{total}"),
                status.remote_nodes.to_string(),
                status.pod_mtu_bytes.to_string(),
                status.version.clone(),
            ]);
        }
        cells
    }
}

pub(super) fn render(reports: &[NodeReport], colour: bool) -> String {
    let rows: Vec<_> = reports.iter().map(|report| report.row(colour)).collect();
    let mut text = table::render(&["NODE", "STATE", "BACKEND", "PODS", "ADDRESSES", "PEERS", "MTU", "VERSION"], &rows);
    let mut marked = |title: &str, mark: Mark, sign: &str, said: Vec<(&str, &str)>| {
        if !said.is_empty() {
            let _ = writeln!(text, "\n{title}:");
        }
        for (node, line) in said {
            let _ = writeln!(text, "  {} {node}: {line}", mark.paint(sign, colour));
        }
    };
    let of = |pick: for<'a> fn(&'a NodeReport) -> Vec<&'a str>| {
        reports.iter().flat_map(|report| pick(report).into_iter().map(|line| (report.node.as_str(), line))).collect()
    };
    marked("Problems", Mark::Bad, "✗", of(problems));
    marked("Warnings", Mark::Unneeded, "!", of(warnings));
    text
}

fn problems(report: &NodeReport) -> Vec<&str> {
    let status = report.status.iter().flat_map(|status| &status.problems);
    status.chain(&report.error).map(String::as_str).collect()
}

fn warnings(report: &NodeReport) -> Vec<&str> {
    report.status.iter().flat_map(|status| &status.warnings).map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::tests::node_status;
    use super::*;
    use crate::golden::assert_golden;

    /// A `kubectl` that knows four nodes: a good one, one that is not ready, one whose agent is silent, one without.
    fn kubectl(folder: &Path) -> std::path::PathBuf {
        let path = folder.join("kubectl");
        let good = serde_json::to_string(&node_status()).unwrap();
        let mut status = node_status();
        status.problems = vec!["pool default-ipv4 is full".into()];
        status.warnings = vec!["CNI plugin portmap cannot be run".into()];
        let bad = serde_json::to_string(&status).unwrap();
        let script = format!(
            r#"#!/bin/sh
case "$*" in
  "get nodes"*) echo '{{"items": [{{"metadata": {{"name": "a"}}}}, {{"metadata": {{"name": "b"}}}}, {{"metadata": {{"name": "c"}}}}, {{"metadata": {{"name": "d"}}}}]}}' ;;
  "get pods"*) echo '{{"items": [
    {{"metadata": {{"name": "old", "deletionTimestamp": "x"}}, "spec": {{"nodeName": "a"}}}},
    {{"metadata": {{"name": "on-a"}}, "spec": {{"nodeName": "a"}}}},
    {{"metadata": {{"name": "on-b"}}, "spec": {{"nodeName": "b"}}}},
    {{"metadata": {{"name": "on-c"}}, "spec": {{"nodeName": "c"}}}}]}}' ;;
  *on-a*) echo '{good}' ;;
  *on-b*) echo '{bad}'; exit 3 ;;
  *) echo 'error: dial tcp 192.0.2.3:10250: no route to host' >&2; exit 1 ;;
esac
"#
        );
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn every_node_has_a_row_and_what_is_wrong_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let reports = ask_all(&kubectl(folder.path())).unwrap();
        assert_eq!(reports.iter().map(NodeReport::is_good).collect::<Vec<_>>(), [true, false, false, false]);
        assert_golden("status-all.txt", &render(&reports, false));
    }

    #[test]
    fn without_kubectl_or_cluster_the_way_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kubectl");
        let absent = ask_all(&path).unwrap_err();
        assert!(absent.to_string().contains(&path.display().to_string()), "{absent}");
        std::fs::write(&path, "#!/bin/sh\necho 'The connection to the server was refused' >&2\nexit 1\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let refused = ask_all(&path).unwrap_err();
        assert!(refused.to_string().contains("get nodes: The connection to the server was refused"), "{refused}");
    }
}
