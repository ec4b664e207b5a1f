//! `seaway service`: what Services mean on this node, and why.

mod backends;
mod list;
mod show;
mod trace;

use std::net::IpAddr;

use clap::{Args, Subcommand};
use seaway_model::agent_api::{Answer, Request, ServiceQuestion};
use seaway_model::{Protocol, ServiceRef};
use serde::de::DeserializeOwned;

use super::QueryArguments;
use crate::client::AgentClient;
use crate::output::{Format, Output};
use crate::{CliError, Finding};

pub(crate) const EXAMPLES: &str = "\
Examples:
  seaway service list
  seaway service list --problems
  seaway service show shop/web
  seaway service backends shop/web
  seaway service trace 10.96.0.10:53/udp
  seaway service trace --from 192.0.2.7 172.18.0.5:30080";

/// Arguments of `seaway service`.
#[derive(Debug, Args)]
pub struct ServiceArguments {
    #[command(subcommand)]
    verb: ServiceVerb,
}

#[derive(Debug, Subcommand)]
enum ServiceVerb {
    /// List all Services: addresses, ports, backends, problems.
    List(ListArguments),
    /// Show one Service: where clients reach it, and each endpoint with the reason why it serves or not.
    Show(OneArguments),
    /// List the endpoints of a Service: in or out, and why.
    Backends(OneArguments),
    /// Say what becomes of a packet: which Service takes it, where it may go, or why it goes nowhere.
    Trace(TraceArguments),
}

#[derive(Debug, Args)]
struct ListArguments {
    /// Only Services of this namespace.
    #[arg(short, long)]
    namespace: Option<String>,
    /// Only Services with problems; exit code 3 when there are any.
    #[arg(long)]
    problems: bool,
    #[command(flatten)]
    query: QueryArguments,
}

#[derive(Debug, Args)]
struct OneArguments {
    /// NAMESPACE/NAME, or a name in namespace `default`.
    #[arg(value_name = "SERVICE", value_parser = parse_service)]
    service: ServiceRef,
    #[command(flatten)]
    query: QueryArguments,
}

#[derive(Debug, Args)]
struct TraceArguments {
    /// ADDRESS:PORT or ADDRESS:PORT/PROTOCOL; IPv6 addresses in brackets; TCP unless said.
    #[arg(value_name = "DESTINATION", value_parser = parse_destination)]
    destination: Destination,
    /// Client; without it a pod or process of this node.
    #[arg(long, value_name = "ADDRESS")]
    from: Option<IpAddr>,
    #[command(flatten)]
    query: QueryArguments,
}

/// Where a packet is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Destination {
    address: IpAddr,
    port: u16,
    protocol: Protocol,
}

pub(crate) fn run(arguments: &ServiceArguments, output: &mut Output<'_>) -> Result<Finding, CliError> {
    match &arguments.verb {
        ServiceVerb::List(list) => list::run(list, output),
        ServiceVerb::Show(one) => show::run(one, output),
        ServiceVerb::Backends(one) => backends::run(one, output),
        ServiceVerb::Trace(trace) => trace::run(trace, output),
    }
}

/// Asks the agent and reads its report.
fn ask<T: DeserializeOwned>(client: &AgentClient, question: ServiceQuestion) -> Result<T, CliError> {
    let request = Request::Services { question };
    match client.ask(&request)? {
        Answer::Services { report } => serde_json::from_value(report.clone())
            .map_err(|_| client.unexpected(&request, &Answer::Services { report })),
        other => Err(client.unexpected(&request, &other)),
    }
}

/// Asks, and shows the answer in the shape that was wished.
fn show_as<T: DeserializeOwned + serde::Serialize>(
    query: &QueryArguments,
    question: ServiceQuestion,
    output: &mut Output<'_>,
    render: impl FnOnce(&T, bool) -> String,
) -> Result<T, CliError> {
    let report: T = ask(&query.client(), question)?;
    match query.output {
        Format::Json => output.json(&report)?,
        Format::Table => {
            let text = render(&report, output.colour);
            output.text(&text)?;
        }
    }
    Ok(report)
}

fn parse_service(text: &str) -> Result<ServiceRef, String> {
    let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
    if namespace.is_empty() || name.is_empty() || name.contains('/') {
        return Err("write NAMESPACE/NAME".to_owned());
    }
    Ok(ServiceRef::new(namespace, name))
}

fn parse_destination(text: &str) -> Result<Destination, String> {
    let (place, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        other => return Err(format!("{other:?} is none of tcp, udp, sctp")),
    };
    let place: std::net::SocketAddr =
        place.parse().map_err(|_| "write ADDRESS:PORT, an IPv6 address in brackets".to_owned())?;
    Ok(Destination { address: place.ip(), port: place.port(), protocol })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_written_as_people_do() {
        let parsed = parse_destination("[fd00::1]:53/UDP").unwrap();
        assert_eq!((parsed.port, parsed.protocol), (53, Protocol::Udp));
        assert_eq!(parse_destination("10.96.0.1:443").unwrap().protocol, Protocol::Tcp);
        for bad in ["10.96.0.1", "fd00::1:53", "10.96.0.1:80/icmp", "10.96.0.1:70000"] {
            assert!(parse_destination(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_service_without_a_namespace_is_in_default() {
        assert_eq!(parse_service("web").unwrap(), ServiceRef::new("default", "web"));
        assert_eq!(parse_service("shop/web").unwrap(), ServiceRef::new("shop", "web"));
        assert!(parse_service("shop/").is_err() && parse_service("a/b/c").is_err());
    }
}
