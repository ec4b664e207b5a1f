//! Asking upstreams by TCP, TLS or HTTPS, on the runtime of the daemon's tasks, over
//! connections that stay open for the next question.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::desk::{Message, ShardDesk};
use super::https::HttpsSession;
use super::secure::Trust;
use super::session::{Session, Stream};
use crate::forward::machine::Ticket;
use crate::forward::{Transport, Upstream};

/// A stream takes a handshake or two; who takes longer is no use to a waiting client.
const PATIENCE: Duration = Duration::from_secs(2);

/// Starts exchanges by streams.
#[derive(Clone)]
pub struct Dialer {
    runtime: Handle,
    trust: Trust,
    /// Open connections by upstream, as the configuration writes it; all shards share them.
    open: Arc<Mutex<HashMap<String, Open>>>,
}

#[derive(Clone)]
enum Open {
    Stream(Session),
    Https(HttpsSession),
}

// === impl Dialer ===

impl Dialer {
    /// Works on this runtime, and checks certificates so.
    #[must_use]
    pub fn new(runtime: Handle, trust: Trust) -> Self {
        Self { runtime, trust, open: Arc::default() }
    }

    /// Asks; the answer, or that there was none, is left at `desk`.
    pub fn dial(&self, upstream: &Upstream, number: usize, ticket: Ticket, octets: Vec<u8>, desk: ShardDesk) {
        let (dialer, address, transport) = (self.clone(), upstream.address, upstream.transport.clone());
        let key = upstream.to_string();
        self.runtime.spawn(async move {
            let answer = timeout(PATIENCE, dialer.exchange(&key, address, &transport, octets)).await;
            if answer.is_err() {
                // A connection that does not answer is not asked again.
                dialer.forget(&key);
            }
            let octets = answer.ok().and_then(Result::ok);
            // A shard with a full inbox has other worries; its timer ends this question.
            let _ = desk.leave(Message::Answered { upstream: number, ticket, octets });
        });
    }

    async fn exchange(
        &self,
        key: &str,
        address: SocketAddr,
        transport: &Transport,
        octets: Vec<u8>,
    ) -> io::Result<Vec<u8>> {
        if let Some(open) = self.known(key) {
            match open.ask(octets.clone()).await {
                Ok(answer) => return Ok(answer),
                // It was closed as we asked, or just before: that says nothing of the server (RFC 7766 §6.2.4).
                Err(_) => self.forget(key),
            }
        }
        let open = self.connect(address, transport).await?;
        self.lock().insert(key.to_owned(), open.clone());
        open.ask(octets).await
    }

    async fn connect(&self, address: SocketAddr, transport: &Transport) -> io::Result<Open> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        match transport {
            Transport::Udp | Transport::Tcp => Ok(Open::Stream(Session::over(Box::new(stream), &self.runtime))),
            Transport::Tls(name) => {
                let stream: Box<dyn Stream> = Box::new(self.trust.tls(name, stream).await?);
                Ok(Open::Stream(Session::over(stream, &self.runtime)))
            }
            Transport::Https { name, path } => {
                let name = name.clone().unwrap_or_else(|| address.ip().to_string());
                let stream: Box<dyn Stream> = Box::new(self.trust.tls_for_http(&name, stream).await?);
                let authority = match name.parse::<std::net::Ipv6Addr>() {
                    Ok(address) => format!("[{address}]"),
                    Err(_) => name,
                };
                Ok(Open::Https(HttpsSession::over(stream, &authority, path, &self.runtime).await?))
            }
        }
    }

    fn known(&self, key: &str) -> Option<Open> {
        let open = self.lock().get(key).cloned()?;
        let over = matches!(&open, Open::Stream(session) if session.is_over());
        (!over).then_some(open)
    }

    fn forget(&self, key: &str) {
        self.lock().remove(key);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dialer").field("open", &self.lock().len()).finish_non_exhaustive()
    }
}

// === impl Open ===

impl Open {
    async fn ask(&self, octets: Vec<u8>) -> io::Result<Vec<u8>> {
        match self {
            Self::Stream(session) => session.ask(octets).await,
            Self::Https(session) => session.ask(octets).await,
        }
    }
}
