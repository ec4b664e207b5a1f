//! Objects that only DNS needs to know: Services of other clusters (KEP-1645), and Gateways with
//! the routes that hang on them (Gateway API). Their kinds exist only where somebody installed them.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::labels::Labels;
use crate::service::{ServicePort, ServiceRef};

/// A Service of other clusters (`ServiceImport`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceImport {
    /// `type: Headless`: endpoints are told, not an address.
    pub headless: bool,
    /// `ips`; empty for headless ones.
    pub addresses: Vec<IpAddr>,
    /// `ports`.
    pub ports: Vec<ServicePort>,
}

/// A Gateway as people name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GatewayRef {
    /// Namespace of the Gateway.
    pub namespace: String,
    /// Name of the Gateway.
    pub name: String,
}

/// A route as people name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RouteRef {
    /// Its kind.
    pub kind: RouteKind,
    /// Namespace of the route.
    pub namespace: String,
    /// Name of the route.
    pub name: String,
}

/// Kinds of routes that have host names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RouteKind {
    /// `HTTPRoute`.
    #[serde(rename = "HTTPRoute")]
    Http,
    /// `GRPCRoute`.
    #[serde(rename = "GRPCRoute")]
    Grpc,
    /// `TLSRoute`.
    #[serde(rename = "TLSRoute")]
    Tls,
}

/// A Gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gateway {
    /// Seconds since 1970 when it was created: the older of two objects keeps a name both claim.
    pub created_at_seconds: i64,
    /// `status.addresses` of type `IPAddress`.
    pub addresses: Vec<IpAddr>,
    /// The first of `status.addresses` of type `Hostname`.
    pub hostname: Option<String>,
    /// `spec.listeners`.
    pub listeners: Vec<Listener>,
    /// Annotations about names, as those of Services.
    pub annotations: Labels,
}

/// A listener of a Gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    /// `name`.
    pub name: String,
    /// `hostname`, which may begin with `*.`; none: all names.
    pub hostname: Option<String>,
    /// `port`.
    pub port: u16,
}

/// A route with host names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// Seconds since 1970 when it was created.
    pub created_at_seconds: i64,
    /// `spec.hostnames`; empty: those of the listeners.
    pub hostnames: Vec<String>,
    /// The Gateways that accepted it.
    pub parents: Vec<RouteParent>,
    /// Annotations about names, as those of Services.
    pub annotations: Labels,
}

/// A Gateway that accepted a route (`status.parents` with condition `Accepted`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteParent {
    /// Which.
    pub gateway: GatewayRef,
    /// `sectionName`: one listener only.
    pub listener: Option<String>,
    /// `port`: listeners of this port only.
    pub port: Option<u16>,
}

/// Something changed among these objects. A stream of them begins with everything there is, then
/// [`NameChange::Synced`]; of a kind that the cluster does not have there is nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameChange {
    /// An import was made or changed; without one: deleted.
    Import {
        /// Which.
        of: ServiceRef,
        /// What it is now.
        now: Option<Arc<ServiceImport>>,
    },
    /// A Gateway was made or changed; without one: deleted.
    Gateway {
        /// Which.
        of: GatewayRef,
        /// What it is now.
        now: Option<Arc<Gateway>>,
    },
    /// A route was made or changed; without one: deleted.
    Route {
        /// Which.
        of: RouteRef,
        /// What it is now.
        now: Option<Arc<Route>>,
    },
    /// Everything that exists has been told once.
    Synced,
}

impl fmt::Display for GatewayRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl RouteKind {
    /// The kind as the API calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            RouteKind::Http => "HTTPRoute",
            RouteKind::Grpc => "GRPCRoute",
            RouteKind::Tls => "TLSRoute",
        }
    }
}

impl fmt::Display for RouteRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind.name(), self.namespace, self.name)
    }
}
