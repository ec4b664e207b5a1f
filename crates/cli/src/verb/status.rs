//! `seaway status`: the agent of this node in one screen, or those of all nodes.

mod cluster;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::Args;
use seaway_model::agent_api::{Answer, NodeStatus, Request};

use super::QueryArguments;
use crate::client::AgentClient;
use crate::output::{Format, Mark, Output};
use crate::{CliError, Finding};

pub(crate) const EXAMPLES: &str = "\
Examples:
  seaway status                         what the agent of this node says
  seaway status --wait 60               wait until it is ready, at most a minute
  seaway status -o json | jq .problems  for programs
  seaway status --all                   all nodes, asked through kubectl, from anywhere
  seaway lab exec n1 -- seaway status   on a node of a lab

Exit code: 0 ready, 3 not ready, 1 the agent cannot be asked.";

/// Often enough to feel immediate, seldom enough to be no load.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// After this long without a word people think that a command hangs.
const PATIENCE: Duration = Duration::from_secs(3);

/// Arguments of `seaway status`.
#[derive(Debug, Clone, Args)]
pub struct StatusArguments {
    #[command(flatten)]
    query: QueryArguments,
    /// Wait until the node is ready, at most this long.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "300")]
    wait: Option<u64>,
    /// Ask the agents of all nodes, through kubectl and its kubeconfig.
    #[arg(long, conflicts_with = "wait")]
    all: bool,
    /// The kubectl to ask with.
    #[arg(long, value_name = "PATH", default_value = "kubectl", requires = "all")]
    kubectl: PathBuf,
}

pub(crate) fn run(arguments: &StatusArguments, output: &mut Output<'_>) -> Result<Finding, CliError> {
    if arguments.all {
        return run_all(arguments, output);
    }
    let client = arguments.query.client();
    let status = match arguments.wait {
        Some(seconds) => wait(&client, seconds)?,
        None => ask(&client)?,
    };
    match arguments.query.output {
        Format::Json => output.json(&status)?,
        Format::Table => {
            let text = render(&status, output.colour);
            output.text(&text)?;
        }
    }
    Ok(if status.problems.is_empty() { Finding::Good } else { Finding::Bad })
}

fn run_all(arguments: &StatusArguments, output: &mut Output<'_>) -> Result<Finding, CliError> {
    let reports = cluster::ask_all(&arguments.kubectl)?;
    match arguments.query.output {
        Format::Json => output.json(&reports)?,
        Format::Table => {
            let text = cluster::render(&reports, output.colour);
            output.text(&text)?;
        }
    }
    Ok(if reports.iter().all(cluster::NodeReport::is_good) { Finding::Good } else { Finding::Bad })
}

/// Asks the agent about itself.
pub(super) fn ask(client: &AgentClient) -> Result<NodeStatus, CliError> {
    match client.ask(&Request::NodeStatus)? {
        Answer::NodeStatus(status) => Ok(status),
        other => Err(client.unexpected(&Request::NodeStatus, &other)),
    }
}

fn wait(client: &AgentClient, seconds: u64) -> Result<NodeStatus, CliError> {
    let started = Instant::now();
    let mut told = false;
    loop {
        let missing = match ask(client) {
            Ok(status) if status.problems.is_empty() => return Ok(status),
            Ok(status) => status.problems.join("; "),
            Err(error) => error.to_string(),
        };
        if started.elapsed() >= Duration::from_secs(seconds) {
            return Err(CliError::StillNotReady { seconds, last: missing });
        }
        if !told && started.elapsed() >= PATIENCE {
            eprintln!("waiting: {missing}");
            told = true;
        }
        sleep(POLL_INTERVAL);
    }
}

fn render(status: &NodeStatus, colour: bool) -> String {
    let mut text = String::new();
    let verdict = if status.problems.is_empty() {
        Mark::Good.paint("ready", colour)
    } else {
        Mark::Bad.paint("not ready", colour)
    };
    let used: u64 = status.blocks.iter().map(|block| block.used).sum();
    let total: u64 = status.blocks.iter().map(|block| block.total).sum();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<12} {value}");
    };
    line("Node", format!("{} ({verdict})", status.node));
    line("Version", status.version.clone());
    line("Backend", format!("{} ({})", status.backend, status.backend_reason));
    if let Some(xdp) = &status.xdp {
        line("XDP", xdp.clone());
    }
    line("Pods", format!("{} connected, MTU {} bytes", status.endpoints, status.pod_mtu_bytes));
    line("Addresses", format!("{used} of {total} in use, {} block(s)", status.blocks.len()));
    line("Other nodes", format!("{} reachable by the data path", status.remote_nodes));
    line("Generation", status.applied_generation.to_string());
    if !status.problems.is_empty() {
        text.push_str("\nProblems:\n");
        for problem in &status.problems {
            let _ = writeln!(text, "  {} {problem}", Mark::Bad.paint("✗", colour));
        }
    }
    if !status.warnings.is_empty() {
        text.push_str("\nWarnings:\n");
        for warning in &status.warnings {
            let _ = writeln!(text, "  {} {warning}", Mark::Unneeded.paint("!", colour));
        }
    }
    text
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::golden::assert_golden;
    use seaway_model::NodeName;
    use seaway_model::agent_api::BlockStatus;

    pub(in crate::verb) fn node_status() -> NodeStatus {
        let block = |cidr: &str, pool: &str, used, total| BlockStatus {
            cidr: cidr.parse().unwrap(),
            pool: pool.to_owned(),
            used,
            total,
        };
        NodeStatus {
            node: NodeName::from("worker-1"),
            version: "0.1.0".to_owned(),
            backend: "ebpf".to_owned(),
            backend_reason: "the kernel has everything it needs".to_owned(),
            applied_generation: 42,
            endpoints: 12,
            blocks: vec![
                block("10.244.0.64/26", "default-ipv4", 61, 64),
                block("fd00:10:244::/122", "default-ipv6", 12, 64),
            ],
            remote_nodes: 2,
            xdp: Some("not on eth0: its driver does not run XDP".to_owned()),
            pod_mtu_bytes: 1450,
            problems: vec![],
            warnings: vec![],
        }
    }

    #[test]
    fn a_ready_node_fits_one_screen() {
        assert_golden("status-ready.txt", &render(&node_status(), false));
    }

    #[test]
    fn problems_and_warnings_come_last_and_marked() {
        let mut status = node_status();
        status.problems = vec!["pool default-ipv4 is full".into(), "no answer from the API server for 42 s".into()];
        status.warnings = vec!["CNI plugin portmap cannot be run".into()];
        assert_golden("status-problems.txt", &render(&status, false));
        assert!(render(&status, true).contains("\x1b[31mnot ready\x1b[0m"));
    }
}
