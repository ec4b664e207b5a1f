//! `seaway bench`: Seaway beside its peers, in one run on one machine.
//!
//! Figures of one machine are for ratios, so only ratios are judged, and each
//! figure is the median of rounds in which the peers take turns.

mod dns;
pub mod error;
mod fill;
pub mod load;
mod pod_network;
mod pods;
mod report;
mod services;

use clap::{Args, Subcommand};

pub use error::BenchError;

use crate::error::Result;

/// Compare Seaway with its peers on this machine.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  seaway bench pod-network\n  seaway bench pod-network --rounds 5 --seconds 5 -o json\n  seaway bench services --quick\n  seaway bench services --sizes 1,100,10000\n  seaway bench dns --quick"
)]
pub struct BenchArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Pod to pod on one node and between nodes, CNI ADD, and a burst of pods.
    PodNetwork(pod_network::PodNetworkArgs),
    /// Connections through Services, changes and restarts, beside kube-proxy.
    Services(services::ServicesArgs),
    /// Answers a second, their times, memory, and what an upgrade loses, beside CoreDNS.
    Dns(dns::DnsArgs),
}

// === impl BenchArgs ===

impl BenchArgs {
    /// Runs the benchmark and prints its report.
    ///
    /// # Errors
    /// A lab does not come up, or a peer's network does not carry the load.
    pub fn run(&self) -> Result<()> {
        match &self.what {
            What::PodNetwork(arguments) => arguments.run(),
            What::Services(arguments) => arguments.run(),
            What::Dns(arguments) => arguments.run(),
        }
    }
}
