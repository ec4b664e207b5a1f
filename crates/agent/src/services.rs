//! Services on this node: changes of Services and slices become plans (`seaway_services`), plans
//! go to the kernel (`seaway_datapath::ServiceDatapath`), and people can ask why.
//!
//! ```text
//! watch ──changes──▶ ┌──────────────────┐──plans──▶ kernel
//! snapshot ─facts──▶ │ worker (thread)  │──health ports──▶ HTTP servers
//! socket ─question─▶ └──────────────────┘──refusals──▶ Events
//! ```
//!
//! A thread of its own, because calls to the kernel block, and because a cluster's thousands of
//! Services must not hold up the pods that start meanwhile.

mod audits;
mod census;
pub(crate) mod facts;
pub(crate) mod health;
pub(crate) mod metrics;
mod programming;
pub(crate) mod questions;
#[cfg(test)]
mod tests;
mod worker;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use ipnet::IpNet;
use prometheus_client::registry::Registry;
use seaway_datapath::ServiceDatapath;
use seaway_datapath::services::Refusal;
use seaway_model::agent_api::Failure;
use seaway_model::{ServiceChange, Snapshot};
use seaway_runtime::config::Services as Configuration;
use seaway_services::{NodeView, Options, ServiceTable};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::AgentError;
use crate::decide::Settings;
use metrics::ServiceMetrics;
use worker::{Message, Outputs};

pub(crate) use worker::ServicesHandle;

/// What the Services' side of an agent is made of.
pub struct ServiceParts {
    /// The data path.
    pub datapath: Box<dyn ServiceDatapath>,
    /// The configuration.
    pub configuration: Configuration,
    /// All addresses of the host, asked when NodePorts are served on ranges.
    pub host_addresses: Box<dyn Fn() -> Vec<IpAddr> + Send + Sync>,
    /// Pause between two audits; none: only on request.
    pub audit_interval: Option<std::time::Duration>,
    /// The node's ephemeral ports.
    pub ephemeral_ports: std::ops::RangeInclusive<u16>,
}

/// The running Services' side. Clones share it.
#[derive(Clone)]
pub(crate) struct Services {
    handle: ServicesHandle,
    settings: Arc<Settings>,
    configuration: Arc<Configuration>,
    host_addresses: Arc<dyn Fn() -> Vec<IpAddr> + Send + Sync>,
    /// What facts are made of, kept until either part changes.
    sources: Arc<Mutex<Sources>>,
    notices: Arc<Mutex<Option<ServiceNotices>>>,
}

#[derive(Default)]
struct Sources {
    snapshot: Option<Arc<Snapshot>>,
    service_cidrs: Option<Vec<IpNet>>,
}

/// What should be told to people.
pub struct ServiceNotices {
    /// Services that do not fit, each once.
    pub refusals: mpsc::UnboundedReceiver<Refusal>,
    /// What is wrong now.
    pub troubles: watch::Receiver<Vec<Failure>>,
}

// === impl Services ===

impl Services {
    /// Starts the thread and the health servers. Call it in a tokio runtime.
    ///
    /// # Errors
    /// The system has no room for another thread.
    pub(crate) fn start(
        parts: ServiceParts,
        settings: Settings,
        registry: &mut Registry,
        shutdown: &CancellationToken,
    ) -> Result<Services, AgentError> {
        let metrics = ServiceMetrics::new();
        metrics.register(registry);
        let options = Options { ephemeral_ports: parts.ephemeral_ports, ..Options::default() };
        let table = ServiceTable::new(NodeView::new(settings.node.clone()), options);
        let health = health::NodeHealth::default();
        let (health_ports, wanted_ports) = watch::channel(Arc::default());
        let (refusals, refused) = mpsc::unbounded_channel();
        let (troubles, trouble) = watch::channel(Vec::new());
        let outputs = Outputs { health_ports, health: health.clone(), refusals, troubles };
        let handle = worker::start(table, parts.datapath, metrics.clone(), outputs, parts.audit_interval)
            .map_err(|error| AgentError::Owner { problem: error.to_string() })?;
        let address = parts.configuration.health_address;
        tokio::spawn(health::serve_node(address, health, metrics, shutdown.clone()));
        tokio::spawn(health::serve_services(wanted_ports, shutdown.clone()));
        Ok(Services {
            handle,
            settings: Arc::new(settings),
            configuration: Arc::new(parts.configuration),
            host_addresses: Arc::from(parts.host_addresses),
            sources: Arc::default(),
            notices: Arc::new(Mutex::new(Some(ServiceNotices { refusals: refused, troubles: trouble }))),
        })
    }

    pub(crate) fn handle(&self) -> ServicesHandle {
        self.handle.clone()
    }

    pub(crate) fn take_notices(&self) -> Option<ServiceNotices> {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(crate) async fn changes(&self, changes: Vec<ServiceChange>) {
        self.handle.send(Message::Changes(changes, Instant::now())).await;
    }

    pub(crate) async fn snapshot(&self, snapshot: &Arc<Snapshot>) {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).snapshot = Some(Arc::clone(snapshot));
        self.tell_facts().await;
    }

    pub(crate) async fn service_cidrs(&self, cidrs: Vec<IpNet>) {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).service_cidrs = Some(cidrs);
        self.tell_facts().await;
    }

    async fn tell_facts(&self) {
        let facts = {
            let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(snapshot) = &sources.snapshot else { return };
            let ranges = sources.service_cidrs.as_ref().unwrap_or(&self.settings.options.service_cidrs);
            let host_addresses = || (self.host_addresses)();
            facts::facts(snapshot, &self.settings, &self.configuration, ranges, host_addresses)
        };
        if let Some(facts) = facts {
            self.handle.send(Message::Facts(Box::new(facts))).await;
        }
    }
}
