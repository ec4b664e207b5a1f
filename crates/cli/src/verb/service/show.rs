//! `seaway service show`: where clients reach a Service, and what serves it.

use seaway_model::agent_api::ServiceQuestion;
use seaway_services::{FrontendReport, ReachReport, ServiceReport};

use super::{OneArguments, backends};
use crate::output::{Mark, Output};
use crate::{CliError, Finding, table};

pub(super) fn run(arguments: &OneArguments, output: &mut Output<'_>) -> Result<Finding, CliError> {
    let question = ServiceQuestion::Show { service: arguments.service.clone() };
    let report: ServiceReport = super::show_as(&arguments.query, question, output, render)?;
    Ok(if report.problems.is_empty() { Finding::Good } else { Finding::Bad })
}

fn render(report: &ServiceReport, colour: bool) -> String {
    let mut text = format!("Service {} ({:?})\n", report.service, report.kind);
    text.push_str(&format!("policies: internal {:?}, external {:?}\n", report.internal_policy, report.external_policy));
    if let Some(check) = report.health_check {
        text.push_str(&format!("health check port {}: {} ready here\n", check.port, check.local_ready_endpoints));
    }
    if let Some(reason) = &report.not_served {
        text.push_str(&format!("nothing is programmed: {reason}\n"));
    }
    for problem in &report.problems {
        let mark = Mark::Bad.paint("problem", colour);
        text.push_str(&format!("{mark} {}: {}\n  fix: {}\n", problem.id, problem.message, problem.fix));
    }
    if !report.frontends.is_empty() {
        let rows: Vec<_> = report.frontends.iter().map(frontend).collect();
        text.push('\n');
        text.push_str(&table::render(&["FRONTEND", "KIND", "FROM THIS NODE", "FROM ELSEWHERE", "OPTIONS"], &rows));
    }
    text.push('\n');
    text.push_str(&backends::render(report, colour));
    text
}

fn frontend(one: &FrontendReport) -> Vec<String> {
    let mut options = Vec::new();
    if let Some(seconds) = one.affinity_timeout_seconds {
        options.push(format!("affinity {seconds} s"));
    }
    if !one.source_ranges.is_empty() {
        let ranges: Vec<_> = one.source_ranges.iter().map(ToString::to_string).collect();
        options.push(format!("only from {}", ranges.join(",")));
    }
    options.push(format!("{:?}", one.algorithm).to_lowercase());
    let port = if one.port_name.is_empty() { String::new() } else { format!(" ({})", one.port_name) };
    let place = if one.at.contains(':') { format!("[{}]", one.at) } else { one.at.clone() };
    vec![
        format!("{place}:{}/{}{port}", one.port, one.protocol),
        format!("{:?}", one.kind),
        reach(one.inside),
        reach(one.outside),
        options.join(", "),
    ]
}

fn reach(reach: ReachReport) -> String {
    match reach {
        ReachReport::Backends { count, hide_client: true } => format!("{count} backends, client hidden"),
        ReachReport::Backends { count, hide_client: false } => format!("{count} backends"),
        ReachReport::Reject => "rejected".to_owned(),
        ReachReport::Drop => "dropped".to_owned(),
    }
}
