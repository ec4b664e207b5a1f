//! `seaway dns cache`: what is kept of others' answers, and forgetting it.

use std::fmt::Write;

use clap::{Args, Subcommand};
use seaway_model::dns_api::{CachedAnswer, DnsAnswer, DnsRequest};

use super::client::DnsQueryArguments;
use crate::output::{Format, Output};
use crate::{CliError, Finding, table};

pub(super) const EXAMPLES: &str = "\
Examples:
  seaway dns cache                          the answers that are kept longest
  seaway dns cache show api.example.org     with records
  seaway dns cache flush api.example.org    forget one name
  seaway dns cache flush --all";

/// Arguments of `seaway dns cache`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct DnsCacheArguments {
    #[command(subcommand)]
    step: Option<CacheVerb>,
    #[command(flatten)]
    list: ListArguments,
}

#[derive(Debug, Args)]
struct ListArguments {
    /// Show at most so many.
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    query: DnsQueryArguments,
}

#[derive(Debug, Subcommand)]
enum CacheVerb {
    /// List what is kept.
    List(ListArguments),
    /// Show what is kept for a name, with records.
    Show {
        /// The name.
        name: String,
        #[command(flatten)]
        query: DnsQueryArguments,
    },
    /// Forget what is kept for a name, or everything.
    Flush {
        /// The name.
        #[arg(required_unless_present = "all")]
        name: Option<String>,
        /// Everything.
        #[arg(long, conflicts_with = "name")]
        all: bool,
        #[command(flatten)]
        query: DnsQueryArguments,
    },
}

pub(super) fn run(arguments: &DnsCacheArguments, output: &mut Output<'_>) -> Result<Finding, CliError> {
    match &arguments.step {
        None => list(&arguments.list, output),
        Some(CacheVerb::List(arguments)) => list(arguments, output),
        Some(CacheVerb::Show { name, query }) => {
            let (entries, _) = entries(query, Some(name.clone()), usize::MAX)?;
            match query.output {
                Format::Json => output.json(&entries)?,
                Format::Table => output.text(&render_one(name, &entries))?,
            }
            Ok(if entries.is_empty() { Finding::Bad } else { Finding::Good })
        }
        Some(CacheVerb::Flush { name, query, .. }) => match query.ask(&DnsRequest::Flush { name: name.clone() })? {
            DnsAnswer::Flushed { entries } => {
                match query.output {
                    Format::Json => output.json(&serde_json::json!({ "forgotten": entries }))?,
                    Format::Table => output.text(&format!("forgot {entries} answers\n"))?,
                }
                Ok(Finding::Good)
            }
            other => Err(query.unexpected(&other)),
        },
    }
}

fn list(arguments: &ListArguments, output: &mut Output<'_>) -> Result<Finding, CliError> {
    let (entries, total) = entries(&arguments.query, None, arguments.limit)?;
    match arguments.query.output {
        Format::Json => output.json(&entries)?,
        Format::Table => output.text(&render(&entries, total))?,
    }
    Ok(Finding::Good)
}

fn entries(
    query: &DnsQueryArguments,
    name: Option<String>,
    limit: usize,
) -> Result<(Vec<CachedAnswer>, usize), CliError> {
    match query.ask(&DnsRequest::Cache { name, limit })? {
        DnsAnswer::Cache { entries, total } => Ok((entries, total)),
        other => Err(query.unexpected(&other)),
    }
}

fn left(entry: &CachedAnswer) -> String {
    if entry.left_seconds >= 0 { format!("{} s", entry.left_seconds) } else { "over".to_owned() }
}

fn render(entries: &[CachedAnswer], total: usize) -> String {
    let row = |entry: &CachedAnswer| {
        vec![
            entry.name.clone(),
            entry.kind.clone(),
            entry.rcode.clone(),
            left(entry),
            entry.hits.to_string(),
            entry.upstreams.join(", "),
        ]
    };
    let rows: Vec<Vec<String>> = entries.iter().map(row).collect();
    let mut text = table::render(&["NAME", "TYPE", "CODE", "LEFT", "HITS", "UPSTREAMS"], &rows);
    if total > entries.len() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "and {} more (--limit)", total - entries.len());
    }
    text
}

fn render_one(name: &str, entries: &[CachedAnswer]) -> String {
    if entries.is_empty() {
        return format!("nothing is kept for {name}\n");
    }
    let mut text = render(entries, entries.len());
    for record in entries.iter().flat_map(|entry| &entry.records) {
        let _ = writeln!(text, "    {record}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::assert_golden;

    #[test]
    fn answers_are_listed_with_what_is_left_of_their_time() {
        let entry = |name: &str, left_seconds| CachedAnswer {
            name: name.to_owned(),
            kind: "A".to_owned(),
            rcode: "NOERROR".to_owned(),
            upstreams: vec!["10.0.0.1:53".to_owned()],
            left_seconds,
            hits: 3,
            octets: 300,
            records: vec![format!("{name} 12 A 192.0.2.1")],
        };
        let entries = [entry("api.example.org.", 12), entry("old.example.org.", -4)];
        assert_golden("dns-cache.txt", &(render(&entries, 7) + &render_one("api.example.org", &entries[..1])));
        assert_eq!(render_one("nobody", &[]), "nothing is kept for nobody\n");
    }
}
