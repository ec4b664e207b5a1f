//! `seaway dns log`: queries as they are answered.

use clap::Args;
use seaway_model::dns_api::{DnsAnswer, DnsRequest, LogFilter, QueryRecord};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use super::client::DnsQueryArguments;
use crate::output::{Format, Mark, Output};
use crate::{CliError, Finding};

pub(super) const EXAMPLES: &str = "\
Examples:
  seaway dns log                                  every query on this node
  seaway dns log --pod shop/web-0                 those of one pod
  seaway dns log --name .example.org              for that domain and all below
  seaway dns log --failed --slow --recent         what failed or was slow, also before now
  seaway dns log --rcode NXDOMAIN --count 10 -o json";

/// UTC to the millisecond.
const TIME: &[BorrowedFormatItem<'static>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// Arguments of `seaway dns log`.
#[derive(Debug, Args)]
pub struct DnsLogArguments {
    /// Only queries from pods of this namespace.
    #[arg(long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Only queries from this pod.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pod: Option<String>,
    /// Only queries for this name; with a dot before it, for all names below too.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Only answers with this code.
    #[arg(long, value_name = "CODE")]
    rcode: Option<String>,
    /// Only those that failed (SERVFAIL).
    #[arg(long)]
    failed: bool,
    /// Only those that took longer than `dns.slowMilliseconds`.
    #[arg(long)]
    slow: bool,
    /// Begin with failed and slow queries that the server still knows.
    #[arg(long)]
    recent: bool,
    /// Stop after this many queries.
    #[arg(long, value_name = "NUMBER")]
    count: Option<usize>,
    #[command(flatten)]
    query: DnsQueryArguments,
}

#[derive(Serialize)]
struct TimedQuery<'a> {
    time: String,
    #[serde(flatten)]
    query: &'a QueryRecord,
}

pub(super) fn run(arguments: &DnsLogArguments, output: &mut Output<'_>) -> Result<Finding, CliError> {
    let mut left = arguments.count;
    for answer in arguments.query.stream(&DnsRequest::Log { filter: arguments.filter() })? {
        let record = match answer? {
            DnsAnswer::Query(record) => record,
            DnsAnswer::Listening => continue,
            DnsAnswer::Missed { queries } => {
                eprintln!("{queries} queries came faster than they could be shown");
                continue;
            }
            other => return Err(arguments.query.unexpected(&other)),
        };
        match arguments.query.output {
            Format::Json => output.json_line(&TimedQuery { time: time_of(&record), query: &record })?,
            Format::Table => output.text(&render(&record, output.colour))?,
        }
        left = left.map(|count| count.saturating_sub(1));
        if left == Some(0) {
            break;
        }
    }
    Ok(Finding::Good)
}

// === impl DnsLogArguments ===

impl DnsLogArguments {
    fn filter(&self) -> LogFilter {
        LogFilter {
            namespace: self.namespace.clone(),
            pod: self.pod.clone(),
            name: self.name.clone(),
            rcode: self.rcode.clone(),
            failed: self.failed,
            slow: self.slow,
            recent: self.recent,
        }
    }
}

fn time_of(record: &QueryRecord) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(record.unix_millis) * 1_000_000).ok();
    time.and_then(|time| time.format(TIME).ok()).unwrap_or_else(|| "-".to_owned())
}

fn render(record: &QueryRecord, colour: bool) -> String {
    let client =
        record.pod.as_ref().map_or_else(|| record.client.to_string(), |pod| format!("{pod} {}", record.client));
    let mark = match record.rcode.as_str() {
        "NOERROR" => Mark::Good,
        "NXDOMAIN" => Mark::Unneeded,
        _ => Mark::Bad,
    };
    let from = record.upstream.as_ref().map(|upstream| format!(" {upstream}")).unwrap_or_default();
    format!(
        "{}  {client}  {} {}  {}  {} records  from {}{from}  {} µs\n",
        time_of(record),
        record.name,
        record.kind,
        mark.paint(&record.rcode, colour),
        record.answers,
        record.way.label(),
        record.took_micros,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::assert_golden;
    use seaway_model::PodRef;
    use seaway_model::dns_api::Way;

    #[test]
    fn a_query_is_one_line_with_pod_way_and_upstream() {
        let known = QueryRecord {
            unix_millis: 1_500,
            client: [10, 244, 0, 3].into(),
            pod: Some(PodRef { namespace: "shop".into(), name: "web-0".into() }),
            name: "api.example.org.".into(),
            kind: "AAAA".into(),
            rcode: "SERVFAIL".into(),
            answers: 0,
            way: Way::Upstream,
            took_micros: 4_000_000,
            upstream: Some("10.0.0.1:53".into()),
        };
        let plain = QueryRecord { pod: None, upstream: None, way: Way::Zone, rcode: "NOERROR".into(), ..known.clone() };
        assert_golden("dns-log.txt", &(render(&known, false) + &render(&plain, false)));
    }
}
