//! `seaway service trace`: what becomes of a packet, and why.

use seaway_model::agent_api::ServiceQuestion;
use seaway_services::Backend;
use seaway_services::reference::{Outcome, Trace};

use super::TraceArguments;
use crate::output::{Mark, Output};
use crate::{CliError, Finding, table};

pub(super) fn run(arguments: &TraceArguments, output: &mut Output<'_>) -> Result<Finding, CliError> {
    let destination = arguments.destination;
    let question = ServiceQuestion::Trace {
        client: arguments.from,
        destination: destination.address,
        port: destination.port,
        protocol: destination.protocol,
    };
    let trace: Trace = super::show_as(&arguments.query, question, output, render)?;
    Ok(match trace.outcome {
        Outcome::Backends { .. } | Outcome::Untouched => Finding::Good,
        _ => Finding::Bad,
    })
}

fn render(trace: &Trace, colour: bool) -> String {
    let mut text = String::new();
    if let Some(matched) = &trace.matched {
        let port = if matched.port_name.is_empty() { String::new() } else { format!(", port {}", matched.port_name) };
        text.push_str(&format!("Service {} ({:?}{port})\n", matched.service, matched.kind));
    }
    let bad = |sentence: &str| format!("{}: {sentence}\n", Mark::Bad.paint("no", colour));
    match &trace.outcome {
        Outcome::Backends { backends, algorithm, hide_client, direct_return, affinity_timeout_seconds } => {
            let sees = if *hide_client { "this node's address" } else { "the client's address" };
            let good = Mark::Good.paint("yes", colour);
            text.push_str(&format!(
                "{good}: one of {} backends, chosen by {algorithm:?}; it sees {sees}\n",
                backends.len()
            ));
            if *direct_return {
                text.push_str("a backend of another node answers the client directly\n");
            }
            if let Some(seconds) = affinity_timeout_seconds {
                text.push_str(&format!("a client keeps its backend for {seconds} s\n"));
            }
            let rows: Vec<_> = backends.iter().map(row).collect();
            text.push('\n');
            text.push_str(&table::render(&["BACKEND", "NODE", "HERE", "WEIGHT"], &rows));
        }
        Outcome::RejectNoEndpoints => text.push_str(&bad("refused, because the Service has no endpoints that serve")),
        Outcome::RejectNoSuchPort => text.push_str(&bad("refused, because the Service has no such port")),
        Outcome::DropNoLocalEndpoints => {
            text.push_str(&bad("dropped, because the policy is Local and this node has no endpoint of it"));
        }
        Outcome::DropUnassignedAddress => text.push_str(&bad("dropped, because no Service has this address")),
        Outcome::DropOutsideSourceRanges => {
            text.push_str(&bad("dropped, because the client is in none of spec.loadBalancerSourceRanges"));
        }
        Outcome::Untouched => text.push_str("not a matter of Services: the packet goes on as it is\n"),
    }
    text
}

fn row(backend: &Backend) -> Vec<String> {
    vec![
        std::net::SocketAddr::new(backend.address, backend.port).to_string(),
        backend.node.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
        if backend.local { "yes" } else { "no" }.to_owned(),
        backend.weight.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use seaway_model::ServiceRef;
    use seaway_services::reference::Matched;
    use seaway_services::{Algorithm, FrontendKind};

    use super::*;
    use crate::golden::assert_golden;

    #[test]
    fn a_trace_says_where_a_packet_goes_or_why_not() {
        let matched = |port_name: &str| {
            Some(Matched {
                service: ServiceRef::new("shop", "web"),
                port_name: port_name.into(),
                kind: FrontendKind::ClusterIp,
            })
        };
        let backend = Backend {
            address: "10.244.1.7".parse().unwrap(),
            port: 8080,
            weight: 1,
            local: false,
            node: Some("n2".into()),
        };
        let served = Outcome::Backends {
            backends: vec![backend],
            algorithm: Algorithm::Random,
            hide_client: false,
            direct_return: false,
            affinity_timeout_seconds: Some(60),
        };
        let texts = [
            render(&Trace { matched: matched("http"), outcome: served }, false),
            render(&Trace { matched: matched(""), outcome: Outcome::RejectNoEndpoints }, false),
            render(&Trace { matched: None, outcome: Outcome::DropUnassignedAddress }, false),
            render(&Trace { matched: None, outcome: Outcome::Untouched }, false),
        ];
        assert_golden("service-trace.txt", &texts.join("---\n"));
    }
}
