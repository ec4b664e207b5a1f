//! The connection to the API server.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::KubeApiError;

/// How long one request may take. Agents must learn of a dead API server soon, and the server's
/// own limit for ordinary requests is 60 s.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// Longest silence on a connection. Watches get a bookmark about every minute, so more means that
/// the other end is gone without a word (a cut link, a frozen server).
pub(crate) const SILENCE_LIMIT: Duration = Duration::from_secs(90);

/// How to reach the API server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Connection {
    /// File to use instead of the pod's service account.
    pub kubeconfig: Option<PathBuf>,
    /// Replaces the address from either, for as long as nothing translates Service addresses.
    pub server: Option<ApiAddress>,
}

/// Where the API server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiAddress {
    /// IP address or DNS name that the server's certificate covers.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// A connection to one cluster. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    pub(crate) client: kube::Client,
}

impl Cluster {
    /// The namespace this program runs in, from its service account or kubeconfig.
    #[must_use]
    pub fn own_namespace(&self) -> &str {
        self.client.default_namespace()
    }
}

/// Reads credentials and sets the client up; does not talk to the server yet.
pub async fn connect(connection: &Connection) -> Result<Cluster, KubeApiError> {
    // A second call fails because the first succeeded: that is what is wanted.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut config = configuration(connection).await?;
    if let Some(address) = &connection.server {
        config.cluster_url = server_url(address)?;
    }
    config.read_timeout = Some(SILENCE_LIMIT);
    let client = kube::Client::try_from(config).map_err(|source| KubeApiError::Setup { source: Box::new(source) })?;
    Ok(Cluster { client })
}

async fn configuration(connection: &Connection) -> Result<kube::Config, KubeApiError> {
    let Some(path) = &connection.kubeconfig else {
        // With an address of our own the environment need not name one.
        let config =
            if connection.server.is_some() { kube::Config::incluster_dns() } else { kube::Config::incluster() };
        return config.map_err(|source| KubeApiError::ServiceAccount { source: Box::new(source) });
    };
    let failed = |source| KubeApiError::Kubeconfig { path: path.clone(), source: Box::new(source) };
    let kubeconfig = Kubeconfig::read_from(path).map_err(failed)?;
    kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.map_err(failed)
}

fn server_url<T: std::str::FromStr<Err: std::fmt::Display>>(address: &ApiAddress) -> Result<T, KubeApiError> {
    let ApiAddress { host, port } = address;
    let host_in_url = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.clone() };
    format!("https://{host_in_url}:{port}").parse().map_err(|error: T::Err| KubeApiError::ServerAddress {
        host: host.clone(),
        port: *port,
        reason: error.to_string(),
    })
}

/// Runs one request with the time limit; `action` completes "cannot …".
pub(crate) async fn request<T>(
    action: impl Into<String>,
    future: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, KubeApiError> {
    let action = action.into();
    match tokio::time::timeout(REQUEST_LIMIT, future).await {
        Ok(result) => result.map_err(|error| KubeApiError::from_kube(action, error)),
        Err(_) => Err(KubeApiError::NoAnswer { action, limit: REQUEST_LIMIT }),
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").finish_non_exhaustive()
    }
}
