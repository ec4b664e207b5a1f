//! DNS over HTTPS (RFC 8484) towards upstreams: one HTTP/2 connection, a stream for each query.

use std::io;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Method, Request, StatusCode, header};
use tokio::runtime::Handle;

use super::session::Stream;

/// Type of messages (RFC 8484 §6).
const MESSAGE: &str = "application/dns-message";
/// Largest answer taken: that of a message with a length of two octets.
const ANSWER_OCTETS: usize = 65_535;

/// An HTTP/2 connection to one server.
#[derive(Clone)]
pub(super) struct HttpsSession {
    requests: SendRequest<Bytes>,
    uri: String,
}

// === impl HttpsSession ===

impl HttpsSession {
    /// Speaks HTTP/2 over a stream; `authority` and `path` name what is asked.
    pub(super) async fn over(
        stream: Box<dyn Stream>,
        authority: &str,
        path: &str,
        runtime: &Handle,
    ) -> io::Result<Self> {
        let (requests, connection) = h2::client::handshake(stream).await.map_err(io::Error::other)?;
        runtime.spawn(async move {
            // Its end is seen by who asks next.
            let _ = connection.await;
        });
        Ok(Self { requests, uri: format!("https://{authority}{path}") })
    }

    /// Asks and waits.
    pub(super) async fn ask(&self, mut octets: Vec<u8>) -> io::Result<Vec<u8>> {
        let malformed = || io::Error::from(io::ErrorKind::InvalidData);
        // RFC 8484 §4.1: id 0, so that caches on the way see one question as one.
        let id = std::mem::take(octets.first_chunk_mut::<2>().ok_or_else(malformed)?);
        let request = Request::builder()
            .method(Method::POST)
            .uri(&self.uri)
            .header(header::CONTENT_TYPE, MESSAGE)
            .header(header::ACCEPT, MESSAGE)
            .header(header::CONTENT_LENGTH, octets.len())
            .body(())
            .map_err(io::Error::other)?;
        let mut requests = self.requests.clone().ready().await.map_err(io::Error::other)?;
        let (response, mut body) = requests.send_request(request, false).map_err(io::Error::other)?;
        body.send_data(octets.into(), true).map_err(io::Error::other)?;
        let response = response.await.map_err(io::Error::other)?;
        let is_message = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == MESSAGE);
        if response.status() != StatusCode::OK || !is_message {
            return Err(malformed());
        }
        let mut answer = Vec::new();
        let mut body = response.into_body();
        while let Some(part) = body.data().await {
            let part = part.map_err(io::Error::other)?;
            if answer.len() + part.len() > ANSWER_OCTETS {
                return Err(malformed());
            }
            let _ = body.flow_control().release_capacity(part.len());
            answer.extend(part);
        }
        *answer.first_chunk_mut::<2>().ok_or_else(malformed)? = id;
        Ok(answer)
    }
}
