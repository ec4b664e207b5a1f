//! `seaway service backends`: each endpoint, in or out, and why.

use seaway_model::agent_api::ServiceQuestion;
use seaway_services::{EndpointReport, Fate, PortReport, ServiceReport};

use super::OneArguments;
use crate::output::{Mark, Output};
use crate::{CliError, Finding, table};

pub(super) fn run(arguments: &OneArguments, output: &mut Output<'_>) -> Result<Finding, CliError> {
    let question = ServiceQuestion::Show { service: arguments.service.clone() };
    let report: ServiceReport = super::show_as(&arguments.query, question, output, render)?;
    let serves = |one: &EndpointReport| one.cluster.is_used() || one.local.is_used();
    let any = report.ports.iter().flat_map(|port| &port.endpoints).any(serves);
    Ok(if any || report.not_served.is_some() { Finding::Good } else { Finding::Bad })
}

pub(super) fn render(report: &ServiceReport, colour: bool) -> String {
    let rows: Vec<_> =
        report.ports.iter().flat_map(|port| port.endpoints.iter().map(|one| row(port, one, colour))).collect();
    if rows.is_empty() {
        return "no endpoints\n".to_owned();
    }
    table::render(&["PORT", "ENDPOINT", "POD", "NODE", "ZONE", "POLICY CLUSTER", "POLICY LOCAL"], &rows)
}

fn row(port: &PortReport, one: &EndpointReport, colour: bool) -> Vec<String> {
    let name = if port.name.is_empty() { port.port.to_string() } else { port.name.clone() };
    let endpoint = match (one.address, one.port) {
        (Some(address), Some(port)) => std::net::SocketAddr::new(address, port).to_string(),
        (Some(address), None) => address.to_string(),
        (None, _) => "-".to_owned(),
    };
    let dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    vec![
        format!("{name}/{}", port.protocol),
        endpoint,
        dash(one.pod.as_ref().map(ToString::to_string)),
        dash(one.node.as_ref().map(ToString::to_string)),
        dash(one.zone.clone()),
        fate(one.cluster, colour),
        fate(one.local, colour),
    ]
}

/// `in` or `out`, and the reason.
fn fate(fate: Fate, colour: bool) -> String {
    let reason = match fate {
        Fate::Used => return Mark::Good.paint("in", colour),
        Fate::UsedWhileTerminating => {
            return format!("{}: terminating, none is ready", Mark::Unneeded.paint("in", colour));
        }
        Fate::NotReady => "not ready",
        Fate::Terminating => "terminating",
        Fate::TerminatingAndNotServing => "terminating, not serving",
        Fate::OtherNode => "hinted for other nodes",
        Fate::OtherZone => "hinted for other zones",
        Fate::NotOnThisNode => "not on this node",
        Fate::NoSuchPort => "its slice has no such port",
        Fate::UnusableAddress => "unusable address",
        Fate::WrongFamily => "address of the wrong family",
        Fate::Duplicate => "same address and port as another",
    };
    format!("{}: {reason}", Mark::Bad.paint("out", colour))
}

#[cfg(test)]
mod tests {
    use seaway_model::service::{ServiceKind, TrafficPolicy};
    use seaway_model::{PodRef, Protocol, ServiceRef};

    use super::*;
    use crate::golden::assert_golden;

    #[test]
    fn each_endpoint_says_why_it_serves_or_not() {
        let endpoint = |last: u8, node: &str, cluster, local| EndpointReport {
            address: Some(format!("10.244.0.{last}").parse().unwrap()),
            port: Some(8080),
            slice: "web-x".into(),
            pod: Some(PodRef { namespace: "shop".into(), name: format!("web-{last}") }),
            node: Some(node.into()),
            zone: Some("a".into()),
            weight: 1,
            cluster,
            local,
        };
        let endpoints = vec![
            endpoint(2, "n1", Fate::Used, Fate::Used),
            endpoint(3, "n2", Fate::Used, Fate::NotOnThisNode),
            endpoint(4, "n1", Fate::NotReady, Fate::NotReady),
        ];
        let port = PortReport { name: "http".into(), protocol: Protocol::Tcp, port: 80, ipv4: true, endpoints };
        let report = ServiceReport {
            service: ServiceRef::new("shop", "web"),
            kind: ServiceKind::ClusterIP,
            not_served: None,
            internal_policy: TrafficPolicy::Cluster,
            external_policy: TrafficPolicy::Cluster,
            frontends: Vec::new(),
            ports: vec![port],
            health_check: None,
            problems: Vec::new(),
        };
        assert_golden("service-backends.txt", &render(&report, false));
    }
}
