//! One file per verb: its arguments, what it asks, and a pure `render`.

mod audit;
mod check;
mod dns;
mod endpoints;
mod ipam;
mod monitor;
mod service;
mod status;

use std::path::PathBuf;

use clap::Args;
use seaway_model::agent_api::AGENT_SOCKET;

pub use audit::AuditArguments;
pub(crate) use audit::{EXAMPLES as AUDIT_EXAMPLES, run as audit};
pub use check::CheckArguments;
pub(crate) use check::{EXAMPLES as CHECK_EXAMPLES, run as check};
pub(crate) use dns::run as dns;
pub use dns::{
    DnsCacheArguments, DnsLogArguments, DnsQueryArguments, DnsQuestionArguments, DnsStatsArguments, DnsTopArguments,
    DnsVerb,
};
pub(crate) use endpoints::{EXAMPLES as ENDPOINTS_EXAMPLES, run as endpoints};
pub(crate) use ipam::{EXAMPLES as IPAM_EXAMPLES, run as ipam};
pub use monitor::MonitorArguments;
pub(crate) use monitor::{EXAMPLES as MONITOR_EXAMPLES, run as monitor};
pub use service::ServiceArguments;
pub(crate) use service::{EXAMPLES as SERVICE_EXAMPLES, run as service};
pub use status::StatusArguments;
pub(crate) use status::{EXAMPLES as STATUS_EXAMPLES, run as status};

use crate::client::AgentClient;
use crate::output::Format;

/// Arguments of every verb that asks the agent.
#[derive(Debug, Clone, Args)]
pub struct QueryArguments {
    /// How to show the answer.
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Format,
    /// The agent's socket.
    #[arg(long, value_name = "PATH", default_value = AGENT_SOCKET, env = "SEAWAY_SOCKET")]
    pub(crate) socket: PathBuf,
}

// === impl QueryArguments ===

impl QueryArguments {
    fn client(&self) -> AgentClient {
        AgentClient::new(&self.socket)
    }
}
