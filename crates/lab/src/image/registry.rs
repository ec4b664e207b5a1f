//! A client of the registry HTTP API (OCI distribution spec v1.1, the pull
//! part), with the token handshake registries use for anonymous reading.

use std::io::Write;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, StatusCode, header};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::time::timeout;

use super::error::ImageError;
use super::name::ImageName;
use super::oci::{Descriptor, media_type};
use super::staging::BlobWriter;

/// To connect; longer means no network.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two pieces of an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Registries redirect once, to their blob storage.
const MOST_REDIRECTS: usize = 5;
/// Manifests and tokens are small; the distribution spec allows 4 MiB.
const LARGEST_DOCUMENT_BYTES: usize = 4 * 1024 * 1024;

/// How to talk to a registry.
#[derive(Debug, Clone, Copy, Default)]
pub struct PullOptions {
    /// HTTP instead of HTTPS.
    pub plain_http: bool,
}

/// One repository of one registry.
pub(super) struct Repository {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    base: String,
    registry: String,
    path: String,
    token: Option<String>,
}

/// A manifest or index as it came.
pub(super) struct Document {
    pub(super) media_type: String,
    pub(super) bytes: Bytes,
}

// === impl Repository ===

impl Repository {
    pub(super) fn new(name: &ImageName, options: PullOptions) -> Result<Self, ImageError> {
        let registry = match name.domain() {
            // Names without a host belong to docker.io, which serves its API here.
            "docker.io" => "registry-1.docker.io",
            domain => domain,
        };
        let scheme = if options.plain_http || is_loopback(registry) { "http" } else { "https" };
        Ok(Self {
            client: client(registry)?,
            base: format!("{scheme}://{registry}"),
            registry: registry.to_owned(),
            path: name.path().to_owned(),
            token: None,
        })
    }

    /// GET /v2/<name>/manifests/<reference>.
    pub(super) async fn manifest(&mut self, reference: &str) -> Result<Document, ImageError> {
        let accept =
            [media_type::OCI_MANIFEST, media_type::OCI_INDEX, media_type::DOCKER_MANIFEST, media_type::DOCKER_INDEX]
                .join(", ");
        let url = format!("{}/v2/{}/manifests/{reference}", self.base, self.path);
        let response = self.get(&url, &accept).await?;
        let media_type = header_text(&response, header::CONTENT_TYPE).unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim().to_owned();
        Ok(Document { media_type, bytes: self.collect(&url, response).await? })
    }

    /// GET /v2/<name>/blobs/<digest>, written to `blob`.
    pub(super) async fn blob(&mut self, wanted: &Descriptor, blob: &mut BlobWriter) -> Result<(), ImageError> {
        let url = format!("{}/v2/{}/blobs/{}", self.base, self.path, wanted.digest);
        let mut body = self.get(&url, "*/*").await?.into_body();
        let mut length_bytes = 0u64;
        while let Some(data) = self.next_piece(&mut body).await? {
            length_bytes += data.len() as u64;
            if length_bytes > wanted.size {
                return Err(answer(&url, format!("the blob is longer than the {} bytes promised", wanted.size)));
            }
            blob.write_all(&data).map_err(ImageError::store("write", wanted.digest.hex()))?;
        }
        Ok(())
    }

