//! What can go wrong in a benchmark, ids SW0990 to SW0999.

use std::net::SocketAddr;
use std::path::PathBuf;

use seaway_model::{Diagnose, ErrorId};

/// An error of a benchmark.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The network failed under load.
    #[error("cannot {action} {address}")]
    Network {
        /// What was tried, as a verb.
        action: &'static str,
        /// With whom.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// A program that the benchmark runs failed.
    #[error("{program} failed: {reason}")]
    Program {
        /// The program.
        program: String,
        /// What it printed.
        reason: String,
    },
    /// A CNI network list cannot be used.
    #[error("network list {} is unusable: {reason}", path.display())]
    Conflist {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A pod has no network namespace on its node.
    #[error("node {node} has no network namespace with address {address}")]
    NoNamespace {
        /// The node.
        node: String,
        /// Address of the pod.
        address: String,
    },
}

/// Adds the peer to an I/O error.
pub(super) trait NetworkContext<T> {
    /// `action` is a verb with its preposition: "listen on".
    fn on_network(self, action: &'static str, address: SocketAddr) -> Result<T, BenchError>;
}

// === impl NetworkContext ===

impl<T> NetworkContext<T> for std::io::Result<T> {
    fn on_network(self, action: &'static str, address: SocketAddr) -> Result<T, BenchError> {
        self.map_err(|source| BenchError::Network { action, address, source })
    }
}

// === impl BenchError ===

impl Diagnose for BenchError {
    fn id(&self) -> ErrorId {
        ErrorId(match self {
            BenchError::Network { .. } => 990,
            BenchError::Program { .. } => 991,
            BenchError::Conflist { .. } => 992,
            BenchError::NoNamespace { .. } => 993,
        })
    }

    fn fix(&self) -> String {
        match self {
            BenchError::Network { .. } => {
                "the peer's network does not carry this traffic; run `seaway lab test` in that lab".into()
            }
            BenchError::Program { .. } => "read what it printed; the lab's logs (`seaway lab logs`) have more".into(),
            BenchError::Conflist { .. } => "name the list that the node's runtime uses, in /etc/cni/net.d".into(),
            BenchError::NoNamespace { .. } => "the pod ended while it was measured; run the benchmark again".into(),
        }
    }
}
