//! `seaway dns VERB`: the DNS server of this node. [`stats`] reads its metrics, all
//! others ask at its socket.

mod cache;
mod client;
mod log;
mod metrics;
mod query;
mod stats;
mod top;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use clap::{Args, Subcommand};

pub use cache::DnsCacheArguments;
pub use client::DnsQueryArguments;
pub use log::DnsLogArguments;
pub use query::DnsQuestionArguments;
pub use top::DnsTopArguments;

use crate::output::{Format, Output};
use crate::{CliError, Finding};

/// The server answers from memory.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Verbs that look at the DNS server of this node.
#[derive(Debug, Subcommand)]
pub enum DnsVerb {
    /// Show what the server of this node counts: queries, answers, times, cache, upstreams.
    #[command(after_help = "Examples:\n  seaway dns stats\n  seaway dns stats -o json")]
    Stats(DnsStatsArguments),
    /// Answer a question as for a client, and show where the answer came from.
    #[command(after_help = query::QUERY_EXAMPLES)]
    Query(DnsQuestionArguments),
    /// The same with each step and its cause: Services, rules, upstreams and what they said.
    #[command(after_help = query::TRACE_EXAMPLES)]
    Trace(DnsQuestionArguments),
    /// Show what is kept of others' answers, or forget it.
    #[command(after_help = cache::EXAMPLES)]
    Cache(DnsCacheArguments),
    /// Show who asks most, for what, what fails and what is slow.
    #[command(after_help = top::EXAMPLES)]
    Top(DnsTopArguments),
    /// Show queries as they are answered.
    #[command(after_help = log::EXAMPLES)]
    Log(DnsLogArguments),
}

/// Arguments of `seaway dns stats`.
#[derive(Debug, Args)]
pub struct DnsStatsArguments {
    /// How to show the answer.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    /// Where the server tells its metrics (`dns.admin`).
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9153")]
    admin: SocketAddr,
}

pub(crate) fn run(verb: &DnsVerb, output: &mut Output<'_>) -> Result<Finding, CliError> {
    match verb {
        DnsVerb::Stats(arguments) => run_stats(arguments, output),
        DnsVerb::Query(arguments) => query::run(arguments, false, output),
        DnsVerb::Trace(arguments) => query::run(arguments, true, output),
        DnsVerb::Cache(arguments) => cache::run(arguments, output),
        DnsVerb::Top(arguments) => top::run(arguments, output),
        DnsVerb::Log(arguments) => log::run(arguments, output),
    }
}

fn run_stats(arguments: &DnsStatsArguments, output: &mut Output<'_>) -> Result<Finding, CliError> {
    let text = fetch(arguments.admin).map_err(|source| CliError::NoDns { address: arguments.admin, source })?;
    let stats = stats::Stats::of(&metrics::Metrics::parse(&text));
    match arguments.output {
        Format::Json => output.json(&stats)?,
        Format::Table => output.text(&stats::render(&stats, output.colour))?,
    }
    Ok(if stats.synced { Finding::Good } else { Finding::Bad })
}

/// One request of HTTP/1.0: the answer ends with the connection.
fn fetch(admin: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&admin, ANSWER_TIMEOUT)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.write_all(format!("GET /metrics HTTP/1.0\r\nHost: {admin}\r\n\r\n").as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    match text.split_once("\r\n\r\n") {
        Some((head, body)) if head.split(' ').nth(1) == Some("200") => Ok(body.to_owned()),
        _ => Err(std::io::Error::other(format!("it answered {:?}", text.lines().next().unwrap_or_default()))),
    }
}
