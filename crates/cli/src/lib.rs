//! The operator verbs of `seaway` (layer 4): ask the agent of this node over
//! its Unix socket and show the answer as a table or as JSON.
//!
//! [`Verb`] is the clap tree, [`run`] the entry point. Each verb is one file
//! under `verb/` with a pure `render`; [`client`] is the only one that talks
//! to the agent, [`output`] the only one that writes.

pub mod client;
pub mod error;
#[cfg(test)]
mod golden;
pub mod output;
mod table;
mod verb;

use clap::Subcommand;
use seaway_datapath::KernelSupport;

pub use error::CliError;
pub use output::{Format, Output};
pub use verb::{
    AuditArguments, CheckArguments, DnsCacheArguments, DnsLogArguments, DnsQueryArguments, DnsQuestionArguments,
    DnsStatsArguments, DnsTopArguments, DnsVerb, MonitorArguments, QueryArguments, ServiceArguments, StatusArguments,
};

/// What a verb found, beside having run without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// All is well.
    Good,
    /// The question was answered, and the answer is a problem.
    Bad,
}

/// Verbs that look at a running Seaway.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Show the agent of this node: ready or why not, backend, pods, blocks.
    #[command(after_help = verb::STATUS_EXAMPLES)]
    Status(StatusArguments),
    /// Check what this node's kernel can do, and whether it holds what the agent wants.
    #[command(after_help = verb::CHECK_EXAMPLES)]
    Check(CheckArguments),
    /// List the pods connected on this node with their addresses and interfaces.
    #[command(after_help = verb::ENDPOINTS_EXAMPLES)]
    Endpoints(QueryArguments),
    /// List the address blocks of this node and how full they are.
    #[command(after_help = verb::IPAM_EXAMPLES)]
    Ipam(QueryArguments),
    /// Show dropped packets as they happen: reason, pods, and the object that caused each.
    #[command(after_help = verb::MONITOR_EXAMPLES)]
    Monitor(MonitorArguments),
    /// Show what Services mean on this node: backends, reasons, and where a packet would go.
    #[command(after_help = verb::SERVICE_EXAMPLES)]
    Service(ServiceArguments),
    /// Compare the kernel with the plan now, repair it, and name what differed.
    #[command(after_help = verb::AUDIT_EXAMPLES)]
    Audit(AuditArguments),
}

/// Finds out what this kernel can do: `seaway_datapath::probe`, or a pretended kernel.
pub type Probe = fn() -> KernelSupport;

/// Carries out a verb.
///
/// # Errors
/// When the agent cannot be asked or the answer cannot be shown.
pub fn run(verb: &Verb, probe: Probe, output: &mut Output<'_>) -> Result<Finding, CliError> {
    match verb {
        Verb::Status(arguments) => verb::status(arguments, output),
        Verb::Check(arguments) => verb::check(arguments, probe, output),
        Verb::Endpoints(arguments) => verb::endpoints(arguments, output),
        Verb::Ipam(arguments) => verb::ipam(arguments, output),
        Verb::Monitor(arguments) => verb::monitor(arguments, output),
        Verb::Service(arguments) => verb::service(arguments, output),
        Verb::Audit(arguments) => verb::audit(arguments, output),
    }
}

/// Carries out a verb that looks at the DNS server of this node.
///
/// # Errors
/// When the server cannot be asked or the answer cannot be shown.
pub fn run_dns(verb: &DnsVerb, output: &mut Output<'_>) -> Result<Finding, CliError> {
    verb::dns(verb, output)
}
