//! `seaway endpoints`: the pods connected on this node.

use seaway_model::agent_api::{Answer, EndpointStatus, Request};

use super::QueryArguments;
use crate::output::{Format, Output};
use crate::{CliError, Finding, table};

pub(crate) const EXAMPLES: &str = "\
Examples:
  seaway endpoints
  seaway endpoints -o json | jq -r '.[].addresses[]'";

/// As many characters as container tools show.
const CONTAINER_ID_SHOWN: usize = 12;

pub(crate) fn run(arguments: &QueryArguments, output: &mut Output<'_>) -> Result<Finding, CliError> {
    let client = arguments.client();
    let endpoints = match client.ask(&Request::Endpoints)? {
        Answer::Endpoints { endpoints } => endpoints,
        other => return Err(client.unexpected(&Request::Endpoints, &other)),
    };
    match arguments.output {
        Format::Json => output.json(&endpoints)?,
        Format::Table => output.text(&render(&endpoints))?,
    }
    Ok(Finding::Good)
}

fn render(endpoints: &[EndpointStatus]) -> String {
    if endpoints.is_empty() {
        return "no pods are connected on this node\n".to_owned();
    }
    let rows: Vec<_> = endpoints.iter().map(row).collect();
    table::render(&["POD", "ADDRESSES", "INTERFACE", "MAC", "SANDBOX"], &rows)
}

fn row(endpoint: &EndpointStatus) -> Vec<String> {
    let addresses: Vec<_> = endpoint.addresses.iter().map(ToString::to_string).collect();
    vec![
        endpoint.pod.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
        addresses.join(","),
        endpoint.host_interface.to_string(),
        endpoint.mac.to_string(),
        endpoint.key.container_id.as_str().chars().take(CONTAINER_ID_SHOWN).collect(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::assert_golden;
    use seaway_model::agent_api::AttachmentKey;
    use seaway_model::{ContainerId, InterfaceName, MacAddress, PodRef};

    fn endpoint(pod: Option<(&str, &str)>, last: u8) -> EndpointStatus {
        EndpointStatus {
            key: AttachmentKey {
                container_id: ContainerId(format!("{last:02}c0ffee00112233445566778899aabb")),
                interface: InterfaceName::from("eth0"),
            },
            pod: pod.map(|(namespace, name)| PodRef { namespace: namespace.into(), name: name.into() }),
            host_interface: InterfaceName(format!("sw0000000{last}")),
            addresses: vec![
                format!("10.244.0.{last}").parse().unwrap(),
                format!("fd00:10:244::{last}").parse().unwrap(),
            ],
            mac: MacAddress([2, 0, 0, 0, 0, last]),
        }
    }

    #[test]
    fn pods_and_nameless_sandboxes_are_listed() {
        let endpoints = [endpoint(Some(("shop", "web-0")), 3), endpoint(None, 4)];
        assert_golden("endpoints.txt", &render(&endpoints));
        assert_eq!(render(&[]), "no pods are connected on this node\n");
    }
}
