//! `seaway dns query` and `seaway dns trace`: one question, answered as for a client.

use std::fmt::Write;

use clap::Args;
use seaway_model::dns_api::{DnsAnswer, DnsQuestion, DnsRequest, Lookup, QueryReport, TraceStep, UpstreamAttempt, Way};

use super::client::DnsQueryArguments;
use crate::output::{Format, Mark, Output};
use crate::{CliError, Finding};

pub(super) const QUERY_EXAMPLES: &str = "\
Examples:
  seaway dns query web.shop.svc.cluster.local
  seaway dns query api.example.org --from shop/web-0   as that pod's resolver asks, search list and all
  seaway dns query _http._tcp.web.shop.svc.cluster.local SRV -o json";

pub(super) const TRACE_EXAMPLES: &str = "\
Examples:
  seaway dns trace api.example.org                     which upstream said so, and which were silent
  seaway dns trace redis.prod --from shop/web-0        each step of the search list";

/// Arguments of `seaway dns query` and `seaway dns trace`.
#[derive(Debug, Args)]
pub struct DnsQuestionArguments {
    /// The name; with a dot at its end no search list is used.
    name: String,
    /// Type of record.
    #[arg(default_value = "A")]
    kind: String,
    /// Who asks: an address, or a pod of this node.
    #[arg(long, value_name = "NAMESPACE/POD|ADDRESS")]
    from: Option<String>,
    #[command(flatten)]
    query: DnsQueryArguments,
}

pub(super) fn run(arguments: &DnsQuestionArguments, steps: bool, output: &mut Output<'_>) -> Result<Finding, CliError> {
    let question =
        DnsQuestion { name: arguments.name.clone(), kind: arguments.kind.to_uppercase(), from: arguments.from.clone() };
    let report = match arguments.query.ask(&DnsRequest::Query(question))? {
        DnsAnswer::Queried(report) => report,
        other => return Err(arguments.query.unexpected(&other)),
    };
    match arguments.query.output {
        Format::Json => output.json(&report)?,
        Format::Table => output.text(&render(&report, steps, output.colour))?,
    }
    let good = report.lookups.last().is_some_and(|lookup| lookup.rcode == "NOERROR");
    Ok(if good { Finding::Good } else { Finding::Bad })
}

fn render(report: &QueryReport, steps: bool, colour: bool) -> String {
    let mut text = match &report.pod {
        Some(pod) => format!("For pod {pod}, {}\n", report.client),
        None => format!("For {}\n", report.client),
    };
    for lookup in &report.lookups {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n{}", render_lookup(lookup, steps, colour));
    }
    text
}

fn render_lookup(lookup: &Lookup, steps: bool, colour: bool) -> String {
    let mark = if lookup.rcode == "NOERROR" { Mark::Good } else { Mark::Bad };
    let mut text = format!(
        "{} {}  {}  {}  in {}\n",
        lookup.name,
        lookup.kind,
        mark.paint(&lookup.rcode, colour),
        way(lookup),
        time(lookup.took_micros),
    );
    for record in lookup.answer.iter().chain(&lookup.authority) {
        let _ = writeln!(text, "    {record}");
    }
    if lookup.rcode == "NOERROR" && lookup.answer.is_empty() {
        let _ = writeln!(text, "    the name exists, and has no {} record", lookup.kind);
    }
    if steps {
        for (number, step) in lookup.steps.iter().enumerate() {
            let _ = write!(text, "{:>4}. {}", number + 1, render_step(step));
        }
    }
    text
}

fn way(lookup: &Lookup) -> String {
    let answered =
        || lookup.steps.iter().flat_map(|step| &step.upstreams).rfind(|attempt| attempt.took_micros.is_some());
    match (lookup.way, answered()) {
        (Way::Upstream, Some(attempt)) => format!("from upstream {}", attempt.upstream),
        (other, _) => format!("from {}", other.label()),
    }
}

fn render_step(step: &TraceStep) -> String {
    let mut text = format!("{}  {}", step.name, step.decision);
    if let Some(cause) = &step.cause {
        let _ = write!(text, "  [{cause}]");
    }
    text.push('\n');
    for attempt in &step.upstreams {
        let _ = writeln!(text, "        {}", render_attempt(attempt));
    }
    text
}

fn render_attempt(attempt: &UpstreamAttempt) -> String {
    let by = if attempt.by_stream { " by TCP" } else { "" };
    let took = attempt.took_micros.map(|micros| format!(" after {}", time(micros))).unwrap_or_default();
    format!("at {}  {}{by}  {}{took}", time(attempt.after_micros), attempt.upstream, attempt.outcome)
}

fn time(micros: u64) -> String {
    match micros {
        0..1000 => format!("{micros} µs"),
        _ => format!("{}.{} ms", micros / 1000, micros % 1000 / 100),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::assert_golden;
    use seaway_model::PodRef;

    fn attempt(upstream: &str, after_micros: u64, took_micros: u64, outcome: &str) -> UpstreamAttempt {
        let (upstream, outcome) = (upstream.to_owned(), outcome.to_owned());
        UpstreamAttempt { upstream, by_stream: false, after_micros, took_micros: Some(took_micros), outcome }
    }

    fn step(name: &str, decision: &str, cause: Option<&str>, upstreams: Vec<UpstreamAttempt>) -> TraceStep {
        TraceStep { name: name.into(), decision: decision.into(), cause: cause.map(Into::into), upstreams }
    }

    fn report() -> QueryReport {
        let name = "api.example.org.shop.svc.cluster.local.";
        let attempts =
            vec![attempt("10.0.0.1:53", 40, 45_000, "silent"), attempt("10.0.0.2:53", 45_060, 1_250, "NOERROR")];
        QueryReport {
            client: [10, 244, 0, 3].into(),
            pod: Some(PodRef { namespace: "shop".into(), name: "web-0".into() }),
            lookups: vec![Lookup {
                name: name.into(),
                kind: "A".into(),
                rcode: "NOERROR".into(),
                flags: vec!["ra".into()],
                way: Way::Upstream,
                took_micros: 46_400,
                answer: vec![format!("{name} 5 CNAME api.example.org."), "api.example.org. 60 A 192.0.2.1".into()],
                authority: Vec::new(),
                steps: vec![
                    step(name, "does not exist in the cluster", Some("no Service org/example"), Vec::new()),
                    step("api.example.org.", "the next of the pod's search list", Some("dns.search"), Vec::new()),
                    step("api.example.org.", "answered by upstreams", Some("dns.upstreams"), attempts),
                ],
            }],
        }
    }

    #[test]
    fn a_trace_tells_each_step_with_its_cause_and_whom_it_asked() {
        assert_golden("dns-trace.txt", &render(&report(), true, false));
    }

    #[test]
    fn a_query_tells_the_answer_and_where_it_came_from() {
        let mut report = report();
        report.lookups[0].way = Way::Cache;
        let text = render(&report, false, false);
        assert!(text.contains("NOERROR  from cache  in 46.4 ms") && !text.contains("1. "), "{text}");
        report.lookups[0].answer.clear();
        assert!(render(&report, false, false).contains("has no A record"));
    }
}
