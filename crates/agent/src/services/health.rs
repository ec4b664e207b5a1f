//! What outside load balancers ask: one port for the node (`/healthz`, `/livez`; KEP-3836), and one
//! for each Service with policy Local (`spec.healthCheckNodePort`), which is well while the node has
//! ready endpoints of it. Bodies and headers are kube-proxy's.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use seaway_model::ServiceRef;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::metrics::ServiceMetrics;

/// Changes that wait longer than this mean that the node no longer follows the cluster.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Pause before a port that is taken is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(5);
/// How many ready endpoints the node has, for load balancers that weigh nodes by it.
const WEIGHT_HEADER: HeaderName = HeaderName::from_static("x-load-balancing-endpoint-weight");

/// Health check ports and what they say.
pub(crate) type HealthPorts = BTreeMap<u16, PortHealth>;

/// What one port says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PortHealth {
    pub(crate) service: ServiceRef,
    pub(crate) local_ready_endpoints: u32,
}

/// How well the node follows the cluster's Services. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct NodeHealth(Arc<Mutex<Condition>>);

#[derive(Debug, Clone, Copy, Default)]
struct Condition {
    synced: bool,
    waiting_since: Option<Instant>,
    leaving: bool,
}

// === impl NodeHealth ===

impl NodeHealth {
    pub(crate) fn synced(&self) {
        self.change(|condition| condition.synced = true);
    }

    pub(crate) fn waiting(&self, since: Option<Instant>) {
        self.change(|condition| condition.waiting_since = since);
    }

    pub(crate) fn leaving(&self, leaving: bool) {
        self.change(|condition| condition.leaving = leaving);
    }

    fn change(&self, change: impl FnOnce(&mut Condition)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn condition(&self) -> Condition {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Condition ===

impl Condition {
    /// The program works.
    fn is_live(&self) -> bool {
        self.waiting_since.is_none_or(|since| since.elapsed() < LONGEST_WAIT)
    }

    /// New connections should come.
    fn is_healthy(&self) -> bool {
        self.synced && self.is_live() && !self.leaving
    }
}

/// Serves the node's own port until cancelled; a taken port is tried again.
pub(crate) async fn serve_node(
    address: SocketAddr,
    health: NodeHealth,
    metrics: ServiceMetrics,
    shutdown: CancellationToken,
) {
    let router =
        Router::new().route("/healthz", get(healthz)).route("/livez", get(livez)).with_state((health, metrics));
    serve(Listen::At(address), router, shutdown).await;
}

async fn healthz(State((health, metrics)): State<(NodeHealth, ServiceMetrics)>) -> Response {
    let condition = health.condition();
    let answer = node_answer(condition, condition.is_healthy());
    metrics.health_answer(answer.status().as_u16());
    answer
}

async fn livez(State((health, metrics)): State<(NodeHealth, ServiceMetrics)>) -> Response {
    let condition = health.condition();
    let answer = node_answer(condition, condition.is_live());
    metrics.live_answer(answer.status().as_u16());
    answer
}

fn node_answer(condition: Condition, good: bool) -> Response {
    let waiting_seconds = condition.waiting_since.map_or(0, |since| since.elapsed().as_secs());
    let body = json!({
        "nodeEligible": !condition.leaving, "synced": condition.synced, "waitingSeconds": waiting_seconds,
    });
    (status(good), Json(body)).into_response()
}

fn status(good: bool) -> StatusCode {
    if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// Serves each Service's port while the Service wants it.
pub(crate) async fn serve_services(mut wanted: watch::Receiver<Arc<HealthPorts>>, shutdown: CancellationToken) {
    let mut open: BTreeMap<u16, CancellationToken> = BTreeMap::new();
    loop {
        let ports = Arc::clone(&wanted.borrow_and_update());
        open.retain(|port, server| {
            let keep = ports.contains_key(port);
            if !keep {
                server.cancel();
            }
            keep
        });
        for port in ports.keys() {
            open.entry(*port).or_insert_with(|| {
                let stop = shutdown.child_token();
                let router = Router::new().fallback(service_health).with_state((*port, wanted.clone()));
                tokio::spawn(serve(Listen::Port(*port), router, stop.clone()));
                stop
            });
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = wanted.changed() => if changed.is_err() { return },
        }
    }
}

async fn service_health(State((port, wanted)): State<(u16, watch::Receiver<Arc<HealthPorts>>)>) -> Response {
    let Some(health) = wanted.borrow().get(&port).cloned() else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let endpoints = health.local_ready_endpoints;
    let body = json!({
        "service": { "namespace": health.service.namespace, "name": health.service.name },
        "localEndpoints": endpoints,
        "serviceProxyHealthy": true,
    });
    (status(endpoints > 0), [(WEIGHT_HEADER, endpoints.to_string())], Json(body)).into_response()
}

/// Where to listen.
#[derive(Debug, Clone, Copy)]
enum Listen {
    At(SocketAddr),
    /// On every address of either family.
    Port(u16),
}

async fn serve(listen: Listen, router: Router, shutdown: CancellationToken) {
    let listener = loop {
        match bind(listen).await {
            Ok(listener) => break listener,
            Err(error) => tracing::warn!(?listen, %error, "cannot listen for health checks; trying again"),
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(RETRY_PAUSE) => {}
        }
    };
    let served = axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(?listen, %error, "health checks are no longer answered");
    }
}

async fn bind(listen: Listen) -> std::io::Result<TcpListener> {
    match listen {
        Listen::At(address) => TcpListener::bind(address).await,
        Listen::Port(port) => match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
            Ok(listener) => Ok(listener),
            // A node without IPv6.
            Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_leaves_is_live_and_not_healthy() {
        let health = NodeHealth::default();
        assert!(!health.condition().is_healthy(), "nothing is programmed yet");
        assert!(health.condition().is_live());
        health.synced();
        assert!(health.condition().is_healthy());
        health.leaving(true);
        assert!(!health.condition().is_healthy() && health.condition().is_live());
        health.leaving(false);
        health.waiting(Instant::now().checked_sub(LONGEST_WAIT));
        assert!(!health.condition().is_healthy() && !health.condition().is_live());
    }
}
