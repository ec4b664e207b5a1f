//! Asking upstreams by TCP, TLS or HTTPS, on the runtime of the daemon's tasks.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::secure::Trust;
use super::shard::{Message, ShardDesk};
use crate::forward::machine::Ticket;
use crate::forward::{Transport, Upstream};

/// A stream takes a handshake or two; who takes longer is no use to a waiting client.
const PATIENCE: Duration = Duration::from_secs(2);
/// Largest answer taken by a stream; those of names with hundreds of addresses fit many times.
const ANSWER_OCTETS: usize = 65_535;

/// Starts exchanges by streams.
#[derive(Debug, Clone)]
pub struct Dialer {
    runtime: Handle,
    trust: Trust,
}

// === impl Dialer ===

impl Dialer {
    /// Works on this runtime, and checks certificates so.
    #[must_use]
    pub fn new(runtime: Handle, trust: Trust) -> Self {
        Self { runtime, trust }
    }

    /// Asks; the answer, or that there was none, is left at `desk`.
    pub fn dial(&self, upstream: &Upstream, number: usize, ticket: Ticket, octets: Vec<u8>, desk: ShardDesk) {
        let (address, transport, trust) = (upstream.address, upstream.transport.clone(), self.trust.clone());
        self.runtime.spawn(async move {
            let answer = timeout(PATIENCE, exchange(address, transport, &trust, octets)).await;
            let octets = answer.ok().and_then(Result::ok);
            // A shard with a full inbox has other worries; its timer ends this question.
            let _ = desk.leave(Message::Answered { upstream: number, ticket, octets });
        });
    }
}

async fn exchange(
    address: SocketAddr,
    transport: Transport,
    trust: &Trust,
    octets: Vec<u8>,
) -> std::io::Result<Vec<u8>> {
    match transport {
        Transport::Udp | Transport::Tcp => {
            let mut stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            converse(&mut stream, &octets).await
        }
        Transport::Tls(name) => trust.over_tls(address, &name, &octets).await,
    }
}

/// One query and its answer with two octets of length before each (RFC 1035 §4.2.2).
pub(super) async fn converse<S>(stream: &mut S, octets: &[u8]) -> std::io::Result<Vec<u8>>
where
    S: AsyncReadExt + AsyncWriteExt + Unpin,
{
    let length = u16::try_from(octets.len()).unwrap_or(u16::MAX);
    let mut message = Vec::with_capacity(octets.len() + 2);
    message.extend(length.to_be_bytes());
    message.extend(octets);
    stream.write_all(&message).await?;
    stream.flush().await?;
    let size = usize::from(stream.read_u16().await?).min(ANSWER_OCTETS);
    let mut answer = vec![0; size];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}
