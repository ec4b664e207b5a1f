//! The agent's Unix socket: one request per connection, see `seaway_model::agent_api`.

use std::fs::{self, Permissions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use seaway_model::agent_api::{Answer, DropEvent, Failure, Request};
use seaway_model::feed::Interest;
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::message;
use crate::AgentError;
use crate::error::agent_failure;
use crate::feed::Feed;
use crate::metrics::AgentMetrics;
use crate::owner::{Message, Question};
use crate::services::ServicesHandle;

/// Connections served at once; a node has at most some hundred pods.
const CONNECTION_LIMIT: usize = 512;
/// How long a client may take to say what it wants.
const REQUEST_PATIENCE: Duration = Duration::from_secs(10);

/// What each connection needs.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) inbox: mpsc::Sender<Message>,
    pub(crate) drops: broadcast::Sender<DropEvent>,
    pub(crate) metrics: AgentMetrics,
    pub(crate) feed: Feed,
    /// None: Services are served by somebody else.
    pub(crate) services: Option<ServicesHandle>,
}

/// Listens for root only. The caller holds the lock of the directory, so whatever
/// is at the path is left over.
pub(crate) fn listen(path: &Path) -> Result<UnixListener, AgentError> {
    let failed = |operation, source| AgentError::File { operation, path: path.to_owned(), source };
    match fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => return Err(failed("remove", source)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(|source| failed("listen on", source))?;
    fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(|source| failed("restrict", source))?;
    Ok(listener)
}

/// Serves until cancelled; connections that are open then are answered by the owner's end.
pub(crate) async fn serve(listener: UnixListener, desk: Desk, shutdown: CancellationToken) {
    let room = Arc::new(Semaphore::new(CONNECTION_LIMIT));
    loop {
        let stream = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, most likely: pause, or this loop would burn the CPU.
                    tracing::error!(%error, "cannot accept on the agent's socket");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let (desk, shutdown) = (desk.clone(), shutdown.clone());
        match Arc::clone(&room).try_acquire_owned() {
            Ok(permit) => {
                tokio::spawn(async move {
                    tokio::select! {
                        () = shutdown.cancelled() => {}
                        () = converse(stream, &desk) => {}
                    }
                    drop(permit);
                });
            }
            Err(_) => {
                tokio::spawn(async move {
                    let error = AgentError::TooManyConnections { limit: CONNECTION_LIMIT };
                    say(&mut { stream }, &Answer::Failed(agent_failure(&error))).await;
                });
            }
        }
    }
}

async fn converse(mut stream: UnixStream, desk: &Desk) {
    let received = tokio::time::timeout(REQUEST_PATIENCE, message::receive(&stream)).await;
    let (text, namespace) = match received {
        Ok(Ok(received)) => received,
        Ok(Err(error)) => return refuse(&mut stream, &error).await,
        Err(_) => {
            let problem = format!("it did not end within {} s", REQUEST_PATIENCE.as_secs());
            return refuse(&mut stream, &AgentError::RequestMalformed { problem }).await;
        }
    };
    match serde_json::from_slice(&text) {
        Ok(Request::Monitor) => monitor(stream, desk).await,
        Ok(Request::Follow(interest)) => follow(stream, &desk.feed, interest).await,
        Ok(Request::Services { question }) => {
            let answer = match &desk.services {
                Some(services) => services.ask(question).await,
                None => Err(agent_failure(&AgentError::ServicesDisabled)),
            };
            let answer = answer.map_or_else(Answer::Failed, |report| Answer::Services { report });
            say(&mut stream, &answer).await;
        }
        Ok(request) => {
            let also_services = matches!(request, Request::Audit);
            let mut answer = ask_owner(request, namespace, desk).await;
            if let (true, Some(services)) = (also_services, &desk.services) {
                answer = with_services(answer, services.audit().await);
            }
            say(&mut stream, &answer).await;
        }
        Err(error) => refuse(&mut stream, &AgentError::RequestMalformed { problem: error.to_string() }).await,
    }
}

async fn ask_owner(request: Request, namespace: Option<OwnedFd>, desk: &Desk) -> Answer {
    let (reply, answer) = oneshot::channel();
    let question = Question { request, namespace, reply, received: Instant::now() };
    // Waits when the owner is busy: the client waits with us.
    let sent = desk.inbox.send(Message::Request(question)).await;
    match (sent, answer.await) {
        (Ok(()), Ok(answer)) => answer,
        _ => Answer::Failed(agent_failure(&AgentError::Stopping)),
    }
}

/// One answer of two audits; a failure of either is the answer.
fn with_services(answer: Answer, services: Result<Vec<String>, Failure>) -> Answer {
    match (answer, services) {
        (Answer::Audited { mut differences }, Ok(more)) => {
            differences.extend(more);
            Answer::Audited { differences }
        }
        (Answer::Audited { .. }, Err(failure)) => Answer::Failed(failure),
        (other, _) => other,
    }
}

/// Streams drops until the client leaves. A slow one misses some and is told how many.
async fn monitor(mut stream: UnixStream, desk: &Desk) {
    let mut drops = desk.drops.subscribe();
    loop {
        let answer = tokio::select! {
            dropped = drops.recv() => match dropped {
                Ok(event) => Answer::Dropped(event),
                Err(broadcast::error::RecvError::Lagged(drops)) => {
                    desk.metrics.missed(drops);
                    Answer::Missed { drops }
                }
                Err(broadcast::error::RecvError::Closed) => return,
            },
            () = client_left(&stream) => return,
        };
        if !say(&mut stream, &answer).await {
            return;
        }
    }
}

/// Tells everything, then every change, until the follower leaves. One that is too slow for the
/// changes begins again.
async fn follow(mut stream: UnixStream, feed: &Feed, interest: Interest) {
    loop {
        let mut following = feed.follow(interest);
        for changes in std::mem::take(&mut following.beginning) {
            if !say(&mut stream, &Answer::Changes { changes }).await {
                return;
            }
        }
        loop {
            let told = tokio::select! {
                told = following.next() => told,
                () = client_left(&stream) => return,
            };
            match told {
                Ok(changes) => {
                    if !say(&mut stream, &Answer::Changes { changes }).await {
                        return;
                    }
                }
                Err(broadcast::error::RecvError::Lagged(_)) => break,
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }
}

/// Ends when the client closed the connection. It shut down its writing side
/// before, so only the error condition of the socket tells.
async fn client_left(stream: &UnixStream) {
    // Ready::WRITE_CLOSED comes with the peer's close of its reading side.
    loop {
        match stream.ready(tokio::io::Interest::ERROR | tokio::io::Interest::WRITABLE).await {
            Ok(ready) if ready.is_write_closed() || ready.is_error() => return,
            Ok(_) => tokio::time::sleep(Duration::from_secs(1)).await,
            Err(_) => return,
        }
    }
}

async fn refuse(stream: &mut UnixStream, error: &AgentError) {
    say(stream, &Answer::Failed(agent_failure(error))).await;
}

/// Writes one answer; false when the client is gone.
async fn say(stream: &mut UnixStream, answer: &Answer) -> bool {
    let mut line = match serde_json::to_vec(answer) {
        Ok(line) => line,
        Err(error) => {
            tracing::error!(%error, "an answer cannot be written as JSON");
            return false;
        }
    };
    line.push(b'\n');
    stream.write_all(&line).await.is_ok()
}
