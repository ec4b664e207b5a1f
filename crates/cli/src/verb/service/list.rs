//! `seaway service list`.

use seaway_model::agent_api::ServiceQuestion;
use seaway_services::ServiceSummary;

use super::ListArguments;
use crate::output::{Format, Mark, Output};
use crate::{CliError, Finding, table};

pub(super) fn run(arguments: &ListArguments, output: &mut Output<'_>) -> Result<Finding, CliError> {
    let mut services: Vec<ServiceSummary> = super::ask(&arguments.query.client(), ServiceQuestion::List)?;
    services.retain(|one| arguments.namespace.as_ref().is_none_or(|wanted| one.service.namespace == *wanted));
    services.retain(|one| !arguments.problems || !one.problems.is_empty());
    match arguments.query.output {
        Format::Json => output.json(&services)?,
        Format::Table => {
            let text = render(&services, arguments.problems, output.colour);
            output.text(&text)?;
        }
    }
    Ok(if arguments.problems && !services.is_empty() { Finding::Bad } else { Finding::Good })
}

fn render(services: &[ServiceSummary], with_problems: bool, colour: bool) -> String {
    if services.is_empty() {
        return "no Services\n".to_owned();
    }
    let rows: Vec<_> = services.iter().map(row).collect();
    let mut text = table::render(&["SERVICE", "TYPE", "ADDRESSES", "PORTS", "BACKENDS", "LOCAL", "PROBLEMS"], &rows);
    if with_problems {
        for problem in services.iter().flat_map(|one| &one.problems) {
            text.push_str(&format!("{} {problem}\n", Mark::Bad.paint("!", colour)));
        }
    }
    text
}

fn row(one: &ServiceSummary) -> Vec<String> {
    let addresses: Vec<_> = one.addresses.iter().map(ToString::to_string).collect();
    let ports: Vec<_> = one
        .ports
        .iter()
        .map(|port| match port.node_port {
            Some(node_port) => format!("{}:{node_port}/{}", port.port, port.protocol),
            None => format!("{}/{}", port.port, port.protocol),
        })
        .collect();
    let dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    vec![
        one.service.to_string(),
        format!("{:?}", one.kind),
        dash(addresses.join(",")),
        dash(ports.join(",")),
        one.backends.to_string(),
        one.local_backends.to_string(),
        if one.problems.is_empty() { "-".to_owned() } else { one.problems.len().to_string() },
    ]
}

#[cfg(test)]
mod tests {
    use seaway_model::service::ServiceKind;
    use seaway_model::{Protocol, ServiceRef};
    use seaway_services::PortSummary;

    use super::*;
    use crate::golden::assert_golden;

    #[test]
    fn services_with_and_without_addresses_are_listed() {
        let port = |port, node_port| PortSummary { port, protocol: Protocol::Tcp, node_port };
        let web = ServiceSummary {
            service: ServiceRef::new("shop", "web"),
            kind: ServiceKind::NodePort,
            addresses: vec!["10.96.0.7".parse().unwrap(), "fd00:10:96::7".parse().unwrap()],
            ports: vec![port(80, Some(30080)), port(443, None)],
            backends: 3,
            local_backends: 1,
            problems: vec!["Service shop/web: something is wrong".to_owned()],
        };
        let headless = ServiceSummary {
            service: ServiceRef::new("shop", "db"),
            kind: ServiceKind::ClusterIP,
            addresses: Vec::new(),
            ports: Vec::new(),
            backends: 0,
            local_backends: 0,
            problems: Vec::new(),
        };
        assert_golden("service-list.txt", &render(&[headless, web], true, false));
        assert_eq!(render(&[], false, false), "no Services\n");
    }
}
