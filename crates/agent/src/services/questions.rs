//! What people ask about Services, answered from the table.

use seaway_model::agent_api::{Failure, ServiceQuestion};
use seaway_services::reference::{Client, Destination, trace};
use seaway_services::{ServicePlan, ServiceTable};
use serde::Serialize;
use serde_json::Value;

use super::facts::Facts;
use crate::AgentError;
use crate::error::agent_failure;

/// Answers one question.
pub(super) fn answer(
    question: &ServiceQuestion,
    table: &ServiceTable,
    facts: Option<&Facts>,
) -> Result<Value, Failure> {
    if !table.is_synced() {
        let waiting_for = "the cluster's Services from the API server";
        return Err(agent_failure(&AgentError::NotReady { waiting_for }));
    }
    match question {
        ServiceQuestion::List => json(&table.summaries()),
        ServiceQuestion::Show { service } => match table.explain(service) {
            Some(report) => json(&report),
            None => Err(agent_failure(&AgentError::NoSuchService { service: service.clone() })),
        },
        ServiceQuestion::Trace { client, destination, port, protocol } => {
            let Some(facts) = facts else {
                let waiting_for = "this node's object from the API server";
                return Err(agent_failure(&AgentError::NotReady { waiting_for }));
            };
            let inside = client.is_none_or(|address| facts.is_inside(&address));
            // Source ranges see the node, where a process of it calls.
            let of_node =
                || facts.node.node_addresses.iter().copied().find(|own| own.is_ipv4() == destination.is_ipv4());
            let client = Client { inside, address: client.or_else(of_node) };
            let destination = Destination { address: *destination, protocol: *protocol, port: *port };
            let plans: Vec<&ServicePlan> = table.plans().map(AsRef::as_ref).collect();
            json(&trace(plans, &facts.for_reference(), client, destination))
        }
    }
}

fn json(report: &impl Serialize) -> Result<Value, Failure> {
    serde_json::to_value(report)
        .map_err(|error| agent_failure(&AgentError::RequestMalformed { problem: error.to_string() }))
}
