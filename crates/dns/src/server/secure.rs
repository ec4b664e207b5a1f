//! TLS towards upstreams (RFC 7858, the strict profile of RFC 8310): the certificate
//! must have the configured name.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use seaway_runtime::config::DnsTls;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::error::DnsError;

/// Where distributions keep the roots of trust.
pub const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// How TLS names HTTP/2.
const HTTP2: &[u8] = b"h2";

/// What certificates of upstreams are checked against.
#[derive(Debug, Clone)]
pub struct Trust {
    client: Arc<ClientConfig>,
    http: Arc<ClientConfig>,
}

// === impl Trust ===

impl Trust {
    /// Trusts what a PEM file holds; without one nobody is trusted.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn load(roots: Option<&Path>) -> Result<Self, DnsError> {
        let mut store = RootCertStore::empty();
        if let Some(path) = roots {
            let failed = |error: rustls::pki_types::pem::Error| DnsError::Certificate {
                path: path.to_owned(),
                source: std::io::Error::other(error),
            };
            for certificate in CertificateDer::pem_file_iter(path).map_err(failed)? {
                // One that cannot be used trusts nobody, which is safe.
                let _ = store.add(certificate.map_err(failed)?);
            }
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| DnsError::Certificate {
            path: roots.unwrap_or(Path::new(SYSTEM_ROOTS)).to_owned(),
            source: std::io::Error::other(error),
        })?;
        let client = builder.with_root_certificates(store).with_no_client_auth();
        let mut http = client.clone();
        http.alpn_protocols = vec![HTTP2.to_vec()];
        Ok(Self { client: Arc::new(client), http: Arc::new(http) })
    }

    /// TLS over a connection. Sessions are resumed, so the second handshake is short.
    pub(super) async fn tls(&self, name: &str, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(name.to_owned()).map_err(std::io::Error::other)?;
        TlsConnector::from(Arc::clone(&self.client)).connect(name, stream).await
    }

    /// The same for HTTP/2, which both sides must agree on (RFC 9113 §3.2).
    pub(super) async fn tls_for_http(&self, name: &str, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(name.to_owned()).map_err(std::io::Error::other)?;
        let stream = TlsConnector::from(Arc::clone(&self.http)).connect(name, stream).await?;
        if stream.get_ref().1.alpn_protocol() != Some(HTTP2) {
            return Err(std::io::Error::other("the server does not speak HTTP/2"));
        }
        Ok(stream)
    }
}

/// What answers clients over TLS.
///
/// # Errors
/// When certificate or key cannot be used.
pub fn acceptor(files: &DnsTls) -> Result<TlsAcceptor, DnsError> {
    let failed = |path: &Path, error: &dyn std::fmt::Display| DnsError::Certificate {
        path: path.to_owned(),
        source: std::io::Error::other(error.to_string()),
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect)
        .map_err(|error| failed(&files.certificate, &error))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| failed(&files.key, &error))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| failed(&files.certificate, &error))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
