//! `seaway audit`: compare the kernel with the plan now, and repair.

use std::fmt::Write as _;

use clap::Args;
use seaway_model::agent_api::{Answer, Request};

use super::QueryArguments;
use crate::client::AgentClient;
use crate::output::{Format, Output};
use crate::{CliError, Finding};

pub(crate) const EXAMPLES: &str = "\
Examples:
  seaway audit
  seaway audit -o json

What differs is repaired. The agent does the same every audit.intervalSeconds.
Exit code: 0 nothing differed, 3 something did and was repaired.";

/// Arguments of `seaway audit`.
#[derive(Debug, Clone, Args)]
pub struct AuditArguments {
    #[command(flatten)]
    query: QueryArguments,
}

pub(crate) fn run(arguments: &AuditArguments, output: &mut Output<'_>) -> Result<Finding, CliError> {
    let differences = ask(&arguments.query.client())?;
    match arguments.query.output {
        Format::Json => output.json(&differences)?,
        Format::Table => output.text(&render(&differences))?,
    }
    Ok(if differences.is_empty() { Finding::Good } else { Finding::Bad })
}

/// Has the agent audit the node now.
pub(super) fn ask(client: &AgentClient) -> Result<Vec<String>, CliError> {
    match client.ask(&Request::Audit)? {
        Answer::Audited { differences } => Ok(differences),
        other => Err(client.unexpected(&Request::Audit, &other)),
    }
}

fn render(differences: &[String]) -> String {
    if differences.is_empty() {
        return "the kernel holds exactly what the plan asks for\n".to_owned();
    }
    let mut text = format!("{} difference(s) found and repaired:\n", differences.len());
    for difference in differences {
        let _ = writeln!(text, "  {difference}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_counted_and_listed() {
        assert_eq!(render(&[]), "the kernel holds exactly what the plan asks for\n");
        let one = ["route 10.244.0.64/26 was missing (node worker-2)".to_owned()];
        assert_eq!(
            render(&one),
            "1 difference(s) found and repaired:\n  route 10.244.0.64/26 was missing (node worker-2)\n"
        );
    }
}
