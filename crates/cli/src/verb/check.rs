//! `seaway check`: is this node fit for Seaway (`--pre`), and does it hold
//! what the agent wants (without)?

use clap::Args;
use seaway_datapath::BackendChoice;
use seaway_datapath::support::{Backend, ChosenBackend, KernelSupport, Need};
use seaway_model::agent_api::NodeStatus;
use serde::Serialize;

use super::QueryArguments;
use crate::output::{Format, Mark, Output};
use crate::{CliError, Finding, Probe};

pub(crate) const EXAMPLES: &str = "\
Examples:
  seaway check --pre          before installing: which backend this kernel can run, and why
  seaway check                after installing: the same, and what the agent says
  seaway check -o json

Needs root, because the kernel answers others with \"permission denied\".
Exit code: 0 all needed checks passed, 3 one did not.";

/// Arguments of `seaway check`.
#[derive(Debug, Clone, Args)]
pub struct CheckArguments {
    #[command(flatten)]
    query: QueryArguments,
    /// Look at the kernel only; no agent needs to run.
    #[arg(long)]
    pre: bool,
}

/// Outcome of all checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    /// Backend that `auto` gives on this kernel.
    backend: Option<String>,
    /// Why that one, or why none.
    backend_reason: String,
    checks: Vec<Check>,
}

/// One thing looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Check {
    group: &'static str,
    name: String,
    /// Absent: passed.
    problem: Option<String>,
    /// Whether the problem keeps Seaway from working, or only from working best.
    required: bool,
    /// Who needs it.
    needed_by: &'static str,
}

pub(crate) fn run(arguments: &CheckArguments, probe: Probe, output: &mut Output<'_>) -> Result<Finding, CliError> {
    let mut outcome = kernel_outcome(&probe());
    if !arguments.pre {
        let client = arguments.query.client();
        outcome.checks.extend(agent_checks(&super::status::ask(&client)?, &super::audit::ask(&client)?));
    }
    match arguments.query.output {
        Format::Json => output.json(&outcome)?,
        Format::Table => {
            let text = render(&outcome, output.colour);
            output.text(&text)?;
        }
    }
    Ok(if outcome.failed() == 0 { Finding::Good } else { Finding::Bad })
}

fn kernel_outcome(support: &KernelSupport) -> Outcome {
    let choice = support.choose(BackendChoice::Auto);
    let (backend, backend_reason) = match &choice {
        Ok(ChosenBackend { backend, reason }) => (Some(*backend), reason.clone()),
        Err((_, lacks)) => (None, lacks.clone()),
    };
    let needed = |need| match need {
        Need::Both => true,
        Need::Ebpf => backend == Some(Backend::Ebpf),
        Need::Nftables => backend != Some(Backend::Ebpf),
        Need::Nobody => false,
    };
    let checks = support.features.iter().map(|feature| Check {
        group: "kernel",
        name: feature.name.to_owned(),
        problem: feature.state.as_ref().err().cloned(),
        required: needed(feature.needed_by),
        needed_by: match feature.needed_by {
            Need::Both => "for every backend",
            Need::Ebpf => "for ebpf",
            Need::Nftables => "for nftables",
            Need::Nobody => "optional",
        },
    });
    Outcome { backend: backend.map(|b| b.name().to_owned()), backend_reason, checks: checks.collect() }
}

fn agent_checks(status: &NodeStatus, differences: &[String]) -> Vec<Check> {
    let check = |name: &str, problems: &[String]| Check {
        group: "agent",
        name: name.to_owned(),
        problem: (!problems.is_empty()).then(|| problems.join("; ")),
        required: true,
        needed_by: "for pods of this node",
    };
    vec![check("ready", &status.problems), check("kernel as planned", differences)]
}

fn render(outcome: &Outcome, colour: bool) -> String {
    let mut text = String::new();
    let mut group = "";
    for check in &outcome.checks {
        if check.group != group {
            group = check.group;
            text.push_str(&format!("{group}\n"));
        }
        let line = match (&check.problem, check.required) {
            (None, _) => format!("  {} {} ({})\n", Mark::Good.paint("✓", colour), check.name, check.needed_by),
            (Some(problem), true) => {
                format!("  {} {} ({}): {problem}\n", Mark::Bad.paint("✗", colour), check.name, check.needed_by)
            }
            (Some(problem), false) => {
                format!("  {} {} ({}): {problem}\n", Mark::Unneeded.paint("-", colour), check.name, check.needed_by)
            }
        };
        text.push_str(&line);
    }
    match &outcome.backend {
        Some(backend) => text.push_str(&format!("\nBackend: {backend}, because {}\n", outcome.backend_reason)),
        None => text.push_str(&format!("\nBackend: none can run here: {}\n", outcome.backend_reason)),
    }
    match outcome.failed() {
        0 => text.push_str(&format!("{}\n", Mark::Good.paint("All needed checks passed.", colour))),
        failed => {
            text.push_str(&format!("{}\n", Mark::Bad.paint(&format!("{failed} needed check(s) failed."), colour)));
        }
    }
    text
}

// === impl Outcome ===

impl Outcome {
    fn failed(&self) -> usize {
        self.checks.iter().filter(|check| check.required && check.problem.is_some()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::assert_golden;
    use seaway_datapath::support::Feature;

    fn kernel(tcx: Result<(), &str>, nft: Result<(), &str>) -> KernelSupport {
        let feature =
            |name, needed_by, state: Result<(), &str>| Feature { name, needed_by, state: state.map_err(str::to_owned) };
        KernelSupport {
            features: vec![
                feature("veth", Need::Both, Ok(())),
                feature("tcx", Need::Ebpf, tcx),
                feature("nf_tables", Need::Nftables, nft),
                feature("nflog", Need::Nobody, Err("module not built")),
            ],
        }
    }

    #[test]
    fn a_good_kernel_runs_ebpf() {
        let outcome = kernel_outcome(&kernel(Ok(()), Err("not permitted")));
        assert_eq!(outcome.failed(), 0);
        assert_golden("check-ebpf.txt", &render(&outcome, false));
    }

    #[test]
    fn an_old_kernel_falls_back_and_says_why() {
        let mut outcome = kernel_outcome(&kernel(Err("kernel 5.4 has no TCX"), Ok(())));
        let status = super::super::status::tests::node_status();
        outcome.checks.extend(agent_checks(&status, &["route 10.244.0.64/26 was missing".to_owned()]));
        assert_eq!(outcome.failed(), 1);
        assert_golden("check-nftables.txt", &render(&outcome, false));
    }

    #[test]
    fn a_kernel_without_either_fails() {
        let outcome = kernel_outcome(&kernel(Err("no TCX"), Err("no nf_tables")));
        assert_eq!(outcome.backend, None);
        assert_eq!(outcome.failed(), 1);
    }
}
