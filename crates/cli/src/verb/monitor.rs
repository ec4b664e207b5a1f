//! `seaway monitor`: drops as they happen.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use clap::Args;
use clap::builder::PossibleValuesParser;
use seaway_model::agent_api::{Answer, DropEvent, Request};
use seaway_model::{DropReason, PodRef};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use super::QueryArguments;
use crate::output::{Format, Mark, Output};
use crate::{CliError, Finding};

pub(crate) const EXAMPLES: &str = "\
Examples:
  seaway monitor                             every drop on this node
  seaway monitor --pod shop/web-0            those from or to one pod
  seaway monitor --reason spoofed_source_ip --count 1
  seaway monitor -o json                     one JSON object a line

docs/reference/drop-reasons.md explains each reason.";

/// UTC to the millisecond: event times are reckoned from the uptime, which has no more.
const TIME: &[BorrowedFormatItem<'static>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// IANA numbers of the protocols that have ports.
const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;

/// Arguments of `seaway monitor`.
#[derive(Debug, Clone, Args)]
pub struct MonitorArguments {
    #[command(flatten)]
    query: QueryArguments,
    /// Only drops from or to this pod.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pod: Option<String>,
    /// Only drops for this reason.
    #[arg(long, value_parser = PossibleValuesParser::new(DropReason::ALL.iter().map(|reason| reason.label())), hide_possible_values = true)]
    reason: Option<String>,
    /// Stop after this many drops.
    #[arg(long, value_name = "NUMBER")]
    count: Option<usize>,
}

#[derive(Serialize)]
struct TimedDrop<'a> {
    time: String,
    #[serde(flatten)]
    event: &'a DropEvent,
}

pub(crate) fn run(arguments: &MonitorArguments, output: &mut Output<'_>) -> Result<Finding, CliError> {
    let client = arguments.query.client();
    let booted = boot_time();
    let mut left = arguments.count;
    for answer in client.stream(&Request::Monitor)? {
        let event = match answer? {
            Answer::Dropped(event) => event,
            Answer::Missed { drops } => {
                eprintln!("{drops} drops came faster than they could be shown");
                continue;
            }
            other => return Err(client.unexpected(&Request::Monitor, &other)),
        };
        if !arguments.wants(&event) {
            continue;
        }
        match arguments.query.output {
            Format::Json => output.json_line(&TimedDrop { time: time_of(&event, booted), event: &event })?,
            Format::Table => {
                let line = render(&event, booted, output.colour);
                output.text(&line)?;
            }
        }
        left = left.map(|count| count.saturating_sub(1));
        if left == Some(0) {
            break;
        }
    }
    Ok(Finding::Good)
}

/// When this machine booted, from its clock and its uptime.
fn boot_time() -> OffsetDateTime {
    let uptime_secs = std::fs::read_to_string("/proc/uptime")
        .ok()
        .and_then(|text| text.split_whitespace().next().and_then(|first| first.parse::<f64>().ok()))
        .filter(|seconds| seconds.is_finite() && *seconds >= 0.0)
        .unwrap_or(0.0);
    OffsetDateTime::from(SystemTime::now()) - Duration::from_secs_f64(uptime_secs)
}

fn time_of(event: &DropEvent, booted: OffsetDateTime) -> String {
    let time = booted.checked_add(time::Duration::seconds_f64(event.boot_time_nanos as f64 / 1e9));
    time.and_then(|time| time.format(TIME).ok()).unwrap_or_else(|| "-".to_owned())
}

fn render(event: &DropEvent, booted: OffsetDateTime, colour: bool) -> String {
    // In ICMP the kernel programs give the echo identifier in the ports' place.
    let port = |number| if matches!(event.protocol, TCP | UDP | SCTP) { number } else { 0 };
    format!(
        "{}  {}  {} -> {}  {}  cause: {}{}\n",
        time_of(event, booted),
        Mark::Bad.paint(&format!("{:<18}", event.reason), colour),
        end(event.source, port(event.source_port), event.source_pod.as_ref()),
        end(event.destination, port(event.destination_port), event.destination_pod.as_ref()),
        protocol_name(event),
        event.cause,
        event.interface.as_ref().map(|name| format!("  on {name}")).unwrap_or_default(),
    )
}

