//! Clients by TCP (RFC 7766): queries one after the other without waiting for answers,
//! within bounds: connections in all, queries at once on one, and time without any.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::clock::{now_micros, unix_seconds};
use super::counters::Counters;
use super::desk::{Message, ShardDesk};
use super::reply::{Arrival, Outcome, Server, Workspace};
use crate::watch::{Census, Seen, Watch};
use crate::wire::number::rcode;

/// Connections at once; the oldest idle ones end by themselves.
const MOST_CONNECTIONS: usize = 1024;
/// Queries of one connection that may wait for answers; then nothing more is read from it.
const MOST_AT_ONCE: usize = 64;
/// A connection without a query ends (RFC 7766 §6.2.3 asks for a few seconds).
const IDLE: Duration = Duration::from_secs(10);
/// A query that drips in, or an answer that nobody takes, ends the connection.
const SLOW: Duration = Duration::from_secs(2);

/// What serves connections.
#[derive(Debug)]
pub struct Streams {
    server: Arc<Server>,
    counters: Arc<Counters>,
    shards: Vec<ShardDesk>,
    open: AtomicUsize,
    turn: AtomicUsize,
    census: Arc<Mutex<Census>>,
}

// === impl Streams ===

impl Streams {
    /// Serves from `server`, and asks others by `shards`.
    #[must_use]
    pub fn new(server: Arc<Server>, shards: Vec<ShardDesk>) -> Arc<Self> {
        let counters = Arc::new(Counters::default());
        Arc::new(Self {
            server,
            counters,
            shards,
            open: AtomicUsize::new(0),
            turn: AtomicUsize::new(0),
            census: Arc::default(),
        })
    }

    /// What they count.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Whom and what they count.
    #[must_use]
    pub fn census(&self) -> Arc<Mutex<Census>> {
        Arc::clone(&self.census)
    }

    /// Accepts connections until `stop` is cancelled.
    pub async fn accept(
        self: Arc<Self>,
        listener: TcpListener,
        tls: Option<tokio_rustls::TlsAcceptor>,
        stop: CancellationToken,
    ) {
        loop {
            let (stream, peer) = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(_) => {
                        // Out of descriptors: some of ours end by themselves soon.
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                },
                () = stop.cancelled() => return,
            };
            if self.open.fetch_add(1, Ordering::Relaxed) >= MOST_CONNECTIONS {
                self.open.fetch_sub(1, Ordering::Relaxed);
                Counters::add(&self.counters.shed, 1);
                continue;
            }
            let streams = Arc::clone(&self);
            let (tls, stop) = (tls.clone(), stop.clone());
            tokio::spawn(async move {
                // Errors of a connection are its client's affair.
                match tls {
                    None => streams.converse(stream, peer.ip(), stop).await,
                    Some(tls) => {
                        if let Ok(Ok(stream)) = timeout(SLOW, tls.accept(stream)).await {
                            streams.converse(stream, peer.ip(), stop).await;
                        }
                    }
                }
                streams.open.fetch_sub(1, Ordering::Relaxed);
            });
        }
    }

    async fn converse<S>(self: &Arc<Self>, stream: S, client: IpAddr, stop: CancellationToken)
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let (answers, mut ready) = mpsc::channel::<oneshot::Receiver<Vec<u8>>>(MOST_AT_ONCE);
        let writing = tokio::spawn(async move {
            while let Some(answer) = ready.recv().await {
                let Ok(octets) = answer.await else { continue };
                let mut message = Vec::with_capacity(octets.len() + 2);
                message.extend(u16::try_from(octets.len()).unwrap_or(u16::MAX).to_be_bytes());
                message.extend(octets);
                if !matches!(timeout(SLOW, writer.write_all(&message)).await, Ok(Ok(()))) {
                    return;
                }
            }
            let _ = timeout(SLOW, writer.shutdown()).await;
        });
        let mut workspace = Workspace::default();
        let mut watch = Watch::new(Arc::clone(&self.server.hub), Arc::clone(&self.census));
        let mut buffer = vec![0; usize::from(u16::MAX)];
        while let Some(query) = next_query(&mut reader, &stop).await {
            let (reply, answer) = oneshot::channel();
            self.answer(query, client, reply, (&mut workspace, &mut watch), &mut buffer);
            if answers.send(answer).await.is_err() {
                break;
            }
        }
        drop(answers);
        let _ = writing.await;
    }

    fn answer(
        &self,
        query: Vec<u8>,
        client: IpAddr,
        reply: oneshot::Sender<Vec<u8>>,
        (workspace, watch): (&mut Workspace, &mut Watch),
        buffer: &mut [u8],
    ) {
        let now_micros = now_micros();
        let arrival = Arrival { client, datagram: false, now_micros, unix_seconds: unix_seconds() };
        let outcome = self.server.answer(&query, arrival, None, workspace, &self.counters, buffer);
        match outcome {
            Outcome::Silence => {}
            Outcome::Reply(octets, _) => {
                let (way, unix_seconds) = (workspace.trail.way(), arrival.unix_seconds);
                watch.saw(Seen { client, octets, took_micros: 0, way, upstream: None, unix_seconds });
                let _ = reply.send(octets.to_vec());
            }
            Outcome::Ask(..) => {
                let turn = self.turn.fetch_add(1, Ordering::Relaxed);
                let Some(shard) = self.shards.get(turn % self.shards.len().max(1)) else { return };
                let message = Message::Query { query: query.into(), client, reply };
                if let Err(Message::Query { query, reply, .. }) = shard.leave(message) {
                    Counters::add(&self.counters.shed, 1);
                    let failed = self.server.fail(&query, rcode::SERVFAIL, &self.counters, buffer);
                    let _ = failed.map(|octets| reply.send(octets.to_vec()));
                }
            }
        }
        self.counters.took(super::clock::now_micros().saturating_sub(now_micros), 1);
    }
}

/// The next query of a connection; none: it is over.
async fn next_query(reader: &mut (impl AsyncRead + Unpin), stop: &CancellationToken) -> Option<Vec<u8>> {
    let size = tokio::select! {
        size = timeout(IDLE, reader.read_u16()) => usize::from(size.ok()?.ok()?),
        () = stop.cancelled() => return None,
    };
    let mut query = vec![0; size];
    timeout(SLOW, reader.read_exact(&mut query)).await.ok()?.ok()?;
    Some(query)
}
