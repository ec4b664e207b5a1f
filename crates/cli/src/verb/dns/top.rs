//! `seaway dns top`: names and clients that are seen most.

use clap::Args;
use seaway_model::dns_api::{Counted, DnsAnswer, DnsRequest, TopReport};

use super::client::DnsQueryArguments;
use crate::output::{Format, Output};
use crate::{CliError, Finding, table};

pub(super) const EXAMPLES: &str = "\
Examples:
  seaway dns top                 who asks most, for what, and what fails
  seaway dns top --limit 3 -o json

Names and clients are estimated from one query in 32; failed and slow ones are all counted.";

/// Arguments of `seaway dns top`.
#[derive(Debug, Args)]
pub struct DnsTopArguments {
    /// Show at most so many of each.
    #[arg(long, value_name = "NUMBER", default_value_t = 10)]
    limit: usize,
    #[command(flatten)]
    query: DnsQueryArguments,
}

pub(super) fn run(arguments: &DnsTopArguments, output: &mut Output<'_>) -> Result<Finding, CliError> {
    let report = match arguments.query.ask(&DnsRequest::Top { limit: arguments.limit })? {
        DnsAnswer::Top(report) => report,
        other => return Err(arguments.query.unexpected(&other)),
    };
    match arguments.query.output {
        Format::Json => output.json(&report)?,
        Format::Table => output.text(&render(&report))?,
    }
    Ok(Finding::Good)
}

fn render(report: &TopReport) -> String {
    let mut text = format!("Since the server was started, {} s ago\n", report.seconds);
    for (heading, counted) in [
        ("CLIENT", &report.clients),
        ("NAME", &report.names),
        ("FAILED NAME", &report.failed),
        ("SLOW NAME", &report.slow),
    ] {
        text.push('\n');
        if counted.is_empty() {
            text.push_str(&format!("no {}\n", heading.to_lowercase()));
            continue;
        }
        let rows: Vec<Vec<String>> = counted.iter().map(|one| vec![one.what.clone(), count(one)]).collect();
        text.push_str(&table::render(&[heading, "QUERIES"], &rows));
    }
    text
}

/// `120`, or `120 (at least 90)` when others may have been counted with it.
fn count(counted: &Counted) -> String {
    match counted.error {
        0 => counted.count.to_string(),
        error => format!("{} (at least {})", counted.count, counted.count.saturating_sub(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::assert_golden;

    #[test]
    fn the_most_frequent_are_told_with_their_bounds() {
        let counted = |what: &str, count, error| Counted { what: what.to_owned(), count, error };
        let report = TopReport {
            seconds: 61,
            names: vec![counted("web.shop.svc.cluster.local.", 640, 0), counted("api.example.org.", 96, 32)],
            clients: vec![counted("shop/web-0", 704, 0), counted("10.0.0.9", 32, 0)],
            failed: vec![counted("gone.example.", 3, 0)],
            slow: Vec::new(),
        };
        assert_golden("dns-top.txt", &render(&report));
    }
}