/// `shop/web-0 10.244.0.3:80`, as much as is known.
fn end(address: Option<IpAddr>, port: u16, pod: Option<&PodRef>) -> String {
    let address = match (address, port) {
        (None, _) => "-".to_owned(),
        (Some(address), 0) => address.to_string(),
        (Some(address), port) => std::net::SocketAddr::new(address, port).to_string(),
    };
    pod.map_or_else(|| address.clone(), |pod| format!("{pod} {address}"))
}

/// IANA protocol numbers that pods use; anything else by number.
fn protocol_name(event: &DropEvent) -> String {
    match event.protocol {
        0 if event.source.is_none() => "-".to_owned(),
        1 => "ICMP".to_owned(),
        TCP => "TCP".to_owned(),
        UDP => "UDP".to_owned(),
        58 => "ICMPv6".to_owned(),
        SCTP => "SCTP".to_owned(),
        number => format!("protocol {number}"),
    }
}

// === impl MonitorArguments ===

impl MonitorArguments {
    fn wants(&self, event: &DropEvent) -> bool {
        let is_it = |pod: &Option<PodRef>, wanted: &str| pod.as_ref().is_some_and(|pod| pod.to_string() == wanted);
        let pod_fits = self
            .pod
            .as_ref()
            .is_none_or(|wanted| is_it(&event.source_pod, wanted) || is_it(&event.destination_pod, wanted));
        pod_fits && self.reason.as_ref().is_none_or(|wanted| *wanted == event.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::assert_golden;
    use seaway_model::InterfaceName;

    fn spoofed() -> DropEvent {
        DropEvent {
            boot_time_nanos: 61_500_000_000,
            reason: DropReason::SpoofedSourceIp.label().to_owned(),
            source: Some("10.9.9.9".parse().unwrap()),
            destination: Some("10.244.0.7".parse().unwrap()),
            source_port: 40_000,
            destination_port: 80,
            protocol: 6,
            source_pod: Some(PodRef { namespace: "shop".into(), name: "web-0".into() }),
            destination_pod: None,
            cause: "pod shop/web-0".to_owned(),
            interface: Some(InterfaceName::from("sw01234567")),
        }
    }

    fn arguments(pod: Option<&str>, reason: Option<&str>) -> MonitorArguments {
        MonitorArguments {
            query: QueryArguments { output: Format::Table, socket: "/nonexistent".into() },
            pod: pod.map(str::to_owned),
            reason: reason.map(str::to_owned),
            count: None,
        }
    }

    #[test]
    fn a_drop_is_one_line_with_names_and_cause() {
        let mut neighbor = spoofed();
        (neighbor.source, neighbor.destination, neighbor.protocol) = (None, None, 0);
        neighbor.reason = DropReason::SpoofedNeighbor.label().to_owned();
        let mut echo = spoofed();
        (echo.protocol, echo.source_port, echo.destination_port) = (58, 7, 7);
        echo.source = Some("fd00::1".parse().unwrap());
        let lines: String =
            [spoofed(), neighbor, echo].iter().map(|e| render(e, OffsetDateTime::UNIX_EPOCH, false)).collect();
        assert_golden("monitor.txt", &lines);
    }

    #[test]
    fn filters_select_by_pod_and_reason() {
        assert!(arguments(None, None).wants(&spoofed()));
        assert!(arguments(Some("shop/web-0"), Some("spoofed_source_ip")).wants(&spoofed()));
        assert!(!arguments(Some("shop/web-1"), None).wants(&spoofed()));
        assert!(!arguments(None, Some("malformed")).wants(&spoofed()));
    }
}
