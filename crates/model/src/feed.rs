//! What the agent tells the other daemons of its node, so that they need no
//! connection to the Kubernetes API and outlive one that breaks.
//!
//! A follower sends [`crate::agent_api::Request::Follow`] and reads lines of
//! [`crate::agent_api::Answer::Changes`]. The first change is
//! [`FeedChange::Begin`], then comes everything there is, then
//! [`FeedChange::Synced`], then what changes from there on. The agent sends
//! `Synced` only when it has itself heard everything from the API once. After a
//! connection breaks the follower keeps what it has, follows again, and at
//! `Synced` forgets the objects that were not told again.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::dns::DnsSpec;
use crate::ids::{NodeName, PodRef};
use crate::names::{Gateway, GatewayRef, NameChange, Route, RouteRef, ServiceImport};
use crate::service::{EndpointSlice, Service, ServiceRef, SliceRef};
use crate::snapshot::{Namespace, Node, Pod};

/// File beside the agent's socket in which the DNS server of the node keeps the names it last knew,
/// to answer with when it starts while no agent does.
pub const NAMES_FILE: &str = "dns-names.json";

/// Something a follower must know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "camelCase")]
pub enum FeedChange {
    /// A new stream begins; objects of earlier ones that are not told again
    /// before [`FeedChange::Synced`] are gone.
    Begin {
        /// The node of this agent.
        node: NodeName,
    },
    /// A Service was made or changed; without one: deleted.
    Service {
        /// Which.
        of: ServiceRef,
        /// What it is now.
        now: Option<Arc<Service>>,
    },
    /// A slice was made or changed; without one: deleted.
    Slice {
        /// Which.
        of: SliceRef,
        /// What it is now.
        now: Option<Arc<EndpointSlice>>,
    },
    /// A pod was made or changed; without one: deleted. Those of this node, and for a follower
    /// that asked for all pods those of others, with their addresses and node alone.
    Pod {
        /// Which.
        of: PodRef,
        /// What it is now.
        now: Option<Arc<Pod>>,
    },
    /// A namespace was made or changed; without one: deleted.
    Namespace {
        /// Which.
        of: String,
        /// What it is now.
        now: Option<Arc<Namespace>>,
    },
    /// A node was made or changed; without one: deleted.
    Node {
        /// Which.
        of: NodeName,
        /// What it is now.
        now: Option<Arc<Node>>,
    },
    /// A Service of other clusters was made or changed; without one: deleted. For followers that
    /// asked for imports.
    Import {
        /// Which.
        of: ServiceRef,
        /// What it is now.
        now: Option<Arc<ServiceImport>>,
    },
    /// A Gateway was made or changed; without one: deleted. For followers that asked for Gateways.
    Gateway {
        /// Which.
        of: GatewayRef,
        /// What it is now.
        now: Option<Arc<Gateway>>,
    },
    /// A route of a Gateway was made or changed; without one: deleted. For those followers, too.
    Route {
        /// Which.
        of: RouteRef,
        /// What it is now.
        now: Option<Arc<Route>>,
    },
    /// A `DNSConfig` was made or changed; without one: deleted.
    DnsConfig {
        /// Which.
        of: String,
        /// What it is now.
        now: Option<Arc<DnsSpec>>,
    },
    /// Everything that exists has been told once, but for imports, Gateways and routes.
    Synced,
    /// All of those that the follower asked for have been told once, too. A kind that the
    /// cluster does not have is told with this.
    SyncedNames,
}

/// What a follower wants to be told beside what all are told. The agent watches it only while
/// somebody asks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Interest {
    /// All pods of the cluster, not only those of this node.
    #[serde(alias = "all_pods")]
    pub all_pods: bool,
    /// Services of other clusters.
    pub imports: bool,
    /// Gateways and their routes.
    pub gateways: bool,
}

// === impl Interest ===

impl Interest {
    /// What either wants.
    #[must_use]
    pub fn or(self, other: Interest) -> Interest {
        Interest {
            all_pods: self.all_pods || other.all_pods,
            imports: self.imports || other.imports,
            gateways: self.gateways || other.gateways,
        }
    }
}

// === impl FeedChange ===

impl FeedChange {
    /// What a change of the Service watch is in the feed; its `Synced` is none, because the
    /// feed's own waits for the other kinds too.
    #[must_use]
    pub fn of_service(change: crate::service::ServiceChange) -> Option<FeedChange> {
        use crate::service::ServiceChange;
        match change {
            ServiceChange::Service { of, now } => Some(FeedChange::Service { of, now }),
            ServiceChange::Slice { of, now } => Some(FeedChange::Slice { of, now }),
            ServiceChange::Synced => None,
        }
    }

    /// What a change of the watch of imports, Gateways and routes is in the feed, as
    /// [`FeedChange::of_service`] does.
    #[must_use]
    pub fn of_name(change: NameChange) -> Option<FeedChange> {
        match change {
            NameChange::Import { of, now } => Some(FeedChange::Import { of, now }),
            NameChange::Gateway { of, now } => Some(FeedChange::Gateway { of, now }),
            NameChange::Route { of, now } => Some(FeedChange::Route { of, now }),
            NameChange::Synced => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_one_flat_json_object_each() {
        let gone = FeedChange::Service { of: ServiceRef::new("shop", "web"), now: None };
        let text = serde_json::to_string(&gone).unwrap();
        assert_eq!(text, r#"{"change":"service","of":{"namespace":"shop","name":"web"},"now":null}"#);
        assert_eq!(serde_json::from_str::<FeedChange>(&text).unwrap(), gone);
        assert_eq!(serde_json::to_string(&FeedChange::Synced).unwrap(), r#"{"change":"synced"}"#);
    }
}
