//! TLS towards upstreams (RFC 7858, the strict profile of RFC 8310): the certificate
//! must have the configured name.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use seaway_runtime::config::DnsTls;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::error::DnsError;

/// Where distributions keep the roots of trust.
pub const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// What certificates of upstreams are checked against.
#[derive(Debug, Clone)]
pub struct Trust {
    client: Arc<ClientConfig>,
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
        Ok(Self { client: Arc::new(builder.with_root_certificates(store).with_no_client_auth()) })
    }

    /// One query and its answer over TLS. Sessions are resumed, so the second handshake is short.
    pub(super) async fn over_tls(&self, address: SocketAddr, name: &str, octets: &[u8]) -> std::io::Result<Vec<u8>> {
        let name = ServerName::try_from(name.to_owned()).map_err(std::io::Error::other)?;
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut stream = TlsConnector::from(Arc::clone(&self.client)).connect(name, stream).await?;
        super::dial::converse(&mut stream, octets).await
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
