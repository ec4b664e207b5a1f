//! The forwarder process itself.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::metrics::{ForwarderMetrics, PortMetrics};
use super::{Answer, Forward, ForwardRequest, forwards_path, scrape, socket_path};
use crate::error::LabError;
use crate::machine::{LabDir, Machine, join_lab};

/// Ports tried after the one asked for.
pub(super) const NEXT_PORTS: u16 = 1000;

/// What is read from a connection at once.
const PUMP_BYTES: usize = 16 * 1024;

#[derive(Debug)]
struct Forwarder {
    dir: LabDir,
    forwards: Mutex<Vec<Forward>>,
    metrics: ForwarderMetrics,
}

/// Serves the lab until the process is killed.
///
/// # Errors
/// The control socket cannot be opened.
pub fn serve(dir: &LabDir) -> std::io::Result<()> {
    join_lab(dir.name()).map_err(std::io::Error::other)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = UnixListener::bind(socket_path(dir))?;
        let metrics = ForwarderMetrics::default();
        let forwarder =
            Arc::new(Forwarder { dir: dir.clone(), forwards: Mutex::new(Vec::new()), metrics: metrics.clone() });
        forwarder.restore().await;
        // Without its metrics a lab is still a lab.
        if let Err(error) = scrape::start(dir.clone(), metrics).await {
            eprintln!("no metrics: {error}");
        }
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(Arc::clone(&forwarder).answer(stream));
        }
    })
}

// === impl Forwarder ===

impl Forwarder {
    /// Offers again what an earlier forwarder of this lab offered.
    async fn restore(self: &Arc<Self>) {
        let text = std::fs::read_to_string(forwards_path(&self.dir)).unwrap_or_default();
        for forward in serde_json::from_str::<Vec<Forward>>(&text).unwrap_or_default() {
            let Forward { port, node, target } = forward;
            let wanted = ForwardRequest { port, or_next: false, node, target };
            if let Answer::Refused(reason) = self.forward(wanted).await {
                eprintln!("127.0.0.1:{port} is not forwarded any more: {reason}");
            }
        }
    }

    async fn answer(self: Arc<Self>, stream: UnixStream) {
        let (reader, mut writer) = stream.into_split();
        let mut line = String::new();
        if BufReader::new(reader).read_line(&mut line).await.is_err() {
            return;
        }
        let answer = match serde_json::from_str::<ForwardRequest>(&line) {
            Ok(wanted) => self.forward(wanted).await,
            Err(error) => Answer::Refused(error.to_string()),
        };
        if let Ok(mut text) = serde_json::to_vec(&answer) {
            text.push(b'\n');
            // Whoever asked is gone: nobody is left to be told.
            let _ = writer.write_all(&text).await;
        }
    }

    async fn forward(self: &Arc<Self>, wanted: ForwardRequest) -> Answer {
        if let Some(known) = self.known(&wanted) {
            return Answer::Forwarding(known);
        }
        let last = if wanted.or_next { wanted.port.saturating_add(NEXT_PORTS) } else { wanted.port };
        let mut refusal = String::new();
        for port in wanted.port..=last {
            match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
                Ok(listener) => {
                    let port = listener.local_addr().map_or(port, |address| address.port());
                    let forward = Forward { port, node: wanted.node, target: wanted.target };
                    self.remember(forward.clone());
                    tokio::spawn(Arc::clone(self).accept(listener, forward.clone()));
                    return Answer::Forwarding(forward);
                }
                Err(error) => refusal = error.to_string(),
            }
        }
        Answer::Refused(refusal)
    }

    fn known(&self, wanted: &ForwardRequest) -> Option<Forward> {
        let forwards = self.forwards.lock().unwrap_or_else(PoisonError::into_inner);
        forwards
            .iter()
            .find(|f| f.node == wanted.node && f.target == wanted.target && (wanted.or_next || f.port == wanted.port))
            .cloned()
    }

    fn remember(&self, forward: Forward) {
        let mut forwards = self.forwards.lock().unwrap_or_else(PoisonError::into_inner);
        forwards.push(forward);
        let saved = serde_json::to_vec(&*forwards).map(|text| std::fs::write(forwards_path(&self.dir), text));
        if !matches!(saved, Ok(Ok(()))) {
            eprintln!("cannot save the list of forwards: a restarted forwarder will not offer them");
        }
    }

    async fn accept(self: Arc<Self>, listener: TcpListener, forward: Forward) {
        loop {
            match listener.accept().await {
                Ok((client, _)) => {
                    tokio::spawn(carry(self.dir.clone(), forward.clone(), client, self.metrics.of_port(forward.port)));
                }
                // Out of descriptors, most likely: the clients that end free some.
                Err(error) => {
                    eprintln!("127.0.0.1:{}: {error}", forward.port);
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }
}

/// Copies one connection both ways. A target that does not answer closes the
/// client's connection, as a closed port would.
async fn carry(dir: LabDir, forward: Forward, client: TcpStream, metrics: PortMetrics) {
    let Forward { port, node, target } = forward;
    // The state is read anew for each connection: a power cycle gives the node
    // another network namespace.
    let dialed = tokio::task::spawn_blocking(move || -> Result<std::net::TcpStream, LabError> {
        Machine::open(&dir)?.node(&node)?.dial(target)
    });
    let upstream = match dialed.await {
        Ok(Ok(stream)) => stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream)),
        Ok(Err(error)) => Err(std::io::Error::other(error)),
        Err(error) => Err(std::io::Error::other(error)),
    };
    match upstream {
        Ok(upstream) => {
            let _ = (client.set_nodelay(true), upstream.set_nodelay(true));
            metrics.connections.inc();
            let (from_client, to_client) = client.into_split();
            let (from_lab, to_lab) = upstream.into_split();
            // An error here is one side closing: that is how connections end.
            let _ = tokio::try_join!(
                pump(from_client, to_lab, &metrics.bytes_into_lab),
                pump(from_lab, to_client, &metrics.bytes_out_of_lab),
            );
        }
        Err(error) => eprintln!("127.0.0.1:{port} to {target}: {error}"),
    }
}

/// Copies one direction to its end, counting as it goes: a watch of the API
/// server lasts for hours.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, bytes: &Counter) -> std::io::Result<()> {
    let mut buffer = vec![0; PUMP_BYTES];
    loop {
        let length = from.read(&mut buffer).await?;
        let Some(content) = buffer.get(..length).filter(|content| !content.is_empty()) else {
            return to.shutdown().await;
        };
        to.write_all(content).await?;
        bytes.inc_by(length as u64);
    }
}
