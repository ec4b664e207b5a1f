//! Why a verb could not be carried out.

use std::path::PathBuf;

use seaway_model::agent_api::Failure;
use seaway_model::{Diagnose, ErrorId};

/// Why a verb could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// There is no socket.
    #[error("no agent on this host: {} does not exist", socket.display())]
    NoAgent {
        /// Where it should be.
        socket: PathBuf,
    },
    /// There is a socket, but nobody answers or we may not ask.
    #[error("cannot reach the agent at {}", socket.display())]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The conversation broke off.
    #[error("lost the agent at {} while it answered", socket.display())]
    Conversation {
        /// The socket.
        socket: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The answer is no answer we know.
    #[error("agent at {} answered {text:?}, which is no answer to {verb}", socket.display())]
    Answer {
        /// The socket.
        socket: PathBuf,
        /// What was asked.
        verb: &'static str,
        /// The line, shortened.
        text: String,
    },
    /// The agent could not do it.
    #[error("agent refused")]
    Refused {
        /// What it said.
        source: Failure,
    },
    /// Standard output cannot be written.
    #[error("cannot write the answer to standard output")]
    Output {
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The DNS server of this node does not tell its metrics.
    #[error("no DNS server tells its metrics at {address}")]
    NoDns {
        /// Where it should.
        address: std::net::SocketAddr,
        /// What the kernel or the server said.
        source: std::io::Error,
    },
    /// kubectl is not there or did not get an answer.
    #[error("{} {words}: {reason}", program.display())]
    Kubectl {
        /// The program.
        program: PathBuf,
        /// What it was asked.
        words: String,
        /// What it or the kernel said.
        reason: String,
    },
    /// The DNS server of this node does not answer at its socket.
    #[error("no DNS server answers at {}", socket.display())]
    DnsSocket {
        /// Where it should.
        socket: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The DNS server could not do it.
    #[error("DNS server refused")]
    DnsRefused {
        /// What it said.
        source: Failure,
    },
    /// Waiting took longer than asked for.
    #[error("not ready after {seconds} s: {last}")]
    StillNotReady {
        /// How long we waited.
        seconds: u64,
        /// What was missing at the end.
        last: String,
    },
}

// === impl CliError ===

impl CliError {
    /// The reader of our output has gone (`seaway endpoints | head -1`): no error for people.
    #[must_use]
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output { source } if source.kind() == std::io::ErrorKind::BrokenPipe)
    }
}

impl Diagnose for CliError {
    fn id(&self) -> ErrorId {
        ErrorId(match self {
            Self::NoAgent { .. } => 801,
            Self::Connect { .. } => 802,
            Self::Conversation { .. } => 803,
            Self::Answer { .. } => 804,
            Self::Refused { .. } => 805,
            Self::Output { .. } => 806,
            Self::StillNotReady { .. } => 807,
            Self::NoDns { .. } => 808,
            Self::Kubectl { .. } => 809,
            Self::DnsSocket { .. } => 810,
            Self::DnsRefused { .. } => 811,
        })
    }

    fn fix(&self) -> String {
        match self {
            Self::NoAgent { .. } => {
                "run this on a node where seaway-agent runs (in a lab: `seaway lab exec NODE -- seaway status`), \
                 or name its socket with --socket"
                    .to_owned()
            }
            Self::Connect { .. } => {
                "run as root; if the agent is down, see `kubectl -n seaway-system logs ds/seaway-agent`".to_owned()
            }
            Self::Conversation { .. } => "ask again; the agent may just be restarting".to_owned(),
            Self::Answer { .. } => "use the seaway program of the same version as the agent".to_owned(),
            Self::Refused { source } | Self::DnsRefused { source } => source.fix.clone(),
            Self::DnsSocket { .. } => {
                "run this as root on a node where seaway-dns runs, or name its socket with --socket; \
                 `kubectl -n kube-system logs ds/seaway-dns` says more"
                    .to_owned()
            }
            Self::Output { .. } => "check that the disk or terminal behind the output has room".to_owned(),
            Self::NoDns { .. } => "run this on a node where seaway-dns runs, or name its address with --admin; \
                 `kubectl -n kube-system logs ds/seaway-dns` says more"
                .to_owned(),
            Self::Kubectl { .. } => "`kubectl get nodes` must work here: set KUBECONFIG (in a lab: \
                 `export KUBECONFIG=$(seaway lab kubeconfig)`), or name the program with --kubectl"
                .to_owned(),
            Self::StillNotReady { .. } => {
                "`seaway status` lists all problems; `kubectl -n seaway-system logs ds/seaway-agent` says more"
                    .to_owned()
            }
        }
    }
}
