//! Calling another part: one connection per call, so that every page view is
//! spread over the pods anew; never longer than a person waits.

use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Name resolution and connection together.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1500);
/// From the request to the end of the answer; `reviews` calls `ratings` in it.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(3000);
/// Answers here have a few hundred bytes.
const LARGEST_ANSWER_BYTES: usize = 1024 * 1024;

/// Why a part could not be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// No connection.
    #[error("no connection to {peer}: {reason}")]
    Unreachable {
        /// Host and port.
        peer: String,
        /// The system's error.
        reason: String,
    },
    /// A connection, but nothing came in time.
    #[error("{peer} did not answer within {} ms", ANSWER_TIMEOUT.as_millis())]
    Silent {
        /// Host and port.
        peer: String,
    },
    /// The connection broke.
    #[error("{peer} broke off: {reason}")]
    Broken {
        /// Host and port.
        peer: String,
        /// The protocol's error.
        reason: String,
    },
    /// An answer that is not success.
    #[error("{peer} answered {status}")]
    Refused {
        /// Host and port.
        peer: String,
        /// The HTTP status.
        status: StatusCode,
    },
    /// An answer that is not what was asked for.
    #[error("{peer} sent what cannot be read: {reason}")]
    Malformed {
        /// Host and port.
        peer: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// What came back, and after how long.
#[derive(Debug, Clone)]
pub(crate) struct Answer<T> {
    /// The document.
    pub(crate) document: T,
    /// From before the connection to the end of the answer.
    pub(crate) took: Duration,
}

/// GET http://`peer``path`, as JSON.
pub(crate) async fn get<T: DeserializeOwned>(peer: &str, path: &str) -> Result<Answer<T>, CallError> {
    let start = Instant::now();
    let unreachable = |reason: String| CallError::Unreachable { peer: peer.to_owned(), reason };
    let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(peer))
        .await
        .map_err(|_| unreachable(format!("nothing within {} ms", CONNECT_TIMEOUT.as_millis())))?
        .map_err(|error| unreachable(error.to_string()))?;
    let bytes = timeout(ANSWER_TIMEOUT, exchange(stream, peer, path))
        .await
        .map_err(|_| CallError::Silent { peer: peer.to_owned() })??;
    let document = serde_json::from_slice(&bytes)
        .map_err(|error| CallError::Malformed { peer: peer.to_owned(), reason: error.to_string() })?;
    Ok(Answer { document, took: start.elapsed() })
}

async fn exchange(stream: TcpStream, peer: &str, path: &str) -> Result<Bytes, CallError> {
    let broken = |reason: String| CallError::Broken { peer: peer.to_owned(), reason };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(error.to_string()))?;
    let request = Request::get(path)
        .header(header::HOST, peer)
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| broken(error.to_string()))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| broken(error.to_string()))?;
        let status = response.status();
        if status != StatusCode::OK {
            return Err(CallError::Refused { peer: peer.to_owned(), status });
        }
        let body = Limited::new(response.into_body(), LARGEST_ANSWER_BYTES).collect().await;
        body.map(|body| body.to_bytes()).map_err(|error| broken(error.to_string()))
    };
    let mut answer = std::pin::pin!(answer);
    // The connection works as long as the answer is awaited, and no longer.
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        ended = connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(broken(error.to_string())),
        },
    }
}