    /// GET, with the token handshake if the registry asks for it.
    async fn get(&mut self, url: &str, accept: &str) -> Result<Response<Incoming>, ImageError> {
        let mut response = self.follow(url, accept).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            let challenge = header_text(&response, header::WWW_AUTHENTICATE).unwrap_or_default();
            self.token = Some(self.fetch_token(url, &challenge).await?);
            response = self.follow(url, accept).await?;
        }
        match response.status() {
            StatusCode::OK => Ok(response),
            StatusCode::NOT_FOUND => Err(answer(url, "the registry does not have it (404)".to_owned())),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let status = response.status().as_u16();
                Err(answer(url, format!("the registry does not give it without a login ({status})")))
            }
            StatusCode::TOO_MANY_REQUESTS => {
                Err(answer(url, "the registry wants fewer requests (429); try again later".to_owned()))
            }
            status => Err(answer(url, format!("the registry answered {status}"))),
        }
    }

    async fn follow(&self, url: &str, accept: &str) -> Result<Response<Incoming>, ImageError> {
        let mut next = url.to_owned();
        for _ in 0..=MOST_REDIRECTS {
            // A token is for the registry, not for where it sends us.
            let is_own = next.strip_prefix(&self.base).is_some_and(|rest| rest.starts_with('/'));
            let token = self.token.as_deref().filter(|_| is_own);
            let response = self.send(&next, accept, token).await?;
            if !response.status().is_redirection() {
                return Ok(response);
            }
            let location = header_text(&response, header::LOCATION)
                .ok_or_else(|| answer(&next, "a redirect that does not say where to".to_owned()))?;
            next = if location.starts_with('/') { format!("{}{location}", self.base) } else { location };
        }
        Err(answer(url, format!("more than {MOST_REDIRECTS} redirects")))
    }

    async fn send(&self, url: &str, accept: &str, token: Option<&str>) -> Result<Response<Incoming>, ImageError> {
        let mut request = Request::get(url)
            .header(header::ACCEPT, accept)
            .header(header::USER_AGENT, concat!("seaway/", env!("CARGO_PKG_VERSION")));
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Empty::new()).map_err(|error| answer(url, error.to_string()))?;
        let sent = timeout(READ_TIMEOUT, self.client.request(request)).await;
        match sent {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(self.unreachable(&error)),
            Err(_) => Err(self.silent()),
        }
    }

    /// Anonymous token (distribution project, "Token Authentication
    /// Specification" §Requesting a token).
    async fn fetch_token(&self, url: &str, challenge: &str) -> Result<String, ImageError> {
        let Some(parameters) = challenge.strip_prefix("Bearer ") else {
            return Err(answer(url, "the registry does not give it without a login (401)".to_owned()));
        };
        let parameter = |name: &str| challenge_parameter(parameters, name);
        let realm = parameter("realm").ok_or_else(|| answer(url, "a token challenge without realm".to_owned()))?;
        let scope = parameter("scope").unwrap_or_else(|| format!("repository:{}:pull", self.path));
        let mut token_url = format!("{realm}?scope={scope}");
        if let Some(service) = parameter("service") {
            token_url.push_str(&format!("&service={}", service.replace(' ', "%20")));
        }
        let response = self.send(&token_url, "application/json", None).await?;
        if response.status() != StatusCode::OK {
            return Err(answer(&token_url, format!("no token: {}", response.status())));
        }
        let bytes = self.collect(&token_url, response).await?;
        let document: serde_json::Value =
            serde_json::from_slice(&bytes).map_err(|error| answer(&token_url, format!("no token: {error}")))?;
        let token = document.get("token").or_else(|| document.get("access_token"));
        token
            .and_then(serde_json::Value::as_str)
            .map(str::to_owned)
            .ok_or_else(|| answer(&token_url, "no field token or access_token".to_owned()))
    }

    async fn collect(&self, url: &str, response: Response<Incoming>) -> Result<Bytes, ImageError> {
        let mut body = response.into_body();
        let mut bytes = Vec::new();
        while let Some(data) = self.next_piece(&mut body).await? {
            bytes.extend_from_slice(&data);
            if bytes.len() > LARGEST_DOCUMENT_BYTES {
                return Err(answer(url, format!("the answer is longer than {LARGEST_DOCUMENT_BYTES} bytes")));
            }
        }
        Ok(bytes.into())
    }

    async fn next_piece(&self, body: &mut Incoming) -> Result<Option<Bytes>, ImageError> {
        loop {
            let frame = timeout(READ_TIMEOUT, body.frame()).await.map_err(|_| self.silent())?;
            match frame {
                None => return Ok(None),
                Some(Err(error)) => return Err(self.unreachable(&error)),
                // Trailers carry nothing of interest.
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    fn unreachable(&self, error: &dyn std::error::Error) -> ImageError {
        let mut problem = error.to_string();
        let mut source = error.source();
        while let Some(inner) = source {
            problem.push_str(&format!(": {inner}"));
            source = inner.source();
        }
        ImageError::RegistryUnreachable { registry: self.registry.clone(), problem }
    }

    fn silent(&self) -> ImageError {
        ImageError::RegistryUnreachable {
            registry: self.registry.clone(),
            problem: format!("no answer within {} s", READ_TIMEOUT.as_secs()),
        }
    }
}

fn client(registry: &str) -> Result<Client<HttpsConnector<HttpConnector>, Empty<Bytes>>, ImageError> {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let https = HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(rustls::crypto::aws_lc_rs::default_provider())
        .map_err(|error| ImageError::RegistryUnreachable {
            registry: registry.to_owned(),
            problem: format!("this machine's certificate authorities cannot be read: {error}"),
        })?
        .https_or_http()
        .enable_http1()
        .wrap_connector(http);
    Ok(Client::builder(TokioExecutor::new()).build(https))
}

/// Registries on loopback are test registries without certificates; every
/// container engine treats them so.
fn is_loopback(registry: &str) -> bool {
    let host = match registry.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => host,
        _ => registry,
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The value of `name="value"` in a challenge (RFC 9110 §11.2).
fn challenge_parameter(parameters: &str, name: &str) -> Option<String> {
    parameters.split(',').find_map(|parameter| {
        let (key, value) = parameter.trim().split_once('=')?;
        (key == name).then(|| value.trim_matches('"').to_owned())
    })
}

fn header_text(response: &Response<Incoming>, name: header::HeaderName) -> Option<String> {
    response.headers().get(name)?.to_str().ok().map(str::to_owned)
}

fn answer(url: &str, problem: String) -> ImageError {
    ImageError::RegistryAnswer { url: url.to_owned(), problem }
}
