//! What may become of a packet, in the words that all judges share.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use seaway_services::reference::Outcome;

/// What may become of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expected {
    /// It goes to one of these.
    Backends {
        /// Where to.
        to: BTreeSet<SocketAddr>,
        /// They see the node instead of a client from elsewhere.
        hidden: bool,
        /// The client keeps its backend.
        sticky: bool,
        /// A backend of another node may answer the client directly, and none sees the node.
        direct: bool,
    },
    /// Refused: TCP reset or ICMP port unreachable.
    Refused,
    /// Dropped without a word.
    Silence,
    /// Not a matter of Services.
    Untouched,
}

// === impl Expected ===

impl Expected {
    /// The same of a data path whose answers all come back through the node: then those who are
    /// hidden are hidden.
    pub(crate) fn without_direct_return(self) -> Self {
        match self {
            Expected::Backends { to, hidden, sticky, .. } => Expected::Backends { to, hidden, sticky, direct: false },
            other => other,
        }
    }
}

impl From<&Outcome> for Expected {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Backends { backends, hide_client, affinity_timeout_seconds, direct_return, .. } => {
                Expected::Backends {
                    to: backends.iter().map(|one| SocketAddr::new(one.address, one.port)).collect(),
                    hidden: *hide_client,
                    sticky: affinity_timeout_seconds.is_some(),
                    direct: *direct_return,
                }
            }
            Outcome::RejectNoEndpoints | Outcome::RejectNoSuchPort => Expected::Refused,
            Outcome::DropNoLocalEndpoints | Outcome::DropUnassignedAddress | Outcome::DropOutsideSourceRanges => {
                Expected::Silence
            }
            Outcome::Untouched => Expected::Untouched,
        }
    }
}
