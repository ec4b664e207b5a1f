//! Streams to upstreams that stay open (RFC 7766 §6.2.1, RFC 7858 §3.4): queries of all
//! shards go out one after the other without waiting, and answers come in any order.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// Queries of one stream that wait for answers.
const MOST_WAITING: usize = 256;
/// A stream over which nothing goes is closed.
const IDLE: Duration = Duration::from_secs(10);
/// An answer that drips in ends its stream.
const SLOW: Duration = Duration::from_secs(2);

/// Anything that queries can go over.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// One query, and who waits for its answer.
struct Exchange {
    octets: Vec<u8>,
    reply: oneshot::Sender<Vec<u8>>,
}

/// A stream that is open.
#[derive(Debug, Clone)]
pub(super) struct Session {
    exchanges: mpsc::Sender<Exchange>,
}

/// What waits for answers: the id on the stream, the id of the query, and who asked.
struct Waiting {
    next: u16,
    by_id: HashMap<u16, ([u8; 2], oneshot::Sender<Vec<u8>>)>,
}

// === impl Session ===

impl Session {
    /// Talks over a stream until it ends, or nobody asks for a while.
    pub(super) fn over(stream: Box<dyn Stream>, runtime: &Handle) -> Self {
        let (exchanges, inbox) = mpsc::channel(MOST_WAITING);
        let (reader, writer) = tokio::io::split(stream);
        let (answers, incoming) = mpsc::channel(MOST_WAITING);
        runtime.spawn(read(reader, answers));
        runtime.spawn(talk(writer, inbox, incoming));
        Self { exchanges }
    }

    /// Whether it has ended.
    pub(super) fn is_over(&self) -> bool {
        self.exchanges.is_closed()
    }

    /// Asks and waits.
    pub(super) async fn ask(&self, octets: Vec<u8>) -> io::Result<Vec<u8>> {
        let ended = || io::Error::from(io::ErrorKind::ConnectionAborted);
        let (reply, answer) = oneshot::channel();
        self.exchanges.try_send(Exchange { octets, reply }).map_err(|_| ended())?;
        answer.await.map_err(|_| ended())
    }
}

async fn talk(
    mut writer: WriteHalf<Box<dyn Stream>>,
    mut inbox: mpsc::Receiver<Exchange>,
    mut incoming: mpsc::Receiver<Vec<u8>>,
) {
    let mut waiting = Waiting { next: 0, by_id: HashMap::new() };
    loop {
        tokio::select! {
            exchange = inbox.recv() => {
                let Some(Exchange { octets, reply }) = exchange else { break };
                let Some(message) = waiting.add(octets, reply) else { continue };
                if !matches!(timeout(SLOW, writer.write_all(&message)).await, Ok(Ok(()))) {
                    break;
                }
                let _ = timeout(SLOW, writer.flush()).await;
            }
            answer = incoming.recv() => match answer {
                Some(answer) => waiting.answered(answer),
                None => break,
            },
            () = tokio::time::sleep(IDLE) => break,
        }
    }
    // Who waits still learns of the end by the end of its channel.
    inbox.close();
    let _ = timeout(SLOW, writer.shutdown()).await;
}

/// Takes answers off a stream: two octets of length before each (RFC 1035 §4.2.2).
async fn read(mut reader: ReadHalf<Box<dyn Stream>>, answers: mpsc::Sender<Vec<u8>>) {
    loop {
        let size = tokio::select! {
            size = reader.read_u16() => size,
            () = answers.closed() => return,
        };
        let Ok(size) = size else { return };
        let mut answer = vec![0; usize::from(size)];
        if !matches!(timeout(SLOW, reader.read_exact(&mut answer)).await, Ok(Ok(_))) {
            return;
        }
        if answers.send(answer).await.is_err() {
            return;
        }
    }
}

// === impl Waiting ===

impl Waiting {
    /// Gives a query an id of its own on this stream: those of several shards may be the same.
    fn add(&mut self, mut octets: Vec<u8>, reply: oneshot::Sender<Vec<u8>>) -> Option<Vec<u8>> {
        // Who gave up needs no place any more.
        self.by_id.retain(|_, (_, reply)| !reply.is_closed());
        if self.by_id.len() >= MOST_WAITING {
            return None;
        }
        while self.by_id.contains_key(&self.next) {
            self.next = self.next.wrapping_add(1);
        }
        let id = self.next;
        self.next = self.next.wrapping_add(1);
        let own = octets.first_chunk_mut::<2>()?;
        let theirs = std::mem::replace(own, id.to_be_bytes());
        self.by_id.insert(id, (theirs, reply));
        let mut message = u16::try_from(octets.len()).ok()?.to_be_bytes().to_vec();
        message.extend(octets);
        Some(message)
    }

    fn answered(&mut self, mut answer: Vec<u8>) {
        let Some(id) = answer.first_chunk_mut::<2>() else { return };
        if let Some((theirs, reply)) = self.by_id.remove(&u16::from_be_bytes(*id)) {
            *id = theirs;
            let _ = reply.send(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(id: u16, last: u8) -> Vec<u8> {
        [&id.to_be_bytes(), [0; 10].as_slice(), &[last]].concat()
    }

    async fn take(stream: &mut tokio::io::DuplexStream) -> Vec<u8> {
        let mut octets = vec![0; usize::from(stream.read_u16().await.unwrap())];
        stream.read_exact(&mut octets).await.unwrap();
        octets
    }

    async fn give(stream: &mut tokio::io::DuplexStream, octets: &[u8]) {
        stream.write_u16(octets.len() as u16).await.unwrap();
        stream.write_all(octets).await.unwrap();
    }

    #[tokio::test]
    async fn queries_share_a_stream_and_answers_come_in_any_order() {
        let (mut server, stream) = tokio::io::duplex(1 << 16);
        let session = Session::over(Box::new(stream), &Handle::current());
        let (first, second) = (session.clone(), session.clone());
        // Two shards may pick the same id.
        let first = tokio::spawn(async move { first.ask(query(7, 1)).await });
        let one = take(&mut server).await;
        let second = tokio::spawn(async move { second.ask(query(7, 2)).await });
        let two = take(&mut server).await;
        assert_ne!(one[..2], two[..2]);
        give(&mut server, &two).await;
        give(&mut server, &one).await;
        assert_eq!(second.await.unwrap().unwrap(), query(7, 2));
        assert_eq!(first.await.unwrap().unwrap(), query(7, 1));
        drop(server);
        assert!(session.ask(query(9, 3)).await.is_err(), "the stream ended");
    }

    #[tokio::test]
    async fn answers_that_nobody_asked_for_are_passed_over() {
        let (mut server, stream) = tokio::io::duplex(1 << 16);
        let session = Session::over(Box::new(stream), &Handle::current());
        let asking = tokio::spawn(async move { session.ask(query(7, 1)).await });
        let one = take(&mut server).await;
        give(&mut server, &query(999, 66)).await;
        give(&mut server, &[1]).await;
        give(&mut server, &one).await;
        assert_eq!(asking.await.unwrap().unwrap(), query(7, 1));
    }

    #[tokio::test]
    async fn an_answer_that_drips_ends_the_stream() {
        let (mut server, stream) = tokio::io::duplex(1 << 16);
        let session = Session::over(Box::new(stream), &Handle::current());
        let asking = tokio::spawn(async move { session.ask(query(7, 1)).await });
        take(&mut server).await;
        server.write_u16(100).await.unwrap();
        server.write_all(&[0; 10]).await.unwrap();
        assert!(asking.await.unwrap().is_err());
    }
}
