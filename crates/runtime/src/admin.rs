//! The admin HTTP server of a daemon: `/healthz`, `/readyz`, `/metrics`, and
//! for loopback clients `/debug/state`.
//!
//! The daemon hands over what it knows by [`Introspect`] and its metrics by
//! [`Metrics`]; [`serve`] runs until the token is cancelled.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::registry::Registry;
use seaway_model::{Diagnose, ErrorId};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Metrics of a daemon; filled before the server starts, read at each scrape.
pub type Metrics = Arc<Registry>;

/// What a daemon tells about itself. Answers must be quick: no I/O.
pub trait Introspect: Send + Sync + 'static {
    /// What is so wrong that only a restart helps; empty: alive.
    fn fatal_problems(&self) -> Vec<String> {
        Vec::new()
    }

    /// What keeps the daemon from doing its work now; empty: ready.
    fn problems(&self) -> Vec<String>;

    /// Its state for people, without secrets.
    fn state(&self) -> serde_json::Value;
}

/// Why the admin server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address} for the admin server")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The server stopped by itself.
    #[error("admin server stopped")]
    Serve {
        /// Why.
        source: std::io::Error,
    },
}

/// The server with its socket open.
pub struct Admin {
    listener: TcpListener,
    router: Router,
}

#[derive(Clone)]
struct Shared {
    daemon: Arc<dyn Introspect>,
    metrics: Metrics,
}

/// Opens the socket, so that a taken port is known before work starts.
///
/// # Errors
/// [`AdminError::Bind`].
pub async fn bind(address: SocketAddr, daemon: Arc<dyn Introspect>, metrics: Metrics) -> Result<Admin, AdminError> {
    let listener = TcpListener::bind(address).await.map_err(|source| AdminError::Bind { address, source })?;
    let router = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        // The paths that probes for CoreDNS know.
        .route("/health", get(healthz))
        .route("/ready", get(readyz))
        .route("/metrics", get(metrics_text))
        .route("/debug/state", get(debug_state))
        .with_state(Shared { daemon, metrics });
    Ok(Admin { listener, router })
}

// === impl Admin ===

impl Admin {
    /// Where it listens; tells the port when the configured one was 0.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn address(&self) -> Result<SocketAddr, AdminError> {
        self.listener.local_addr().map_err(|source| AdminError::Serve { source })
    }

    /// Answers requests until `shutdown` is cancelled.
    ///
    /// # Errors
    /// [`AdminError::Serve`].
    pub async fn serve(self, shutdown: CancellationToken) -> Result<(), AdminError> {
        let service = self.router.into_make_service_with_connect_info::<SocketAddr>();
        axum::serve(self.listener, service)
            .with_graceful_shutdown(shutdown.cancelled_owned())
            .await
            .map_err(|source| AdminError::Serve { source })
    }
}

async fn healthz(State(shared): State<Shared>) -> Response {
    verdict(&shared.daemon.fatal_problems())
}

async fn readyz(State(shared): State<Shared>) -> Response {
    verdict(&shared.daemon.problems())
}

fn verdict(problems: &[String]) -> Response {
    if problems.is_empty() {
        (StatusCode::OK, "ok\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, problems.join("\n") + "\n").into_response()
    }
}

async fn metrics_text(State(shared): State<Shared>) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &shared.metrics) {
        Ok(()) => ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
            .into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("cannot encode metrics: {error}\n")).into_response(),
    }
}

/// The state names pods and addresses, so only the node itself may ask.
async fn debug_state(State(shared): State<Shared>, ConnectInfo(client): ConnectInfo<SocketAddr>) -> Response {
    if client.ip().to_canonical().is_loopback() {
        axum::Json(shared.daemon.state()).into_response()
    } else {
        (StatusCode::FORBIDDEN, "/debug/state answers loopback clients only\n").into_response()
    }
}

// === impl AdminError ===

impl Diagnose for AdminError {
    fn id(&self) -> ErrorId {
        ErrorId(match self {
            Self::Bind { .. } => 507,
            Self::Serve { .. } => 508,
        })
    }

    fn fix(&self) -> String {
        match self {
            Self::Bind { address, .. } => format!(
                "free port {} on this node (`ss -ltnp` names its owner) or choose another in admin.agent or admin.controller",
                address.port()
            ),
            Self::Serve { .. } => "restart the daemon; if it happens again, report it with the log".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
